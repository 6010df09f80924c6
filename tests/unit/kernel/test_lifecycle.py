"""The two tables: every pair that is not in them is refused, with a stable code, and changes nothing."""

from __future__ import annotations

import itertools

import pytest

from rspp.contract.words import ConnectionState
from rspp.contract.words import SessionState as S
from rspp.contract.words import TurnState as T
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel import turns as turns_module
from rspp.kernel.lifecycle import (
    REFUSED_SESSION,
    REFUSED_TURN,
    SESSION,
    TURN,
    step,
)
from rspp.kernel.lifecycle import SessionTrigger as E
from rspp.kernel.lifecycle import TurnTrigger as R
from rspp.kernel.turn import Turn
from rspp.testing.rig import Rig


def test_the_session_table_is_the_contracts() -> None:
    edges = {(a, b) for (a, _), b in SESSION.items()}
    assert edges == {
        (S.CONNECTING, S.ACTIVE),
        (S.CONNECTING, S.ENDED),
        (S.ACTIVE, S.DRAINING),
        (S.ACTIVE, S.ENDED),
        (S.DRAINING, S.ENDED),
    }


def test_the_turn_table_is_the_contracts() -> None:
    assert {(a.value, t.value, b.value) for (a, t), b in TURN.items()} == {
        ("Idle", "turn_open_proposed", "Opening"),
        ("Opening", "turn_open", "Active"),
        ("Opening", "reject", "Idle"),
        ("Opening", "defer", "Idle"),
        ("Opening", "stale_epoch_reject", "Idle"),
        ("Opening", "deauthorized_drain", "Idle"),
        ("Active", "commit", "Terminal"),
        ("Active", "abort", "Terminal"),
        ("Terminal", "close", "Closed"),
    }


def test_ended_and_closed_have_no_way_out() -> None:
    assert all(step(SESSION, S.ENDED, trigger) is None for trigger in E)
    assert all(step(TURN, T.CLOSED, trigger) is None for trigger in R)


ILLEGAL_SESSION = [pair for pair in itertools.product(S, E) if pair not in SESSION]
ILLEGAL_TURN = [pair for pair in itertools.product(T, R) if pair not in TURN]


@pytest.mark.parametrize(("state", "trigger"), ILLEGAL_SESSION)
def test_an_illegal_session_step_is_refused_and_nothing_changes(state: S, trigger: E) -> None:
    rig = Rig()
    rig.connect()
    connection = rig.kernel.connection
    connection.state = state
    timers = dict(rig.kernel.desk.timers)
    rig.kernel.drain()
    assert connection.move(trigger) is False
    assert connection.state is state
    assert rig.kernel.desk.timers == timers
    (effect,) = rig.kernel.drain()
    assert isinstance(effect, fx.Announce)
    signal = effect.event.payload
    assert signal.signal == "transition_refused"  # type: ignore[union-attr]
    assert signal.reason == REFUSED_SESSION  # type: ignore[union-attr]
    assert signal.detail == {"from": state.value, "trigger": trigger.value, "subject": "s1"}  # type: ignore[union-attr]


@pytest.mark.parametrize(("state", "trigger"), ILLEGAL_TURN)
def test_an_illegal_turn_step_is_refused_and_nothing_changes(state: T, trigger: R) -> None:
    rig = Rig()
    rig.connect()
    rig.type("hello")
    turns = rig.kernel.turns
    turn = turns.current
    assert turn is not None
    turn.state = state
    rig.kernel.drain()
    turns._move(turn, trigger)
    assert turn.state is state
    assert turn.terminal is None
    (effect,) = rig.kernel.drain()
    assert isinstance(effect, fx.Announce)
    signal = effect.event.payload
    assert signal.reason == REFUSED_TURN  # type: ignore[union-attr]
    assert signal.detail == {"from": state.value, "trigger": trigger.value, "subject": turn.id}  # type: ignore[union-attr]


def terminals(rig: Rig) -> dict[str | None, list[str]]:
    """What each accepted turn showed of commit, abort and close, in order."""
    shown: dict[str | None, list[str]] = {event.scope.turn_id: [] for event in rig.events("turn_open")}
    for effect in rig.of(fx.Announce):
        name = effect.event.payload.signal  # type: ignore[union-attr]
        if name in ("commit", "abort", "close"):
            shown[effect.event.scope.turn_id].append(name)
    return shown


def traffic(*, judged: bool = True) -> Rig:
    rig = Rig(judged=judged)
    rig.connect()
    for number in range(6):
        rig.type(f"question {number}")
        rig.tokens("An answer. ")
        if number % 2:
            rig.control("cancel", scope="turn")
        else:
            rig.finish("llm")
            rig.speech(100)
        rig.advance(1_000)
    rig.give(i.ConnectionChanged(ConnectionState.ENDED))
    rig.advance(20_000)
    return rig


def whole(rig: Rig) -> bool:
    return all(shown in (["commit", "close"], ["abort", "close"]) for shown in terminals(rig).values())


def test_in_mixed_traffic_every_accepted_turn_shows_one_terminal_and_then_close() -> None:
    rig = traffic()
    assert len(terminals(rig)) == 6
    assert whole(rig)


def test_a_second_terminal_is_refused_however_often_it_is_tried() -> None:
    rig = traffic()
    turns = rig.kernel.turns
    for turn in turns.closed:
        for trigger in (R.COMMIT, R.ABORT, R.CLOSE):
            turns._move(turn, trigger)
    rig._collect()
    assert whole(rig)
    assert len(rig.names("transition_refused")) == 3 * len(turns.closed)
    assert all(signal.reason == REFUSED_TURN for signal in rig.signals("transition_refused"))


def test_the_gate_sees_it_when_the_guard_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build whose `_end` may run twice shows two terminals, and the check of this file says so."""
    end = turns_module.Turns._end

    def twice(turns: turns_module.Turns, turn: Turn) -> None:
        end(turns, turn)
        end(turns, turn)

    monkeypatch.setattr(turns_module.Turns, "_end", twice)
    monkeypatch.setattr(
        turns_module, "step", lambda table, state, trigger: table.get((state, trigger), state)
    )
    assert not whole(traffic(judged=False))
    with pytest.raises(AssertionError, match="INV-"):
        traffic()
