"""`local-hibari`: speaks whole sentences, quickly, and hands the sound on in tenths of a second so that a stop is prompt.

The model puts silence before and after everything it says; most of it is cut, by level, because a caller hears it as
hesitation. What is left after the words is the pause between two sentences.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
import numpy as np

from rspp.adapters.providers.local.runtime import runtime
from rspp.adapters.providers.local.settings import settings_of
from rspp.adapters.providers.local.sound import Samples, refused, to_pcm
from rspp.adapters.providers.local.workers import Workers
from rspp.contract.event import Audio, Text
from rspp.contract.words import OutcomeClass
from rspp.host.ports import CallRequest, LiveCall, ProviderError, ProviderInfo
from rspp.media.resample import resample

VOICE: Final = "heart"  # the one in the package
VOICE_RATE_HZ: Final = 24_000
CHUNK_MS: Final = 100
LEVEL_MS: Final = 10
# The softest beginning of a word is louder than this; the model's silence is ten times softer.
LEVEL_MIN: Final = 0.002
LEAD_MS: Final = 30
PAUSE_MS: Final = 120
SEED: Final = 0  # the same words sound the same


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of `provider_settings`."""

    rate_hz: Literal[8_000, 16_000, 24_000, 48_000] = 16_000
    workers: int = 1
    waiting_max: int = 32
    queue_ms_max: int = 2_000


class LocalHibari:
    """The provider: one voice for all sessions."""

    def __init__(self, name: str, settings: Mapping[str, object]) -> None:
        self.settings = settings_of(name, settings, Settings)
        self.info = ProviderInfo(
            name=name,
            modality="tts",
            version="0.2",
            streaming=False,
            rates=(self.settings.rate_hz,),
            model=f"hibari/{VOICE}",
        )
        self._voice: Any = None
        self._workers: Workers | None = None

    async def open(self) -> None:
        self._voice = await asyncio.to_thread(_load)
        self._workers = Workers(
            self.info.name,
            threads=self.settings.workers,
            waiting_max=self.settings.waiting_max,
            queue_ms_max=self.settings.queue_ms_max,
        )

    async def run(self, call: LiveCall) -> None:
        voice, workers = self._voice, self._workers
        if voice is None or workers is None:
            raise ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, "provider_not_open", retryable=True)
        text, speed = _asked(call.request)
        call.accepted()
        if not any(letter.isalnum() for letter in text):
            return  # dots and dashes would come out as breath
        rate_hz = self.settings.rate_hz
        step = rate_hz * CHUNK_MS // 1_000
        spoken = 0
        for phonemes in await workers.run(lambda: list(voice.phonemize(text))):
            pcm = await workers.run(lambda p=phonemes: _speak(voice, p, speed, rate_hz))  # type: ignore[misc]
            for at in range(0, len(pcm), 2 * step):
                if call.stopping:
                    return
                chunk = pcm[at : at + 2 * step]
                await call.produce(Audio(chunk, len(chunk) // 2, spoken, rate=rate_hz))
                spoken += len(chunk) // 2

    async def close(self) -> None:
        if self._workers is not None:
            workers, self._workers = self._workers, None
            await workers.close()
        self._voice = None


def _load() -> Any:
    """The voice, with everything loaded that it would else load while a caller waits."""
    voice = runtime("hibari").Hibari(voice=VOICE)
    voice("Ready.", seed=SEED)
    return voice


def _asked(request: CallRequest) -> tuple[str, float]:
    """The text, and how fast to speak it."""
    payload = request.event.payload if request.event is not None else None
    if not isinstance(payload, Text):
        raise refused("payload_mismatch", "a voice speaks a text")
    voice = request.config.get("voice")
    if voice not in (None, VOICE):
        raise refused("voice_unknown", f"there is no voice {voice} on this machine; use {VOICE}")
    rate = request.config.get("rate", 1.0)
    return payload.text, float(rate) if isinstance(rate, (int, float)) else 1.0


def _speak(voice: Any, phonemes: str, speed: float, rate_hz: int) -> bytes:
    """One sentence, in a worker thread."""
    sound = trimmed(voice.from_phonemes(phonemes, speed, SEED))
    return resample(to_pcm(sound), VOICE_RATE_HZ, rate_hz)


def trimmed(sound: Samples) -> Samples:
    """From just before the first that can be heard to a pause after the last."""
    step = VOICE_RATE_HZ * LEVEL_MS // 1_000
    whole = sound[: len(sound) // step * step].reshape(-1, step)
    loud = np.flatnonzero(np.sqrt((whole**2).mean(axis=1)) >= LEVEL_MIN) if len(whole) else np.empty(0)
    if not len(loud):
        return sound[:0]
    begin = max(0, int(loud[0]) - LEAD_MS // LEVEL_MS) * step
    end = (int(loud[-1]) + 1 + PAUSE_MS // LEVEL_MS) * step
    return sound[begin:end]
