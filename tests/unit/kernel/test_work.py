"""Provider calls in a session: attempts, switches, circuits, fallbacks, late output, text that only moves forward."""

from __future__ import annotations

from typing import Any

import pytest

from rspp.contract.event import Text
from rspp.contract.words import CancelScope, OutcomeClass
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.spec import voice_template
from rspp.spec.graph import GraphDefinition
from rspp.testing.rig import Rig

BROKEN, BUSY = OutcomeClass.INFRASTRUCTURE_FAILURE, OutcomeClass.OVERLOAD


def asking(graph: GraphDefinition | None = None, /, **policies: Any) -> Rig:
    rig = Rig(graph or voice_template(**policies))
    rig.connect()
    rig.type("what time is it")
    return rig


def attempts(rig: Rig, modality: str = "llm") -> list[tuple[int, str]]:
    """When each attempt was made, in milliseconds, and of whom."""
    return [
        (at // 1_000_000, effect.provider)
        for at, effect in rig.effects
        if isinstance(effect, fx.Invoke) and effect.modality == modality
    ]


# ---- retries --------------------------------------------------------------------------------------------------------


@pytest.mark.proves("F-059")
def test_a_provider_that_fails_twice_is_tried_again_with_growing_gaps_until_it_answers() -> None:
    rig = asking(calls={"attempts_per_provider_max": 3, "backoff_ms": 100})
    for _ in range(2):
        rig.fail("llm", BUSY, retryable=True)
        rig.advance(300)
    rig.answer("It is ten.")
    rig.advance(1_000)
    assert [at for at, _ in attempts(rig)] == [0, 100, 500], (
        "waits of 100 and then of 200 after the failure at 300"
    )
    assert rig.names("commit", "abort") == ["commit"]
    outcome = rig.of(fx.StoreEvidence)[-1].evidence.invocation_outcomes[0]
    assert (outcome.attempts, outcome.outcome_class) == (3, OutcomeClass.SUCCESS)


@pytest.mark.proves("F-059")
def test_a_wait_that_outlasts_the_budget_is_not_begun_and_the_outcome_says_so() -> None:
    graph = voice_template({"stt": ["a"], "llm": ["b"], "tts": ["c"]}, budgets={"turn_budget_ms": 400})
    rig = asking(graph)
    rig.fail("llm", BUSY, retryable=True)
    rig.advance(5_000)
    assert len(attempts(rig)) == 1
    assert rig.signals("abort")[0].reason == "provider_failure"
    outcome = rig.of(fx.StoreEvidence)[-1].evidence.invocation_outcomes[0]
    assert (outcome.retry_decision, outcome.outcome_class, outcome.retryable) == ("none", BUSY, True)


@pytest.mark.proves("F-059")
def test_what_cannot_be_retried_is_tried_once() -> None:
    rig = asking(voice_template({"stt": ["a"], "llm": ["b"], "tts": ["c"]}))
    rig.fail("llm", OutcomeClass.BLOCKED)
    rig.advance(5_000)
    assert len(attempts(rig)) == 1


def test_silence_after_it_was_accepted_is_a_timeout_and_so_is_a_stream_that_stops() -> None:
    rig = asking()
    rig.accept("llm")
    rig.advance(999)
    assert rig.names("provider_error") == []
    rig.advance(1)
    assert rig.signals("provider_error")[0].reason == "timeout"
    rig.tokens("It is ")
    rig.advance(1_000)
    assert [s.reason for s in rig.signals("provider_error")] == ["timeout", "timeout"]
    assert len(attempts(rig)) == 2, "a half stream is not begun again"


def test_an_attempt_that_timed_out_is_told_to_stop_and_its_late_output_is_dropped() -> None:
    rig = asking()
    old = rig.invocations["llm"]
    rig.advance(1_000)
    assert [(c.call_id, c.attempt) for c in rig.of(fx.CancelCall)] == [(old.call_id, 1)]
    rig.give(i.CallProduced(old.call_id, 1, 0, Text("too late. ")))
    rig.give(i.CallFinished(old.call_id, 1))
    rig.give(i.CallFailed(old.call_id, 1, BROKEN, "late"))
    assert [s.reason for s in rig.signals("late_output_dropped")] == ["other_attempt"]
    assert rig.names("call_ended") == []


def test_a_duplicate_chunk_is_dropped_and_an_unknown_calls_output_too() -> None:
    rig = asking()
    call = rig.invocations["llm"]
    for _ in range(2):
        rig.give(i.CallProduced(call.call_id, 1, 0, Text("Once. ")))
    rig.give(i.CallProduced("pvi/forged", 1, 0, Text("Forged. ")))
    assert [s.reason for s in rig.signals("late_output_dropped")] == ["duplicate_chunk", "call_unknown"]
    assert rig.kernel.turns.current is not None
    assert [e.event.payload.text for e in rig.of(fx.Invoke) if e.modality == "tts" and e.event] == ["Once."]  # type: ignore[union-attr]


# ---- text -----------------------------------------------------------------------------------------------------------


def test_a_long_recognition_moves_forward_with_one_final_a_segment() -> None:
    rig = Rig()
    rig.connect()
    for segment in range(3):
        for revision in range(1, 50):
            rig.chunk("stt", Text("word " * revision, segment, revision, role="user"))
        rig.chunk("stt", Text("word " * 50, segment, 50, final=True, role="user"))
    assert rig.names("error_raised") == []


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (Text("a b", 0, 3, role="user"), "text_after_final"),
        (Text("a b", 0, 3, final=True, role="user"), "text_final_repeated"),
        (Text("a c", 0, 3, final=True, role="user"), "text_final_changed"),
    ],
)
def test_a_late_partial_a_second_and_an_edited_final_are_refused_with_a_marker(
    wrong: Text, code: str
) -> None:
    rig = Rig()
    rig.connect()
    rig.voice(200)
    rig.chunk("stt", Text("a", 0, 1, role="user"))
    rig.chunk("stt", Text("a b", 0, 2, final=True, role="user"))
    heard = rig.kernel.prelude.listener
    before = repr(heard.heard) if hasattr(heard, "transcript") else len(rig.effects)
    rig.chunk("stt", wrong)
    (marker,) = rig.signals("error_raised")
    assert marker.reason == "schema_validation_error"
    assert (marker.detail or {})["code"] == code
    assert before == (repr(heard.heard) if hasattr(heard, "transcript") else len(rig.effects) - 1)


def test_a_revision_that_goes_back_is_refused_and_does_not_travel() -> None:
    rig = Rig()
    rig.connect()
    rig.chunk("stt", Text("a b", 0, 2, role="user"))
    for revision in (2, 1, 0):
        rig.chunk("stt", Text("a", 0, revision, role="user"))
    assert [(s.detail or {})["code"] for s in rig.signals("error_raised")] == ["text_reordered"] * 3


# ---- identity -------------------------------------------------------------------------------------------------------


def test_every_call_has_an_identity_of_its_own_one_outcome_and_its_turns_scope() -> None:
    """The deciding half of F-160; that the four outcomes are counted is the exporter's."""
    rig = asking()
    rig.tokens("One. ", "Two. ")
    rig.finish("llm")
    rig.speech(20)
    rig.speech(20)
    rig.advance(1_000)
    started = [event for event in rig.events("call_started") if event.scope.turn_id]
    ended = [event for event in rig.events("call_ended") if event.scope.turn_id]
    ids = [event.invocation_id for event in started]
    assert len(ids) == len(set(ids)) == 3
    assert sorted(map(str, ids)) == sorted(str(event.invocation_id) for event in ended)
    assert {event.scope.turn_id for event in started} == {"s1/turn-1"}


def test_cancelling_one_call_stops_that_one_alone() -> None:
    rig = asking()
    rig.tokens("One. ", "Two. ")
    first = rig.invocations["tts"].call_id
    rig.control("cancel", scope=CancelScope.CALL, target=first)
    assert [effect.call_id for effect in rig.of(fx.CancelCall)] == [first]
    assert rig.invocations["tts"].call_id != first, "the next sentence is spoken"
    rig.finish("llm")
    rig.speech(20)
    rig.advance(1_000)
    assert rig.names("commit", "abort") == ["commit"]


def test_a_call_that_does_not_stop_in_its_grace_is_stopped_by_force_and_the_session_says_so() -> None:
    rig = asking()
    call = rig.invocations["llm"]
    rig.control("cancel", scope=CancelScope.TURN)
    rig.advance(74)
    assert rig.names("cancel_forced") == []
    rig.advance(1)
    assert rig.names("cancel_forced", "degraded") == ["cancel_forced", "degraded"]
    assert [(k.call_id, k.attempt) for k in rig.of(fx.KillCall)] == [(call.call_id, 1)]


def test_a_call_that_acknowledges_in_time_is_not_forced() -> None:
    rig = asking()
    rig.control("cancel", scope=CancelScope.TURN)
    rig.advance(74)
    rig.cancel_acks()
    rig.advance(1_000)
    assert rig.names("cancel_forced", "degraded") == []
    assert rig.of(fx.KillCall) == []


# ---- held back, not dropped -----------------------------------------------------------------------------------------


def sentences(rig: Rig) -> list[str]:
    """What the synthesiser was asked to say."""
    asked = [call.event for call in rig.of(fx.Invoke) if call.modality == "tts" and call.event]
    return [event.payload.text for event in asked if isinstance(event.payload, Text)]


def test_a_guess_at_its_cap_keeps_the_rest_of_its_answer_until_it_is_confirmed() -> None:
    rig = Rig(voice_template())
    rig.connect()
    rig.kernel.turns.intend("guess", speculative=True)
    rig.advance(1)
    rig.kernel._finish()
    rig._collect()
    rig.tokens("One. ", "Two. ", "Three. ")
    rig.finish("llm")
    rig.speech(20)
    assert sentences(rig) == ["One."]
    rig.kernel.turns.confirm()
    rig._collect()
    for _ in range(2):
        rig.speech(20)
    assert sentences(rig) == ["One.", "Two.", "Three."]
    rig.advance(1_000)
    assert rig.names("commit", "abort") == ["commit"]


def test_the_next_sentence_waits_while_the_edge_below_is_full() -> None:
    rig = asking()
    rig.tokens("One. ", "Two. ")
    node = rig.kernel.graph.nodes["tts"]
    rig.kernel.work.throttle(node, True)
    rig.speech(20)
    assert sentences(rig) == ["One."]
    rig.kernel.work.throttle(node, False)
    rig._collect()
    assert sentences(rig) == ["One.", "Two."]


def test_an_attempt_that_timed_out_and_does_not_stop_is_stopped_by_force_and_alone() -> None:
    rig = asking()
    old = rig.invocations["llm"]
    rig.advance(1_074)
    assert rig.of(fx.KillCall) == []
    rig.advance(1)
    assert [(k.call_id, k.attempt) for k in rig.of(fx.KillCall)] == [(old.call_id, 1)]
    assert rig.invocations["llm"].attempt == 2
    rig.answer("It is ten.")
    rig.advance(1_000)
    assert rig.names("commit", "abort") == ["commit"]


def test_an_attempt_that_timed_out_and_says_that_it_stopped_is_not_forced() -> None:
    rig = asking()
    rig.advance(1_010)
    rig.cancel_acks()
    rig.advance(500)
    assert rig.of(fx.KillCall) == []


# ---- the recogniser -------------------------------------------------------------------------------------------------


def test_a_recogniser_that_drops_in_mid_stream_is_connected_again_at_once() -> None:
    rig = Rig()
    rig.connect()
    rig.voice(200)
    rig.partial("what")
    rig.advance(5_000)
    rig.fail("stt", BROKEN, retryable=True)
    rig.advance(100)
    again = rig.invocations["stt"]
    assert again.attempt == 2
    assert rig.names("degraded") == []
    rig.accept("stt")
    rig.frame(0.95)
    assert rig.of(fx.Feed)[-1].call_id in {call.call_id for call in rig.of(fx.Invoke)}


def test_a_recogniser_that_leaves_two_finalises_unanswered_is_hung() -> None:
    rig = Rig()
    rig.connect()
    rig.kernel.work.finalise()
    rig.advance(5_000)
    assert rig.names("provider_error") == [], "there may have been no words"
    rig.kernel.work.finalise()
    rig.advance(5_000)
    assert rig.signals("provider_error")[0].reason == "timeout"
    assert len(attempts(rig, "stt")) > 1


def test_a_recogniser_that_answers_owes_nothing() -> None:
    rig = Rig()
    rig.connect()
    for _ in range(4):
        rig.kernel.work.finalise()
        rig.final("")
        rig.advance(2_000)
    assert rig.names("provider_error") == []
