"""Callers who speak every 20 ms without end, each in a phase of its own, as strangers do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Final, Generic, Protocol, TypeVar

from rspp.cli.bench_talk import FRAME_MS, FRAME_NS

# Callers of one slot send in the same millisecond.
SLOTS: Final = FRAME_MS
SLOT_NS: Final = FRAME_NS // SLOTS


class Speaker(Protocol):
    """Somebody who speaks. `first_due`: when the first frame had to be sent; each of the others is 20 ms after the one before."""

    first_due: int

    def say(self) -> None: ...


SpeakerT = TypeVar("SpeakerT", bound=Speaker)


class Rounds(Generic[SpeakerT]):
    """Has every caller speak once every 20 ms, by phases; a late round is made up for at once."""

    def __init__(self, callers: Sequence[SpeakerT], each: Callable[[SpeakerT], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._slots = [callers[slot::SLOTS] for slot in range(SLOTS)]
        self._each = each
        self._start = monotonic_ns() + FRAME_NS
        self._done = 0
        self._handle: asyncio.TimerHandle | None = None
        for slot, members in enumerate(self._slots):
            for caller in members:
                caller.first_due = self._start + slot * SLOT_NS
        self._arm()

    def _arm(self) -> None:
        # In whole milliseconds, rounded up: a loop may round down, and call too early again and again.
        wait_ms = -((monotonic_ns() - self._start - self._done * SLOT_NS) // 1_000_000)
        self._handle = self._loop.call_later(max(0, wait_ms) / 1000, self._turn)

    def _turn(self) -> None:
        wanted = (monotonic_ns() - self._start) // SLOT_NS
        each = self._each
        while self._done <= wanted:
            for caller in self._slots[self._done % SLOTS]:
                each(caller)
            self._done += 1
        self._arm()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
