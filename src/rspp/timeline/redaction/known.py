"""What was found once is masked wherever it is said again: the assistant repeats the caller's number.

Only what is distinctive is remembered: numbers of some length, and long words; a single "four" would mask everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from rspp.timeline.records import Span
from rspp.timeline.redaction.patterns import numbers
from rspp.timeline.redaction.spoken import means

DIGITS_MIN: Final = 3  # "ending in four two two" is said of a longer number
WORD_CHARACTERS_MIN: Final = 4
KNOWN_MAX: Final = 512
_WORD: Final = re.compile(r"[^\W_]+")
# Parts of an address that are nobody's in particular.
_COMMON: Final = frozenset(
    {
        "underscore",
        "hyphen",
        "minus",
        "unterstrich",
        "bindestrich",
        "gmail",
        "hotmail",
        "outlook",
        "yahoo",
        "mail",
    }
    | {
        "email",
        "example",
        "online",
        "info",
        "point",
        "punkt",
        "punto",
        "sign",
        "plus",
        "double",
        "triple",
        "with",
    }
    | {
        "that",
        "this",
        "have",
        "from",
        "your",
        "please",
        "thanks",
        "january",
        "february",
        "march",
        "april",
        "june",
    }
    | {
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "first",
        "second",
        "third",
        "dash",
        "area",
    }
    | {"bearer", "begin", "private", "public"}
)


class Known:
    """The numbers and words of one session that were found to be sensitive."""

    __slots__ = ("_digits", "_words")

    def __init__(self) -> None:
        self._digits: dict[str, None] = {}  # bounded: KNOWN_MAX
        self._words: dict[str, None] = {}  # bounded: KNOWN_MAX

    def learn(self, text: str, spans: Iterable[Span]) -> None:
        for span in spans:
            said = text[span.start : span.end]
            for run in numbers(said):
                if len(run.digits) >= DIGITS_MIN:
                    _keep(self._digits, run.digits)
            if span.kind in ("email", "secret"):
                for match in _WORD.finditer(said):
                    word = match[0].lower()
                    if len(word) >= WORD_CHARACTERS_MIN and word not in _COMMON and means(word) is None:
                        _keep(self._words, word)

    def number(self, digits: str) -> None:
        """A number that was keyed."""
        _keep(self._digits, digits)

    def seen_in(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Where something of it stands in a text."""
        if self._digits:
            for run in numbers(text):
                if len(run.digits) >= DIGITS_MIN and any(
                    run.digits in known or known in run.digits for known in self._digits
                ):
                    yield run.start, run.end, "known"
        if self._words:
            for match in _WORD.finditer(text):
                if match[0].lower() in self._words:
                    yield *match.span(), "known"


def _keep(book: dict[str, None], entry: str) -> None:
    """The oldest goes first."""
    book.pop(entry, None)
    if len(book) >= KNOWN_MAX:
        del book[next(iter(book))]
    book[entry] = None
