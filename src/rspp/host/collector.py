"""Cyclic garbage is collected when nobody waits, in slices that fit, and in any case before it grows past a bound.

    start() -----> young garbage as ever; old garbage by us
    freeze_after_warmup()   what lives for ever (modules, models) is never looked at again
    idle(budget_ns)         the pump is empty for so long: the oldest generation whose pause fits, if it is worth one
    (deferred_max reached)  one whole collection on the loop's next turn, whatever waits; and past twice the bound the
                            interpreter does it by itself, so a step that never returns cannot fill the memory either

What the host makes for each frame holds no cycles and is freed by its reference counts; what is left to collect are
tasks, exceptions with their frames, closed sessions. A whole collection looks at everything that is not frozen and
cannot be cut, so its pause is what limits the neighbours: it is measured, and its expected length decides whether it
fits. The count of deferral is the interpreter's own: collections of the middle generation since the last whole one.

From Python 3.14 on the interpreter collects in increments; then a whole collection is only what `idle` and the bound ask for.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from rspp.contract.errors import MisuseError
from rspp.host.meters import Meters

# How many net allocations of containers make a young collection, and how many of those a middle one: Python's own
# numbers, for both pauses are well under a millisecond.
YOUNG_ALLOCATIONS: Final = 700
MIDDLE_EVERY: Final = 10
# So many middle collections (7,000 net allocations each) may go by without a whole one: 350,000 containers, some 50 MB
# if every one of them were garbage.
DEFERRED_MAX: Final = 50
# Below this a collection finds too little to be worth its pause.
WORTH: Final = 2
REMEMBERED: Final = 3  # the middle one of the last three pauses: one that was interrupted does not count
OLD: Final = 2
MIDDLE: Final = 1


class Collector:
    """The cyclic collector of one process. All calls are made on the loop's thread."""

    def __init__(
        self,
        *,
        deferred_max: int = DEFERRED_MAX,
        meters: Meters | None = None,
        now: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        if deferred_max < 1:
            raise MisuseError("value_invalid", "a whole collection is deferred at least once", "deferred_max")
        self._deferred_max = deferred_max
        self._now = now
        meters = meters or Meters()
        self.pause_ns = tuple(meters.histogram("gc_pause_ns", generation=str(number)) for number in range(3))
        self.found = meters.counter("gc_collected_total")
        self.uncollectable = meters.counter("gc_uncollectable_total")
        self.forced = meters.counter("gc_forced_total")
        self._pauses = tuple(deque[int](maxlen=REMEMBERED) for _ in range(3))
        self._began = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before: tuple[int, int, int] | None = None
        self._due = False
        self._frozen = False

    # ---- its life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take over. One collector a process: a second is refused."""
        if any(isinstance(getattr(one, "__self__", None), Collector) for one in gc.callbacks):
            raise MisuseError("collector_already_running", "this process has a collector already")
        self._loop = asyncio.get_running_loop()
        self._before = gc.get_threshold()
        gc.set_threshold(YOUNG_ALLOCATIONS, MIDDLE_EVERY, 2 * self._deferred_max)
        gc.callbacks.append(self._collecting)

    def freeze_after_warmup(self) -> None:
        """Collect once, then set aside all that lives: call it when the models are loaded and before callers come."""
        gc.collect()
        gc.freeze()
        self._frozen = True
        for pauses in self._pauses:
            pauses.clear()  # what is left to look at is another heap

    def stop(self) -> None:
        """Leave the interpreter as it was."""
        if self._before is None:
            return
        gc.callbacks.remove(self._collecting)
        gc.set_threshold(*self._before)
        self._before = None
        if self._frozen:
            gc.unfreeze()
            self._frozen = False

    # ---- when to collect ---------------------------------------------------------------------------------------------

    def idle(self, budget_ns: int) -> int:
        """Nothing waits for `budget_ns`: collect what fits; returns the nanoseconds that it took."""
        _, middle, old = gc.get_count()
        if old >= WORTH and self.expected_ns(OLD) <= budget_ns:
            return self._collect(OLD)
        if middle >= WORTH and self.expected_ns(MIDDLE) <= budget_ns:
            return self._collect(MIDDLE)
        return 0

    def expected_ns(self, generation: int) -> int:
        """How long the next pause will be, by the last ones; 0 if there was none yet."""
        pauses = sorted(self._pauses[generation])
        return pauses[len(pauses) // 2] if pauses else 0

    @property
    def deferred(self) -> int:
        """How many middle collections have gone by since the last whole one."""
        return gc.get_count()[OLD]

    def _collect(self, generation: int) -> int:
        began = self._now()
        gc.collect(generation)
        return self._now() - began

    def _overdue(self) -> None:
        self._due = False
        if self._before is None or self.deferred < self._deferred_max:
            return
        self._collect(OLD)
        if self.deferred < self._deferred_max:
            self.forced.value += 1
        else:
            self._call_when_free()  # a worker thread is collecting at this moment, and ours was none

    def _collecting(self, phase: str, info: Mapping[str, Any]) -> None:
        """The interpreter tells of each collection, whoever asked for it. Runs inside whatever allocated."""
        if phase == "start":
            self._began = self._now()
            return
        pause, generation = self._now() - self._began, info["generation"]
        self.pause_ns[generation].record(pause)
        self._pauses[generation].append(pause)
        self.found.value += info["collected"]
        self.uncollectable.value += info["uncollectable"]
        if generation == MIDDLE and not self._due and gc.get_count()[OLD] >= self._deferred_max:
            self._call_when_free()

    def _call_when_free(self) -> None:
        assert self._loop is not None
        # A worker thread may be the one that allocated; and a collection cannot begin inside another.
        try:
            self._loop.call_soon_threadsafe(self._overdue)
        except RuntimeError:  # the loop is closed: the interpreter's own bound holds
            return
        self._due = True
