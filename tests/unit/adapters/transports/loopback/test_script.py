"""What is speech in a recording, and what a recording becomes."""

from __future__ import annotations

import random

import pytest

from rspp.adapters.transports.loopback import ask, spoken_until_ms
from rspp.adapters.transports.loopback.script import FRAME_BYTES, speech_frames
from rspp.media.wav import Sound
from rspp.testing.scripted.tts import tone


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_a_recording_of_any_rate_lasts_as_long_as_before(rate: int) -> None:
    say = ask("q", Sound(tone(300, rate, 9_000), rate))
    assert say.frames == 50
    assert len(say.frame(0)) == len(say.frame(49)) == FRAME_BYTES


def test_speech_ends_where_the_sound_does_not_where_the_file_does() -> None:
    sound = bytes(9_600) + tone(300, 16_000, 6_000) + bytes(32_000)
    assert spoken_until_ms(ask("q", Sound(sound, 16_000))) == pytest.approx(1_300, abs=20)


def test_steady_noise_below_a_voice_is_no_speech() -> None:
    source = random.Random(1)
    noise = b"".join(source.randint(-150, 150).to_bytes(2, "little", signed=True) for _ in range(16_000))
    voiced = speech_frames(noise + tone(300, 16_000, 8_000) + noise)
    assert not any(voiced[:49])
    assert all(voiced[51:99])
    assert not any(voiced[101:])


def test_silence_is_no_speech_and_a_recording_without_a_pause_is_all_of_it() -> None:
    assert not any(speech_frames(bytes(32_000)))
    assert all(speech_frames(tone(300, 16_000, 8_000)))
    assert speech_frames(b"") == ()
