"""What the platform does when providers fail: circuits, other providers, fallbacks, apologies, going on without."""

from __future__ import annotations

from typing import Any

import pytest

from rspp.contract.event import Text
from rspp.contract.words import CancelScope, OutcomeClass
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.spec import compile_text, voice_template
from rspp.spec.graph import GraphDefinition
from rspp.testing.rig import Rig

BROKEN, BUSY = OutcomeClass.INFRASTRUCTURE_FAILURE, OutcomeClass.OVERLOAD

FALLBACK = """
pipeline: desk
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1, fallback: small, on_failure: fallback}
  small: {type: llm, version: v1}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: stt}
  - {from: stt.final, to: llm}
  - {from: llm, to: [tts, speaker.text]}
  - {from: small, to: [tts, speaker.text]}
  - {from: tts, to: speaker.audio}
turn_input: stt.final
providers: {stt: stt-a, llm: llm-a, tts: tts-a}
"""


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


# ---- circuits -------------------------------------------------------------------------------------------------------


def failing_turns(rig: Rig, turns: int) -> None:
    """So many turns in which the first provider answers with a failure and the second one well."""
    for _ in range(turns):
        rig.type("again")
        if rig.invocations["llm"].provider == "llm-a":
            rig.fail("llm", BROKEN, circuit=True)
        rig.answer("Fine.", ms=20)
        rig.advance(1_000)


@pytest.mark.proves("F-057")
def test_failures_at_the_threshold_open_the_circuit_and_the_next_call_goes_elsewhere() -> None:
    rig = Rig()
    rig.connect()
    failing_turns(rig, 5)
    (opened,) = rig.signals("circuit_event")
    assert opened.reason == "opened"
    before = len(attempts(rig))
    failing_turns(rig, 1)
    assert [provider for _, provider in attempts(rig)[before:]] == ["llm-b"]


@pytest.mark.proves("F-057")
def test_below_the_threshold_the_circuit_stays_closed() -> None:
    rig = Rig()
    rig.connect()
    failing_turns(rig, 4)
    assert rig.names("circuit_event") == []
    failing_turns(rig, 1)
    assert rig.names("circuit_event") == ["circuit_event"]


@pytest.mark.proves("F-057")
@pytest.mark.parametrize("answer", ["success", "failure"])
def test_after_the_cooldown_one_probe_decides(answer: str) -> None:
    rig = Rig()
    rig.connect()
    failing_turns(rig, 5)
    rig.advance(9_000)
    rig.type("again")
    assert rig.invocations["llm"].provider == "llm-a"
    if answer == "failure":
        rig.fail("llm", BROKEN, circuit=True)
        assert rig.invocations["llm"].provider == "llm-b"
    rig.answer("Fine.", ms=20)
    rig.advance(500)
    last = "closed" if answer == "success" else "opened"
    assert [s.reason for s in rig.signals("circuit_event")] == ["opened", "half_open", last]
    rig.type("again")
    assert rig.invocations["llm"].provider == ("llm-a" if answer == "success" else "llm-b")


def test_a_probe_that_the_caller_cancels_leaves_the_provider_to_be_probed_again() -> None:
    rig = Rig()
    rig.connect()
    failing_turns(rig, 5)
    rig.advance(9_000)
    rig.type("again")
    rig.control("cancel", scope=CancelScope.TURN)
    rig.advance(200)
    rig.type("again")
    assert rig.invocations["llm"].provider == "llm-a"
    assert [s.reason for s in rig.signals("circuit_event")] == ["opened", "half_open", "half_open"]


def test_a_circuit_that_opens_in_a_turn_turns_the_turns_later_calls_elsewhere() -> None:
    rig = asking(calls={"circuit_failures": 1})
    rig.tokens("One. ", "Two. ")
    rig.fail("tts", BROKEN, circuit=True)
    assert rig.invocations["tts"].provider == "tts-b"
    rig.speech(20)
    assert rig.invocations["tts"].provider == "tts-b"
    assert rig.invocations["tts"].attempt == 1


PLANTED = ("my card is 4111 1111 1111 1111", "sk-live-51H8secret")


def everything(rig: Rig) -> str:
    """All that is announced of a session, as one text."""
    return "\n".join(str(e.event.payload) for e in rig.of(fx.Announce))


def planted_breaker() -> Rig:
    rig = Rig()
    rig.connect()
    for _ in range(5):
        rig.type(PLANTED[0])
        call = rig.invocations["llm"]
        reason = f"refused the request {PLANTED[0]!r} of key {PLANTED[1]}"
        rig.give(i.CallFailed(call.call_id, call.attempt, BUSY, reason, circuit=True))
        rig.answer("Fine.", ms=20)
        rig.advance(1_000)
    return rig


@pytest.mark.proves("F-136")
def test_a_breaker_names_provider_code_and_thresholds_and_never_payload_or_secret() -> None:
    rig = planted_breaker()
    (opened,) = rig.signals("circuit_event")
    detail = opened.detail or {}
    assert (detail["provider"], detail["code"]) == ("llm-a", "provider_overload")
    assert (detail["failures"], detail["window_ms"], detail["cooldown_ms"]) == (5, 30_000, 10_000)
    said = everything(rig) + str([e.evidence for e in rig.of(fx.StoreEvidence)])
    assert not [planted for planted in PLANTED if planted in said]


@pytest.mark.proves("F-136")
def test_with_scrubbing_taken_out_the_same_search_finds_what_was_planted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rspp.kernel.recovery.scrubbed", lambda reason: reason)
    said = everything(planted_breaker())
    assert [planted for planted in PLANTED if planted in said] == list(PLANTED)


# ---- fallbacks ------------------------------------------------------------------------------------------------------


@pytest.mark.proves("F-133")
def test_a_failed_node_hands_over_at_once_and_the_record_holds_the_first_error() -> None:
    rig = asking(compile_text(FALLBACK))
    rig.advance(10)
    rig.fail("llm", BROKEN)
    (record,) = rig.signals("fallback_activated")
    assert record.reason == "error"
    assert record.detail == {"to": "small", "cause": "broken", "provider": "llm-a"}
    assert rig.events("fallback_activated")[0].node_id == "llm"
    small = rig.invocations["small"]
    assert [at for at, effect in rig.effects if effect is small] == [10_000_000], "in the same instant"
    assert small.event is not None
    assert small.event.payload == rig.invocations["llm"].event.payload  # type: ignore[union-attr]
    rig.chunk("small", Text("Ten.", role="assistant"))
    rig.finish("small")
    rig.speech(20)
    rig.speech(20) if rig.kernel.turn() else None
    assert [text for text in rig.sent_text() if text] == ["Ten."]


@pytest.mark.proves("F-133")
def test_a_fallback_that_fails_too_ends_the_turn_without_a_loop() -> None:
    rig = asking(compile_text(FALLBACK))
    rig.fail("llm", BROKEN)
    rig.fail("small", BROKEN)
    rig.advance(10_000)
    assert [call.node_id for call in rig.of(fx.Invoke) if call.modality == "llm"] == ["llm", "small"]
    assert rig.names("abort", "close") == ["abort", "close"]
    assert rig.signals("abort")[0].reason == "provider_failure"


@pytest.mark.proves("F-135")
def test_after_a_failed_answer_the_caller_hears_the_configured_words_and_may_ask_again() -> None:
    rig = asking(
        voice_template({"stt": ["a"], "llm": ["b"], "tts": ["c"]}, error_reply={"text": "Sorry, again?"})
    )
    rig.fail("llm", BROKEN)
    assert rig.names("abort", "error_reply", "turn_open")[-3:] == ["abort", "error_reply", "turn_open"]
    asked = rig.invocations["tts"].event
    assert asked is not None
    assert asked.payload.text == "Sorry, again?"  # type: ignore[union-attr]
    rig.speech(200)
    rig.advance(1_000)
    assert len(rig.sent_audio()) == 10
    rig.type("once more")
    rig.answer("Fine.")
    rig.advance(1_000)
    assert rig.names("commit") == ["commit", "commit"]


@pytest.mark.proves("F-135")
@pytest.mark.parametrize("degrade_on", [["tts"], []])
def test_when_the_voice_fails_too_the_reply_ends_cleanly_and_does_not_repeat_itself(
    degrade_on: list[str],
) -> None:
    graph = voice_template(
        {"stt": ["a"], "llm": ["b"], "tts": ["c"]}, error_reply={"text": "Sorry?"}, degrade_on=degrade_on
    )
    rig = asking(graph)
    rig.fail("llm", BROKEN)
    rig.fail("tts", BROKEN)
    rig.advance(10_000)
    assert len(rig.signals("error_reply")) == 1
    assert rig.kernel.turns.current is None
    rig.type("once more")
    rig.fail("llm", BROKEN)
    rig.advance(10_000)
    assert len(rig.signals("error_reply")) == 2
    assert rig.kernel.turns.current is None
    if degrade_on:
        assert [text for text in rig.sent_text() if text][-1:] == ["Sorry?"], (
            "without a voice the words are sent as text"
        )


def test_without_its_voice_a_session_goes_on_in_text_and_says_that_it_is_degraded() -> None:
    """The going-on half of F-137."""
    rig = asking(voice_template({"stt": ["a"], "llm": ["b"], "tts": ["c"]}))
    rig.tokens("It is ten. ")
    rig.fail("tts", BROKEN)
    rig.finish("llm")
    rig.advance(1_000)
    (degraded,) = rig.signals("degraded")
    assert (degraded.detail or {})["capability"] == "tts"
    assert [text for text in rig.sent_text() if text] == ["It is ten."]
    assert rig.sent_audio() == []
    assert rig.names("commit", "abort") == ["commit"]


def test_a_voice_that_answers_again_ends_the_degradation() -> None:
    rig = asking(voice_template({"stt": ["a"], "llm": ["b"], "tts": ["c"]}))
    rig.tokens("One. ", "Two. ")
    rig.fail("tts", BROKEN)
    rig.finish("llm")
    rig.speech(20)
    assert rig.names("degraded", "recovered") == ["degraded", "recovered"]


def test_a_barge_in_waits_for_the_place_of_the_call_it_cancelled() -> None:
    text = FALLBACK.replace(
        "small, on_failure: fallback}", "small, on_failure: fallback, concurrency_limit: 1}"
    )
    rig = asking(compile_text(text))
    first = rig.invocations["llm"]
    rig.type("something else")
    rig.advance(10)
    assert rig.invocations["llm"] is first
    rig.cancel_acks()
    assert rig.invocations["llm"].turn_id == "s1/turn-2"
    assert [s.reason for s in rig.signals("abort")] == ["cancelled"]


VOICES = FALLBACK.replace("tts: {type: tts, version: v1}", "tts: {type: tts, version: v1, fallback: spare, on_failure: fallback}\n  spare: {type: tts, version: v1}").replace(
    "  - {from: tts, to: speaker.audio}", "  - {from: tts, to: speaker.audio}\n  - {from: spare, to: speaker.audio}"
)  # fmt: skip


def test_a_failed_sentence_is_spoken_by_the_fallback_before_the_next_one_is_begun() -> None:
    rig = asking(compile_text(VOICES))
    rig.tokens("One. ")
    rig.finish("llm")
    rig.fail("tts", BROKEN)
    assert rig.invocations["spare"].event is not None
    assert not rig.kernel.graph.nodes["tts"].open
    rig.finish("spare")
    assert rig.kernel.turn() is None or rig.kernel.graph.nodes["tts"].open
