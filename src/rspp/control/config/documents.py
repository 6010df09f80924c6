"""A document that was published under a version never changes; which version is in force is another record, with a history.

    config:<kind>/<name>/<version>      a `Document`: written once, with `expect=0`, and never replaced
    config:pointer/<kind>/<name>        a `Pointer`: the version in force, moved by compare-and-set

Whoever reads a document checks its hash: bytes that are not what was published are told of and not given to anybody.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Final

import msgspec

from rspp.contract.errors import LimitReached, MisuseError, PeerFault
from rspp.control.names import CONFIG, key, parts
from rspp.host.ports import Entry, Store

POINTER: Final = "pointer"
# A spec of this size takes seconds to read; with its envelope it fits the smallest message bound of the stores.
DOCUMENT_BYTES_MAX: Final = 262_144
WORDS_MAX: Final = 512
FACTS_MAX: Final = 32
VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
# Versions to which one can go back, and moves that are remembered.
STACK_MAX: Final = 50
MOVES_MAX: Final = 100
TRIES_MAX: Final = 8


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One version of one thing, as it was published. `facts` is what the publisher found out about it."""

    kind: str
    name: str
    version: str
    text: str
    sha256: str
    author: str
    created_at_ms: int
    facts: dict[str, str] = {}

    @property
    def ref(self) -> str:
        return f"{self.kind}/{self.name}@{self.version}"


class Move(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One change of what is in force: who, when, why, from where to where."""

    what: str  # set, roll_back, roll_forward
    before: str | None
    after: str
    author: str
    reason: str
    at_ms: int


class Pointer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which version is in force: the one at place `at` of those that were. What lies after it was rolled back."""

    kind: str
    name: str
    stack: tuple[str, ...]
    at: int
    number: int  # of moves ever
    moves: tuple[Move, ...] = ()

    @property
    def version(self) -> str:
        return self.stack[self.at]


WallMs = Callable[[], int]
_DOCUMENT: Final = msgspec.json.Decoder(Document).decode
_POINTER: Final = msgspec.json.Decoder(Pointer).decode
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def document_of(entry: Entry) -> Document:
    """What stands in the store, if it is what was published there; raises PeerFault `document_corrupt`."""
    try:
        found = _DOCUMENT(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PeerFault("document_corrupt", "the stored bytes are no document", entry.key) from error
    if parts(entry.key) != (found.kind, found.name, found.version):
        raise PeerFault("document_corrupt", f"the document says that it is {found.ref}", entry.key)
    if digest(found.text) != found.sha256:
        raise PeerFault(
            "document_corrupt", "the text does not match the hash it was published with", entry.key
        )
    return found


def pointer_of(entry: Entry) -> Pointer:
    """A pointer that points somewhere; raises PeerFault `document_corrupt`."""
    try:
        found = _POINTER(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PeerFault("document_corrupt", "the stored bytes are no pointer", entry.key) from error
    if parts(entry.key) != (POINTER, found.kind, found.name) or not 0 <= found.at < len(found.stack):
        raise PeerFault("document_corrupt", "the pointer is not that of its key", entry.key)
    return found


class Versions:
    """The published versions of one kind of document."""

    def __init__(self, store: Store, kind: str, *, wall_ms: WallMs) -> None:
        self.kind = kind
        self._store = store
        self._wall_ms = wall_ms

    async def publish(
        self, name: str, version: str, text: str, *, author: str, facts: dict[str, str] | None = None
    ) -> Document:
        """The document under its version, now or as it was published before. Other content is refused: `version_exists`."""
        _is_sound(version, text, author, facts or {})
        document = Document(
            kind=self.kind,
            name=name,
            version=version,
            text=text,
            sha256=digest(text),
            author=author,
            created_at_ms=self._wall_ms(),
            facts=facts or {},
        )
        where = key(self.kind, name, version)
        if await self._store.put(CONFIG, where, _ENCODE(document), expect=0) is not None:
            return document
        there = await self.get(name, version)
        if there is None:
            raise PeerFault("store_contended", "the document was there, and then was not", where)
        if there.sha256 != document.sha256:
            message = f"{there.ref} was published by {there.author} with other content; publish a new version"
            raise MisuseError("version_exists", message)
        return there

    async def get(self, name: str, version: str) -> Document | None:
        entry = await self._store.get(CONFIG, key(self.kind, name, version))
        return document_of(entry) if entry is not None else None

    async def want(self, name: str, version: str) -> Document:
        """The document; raises PeerFault `document_missing`."""
        found = await self.get(name, version)
        if found is None:
            raise PeerFault("document_missing", f"there is no {self.kind}/{name}@{version}")
        return found

    async def names(self) -> list[str]:
        return sorted({parts(one)[1] for one in await self._store.keys(CONFIG, key(self.kind) + "/")})

    async def versions(self, name: str) -> list[str]:
        """In natural order: v2 before v10."""
        found = await self._store.keys(CONFIG, key(self.kind, name) + "/")
        return sorted((parts(one)[2] for one in found), key=in_natural_order)

    async def list(self, name: str) -> list[Document]:
        found = [await self.get(name, version) for version in await self.versions(name)]
        return [one for one in found if one is not None]


class Pointers:
    """Which version of each name is in force. A move names a version that was published, or is refused."""

    def __init__(self, store: Store, kind: str, *, wall_ms: WallMs) -> None:
        self.kind = kind
        self._store = store
        self._wall_ms = wall_ms
        self._versions = Versions(store, kind, wall_ms=wall_ms)

    async def get(self, name: str) -> Pointer | None:
        entry = await self._store.get(CONFIG, key(POINTER, self.kind, name))
        return pointer_of(entry) if entry is not None else None

    async def names(self) -> list[str]:
        found = await self._store.keys(CONFIG, key(POINTER, self.kind) + "/")
        return [parts(one)[2] for one in found]

    async def set(self, name: str, version: str, *, author: str, reason: str = "") -> Pointer:
        """Put a version in force. What had been rolled back cannot be rolled forward to any more."""

        def step(now: Pointer | None) -> tuple[tuple[str, ...], int]:
            if now is None:
                return (version,), 0
            if now.version == version:
                return now.stack, now.at
            stack = (*now.stack[: now.at + 1], version)[-STACK_MAX:]
            return stack, len(stack) - 1

        return await self._move(name, "set", step, author, reason)

    async def roll_back(self, name: str, *, author: str, reason: str = "") -> Pointer:
        """Back to what was in force before."""
        return await self._move(name, "roll_back", lambda now: _beside(now, -1), author, reason)

    async def roll_forward(self, name: str, *, author: str, reason: str = "") -> Pointer:
        """Forward again to what was rolled back."""
        return await self._move(name, "roll_forward", lambda now: _beside(now, 1), author, reason)

    async def _move(
        self,
        name: str,
        what: str,
        step: Callable[[Pointer | None], tuple[tuple[str, ...], int]],
        author: str,
        reason: str,
    ) -> Pointer:
        _are_words(author=author, reason=reason)
        where = key(POINTER, self.kind, name)
        for _ in range(TRIES_MAX):
            entry = await self._store.get(CONFIG, where)
            now = pointer_of(entry) if entry is not None else None
            stack, at = step(now)
            await self._versions.want(name, stack[at])
            before = now.version if now is not None else None
            if before == stack[at] and now is not None and now.at == at:
                return now
            move = Move(
                what=what, before=before, after=stack[at], author=author, reason=reason, at_ms=self._wall_ms()
            )
            moved = Pointer(
                kind=self.kind,
                name=name,
                stack=stack,
                at=at,
                number=(now.number if now else 0) + 1,
                moves=((now.moves if now else ()) + (move,))[-MOVES_MAX:],
            )
            expect = entry.revision if entry is not None else 0
            if await self._store.put(CONFIG, where, _ENCODE(moved), expect=expect) is not None:
                return moved
        raise LimitReached("store_contended", f"others keep moving {self.kind}/{name}")


def in_natural_order(version: str) -> list[tuple[int, int, str]]:
    """Numbers inside a version count as numbers."""
    found = re.findall(r"\d+|\D+", version)
    return [(0, int(one), "") if one.isdecimal() else (1, 0, one) for one in found]


def _beside(now: Pointer | None, step: int) -> tuple[tuple[str, ...], int]:
    if now is None:
        raise MisuseError("rollback_target_missing", "nothing has been put in force yet")
    at = now.at + step
    if not 0 <= at < len(now.stack):
        raise MisuseError(
            "rollback_target_missing", f"there is nothing {'before' if step < 0 else 'after'} {now.version}"
        )
    return now.stack, at


def _is_sound(version: str, text: str, author: str, facts: dict[str, str]) -> None:
    if not VERSION.fullmatch(version):
        raise MisuseError("version_invalid", f"a version has the form {VERSION.pattern}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise MisuseError("text_not_utf8", "a document that UTF-8 cannot write") from None
    if size > DOCUMENT_BYTES_MAX:
        raise LimitReached(
            "payload_too_large", f"a document has at most {DOCUMENT_BYTES_MAX} bytes, not {size}"
        )
    if len(facts) > FACTS_MAX:
        raise LimitReached("payload_too_large", f"a document has at most {FACTS_MAX} facts")
    _are_words(author=author, **facts)
    if not author:
        raise MisuseError("field_empty", "a document has an author", "author")


def _are_words(**fields: str) -> None:
    for name, value in fields.items():
        if len(value) > WORDS_MAX:
            raise LimitReached("payload_too_large", f"{name} has at most {WORDS_MAX} characters")
