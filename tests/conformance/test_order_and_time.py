"""The order in which a host serves, and the clocks that it reads, keep to their ports."""

from __future__ import annotations

import asyncio

import pytest

from rspp.adapters.transports.loopback import LoopClock, PacedLoop
from rspp.host.clock import MachineClock
from rspp.host.pools import Fair, Fifo
from rspp.host.scheduler import FairScheduler
from rspp.testing.clock import ManualClock, run_virtual
from rspp.testing.conformance import clock, pool_strategy, run_suite, scheduler
from rspp.testing.conformance.checks import Run
from rspp.testing.conformance.profiles import certify


def paced(speed: float | None) -> Run:
    """Run a check in a loop of this speed."""

    def run(main: object) -> None:
        with asyncio.Runner(loop_factory=lambda: PacedLoop(speed)) as runner:
            runner.run(main)  # type: ignore[arg-type]

    return run


def test_the_scheduler_conforms() -> None:
    report = run_suite(scheduler.conformance(FairScheduler), "lane_scheduler")
    assert certify(report).certified, report.reasons()


@pytest.mark.parametrize("strategy", [Fair, Fifo])
def test_the_pool_strategies_conform(strategy: type[Fair | Fifo]) -> None:
    report = run_suite(pool_strategy.conformance(strategy), "pool_strategy")
    assert certify(report).certified, report.reasons()


def test_the_machines_clock_conforms() -> None:
    report = run_suite(clock.conformance(lambda: clock.ClockTarget(clock=MachineClock())), "clock")
    assert certify(report).certified, report.reasons()


def test_the_manual_clock_conforms() -> None:
    def make() -> clock.ClockTarget:
        manual = ManualClock()

        async def pass_ms(ms: float) -> None:
            manual.advance(ms)

        return clock.ClockTarget(clock=manual, pass_ms=pass_ms)

    report = run_suite(clock.conformance(make), "clock")
    assert certify(report).certified, report.reasons()


@pytest.mark.parametrize("run", [run_virtual, paced(1.0), paced(4.0), paced(None)])
def test_a_loops_clock_conforms_at_any_speed(run: Run) -> None:
    """In the loop's own time a sleep takes as long as it says, however long it really takes."""

    def make() -> clock.ClockTarget:
        return clock.ClockTarget(clock=LoopClock(asyncio.get_running_loop()))

    report = run_suite(clock.conformance(make), "clock", run)
    assert certify(report).certified, report.reasons()
