"""What every LaneScheduler must do: control first, telemetry last, nobody starves, and who was removed is not served.

checks = scheduler.conformance(MyScheduler)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from rspp.contract.words import Lane
from rspp.host.scheduler import LaneScheduler
from rspp.testing.conformance.checks import Check, require

FLOWS: Final = 40
# So many inputs of others may be served before a flow that waits; a fair scheduler needs far fewer.
WAIT_PER_FLOW_MAX: Final = 200
# In one go; control of anybody waits for no more than this.
QUANTUM_MAX: Final = 256
STEPS_MAX: Final = 1_000_000


class TestFlow:
    """A session, as a scheduler sees it."""

    __test__ = False  # pytest: a flow for tests, and none itself

    def __init__(self, tenant_id: str, name: str = "") -> None:
        self.tenant_id = tenant_id
        self.name = name or tenant_id

    def __repr__(self) -> str:
        return f"{self.tenant_id}/{self.name}"


class Desk:
    """The host's part: what waits in each lane of each flow, and what was served, in order."""

    def __init__(self, scheduler: LaneScheduler) -> None:
        self.scheduler = scheduler
        self.waiting: dict[tuple[TestFlow, Lane], int] = {}
        self.served: list[tuple[TestFlow, Lane]] = []  # bounded: by the inputs of one check

    def arrive(self, flow: TestFlow, lane: Lane, count: int = 1) -> None:
        before = self.waiting.get((flow, lane), 0)
        self.waiting[flow, lane] = before + count
        if before == 0:
            self.scheduler.wake(flow, lane)

    def serve(self, *, take: int = QUANTUM_MAX, between: Callable[[], None] = lambda: None) -> bool:
        """One go, as the host does it; False when nothing is to be served."""
        offered = self.scheduler.next()
        if offered is None:
            return False
        flow, lane, quantum = offered
        assert isinstance(flow, TestFlow)
        require(1 <= quantum <= QUANTUM_MAX, f"it lets {quantum} inputs be taken in one go")
        there = self.waiting.get((flow, lane), 0)
        require(there > 0, f"it names the {lane} of {flow}, where nothing waits")
        count = min(quantum, there, take)
        self.waiting[flow, lane] = there - count
        self.served += [(flow, lane)] * count
        between()
        self.scheduler.served(flow, lane, count, self.waiting[flow, lane] > 0)
        return True

    def drain(self, *, take: int = QUANTUM_MAX) -> None:
        steps = 0
        while self.serve(take=take):
            steps += 1
            require(steps < STEPS_MAX, "it never comes to an end")
        left = [key for key, count in self.waiting.items() if count]
        require(not left, f"it says that nothing waits, and there is something in {left[:3]}")


Make = Callable[[], LaneScheduler]
Body = Callable[[Desk], Awaitable[None]]
Row = tuple[str, str, Body]


def conformance(make: Make) -> list[Check]:
    """The suite."""
    checks = [Check(category, name, _bound(body, make)) for category, name, body in ROWS]
    return [*checks, Check("order", "does the same for the same calls", lambda: _repeatable(make))]


def _bound(body: Body, make: Make) -> Callable[[], Awaitable[None]]:
    return lambda: body(Desk(make()))


async def _serves_all(desk: Desk) -> None:
    require(desk.scheduler.next() is None, "before anybody waits it names somebody")
    flows = [TestFlow(f"t{number % 5}", f"s{number}") for number in range(FLOWS)]
    for number, flow in enumerate(flows):
        for lane in Lane:
            desk.arrive(flow, lane, 1 + number % 7)
    desk.drain()
    desk.arrive(flows[0], Lane.DATA, 3)
    desk.drain()
    require(desk.scheduler.next() is None, "when nothing waits it names somebody")


async def _serves_rest(desk: Desk) -> None:
    """Who was given less than it was offered keeps its place among those who wait."""
    for number in range(5):
        for lane in Lane:
            desk.arrive(TestFlow("t", f"s{number}"), lane, 30)
    desk.drain(take=1)


async def _control_first(desk: Desk) -> None:
    flows = [TestFlow("t", f"s{number}") for number in range(FLOWS)]
    for flow in flows:
        desk.arrive(flow, Lane.TELEMETRY, 50)
        desk.arrive(flow, Lane.DATA, 50)
    for flow in flows:
        desk.serve()
        desk.arrive(flow, Lane.CONTROL)
        desk.serve()
        require(desk.served[-1] == (flow, Lane.CONTROL), f"control waited, and {desk.served[-1]} was served")


async def _control_next(desk: Desk) -> None:
    """Control that comes while data is being served is next."""
    caller = TestFlow("u", "caller")
    for name in ("one", "another"):
        desk.arrive(TestFlow("t", name), Lane.DATA, 1_000)
    for _ in range(20):
        desk.serve(between=lambda: desk.arrive(caller, Lane.CONTROL))
        desk.serve()
        require(
            desk.served[-1] == (caller, Lane.CONTROL), "control that came while data was served had to wait"
        )


async def _telemetry_last(desk: Desk) -> None:
    flows = [TestFlow(f"t{number}") for number in range(6)]
    for flow in flows:
        desk.arrive(flow, Lane.TELEMETRY, 10)
        desk.arrive(flow, Lane.DATA, 10)
    desk.drain()
    lanes = [lane for _, lane in desk.served]
    require(Lane.DATA not in lanes[lanes.index(Lane.TELEMETRY) :], "telemetry was served while data waited")


async def _nobody_starves(desk: Desk) -> None:
    """Whoever waits is served, however much the others have and whosesoever they are."""
    crowd = [TestFlow("crowd", f"s{number}") for number in range(FLOWS)]
    alone, neighbour = TestFlow("alone"), TestFlow("crowd", "neighbour")
    for flow in (*crowd, alone, neighbour):
        desk.arrive(flow, Lane.DATA, 100_000)
    while len(desk.served) < WAIT_PER_FLOW_MAX * (FLOWS + 2):
        desk.serve()
    heard = {flow for flow, _ in desk.served}
    starving = [flow for flow in (*crowd, alone, neighbour) if flow not in heard]
    require(not starving, f"after {len(desk.served)} inputs, not one was of {starving[:3]}")


async def _latecomer(desk: Desk) -> None:
    """Who comes when the others are under way is served too."""
    crowd = [TestFlow("crowd", f"s{number}") for number in range(FLOWS)]
    for flow in crowd:
        desk.arrive(flow, Lane.DATA, 100_000)
    for _ in range(1_000):
        desk.serve()
    late, before = TestFlow("late"), len(desk.served)
    desk.arrive(late, Lane.DATA, 4)
    while len(desk.served) < before + WAIT_PER_FLOW_MAX * FLOWS:
        desk.serve()
    require((late, Lane.DATA) in desk.served[before:], "one who came late was never served")


async def _removes(desk: Desk) -> None:
    """Who is removed is not served, in no lane, whether it waited or not; the others are."""
    flows = [TestFlow(f"t{number % 3}", f"s{number}") for number in range(12)]
    for flow in flows:
        for lane in Lane:
            desk.arrive(flow, lane, 10)
    desk.serve()
    for flow in flows[::2]:
        desk.scheduler.remove(flow)
        for lane in Lane:
            desk.waiting[flow, lane] = 0
    desk.scheduler.remove(TestFlow("nobody"))
    desk.scheduler.remove(flows[0])
    desk.drain()


async def _repeatable(make: Make) -> None:
    def run() -> list[tuple[str, Lane]]:
        desk = Desk(make())
        flows = [TestFlow(f"t{number % 4}", f"s{number}") for number in range(20)]
        for number, flow in enumerate(flows):
            for lane in Lane:
                desk.arrive(flow, lane, 1 + number * 7 % 23)
        desk.drain(take=3)
        return [(flow.name, lane) for flow, lane in desk.served]

    first = run()
    require(all(run() == first for _ in range(3)), "the same calls gave another order")


ROWS: Final[Sequence[Row]] = [
    ("order", "serves all that waits, and then nobody", _serves_all),
    ("order", "keeps the place of who took less", _serves_rest),
    ("priority", "serves control first", _control_first),
    ("priority", "serves control that came meanwhile next", _control_next),
    ("priority", "serves telemetry last", _telemetry_last),
    ("fairness", "lets nobody starve", _nobody_starves),
    ("fairness", "serves who comes late", _latecomer),
    ("removal", "does not serve who was removed", _removes),
]
