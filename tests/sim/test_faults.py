"""Every fault has a name, a class and a moment at which it really happens; calls without faults go well."""

from __future__ import annotations

import pytest

from rspp.sim.faults import CLASSES, FAULTS, UnknownFaultError, by_class, chosen
from rspp.sim.run import run_sessions
from rspp.sim.scenario import draw
from rspp.sim.session import Session, run_session

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


def test_faults_are_chosen_by_class_and_by_name_in_the_order_of_the_table() -> None:
    assert chosen("none") == ()
    assert chosen("all") == tuple(FAULTS)
    assert chosen("stall,F8") == (
        "stall",
        "lease_rotated",
        "failover_planned",
        "failover_crash",
        "failover_zombie",
    )
    with pytest.raises(UnknownFaultError, match="'F9', 'storm'"):
        chosen("F9,storm,stall")


def test_every_class_has_faults_and_every_fault_an_actor_that_can_be_armed() -> None:
    session = Session(draw(1, 1, "none"))
    assert {fault.failure_class for fault in FAULTS.values()} == set(CLASSES)
    for fault in FAULTS.values():
        assert callable(getattr(session, fault.actor).arm), fault.name


def test_a_class_that_did_not_fire_is_counted_as_nothing() -> None:
    assert by_class({"stall": 2, "jitter": 1}) == {**dict.fromkeys(CLASSES, 0), "F6": 3}


@pytest.mark.parametrize("failure_class", CLASSES)
def test_each_class_fires_when_it_is_asked_for_and_nothing_else_does(failure_class: str) -> None:
    report = run_sessions(5, range(8), failure_class)
    assert report.faults[failure_class] > 0
    assert sum(report.faults.values()) == report.faults[failure_class]


@pytest.mark.slow
def test_all_classes_fire_in_some_dozen_sessions() -> None:
    report = run_sessions(5, range(36))
    assert all(report.faults.values()), report.faults


def test_calls_without_faults_fire_none_and_most_of_their_turns_complete() -> None:
    outcomes = [run_session(draw(5, number, "none")) for number in range(8)]
    assert all(not outcome.fired for outcome in outcomes)
    assert sum(outcome.commits for outcome in outcomes) >= sum(outcome.turns for outcome in outcomes) // 2


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_fires_sooner_or_later(name: str) -> None:
    for number in range(40):
        if run_session(draw(9, number, name)).fired.get(name):
            return
    pytest.fail(f"{name} never fired in 40 sessions")
