"""Whoever asked to be woken is woken at that time, not before, however often the time moved."""

from __future__ import annotations

import asyncio

from rspp.host.timer import Timer
from rspp.testing.clock import run_virtual

MS = 1_000_000


class Sleeper:
    def __init__(self, now: object) -> None:
        self.armed_at: int | None = None
        self.at: int | None = None
        self.woken: list[int] = []

    def deadline(self) -> int | None:
        return self.at

    def due(self) -> None:
        self.woken.append(now())
        self.at = None


def now() -> int:
    return round(asyncio.get_running_loop().time() * 1_000_000_000)


def timer() -> Timer:
    return Timer(asyncio.get_running_loop(), now)


def test_sleepers_are_woken_in_order_and_never_early() -> None:
    async def main() -> None:
        clock = timer()
        sleepers = [Sleeper(now) for _ in range(50)]
        for number, sleeper in enumerate(sleepers):
            sleeper.at = ((number * 37) % 50 + 1) * MS
            clock.arm(sleeper)
        await asyncio.sleep(0.1)
        for number, sleeper in enumerate(sleepers):
            wanted = ((number * 37) % 50 + 1) * MS
            assert [at // MS for at in sleeper.woken] == [wanted // MS]
        assert len(clock) == 0

    run_virtual(main())


def test_a_deadline_that_moved_later_wakes_once_and_then() -> None:
    async def main() -> None:
        clock, sleeper = timer(), Sleeper(now)
        for at in range(10, 500, 10):
            sleeper.at = at * MS
            clock.arm(sleeper)
        await asyncio.sleep(1)
        assert [at // MS for at in sleeper.woken] == [490]

    run_virtual(main())


def test_a_deadline_that_moved_earlier_wakes_then() -> None:
    async def main() -> None:
        clock, sleeper = timer(), Sleeper(now)
        for at in (500, 20):
            sleeper.at = at * MS
            clock.arm(sleeper)
        await asyncio.sleep(1)
        assert [at // MS for at in sleeper.woken] == [20]

    run_virtual(main())


def test_who_was_forgotten_is_not_woken_and_leaves_nothing() -> None:
    async def main() -> None:
        clock, sleeper = timer(), Sleeper(now)
        sleeper.at = 10 * MS
        clock.arm(sleeper)
        clock.forget(sleeper)
        await asyncio.sleep(1)
        assert sleeper.woken == []
        assert len(clock) == 0

    run_virtual(main())


def test_a_deadline_that_moves_for_ever_leaves_no_heap_behind() -> None:
    async def main() -> None:
        clock, sleeper = timer(), Sleeper(now)
        for at in range(10_000, 0, -1):
            sleeper.at = at * MS
            clock.arm(sleeper)
        assert len(clock._heap) < 100

    run_virtual(main())
