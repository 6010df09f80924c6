"""One timer for all sessions: whoever asked to be woken is, at that time and not before.

A session's deadline moves with nearly every frame, mostly to later. So what is armed is left standing while it is early
enough: it fires, finds that nothing is due, and arms what is. That is far cheaper than moving it each time.

Loops keep time in milliseconds (some round down, and would call too early, again and again). So waits are whole milliseconds,
rounded up, and whoever falls due meanwhile is woken along: nobody early, nobody more than a millisecond or so late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final, Protocol

TICK_NS: Final = 1_000_000
TICKS_PER_S: Final = 1_000
QUIET_NS: Final = 1_000_000_000  # nobody waits at all: that is quiet enough for anything
# Entries that were overtaken are thrown out when they are more than this many times the sleepers, and a few.
SLACK: Final = 4
FEW: Final = 16


class Sleeper(Protocol):
    """Somebody who is woken. `armed_at` is the timer's own note on it."""

    armed_at: int | None

    def deadline(self) -> int | None: ...
    def due(self) -> None: ...


class Timer:
    """Wakes sleepers by one entry in the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], int]) -> None:
        self._loop = loop
        self._now = now
        self._heap: list[tuple[int, int, Sleeper]] = []
        self._ordinal = 0
        self._live = 0
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = 0

    def __len__(self) -> int:
        return self._live

    def arm(self, sleeper: Sleeper) -> None:
        """See that the sleeper is woken by its deadline."""
        at = sleeper.deadline()
        if at is None:
            return
        armed = sleeper.armed_at
        if armed is not None:
            if armed <= at:
                return
        else:
            self._live += 1
        self._push(sleeper, at)
        self._set(at)
        self._sweep()

    def forget(self, sleeper: Sleeper) -> None:
        if sleeper.armed_at is not None:
            sleeper.armed_at = None
            self._live -= 1
            self._sweep()  # who has ended must not live on in here until its time comes

    def quiet_ns(self) -> int:
        """For how long nobody has to be woken."""
        return max(0, self._handle_at - self._now()) if self._handle is not None else QUIET_NS

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._heap.clear()

    def _push(self, sleeper: Sleeper, at: int) -> None:
        sleeper.armed_at = at
        self._ordinal += 1
        heappush(self._heap, (at, self._ordinal, sleeper))

    def _set(self, at: int) -> None:
        """Have the loop call then; a call that stands already and is not a tick later is early enough."""
        if self._handle is not None:
            if self._handle_at < at + TICK_NS:
                return
            self._handle.cancel()
        now = self._now()
        ticks = max(0, -((now - at) // TICK_NS))
        self._handle_at = now + ticks * TICK_NS
        self._handle = self._loop.call_later(ticks / TICKS_PER_S, self._fire)

    def _fire(self) -> None:
        self._handle = None
        heap, now = self._heap, self._now()
        while heap and heap[0][0] <= now:
            at, _, sleeper = heappop(heap)
            if sleeper.armed_at != at:
                continue
            sleeper.armed_at = None
            self._live -= 1
            wanted = sleeper.deadline()
            if wanted is not None and wanted <= now:
                sleeper.due()
            elif wanted is not None:
                self._live += 1
                self._push(sleeper, wanted)
        while heap and heap[0][2].armed_at != heap[0][0]:
            heappop(heap)
        if heap:
            self._set(heap[0][0])

    def _sweep(self) -> None:
        if len(self._heap) <= SLACK * self._live + FEW:
            return
        self._heap = [entry for entry in self._heap if entry[2].armed_at == entry[0]]
        heapify(self._heap)
