"""What every store takes: names, values and numbers within these bounds. A store asks here first, and so all refuse alike."""

from __future__ import annotations

from typing import Final

from rspp.contract.errors import LimitReached, MisuseError

# Room for "<tenant>/<session>/<turn>/<what>" many times over, and no room for a value in the place of a key.
NAME_BYTES_MAX: Final = 1_024
# A value, a record or a blob: half an hour of a caller's sound at 16 kHz. Longer sound is kept in pieces.
VALUE_BYTES_MAX: Final = 64 * 1024 * 1024
# Ten years: longer is for ever, which is None.
TTL_MS_MAX: Final = 10 * 366 * 24 * 3_600_000
NUMBER_MAX: Final = 2**63 - 1


def is_name(name: object, *, empty: bool = False) -> None:
    """Buckets, keys, logs and blobs are called by text; only a prefix may be empty."""
    if not isinstance(name, str):
        raise MisuseError("type_mismatch", f"a name is text, not {type(name).__name__}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise MisuseError("text_not_utf8", "a name that UTF-8 cannot write") from None
    if size > NAME_BYTES_MAX or (size == 0 and not empty):
        raise MisuseError("store_name_invalid", f"a name has 1 to {NAME_BYTES_MAX} bytes, not {size}")


def is_prefix(prefix: object) -> None:
    is_name(prefix, empty=True)


def own_bytes(value: object) -> bytes:
    """The value in memory of its own: what the caller does to its buffer later changes nothing."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise MisuseError("type_mismatch", f"a value is bytes, not {type(value).__name__}")
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    if size > VALUE_BYTES_MAX:
        raise LimitReached("payload_too_large", f"a value has at most {VALUE_BYTES_MAX} bytes, not {size}")
    return bytes(value)


def is_number(number: object, what: str, most: int = NUMBER_MAX) -> None:
    """A revision, a place in a log or a time to live: a whole number from 0 up."""
    if not isinstance(number, int) or isinstance(number, bool):
        raise MisuseError("type_mismatch", f"{what} is a whole number, not {type(number).__name__}")
    if number < 0:
        raise MisuseError("number_negative", f"{what} is below 0")
    if number > most:
        raise MisuseError("number_out_of_range", f"{what} is above {most}")


def is_condition(expect: object, ttl_ms: object) -> None:
    """What `put` may ask for beside its value."""
    if expect is not None:
        is_number(expect, "an expected revision")
    if ttl_ms is not None:
        is_number(ttl_ms, "a time to live", TTL_MS_MAX)
