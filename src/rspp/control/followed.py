"""A copy of one bucket in memory that follows the store, and knows how old it is.

It is told of changes by the store's watch and reads the whole bucket again every `reload_ms`: a watch tells no deletion, and
one that has quietly died tells nothing at all. So the age of the last whole reading is what may be trusted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import Final, Generic, TypeVar

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS
from rspp.host.ports import Clock, Entry, Store

RecordT = TypeVar("RecordT")
RELOAD_MS: Final = 10_000
RETRY_MS: Final = 500
AT_ONCE: Final = 32  # keys that are read at a time
_LOG: Final = logging.getLogger(__name__)


class Followed(Generic[RecordT]):
    """Records by key. `decode` raises an RsppError for what is no record; that key is then as if it were not there."""

    def __init__(
        self,
        store: Store,
        bucket: str,
        decode: Callable[[str, bytes], RecordT],
        clock: Clock,
        *,
        reload_ms: int = RELOAD_MS,
    ) -> None:
        self.records: dict[str, RecordT] = {}  # bounded: by the keys of the bucket
        self._revisions: dict[str, int] = {}  # bounded: likewise
        self._store = store
        self._bucket = bucket
        self._decode = decode
        self._clock = clock
        self._reload_ms = reload_ms
        self._read_at: int | None = None

    @property
    def age_ms(self) -> int | None:
        """How long ago the whole bucket was read; None: never."""
        return None if self._read_at is None else (self._clock.now() - self._read_at) // NS_PER_MS

    async def load(self) -> None:
        """Read the whole bucket; raises what the store raises."""
        began = self._clock.now()
        before = dict(self._revisions)
        there = await self._store.keys(self._bucket)
        for start in range(0, len(there), AT_ONCE):
            names = there[start : start + AT_ONCE]
            for entry in await asyncio.gather(*(self._store.get(self._bucket, name) for name in names)):
                if entry is not None:
                    self.take(entry)
        for key in before.keys() - set(there):
            if self._revisions.get(key) == before[key]:  # and was not made anew meanwhile
                self.records.pop(key, None)
                self._revisions.pop(key, None)
        self._read_at = began

    def take(self, entry: Entry) -> None:
        """One key's value, unless a later one is known."""
        if entry.revision <= self._revisions.get(entry.key, 0):
            return
        self._revisions[entry.key] = entry.revision
        try:
            self.records[entry.key] = self._decode(entry.key, entry.value)
        except RsppError as error:
            self.records.pop(entry.key, None)
            _LOG.error("%s/%s is left out: %s", self._bucket, entry.key, error)

    async def run(self) -> None:
        """Follow the store until cancelled; while it cannot be reached, the copy grows older."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._reload())

    async def _watch(self) -> None:
        while True:
            try:
                async with aclosing(self._store.watch(self._bucket)) as changes:  # type: ignore[type-var]
                    async for entry in changes:
                        self.take(entry)
            except (RsppError, OSError) as error:
                _LOG.warning("watching %s: %s", self._bucket, error)
            await asyncio.sleep(RETRY_MS / 1000)

    async def _reload(self) -> None:
        while True:
            try:
                await self.load()
                await asyncio.sleep(self._reload_ms / 1000)
            except (RsppError, OSError) as error:
                _LOG.warning("reading %s: %s", self._bucket, error)
                await asyncio.sleep(RETRY_MS / 1000)
