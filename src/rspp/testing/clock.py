"""Time that passes when a test says so."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from rspp.contract.event import NS_PER_MS

T = TypeVar("T")
WALL_START: Final = 1_700_000_000_000 * NS_PER_MS


class ManualClock:
    """A Clock that stands still until it is advanced, and never goes back."""

    def __init__(self, now: int = 0, wall: int = WALL_START) -> None:
        self._now = now
        self._wall = wall

    def now(self) -> int:
        return self._now

    def wall(self) -> int:
        return self._wall

    def advance(self, ms: float) -> None:
        if ms < 0:
            raise ValueError("time does not go back")
        self._now += int(ms * NS_PER_MS)
        self._wall += int(ms * NS_PER_MS)


class _Leaping(selectors.DefaultSelector):
    """A selector that never waits for a timer: when nothing is ready, the time of the next one has come."""

    def __init__(self) -> None:
        super().__init__()
        self.leapt_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)  # no timer at all: only a thread or a socket can go on from here
        ready = super().select(0)
        if not ready and timeout > 0:
            self.leapt_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time: sleeping costs nothing, and order is that of a loop which is never late.

    For what waits on timers alone. Sockets and threads work, but virtual time does not wait for them.
    """

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.leapt_s


# Shorter than any timer that means something. It is over only when nothing else is ready to run.
_IDLE_S: Final = 1e-6


async def idle() -> None:
    """In a virtual loop: everything that can run without time passing has run."""
    await asyncio.sleep(_IDLE_S)


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """What asyncio.run does, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
