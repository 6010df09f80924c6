"""Control goes first, nobody starves, and a tenant's load is its own."""

from __future__ import annotations

from collections import Counter

import pytest

from rspp.contract.words import Lane
from rspp.host.scheduler import FairScheduler, LaneScheduler


class Flow:
    """Somebody with so many inputs of a lane."""

    def __init__(self, name: str, tenant: str) -> None:
        self.name = name
        self.tenant_id = tenant


def serve(scheduler: LaneScheduler, left: dict[Flow, int], turns: int) -> list[str]:
    """Serve data for so many inputs; the names in order."""
    order: list[str] = []
    while len(order) < turns:
        turn = scheduler.next()
        if turn is None:
            break
        flow, lane, most = turn
        assert isinstance(flow, Flow)
        assert lane is Lane.DATA
        count = min(most, left[flow])
        order += [flow.name] * count
        left[flow] -= count
        scheduler.served(flow, lane, count, left[flow] > 0)
    return order


def test_control_of_all_sessions_goes_before_anybodys_data_and_telemetry_last() -> None:
    scheduler = FairScheduler()
    a, b = Flow("a", "t"), Flow("b", "t")
    scheduler.wake(a, Lane.TELEMETRY)
    scheduler.wake(a, Lane.DATA)
    scheduler.wake(b, Lane.CONTROL)
    lanes = []
    while (turn := scheduler.next()) is not None:
        lanes.append((turn[0], turn[1]))
        scheduler.served(turn[0], turn[1], 1, False)
    assert lanes == [(b, Lane.CONTROL), (a, Lane.DATA), (a, Lane.TELEMETRY)]


def test_control_that_comes_while_data_is_served_waits_for_one_quantum_at_most() -> None:
    scheduler = FairScheduler()
    a, b = Flow("a", "t"), Flow("b", "t")
    scheduler.wake(a, Lane.DATA)
    turn = scheduler.next()
    assert turn is not None
    scheduler.wake(b, Lane.CONTROL)
    scheduler.served(a, Lane.DATA, turn[2], True)
    following = scheduler.next()
    assert following is not None
    assert following[:2] == (b, Lane.CONTROL)


def test_a_session_that_ends_while_it_is_served_costs_no_other_tenant_its_turn() -> None:
    scheduler = FairScheduler()
    ending, waiting, new = Flow("ending", "a"), Flow("waiting", "b"), Flow("new", "a")
    scheduler.wake(ending, Lane.DATA)
    scheduler.wake(waiting, Lane.DATA)
    scheduler.next()
    scheduler.remove(ending)
    scheduler.wake(new, Lane.DATA)
    scheduler.served(ending, Lane.DATA, 16, False)
    following = scheduler.next()
    assert following is not None
    assert following[0] is waiting


def test_a_tenant_with_fifty_times_the_load_gets_half_while_another_has_any() -> None:
    scheduler = FairScheduler()
    hogs = [Flow(f"hog{n}", "hog") for n in range(50)]
    mouse = Flow("mouse", "mouse")
    left = dict.fromkeys([*hogs, mouse], 400)
    for flow in left:
        scheduler.wake(flow, Lane.DATA)
    served = Counter(name.rstrip("0123456789") for name in serve(scheduler, left, 600))
    assert served["mouse"] == pytest.approx(300, abs=32)


def test_within_a_tenant_a_flooding_session_waits_and_the_others_do_not() -> None:
    scheduler = FairScheduler()
    flood, calm = Flow("flood", "t"), Flow("calm", "t")
    left = {flood: 10_000, calm: 100}
    scheduler.wake(flood, Lane.DATA)
    scheduler.wake(calm, Lane.DATA)
    order = serve(scheduler, left, 240)
    assert order.count("calm") == 100


def test_a_tenant_that_was_idle_has_saved_nothing_up() -> None:
    scheduler = FairScheduler()
    a, b = Flow("a", "ta"), Flow("b", "tb")
    left = {a: 1, b: 64}
    scheduler.wake(b, Lane.DATA)
    serve(scheduler, left, 32)
    scheduler.wake(a, Lane.DATA)
    serve(scheduler, left, 8)
    left[a] = 64
    left[b] = 64
    scheduler.wake(a, Lane.DATA)
    order = serve(scheduler, left, 64)
    assert order.count("a") == pytest.approx(32, abs=16)


def test_a_flow_that_was_removed_is_not_served_in_any_lane() -> None:
    scheduler = FairScheduler()
    a, b = Flow("a", "t"), Flow("b", "u")
    for lane in Lane:
        scheduler.wake(a, lane)
        scheduler.wake(b, lane)
    scheduler.remove(a)
    seen = []
    while (turn := scheduler.next()) is not None:
        seen.append(turn[0])
        scheduler.served(turn[0], turn[1], 1, False)
    assert seen == [b, b, b]
