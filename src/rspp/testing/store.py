"""A Store in the memory of one process: what every other Store must do, in as few words as possible.

Time is that of the clock it is given, so a test decides when a key expires. Nothing is evicted: what is full says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from rspp.contract.errors import LimitReached, MisuseError
from rspp.contract.event import NS_PER_MS
from rspp.host.ports import Clock, Entry
from rspp.testing.clock import ManualClock

__all__ = ["ManualClock", "MemoryStore"]

KEYS_MAX: Final = 100_000
RECORDS_MAX: Final = 1_000_000
VALUE_BYTES_MAX: Final = 64 * 1024 * 1024


class _Kept(msgspec.Struct, frozen=True):
    entry: Entry
    expires_at: int | None


class _Watcher:
    """The changes that one watcher has not read yet: of each key the last, in the order of their revisions."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.pending: dict[str, Entry] = {}  # bounded: by the keys of the bucket
        self.changed = asyncio.Event()

    def told(self, entry: Entry) -> None:
        if entry.key.startswith(self.prefix):
            self.pending.pop(entry.key, None)
            self.pending[entry.key] = entry
            self.changed.set()


class MemoryStore:
    """Buckets, logs and blobs. Revisions rise over the whole store, so a key that comes back has a larger one."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or ManualClock()
        self._revision = 0
        self._buckets: dict[str, dict[str, _Kept]] = {}  # bounded: KEYS_MAX in all
        self._logs: dict[str, list[bytes]] = {}  # bounded: RECORDS_MAX each
        self._blobs: dict[str, bytes] = {}  # bounded: KEYS_MAX
        self._watchers: dict[str, list[_Watcher]] = {}
        self._closed = asyncio.Event()

    # ---- keys ----------------------------------------------------------------------------------------------------

    async def get(self, bucket: str, key: str) -> Entry | None:
        self._open()
        kept = self._live(bucket, key)
        return kept.entry if kept else None

    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: int | None = None, ttl_ms: int | None = None
    ) -> int | None:
        self._open()
        _fits(value)
        kept = self._live(bucket, key)
        if expect is not None and expect != (kept.entry.revision if kept else 0):
            return None
        shelf = self._buckets.setdefault(bucket, {})
        if kept is None and sum(map(len, self._buckets.values())) >= KEYS_MAX:
            raise LimitReached("state_full", f"the store holds at most {KEYS_MAX} keys")
        self._revision += 1
        entry = Entry(key, bytes(value), self._revision)
        shelf[key] = _Kept(entry, None if ttl_ms is None else self.clock.now() + ttl_ms * NS_PER_MS)
        for watcher in self._watchers.get(bucket, ()):
            watcher.told(entry)
        return self._revision

    async def delete(self, bucket: str, key: str) -> None:
        self._open()
        self._buckets.get(bucket, {}).pop(key, None)

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        self._open()
        found = [key for key in self._buckets.get(bucket, {}) if key.startswith(prefix)]
        return sorted(key for key in found if self._live(bucket, key))

    async def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]:
        """What is there, then what changes; of a key that changes faster than it is read, the last."""
        self._open()
        watcher = _Watcher(prefix)
        there = [kept for key in await self.keys(bucket, prefix) if (kept := self._live(bucket, key))]
        for kept in sorted(there, key=lambda kept: kept.entry.revision):
            watcher.told(kept.entry)
        watchers = self._watchers.setdefault(bucket, [])
        watchers.append(watcher)
        try:
            while not self._closed.is_set():
                while watcher.pending:
                    yield watcher.pending.pop(next(iter(watcher.pending)))
                watcher.changed.clear()
                await watcher.changed.wait()
        finally:
            watchers.remove(watcher)

    def _live(self, bucket: str, key: str) -> _Kept | None:
        """The key's value, unless its time is over."""
        shelf = self._buckets.get(bucket, {})
        kept = shelf.get(key)
        if kept is not None and kept.expires_at is not None and self.clock.now() >= kept.expires_at:
            del shelf[key]
            return None
        return kept

    # ---- logs and blobs ------------------------------------------------------------------------------------------

    async def append(self, log: str, record: bytes) -> int:
        self._open()
        _fits(record)
        records = self._logs.setdefault(log, [])
        if len(records) >= RECORDS_MAX:
            raise LimitReached("state_full", f"a log holds at most {RECORDS_MAX} records")
        records.append(bytes(record))
        return len(records)

    async def read(self, log: str, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """What the log holds now; who wants more reads again after the last number."""
        self._open()
        for number, record in enumerate(self._logs.get(log, [])[after:], start=after + 1):
            yield number, record

    async def put_blob(self, name: str, data: bytes) -> None:
        self._open()
        _fits(data)
        if name not in self._blobs and len(self._blobs) >= KEYS_MAX:
            raise LimitReached("state_full", f"the store holds at most {KEYS_MAX} blobs")
        self._blobs[name] = bytes(data)

    async def get_blob(self, name: str) -> bytes | None:
        self._open()
        return self._blobs.get(name)

    async def close(self) -> None:
        self._closed.set()
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.changed.set()

    def _open(self) -> None:
        if self._closed.is_set():
            raise MisuseError("store_closed", "the store is closed")


def _fits(value: bytes) -> None:
    if len(value) > VALUE_BYTES_MAX:
        raise LimitReached("payload_too_large", f"a value has at most {VALUE_BYTES_MAX} bytes")
