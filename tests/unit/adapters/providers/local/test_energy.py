"""Loudness tells speech from a quiet room and from steady noise, without any model."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Callable

import pytest

from rspp.adapters.providers.local.energy import LEVEL_DB_MIN, Loudness, level_db
from rspp.contract.event import Audio, Text
from rspp.contract.words import Codec, OutcomeClass
from rspp.testing.conformance.attempt import Attempt
from tests.unit.adapters.providers.local.driving import attempt, frames, made, silence

Noise = Callable[[float, int], bytes]


def scores(pcm: bytes, rate: int = 16_000, ms: int = 20) -> list[float]:
    async def main() -> list[float]:
        call = attempt(made("energy-vad"))
        for frame in frames(pcm, rate, ms):
            call.feed(frame)
        call.end(last=True)
        assert call.heard.ends == ["finished"]
        return call.heard.scores

    return asyncio.run(main())


def tone(ms: int, rate: int = 16_000) -> bytes:
    return array("h", (int(9_000 * math.sin(n / 12)) for n in range(rate * ms // 1_000))).tobytes()


def test_full_scale_is_0_db_and_silence_is_far_below() -> None:
    assert level_db(array("h", [32_767, -32_767] * 100).tobytes()) == pytest.approx(0, abs=0.01)
    assert level_db(bytes(200)) < LEVEL_DB_MIN
    assert level_db(b"") < LEVEL_DB_MIN


def test_silence_is_no_speech_and_a_loud_sound_is() -> None:
    got = scores(silence(1_000) + tone(500) + silence(500))

    assert max(got[:50]) < 0.1
    assert min(got[50:75]) > 0.9
    assert max(got[75:]) < 0.1


def test_speech_from_the_first_moment_is_heard() -> None:
    assert min(scores(tone(400))) > 0.9


def test_steady_noise_becomes_silence_and_a_voice_over_it_is_heard(noise: Noise) -> None:
    hum = noise(0.02, 4_000)
    loud = bytes(
        array("h", (a + b for a, b in zip(array("h", hum[:16_000]), array("h", tone(500)), strict=True)))
    )
    got = scores(hum + loud)

    assert max(got[100:200]) < 0.5  # two seconds later it is the room
    assert min(got[200:]) > 0.5


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_every_rate_gives_a_score_for_each_20_ms(rate: int) -> None:
    got = scores(bytes(2 * rate) + tone(500, rate), rate)

    assert len(got) == 75
    assert min(got[50:]) > 0.9


def test_frames_of_any_size_give_the_same_scores() -> None:
    sound = silence(300) + tone(300)

    assert scores(sound, ms=20) == scores(sound, ms=35)[: len(scores(sound, ms=20))]


@pytest.mark.parametrize(
    "audio",
    [
        Audio(b"\1", 1, 0),
        Audio(bytes(7), 1, 0, rate=0),
        Audio(bytes(320), 160, 0, codec=Codec.OPUS),
        Audio(b"", 0, 0, channels=0, rate=16_000),
    ],
)
def test_what_is_no_pcm_fails_the_call_once_and_it_hears_no_more(audio: Audio) -> None:
    async def main() -> Attempt:
        call = attempt(made("energy-vad"))
        call.feed(Text("no sound"))
        call.feed(audio)
        call.feed(frames(tone(40))[0])
        call.end(last=True)
        call.cancel()
        return call

    heard = asyncio.run(main()).heard
    assert heard.ends == ["failed"]
    assert heard.failure is not None
    assert heard.failure.outcome is OutcomeClass.BLOCKED
    assert heard.scores == []


def test_a_cancel_is_acknowledged_and_nothing_follows() -> None:
    async def main() -> Attempt:
        call = attempt(made("energy-vad"))
        call.cancel()
        call.feed(frames(tone(40))[0])
        call.end(last=True)
        return call

    assert [said.what for said in asyncio.run(main()).heard.said] == ["accepted", "stopped"]


def test_the_floor_is_bounded() -> None:
    ear = Loudness()
    for _ in range(10_000):
        ear.probability(-30.0)

    assert len(ear._levels) == 75
