"""INV-05: control leaves before data, data before telemetry, and no lane grows past its bound."""

from __future__ import annotations

import pytest

from rspp.contract.errors import InvariantBreach
from rspp.contract.words import Lane
from rspp.kernel.effects import CloseConnection, Effect, Feed, Observe, Send
from rspp.kernel.lanes import CONTROL_HEADROOM, Outbox
from tests.unit.kernel.given import text

BOUNDS = {Lane.CONTROL: 2, Lane.DATA: 3, Lane.TELEMETRY: 2}


def send(number: int) -> Send:
    return Send(text(number))


def told(name: str) -> Effect:
    return CloseConnection(name)


def test_effects_leave_by_lane_and_inside_a_lane_in_order() -> None:
    out = Outbox(BOUNDS)
    out.telemetry(Observe(text(1)))
    out.data(send(2))
    out.control(told("a"))
    out.data(send(3))
    out.control(told("b"))
    assert len(out) == 5
    assert out.drain() == [told("a"), told("b"), send(2), send(3), Observe(text(1))]
    assert (out.drain(), len(out)) == ([], 0)


def test_data_beyond_its_bound_is_refused_to_whoever_offers_it() -> None:
    out = Outbox(BOUNDS)
    assert [out.data(send(number)) for number in range(5)] == [True, True, True, False, False]
    out.work(told("an invocation keeps its place"))
    assert len(out.drain()) == 4


def test_telemetry_beyond_its_bound_is_shed_and_counted_and_delays_nothing() -> None:
    out = Outbox(BOUNDS)
    for number in range(10):
        out.telemetry(Observe(text(number)))
    out.control(told("a"))
    assert out.shed == 8
    assert out.drain()[0] == told("a")


def test_a_control_lane_that_overflows_is_a_defect_of_ours_and_nothing_was_dropped() -> None:
    out = Outbox(BOUNDS)
    bound = BOUNDS[Lane.CONTROL] * CONTROL_HEADROOM
    for number in range(bound):
        out.control(told(str(number)))
    with pytest.raises(InvariantBreach, match="control lane is full"):
        out.control(told("one more"))
    assert len(out.drain()) == bound + 1


def test_what_is_sealed_goes_before_what_comes_later_control_or_not() -> None:
    """A terminal must not overtake its own turn's data."""
    out = Outbox(BOUNDS)
    out.data(send(1))
    out.control(told("a"))
    out.seal()
    out.control(told("terminal"))
    out.data(send(2))
    assert out.drain() == [told("a"), send(1), told("terminal"), send(2)]


def test_a_fence_takes_back_only_the_data_that_it_made_stale_sealed_or_not() -> None:
    out = Outbox(BOUNDS)
    out.data(send(1))
    out.seal()
    out.data(send(2))
    out.data(Feed("call", text(1)))
    out.control(told("a"))
    stale = text(1)
    refused = out.refuse(lambda effect: isinstance(effect, (Send, Feed)) and effect.event == stale)
    assert refused == [send(1), Feed("call", text(1))]
    assert out.drain() == [told("a"), send(2)]
