"""A producer sends while its edge lets it: until an xoff, with a credit, or both."""

from __future__ import annotations

import pytest

from rspp.contract.words import FlowMode
from rspp.kernel.flow import FlowGate


def test_a_signal_gate_counts_nothing_and_stops_nobody() -> None:
    gate = FlowGate(FlowMode.SIGNAL, 0, 4)
    gate.xoff = True
    assert not gate.counts
    assert gate.lets(10_000)
    assert gate.delivered(3) == 0


def test_a_credit_gate_lets_in_as_many_as_it_has_credits_for() -> None:
    gate = FlowGate(FlowMode.CREDIT, 2, 1)
    assert [gate.lets(depth) for depth in (0, 1, 2, 3)] == [True, True, False, False]
    gate.xoff = True
    assert gate.lets(0)  # only a hybrid gate listens to xoff


def test_a_grant_opens_a_gate_that_was_shut() -> None:
    gate = FlowGate(FlowMode.CREDIT, 1, 1)
    assert not gate.lets(1)
    gate.grant(2)
    assert gate.room(1) == 2


@pytest.mark.parametrize("amount", [0, -1])
def test_a_grant_of_nothing_is_a_misuse(amount: int) -> None:
    with pytest.raises(ValueError, match="at least one credit"):
        FlowGate(FlowMode.CREDIT, 1, 1).grant(amount)


def test_a_hybrid_gate_obeys_both() -> None:
    gate = FlowGate(FlowMode.HYBRID, 2, 1)
    assert gate.lets(0)
    gate.xoff = True
    assert not gate.lets(0)
    gate.xoff = False
    assert not gate.lets(2)


def test_credits_come_back_in_batches() -> None:
    gate = FlowGate(FlowMode.CREDIT, 8, 4)
    granted = [gate.delivered(depth) for depth in (7, 6, 5, 4)]
    assert granted == [0, 0, 0, 4]
    assert gate.room(4) == 4


def test_a_producer_that_would_starve_gets_its_credit_at_once() -> None:
    gate = FlowGate(FlowMode.CREDIT, 1, 4)
    assert gate.batch == 1
    gate = FlowGate(FlowMode.CREDIT, 3, 3)
    assert [gate.delivered(depth) for depth in (2, 1, 0)] == [0, 0, 3]


def test_credits_neither_leak_nor_multiply_over_a_long_run() -> None:
    """Ten thousand items through a window of four, every third lost on the way instead of delivered."""
    gate, depth = FlowGate(FlowMode.CREDIT, 4, 2), 0
    for number in range(10_000):
        if gate.lets(depth):
            depth += 1
        if number % 2 and depth:
            depth -= 1
            if number % 3:
                gate.delivered(depth)
        assert depth + gate.owed <= 4
    while depth:
        depth -= 1
        gate.delivered(depth)
    assert gate.room(0) + gate.owed == 4
    assert gate.lets(0)
