"""A MessagePack message is checked item by item, by its format's table of first bytes, before it is decoded."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from rspp.contract.scan import CodecError, Frame, Limits, Seen, Walk, check_size

# First byte -> how many bytes of length follow it.
_TEXT: Final[Mapping[int, int]] = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BINARY: Final[Mapping[int, int]] = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_ARRAY: Final[Mapping[int, int]] = {0xDC: 2, 0xDD: 4}
_MAP: Final[Mapping[int, int]] = {0xDE: 2, 0xDF: 4}
# First byte -> how many bytes of value follow it.
_PLAIN: Final[Mapping[int, int]] = {
    0xC0: 0, 0xC2: 0, 0xC3: 0,  # nil, false, true
    0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,  # unsigned
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,  # signed
}  # fmt: skip
_FLOAT: Final[Mapping[int, struct.Struct]] = {0xCA: struct.Struct(">f"), 0xCB: struct.Struct(">d")}
_EXTENSION: Final = frozenset((0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8))


def scan_msgpack(data: bytes, limits: Limits) -> Seen:
    """What was written in a MessagePack message, or a `CodecError`."""
    check_size(data, limits)
    reader = _Reader(data, limits)
    reader.item()
    while reader.walk.stack:
        frame = reader.walk.stack[-1]
        if frame.left == 0:
            reader.walk.leave()
            reader.walk.value_done()
        elif frame.is_map and frame.key is None:
            reader.key()
        else:
            frame.left -= 1
            reader.item()
    if reader.position != len(data):
        raise CodecError("trailing_bytes", "", f"{len(data) - reader.position} bytes follow the message")
    return reader.walk.seen


class _Reader:
    __slots__ = ("_data", "position", "walk")

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._data = data
        self.position = 0
        self.walk = Walk(limits)

    def item(self) -> None:
        """Read one value; of a container only its head, whose items are then read one by one."""
        first = self._take(1)[0]
        if first >= 0xE0 or first <= 0x7F:
            self.walk.value_done()
        elif first <= 0x8F or first in _MAP:
            self._open(is_map=True, count=self._length(first, _MAP, 0x0F))
        elif first <= 0x9F or first in _ARRAY:
            self._open(is_map=False, count=self._length(first, _ARRAY, 0x0F))
        elif first <= 0xBF or first in _TEXT:
            self.walk.take_text(self._text(first))
            self.walk.value_done()
        else:
            self._scalar(first)
            self.walk.value_done()

    def key(self) -> None:
        first = self._take(1)[0]
        if not (0xA0 <= first <= 0xBF or first in _TEXT):
            self.walk.refuse("key_not_text", f"a key begins with 0x{first:02x}; keys are text")
        self.walk.take_key(self._text(first))

    def _scalar(self, first: int) -> None:
        if first in _PLAIN:
            self._take(_PLAIN[first])
        elif first in _FLOAT:
            layout = _FLOAT[first]
            self.walk.take_float(layout.unpack(self._take(layout.size))[0])
        elif first in _BINARY:
            self._take(self._length(first, _BINARY, 0))
        elif first in _EXTENSION:
            self.walk.refuse("extension_type_refused", "extension types are not used here")
        else:
            self.walk.refuse("malformed", f"0x{first:02x} begins nothing in MessagePack")

    def _text(self, first: int) -> str:
        raw = self._take(self._length(first, _TEXT, 0x1F))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.walk.refuse("text_not_utf8", "a text is not UTF-8")

    def _length(self, first: int, table: Mapping[int, int], mask: int) -> int:
        size = table.get(first)
        return first & mask if size is None else int.from_bytes(self._take(size), "big")

    def _open(self, *, is_map: bool, count: int) -> None:
        # An item is at least one byte: a count that cannot be kept is refused before anything is made for it.
        if count * (2 if is_map else 1) > len(self._data) - self.position:
            self.walk.refuse("truncated", f"{count} entries are announced and do not fit what follows")
        self.walk.enter(Frame(is_map=is_map, left=count))

    def _take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            self.walk.refuse("truncated", f"{end - len(self._data)} bytes are missing")
        taken = self._data[self.position : end]
        self.position = end
        return taken
