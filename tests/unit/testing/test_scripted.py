"""Scripted providers say what their script says, when it says so."""

from __future__ import annotations

import asyncio
import time

import pytest

from rspp.contract.errors import MisuseError
from rspp.contract.event import Audio, Text
from rspp.contract.words import OutcomeClass
from rspp.kernel.effects import Message
from rspp.testing import scripted
from rspp.testing.clock import run_virtual
from rspp.testing.conformance.attempt import Attempt, Heard, event_of
from rspp.testing.conformance.trial import Trial, hum, hush

LOUD, QUIET = hum(1_000), hush(1_000)


def ask(
    kind: str, text: str, history: tuple[Message, ...] = (), **settings: object
) -> tuple[Heard, list[float]]:
    """A whole call, and when each thing was said, in milliseconds."""

    async def main() -> tuple[Heard, list[float]]:
        provider = scripted.make(kind, **settings)
        request = Trial(modality=provider.info.modality, said=Text(text, final=True)).request()
        request = type(request)(
            **{f: getattr(request, f) for f in request.__struct_fields__} | {"history": history}
        )
        loop = asyncio.get_running_loop()
        attempt = Attempt(provider, request)
        times: list[float] = []

        def noted(heard: Heard) -> bool:
            times.extend([round(loop.time() * 1000, 1)] * (len(heard.said) - len(times)))
            return heard.ended

        await attempt.heard.until(noted, 60_000, "it did not end")
        return attempt.heard, times

    return run_virtual(main())


def test_speech_is_what_is_loud_one_score_a_frame() -> None:
    async def main() -> None:
        attempt = Attempt(scripted.make("scripted-vad"), Trial(modality="vad").request())
        for frame in (*LOUD, *QUIET):
            attempt.feed(frame)
        assert attempt.heard.scores == [0.95] * 50 + [0.02] * 50
        attempt.feed(Audio(b"", 0, 0, end=True))
        assert len(attempt.heard.scores) == 100

    run_virtual(main())


@pytest.mark.parametrize("hz", [100, 440, 615, 1_000, 1_230, 2_000])
def test_no_tone_hides_between_the_samples_that_are_looked_at(hz: int) -> None:
    from rspp.testing.scripted.tts import tone
    from rspp.testing.scripted.vad import loud, quiet_bytes

    second = tone(hz, 16_000, 4_000)
    assert all(loud(second[at : at + 640], quiet_bytes(2)) for at in range(0, len(second), 640))


def test_a_frame_costs_the_vad_less_than_two_microseconds() -> None:
    """Best of several rounds, for a busy machine only ever adds."""

    class Sink:
        def score(self, probability: float) -> None: ...
        def accepted(self) -> None: ...

    call = scripted.make("scripted-vad").begin(Trial(modality="vad").request(), Sink())  # type: ignore[arg-type]
    event = event_of(LOUD[0])
    best = float("inf")
    for _ in range(20):
        since = time.perf_counter()
        for _ in range(2_000):
            call.feed(event)
        best = min(best, (time.perf_counter() - since) / 2_000)
    assert best < 2e-6


def test_the_end_of_a_turn_is_a_pause_after_speech() -> None:
    async def main() -> None:
        attempt = Attempt(
            scripted.make("scripted-end-of-turn", pause_ms=200), Trial(modality="end_of_turn").request()
        )
        for frame in QUIET:
            attempt.feed(frame)
        assert attempt.heard.scores == []
        for frame in (*LOUD, *QUIET[:9]):
            attempt.feed(frame)
        assert attempt.heard.scores == []
        attempt.feed(QUIET[9])
        assert attempt.heard.scores == [0.95]
        for frame in QUIET[:10]:
            attempt.feed(frame)
        assert len(attempt.heard.scores) == 3

    run_virtual(main())


def test_a_recogniser_grows_its_partials_with_the_speech_and_gives_a_final_an_utterance() -> None:
    async def main() -> None:
        provider = scripted.make("scripted-stt", texts=["one two three four five", "next"], final_ms=60)
        attempt = Attempt(provider, Trial(modality="stt").request())
        for frame in LOUD:
            attempt.feed(frame)
        assert [t.text for t in attempt.heard.texts] == [
            "one two",
            "one two three four",
            "one two three four five",
        ]
        attempt.end(last=False)
        await asyncio.sleep(0.059)
        assert len(attempt.heard.texts) == 3
        await asyncio.sleep(0.002)
        attempt.end(last=False)
        await asyncio.sleep(0.1)
        for frame in LOUD[:10]:
            attempt.feed(frame)
        attempt.end(last=True)
        await asyncio.sleep(0.1)
        finals = [(t.segment, t.text) for t in attempt.heard.texts if t.final]
        assert finals == [(0, "one two three four five"), (1, ""), (2, "next")]
        assert attempt.heard.ends == ["finished"]

    run_virtual(main())


def test_a_model_gives_its_first_token_after_its_latency_and_the_rest_at_its_rate() -> None:
    heard, times = ask("scripted-llm", "hi", answers=["I am here."], first_ms=200, tokens_per_s=20)
    assert "".join(t.text for t in heard.texts) == "I am here."
    assert times == pytest.approx([0, 200, 250, 300, 350], abs=0.5)
    assert heard.said[-1].value == 3


def test_answers_follow_from_the_conversation_alone() -> None:
    def answer(*earlier: str) -> str:
        history = tuple(Message("user", text) for text in earlier)
        return "".join(t.text for t in ask("scripted-llm", "now", history, answers=["a", "b"])[0].texts)

    assert [answer(), answer("x"), answer("x", "y"), answer("x", "now")] == ["a", "b", "a", "b"]
    assert "".join(t.text for t in ask("scripted-llm", "hello")[0].texts) == "You said: hello"


def test_a_voice_is_as_long_as_its_text_and_faster_than_real_time() -> None:
    heard, times = ask("scripted-tts", "x" * 50, ms_per_character=50, speed=10, first_ms=100, rate=24_000)
    assert sum(a.samples for a in heard.audio) == 24_000 * 2.5
    assert all(a.rate == 24_000 for a in heard.audio)
    assert times[-1] == pytest.approx(100 + 250, abs=1)
    joined = b"".join(a.data for a in heard.audio)
    assert (
        joined[:48_000] == joined[48_000:96_000]
    )  # a tone, unbroken from chunk to chunk and second to second


def test_a_text_that_is_too_long_is_refused() -> None:
    heard, _ = ask("scripted-tts", "x" * 11, text_characters_max=10)
    assert heard.failure is not None
    assert (heard.failure.outcome, heard.failure.reason) == (OutcomeClass.BLOCKED, "text_too_long")


def test_a_provider_fails_as_often_as_it_is_told_and_then_works() -> None:
    async def main() -> list[str]:
        provider = scripted.make(
            "scripted-llm", faults={"fail_times": 2, "fail_outcome": "overload", "fail_retry_after_ms": 40}
        )
        ends = []
        for number in range(3):
            attempt = Attempt(provider, Trial(modality="llm", said=Text("hi")).request(number))
            await attempt.heard.until(lambda h: h.ended, 5_000, "it did not end")
            ends += attempt.heard.ends
            if attempt.heard.failure:
                assert attempt.heard.failure.retry_after_ms == 40
        return ends

    assert run_virtual(main()) == ["failed", "failed", "finished"]


def test_a_setting_that_is_not_there_is_told_with_its_path() -> None:
    with pytest.raises(MisuseError, match=r"at scripted-tts: .*loudness"):
        scripted.make("scripted-tts", loudness=3)
    with pytest.raises(MisuseError, match=r"at scripted-tts.faults: .*cancel"):
        scripted.make("scripted-tts", faults={"cancel": "perhaps"})
