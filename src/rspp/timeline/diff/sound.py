"""How alike two sounds are, from 0 to 1: does the same energy stand in the same bands at the same times?

Both are cut into windows of 25 ms every 10 ms; each window is told by the logarithm of its energy in 24 bands. The second is
laid where it fits the first best, at most half a second off, and the two are correlated over all windows and bands. What one
has and the other has not counts as unlike. 1 is said of equal samples alone, and never of anything else.

It is a measure of sameness, not of quality: another voice that says the same is about 0.3 to 0.7, other words in the same voice
less, a copy with a little noise more than 0.9.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np

WINDOW_MS: Final = 25
HOP_MS: Final = 10
BANDS: Final = 24
LAG_MS_MAX: Final = 500
LOWEST_HZ: Final = 80.0
# Below full scale by so much nothing is heard: quieter windows count as this quiet.
FLOOR_DB: Final = -70.0
# Longer sounds are compared as far as this: enough for a turn, and bounded.
SECONDS_MAX: Final = 120
UNEQUAL_MOST: Final = 0.9999

Array = Any


def similarity(left: bytes, right: bytes, rate_left: int, rate_right: int) -> float | None:
    """How alike two pieces of 16-bit mono sound are; None where there is not even one window of either."""
    if rate_left == rate_right and left == right:
        return 1.0 if left else None
    a, b = _bands(left, rate_left), _bands(right, rate_right)
    if not len(a) or not len(b):
        return None if len(a) == len(b) else 0.0
    lag = _lag(a.mean(axis=1), b.mean(axis=1))
    a, b = _laid(a, b, lag)
    return round(min(max(_correlation(a, b), 0.0), UNEQUAL_MOST), 4)


def _bands(data: bytes, rate: int) -> Array:
    """Windows by bands, in decibels above the floor: 0 is silence."""
    samples = (
        np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2")[: rate * SECONDS_MAX].astype(np.float64)
        / 32768
    )
    size, hop = rate * WINDOW_MS // 1000, rate * HOP_MS // 1000
    if len(samples) < size:
        return np.zeros((0, BANDS))
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop] * np.hanning(size)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2 / size
    # Bands as wide as the ear's: equal steps of the mel scale, up to what a telephone carries.
    mel = np.linspace(_mel(LOWEST_HZ), _mel(min(4000.0, rate / 2)), BANDS + 1)
    edges = np.searchsorted(np.fft.rfftfreq(size, 1 / rate), 700 * (10 ** (mel / 2595) - 1))
    sums = np.stack(
        [power[:, first : max(last, first + 1)].mean(axis=1) for first, last in pairwise(edges)],
        axis=1,
    )
    return np.maximum(10 * np.log10(sums + 1e-12), FLOOR_DB) - FLOOR_DB


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _lag(a: Array, b: Array) -> int:
    """By how many windows the second is late, as its loudness says."""
    most = LAG_MS_MAX // HOP_MS
    scores = []
    for lag in range(-most, most + 1):
        first, second = (a[: len(a) - max(0, -lag)], b[lag:]) if lag >= 0 else (a[-lag:], b)
        count = min(len(first), len(second))
        # Of equal fits the least lag.
        scores.append(
            (float(first[:count] @ second[:count]), -abs(lag), lag) if count else (0.0, -abs(lag), lag)
        )
    return max(scores)[2]


def _laid(a: Array, b: Array, lag: int) -> tuple[Array, Array]:
    """Both in one frame, filled up with silence."""
    first, second = max(0, -lag), max(0, lag)
    b, a = (b[second:], a) if lag >= 0 else (np.concatenate([np.zeros((first, BANDS)), b]), a)
    count = max(len(a), len(b))

    def filled(x: Array) -> Array:
        return np.concatenate([x, np.zeros((count - len(x), BANDS))])

    return filled(a), filled(b)


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    if size == 0:
        return UNEQUAL_MOST if float(abs(a - b).sum()) == 0 else 0.0
    return float((a * b).sum()) / size
