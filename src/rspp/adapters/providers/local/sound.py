"""Sound as models take it: 16 kHz, mono, whole samples. What cannot be made into that is refused by name."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rspp.contract.event import Audio
from rspp.contract.streams import RATES_HZ
from rspp.contract.words import Codec, OutcomeClass
from rspp.host.ports import ProviderError
from rspp.media.resample import Resampler

RATE_HZ: Final = 16_000
Samples = NDArray[np.float32]


class Ear:
    """One stream's audio as 16 kHz mono PCM16, whatever rate it comes at; a change of rate is followed."""

    __slots__ = ("_rate", "_resampler")

    def __init__(self) -> None:
        self._rate = RATE_HZ
        self._resampler: Resampler | None = None

    def hear(self, audio: Audio) -> bytes:
        check_pcm(audio)
        pcm = audio.data if audio.channels == 1 else _mono(audio.data)
        if audio.rate != self._rate:
            self._rate = audio.rate
            self._resampler = None if audio.rate == RATE_HZ else Resampler(audio.rate, RATE_HZ)
        return pcm if self._resampler is None else self._resampler.process(pcm)


def check_pcm(audio: Audio) -> None:
    """Only whole PCM samples of one or two channels, at a rate that is served, are taken."""
    if audio.codec is not Codec.PCM16:
        raise refused("audio_codec_unsupported", f"{audio.codec} was sent; local models take pcm16")
    if audio.channels not in (1, 2):
        raise refused("audio_channels_unsupported", f"{audio.channels} channels were sent; send one or two")
    if audio.rate not in RATES_HZ:
        raise refused("audio_rate_unsupported", f"{audio.rate} Hz is not one of {RATES_HZ}")
    if len(audio.data) != 2 * audio.samples * audio.channels:
        raise refused("audio_size_mismatch", f"{len(audio.data)} bytes for {audio.samples} samples")


def refused(code: str, message: str) -> ProviderError:
    """What will not be better at the next try."""
    return ProviderError(OutcomeClass.BLOCKED, code, message)


def to_float(pcm: bytes) -> Samples:
    """Samples between -1 and 1."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32_768)


def to_pcm(samples: Samples) -> bytes:
    return np.clip(np.rint(samples * 32_767), -32_768, 32_767).astype("<i2").tobytes()


def _mono(data: bytes) -> bytes:
    both = np.frombuffer(data, "<i2").reshape(-1, 2).astype(np.int32)
    return bytes((both.sum(axis=1) // 2).astype("<i2").tobytes())
