"""What may be known of content that is withheld: its shape. Equal shapes have equal sums, and different ones as good as never.

A letter is an x, a digit a 0, the rest is as it was; of a long number only its length is told. The trace is made of these.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

import msgspec

SHAPE_DEPTH_MAX: Final = 16
# A number of so many digits may be somebody's, so the digest has only how many there are.
NUMBER_DIGITS_MIN: Final = 7
# A word as programs use them; no more than two digits in a row.
_NAME: Final = re.compile(r"(?:[A-Za-z_.:/%-]|(?<!\d)\d{1,2}(?!\d)){0,64}")
_NUMBER_MIN: Final = 10 ** (NUMBER_DIGITS_MIN - 1)


def _class_of(character: str) -> str:
    if character.isalpha():
        return "X" if character.isupper() else "x"
    return "0" if character.isalnum() else character


_ASCII: Final = {code: _class_of(chr(code)) for code in range(128)}


def shape(text: str) -> str:
    """The text with every letter an x and every digit a 0: what may be known of what is withheld."""
    if text.isascii():
        return text.translate(_ASCII)
    return "".join(map(_class_of, text))


def shape_sum(text: str) -> int:
    """A number that differs, as good as always, when shapes differ."""
    return zlib.crc32(shape(text).encode(errors="replace"))


def shaped(value: object, depth: int = 0) -> object:
    """A value as a store would give it back, its texts as shapes."""
    if isinstance(value, str):
        return shape(value)
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if abs(value) < _NUMBER_MIN else shape(str(value))
    if depth >= SHAPE_DEPTH_MAX:
        return None
    if isinstance(value, list | tuple):
        return [shaped(one, depth + 1) for one in value]
    if isinstance(value, dict):
        # Its keys may be a caller's, and alike in shape; a file gives them in another order.
        pairs = [[shape(str(key)), shaped(one, depth + 1)] for key, one in value.items()]
        return sorted(pairs, key=ENCODE)
    return value


def named(name: str) -> str:
    """A name that an adapter gave: as it is, if it is one; else its shape, for it may be anything."""
    return name if _NAME.fullmatch(name) is not None else shape(name)


def sum_of(value: object) -> int:
    return zlib.crc32(ENCODE(shaped(value)))


def sum_of_record(record: msgspec.Struct) -> int:
    """The sum over a record without content, by which the trace knows it."""
    return zlib.crc32(ENCODE(record))


ENCODE: Final = msgspec.msgpack.Encoder(order="deterministic", enc_hook=str).encode
