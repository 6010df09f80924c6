"""What both encodings must be before they are decoded: whole, flat enough, in text, finite, and with no key twice.

A decoder keeps the last of two equal keys, recurses as deep as it is told, and takes NaN where it is a float. Two peers
that disagree on any of these read one message differently, so a scanner refuses them first. The scanners are iterative
and linear: no input makes them recurse or go back. They also note what a decoder forgets: which keys were written.
"""

from __future__ import annotations

import math
from typing import Final, NoReturn

import msgspec

from rspp.contract.errors import PeerFault

# The whole range that MessagePack can say. A seed is 64 bits without a sign, so the upper half is needed.
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**64 - 1

NO_KEYS: Final[frozenset[str]] = frozenset()


class CodecError(PeerFault):
    """Bytes that are not what they should be: a code, where, and in words. Nothing was taken from them."""

    def __init__(self, code: str, path: str, message: str) -> None:
        super().__init__(code, message, path)
        self.path: str = path


class Limits(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Bounds of one message. A second of 48 kHz stereo PCM is 192 kB; nothing of ours nests deeper than ten."""

    size_bytes_max: int = 1_048_576
    depth_max: int = 32
    # A value costs some microseconds to look at: where strangers send, they may not buy much of that with few bytes.
    # Elsewhere the bytes are bound enough.
    values_max: int = INT_MAX


LIMITS: Final = Limits()


class Seen(msgspec.Struct, gc=False):
    """What was written, apart from what it means: the keys of the root and of its payload, and the versions."""

    root: frozenset[str] = NO_KEYS
    payload: frozenset[str] = NO_KEYS
    # Texts at the root under keys that end in `schema_version`.
    versions: dict[str, str] = {}


class Frame:
    """One open container. For a map, `key` is the key whose value is next, or None when a key is next."""

    __slots__ = ("index", "is_map", "key", "keys", "left")

    def __init__(self, *, is_map: bool, left: int = 0) -> None:
        self.is_map = is_map
        self.left = left  # items or pairs still to come; only MessagePack knows
        self.index = 0
        self.key: str | None = None
        self.keys: set[str] = set()


class Walk:
    """The position inside a message that is being scanned: the open containers, and what was seen on the way."""

    __slots__ = ("_depth_max", "_values_left", "seen", "stack")

    def __init__(self, limits: Limits) -> None:
        self._depth_max = limits.depth_max
        self._values_left = limits.values_max
        self.stack: list[Frame] = []
        self.seen = Seen()

    def refuse(self, code: str, message: str) -> NoReturn:
        raise CodecError(code, self.path(), message)

    def path(self) -> str:
        """Where the scanner stands, as `payload.seq_range.start` or `[3].turn_id`; empty at the root."""
        text = ""
        for frame in self.stack:
            if not frame.is_map:
                text += f"[{frame.index}]"
            elif frame.key is not None:
                text += f".{shown_key(frame.key)}" if text else shown_key(frame.key)
        return text

    def enter(self, frame: Frame) -> None:
        if len(self.stack) >= self._depth_max:
            self.refuse("nesting_too_deep", f"containers nest deeper than {self._depth_max}")
        self.stack.append(frame)

    def leave(self) -> None:
        frame = self.stack.pop()
        if not frame.is_map or len(self.stack) > 1:
            return
        if not self.stack:
            self.seen.root = frozenset(frame.keys)
        elif self.stack[0].key == "payload":
            self.seen.payload = frozenset(frame.keys)

    def take_key(self, key: str) -> None:
        frame = self.stack[-1]
        frame.key = key
        if key in frame.keys:
            self.refuse("key_repeated", f"the key {shown_key(key)!r} stands twice in one map")
        frame.keys.add(key)

    def take_text(self, text: str) -> None:
        """Only versions are of interest: they decide whether the rest can be read at all."""
        if len(self.stack) == 1:
            key = self.stack[0].key
            if key is not None and key.endswith("schema_version"):
                self.seen.versions = {**self.seen.versions, key: text}

    def take_float(self, value: float) -> None:
        if not math.isfinite(value):
            self.refuse("number_not_finite", "NaN and infinities are not values; leave the field out")

    def value_done(self) -> None:
        self._values_left -= 1
        if self._values_left < 0:
            self.refuse("payload_too_large", "it holds more values than such a message may")
        if self.stack:
            frame = self.stack[-1]
            frame.index += 1
            frame.key = None


def shown_key(key: str) -> str:
    """A key as an error may show it: short, and without control characters."""
    text = key if key.isprintable() else repr(key)[1:-1]
    return text if len(text) <= 64 else f"{text[:64]}..."


def check_size(data: bytes, limits: Limits) -> None:
    if len(data) > limits.size_bytes_max:
        raise CodecError("payload_too_large", "", f"{len(data)} bytes; at most {limits.size_bytes_max}")
