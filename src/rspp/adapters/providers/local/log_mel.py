"""The features that Whisper and its descendants hear: 80 mel bands of 25 ms, every 10 ms, on a logarithmic scale."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rspp.adapters.providers.local.sound import RATE_HZ, Samples

BANDS: Final = 80
HOP: Final = 160
_SPAN: Final = 400
# Where the mel scale turns from a line into a logarithm, and how fast it then grows (the Slaney form).
_TURN_HZ: Final = 1_000.0
_TURN_MEL: Final = 15.0
_GROWTH: Final = np.log(6.4) / 27


class LogMel:
    """Makes features; the tables are made once."""

    def __init__(self) -> None:
        self._bands = _bands()
        self._window = np.hanning(_SPAN + 1)[:-1].astype(np.float32)

    def features(self, sound: Samples) -> NDArray[np.float32]:
        """(80, samples / 160)."""
        padded = np.pad(sound, _SPAN // 2, mode="reflect")
        spans = np.lib.stride_tricks.sliding_window_view(padded, _SPAN)[::HOP][: len(sound) // HOP]
        spectrum = np.fft.rfft(spans * self._window, axis=1)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        levels = np.log10(np.maximum(self._bands @ power.T, 1e-10))
        return np.asarray((np.maximum(levels, levels.max() - 8.0) + 4.0) / 4.0, np.float32)


def _bands() -> NDArray[np.float32]:
    """One triangle a band, of equal area, over the spectrum's bins."""
    bins = np.fft.rfftfreq(_SPAN, 1 / RATE_HZ)
    edges = _hz(np.linspace(0.0, _mel(RATE_HZ / 2), BANDS + 2))
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (peak - low), (high - bins) / (high - peak)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * 2 / (high - low), np.float32)


def _mel(hz: float) -> float:
    return _TURN_MEL * hz / _TURN_HZ if hz < _TURN_HZ else _TURN_MEL + float(np.log(hz / _TURN_HZ) / _GROWTH)


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    line = mel * _TURN_HZ / _TURN_MEL
    return np.where(mel < _TURN_MEL, line, _TURN_HZ * np.exp((mel - _TURN_MEL) * _GROWTH))
