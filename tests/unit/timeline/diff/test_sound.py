"""How alike two sounds are."""

from __future__ import annotations

import numpy as np
import pytest

from rspp.timeline.diff.sound import similarity

RATE = 16_000


def melody(seed: int, seconds: float = 1.5) -> np.ndarray:
    """Something like speech: tones of changing pitch and loudness, with pauses."""
    draw = np.random.default_rng(seed)
    parts = []
    for _ in range(int(seconds / 0.1)):
        t = np.arange(RATE // 10) / RATE
        pitch, loud = draw.uniform(150, 3000), draw.choice([0.0, 0.1, 0.4])
        parts.append(loud * np.sin(2 * np.pi * pitch * t))
    return np.concatenate(parts)


def pcm(samples: np.ndarray) -> bytes:
    return bytes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def alike(left: np.ndarray, right: np.ndarray) -> float:
    found = similarity(pcm(left), pcm(right), RATE, RATE)
    assert found is not None
    return found


def test_equal_samples_are_one_and_nothing_else_is() -> None:
    one = melody(1)
    assert alike(one, one) == 1.0
    other = one.copy()
    other[100] += 0.001
    assert 0.99 < alike(one, other) < 1.0


def test_noise_a_shift_and_another_loudness_change_little_and_another_sound_much() -> None:
    one = melody(1)
    noise = np.random.default_rng(2).normal(0, 0.0005, len(one))
    assert alike(one, one + noise) > 0.8
    assert alike(one, one * 0.8) > 0.95
    assert alike(one, np.concatenate([np.zeros(RATE // 5), one])) > 0.85
    assert alike(one, melody(9)) < 0.5


def test_it_is_the_same_from_both_sides() -> None:
    one, other = melody(1), melody(4)
    assert alike(one, other) == pytest.approx(alike(other, one), abs=0.02)


def test_half_of_it_is_less_like_it_than_all_of_it() -> None:
    one = melody(1)
    assert alike(one, one[: len(one) // 2]) < 0.9


def test_another_rate_of_the_same_sound_is_still_the_same_sound() -> None:
    t = np.arange(RATE) / RATE
    high = np.sin(2 * np.pi * 440 * t) * np.sin(2 * np.pi * 3 * t)
    low = high[::2]
    found = similarity(pcm(high), pcm(low), RATE, RATE // 2)
    assert found is not None
    assert found > 0.8


def test_silence_hurts_nobody() -> None:
    nothing = np.zeros(RATE)
    assert similarity(b"", b"", RATE, RATE) is None
    assert similarity(b"\0", b"\1\0\1", RATE, RATE) is None
    assert alike(nothing, nothing) == 1.0
    assert alike(nothing, np.zeros(RATE * 2)) < 1.0
    assert alike(nothing, melody(1)) == 0.0
    assert similarity(pcm(melody(1)), b"", RATE, RATE) == 0.0
