"""Was a text drawn at random, or thought up? What stands in the place of a secret is none, and neither is a reference to one."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from typing import Final

from rspp.timeline.redaction.forms import is_random

# Bits in a character: words and names have less than what was drawn from an alphabet of this size.
HEX_BITS_MIN: Final = 3.0
BODY_BITS_MIN: Final = 2.6  # its maker's mark says already what it is
DENSE_BITS_MIN: Final = 3.2
DENSE_CHARACTERS_MIN: Final = 12
HEX_CHARACTERS_MIN: Final = 32
# So many in a row, each the next of the one before, or the same: nobody draws that.
RUN_CHARACTERS: Final = 6

_STAND_INS: Final = re.compile(
    r"example|placeholder|redacted|change[-_]?me|replace[-_]?me|your[-_]|insert[-_]"
    r"|(?<![a-z0-9])(?:dummy|sample|todo|fixme)(?![a-z0-9])|^\{|<[^>]*>|\*{3,}|\.{3}|…|x{5,}",
    re.IGNORECASE,
)
_REFERENCE: Final = re.compile(
    r"\$\{|\$\(|\{\{|^\$[A-Za-z_]|\$(?:[A-Z][A-Z_]{2,}|[a-z][a-z_]{2,})(?![A-Za-z0-9_])|%\(|%[A-Z_]{2,}%|env://|file://|vault:|secret://|op://|arn:|process\.env|os\.environ|getenv",
)
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_BODY: Final = re.compile(r"[A-Za-z0-9+/=_.~!@#$%^&*()-]+")
# Signs that stand in passwords and hardly in names, in a text of no alphabet that a token has.
_SIGNS: Final = re.compile(r"[!@#$%^&*()=+]")
SIGNS_MIN: Final = 4
SIGNED_CHARACTERS_MIN: Final = 16
SIGNED_BITS_MIN: Final = 3.8


def stands_in(text: str) -> bool:
    """Does it mark the place of a secret, or say where one is?"""
    return _STAND_INS.search(text) is not None or _REFERENCE.search(text) is not None or _counts_up(text)


def _counts_up(text: str) -> bool:
    """`abcdef0123456789`, `00000000`: written by somebody who wanted something of that length."""
    up = same = 1
    for one, other in pairwise(text):
        step = ord(other) - ord(one)
        up = up + 1 if step == 1 else 1
        same = same + 1 if step == 0 else 1
        if up >= RUN_CHARACTERS or same >= RUN_CHARACTERS:
            return True
    return False


def is_body(text: str) -> bool:
    """What follows a maker's mark: drawn, whatever alphabet it is from."""
    if stands_in(text) or not (any(map(str.isdigit, text)) and any(map(str.isalpha, text))):
        return False
    return bits(text) >= BODY_BITS_MIN


def is_value(text: str) -> bool:
    """What stands under the name of a secret. A word, a path, a sentence is none."""
    if stands_in(text) or _BODY.fullmatch(text) is None or text.isdigit():
        return False
    if _UUID.fullmatch(text):
        return True
    if _HEX.fullmatch(text):
        has_both = any(map(str.isdigit, text)) and any(map(str.isalpha, text))
        return has_both and len(text) >= HEX_CHARACTERS_MIN and bits(text) >= HEX_BITS_MIN
    if is_random(text) or _is_signed(text):
        return True
    kinds = (str.isdigit, str.isupper, str.islower)
    is_mixed = all(any(map(kind, text)) for kind in kinds) and not _is_worded(text)
    return is_mixed and len(text) >= DENSE_CHARACTERS_MIN and bits(text) >= DENSE_BITS_MIN


def _is_signed(text: str) -> bool:
    """Letters, digits and many signs, none more often than others: what makers of passwords give."""
    has_both = any(map(str.isdigit, text)) and any(map(str.isalpha, text))
    signs = {*_SIGNS.findall(text)}
    is_long = len(text) >= SIGNED_CHARACTERS_MIN and len(signs) >= SIGNS_MIN
    return has_both and is_long and bits(text) >= SIGNED_BITS_MIN and not _is_worded(text)


def _is_worded(text: str) -> bool:
    """Words, parted by signs, by capitals or by numbers: a name. Words have a vowel in every few letters."""
    words = [
        one for one in re.findall(r"[a-z]{4,}", text) if len(re.findall(r"[aeiouy]", one)) * 4 >= len(one)
    ]
    return sum(map(len, words)) * 5 >= len(text) * 3


def bits(text: str) -> float:
    """The entropy of a character, by how often each occurs in this text."""
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values()) if size else 0.0
