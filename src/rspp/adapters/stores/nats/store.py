"""The Store on NATS JetStream, shared by every process that reaches the servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from rspp.adapters.stores.nats.blobs import Blobs
from rspp.adapters.stores.nats.cells import Cells
from rspp.adapters.stores.nats.following import Following
from rspp.adapters.stores.nats.jetstream import JetStream
from rspp.adapters.stores.nats.keys import Keys
from rspp.adapters.stores.nats.link import Address, Link
from rspp.adapters.stores.nats.logs import Logs
from rspp.adapters.stores.nats.room import Room
from rspp.adapters.stores.nats.streams import BLOBS, KEYS, Streams
from rspp.contract.errors import LimitReached, MisuseError
from rspp.host.clock import MachineClock
from rspp.host.ports import Clock, Entry
from rspp.host.stored import is_condition, is_name, is_number, is_prefix, own_bytes

# An election takes 5 to 8 s, now and then 10: a call that began just before one nearly always outlives it.
DEADLINE_MS: Final = 10_000
DEADLINE_MS_MAX: Final = 600_000
# Some seconds of small writes: more does not help whoever waits.
WAITING_MAX: Final = 4_096
# What those that wait may hold of memory: a few of the largest values.
WAITING_BYTES_MAX: Final = 256 * 1024 * 1024
# Questions under way at once; the rest wait here, where they cost less than in the server's queue.
ASKING_MAX: Final = 256
# Each is a consumer of the server, which has at most 1,000 a stream unless it is told otherwise.
WATCHERS_MAX: Final = 1_000


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a store is kept, beside where. `replicas` None: three on a cluster, one on a single server."""

    namespace: str = "rspp"
    replicas: int | None = None
    deadline_ms: int = DEADLINE_MS


class NatsStore:
    """Keys, logs and blobs that outlive machines. It connects with its first call, and belongs to one event loop."""

    def __init__(
        self, address: Address, settings: Settings | None = None, clock: Clock | None = None
    ) -> None:
        settings = settings or Settings()
        deadline_s = settings.deadline_ms / 1000
        self._link = Link(address)
        self._jetstream = JetStream(self._link, deadline_s)
        self._streams = Streams(self._jetstream, settings.namespace, settings.replicas)
        cells = Cells(self._jetstream, self._streams, KEYS)
        self._keys = Keys(cells, settings.namespace, clock or MachineClock(), deadline_s)
        self._logs = Logs(self._jetstream, self._streams, settings.namespace)
        self._blobs = Blobs(Cells(self._jetstream, self._streams, BLOBS), settings.namespace, deadline_s)
        self._room = Room(WAITING_MAX, WAITING_BYTES_MAX, ASKING_MAX)
        self._following: set[Following] = set()  # bounded: WATCHERS_MAX
        self._closing: asyncio.Task[None] | None = None

    # ---- keys ----------------------------------------------------------------------------------------------------

    async def get(self, bucket: str, key: str) -> Entry | None:
        self._open(bucket, key)
        async with self._room.taken():
            return await self._keys.get(bucket, key)

    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: int | None = None, ttl_ms: int | None = None
    ) -> int | None:
        self._open(bucket, key)
        is_condition(expect, ttl_ms)
        own = own_bytes(value)
        async with self._room.taken(len(own)):
            return await self._keys.put(bucket, key, own, expect, ttl_ms)

    async def delete(self, bucket: str, key: str) -> None:
        self._open(bucket, key)
        async with self._room.taken():
            await self._keys.delete(bucket, key)

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        self._open(bucket)
        is_prefix(prefix)
        async with self._room.taken():
            return await self._keys.names(bucket, prefix)

    async def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]:
        """What is there, then what changes; of a key that changes while nobody reads, the last."""
        self._open(bucket)
        is_prefix(prefix)
        with self._followed(KEYS, self._keys.below(bucket, prefix), 0) as following:
            messages = following.messages()
            try:
                async for message in messages:
                    entry = None if message is None else self._keys.entry(message)
                    if entry is not None and entry.key.startswith(prefix):
                        yield entry
            finally:
                await messages.aclose()  # type: ignore[attr-defined]  # an async generator

    # ---- logs ----------------------------------------------------------------------------------------------------

    async def append(self, log: str, record: bytes) -> int:
        self._open(log)
        own = own_bytes(record)
        async with self._room.taken(len(own)):
            return await self._logs.append(log, own)

    async def read(self, log: str, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """What the log holds now; who wants more reads again after the last number."""
        self._open(log)
        is_number(after, "a place in a log")
        reading = self._logs.read(log, after, self._followed)
        try:
            async for record in reading:
                self._open()
                yield record
        finally:
            await reading.aclose()  # type: ignore[attr-defined]  # an async generator

    async def trim(self, log: str, through: int) -> None:
        self._open(log)
        is_number(through, "a place in a log")
        async with self._room.taken():
            await self._logs.trim(log, through)

    # ---- blobs ---------------------------------------------------------------------------------------------------

    async def put_blob(self, name: str, data: bytes) -> None:
        self._open(name)
        own = own_bytes(data)
        async with self._room.taken(len(own)):
            await self._blobs.put(name, own)

    async def get_blob(self, name: str) -> bytes | None:
        self._open(name)
        async with self._room.taken():
            return await self._blobs.get(name)

    async def delete_blob(self, name: str) -> None:
        self._open(name)
        async with self._room.taken():
            await self._blobs.delete(name)

    async def blobs(self, prefix: str = "") -> list[str]:
        self._open()
        is_prefix(prefix)
        async with self._room.taken():
            return await self._blobs.names(prefix)

    # ---- its end -------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """What was asked for before is done, or has reached its deadline; watchers end, and nothing is left running."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for following in list(self._following):
            following.stop()
        await self._room.emptied()
        await self._link.close()

    @contextmanager
    def _followed(self, shape: str, filtered: str, after: int) -> Iterator[Following]:
        if len(self._following) >= WATCHERS_MAX:
            raise LimitReached("store_overloaded", f"a store has at most {WATCHERS_MAX} watchers and readers")
        following = Following(self._jetstream, self._streams, shape, filtered, after)
        self._following.add(following)
        try:
            yield following
        finally:
            self._following.discard(following)

    # ---- whoever keeps house ---------------------------------------------------------------------------------------

    async def kept(self) -> list[str]:
        """The names of all streams that these servers have, of whichever namespace."""
        self._open()
        return await self._streams.kept()

    async def drop(self) -> None:
        """Forget everything of this namespace: its streams are gone, and nobody else's."""
        self._open()
        await self._streams.drop()

    def _open(self, *names: str) -> None:
        """The store is open, and these are names."""
        if self._closing is not None:
            raise MisuseError("store_closed", "the store is closed")
        for name in names:
            is_name(name)
