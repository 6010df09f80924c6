"""An event loop whose time runs as fast as is asked for.

At a speed, all of time runs that many times as fast: timers, timeouts, the caller and the clock of the host alike. Without a
speed, time that nobody needs is skipped: when nothing is ready to run and `may_skip` says that nobody outside the loop owes an
answer, the next timer's moment has come. While somebody does (a model that works in a thread, a server), time runs as it
really does, so what a provider really takes is what the call takes.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from typing import Final

NS_PER_S: Final = 1_000_000_000
# So long the loop listens for threads before it skips: long enough for a model of voice activity to score its window.
SETTLE_S: Final = 0.005


class _Selector(selectors.DefaultSelector):
    """Waits for less time than it is told to."""

    def __init__(self, speed: float | None) -> None:
        super().__init__()
        self.speed = speed
        self.skipped_s = 0.0
        self.may_skip: Callable[[], bool] = lambda: False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if self.speed is not None:
            return super().select(timeout / self.speed)
        if not self.may_skip():
            return super().select(timeout)
        ready = super().select(min(SETTLE_S, timeout))
        if not ready and timeout > SETTLE_S:
            self.skipped_s += timeout - SETTLE_S
        return ready


class PacedLoop(asyncio.SelectorEventLoop):
    """An event loop at `speed` times real time; None is as fast as possible."""

    def __init__(self, speed: float | None = 1.0) -> None:
        self._start_s = time.monotonic()
        self._waiting = _Selector(speed)
        super().__init__(self._waiting)

    def time(self) -> float:
        really = time.monotonic() - self._start_s
        return self._start_s + really * (self._waiting.speed or 1.0) + self._waiting.skipped_s

    def skip_when(self, may_skip: Callable[[], bool]) -> None:
        """Until this is said, nothing is skipped: models are being loaded, and the loop cannot see that."""
        self._waiting.may_skip = may_skip


class LoopClock:
    """The host's clock in such a loop: its time, and a time of day that began when this was made."""

    __slots__ = ("_loop", "_wall_ns")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wall_ns = time.time_ns() - self.now()

    def now(self) -> int:
        return int(self._loop.time() * NS_PER_S)

    def wall(self) -> int:
        return self._wall_ns + self.now()
