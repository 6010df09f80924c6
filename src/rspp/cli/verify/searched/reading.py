"""What a file says: its text in whichever encoding, or of anything else what can be read in it."""

from __future__ import annotations

import re
from typing import Final

import msgspec

LOOKED_AT_BYTES: Final = 4_096
# What stands between two readable parts of a file that is no text becomes the end of a line.
_UNREADABLE: Final = re.compile(rb"[^\x20-\x7e\n\t]+")
_ARCHIVES: Final = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd")
_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class Said(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    is_text: bool  # else these are the readable parts of a file that is none
    is_packed: bool = False  # an archive: what is in it was not looked at


def said(raw: bytes) -> Said:
    for mark, encoding in _BOMS:
        if raw.startswith(mark):
            return Said(text=raw.decode(encoding, "replace"), is_text=True)
    head = raw[:LOOKED_AT_BYTES]
    if head.startswith(_ARCHIVES):
        return Said(text=_readable(raw), is_text=False, is_packed=True)
    if b"\0" not in head:
        try:
            return Said(text=raw.decode(), is_text=True)
        except UnicodeDecodeError:
            return _old(raw)
    wide = _wide(head)
    if wide:
        return Said(text=raw.decode(wide, "replace"), is_text=True)
    return Said(text=_readable(raw), is_text=False)


def legible(name: str) -> str:
    """A file's name for a report: what is no UTF-8, and what a terminal would obey, as `\\xNN`."""
    whole = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in whole
    )


def _old(raw: bytes) -> Said:
    """Text of an older encoding has few control characters; its ASCII is what counts."""
    head = raw[:LOOKED_AT_BYTES]
    control = sum(byte < 32 and byte not in b"\n\r\t" for byte in head)
    if control * 50 < len(head):
        return Said(text=raw.decode("latin-1"), is_text=True)
    return Said(text=_readable(raw), is_text=False)


def _wide(head: bytes) -> str:
    """UTF-16 without its mark: every other byte of plain letters is zero, and those between are not."""
    half = max(1, len(head) // 2)
    odd, even = head[1::2].count(0), head[::2].count(0)
    if odd * 10 > half * 7 and even * 10 < half * 3:
        return "utf-16-le"
    return "utf-16-be" if even * 10 > half * 7 and odd * 10 < half * 3 else ""


def _readable(raw: bytes) -> str:
    return _UNREADABLE.sub(b"\n", raw).decode("ascii")
