"""The same sound at another rate: a low-pass filter cut into phases, fed in chunks of any size.

After any number of samples in, exactly `n * to // rate` samples have come out: no drift, and no click where chunks meet,
because the filter's memory runs on. The sound is late by half the filter, at most three milliseconds, so that nothing has to
wait for samples that are still to come.
"""

from __future__ import annotations

from math import gcd
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# Zero crossings of the filter on each side, at the lower rate. With this window the edge is 0.18 of the band wide and what
# folds back is 70 dB down; centred here, it leaves the band flat to 0.81 and has ended where folding begins.
CROSSINGS: Final = 24
BETA: Final = 7.0
CUTOFF: Final = 0.90


class Resampler:
    """One stream from one rate to another."""

    __slots__ = ("_down", "_history", "_in", "_margin", "_out", "_phases", "_taps", "_up")

    def __init__(self, rate: int, to: int) -> None:
        shared = gcd(rate, to)
        self._up, self._down = to // shared, rate // shared
        self._phases = _filters(self._up, self._down)
        self._taps = self._phases.shape[1]
        # A sample that is due only with the next chunk may stand a little before that chunk's first.
        self._margin = self._down // self._up + 1
        self._history = np.zeros(self._taps - 1 + self._margin, np.float32)
        self._in = self._out = 0

    @property
    def delay_samples(self) -> int:
        """How late the sound comes out, in samples of the rate that goes in."""
        return int(self._taps // 2)

    def process(self, pcm: bytes) -> bytes:
        """The next chunk, PCM16 mono in and out."""
        if self._up == self._down:
            return pcm
        fresh = np.frombuffer(pcm, np.int16).astype(np.float32)
        sound = np.concatenate((self._history, fresh))
        start = self._in
        self._in += len(fresh)
        due = self._in * self._up // self._down
        # Output k stands at k * down / up samples of the input, between two of them: the part behind picks the phase.
        places = np.arange(self._out, due, dtype=np.int64) * self._down
        self._out = due
        self._history = sound[len(sound) - len(self._history) :]
        if not len(places):
            return b""
        windows = np.lib.stride_tricks.sliding_window_view(sound, self._taps)
        rows = places // self._up - start + self._margin
        made = np.einsum("kt,kt->k", windows[rows], self._phases[places % self._up], optimize=False)
        return to_pcm16(made)


def to_pcm16(sound: npt.NDArray[np.floating[Any]]) -> bytes:
    """Samples on the scale of 16 bits, rounded; what is louder than can be said is as loud as can be."""
    samples: npt.NDArray[np.int16] = np.clip(np.rint(sound), -32_768, 32_767).astype("<i2")
    return samples.tobytes()


def resample(pcm: bytes, rate: int, to: int) -> bytes:
    """A whole sound at another rate, neither late nor cut: as many samples as it lasts, rounded up."""
    if rate == to:
        return pcm
    stream = Resampler(rate, to)
    samples = len(pcm) // 2
    wanted = -(-samples * to // rate)
    late = stream.delay_samples * to // rate
    padded = pcm + bytes(2 * (stream.delay_samples + rate // to + 2))
    # A second at a time: each sample that comes out has a window of its own in memory, 200 times its size.
    second = 2 * rate
    made = b"".join(stream.process(padded[at : at + second]) for at in range(0, len(padded), second))
    return made[2 * late : 2 * (late + wanted)]


def _filters(up: int, down: int) -> Floats:
    """A row of taps for each phase, the newest sample last; each row passes a constant unchanged."""
    ratio = max(1.0, down / up)
    half = int(np.ceil(CROSSINGS * ratio))
    # How far each sample of the window lies from the moment that is asked for, which is `half` samples ago.
    behind = half - 1 - np.arange(2 * half)[None, :] + (np.arange(up) / up)[:, None]
    window = np.i0(BETA * np.sqrt(np.clip(1 - (behind / half) ** 2, 0, None)))
    taps = np.sinc(behind * CUTOFF / ratio) * window
    return np.asarray(taps / taps.sum(axis=1, keepdims=True), np.float32)
