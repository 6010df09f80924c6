"""Who watches, and when they should look again: at once for what this store writes, soon for what other processes do."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rspp.adapters.stores.sqlite.worker import Worker
from rspp.contract.errors import LimitReached, RsppError

# How long a change of another process may go unseen: well below what a caller notices.
POLL_MS: Final = 50
# Each costs a query a change of its bucket.
WATCHERS_MAX: Final = 1_000

Mark = tuple[int, int]


def mark(db: sqlite3.Connection) -> Mark:
    """Differs from the last one when anybody has committed: others, or this connection itself."""
    (others,) = db.execute("PRAGMA data_version").fetchone()
    return others, db.total_changes


class Watching:
    """The bells of those who watch, and the task that looks for changes while there is anybody."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._bells: dict[asyncio.Event, str] = {}  # bounded: WATCHERS_MAX
        self._poll: asyncio.Task[None] | None = None

    @contextmanager
    def bell(self, bucket: str) -> Iterator[asyncio.Event]:
        """Rings after each change, and now and then without one: who hears it looks."""
        if len(self._bells) >= WATCHERS_MAX:
            raise LimitReached("store_overloaded", f"a store has at most {WATCHERS_MAX} watchers")
        bell = asyncio.Event()
        self._bells[bell] = bucket
        if self._poll is None:
            self._poll = asyncio.get_running_loop().create_task(self._look(), name="sqlite-store-watch")
        try:
            yield bell
        finally:
            del self._bells[bell]
            if not self._bells:
                self._stop()

    def ring(self, bucket: str | None = None) -> None:
        """Something has changed in the bucket; or, without one, anywhere."""
        for bell, watched in self._bells.items():
            if bucket is None or bucket == watched:
                bell.set()

    async def close(self) -> None:
        """Those who watch find that it is over; nothing looks any more."""
        self.ring()
        poll = self._stop()
        if poll is not None:
            await asyncio.wait([poll])

    def _stop(self) -> asyncio.Task[None] | None:
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.cancel()
        return poll

    async def _look(self) -> None:
        """What a put rings for at once is found here as well: its caller may have stopped waiting before it was done."""
        seen: Mark | None = None
        while True:
            try:
                found = await self._worker.run_own(mark)
            except RsppError:
                found = None  # those who watch ask for themselves, and are told what is wrong
            if found is None or found != seen:
                seen = found
                self.ring()
            await asyncio.sleep(POLL_MS / 1000)
