"""What a secret looks like, wherever it stands: by its form, by what is written before it, or because it is random.

Ordinary identities stay: session ids, UUIDs, `name@version`, paths of words, digests that are named as such. A random text
changes between capitals, small letters and digits nearly everywhere; a name does so where its words begin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

from rspp.host.secrets import REDACTED
from rspp.timeline.redaction.keywords import names_a_secret, plain
from rspp.timeline.redaction.secrets import formed_in, named_in

Place = tuple[int, int]


# Too short for any form, and no name with a value: most values of most records. A shortcut, and nothing else.
_HARMLESS: Final = re.compile(r"(?!.*(?:xox|xapp))[A-Za-z0-9._-]{0,18}")


class Kind(StrEnum):
    """What a text is, and so what of random looks it may have."""

    FREE = "free"
    DIGEST = "digest"  # hexadecimal digits are what it is made of
    IDENTITY = (
        "identity"  # chosen by an owner: a UUID without hyphens is one, and a lease token looks the same
    )


# Forms of one maker each, beside those that recordings are searched for.
_FORMS: Final = re.compile(
    r"\b(?:npm|glptt|gldt|glrt|dop_v1|doo_v1|dor_v1|shpat|shpss|shpca|shppa|figd|lin_api|sntrys|gsk|r8|nvapi|tvly|pypi"
    r"|dckr_pat|atlasv1|secret|key|rnd|sbp|pat|xai|fw|co|lsv2_pt|lsv2_sk|ops)[-_](?=[A-Za-z0-9_.-]*\d)[A-Za-z0-9_.-]{16,}"
    r"|\bhv[sbr]\.[A-Za-z0-9_-]{16,}|\bsq0[a-z]{3}-[A-Za-z0-9_-]{16,}|\bdapi[0-9a-f]{32}|\bxapp-[A-Za-z0-9-]{8,}"
    r"|\bAGE-SECRET-KEY-1[0-9A-Z]{20,}|\bEAAC[A-Za-z0-9]{20,}|\b\d{8,10}:[A-Za-z0-9_-]{35}\b"
    r"|\$(?:2[abxy]|argon2[a-z]{0,2}|[156]|scrypt|y)\$[^\s\"',;]{8,}"
    r"|\bAKC[a-zA-Z0-9]{10,}|\b[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}"
    r"|\bhooks\.[a-z.]{1,64}/services/\S+",
)
_CARRIED: Final = re.compile(
    r"\b(?:bearer|basic|negotiate|apikey|dpop)[\s:]+(?=[^\s,;]*[\d=._~+/-])([^\s,;\"']{4,})"
    r"|\b(?:authorization|proxy-authorization|set-cookie|cookie|x-api-key|x-auth-token)\"?'?\s*[:=]\s*[\"']?([^\r\n\"']+)"
    r"|//([^/?#\s@]{0,256}:[^/?#\s@]{0,256})@"
    r"|[?&#;](?:access_token|id_token|code|ticket|jwt|auth|session|sid|credential|x-amz-[a-z-]{1,32}|sas|pwd|pass|otp|resume"
    r"|[a-z_.-]{0,32}(?:key|token|secret|password|signature|sig))=([^&#\s]+)",
    re.IGNORECASE,
)
# `name = value`, `"name": "value"`, `name=>value`, `"name": {...}`, quoted once more or not. The
# value is only looked at: what stands in it may have names of its own. Whether the name is that of a secret is asked of `keywords`.
_ASSIGNED: Final = re.compile(
    r"(?<![\w.-])((?:[A-Za-z]{1,16} )?[^\W\d][\w.-]{1,63})[\"'\]\\]{0,4}\s{0,3}(?::=|=>|[:=])\s{0,3}(?:b(?=[\"']))?\\{0,2}"
    r"(?=\"([^\"\n]+)\"|'([^'\n]+)'|(\{[^{}]{0,1024}\}?)|(\[[^\[\]]{0,1024}\]?)|([^\s\"',;&}\]]+))"
)
_UUID: Final = re.compile(
    r"(?<![0-9A-Za-z])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9A-Za-z])", re.IGNORECASE
)
# Random by their looks, and names by their form: a ULID, and what carriers call a telephone call.
_NAMED: Final = re.compile(r"(?<![0-9A-Za-z])(?:[0-7][0-9A-HJKMNP-TV-Z]{25}|CA[0-9a-f]{32})(?![0-9A-Za-z])")
# A digest may say so itself.
_HEX: Final = re.compile(
    r"(?<!sha256[:-])(?<!sha512[:-])(?<![0-9A-Za-z])[0-9a-f]{32,}(?![0-9A-Za-z])", re.IGNORECASE
)
_RUN: Final = re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9+]+")
_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")
# Of three alphabets at once; of letters of one case and digits; the same where an identity is expected.
MIXED_CHARACTERS_MIN: Final = 20
PLAIN_CHARACTERS_MIN: Final = 24
IDENTITY_CHARACTERS_MIN: Final = 32
CHANGES_MIXED_MIN: Final = 0.3
CHANGES_PLAIN_MIN: Final = 0.2
PASSES_MAX: Final = 4
DIGITS_MAX: Final = 18
_SWITCHES: Final = frozenset({"true", "false", "null", "none"})
_ESCAPED: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")
# What stands in the place of something is no secret.
_MARKS: Final = re.compile(rf"{re.escape(REDACTED)}|\.\.\.\[\+\d+\]|\[\+\d+\]|\[[a-z]{{1,16}}(?: \d+)?\]")
_HEAD: Final = re.compile(r"(?:env://\w{1,128}|file:///\S{1,512})")


def without_secrets(text: str, kind: Kind = Kind.FREE) -> str:
    """The text with `[redacted]` where a secret stood, and nothing invisible; cleaning it again changes nothing."""
    if _HARMLESS.fullmatch(text):
        return text
    text = plain(text)
    for _ in range(PASSES_MAX):
        cleaned = _once(text, kind)
        if cleaned == text:
            return REDACTED if _is_written_otherwise(text, kind) else text
        text = cleaned
    return REDACTED


def formed(text: str) -> Iterator[Place]:
    """Where a text stands that has one maker's form, whatever is written around it."""
    yield from formed_in(text)
    for match in _FORMS.finditer(text):
        yield match.span()


def _is_written_otherwise(text: str, kind: Kind) -> bool:
    """Is there a secret in what its escapes stand for, as `repr` and JSON write what is no plain letter?"""
    if "\\" not in text:
        return False
    meant = _ESCAPED.sub(lambda match: chr(int(match[1] or match[2], 16)), text)
    return meant != text and any(_places(plain(meant), kind))


def _once(text: str, kind: Kind) -> str:
    if "%" in text:
        meant = unquote(text)
        if meant != text and any(_places(plain(meant), kind)):
            return REDACTED
    done, at = [], 0  # bounded: by the text
    for start, end in sorted(_places(text, kind)):
        if end <= at:
            continue
        if start >= at:
            done += [text[at:start], REDACTED]
        at = end
    return "".join([*done, text[at:]])


def _places(text: str, kind: Kind) -> Iterator[Place]:
    """Where secrets stand; what only marks or references another place is none."""
    for start, end in _all(text, kind):
        mark = _MARKS.match(text, start)
        stands = text[start : max(end, mark.end() if mark else 0)]
        if _HEAD.fullmatch(stands) is None and any(map(str.isalnum, _MARKS.sub("", stands))):
            yield start, end


def _all(text: str, kind: Kind) -> Iterator[Place]:
    for start, end, _ in named_in(text):
        yield start, end
    for match in _FORMS.finditer(text):
        yield match.span()
    for match in _CARRIED.finditer(text):
        yield match.span(match.lastindex or 0)
    for match in _ASSIGNED.finditer(text):
        if names_a_secret(match[1], _value_of(match[match.lastindex or 0])):
            yield match.span(match.lastindex or 0)
    yield from _random(text, kind)


def _value_of(text: str) -> str | int | None:
    """As its writer meant it: a number may count what a secret is called by, and a switch hides nothing."""
    if text.isdecimal() and len(text) <= DIGITS_MAX:
        return int(text)
    return None if text.lower() in _SWITCHES else text


def _random(text: str, kind: Kind) -> Iterator[Place]:
    if kind is Kind.FREE:
        for match in _HEX.finditer(text):
            yield match.span()
    # What is spared takes nothing with it that is only written beside it.
    left = _UUID.sub(_blank, text)
    if kind is Kind.IDENTITY:
        left = _NAMED.sub(_blank, left)
    for match in _RUN.finditer(left):
        if is_random(match[0], kind):
            yield match.span()


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


def is_random(text: str, kind: Kind = Kind.FREE) -> bool:
    """Was this drawn, and not thought up?"""
    segments = _SEGMENT.findall(text)
    if not segments or not any(map(str.isdigit, text)):
        return False
    if all(_HEX_DIGITS.issuperset(one) and not (_upper(one) and _lower(one)) for one in segments):
        return False  # digits of digests are told apart by their length alone
    least = IDENTITY_CHARACTERS_MIN if kind is Kind.IDENTITY else MIXED_CHARACTERS_MIN
    if _upper(text) and _lower(text):
        return len(text) >= least and _changes(segments) >= CHANGES_MIXED_MIN
    least = IDENTITY_CHARACTERS_MIN if kind is Kind.IDENTITY else PLAIN_CHARACTERS_MIN
    return any(
        len(one) >= least and not _HEX_DIGITS.issuperset(one) and _changes([one]) >= CHANGES_PLAIN_MIN
        for one in segments
    )


def _changes(segments: list[str]) -> float:
    """How often a kind of character follows another, of all places where it could; a capital before small letters is a word."""
    places = changed = 0
    for one in segments:
        kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in one]
        for at in range(1, len(kinds)):
            places += 1
            word = kinds[at - 1] == "u" and kinds[at] == "l" and (at == 1 or kinds[at - 2] == "l")
            changed += kinds[at - 1] != kinds[at] and not word
    return changed / places if places else 0.0


def _upper(text: str) -> bool:
    return any(map(str.isupper, text))


def _lower(text: str) -> bool:
    return any(map(str.islower, text))
