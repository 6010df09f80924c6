"""The Store in one SQLite file, shared by every process that opens it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from rspp.adapters.stores.sqlite import blobs, keys, logs
from rspp.adapters.stores.sqlite.file import NEVER
from rspp.adapters.stores.sqlite.keys import Changes
from rspp.adapters.stores.sqlite.logs import Record
from rspp.adapters.stores.sqlite.watching import Watching
from rspp.adapters.stores.sqlite.worker import Worker
from rspp.contract.errors import MisuseError
from rspp.contract.event import NS_PER_MS
from rspp.host.clock import MachineClock
from rspp.host.ports import Clock, Entry
from rspp.host.stored import is_condition, is_name, is_number, is_prefix, own_bytes

# Weeks of recorded calls of a busy machine; beyond it `store_full`, before the disk is.
FILE_BYTES_MAX: Final = 64 * 1024 * 1024 * 1024


class SqliteStore:
    """Keys, logs and blobs that outlive the process. Opened by its first call, which tells what is wrong with the file.

    It belongs to one event loop. Calls are done in their order; one that is cancelled may have been done.
    """

    def __init__(
        self, path: Path, clock: Clock | None = None, *, file_bytes_max: int = FILE_BYTES_MAX
    ) -> None:
        self._clock: Clock = clock or MachineClock()
        self._worker = Worker(path, file_bytes_max)
        self._watching = Watching(self._worker)
        self._closing: asyncio.Task[None] | None = None

    # ---- keys ----------------------------------------------------------------------------------------------------

    async def get(self, bucket: str, key: str) -> Entry | None:
        self._open(bucket, key)
        now = self._clock.wall()
        return await self._worker.run(lambda db: keys.get(db, bucket, key, now))

    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: int | None = None, ttl_ms: int | None = None
    ) -> int | None:
        self._open(bucket, key)
        is_condition(expect, ttl_ms)
        own = own_bytes(value)
        now = self._clock.wall()
        expires_at = NEVER if ttl_ms is None else now + ttl_ms * NS_PER_MS
        revision = await self._worker.run(
            lambda db: keys.put(db, bucket, key, own, expect, now, expires_at), len(own)
        )
        if revision is not None:
            self._watching.ring(bucket)
        return revision

    async def delete(self, bucket: str, key: str) -> None:
        self._open(bucket, key)
        await self._worker.run(lambda db: keys.delete(db, bucket, key))

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        self._open(bucket)
        is_prefix(prefix)
        now = self._clock.wall()
        return await self._worker.run(lambda db: keys.names(db, bucket, prefix, now))

    async def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]:
        """What is there, then what changes; of a key that changes faster than it is read, the last.

        A revision is given when it is committed, one after the other in all processes, so asking for what is above the
        last one misses nothing.
        """
        self._open(bucket)
        is_prefix(prefix)
        through = 0
        with self._watching.bell(bucket) as bell:
            while self._closing is None:
                bell.clear()
                found = await self._changes(bucket, prefix, through)
                through = found.through
                for entry in found.entries:
                    yield entry
                if not found.entries and self._closing is None:
                    await bell.wait()

    async def _changes(self, bucket: str, prefix: str, after: int) -> Changes:
        now = self._clock.wall()
        return await self._worker.run_own(lambda db: keys.changes(db, bucket, prefix, after, now))

    # ---- logs ----------------------------------------------------------------------------------------------------

    async def append(self, log: str, record: bytes) -> int:
        self._open(log)
        own = own_bytes(record)
        return await self._worker.run(lambda db: logs.append(db, log, own), len(own))

    async def read(self, log: str, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """What the log holds now; who wants more reads again after the last number."""
        self._open(log)
        is_number(after, "a place in a log")
        through = await self._worker.run(lambda db: logs.last(db, log))
        while records := await self._page(log, after, through):
            for record in records:
                yield record
            after = records[-1][0]

    async def _page(self, log: str, after: int, through: int) -> list[Record]:
        self._open()
        return await self._worker.run(lambda db: logs.page(db, log, after, through))

    async def trim(self, log: str, through: int) -> None:
        """In lots, between which others are served: who reads meanwhile finds the oldest records gone first."""
        self._open(log)
        is_number(through, "a place in a log")
        while await self._worker.run(lambda db: logs.trim(db, log, through)):
            self._open()

    # ---- blobs ---------------------------------------------------------------------------------------------------

    async def put_blob(self, name: str, data: bytes) -> None:
        self._open(name)
        own = own_bytes(data)
        await self._worker.run(lambda db: blobs.put(db, name, own), len(own))

    async def get_blob(self, name: str) -> bytes | None:
        self._open(name)
        return await self._worker.run(lambda db: blobs.get(db, name))

    async def delete_blob(self, name: str) -> None:
        self._open(name)
        await self._worker.run(lambda db: blobs.delete(db, name))

    async def blobs(self, prefix: str = "") -> list[str]:
        self._open()
        is_prefix(prefix)
        return await self._worker.run(lambda db: blobs.names(db, prefix))

    # ---- its end -------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """What was asked for before is done; watchers end, and nothing of the store is left running."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._watching.close()
        await self._worker.close()

    def _open(self, *names: str) -> None:
        """The store is open, and these are names."""
        if self._closing is not None:
            raise MisuseError("store_closed", "the store is closed")
        for name in names:
            is_name(name)
