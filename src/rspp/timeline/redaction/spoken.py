"""Numbers that are said are read as the digits they mean: "four one, double five, oh" is 41550.

A run is what one person would write as one number: digits and number words with nothing but pauses, dashes and small
words between them. A quantity ("two thousand", "1,250.00"), a date and a time of day are no part of a run.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

_UNITS: Final = {
    "en": "zero one two three four five six seven eight nine",
    "de": "null eins zwei drei vier fünf sechs sieben acht neun",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "it": "zero uno due tre quattro cinque sei sette otto nove",
    "pt": "zero um dois três quatro cinco seis sete oito nove",
    "nl": "nul een twee drie vier vijf zes zeven acht negen",
}
_FURTHER: Final = {
    "oh": "0", "o": "0", "nought": "0", "naught": "0", "nil": "0", "zwo": "2", "fuenf": "5", "dreizehn": "13",
    "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15",
    "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19",
    "zehn": "10", "elf": "11", "zwölf": "12", "zwoelf": "12", "vierzehn": "14", "fünfzehn": "15",
    "fuenfzehn": "15", "sechzehn": "16", "siebzehn": "17", "achtzehn": "18", "neunzehn": "19",
}  # fmt: skip
TENS: Final[Mapping[str, str]] = {
    "twenty": "2", "thirty": "3", "forty": "4", "fourty": "4", "fifty": "5", "sixty": "6", "seventy": "7",
    "eighty": "8", "ninety": "9",
    "zwanzig": "2", "dreißig": "3", "dreissig": "3", "vierzig": "4", "fünfzig": "5", "fuenfzig": "5", "sechzig": "6",
    "siebzig": "7", "achtzig": "8", "neunzig": "9",
}  # fmt: skip
DIGITS_OF: Final[Mapping[str, str]] = {
    **{word: str(value) for words in _UNITS.values() for value, word in enumerate(words.split())},
    **_FURTHER,
}
_GERMAN: Final = re.compile(
    r"(ein|zwei|drei|vier|fünf|fuenf|sechs|sieben|acht|neun)und"
    r"(zwanzig|drei(?:ß|ss)ig|vierzig|f(?:ü|ue)nfzig|sechzig|siebzig|achtzig|neunzig)"
)
TIMES: Final = {
    "double": 2, "twice": 2, "triple": 3, "treble": 3, "doppel": 2, "doppelt": 2, "zweimal": 2, "dreimal": 3,
}  # fmt: skip
HUNDRED: Final = frozenset({"hundred", "hundert"})
# After one of these a number is a quantity.
SCALES: Final = frozenset(
    {"thousand", "million", "millions", "billion", "tausend", "millionen", "milliarden"}
)
# Said between the pieces of one number.
FILLERS: Final = frozenset(
    {
        "dash",
        "hyphen",
        "minus",
        "strich",
        "bindestrich",
        "space",
        "and",
        "und",
        "then",
        "dann",
        "uh",
        "um",
        "er",
        "äh",
    }
    | {
        "ähm",
        "so",
        "comma",
        "komma",
        "slash",
        "dot",
        "punkt",
        "hmm",
        "okay",
        "ok",
        "extension",
        "durchwahl",
        "point",
    }
    | {"area", "code"}
)
FILLERS_MAX: Final = 2
# What is written between the pieces of one number.
_BETWEEN: Final = re.compile("[\\s,.()/+:;'’…–—*_|·•\u00ad\u200b-\u200d\u2060\ufeff-]{0,6}")
_TOKEN: Final = re.compile(
    # Quantities, dates and times are one token each, and no digits of a number.
    r"(?P<no>(?<![\w.,])[$€£]?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\w,])"
    r"|(?<![\w-])(?:19|20)\d\d-[01]\d-[0-3]\d(?![\w-])"
    r"|(?<![\w:])[0-2]?\d:[0-5]\d(?::[0-5]\d)?(?![\w:])"
    r"|[$€£]\s?\d+(?:[.,]\d+)?)"
    r"|(?P<digits>\d+)|(?P<word>[^\W\d_]+)"
)


class Token(NamedTuple):
    """A word or a group of digits. `digits` is what it means as a number, None if it is none."""

    start: int
    end: int
    word: str
    digits: str | None
    typed: bool


class Run(NamedTuple):
    """One number, from its first word to its last."""

    start: int
    end: int
    digits: str
    groups: tuple[str, ...]
    spoken: bool


def means(word: str) -> str | None:
    """The digits that a word stands for, tens as a whole: "forty" is 40."""
    found = DIGITS_OF.get(word)
    if found is not None:
        return found
    if word in TENS:
        return TENS[word] + "0"
    if "und" in word and (match := _GERMAN.fullmatch(word)) is not None:
        return TENS[match[2]] + ("1" if match[1] == "ein" else DIGITS_OF[match[1]])
    return None


def tokens(text: str) -> Iterator[Token]:
    for match in _TOKEN.finditer(text):
        start, end = match.span()
        kind = match.lastgroup
        if kind == "digits":
            yield Token(start, end, match[0], _western(match[0]), True)
        elif kind == "word":
            word = match[0].lower()
            yield Token(start, end, word, means(word), False)
        else:
            yield Token(start, end, "", None, True)


def _western(digits: str) -> str:
    """The same digits as 0 to 9: recognisers write those of the language."""
    return digits if digits.isascii() else "".join(str(unicodedata.decimal(digit)) for digit in digits)


class _Open:
    """A run while it is being read."""

    def __init__(self) -> None:
        self.start = -1
        self.end = 0
        self.groups: list[str] = []  # bounded: by the text
        self.spoken = False
        self.fillers = 0
        self.times = 1
        self.tens = False  # was the last word one of the tens, to which a unit may be added?

    def take(self, token: Token) -> None:
        if self.start < 0:
            self.start = token.start
        digits = str(token.digits) * self.times
        if self.tens and not token.typed and len(digits) == 1 and digits != "0" and self.times == 1:
            self.groups[-1] = self.groups[-1][0] + digits
            self.tens = False
        else:
            self.groups.append(digits)
            self.tens = token.word in TENS and self.times == 1
        self.spoken = self.spoken or not token.typed
        self.end, self.fillers, self.times = token.end, 0, 1

    def run(self) -> Run | None:
        if not self.groups:
            return None
        return Run(self.start, self.end, "".join(self.groups), tuple(self.groups), self.spoken)


def runs(text: str) -> Iterator[Run]:
    """Every number of a text, in order."""
    now = _Open()
    last = 0
    for token in tokens(text):
        near = _BETWEEN.fullmatch(text, last, token.start) is not None
        last = token.end
        if not near and (now.groups or now.times > 1):
            if found := now.run():
                yield found
            now = _Open()
        if token.digits is not None:
            now.take(token)
        elif token.word in TIMES:
            if now.start < 0:
                now.start = token.start
            now.times = TIMES[token.word]
        elif token.word in HUNDRED and now.groups and len(now.groups[-1]) <= 2:
            now.groups.append("00")
            now.end, now.tens = token.end, False
        elif token.word in SCALES:
            now = _Open()
        elif token.word in FILLERS and now.groups and now.fillers < FILLERS_MAX:
            now.fillers += 1
            now.tens = False
        else:
            if found := now.run():
                yield found
            now = _Open()
    if found := now.run():
        yield found
