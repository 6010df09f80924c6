"""Recordings on their way: put into a real spool a record at a time, and stores that fail in the ways that stores fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from rspp.contract.errors import LimitReached
from rspp.testing.store import MemoryStore
from rspp.timeline import records as r
from rspp.timeline.export import Exporter, ExportSettings
from rspp.timeline.spool import SessionAppend, Spool, SpoolSettings

SMALL = SpoolSettings(segment_bytes_max=4_000)
QUICK = ExportSettings(try_ms=100, pause_ms=1, pause_ms_max=10)


class Nobody:
    def pulse(self, fill: float, lag_ms: int) -> None: ...


def frames(data: bytes) -> list[bytes]:
    """A recording's records, one by one."""
    began, found = 0, []
    for end in r.ends(data):
        found.append(data[began:end])
        began = end
    return found


def renamed(data: bytes, session_id: str, tenant_id: str = "t", opened_wall_ms: int = 0) -> bytes:
    """The same recording as another session's, begun at this time of day."""
    (head,) = r.unframe(frames(data)[0]).records
    assert isinstance(head, r.Head)
    request = msgspec.structs.replace(head.request, session_id=session_id, tenant_id=tenant_id)
    first = msgspec.structs.replace(
        head, session_id=session_id, tenant_id=tenant_id, request=request, opened_wall_ms=opened_wall_ms
    )
    return b"".join([r.frame(first), *frames(data)[1:]])


def opened(spool: Spool, session_id: str, tenant_id: str = "t") -> SessionAppend:
    made: list[SessionAppend] = []

    def member(append: SessionAppend) -> Nobody:
        made.append(append)
        return Nobody()

    spool.open(session_id, tenant_id, member)
    return made[0]


async def fill(
    spool: Spool, data: bytes, session_id: str, tenant_id: str = "t", *, close: bool = True
) -> None:
    """Append a whole recording, as fast as the disk takes it."""
    append = opened(spool, session_id, tenant_id)
    for one in frames(data):
        if not append.append(one):
            await spool.drained()
            assert append.append(one), "there is no room in an empty queue"
    if close:
        append.close()
    await spool.drained()


@asynccontextmanager
async def exporting(
    store: MemoryStore, data: Path, settings: ExportSettings = QUICK, spool: SpoolSettings = SMALL
) -> AsyncIterator[tuple[Spool, Exporter]]:
    """A spool that is being exported; at the end the export is ended as a host does, without waiting for what is left."""
    local = Spool(data, spool)
    local.start()
    exporter = Exporter(store, local, settings)
    local.on_sealed = exporter.sealed
    task = asyncio.get_running_loop().create_task(exporter.run())
    try:
        yield local, exporter
    finally:
        task.cancel()
        await asyncio.wait([task])
        await local.close()


class Moody(MemoryStore):
    """A store that can be slow, full, hang, or take a blob and fail before it says so."""

    def __init__(self) -> None:
        super().__init__()
        self.delay_s = 0.0
        self.hangs = self.full = False
        self.lose_acks = 0
        self.blob_puts: dict[str, int] = {}
        self.calls = 0

    async def _mood(self) -> None:
        self.calls += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.full:
            raise LimitReached("store_full", "no room is left")
        await asyncio.sleep(self.delay_s)

    async def put_blob(self, name: str, data: bytes) -> None:
        await self._mood()
        await super().put_blob(name, data)
        self.blob_puts[name] = self.blob_puts.get(name, 0) + 1

    async def put(
        self,
        bucket: str,
        key: str,
        value: bytes,
        *,
        expect: int | None = None,
        ttl_ms: int | None = None,
    ) -> int | None:
        await self._mood()
        revision = await super().put(bucket, key, value, expect=expect, ttl_ms=ttl_ms)
        if self.lose_acks and bucket == "recordings":
            self.lose_acks -= 1
            raise ConnectionResetError("the answer was lost")
        return revision
