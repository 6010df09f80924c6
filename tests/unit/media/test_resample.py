from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspp.media.resample import Resampler, resample

RATES = (8_000, 16_000, 24_000, 48_000)
PAIRS = [pair for pair in itertools.product(RATES, RATES) if pair[0] != pair[1]]


def tone(rate: int, hertz: float, seconds: float = 0.5) -> bytes:
    return (
        (10_000 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype("<i2").tobytes()
    )


def samples(pcm: bytes) -> npt.NDArray[np.float64]:
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def level_db(sound: npt.NDArray[np.float64]) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(sound**2)) / (10_000 / np.sqrt(2)) + 1e-12))


@pytest.mark.parametrize(("rate", "to"), PAIRS)
def test_a_tone_stays_what_it_was_and_where_it_was(rate: int, to: int) -> None:
    made = samples(resample(tone(rate, 1_000), rate, to))
    wanted = samples(tone(to, 1_000))
    assert len(made) == len(wanted)
    inner = slice(to // 50, -to // 50)
    assert level_db(made[inner] - wanted[inner]) < -70


@pytest.mark.parametrize(("rate", "to"), [pair for pair in PAIRS if pair[0] > pair[1]])
def test_what_the_lower_rate_cannot_carry_is_gone(rate: int, to: int) -> None:
    made = samples(resample(tone(rate, to / 2 * 1.1), rate, to))
    assert level_db(made[to // 50 : -to // 50]) < -65


@pytest.mark.parametrize(("rate", "to"), PAIRS)
def test_speech_up_to_most_of_the_band_is_kept(rate: int, to: int) -> None:
    edge = min(rate, to) / 2 * 0.8
    made = samples(resample(tone(rate, edge), rate, to))
    assert abs(level_db(made[to // 50 : -to // 50])) < 0.3


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([*PAIRS, (22_050, 16_000), (44_100, 8_000)]),
    st.lists(st.integers(0, 700), min_size=1, max_size=12),
)
def test_chunks_of_any_size_give_the_sound_of_one_chunk_and_the_exact_count(
    pair: tuple[int, int], sizes: list[int]
) -> None:
    rate, to = pair
    pcm = tone(rate, 440, 1.0)[: 2 * sum(sizes)]
    whole = Resampler(rate, to).process(pcm)
    stream, made, place = Resampler(rate, to), b"", 0
    for size in sizes:
        chunk = pcm[2 * place : 2 * (place + size)]
        place += len(chunk) // 2
        made += stream.process(chunk)
        assert len(made) // 2 == place * to // rate
    # The sum of a window may be added up in another order: a part of a step, no click.
    assert len(made) == len(whole)
    assert np.max(np.abs(samples(made) - samples(whole)), initial=0) <= 1


def test_an_hour_of_frames_does_not_drift() -> None:
    stream, count = Resampler(44_100, 16_000), 0
    for _ in range(2_000):
        count += len(stream.process(bytes(2 * 883))) // 2
    assert count == 2_000 * 883 * 16_000 // 44_100


def test_loud_noise_is_clipped_and_never_wraps() -> None:
    square = np.repeat(np.array([32_767, -32_768] * 200, "<i2"), 10)
    made = samples(resample(square.tobytes(), 8_000, 48_000))
    inside = made[600:-600].reshape(-1, 60)[:, 20:40]
    assert np.all(np.abs(inside) > 20_000)


def test_the_same_rate_changes_nothing() -> None:
    assert Resampler(16_000, 16_000).process(b"\x01\x02") == b"\x01\x02"
    assert resample(b"\x01\x02", 8_000, 8_000) == b"\x01\x02"
