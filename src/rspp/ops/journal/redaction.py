"""Metadata stays within its bounds and holds no secret, and that can never fail: what is cut is marked, what is hidden says so.

    {"api_key": "..."}       {"api_key": "[redacted]"}
    a long text              its beginning, and `...[+380]` for as many characters that are missing
    too many of them         the first ones, and `_cut` (in a map) or `[+12]` (in a list) for the others
    what is no plain value   its kind, as `[bytes 32]` or `[Connection]`; never its repr

Cleaning twice is cleaning once: whoever validates the journal cleans each record again and compares.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import msgspec

from rspp.host.secrets import REDACTED
from rspp.ops.journal import bounds
from rspp.timeline.redaction.forms import Kind, without_secrets
from rspp.timeline.redaction.keywords import names_a_digest, names_a_secret

CUT_KEY: Final = "_cut"
TENANT: Final = "tenant"
DEEP: Final = "[deep]"
_MORE: Final = re.compile(r"\[\+\d{1,12}\]")
# Room for the marks of what is cut, in every map and list around the place where it was.
_MARK_BYTES: Final = 32


def metadata_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What may be written of it."""
    return _Walk().map(given, named=False, depth=1)


def text_of(text: str, most: int = bounds.TEXT_CHARACTERS_MAX, kind: Kind = Kind.FREE) -> str:
    """A text of at most so many characters and without secrets."""
    missing = max(0, len(text) - bounds.EXAMINED_CHARACTERS_MAX)
    text = without_secrets(text[: bounds.EXAMINED_CHARACTERS_MAX], kind)
    if missing == 0 and len(text) <= most:
        return text
    missing += len(text)
    for room in range(most - len(f"...[+{missing}]"), -1, -1):
        head = text[:room]
        cut = f"{head}...[+{missing - room}]"
        # Where the cut falls into a mark, or makes a secret of what stands before it, it falls earlier.
        if not REDACTED.startswith(head[head.rfind("[") :] or "x") and without_secrets(cut, kind) == cut:
            return cut
    return REDACTED[:most]


class _Walk:
    """One walk over one value, with as many bytes as are left."""

    def __init__(self) -> None:
        self._left = bounds.METADATA_BYTES_MAX - 2 * _MARK_BYTES * bounds.DEPTH_MAX

    def map(self, given: Mapping[Any, Any], *, named: bool, depth: int) -> dict[str, Any]:
        done: dict[str, Any] = {}
        cut = 0
        for key, value in list(given.items()):
            if key == CUT_KEY and isinstance(value, int) and not isinstance(value, bool):
                cut += min(max(value, 0), bounds.NUMBER_MAX)
                continue
            name = _key(key)
            if len(done) >= bounds.KEYS_MAX - 1 or name in done or not self._pays(name, 2):
                cut += 1
                continue
            secret = named or (isinstance(key, str) and names_a_secret(key, value))
            cleaned = self._value(value, secret, depth, _kind_of(name))
            if cleaned is _NO_ROOM:
                cut += 1
            else:
                done[name] = cleaned
        if cut:
            done[CUT_KEY] = min(cut, bounds.NUMBER_MAX)
        return done

    def _list(self, given: list[Any] | tuple[Any, ...], named: bool, depth: int, kind: Kind) -> list[Any]:
        done: list[Any] = []
        whole = len(given) <= bounds.ITEMS_MAX
        for one in islice(given, len(given) if whole else bounds.ITEMS_MAX - 1):
            cleaned = self._value(one, named, depth, kind)
            if cleaned is _NO_ROOM:
                break
            done.append(cleaned)
        if len(done) < len(given):
            done = [*done[: bounds.ITEMS_MAX - 1], f"[+{len(given) - len(done[: bounds.ITEMS_MAX - 1])}]"]
        return done

    def _value(self, value: Any, named: bool, depth: int, kind: Kind) -> Any:
        if isinstance(value, Mapping | list | tuple):
            if depth >= bounds.DEPTH_MAX:
                return self._paid(REDACTED if named else DEEP)
            if not self._pays("", 2):
                return _NO_ROOM
            if isinstance(value, Mapping):
                return self.map(value, named=named, depth=depth + 1)
            return self._list(value, named, depth + 1, kind)
        if named and value is not None and not isinstance(value, bool) and not _is_count(value):
            return self._paid(REDACTED)
        return self._paid(_plain_value(value, kind))

    def _paid(self, value: Any) -> Any:
        return value if self._pays(value, 1) else _NO_ROOM

    def _pays(self, value: Any, more: int) -> bool:
        price = len(msgspec.json.encode(value)) + more
        if price > self._left:
            return False
        self._left -= price
        return True


_NO_ROOM: Final = object()


def _kind_of(name: str) -> Kind:
    """Tenants are often called by a UUID without hyphens; whoever reads the journal must know whose a record is."""
    if name == TENANT:
        return Kind.IDENTITY
    return Kind.DIGEST if names_a_digest(name) else Kind.FREE


def _is_count(value: Any) -> bool:
    """The mark of what was cut from a list, all of whose values are hidden."""
    return isinstance(value, str) and _MORE.fullmatch(value) is not None


def _key(key: Any) -> str:
    if isinstance(key, str):
        return text_of(str(key), bounds.KEY_CHARACTERS_MAX)
    if isinstance(key, int):
        return str(key) if abs(key) <= bounds.NUMBER_MAX else "[int]"
    return text_of(f"[{type(key).__name__}]", bounds.KEY_CHARACTERS_MAX)


def _plain_value(value: Any, kind: Kind) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text_of(str(value), kind=kind)
    if isinstance(value, int):
        return int(value) if abs(value) <= bounds.NUMBER_MAX else "[int]"
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else f"[{float(value)}]"
    if isinstance(value, bytes | bytearray | memoryview):
        return _of_bytes(bytes(value), kind)
    return text_of(f"[{type(value).__name__}]")


def _of_bytes(value: bytes, kind: Kind) -> str:
    """What is text is taken as text; of anything else only its size is told."""
    try:
        text = value[: bounds.EXAMINED_CHARACTERS_MAX].decode()
    except UnicodeDecodeError:
        text = "\0"
    if not text.isprintable():
        return f"[bytes {len(value)}]"
    return text_of(text, kind=kind)
