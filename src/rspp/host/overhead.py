"""What the kernel takes of the machine, metered all the time: one step in `EVERY` is timed, a window of them is a record.

    step -> histogram of a window -> Window (mean, p95, budget) -> log of the store, or a file of JSON lines
                                                                  -> Alert, when it is above its budget

The budget is of wall-clock time on the loop's thread, so a machine that is too full is over it as well: for a caller it
is the same. Bounded: one histogram, `KEPT_MAX` windows in memory, `LOG_MAX` in the log, `FILE_BYTES_MAX` twice on disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Final, Protocol

import msgspec

from rspp.host.alerts import Alert
from rspp.host.meters import Histogram, Meters
from rspp.host.ports import Store

# Steps come in patterns (a frame, its score, a frame...); a prime falls on all of a pattern's places alike.
EVERY: Final = 17
WINDOW_MS: Final = 10_000
KEPT_MAX: Final = 360  # an hour
LOG_MAX: Final = 8_640  # a day
FILE_BYTES_MAX: Final = 4_000_000
ALERTS_MAX: Final = 64
# Fewer timed steps say nothing of a p95, and in their mean the few turns that open weigh too much: such a window goes on.
SAMPLES_MIN: Final = 200
# With fewer timed steps a second (about ten sessions) every step finds cold caches, and the machine has time: four times
# the budget is allowed.
BUSY_SAMPLES_PER_S: Final = 100
QUIET_FACTOR: Final = 4
LOG: Final = "overhead"
FILE_NAME: Final = "overhead.jsonl"  # in a data folder
ALERT: Final = "kernel_overhead_above_budget"

now_ns: Final = perf_counter_ns


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """One window of a process: what a step of the kernel took, in microseconds, and what it was allowed."""

    began_wall_ms: int
    window_ms: int
    samples: int
    sessions: int
    mean_us: float
    p50_us: float
    p95_us: float
    p99_us: float
    largest_us: float
    budget_us: float
    budget_p95_us: float

    @property
    def over(self) -> tuple[str, ...]:
        """Which of its figures are above the budget."""
        if self.samples < SAMPLES_MIN:
            return ()
        figures = (("mean", self.mean_us, self.budget_us), ("p95", self.p95_us, self.budget_p95_us))
        return tuple(name for name, value, limit in figures if value > limit)


class Sink(Protocol):
    """Where windows are kept. It may wait, and may fail: then the window is offered again."""

    async def write(self, record: bytes) -> None: ...


class StoreSink:
    """The log `overhead` of a store, the last day of it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, record: bytes) -> None:
        number = await self._store.append(LOG, record)
        if number > LOG_MAX and number % 64 == 0:
            await self._store.trim(LOG, number - LOG_MAX)


class FileSink:
    """A file of JSON lines; when it is full it becomes `<name>.1`, and the one before that is gone."""

    def __init__(self, path: Path, bytes_max: int = FILE_BYTES_MAX) -> None:
        self._path = path
        self._bytes_max = bytes_max

    async def write(self, record: bytes) -> None:
        await asyncio.to_thread(self._write, record)

    def _write(self, record: bytes) -> None:
        path = self._path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size + len(record) >= self._bytes_max:
            path.replace(path.with_name(f"{path.name}.1"))
        with path.open("ab") as file:
            file.write(record + b"\n")


class Overhead:
    """The meter. `left` counts down on every step of every session; who brings it to 0 is timed."""

    __slots__ = (
        "_began_wall_ms",
        "_budget_p95_us",
        "_budget_us",
        "_ends_at",
        "_histogram",
        "_meters",
        "_on_alert",
        "_pending",
        "_sessions",
        "_wall_ms",
        "alerts",
        "alerts_total",
        "dropped",
        "left",
        "windows",
    )

    def __init__(
        self,
        meters: Meters,
        *,
        budget_us: float,
        budget_p95_us: float,
        wall_ms: Callable[[], int],
        sessions: Callable[[], int],
        on_alert: Callable[[Alert], None],
    ) -> None:
        self.left = EVERY
        self.windows: deque[Window] = deque(maxlen=KEPT_MAX)
        self.alerts: deque[Alert] = deque(maxlen=ALERTS_MAX)
        self.alerts_total = 0
        self.dropped = 0  # windows that no sink took in time
        self._pending: deque[Window] = deque(maxlen=KEPT_MAX)
        self._histogram = Histogram()
        self._ends_at = self._began_wall_ms = 0
        self._meters = meters.histogram("kernel_step_ns")
        self._budget_us, self._budget_p95_us = budget_us, budget_p95_us
        self._wall_ms, self._sessions = wall_ms, sessions
        self._on_alert = on_alert

    def took(self, now: int, elapsed_ns: int) -> None:
        """One timed step. `now` is the host's clock; windows follow it."""
        self.left = EVERY
        if now >= self._ends_at:
            self.roll(now)
        self._histogram.record(elapsed_ns)

    def roll(self, now: int) -> None:
        """Close the window whose time is over; one in which too little was timed lasts longer."""
        if now < self._ends_at:
            return
        if self._histogram.count >= SAMPLES_MIN:
            self.close()
        if not self._histogram.count:
            self._began_wall_ms = self._wall_ms()
            self._ends_at = now + WINDOW_MS * 1_000_000

    def close(self) -> None:
        """Close the window as it stands: at its end, or the host's."""
        seen, self._histogram = self._histogram, Histogram()
        if not seen.count:
            return
        self._meters.merge(seen)
        p50, p95, p99 = (value or 0 for value in seen.quantiles((0.50, 0.95, 0.99)))
        window_ms = max(0, self._wall_ms() - self._began_wall_ms)
        factor = 1 if seen.count * 1000 >= BUSY_SAMPLES_PER_S * window_ms else QUIET_FACTOR
        window = Window(
            began_wall_ms=self._began_wall_ms,
            window_ms=window_ms,
            samples=seen.count,
            sessions=self._sessions(),
            mean_us=round(seen.total / seen.count / 1000, 3),
            p50_us=p50 / 1000,
            p95_us=p95 / 1000,
            p99_us=p99 / 1000,
            largest_us=seen.largest / 1000,
            budget_us=self._budget_us * factor,
            budget_p95_us=self._budget_p95_us * factor,
        )
        self.windows.append(window)
        self.dropped += len(self._pending) == KEPT_MAX
        self._pending.append(window)
        for name in window.over:
            self._alert(window, name)

    def _alert(self, window: Window, name: str) -> None:
        value, limit = (
            (window.mean_us, window.budget_us) if name == "mean" else (window.p95_us, window.budget_p95_us)
        )
        alert = Alert(
            name=ALERT,
            of=name,
            at_ms=float(window.began_wall_ms + window.window_ms),
            value=value,
            limit=limit,
            unit="us",
            samples=window.samples,
            message=f"the kernel's {name} is {value:.1f} us a step, its budget {limit:.1f}",
        )
        self.alerts.append(alert)
        self.alerts_total += 1
        self._on_alert(alert)

    async def flush(self, sink: Sink) -> None:
        """Hand on what is closed; what the sink refuses by raising stays for the next time."""
        while self._pending:
            await sink.write(msgspec.json.encode(self._pending[0]))
            self._pending.popleft()

    async def run(self, sink: Sink, now: Callable[[], int], failed: Callable[[BaseException], None]) -> None:
        """For as long as the host lives: a window is written soon after it is over, also when nobody speaks."""
        while True:
            await asyncio.sleep(WINDOW_MS / 1000)
            self.roll(now())
            try:
                await self.flush(sink)
            except Exception as error:  # noqa: BLE001 - supervised: a sink that fails now may take it the next time
                failed(error)
