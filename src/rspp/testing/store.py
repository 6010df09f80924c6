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
from rspp.host.stored import is_condition, is_name, is_number, is_prefix, own_bytes
from rspp.testing.clock import ManualClock

__all__ = ["ManualClock", "MemoryStore"]

KEYS_MAX: Final = 100_000
RECORDS_MAX: Final = 1_000_000


class _Kept(msgspec.Struct, frozen=True):
    entry: Entry
    expires_at: int | None


class _Log(msgspec.Struct):
    """The records after the number `trimmed`, which is how many were forgotten."""

    trimmed: int = 0
    records: list[bytes] = []  # bounded: RECORDS_MAX


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
        self._logs: dict[str, _Log] = {}  # bounded: KEYS_MAX
        self._blobs: dict[str, bytes] = {}  # bounded: KEYS_MAX
        self._watchers: dict[str, list[_Watcher]] = {}
        self._closed = asyncio.Event()

    # ---- keys ----------------------------------------------------------------------------------------------------

    async def get(self, bucket: str, key: str) -> Entry | None:
        self._open(bucket, key)
        kept = self._live(bucket, key)
        return kept.entry if kept else None

    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: int | None = None, ttl_ms: int | None = None
    ) -> int | None:
        self._open(bucket, key)
        is_condition(expect, ttl_ms)
        own = own_bytes(value)
        kept = self._live(bucket, key)
        if expect is not None and expect != (kept.entry.revision if kept else 0):
            return None
        shelf = self._buckets.setdefault(bucket, {})
        if kept is None and sum(map(len, self._buckets.values())) >= KEYS_MAX:
            raise LimitReached("store_full", f"the store holds at most {KEYS_MAX} keys")
        self._revision += 1
        entry = Entry(key, own, self._revision)
        shelf[key] = _Kept(entry, None if ttl_ms is None else self.clock.now() + ttl_ms * NS_PER_MS)
        for watcher in self._watchers.get(bucket, ()):
            watcher.told(entry)
        return self._revision

    async def delete(self, bucket: str, key: str) -> None:
        self._open(bucket, key)
        self._buckets.get(bucket, {}).pop(key, None)

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        self._open(bucket)
        is_prefix(prefix)
        found = [key for key in self._buckets.get(bucket, {}) if key.startswith(prefix)]
        return sorted(key for key in found if self._live(bucket, key))

    async def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]:
        """What is there, then what changes; of a key that changes faster than it is read, the last."""
        self._open(bucket)
        is_prefix(prefix)
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
        self._open(log)
        own = own_bytes(record)
        if log not in self._logs and len(self._logs) >= KEYS_MAX:
            raise LimitReached("store_full", f"the store holds at most {KEYS_MAX} logs")
        kept = self._logs.setdefault(log, _Log())
        if len(kept.records) >= RECORDS_MAX:
            raise LimitReached("store_full", f"a log holds at most {RECORDS_MAX} records")
        kept.records.append(own)
        return kept.trimmed + len(kept.records)

    async def read(self, log: str, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """What the log holds now; who wants more reads again after the last number."""
        self._open(log)
        is_number(after, "a place in a log")
        kept = self._logs.get(log, _Log())
        start = max(after, kept.trimmed)
        for number, record in enumerate(kept.records[start - kept.trimmed :], start=start + 1):
            yield number, record

    async def trim(self, log: str, through: int) -> None:
        self._open(log)
        is_number(through, "a place in a log")
        kept = self._logs.get(log, _Log())
        gone = min(max(through - kept.trimmed, 0), len(kept.records))
        del kept.records[:gone]
        kept.trimmed += gone

    async def put_blob(self, name: str, data: bytes) -> None:
        self._open(name)
        own = own_bytes(data)
        if name not in self._blobs and len(self._blobs) >= KEYS_MAX:
            raise LimitReached("store_full", f"the store holds at most {KEYS_MAX} blobs")
        self._blobs[name] = own

    async def get_blob(self, name: str) -> bytes | None:
        self._open(name)
        return self._blobs.get(name)

    async def delete_blob(self, name: str) -> None:
        self._open(name)
        self._blobs.pop(name, None)

    async def blobs(self, prefix: str = "") -> list[str]:
        self._open()
        is_prefix(prefix)
        return sorted(name for name in self._blobs if name.startswith(prefix))

    async def close(self) -> None:
        self._closed.set()
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.changed.set()

    def _open(self, *names: str) -> None:
        """The store is open, and these are names."""
        if self._closed.is_set():
            raise MisuseError("store_closed", "the store is closed")
        for name in names:
            is_name(name)
