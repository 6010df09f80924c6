"""Keys, tokens and passwords are known by how they are written, or by what is said before them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

_FORMS: Final = re.compile(
    r"-----BEGIN [A-Z ]{3,40}-----.*?(?:-----END [A-Z ]{3,40}-----|\Z)"
    r"|\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"
    r"|\bxox[a-z]-[A-Za-z0-9-]{8,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\bAIza[0-9A-Za-z_-]{30,}|\bya29\.[0-9A-Za-z_-]{16,}|\bhf_[A-Za-z0-9]{16,}"
    r"|\bwhsec_[A-Za-z0-9]{16,}|\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?",
    re.DOTALL,
)
# Group 1 is what must not be seen.
_CARRIED: Final = re.compile(
    r"\b(?:bearer|basic)\s+([A-Za-z0-9._~+/=-]{12,})"
    r"|://([^/?#\s]{1,256})@"
    r"|[?&](?:[^=&#\s]{0,32}(?:key|token|secret|password|signature|sig))=([^&#\s]+)",
    re.IGNORECASE,
)
_NAMES: Final = (
    r"pass(?:\s?word|\s?wort|\s?phrase|\s?code|wd)|pwd|kennwort|pin|pin\s?(?:code|number|nummer)|geheimzahl"
    r"|secret(?:\s(?:key|word|question|answer))?|api[\s_-]?(?:key|token)|access[\s_-]?(?:key|token)|auth[\s_-]?token"
    r"|security\s(?:code|answer|word)|cvv|cvc|card\sverification(?:\s(?:code|value|number))?|sicherheitscode|prüfnummer"
    r"|verification\scode|one[\s-]time\s(?:code|password)|otp|tan|token|contraseña|mot\sde\spasse"
)
_SAID: Final = re.compile(
    rf"(?<![\w])(?:{_NAMES})(?:\s+(?:for|of|on|für|von)(?:\s+\w+){{1,3}}?)?"
    r"\s*(?::|=|(?:,?\s*(?:is|was|ist|lautet|war|equals|heißt|es|est)\b|['’]s\b)(?:\s+(?:now|still|jetzt|actually))?:?)"
    r"\s*[\"'„“”«]?",
    re.IGNORECASE,
)
# A password follows as one word, or as some, to the end of the clause.
_VALUE: Final = re.compile(r"[^\s\"„“”«»,;!?]+(?:[ \t]+[^\s\"„“”«»,;!?]+){0,7}")
# These after "the password is" make it a remark about a password.
_REMARKS: Final = frozenset(
    {
        "required",
        "wrong",
        "incorrect",
        "not",
        "invalid",
        "expired",
        "reset",
        "needed",
        "a",
        "an",
        "the",
        "in",
        "on",
    }
    | {"important", "missing", "too", "being", "used", "something", "what", "to", "at", "sent"}
    | {
        "nicht",
        "falsch",
        "abgelaufen",
        "ein",
        "eine",
        "der",
        "die",
        "das",
        "notwendig",
        "nötig",
        "zu",
        "printed",
    }
    | {"for", "always", "never", "usually", "also", "accepted", "empty", "optional", "blocked", "gesperrt"}
)
_REMARKS_ALONE: Final = frozenset(
    {"correct", "safe", "only", "right", "good", "fine", "richtig", "gut", "old", "new"}
)
# Where a password of several words ends.
_ENDS: Final = frozenset(
    {"and", "but", "please", "thanks", "thank", "und", "aber", "bitte", "danke", "so", "because"}
)
_DENSE: Final = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_=-]{20,}(?![A-Za-z0-9+/_-])")
_HEX: Final = re.compile(r"(?<![0-9a-z])[0-9a-f]{32,}(?![0-9a-z])", re.IGNORECASE)
# Random text has about as much in a character as its alphabet allows; words and names have less.
ENTROPY_BITS_MIN: Final = 3.5


def secrets_in(text: str) -> Iterator[tuple[int, int, str]]:
    """Where a secret stands."""
    yield from named_in(text)
    for pattern in (_HEX, _DENSE):
        for match in pattern.finditer(text):
            if pattern is _HEX or _dense(match[0]):
                yield *match.span(), "secret"


def formed_in(text: str) -> Iterator[tuple[int, int]]:
    """Where one stands that has its maker's form, whatever is written around it."""
    for match in _FORMS.finditer(text):
        yield match.span()


def named_in(text: str) -> Iterator[tuple[int, int, str]]:
    """Where one stands that is known by its form or by what is said before it, however random it looks."""
    for match in _FORMS.finditer(text):
        yield *match.span(), "secret"
    for match in _CARRIED.finditer(text):
        yield *match.span(match.lastindex or 0), "secret"
    for match in _SAID.finditer(text):
        yield from _value(text, match.end())


def _value(text: str, at: int) -> Iterator[tuple[int, int, str]]:
    match = _VALUE.match(text, at)
    if match is None:
        return
    words = list(re.finditer(r"\S+", match[0]))
    first = words[0][0].lower().strip(".:")
    if first in _REMARKS or (len(words) == 1 and first in _REMARKS_ALONE):
        return
    end = 0
    for word in words:
        if end and word[0].lower() in _ENDS:
            break
        end = word.end()
        if word[0][-1] in ".:" and len(word[0]) > 1:
            end -= 1
            break
    yield match.start(), match.start() + end, "secret"


def _dense(text: str) -> bool:
    kinds = (str.isdigit, str.isupper, str.islower)
    if sum(any(map(kind, text)) for kind in kinds) < 2 or not any(map(str.isdigit, text)):
        return False
    counts = Counter(text)
    bits = -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    return bits >= ENTROPY_BITS_MIN
