"""What the measuring processes ask of the machine: a core of their own, the CPU they used, the memory they hold."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

ResultT = TypeVar("ResultT")

US: Final = 1_000
# Lateness is counted in steps of this many nanoseconds, up to as many steps: 0.1 ms, up to 2 s.
STEP_NS: Final = 100_000
STEPS: Final = 20_000


def cores() -> list[int]:
    """The cores that this process may run on, in order."""
    return sorted(os.sched_getaffinity(0))


def pin(core: int) -> None:
    """Stay on one core from now on: what is measured is one core's work."""
    os.sched_setaffinity(0, {core})


def other_core(core: int) -> int:
    """A core beside this one; the same where there is only one."""
    return next((other for other in cores() if other != core), core)


def rss_bytes() -> int:
    """Memory that is resident now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def files_open() -> int:
    """Files, sockets and pipes that this process holds."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run on the loop that a server would run on: uvloop where it is installed."""
    fast = _uvloop()
    with asyncio.Runner(loop_factory=fast.new_event_loop if fast else None) as runner:
        return runner.run(work)


def loop_name() -> str:
    """Which loop `run` takes."""
    fast = _uvloop()
    return f"uvloop {fast.__version__}" if fast else "asyncio"


def _uvloop() -> Any:
    try:
        return importlib.import_module("uvloop")
    except ImportError:
        return None


def settle_heap() -> None:
    """What lives until now is not looked at by the collector again, as in a host that has warmed up."""
    gc.collect()
    gc.freeze()


class Lateness:
    """How late things were, as counts in steps of 0.1 ms: exact enough, and it does not grow while memory is measured."""

    __slots__ = ("counts", "seen")

    def __init__(self) -> None:
        self.counts = [0] * STEPS
        self.seen = 0

    def add(self, late_ns: int) -> None:
        step = late_ns // STEP_NS if late_ns > 0 else 0
        self.counts[step if step < STEPS else STEPS - 1] += 1
        self.seen += 1

    def clear(self) -> None:
        self.counts = [0] * STEPS
        self.seen = 0

    def quantile_ms(self, share: float) -> float | None:
        """The lateness that this share did not exceed, rounded up to a step; None when nothing was seen."""
        left = share * self.seen
        if not self.seen:
            return None
        for step, count in enumerate(self.counts):
            left -= count
            if left <= 0:
                return round((step + 1) * STEP_NS / 1e6, 1)
        return STEPS * STEP_NS / 1e6
