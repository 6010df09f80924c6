"""A session's line: connected, cut, coming back, over; and every deadline of its life."""

from __future__ import annotations

import pytest

from rspp.contract.words import ConnectionState as C
from rspp.contract.words import SessionState as S
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.testing.rig import Rig


def line(rig: Rig, *states: C) -> None:
    for state in states:
        rig.give(i.ConnectionChanged(state))


def ended(rig: Rig) -> bool:
    return rig.kernel.ended


def state_of(rig: Rig) -> S:
    return rig.kernel.connection.state


def connected() -> Rig:
    rig = Rig()
    rig.connect()
    return rig


def talking() -> Rig:
    rig = connected()
    rig.type("tell me")
    rig.tokens("A long answer. ")
    rig.speech(1_000, finish=False)
    return rig


def refused(rig: Rig) -> list[object]:
    return [(s.detail or {}).get("trigger") for s in rig.signals("transition_refused")]


@pytest.mark.parametrize("state", [state for state in C if state is not C.CONNECTED])
def test_nothing_is_believed_before_the_first_connected(state: C) -> None:
    rig = Rig()
    line(rig, state)
    assert rig.names() == ["transition_refused"]
    assert state_of(rig) is S.CONNECTING
    line(rig, C.CONNECTED)
    assert state_of(rig) is S.ACTIVE


@pytest.mark.parametrize("state", list(C))
def test_nothing_is_believed_after_ended(state: C) -> None:
    rig = talking()
    line(rig, C.ENDED)
    if not rig.kernel.ended:
        line(rig, state)
        assert refused(rig) == [state.value]
    assert rig.kernel.connection.line is C.ENDED


def test_each_state_of_the_line_is_announced_as_what_it_is() -> None:
    rig = connected()
    rig.forget()
    line(rig, C.SILENCE, C.STALL, C.RECONNECTING, C.DISCONNECTED, C.CONNECTED)
    assert rig.names() == ["silence", "stall", "reconnecting", "disconnected", "connected"]


def test_inputs_before_the_line_stands_have_no_effect() -> None:
    rig = Rig()
    rig.type("too early")
    rig.control("cancel", scope="turn")
    rig.frame(0.9)
    assert rig.names() == []


def test_a_caller_who_never_arrives_is_given_up_at_the_deadline() -> None:
    rig = Rig()
    rig.advance(9_999)
    assert not ended(rig)
    rig.advance(1)
    assert ended(rig)
    assert [effect.reason for effect in rig.of(fx.EndSession)] == ["connect_deadline"]


def test_a_turn_survives_a_reconnect_inside_the_deadline_and_sends_nothing_meanwhile() -> None:
    rig = talking()
    line(rig, C.DISCONNECTED)
    cut = rig.now
    rig.finish("tts")
    rig.finish("llm")
    rig.advance(29_999)
    assert rig.sent_audio(cut + 1) == []
    line(rig, C.CONNECTED)
    rig.advance(3_000)
    assert rig.names("commit", "abort") == ["commit"]
    assert len(rig.sent_audio()) == 50
    assert rig.kernel.connection.state is S.ACTIVE


def test_a_line_that_comes_back_disarms_the_deadline() -> None:
    rig = connected()
    line(rig, C.DISCONNECTED)
    rig.advance(29_999)
    line(rig, C.CONNECTED)
    rig.advance(60_000)
    assert not ended(rig)


def test_repeated_bad_news_does_not_prolong_the_deadline() -> None:
    rig = connected()
    line(rig, C.DISCONNECTED)
    rig.advance(20_000)
    line(rig, C.RECONNECTING)
    rig.advance(9_999)
    assert not ended(rig)
    rig.advance(1)
    assert ended(rig)
    assert [effect.reason for effect in rig.of(fx.EndSession)] == ["disconnect_deadline"]


def test_a_turn_that_is_still_open_at_the_deadline_ends_for_the_transport() -> None:
    rig = connected()
    line(rig, C.DISCONNECTED)
    rig.advance(29_000)
    rig.type("are you there")
    rig.advance(1_000)
    assert [s.reason for s in rig.signals("abort")] == ["transport_disconnect_or_stall"]
    assert ended(rig)


def test_a_peer_that_ends_with_a_turn_open_ends_the_turn_and_the_session() -> None:
    rig = talking()
    line(rig, C.ENDED)
    rig.advance(100)
    assert rig.names("ended", "abort", "close") == ["ended", "abort", "close"]
    assert rig.signals("abort")[0].reason == "transport_disconnect_or_stall"
    assert ended(rig)


def test_a_close_before_the_line_stands_refuses_the_session() -> None:
    rig = Rig()
    rig.give(i.CloseRequested("not today"))
    assert ended(rig)
    assert [effect.reason for effect in rig.of(fx.EndSession)] == ["not today"]


def test_a_graceful_close_lets_the_turn_finish_and_then_ends() -> None:
    rig = talking()
    rig.give(i.CloseRequested("shutdown"))
    assert rig.kernel.connection.state is S.DRAINING
    rig.finish("tts")
    rig.finish("llm")
    rig.advance(1_000)
    rig.give(i.DeliveryReported("completed", "s1/turn-1", 1_000))
    rig.advance(100)
    assert rig.names("commit", "abort") == ["commit"]
    assert ended(rig)


def test_a_drain_that_outlasts_its_deadline_leaves_an_abort_on_record() -> None:
    rig = connected()
    rig.type("tell me")
    rig.tokens("A very long answer. ")
    rig.finish("llm")
    rig.give(i.CloseRequested("shutdown"))
    for _ in range(30):
        if not rig.kernel.ended:
            rig.speech(500, finish=False)
        rig.advance(500)
    assert [s.reason for s in rig.signals("abort")] == ["policy_terminated"]
    assert ended(rig)
    assert rig.kernel.deadline() is None


def test_an_immediate_close_aborts_and_ends() -> None:
    rig = talking()
    rig.give(i.CloseRequested("now", drain=False))
    rig.advance(100)
    assert rig.names("abort", "close") == ["abort", "close"]
    assert ended(rig)


def test_an_idle_session_ends_at_once_when_it_is_closed() -> None:
    rig = connected()
    rig.give(i.CloseRequested("bye"))
    assert ended(rig)
    assert [effect.reason for effect in rig.of(fx.CloseConnection)] == ["drained"]


def test_an_ended_session_is_deaf_and_sets_no_timer() -> None:
    rig = connected()
    rig.give(i.CloseRequested("bye"))
    rig.forget()
    rig.type("hello")
    rig.give(i.LeaseChanged("rotated", 9, "x", 1 << 60))
    line(rig, C.CONNECTED)
    rig.advance(1 << 20)
    assert rig.effects == []
    assert rig.kernel.deadline() is None
