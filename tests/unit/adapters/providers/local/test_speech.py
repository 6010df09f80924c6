"""The voice speaks, the recogniser understands it, and neither says what nobody said."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence

import pytest

from rspp.adapters.providers.local.hibari import CHUNK_MS, VOICE_RATE_HZ, trimmed
from rspp.adapters.providers.local.log_mel import LogMel
from rspp.adapters.providers.local.sound import Samples, to_float
from rspp.contract.event import Audio, Text
from rspp.contract.streams import AudioStreamCheck, TextStreamCheck
from rspp.contract.words import OutcomeClass
from rspp.host.ports import AnyProvider
from rspp.kernel.listening import words_of
from rspp.testing.conformance.attempt import Attempt, Heard
from tests.unit.adapters.providers.local.driving import (
    ANSWER_MS_MAX,
    Say,
    attempt,
    ended,
    frames,
    opened,
    silence,
)

SENTENCES = (
    "Hello there, can you tell me what time it is?",
    "I would like to book a table for two people on Friday evening.",
)

pytestmark = pytest.mark.usefixtures("models")


async def hear(call: Attempt, pcm: bytes) -> None:
    for frame in frames(pcm):
        call.feed(frame)
        await asyncio.sleep(0)


async def final(call: Attempt, number: int) -> Text:
    """Ask for a final and wait for it: it is the one of this segment."""
    call.end(last=False)
    await call.heard.until(lambda h: len(_finals(h)) > number, ANSWER_MS_MAX, f"no final {number}")
    return _finals(call.heard)[number]


def _finals(heard: Heard) -> list[Text]:
    return [text for text in heard.texts if text.final]


def word_errors(said: str, got: str) -> float:
    """Words wrong, missing or too many, for each word that was said."""
    one, other = words_of(said), words_of(got)
    row: Sequence[int] = range(len(other) + 1)
    for n, word in enumerate(one, 1):
        after = [n]
        for m, heard in enumerate(other, 1):
            after.append(min(row[m] + 1, after[-1] + 1, row[m - 1] + (word != heard)))
        row = after
    return row[-1] / len(one)


@pytest.mark.slow
def test_what_the_voice_says_is_understood_and_silence_is_not(
    say: Say, noise: Callable[[float, int], bytes]
) -> None:
    """One session: two sentences, then silence, then noise; partials go forward and each end has its final."""

    async def main() -> tuple[list[Text], Heard]:
        async with opened("local-whisper") as provider:
            call = attempt(provider)
            finals = []
            sounds = [silence(800) + say(text) + silence(300) for text in SENTENCES]
            for number, sound in enumerate((*sounds, silence(3_000), noise(0.01, 3_000), b"")):
                await hear(call, sound)
                finals.append(await final(call, number))
            call.end(last=True)
            await ended(call)
            return finals, call.heard

    finals, heard = asyncio.run(main())

    for said, got in zip(SENTENCES, finals, strict=False):
        assert word_errors(said, got.text) <= 0.1
    assert [text.text for text in finals[len(SENTENCES) :]] == ["", "", ""]
    check = TextStreamCheck()
    assert [violation for text in heard.texts for violation in check.feed(text)] == []
    assert {text.role for text in heard.texts} == {"user"}
    assert heard.ends == ["finished"]


@pytest.mark.slow
def test_partials_grow_while_the_caller_speaks_and_the_final_is_there_when_it_is_asked_for(say: Say) -> None:
    async def main() -> Heard:
        async with opened("local-whisper") as provider:
            call = attempt(provider)
            for frame in frames(say(SENTENCES[1]) + silence(400)):
                call.feed(frame)
                await asyncio.sleep(0.02)
            await call.heard.until(
                lambda h: word_errors(SENTENCES[1], h.texts[-1].text) < 0.2, ANSWER_MS_MAX, "no whole partial"
            )
            await final(call, 0)
            call.cancel()
            return call.heard

    heard = asyncio.run(main())
    lengths = [len(words_of(text.text)) for text in heard.texts]
    assert len(lengths) >= 3
    assert lengths[0] < lengths[-1]
    # The last partial was of the pause, and the final repeats it without another decode.
    assert heard.texts[-1].text == heard.texts[-2].text
    assert heard.ends == ["stopped"]


@pytest.mark.slow
def test_sessions_share_the_recogniser_without_hearing_each_other(say: Say) -> None:
    async def one(provider: AnyProvider, text: str) -> str:
        call = attempt(provider)
        await hear(call, silence(200) + say(text) + silence(200))
        got = await final(call, 0)
        call.end(last=True)
        await ended(call)
        return got.text

    async def main() -> list[str]:
        async with opened("local-whisper") as provider:
            return list(await asyncio.gather(*(one(provider, text) for text in SENTENCES * 2)))

    for said, got in zip(SENTENCES * 2, asyncio.run(main()), strict=True):
        assert word_errors(said, got) <= 0.1


@pytest.mark.slow
def test_a_model_or_language_that_is_not_open_is_refused() -> None:
    async def main() -> list[Heard]:
        async with opened("local-whisper") as provider:
            configs: list[dict[str, object]] = [{"model": "large"}, {"language": "de"}]
            calls = [attempt(provider, config=config) for config in configs]
            return [call.heard for call in calls]

    for heard, reason in zip(asyncio.run(main()), ("model_unknown", "language_unknown"), strict=True):
        assert heard.failure is not None
        assert (heard.failure.outcome, heard.failure.reason) == (OutcomeClass.BLOCKED, reason)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000])
def test_the_voice_gives_whole_chunks_in_order_and_no_silence_before_them(rate: int) -> None:
    async def main() -> Heard:
        async with opened("local-hibari", {"rate_hz": rate}) as provider:
            call = attempt(provider, Text("Your table is booked. See you on Friday!", role="assistant"))
            call.end(last=True)
            await ended(call)
            return call.heard

    heard = asyncio.run(main())
    check = AudioStreamCheck()
    assert [violation for audio in heard.audio for violation in check.feed(audio)] == []
    assert {audio.rate for audio in heard.audio} == {rate}
    assert max(audio.samples for audio in heard.audio) == rate * CHUNK_MS // 1_000
    assert loudest(heard.audio[0]) > 0.02
    assert 2 < sum(audio.samples for audio in heard.audio) / rate < 5
    assert heard.ends == ["finished"]


@pytest.mark.slow
def test_the_rate_of_speech_is_obeyed_and_what_cannot_be_said_is_no_sound() -> None:
    async def main() -> list[Heard]:
        async with opened("local-hibari") as provider:
            calls = [
                attempt(provider, Text("Your table is booked."), {"rate": 0.8}),
                attempt(provider, Text("Your table is booked."), {"rate": 1.5}),
                attempt(provider, Text("...")),
                attempt(provider, Text("Hello."), {"voice": "nobody"}),
                attempt(provider),
            ]
            for call in calls:
                call.end(last=True)
                await ended(call)
            return [call.heard for call in calls]

    slow, fast, nothing, nobody, empty = asyncio.run(main())
    assert len(slow.audio) > 1.3 * len(fast.audio)
    assert (nothing.audio, nothing.ends) == ([], ["finished"])
    assert nobody.failure is not None
    assert nobody.failure.reason == "voice_unknown"
    assert empty.failure is not None


@pytest.mark.slow
def test_a_voice_that_is_told_to_stop_stops() -> None:
    async def main() -> Heard:
        async with opened("local-hibari") as provider:
            call = attempt(provider, Text("One sentence. " * 40, role="assistant"))
            await call.heard.until(lambda h: h.chunks, ANSWER_MS_MAX, "no sound")
            call.cancel()
            await ended(call)
            await asyncio.sleep(0.1)
            return call.heard

    heard = asyncio.run(main())
    assert heard.ends == ["stopped"]
    assert heard.after_the_end() == []


def test_silence_around_a_sound_is_cut_and_the_sound_is_whole() -> None:
    pad, tone = [0] * (VOICE_RATE_HZ // 2), [8_000, -8_000] * (VOICE_RATE_HZ // 4)
    sound: Samples = to_float(array("h", [*pad, *tone, *pad]).tobytes())

    kept = trimmed(sound)

    assert len(kept) == VOICE_RATE_HZ * (500 + 30 + 120) // 1_000
    assert (abs(kept) > 0.1).sum() == len(tone)
    assert len(trimmed(sound[: len(pad)])) == 0
    assert len(trimmed(sound[:0])) == 0


def test_features_are_80_bands_every_10_ms_and_a_tone_stands_in_its_band() -> None:
    samples = array("h", (8_000 if n % 16 < 8 else -8_000 for n in range(16_000))).tobytes()  # 1 kHz
    features = LogMel().features(to_float(samples))

    assert features.shape == (80, 100)
    assert features[:, 50].argmax() in (24, 25, 26)  # 15 mel of 45, in 81 steps
    assert float(features.max() - features.min()) <= 2.0 + 1e-6


def loudest(audio: Audio) -> float:
    return max(map(abs, array("h", audio.data))) / 32_768
