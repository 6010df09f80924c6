"""Blobs: one message that names the pieces, and the pieces under an id of their own. Who puts one again writes new pieces, then
the message, then forgets the old pieces: who reads gets the old one or the new, or begins again.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Final

import msgspec

from rspp.adapters.stores.nats import names
from rspp.adapters.stores.nats.cells import Cells, gathered
from rspp.adapters.stores.nats.jetstream import Stored
from rspp.adapters.stores.nats.keys import NAME
from rspp.contract.errors import LimitReached, PeerFault

HEAD: Final = "b"
PIECES: Final = "c"
# Below what every server takes as it comes, and small enough that others get their turn in between.
PIECE_BYTES: Final = 256 * 1024
# Pieces under way in all calls: more at once would have the server take us for somebody who does not read.
PIECES_MAX: Final = 64
ID: Final = "Rspp-Pieces"
SIZE: Final = "Rspp-Size"
PURGE_ALL: Final = 2**63 - 2


class Shape(msgspec.Struct, frozen=True):
    """Where a blob's bytes are: in the message itself, or in pieces under the id."""

    pieces_id: str | None
    size: int

    @property
    def count(self) -> int:
        return -(-self.size // PIECE_BYTES)


class Blobs:
    """The blobs of a store."""

    def __init__(self, cells: Cells, namespace: str, deadline_s: float) -> None:
        self._cells = cells
        self._namespace = namespace
        self._deadline_s = deadline_s
        self._turns = asyncio.Semaphore(PIECES_MAX)

    async def put(self, name: str, data: bytes) -> None:
        headers = {NAME: names.to_header(name), SIZE: str(len(data))}
        pieces_id: str | None = None
        if len(data) > PIECE_BYTES:
            pieces_id = uuid.uuid4().hex
            headers[ID] = pieces_id
            await self._write(pieces_id, data)
            data = b""
        # Not taken back when this fails: nobody may know whether it was done. Pieces that nobody names cost room, no more.
        won = await self._cells.overwrite(self._subject(name), data, headers)
        await self._forget(won.replaced)

    async def get(self, name: str) -> bytes | None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._deadline_s
        while True:
            found = await self._cells.read(self._subject(name))
            if found is None:
                return None
            shape = _shape(found)
            if shape.pieces_id is None:
                return found.data
            data = await self._read(shape.pieces_id, shape)
            if data is not None:
                return data
            if clock() > deadline:
                raise LimitReached("store_contended", "others keep replacing the blob that is to be read")
            again = await self._cells.read(self._subject(name))
            if again is not None and again.sequence == found.sequence:
                raise PeerFault("store_damaged", f"pieces of the blob are gone: {found.subject}")

    async def delete(self, name: str) -> None:
        await self._forget(await self._cells.remove(self._subject(name)))

    async def names(self, prefix: str) -> list[str]:
        found = await self._cells.read_all(names.below(self._namespace, HEAD, prefix=prefix))
        called = [names.from_header(one.headers.get(NAME, "")) for one in found]
        return sorted(name for name in called if name.startswith(prefix))

    async def _write(self, pieces_id: str, data: bytes) -> None:
        view = memoryview(data)

        async def piece(number: int) -> None:
            start = number * PIECE_BYTES
            subject = self._piece(pieces_id, number)
            async with self._turns:
                await self._cells.replace(subject, bytes(view[start : start + PIECE_BYTES]), {}, 0)

        count = -(-len(data) // PIECE_BYTES)
        await gathered(piece, range(count))

    async def _read(self, pieces_id: str, shape: Shape) -> bytes | None:
        async def piece(subject: str) -> Stored | None:
            async with self._turns:
                return await self._cells.read(subject)

        subjects = [self._piece(pieces_id, number) for number in range(shape.count)]
        found = await gathered(piece, subjects)
        data = b"".join(one.data for one in found if one is not None)
        return data if len(data) == shape.size else None

    async def _forget(self, found: Stored | None) -> None:
        pieces_id = _shape(found).pieces_id if found is not None else None
        if pieces_id is not None:
            await self._cells.purge(f"{self._namespace}.{PIECES}.{pieces_id}.>", PURGE_ALL)

    def _piece(self, pieces_id: str, number: int) -> str:
        return f"{self._namespace}.{PIECES}.{pieces_id}.{number}"

    def _subject(self, name: str) -> str:
        return names.subject(self._namespace, HEAD, name=name)


def _shape(found: Stored) -> Shape:
    try:
        return Shape(found.headers.get(ID), int(found.headers[SIZE]))
    except (KeyError, ValueError):
        raise PeerFault("store_damaged", f"a blob without a size: {found.subject}") from None
