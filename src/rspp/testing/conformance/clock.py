"""What every Clock must do: whole nanoseconds, never back, and both of its faces at one pace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.host.ports import Clock
from rspp.testing.conformance.checks import Check, require

READS: Final = 20_000
PASSED_MS: Final = 50
# The first day of 2000 and of 2200: a clock outside is one in seconds, in milliseconds, or since boot.
WALL_MIN: Final = 946_684_800_000 * NS_PER_MS
WALL_MAX: Final = 7_258_118_400_000 * NS_PER_MS


async def _sleep(ms: float) -> None:
    await asyncio.sleep(ms / 1000)


class ClockTarget(msgspec.Struct, kw_only=True):
    """A clock, and how time passes for it."""

    clock: Clock
    pass_ms: Callable[[float], Awaitable[None]] = _sleep


def conformance(make: Callable[[], ClockTarget]) -> list[Check]:
    """The suite."""
    return [
        Check("units", "counts whole nanoseconds", lambda: _whole(make())),
        Check("units", "knows the time of day in nanoseconds since 1970", lambda: _time_of_day(make())),
        Check("order", "never goes back", lambda: _forward(make())),
        Check("pace", "goes on, at the pace of time", lambda: _pace(make())),
    ]


async def _whole(target: ClockTarget) -> None:
    for value in (target.clock.now(), target.clock.wall()):
        require(type(value) is int, f"a time is a {type(value).__name__}; it must be an int")


async def _time_of_day(target: ClockTarget) -> None:
    wall = target.clock.wall()
    require(WALL_MIN < wall < WALL_MAX, f"{wall} is no time of this century in nanoseconds since 1970")


async def _forward(target: ClockTarget) -> None:
    now = target.clock.now
    last = now()
    for read in range(READS):
        if read % 1_000 == 0:
            await target.pass_ms(0.01)
        at = now()
        require(at >= last, f"it went back by {last - at} ns")
        last = at


async def _pace(target: ClockTarget) -> None:
    clock = target.clock
    now, wall = clock.now(), clock.wall()
    await target.pass_ms(PASSED_MS)
    passed, day = (clock.now() - now) / NS_PER_MS, (clock.wall() - wall) / NS_PER_MS
    # A sleep may be late by much on a busy machine, but it is never early.
    require(passed >= PASSED_MS * 0.9, f"{PASSED_MS} ms passed, and `now` says {passed:.3f} ms")
    require(passed <= PASSED_MS * 100, f"{PASSED_MS} ms passed, and `now` says {passed:.0f} ms")
    require(abs(day - passed) <= PASSED_MS / 2, f"`now` went on by {passed:.1f} ms, `wall` by {day:.1f} ms")
