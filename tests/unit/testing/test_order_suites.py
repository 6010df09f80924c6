"""The suites of lane scheduler and pool strategy pass ours, and catch what serves in another order than was promised."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest

from rspp.contract.words import Lane
from rspp.host.pools import Fair, Fifo, PoolStrategy, Work
from rspp.host.scheduler import FairScheduler, Flow, LaneScheduler
from rspp.testing.conformance import pool_strategy, run_suite, scheduler

# ---- schedulers -----------------------------------------------------------------------------------------------------


class OneQueue(FairScheduler):
    """First come, first served, whatever the lane."""

    def __init__(self) -> None:
        self.queue: deque[tuple[Flow, Lane]] = deque()

    def wake(self, flow: Flow, lane: Lane) -> None:
        self.queue.append((flow, lane))

    def next(self) -> Any:
        return (*self.queue[0], 8) if self.queue else None

    def served(self, flow: Flow, lane: Lane, count: int, more: bool) -> None:
        self.queue.popleft()
        if more:
            self.queue.append((flow, lane))

    def remove(self, flow: Flow) -> None:
        self.queue = deque(item for item in self.queue if item[0] is not flow)


class Greedy(FairScheduler):
    """Serves a flow to its end before it looks at another."""

    def served(self, flow: Flow, lane: Lane, count: int, more: bool) -> None:
        if not more:
            super().served(flow, lane, count, more)


class KeepsTheDead(FairScheduler):
    def remove(self, flow: Flow) -> None: ...


class Forgetful(FairScheduler):
    """Takes less than was offered for the end."""

    def next(self) -> Any:
        offered = super().next()
        self.quantum = offered[2] if offered else 0
        return offered

    def served(self, flow: Flow, lane: Lane, count: int, more: bool) -> None:
        super().served(flow, lane, count, more and count == self.quantum)


class Unbounded(FairScheduler):
    def next(self) -> Any:
        offered = super().next()
        return None if offered is None else (*offered[:2], 10_000)


class Dice(FairScheduler):
    """Another order each time."""

    def wake(self, flow: Flow, lane: Lane) -> None:
        super().wake(flow, lane)
        if lane is Lane.CONTROL:
            random.shuffle(self._control)


class Eager(FairScheduler):
    """Telemetry before data."""

    def next(self) -> Any:
        if self._telemetry and not self._control:
            return self._telemetry[0], Lane.TELEMETRY, 4
        return super().next()


ALL = "serves all that waits, and then nobody"
REST = "keeps the place of who took less"
FIRST, NEXT = "serves control first", "serves control that came meanwhile next"
LAST, GONE = "serves telemetry last", "does not serve who was removed"
STARVE, LATE = "lets nobody starve", "serves who comes late"
SAME = "does the same for the same calls"


@pytest.mark.parametrize(
    ("kind", "caught"),
    [
        (FairScheduler, set()),
        (OneQueue, {FIRST, NEXT, LAST}),
        (Greedy, {STARVE, LATE}),
        (KeepsTheDead, {GONE}),
        (Forgetful, {REST, SAME}),
        (Unbounded, {ALL, REST, FIRST, NEXT, LAST, STARVE, LATE, GONE, SAME}),
        (Eager, {LAST}),
        (Dice, {SAME}),
    ],
)
def test_a_broken_scheduler_is_caught_by_exactly_its_checks(
    kind: type[FairScheduler], caught: set[str]
) -> None:
    make: Any = kind
    scheduled: LaneScheduler = make()
    assert scheduled.next() is None
    report = run_suite(scheduler.conformance(make), "lane_scheduler")
    assert set(report.failed()) == caught, report.reasons()


# ---- strategies -----------------------------------------------------------------------------------------------------


class LastFirst(Fifo):
    def take(self) -> Work | None:
        return self._waiting.pop() if self._waiting else None


class GivesTwice(Fifo):
    def take(self) -> Work | None:
        piece = super().take()
        if piece is not None and piece.number == 7 and piece.args == ():
            piece.args = (1,)
            self._waiting.appendleft(piece)
        return piece


class KeepsDiscarded(Fifo):
    def discard(self, work: Work) -> None: ...


class DiscardsNeighbours(Fifo):
    def discard(self, work: Work) -> None:
        self._waiting = deque(piece for piece in self._waiting if piece.key != work.key)


class HoldsBack(Fifo):
    """Waits for a pair."""

    def take(self) -> Work | None:
        return super().take() if len(self._waiting) > 1 else None


class Lots(Fifo):
    def take(self) -> Work | None:
        if self._waiting:
            self._waiting.rotate(random.randrange(len(self._waiting)))
        return super().take()


ONCE, WHILE = "gives each piece once, and then nothing", "gives something whenever something waits"
DISCARDED = "does not give what was discarded"


@pytest.mark.parametrize(
    ("kind", "caught"),
    [
        (Fifo, set()),
        (Fair, set()),
        (LastFirst, {"lets no key starve"}),
        (GivesTwice, {ONCE, WHILE, DISCARDED}),
        (KeepsDiscarded, {DISCARDED}),
        (DiscardsNeighbours, {DISCARDED}),
        (HoldsBack, {ONCE, WHILE, DISCARDED}),
        (Lots, {SAME}),
    ],
)
def test_a_broken_strategy_is_caught_by_exactly_its_checks(
    kind: type[PoolStrategy], caught: set[str]
) -> None:
    report = run_suite(pool_strategy.conformance(kind), "pool_strategy")
    assert set(report.failed()) == caught, report.reasons()
