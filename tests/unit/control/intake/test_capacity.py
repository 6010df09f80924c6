"""Each resource defers and rejects at its own threshold, says so once, and is free again only when it is for good."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import MisuseError
from rspp.control.intake.capacity import (
    FREE,
    CapacityEvent,
    CapacityLimits,
    CapacityModel,
    Level,
    Resource,
    Threshold,
    severer,
)
from rspp.control.intake.load import CpuMeter, LoadWatch, Session, cores
from rspp.host.ports import Refused
from rspp.testing.clock import ManualClock

S = 10**9


def model(**limits: Any) -> CapacityModel:
    return CapacityModel(CapacityLimits(**limits))


@pytest.mark.parametrize("resource", Resource)
def test_ramped_up_a_resource_defers_and_rejects_exactly_at_its_thresholds_and_says_so_once(
    resource: Resource,
) -> None:
    one = model(**{resource.value: Threshold(defer=0.5, reject=0.8)})
    events: list[CapacityEvent] = []
    levels: dict[int, Level] = {}
    for percent in range(101):
        events += one.look(percent * S, {resource: percent / 100})
        levels[percent] = one.capacity.level
    assert all(levels[percent] is Level.ALLOW for percent in range(50))
    assert all(levels[percent] is Level.DEFER for percent in range(50, 80))
    assert all(levels[percent] is Level.REJECT for percent in range(80, 101))
    assert [(event.resource, event.level, event.value, event.limit) for event in events] == [
        (resource, Level.DEFER, 0.5, 0.5),
        (resource, Level.REJECT, 0.8, 0.8),
    ]
    assert (one.capacity.resource, one.capacity.value, one.capacity.limit) == (resource, 1.0, 0.8)


def test_a_level_ends_when_the_resource_has_stayed_below_for_a_while_and_not_before() -> None:
    one = model(cpu=Threshold(defer=0.8, reject=0.9, clear=0.9, hold_ms=2_000))
    one.look(0, {Resource.CPU: 0.85})
    assert one.look(1 * S, {Resource.CPU: 0.75}) == []  # below the threshold, and not below nine tenths of it
    assert one.look(2 * S, {Resource.CPU: 0.5}) == []
    assert one.look(3 * S, {Resource.CPU: 0.81}) == []
    assert one.look(4 * S, {Resource.CPU: 0.5}) == []
    assert one.look(5 * S, {Resource.CPU: 0.5}) == []
    assert one.capacity.resource is Resource.CPU
    (event,) = one.look(6 * S, {Resource.CPU: 0.5})
    assert (event.before, event.level, event.value, event.limit) == (Level.DEFER, Level.ALLOW, 0.5, 0.8)
    assert one.capacity.level is Level.ALLOW


def test_from_reject_it_may_come_down_to_defer_first() -> None:
    one = model(cpu=Threshold(defer=0.5, reject=0.9, clear=0.9, hold_ms=0))
    one.look(0, {Resource.CPU: 0.95})
    (event,) = one.look(S, {Resource.CPU: 0.6})
    assert (event.before, event.level) == (Level.REJECT, Level.DEFER)


def test_of_several_the_severest_is_named_and_of_these_the_fullest() -> None:
    one = model(sessions_max=10)
    one.look(0, {Resource.CPU: 0.85, Resource.QUEUE_DEPTH: 0.7})
    assert (one.capacity.level, one.capacity.resource) == (Level.DEFER, Resource.QUEUE_DEPTH)
    one.look(0, {Resource.CPU: 0.95})
    assert (one.capacity.level, one.capacity.resource) == (Level.REJECT, Resource.CPU)
    assert one.capacity.load == pytest.approx(1.4)


def test_what_is_not_measured_keeps_its_level_and_what_is_no_number_says_nothing() -> None:
    one = model()
    assert one.capacity == FREE
    one.look(0, {Resource.CPU: 0.95})
    assert one.look(100 * S, {}) == []
    assert one.look(200 * S, {Resource.CPU: math.nan}) == []
    assert one.capacity.level is Level.REJECT
    assert one.look(0, {Resource.QUEUE_DEPTH: math.inf})[0].level is Level.REJECT


def test_thresholds_that_cannot_hold_are_refused() -> None:
    with pytest.raises(MisuseError) as caught:
        model(cpu=Threshold(defer=0.9, reject=0.8))
    assert caught.value.code == "capacity_invalid"
    for document in (
        {"cpu": {"defer": 0, "reject": 1}},
        {"cpu": {"defer": 0.5, "reject": 0.9, "clear": 2}},
        {"provider_calls_max": {"x": 0}},
        {"nothing": 1},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(document, CapacityLimits)


def test_the_severer_word_of_a_snapshot_counts() -> None:
    assert severer("allow", "reject", "defer") == "reject"
    assert severer("allow", "defer") == "defer"
    assert severer() == "allow"


class Counters:
    def __init__(self) -> None:
        self.wall = self.thread = self.process = 0

    def meter(self, cores_max: float) -> CpuMeter:
        return CpuMeter(
            wall=lambda: self.wall,
            thread=lambda: self.thread,
            process=lambda: self.process,
            cores_max=cores_max,
        )

    def pass_s(self, seconds: float, thread: float, process: float) -> None:
        self.wall += int(seconds * S)
        self.thread += int(seconds * thread * S)
        self.process += int(seconds * process * S)


def test_cpu_is_that_of_the_busiest_of_the_loops_thread_and_the_machine() -> None:
    counters = Counters()
    meter = counters.meter(4.0)
    counters.pass_s(1, 1.0, 4.0)
    assert meter.look() == 0.0  # the first look only begins to count
    counters.pass_s(1, 0.9, 1.0)
    assert meter.look() == pytest.approx(0.9)  # one thread is full, three processors are idle
    counters = Counters()
    meter = counters.meter(4.0)
    meter.look()
    counters.pass_s(1, 0.1, 3.6)
    assert meter.look() == pytest.approx(0.9)  # models on other threads fill the machine
    counters.pass_s(1, 0.1, 0.4)
    assert meter.look() == pytest.approx(0.5)  # smoothed
    assert meter.look() == pytest.approx(0.5)  # no time has passed


@pytest.mark.parametrize(
    ("text", "share"), [("200000 100000\n", 2.0), ("50000 100000\n", 0.5), ("max 100000\n", None), ("rubbish", None)]
)  # fmt: skip
def test_a_control_group_says_how_much_of_the_machine_there_is(
    tmp_path: Path, text: str, share: float | None
) -> None:
    file = tmp_path / "cpu.max"
    everything = cores(tmp_path / "missing")
    file.write_text(text)
    assert cores(file) == (everything if share is None else min(everything, share))


def test_the_real_meter_sees_a_thread_that_works() -> None:
    meter = CpuMeter()
    meter.look()
    total = 0
    for _ in range(20):
        total += sum(range(100_000))
    assert 0.01 < meter.look() <= 1.5  # others share this machine
    assert total


class Idle:
    waiting = 0


class Hundred:
    sessions: Mapping[str, Session] = {f"s{number}": Idle() for number in range(100)}


def test_who_was_told_to_wait_long_ago_makes_nobody_wait_longer_now() -> None:
    clock = ManualClock()
    watch = LoadWatch(Hundred(), CapacityLimits(), clock=clock, cpu=lambda: 0.99)

    def refused() -> int:
        with pytest.raises(Refused) as caught:
            watch.admit("t", "s")
        return caught.value.retry_after_ms or 0

    watch.look()
    first = refused()
    for _ in range(100):
        refused()
    assert refused() > 10 * first
    for _ in range(600):
        clock.advance(1_000)
        watch.look()
    assert refused() == first
