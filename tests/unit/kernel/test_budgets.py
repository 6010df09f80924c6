"""Elapsed time gives a verdict, always in the same order; caps cut at an exact amount and say so once."""

from __future__ import annotations

import pytest

from rspp.contract.event import Audio, Text
from rspp.contract.words import AdaptiveAction as A
from rspp.kernel import effects as fx
from rspp.kernel.budgets import Costs, Verdict, judge
from rspp.spec import voice_template
from rspp.spec.graph import CostCaps
from rspp.testing.rig import Rig

ALL = (A.RETRY, A.PROVIDER_SWITCH, A.DEGRADE, A.FALLBACK)


@pytest.mark.parametrize(
    ("elapsed", "allowed", "verdict"),
    [
        (0, ALL, Verdict.CONTINUE),
        (79, ALL, Verdict.CONTINUE),
        (80, ALL, Verdict.WARN),
        (99, ALL, Verdict.WARN),
        (100, ALL, Verdict.DEGRADE),
        (100, (A.FALLBACK,), Verdict.FALLBACK),
        (100, (A.RETRY, A.PROVIDER_SWITCH), Verdict.TERMINATE),
        (100, (), Verdict.TERMINATE),
        (10_000, ALL, Verdict.DEGRADE),
    ],
)
def test_the_verdict_follows_the_marks_and_prefers_the_mildest_allowed(
    elapsed: int, allowed: tuple[A, ...], verdict: Verdict
) -> None:
    assert judge(elapsed, 100, allowed, 80) is verdict


def test_a_missing_or_late_warning_mark_is_the_exhaustion_mark() -> None:
    assert judge(99, 100, ALL) is Verdict.CONTINUE
    assert judge(99, 100, ALL, 500) is Verdict.CONTINUE
    assert judge(100, 100, ALL, 500) is Verdict.DEGRADE


def test_an_allowed_action_that_is_not_possible_here_is_passed_over() -> None:
    assert judge(100, 100, ALL, degradable=False) is Verdict.FALLBACK
    assert judge(100, 100, ALL, degradable=False, fallback=False) is Verdict.TERMINATE


def test_a_cap_allows_exactly_its_amount_in_whatever_pieces() -> None:
    costs = Costs(CostCaps(characters_max=10, tokens_max=3, audio_ms_max=50))
    assert [costs.take_characters(4) for _ in range(4)] == [4, 4, 2, 0]
    assert [costs.take_tokens(2), costs.take_tokens(2), costs.take_tokens(1)] == [2, 1, 0]
    assert [costs.take_audio(50), costs.take_audio(1)] == [50, 0]
    assert costs.spent("characters_max")
    assert costs.spent("tokens_max")
    assert costs.spent("audio_ms_max")


def test_a_cap_of_nought_caps_nothing() -> None:
    costs = Costs(CostCaps())
    assert costs.take_characters(1 << 30) == 1 << 30
    assert not costs.spent("characters_max")


def test_each_cap_is_said_once_and_speculation_has_its_own() -> None:
    costs = Costs(CostCaps(speculative_calls_max=1))
    assert [costs.first_time("tokens_max"), costs.first_time("tokens_max")] == [True, False]
    assert costs.first_time("characters_max")
    assert [costs.take_speculative_call(), costs.take_speculative_call()] == [True, False]


def capped(**caps: object) -> Rig:
    rig = Rig(voice_template(caps=caps))
    rig.connect()
    rig.type("talk to me")
    return rig


def spoken(rig: Rig) -> list[str]:
    asked = [call.event for call in rig.of(fx.Invoke) if call.modality == "tts"]
    return [event.payload.text for event in asked if event is not None and isinstance(event.payload, Text)]


@pytest.mark.proves("F-058")
def test_speech_over_its_characters_is_cut_there_and_the_event_names_cap_and_amount() -> None:
    rig = capped(characters_max=12)
    rig.tokens("Twelve chars and more. ", "And again.")
    rig.finish("llm")
    rig.speech(40)
    rig.advance(1_000)
    assert spoken(rig) == ["Twelve chars"]
    cap = rig.signals("cap_reached")
    assert [(signal.reason, signal.detail) for signal in cap] == [("characters_max", {"cap": 12})]
    assert rig.names("commit", "abort") == ["commit"], "a shortened answer is an answer"


@pytest.mark.proves("F-058")
def test_with_refusal_as_policy_a_sentence_over_the_cap_is_not_spoken_at_all() -> None:
    rig = capped(characters_max=12, on_cap="refuse")
    rig.tokens("Twelve chars and more. ")
    rig.finish("llm")
    assert spoken(rig) == []
    assert rig.names("cap_reached", "commit") == ["cap_reached", "commit"]


@pytest.mark.proves("F-058")
def test_an_answer_over_its_tokens_ends_within_the_cap_and_no_further_call_is_made() -> None:
    rig = capped(tokens_max=3)
    rig.tokens("One. ", "Two. ", "Three. ", "Four. ", "Five. ")
    rig.finish("llm", tokens=5)
    for _ in range(3):
        rig.speech(20)
    rig.advance(1_000)
    assert spoken(rig) == ["One.", "Two.", "Three."]
    assert [s.detail for s in rig.signals("cap_reached")] == [{"cap": 3}]
    assert rig.names("commit", "abort") == ["commit"]


@pytest.mark.proves("F-058")
def test_audio_over_its_duration_ends_within_the_cap_to_the_millisecond() -> None:
    rig = capped(audio_ms_max=50)
    rig.answer("Long.", ms=400)
    rig.advance(1_000)
    frames = [frame.payload for frame in rig.sent_audio() if isinstance(frame.payload, Audio)]
    samples = sum(frame.samples for frame in frames)
    assert samples == 50 * 16
    assert [(s.reason, s.detail) for s in rig.signals("cap_reached")] == [("audio_ms_max", {"cap": 50})]


@pytest.mark.proves("F-058")
@pytest.mark.parametrize("caps", [{"characters_max": 7}, {"tokens_max": 1}, {"audio_ms_max": 400}])
def test_an_answer_exactly_at_a_cap_is_left_alone(caps: dict[str, int]) -> None:
    rig = capped(**caps)
    rig.answer("Exactl.", ms=400)
    rig.advance(1_000)
    assert spoken(rig) == ["Exactl."]
    assert len(rig.sent_audio()) == 20
    assert rig.names("cap_reached", "commit") == ["commit"]


def test_no_output_within_the_turns_budget_is_warned_of_exhausted_and_aborted() -> None:
    rig = Rig(voice_template(calls={"provider_timeout_ms": 5_000}))
    rig.connect()
    rig.type("hello")
    rig.advance(1_999)
    assert rig.names("budget_warning", "budget_exhausted", "abort") == []
    rig.advance(1)
    assert rig.names("budget_warning", "budget_exhausted", "abort", "close") == [
        "budget_warning",
        "budget_exhausted",
        "abort",
        "close",
    ]
    assert rig.signals("abort")[0].reason == "budget_exhausted"


def test_the_turns_budget_bounds_the_first_output_and_does_not_cut_a_long_answer() -> None:
    rig = Rig(voice_template(calls={"provider_timeout_ms": 5_000, "progress_ms_max": 5_000}))
    rig.connect()
    rig.type("hello")
    rig.advance(1_900)
    rig.tokens("Still here. ")
    rig.speech(200, finish=False)
    rig.advance(3_000)
    assert rig.names("budget_exhausted", "abort") == []
