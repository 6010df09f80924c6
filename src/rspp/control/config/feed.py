"""What the store says comes to this process at once by a watch, and within a bounded time whatever becomes of the watch.

    watch   every change, as it is written; one that breaks is begun again, and gives what was missed first
    pulse   every two seconds the next few keys are read: proof that the store is there, and what a deaf watch missed;
            which keys there are is asked every half minute, for that may cost the store as much as to read them all

How long ago the store was heard of counts from when a read that it answered was *begun*.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.config.graphs import Graphs
from rspp.control.config.health_view import HealthView
from rspp.control.config.knowledge import AT_ONCE, PROBLEMS_MAX, Knowledge, read_into, unread
from rspp.control.names import CONFIG, HEALTH
from rspp.host.ports import Clock, Entry, Store

log = logging.getLogger("rspp.control.config.feed")

# The contract's: a view may be two seconds old, and be used for ten more when it cannot be had anew.
PULSE_MS: Final = 2_000
STALE_MS: Final = 12_000
READ_MS_MAX: Final = 5_000
RETRY_MS: Final = 500
# Keys that one pulse reads. All are read in turn, so a watch that has died costs time and no change.
KEYS_PER_PULSE: Final = 20
# Which keys there are is asked once in so many pulses.
LIST_EVERY: Final = 15
# Read where there is nothing to be read: that there is no such key is an answer too.
NOTHING: Final = "nothing"
# Graphs that are compiled before they are asked for; there is room for as many again.
GRAPHS_WARM_MAX: Final = 256


class Faults:
    """What is wrong, by place: told once when it begins or changes, and gone when it is well again."""

    def __init__(self) -> None:
        self.now: dict[str, str] = {}  # bounded: PROBLEMS_MAX

    def tell(self, place: str, words: str) -> None:
        if self.now.get(place) == words or (place not in self.now and len(self.now) >= PROBLEMS_MAX):
            return
        log.warning("%s: %s", place, words)
        self.now[place] = words

    def clear(self, place: str) -> None:
        self.now.pop(place, None)


class Feed:
    """Keeps what this process knows up to date. `sync` reads it once; `run` follows the store until it is cancelled."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        known: Knowledge,
        health: HealthView,
        graphs: Graphs,
        faults: Faults,
        *,
        stale_ms: int = STALE_MS,
        pulse_ms: int = PULSE_MS,
    ) -> None:
        self.contact_at: int | None = None
        self._store = store
        self._clock = clock
        self._known = known
        self._health = health
        self._graphs = graphs
        self._faults = faults
        self._stale_ns = stale_ms * NS_PER_MS
        self._pulse_s = pulse_ms / 1000
        self._warmed = -1  # the revision for which everything is compiled
        self._listed: list[str] = []  # bounded: by the keys of the store; those that were there
        self._listed_at: int | None = None
        self._round: list[str] = []  # bounded: likewise; what the next pulses read
        self._on_change: list[Callable[[], None]] = []  # bounded: by the parts of this process

    def fresh(self, now: int) -> bool:
        """Was the store heard of within the bound?"""
        return self.contact_at is not None and now - self.contact_at <= self._stale_ns

    def on_change(self, callback: Callable[[], None]) -> None:
        self._on_change.append(callback)

    async def sync(self) -> None:
        """Read all that is in force. Raises what the store raises; then this view is as old as it was."""
        began_at = self._clock.now()
        await self._list(began_at)
        changed = False
        for start in range(0, len(self._listed), AT_ONCE):
            changed |= await self._read(self._listed[start : start + AT_ONCE])
        self.contact_at = began_at
        self._tell(changed)

    async def run(self) -> None:
        """Follow the store. A watch that breaks is begun again, and gives what was missed first."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(CONFIG, self._known.take))
            tasks.create_task(self._follow(HEALTH, self.hear))
            tasks.create_task(self._beat())
            tasks.create_task(self._keep_warm())

    def hear(self, entry: Entry) -> bool:
        return self._health.take(entry, self._clock.now())

    async def _follow(self, bucket: str, take: Callable[[Entry], bool]) -> None:
        while True:
            try:
                async for entry in self._store.watch(bucket):
                    self._tell(take(entry))
            except (RsppError, OSError, TimeoutError) as error:
                log.warning("the watch of %s broke: %s", bucket, error)
            await asyncio.sleep(RETRY_MS / 1000)

    async def _beat(self) -> None:
        while True:
            try:
                await (self.sync() if self.contact_at is None else self._look())
                wait_s = self._pulse_s
            except (RsppError, OSError, TimeoutError) as error:
                log.warning("the store was not heard of: %s", type(error).__name__)
                wait_s = min(self._pulse_s, RETRY_MS / 1000)
            self._tell(self._health.settle(self._clock.now()))
            await asyncio.sleep(wait_s)

    async def _look(self) -> None:
        """A few reads: any answer is one of the store of this moment, and what the watch has missed is found."""
        began_at = self._clock.now()
        if not self._round:
            if self._listed_at is None or began_at - self._listed_at >= LIST_EVERY * self._pulse_s * 1e9:
                await self._list(began_at)
            self._round = [name for name in self._listed if not self._known.knows(name)]
        names, self._round = self._round[:KEYS_PER_PULSE], self._round[KEYS_PER_PULSE:]
        changed = await self._read(names or [NOTHING])
        self.contact_at = began_at
        self._tell(changed)

    async def _list(self, began_at: int) -> None:
        async with asyncio.timeout(READ_MS_MAX / 1000):
            self._listed = await unread(self._known, self._store)
        self._listed_at = began_at

    async def _read(self, names: list[str]) -> bool:
        async with asyncio.timeout(READ_MS_MAX / 1000):
            return await read_into(self._known, self._store, names)

    async def _keep_warm(self) -> None:
        """Beside the pulse: compiling hundreds of graphs takes longer than a view may be old."""
        while True:
            await self._warm()
            await asyncio.sleep(self._pulse_s)

    async def _warm(self) -> None:
        """What new sessions will run is compiled before they come; what cannot be is told before they do."""
        if self._warmed == self._known.revision:
            return
        revision = self._known.revision
        for ref in self._known.graph_refs()[:GRAPHS_WARM_MAX]:
            try:
                await self._graphs.warm(ref)
            except RsppError as fault:
                self._faults.tell(ref, f"{fault.code}: {fault.message}")
            else:
                self._faults.clear(ref)
        self._warmed = revision

    def _tell(self, changed: bool) -> None:
        if not changed:
            return
        for callback in self._on_change:
            callback()
