"""Personal data and secrets are found in a text, typed or spoken; when in doubt, a thing is found.

    find("it's four one one one, one one one one, ...")  ->  [Span(5, 93, "card")]

What is typed has its forms and check digits in `rspp.nodes.redaction`; what is spoken is read as digits first. Findings
that overlap are one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from rspp.nodes.redaction import found_in, luhn
from rspp.timeline.records import Span
from rspp.timeline.redaction.secrets import secrets_in
from rspp.timeline.redaction.spoken import DIGITS_OF, TENS, TIMES, Run, Token, runs, tokens

KINDS: Final = ("card", "iban", "phone", "email", "national_id", "number", "birth_date", "secret")
# A number that is said is no telephone number below this many digits.
SPOKEN_DIGITS_MIN: Final = 7
# Written without gaps: 8 digits are a date or an amount of something, 9 are somebody's number.
WRITTEN_DIGITS_MIN: Final = 9
# More digits than anybody says in one text: then every number is found, and no form is tried on all of them.
DENSE_DIGITS: Final = 512
# While a text still grows, a number of so many digits may become anything.
STRICT_DIGITS_MIN: Final = 3

# A text that has none of these marks, pieces and words holds nothing that is looked for.
_MARKS: Final = re.compile(r"[\d@:=]|[A-Za-z0-9+/_=-]{20}")
_PIECES: Final = re.compile(r"\w{3,}wort|und[zdvfsan]|[zß]ig")
_WORD: Final = re.compile(r"[^\W\d_]+")
_TRIGGERS: Final = frozenset(
    {*DIGITS_OF, *TENS, *TIMES}
    | {
        "at",
        "ät",
        "arroba",
        "klammeraffe",
        "chiocciola",
        "born",
        "birth",
        "birthday",
        "birthdate",
        "dob",
        "geboren",
    }
    | {"geburtstag", "geburtsdatum", "né", "née", "nacido", "nacida", "nacimiento"}
    | {
        "pass",
        "password",
        "passwort",
        "passphrase",
        "passcode",
        "passwd",
        "pwd",
        "kennwort",
        "pin",
        "geheimzahl",
    }
    | {
        "secret",
        "key",
        "token",
        "code",
        "cvv",
        "cvc",
        "otp",
        "tan",
        "bearer",
        "basic",
        "contraseña",
        "passe",
        "answer",
    }
    | {"sicherheitscode", "prüfnummer", "number", "value", "word", "pinnummer", "pincode"}
)
_CODE_NAMED: Final = re.compile(
    r"\b(?:pin|code|password|passcode|passwort|kennwort|cvv|cvc|tan|otp|geheimzahl|ssn|social(?:\ssecurity)?|security"
    r"|digits\son\sthe\sback|back\sof\s(?:the|my)\scard|sozialversicherung\w*|rentenversicherung\w*"
    r"|last\s(?:four|4)|letzten?\s(?:vier|4)|kontonummer|account(?:\snumber)?|routing(?:\snumber)?|sort\scode"
    r"|passport|reisepass|ausweis\w*|licen[cs]e(?:\snumber)?|member(?:ship)?\snumber|policy\snumber|versicherungsnummer"
    r"|steuer\w*|tax\s(?:id|number)|national\s(?:id|insurance)(?:\snumber)?|bankleitzahl|blz|prüfziffer"
    r"|\w*prüfnummer|sicherheitscode|phone|telephone|mobile|cell|handy|telefon\w*|handynummer|call\sme|ring\sme|text\sme"
    r"|reach\sme|ruf\w*\smich|card(?:\snumber)?|kartennummer|kreditkarte\w*|ending\s(?:in|with)|endet\sauf)\b"
    r"[^\n]{0,40}\Z",
    re.IGNORECASE,
)
# Numbers of documents have letters in them.
_DOCUMENT: Final = re.compile(
    r"\b(?:passport|reisepass\w*|\w*ausweis\w*|licen[cs]e|führerschein\w*|identity\scard|id\scard|versicherten\w*)\b"
    r"[^\n\d]{0,24}?\b((?=[a-z0-9]*\d[a-z0-9]*\d)[a-z0-9]{6,14})\b",
    re.IGNORECASE,
)
_NAMED_BACK: Final = 64
_NAMED_DIGITS_MIN: Final = 3
_BORN: Final = re.compile(
    r"\b(?:born|birth\s?(?:day|date)?|dob|d\.o\.b|geboren|geburtstag|geburtsdatum|né|née|nacido|nacida|nacimiento)\b",
    re.IGNORECASE,
)
_BORN_REACH: Final = 48
_MONTHS: Final = (
    "january february march april may june july august september october november december jan feb mar apr jun jul "
    "aug sep sept oct nov dec januar februar märz mai juni juli oktober dezember"
)
_ORDINALS: Final = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth thirtieth ersten zweiten dritten vierten fünften sechsten "
    "siebten achten neunten zehnten elften zwölften th st nd rd hundred thousand hundert tausend neunzehnhundert"
)
_DATE_WORDS: Final = frozenset([*_MONTHS.split(), *_ORDINALS.split()])
_HUNDREDS: Final = re.compile(r"\w*(?:hundert|tausend)\w*")
# Between a date and a word after it that says that somebody was born on it.
_BORN_LINKS: Final = frozenset(
    {"is", "was", "my", "ist", "war", "mein", "bin", "ich", "s", "her", "his", "date"}
)
_DATE_LINKS: Final = frozenset({"of", "the", "in", "on", "am", "im", "der", "de", "and", "und"})

_TOP: Final = r"(?:com|org|net|edu|gov|info|io|ai|app|dev|me|co|uk|de|at|ch|fr|es|it|nl|be|eu|us|ca|au|in|pt|pl|se|no|dk|fi)"
_AT: Final = re.compile(
    r"(?:(?<=\s)(?:at(?:\s+sign)?|ät|arroba|klammeraffe|chiocciola)\s+|\s?@\s?)"
    r"(?P<domain>[\w-]{1,63}(?:\s+(?:dash|hyphen|minus|bindestrich)\s+[\w-]{1,63}|\s+[\w-]{1,63}){0,3}?"
    rf"(?:(?:\s+(?:dot|punkt|point|punto)\s+[a-z]{{2,12}}|\.[a-z]{{2,12}}|\s?\.\s?{_TOP})){{1,3}})(?![\w-])",
    re.IGNORECASE,
)
_TIED: Final = frozenset(
    {
        "dot",
        "punkt",
        "point",
        "punto",
        "underscore",
        "unterstrich",
        "dash",
        "hyphen",
        "minus",
        "bindestrich",
        "plus",
    }
)
_BEFORE_MAIL: Final = frozenset(
    {
        "is",
        "s",
        "it",
        "its",
        "my",
        "me",
        "to",
        "at",
        "on",
        "email",
        "mail",
        "e",
        "address",
        "the",
        "and",
        "or",
        "an",
    }
    | {
        "unter",
        "ist",
        "meine",
        "adresse",
        "lautet",
        "use",
        "us",
        "try",
        "write",
        "send",
        "reach",
        "contact",
        "under",
        "via",
    }
    | {
        "in",
        "of",
        "for",
        "was",
        "by",
        "with",
        "der",
        "die",
        "das",
        "auf",
        "schreiben",
        "sie",
        "please",
        "bitte",
        "just",
    }
)
_NO_DOMAIN: Final = frozenset(
    {"that", "the", "this", "a", "an", "which", "what", "every", "each", "der", "dem", "den", "die"}
)
# Who looks at a page writes to nobody.
_LOOKED: Final = frozenset(
    {"look", "looking", "looked", "check", "shop", "order", "book", "online", "website", "page"}
)
_LOCAL_WORDS_MAX: Final = 3


def find(text: str, kinds: Collection[str] = KINDS, *, strict: bool = False) -> list[Span]:
    """Where personal data and secrets stand in a text, in order, no two of them touching.

    `strict` is for a text that is not whole: every number of three digits and more is found.
    """
    if not _may_hold(text):
        return []
    found = [place for place in _places(text, strict) if place[2] in kinds]
    return merged(found)


def _may_hold(text: str) -> bool:
    if _MARKS.search(text) is not None:
        return True
    low = text.lower()
    return not _TRIGGERS.isdisjoint(_WORD.findall(low)) or _PIECES.search(low) is not None


def merged(found: list[tuple[int, int, str]]) -> list[Span]:
    """Places that overlap become one, of the kind of the largest."""
    spans: list[Span] = []
    size = 0
    for start, end, kind in sorted(found, key=lambda place: (place[0], -place[1])):
        if end <= start:
            continue
        if spans and start < spans[-1].end:
            last = spans[-1]
            wide = end - start > size
            size = max(size, end - start)
            spans[-1] = Span(last.start, max(last.end, end), kind if wide else last.kind)
        else:
            spans.append(Span(start, end, kind))
            size = end - start
    return spans


def _places(text: str, strict: bool) -> Iterator[tuple[int, int, str]]:
    dense = sum(map(str.isdigit, text)) > DENSE_DIGITS
    if not dense:
        yield from found_in(text)
    yield from secrets_in(text)
    yield from _mails(text)
    yield from _births(text)
    for match in _DOCUMENT.finditer(text):
        yield *match.span(1), "number"
    for run in runs(text):
        kind = _kind_of(text, run)
        if kind is None and (strict or dense) and len(run.digits) >= STRICT_DIGITS_MIN:
            kind = "number"
        if kind is not None:
            yield _with_sign(text, run.start), run.end, kind


def _with_sign(text: str, start: int) -> int:
    """A plus before a number is a part of it."""
    head = text[:start].rstrip(" (")
    if head.endswith("+"):
        return len(head) - 1
    return len(head) - 4 if head[-5:].lower() in (" plus", "plus") else start


def _kind_of(text: str, run: Run) -> str | None:
    digits, groups = run.digits, run.groups
    count, sizes = len(digits), [len(group) for group in groups]
    signed = _with_sign(text, run.start) < run.start
    if 13 <= count <= 19 and luhn(digits) and len(set(digits)) > 1:
        return "card"
    if not run.spoken and all(
        size == 4 and "1900" <= group <= "2099" for size, group in zip(sizes, groups, strict=True)
    ):
        return None  # years
    if run.spoken and count >= SPOKEN_DIGITS_MIN:
        return _by_size(sizes, count)
    if any(size >= WRITTEN_DIGITS_MIN for size in sizes):
        return "number"
    spelled = sizes.count(1) >= max(5, len(sizes) - 2)
    if count >= SPOKEN_DIGITS_MIN and (spelled or signed or _like_phone(sizes, digits)):
        return _by_size(sizes, count)
    if sizes == [3, 2, 4]:
        return "national_id"
    if len(sizes) > 1 and set(sizes) == {4}:
        return "number"  # half a card
    if count >= 13 and "," not in text[run.start : run.end]:
        return "number"
    if count >= _NAMED_DIGITS_MIN and _CODE_NAMED.search(text[max(0, run.start - _NAMED_BACK) : run.start]):
        return "number"
    return None


def _like_phone(sizes: list[int], digits: str) -> bool:
    """Written in the groups in which telephone numbers are written, whatever stands between them."""
    if sizes in ([3, 3, 4], [1, 3, 3, 4], [3, 4], [3, 3, 2, 2], [3, 2, 2]):
        return True
    return digits[0] == "0" and len(sizes) > 1 and len(digits) >= 8


def _by_size(sizes: list[int], count: int) -> str:
    if sizes == [3, 2, 4] or count == 9:
        return "national_id"
    return "phone" if count <= 15 else "number"


def _births(text: str) -> Iterator[tuple[int, int, str]]:
    """A date beside a word that says that somebody was born on it: in German it stands in front of it."""
    for match in _BORN.finditer(text):
        begun = ended = -1
        for token in tokens(text[match.end() : match.end() + _BORN_REACH]):
            if _dated(token):
                begun = token.start if begun < 0 else begun
                ended = token.end
            elif begun >= 0 and token.word not in _DATE_LINKS:
                break
        if begun >= 0:
            yield match.end() + begun, match.end() + ended, "birth_date"
            continue
        offset = max(0, match.start() - _BORN_REACH)
        for token in reversed(list(tokens(text[offset : match.start()]))):
            if _dated(token):
                begun, ended = token.start, max(ended, token.end)
            elif token.word not in (_BORN_LINKS if begun < 0 else _DATE_LINKS):
                break
        if begun >= 0:
            yield offset + begun, offset + ended, "birth_date"


def _dated(token: Token) -> bool:
    if token.digits is not None or token.word in _DATE_WORDS or (token.typed and not token.word):
        return True
    return _HUNDREDS.fullmatch(token.word) is not None


def _mails(text: str) -> Iterator[tuple[int, int, str]]:
    """`john dot smith at example dot com`, and what else a recogniser makes of an address."""
    for match in _AT.finditer(text):
        if match["domain"].split(maxsplit=1)[0].lower() in _NO_DOMAIN:
            continue
        start = _local(text, match.start())
        looked = text[start : match.start()].strip().lower() in _LOOKED and "@" not in match[0]
        if start < match.start() and not looked:
            yield start, match.end(), "email"


def _local(text: str, end: int) -> int:
    """Where the part before the at begins: words that are tied by dots, letters that are spelled, or a name."""
    before = list(tokens(text[max(0, end - 120) : end]))
    offset = max(0, end - 120)
    start, free, tied = end, 0, True
    place = end - offset
    for token in reversed(before):
        gap = text[offset + token.end : offset + place]
        if gap.strip(" ._-+"):
            break
        joined = gap != "" and not gap.isspace()
        spelled = len(token.word) == 1 or token.digits is not None
        if token.word in _TIED:
            tied = True
        elif tied or joined or gap == "" or spelled:
            if free and token.word in _BEFORE_MAIL and not joined:
                break
            tied, free = False, free + 1
        elif token.word in _BEFORE_MAIL or free >= _LOCAL_WORDS_MAX:
            break
        else:
            free += 1
        start, place = offset + token.start, token.start
    return start


def numbers(text: str) -> list[Run]:
    """Every number of the text, however it is said; for who looks for a number that is known."""
    return list(runs(text)) if _may_hold(text) else []
