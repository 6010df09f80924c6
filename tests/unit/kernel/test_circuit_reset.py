"""An operator vouches for a provider: it is called again at once, and a stream that waits for its time begins at once."""

from __future__ import annotations

import pytest

from rspp.contract.words import OutcomeClass
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.spec import voice_template
from rspp.testing.rig import Rig

BROKEN = OutcomeClass.INFRASTRUCTURE_FAILURE


def cut_off() -> Rig:
    """A session that has cut llm-a off, and calls llm-b."""
    rig = Rig()
    rig.connect()
    for _ in range(5):
        rig.type("again")
        rig.fail("llm", BROKEN, circuit=True)
        rig.answer("Fine.", ms=20)
        rig.advance(1_000)
    return rig


def called(rig: Rig) -> str:
    rig.type("and now?")
    return rig.invocations["llm"].provider


def test_a_provider_that_was_cut_off_is_called_by_the_next_turn() -> None:
    rig = cut_off()
    rig.give(i.CircuitReset("llm-a"))
    assert [(one.reason, (one.detail or {}).get("cause")) for one in rig.signals("circuit_event")] == [
        ("opened", None),
        ("closed", "reset"),
    ]
    assert called(rig) == "llm-a"


def test_its_failures_are_counted_from_none_again() -> None:
    rig = cut_off()
    rig.give(i.CircuitReset("llm-a"))
    for _ in range(4):
        rig.type("again")
        rig.fail("llm", BROKEN, circuit=True)
        rig.answer("Fine.", ms=20)
        rig.advance(1_000)
    assert [one.reason for one in rig.signals("circuit_event")] == ["opened", "closed"], "four are not five"
    assert called(rig) == "llm-a"


@pytest.mark.parametrize("provider", ["llm-b", "nobody", ""])
def test_who_was_not_cut_off_is_not_announced_and_who_was_stays_so(provider: str) -> None:
    rig = cut_off()
    rig.give(i.CircuitReset(provider))
    assert [one.reason for one in rig.signals("circuit_event")] == ["opened"]
    assert called(rig) == "llm-b"


def test_said_twice_it_is_as_if_it_had_been_said_once() -> None:
    rig = cut_off()
    rig.give(i.CircuitReset("llm-a"))
    rig.give(i.CircuitReset("llm-a"))
    assert [one.reason for one in rig.signals("circuit_event")] == ["opened", "closed"]


def streams(rig: Rig) -> list[int]:
    """When the recogniser, which lasts as long as the session, was asked for."""
    return [
        at // 1_000_000
        for at, effect in rig.effects
        if isinstance(effect, fx.Invoke) and effect.modality == "stt"
    ]


def lost_stream(circuit_failures: int) -> Rig:
    """A session whose recogniser has failed for good; it is begun again after the cooldown."""
    rig = Rig(voice_template(calls={"circuit_failures": circuit_failures}))
    rig.connect()
    for _ in range(20):
        before = len(streams(rig))
        call = rig.invocations["stt"]
        rig.give(i.CallFailed(call.call_id, call.attempt, BROKEN, "gone", retryable=True, circuit=True))
        rig.advance(500)
        if len(streams(rig)) == before:
            return rig
    raise AssertionError("the recogniser is asked for again and again")


@pytest.mark.parametrize("circuit_failures", [1, 100], ids=["cut off", "not cut off"])
def test_a_stream_that_waits_out_its_cooldown_begins_when_its_provider_is_vouched_for(
    circuit_failures: int,
) -> None:
    rig = lost_stream(circuit_failures)
    before = len(streams(rig))
    provider = rig.invocations["stt"].provider
    rig.give(i.CircuitReset("llm-a"))
    assert len(streams(rig)) == before, "another one is nothing to it"
    rig.give(i.CircuitReset(provider))
    assert len(streams(rig)) == before + 1
    waiting = [subject for kind, subject in rig.kernel.desk.timers if kind == "call.restart"]
    assert waiting == [], "and not a second time when the cooldown is over"
