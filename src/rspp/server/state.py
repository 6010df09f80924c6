"""A process's part in the state engine: its store tells of every change, and where a console is served, an engine knows all rows.

async with telling(store, clock, source="control:c1") as state:
    ... everything that writes is given state.store ...
    engine = state.engine()          # only where somebody looks
    await engine.load(); tasks.create_task(engine.run())
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rspp.contract.event import NS_PER_MS
from rspp.host.clock import MachineClock
from rspp.host.ports import Clock, Store
from rspp.ops.engine import StateEngine
from rspp.ops.journal.journal import Journal
from rspp.ops.journal.writer import Writer
from rspp.ops.journalled import Journalled
from rspp.server.surfaces import surfaces

log = logging.getLogger("rspp.server.state")

# What is still to be told when a process ends is told within this time, or by whoever watches.
FLUSH_MS: Final = 2_000


class Told:
    """The store that tells, the journal and its writer, of one process. Begin it in a running loop; end it before the store is closed."""

    def __init__(self, store: Store, clock: Clock | None = None, *, source: str) -> None:
        self.surfaces = surfaces()
        self._bare, self._clock = store, clock or MachineClock()
        self.journal = Journal(store, self.surfaces, self._clock)
        self.writer = Writer(self.journal)
        self.store = Journalled(store, self.surfaces, self.writer, source=source, wall_ms=self._wall_ms)
        self._writing: asyncio.Task[None] | None = None

    def _wall_ms(self) -> int:
        return self._clock.wall() // NS_PER_MS

    def engine(self) -> StateEngine:
        """The rows of all surfaces, in this process; whoever asks for one loads and runs it."""
        return StateEngine(self._bare, self.surfaces, self._clock, self.writer, self.journal)

    def begin(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self.writer.run(), name="journal:writer")

    async def end(self, within_ms: int = FLUSH_MS) -> None:
        """What is told already is written, if the journal takes it in time; a writer that failed is said."""
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        await self.writer.flush(within_ms)
        writing.cancel()
        await asyncio.wait([writing])
        if not writing.cancelled() and writing.exception() is not None:
            log.error("the journal's writer failed", exc_info=writing.exception())


@asynccontextmanager
async def telling(store: Store, clock: Clock | None = None, *, source: str) -> AsyncIterator[Told]:
    """The same around a piece of work. The store itself is its owner's to close."""
    told = Told(store, clock, source=source)
    told.begin()
    try:
        yield told
    finally:
        await told.end()


@asynccontextmanager
async def told(store: Store) -> AsyncIterator[Store]:
    """For a command that does one thing: the store in front of this one, which tells of what it changes."""
    async with telling(store, source=f"command:{os.getpid()}") as state:
        yield state.store
