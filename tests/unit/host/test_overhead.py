"""The kernel's overhead is metered all the time, kept bounded, stored, and told of when it is above its budget."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.host.alerts import Alert
from rspp.host.meters import Meters
from rspp.host.overhead import (
    EVERY,
    KEPT_MAX,
    LOG,
    LOG_MAX,
    SAMPLES_MIN,
    WINDOW_MS,
    FileSink,
    Overhead,
    StoreSink,
    Window,
)
from rspp.testing.store import MemoryStore
from tests.unit.host.stage import Stage, on_stage

NS = 1_000_000
US = 1_000


class Desk:
    """A meter, the clock that it is told, and the alerts that it raised."""

    def __init__(self) -> None:
        self.meters = Meters()
        self.alerts: list[Alert] = []
        self.now = 0
        self.meter = Overhead(
            self.meters,
            budget_us=12.0,
            budget_p95_us=48.0,
            wall_ms=lambda: self.now // NS,
            sessions=lambda: 3,
            on_alert=self.alerts.append,
        )

    def window(self, *steps_us: float, times: int = 10) -> None:
        """One window in which these steps were timed, each so many times, and its end."""
        for number, step in enumerate(steps_us * times):
            self.meter.took(self.now + number, round(step * US))
        self.now += WINDOW_MS * NS + 100_000
        self.meter.roll(self.now)


def test_a_window_says_what_its_steps_took_and_what_they_were_allowed() -> None:
    desk = Desk()
    desk.window(*[5.0] * 190, *[30.0] * 10)
    (window,) = desk.meter.windows
    assert window.window_ms == pytest.approx(WINDOW_MS, abs=1)
    assert (window.samples, window.sessions, window.budget_us, window.budget_p95_us) == (2_000, 3, 12.0, 48.0)
    assert window.mean_us == pytest.approx(6.25)
    assert window.p95_us == pytest.approx(5.0, rel=1 / 32)
    assert window.largest_us == 30.0
    assert window.over == ()
    assert desk.alerts == []
    (reading,) = [one for one in desk.meters.read().histograms if one.name == "kernel_step_ns"]
    assert reading.summary.count == 2_000


@pytest.mark.parametrize(
    ("steps", "over"),
    [
        ([12.0] * SAMPLES_MIN, []),
        ([12.1] * SAMPLES_MIN, ["mean"]),
        ([1.0] * 180 + [60.0] * 20, ["p95"]),
        ([20.0] * 150 + [90.0] * 50, ["mean", "p95"]),
    ],
)
def test_a_mean_or_a_p95_above_the_budget_raises_an_alert(steps: list[float], over: list[str]) -> None:
    desk = Desk()
    desk.window(*steps)
    assert [alert.of for alert in desk.alerts] == over
    assert list(desk.meter.windows[0].over) == over
    assert all(alert.name == "kernel_overhead_above_budget" for alert in desk.alerts)
    assert all(alert.value > alert.limit for alert in desk.alerts)


def test_a_window_in_which_little_happens_lasts_longer() -> None:
    desk = Desk()
    desk.window(*[10.0] * (SAMPLES_MIN - 1), times=1)
    assert list(desk.meter.windows) == []
    desk.window(1.0, times=1)
    (window,) = desk.meter.windows
    assert window.samples == SAMPLES_MIN
    assert window.window_ms == pytest.approx(2 * WINDOW_MS, abs=2)


def test_what_was_timed_until_the_end_is_a_window_but_no_verdict() -> None:
    desk = Desk()
    desk.window(500.0, times=1)
    desk.meter.close()
    desk.meter.close()
    (window,) = desk.meter.windows
    assert (window.samples, window.over) == (1, ())
    assert desk.alerts == []


def test_a_quiet_process_may_take_four_times_as_long() -> None:
    desk = Desk()
    desk.window(*[47.0] * SAMPLES_MIN, times=1)
    desk.window(*[49.0] * SAMPLES_MIN, times=1)
    assert [one.budget_us for one in desk.meter.windows] == [48.0, 48.0]
    assert [one.over for one in desk.meter.windows] == [(), ("mean",)]


def test_memory_is_bounded_whoever_does_not_take_the_windows() -> None:
    desk = Desk()
    for _ in range(KEPT_MAX + 5):
        desk.window(*[500.0] * SAMPLES_MIN, times=1)
    assert len(desk.meter.windows) == KEPT_MAX
    assert desk.meter.dropped == 5
    assert desk.meter.alerts_total == 2 * (KEPT_MAX + 5)
    assert len(desk.meter.alerts) == 64


def test_a_sink_that_fails_is_offered_the_same_window_again_and_none_twice() -> None:
    desk = Desk()
    desk.window(*[5.0] * SAMPLES_MIN)
    desk.window(*[6.0] * SAMPLES_MIN)
    taken: list[Window] = []

    class Sink:
        fails = 1

        async def write(self, record: bytes) -> None:
            if len(taken) == 1 and self.fails:
                self.fails -= 1
                raise OSError("no room")
            taken.append(msgspec.json.decode(record, type=Window))

    async def main() -> None:
        sink = Sink()
        with pytest.raises(OSError, match="no room"):
            await desk.meter.flush(sink)
        await desk.meter.flush(sink)
        await desk.meter.flush(sink)

    asyncio.run(main())
    assert [round(one.mean_us) for one in taken] == [5, 6]


def test_a_store_keeps_the_last_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.host.overhead.LOG_MAX", 100)

    async def main() -> None:
        store = MemoryStore()
        sink = StoreSink(store)
        for number in range(256):
            await sink.write(str(number).encode())
        kept = [record async for _, record in store.read(LOG)]
        assert kept[-1] == b"255"
        assert len(kept) == 100
        await store.close()

    assert LOG_MAX * WINDOW_MS == 86_400_000
    asyncio.run(main())


def test_a_file_that_is_full_gives_way_to_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "overhead.jsonl"

    async def main() -> None:
        sink = FileSink(path, bytes_max=100)
        for number in range(50):
            await sink.write(f"{number:09d}".encode())

    asyncio.run(main())
    former = path.with_name("overhead.jsonl.1")
    assert path.stat().st_size <= 100
    assert former.stat().st_size <= 100
    assert (former.read_bytes() + path.read_bytes()).split()[-12:] == [b"%09d" % n for n in range(38, 50)]


# ---- in a host -----------------------------------------------------------------------------------------------------------


def test_a_host_meters_its_sessions_and_writes_the_windows_where_it_keeps_everything_else() -> None:
    store = MemoryStore()

    async def scene(stage: Stage) -> None:
        callers = [stage.call() for _ in range(4)]
        await asyncio.gather(*(caller.frames(12_000) for caller in callers))

    host = on_stage(scene, store=store)
    (reading,) = [one for one in host.meters.read().histograms if one.name == "kernel_step_ns"]
    steps = sum(1 for _ in range(reading.summary.count)) * EVERY
    assert steps >= 4 * 600  # each frame is a step at least
    assert host.overhead.windows

    async def kept() -> list[bytes]:
        return [record async for _, record in store.read(LOG)]

    stored = [msgspec.json.decode(one, type=Window) for one in asyncio.run(kept())]
    assert stored == list(host.overhead.windows)


def test_a_kernel_that_raises_is_no_hole_in_the_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    from rspp.kernel.session import SessionKernel

    true, count = SessionKernel.receive, 0

    def raising(self: Any, now: int, received: Any) -> None:
        nonlocal count
        count += 1
        if count == EVERY:
            raise RuntimeError("a defect")
        true(self, now, received)

    async def scene(stage: Stage) -> None:
        first, second = stage.call(), stage.call()
        await asyncio.gather(first.frames(400), second.frames(2_000))
        assert stage.host.overhead.left > 0

    monkeypatch.setattr(SessionKernel, "receive", raising)
    logging.disable(logging.CRITICAL)
    try:
        host = on_stage(scene)
    finally:
        logging.disable(logging.NOTSET)
    assert host.overhead.windows[-1].samples >= 1
