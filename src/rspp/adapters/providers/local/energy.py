"""`energy-vad`: speech is what is clearly louder than the quietest of the last moments. Needs no model and no package.

The noise floor is the lowest level of the last second and a half, so a steady fan becomes silence after that time, and
speech, which has a dip in every second, never does. It cannot tell a voice from any other sound that comes and goes:
where models may run, `local-silero` is the better ear.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Final

from rspp.contract.event import Audio, Event
from rspp.contract.streams import RATES_HZ
from rspp.contract.words import CancelMode, CancelReason, Codec, OutcomeClass
from rspp.host.ports import Answer, CallRequest, ProviderError, ProviderInfo
from rspp.media.level import mean_square

WINDOW_MS: Final = 20
FLOOR_MS: Final = 1_500
# Nothing below this level is speech, however quiet the room; and a call that begins with speech takes no floor above it.
LEVEL_DB_MIN: Final = -50.0
FIRST_FLOOR_DB: Final = -45.0
# This far above the floor it is as likely speech as not; each step further makes it e times more likely.
MARGIN_DB: Final = 9.0
STEP_DB: Final = 2.0
SILENT_DB: Final = -96.0


class Loudness:
    """One stream's levels, and how likely each window is speech."""

    __slots__ = ("_levels", "_smooth")

    def __init__(self, window_ms: int = WINDOW_MS) -> None:
        self._levels: deque[float] = deque(maxlen=max(1, FLOOR_MS // window_ms))
        self._smooth = SILENT_DB

    def probability(self, level_db: float) -> float:
        # Half of the level before: a single quiet window is no floor yet.
        self._smooth = level_db if not self._levels else (self._smooth + level_db) / 2
        self._levels.append(self._smooth)
        full = len(self._levels) == self._levels.maxlen
        lowest = min(self._levels)
        floor = lowest if full else min(lowest, FIRST_FLOOR_DB)
        above = level_db - max(floor + MARGIN_DB, LEVEL_DB_MIN)
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, above / STEP_DB))))


def level_db(window: bytes) -> float:
    """The level of 16 bit samples; 0 dB is full scale."""
    mean = mean_square(window)
    return max(SILENT_DB, 10 * math.log10(mean / 32_768**2)) if mean else SILENT_DB


class Levels:
    """Cuts a stream into windows and measures each; what is left over waits for the next chunk."""

    __slots__ = ("_held", "window_ms")

    def __init__(self, window_ms: int = WINDOW_MS) -> None:
        self.window_ms = window_ms
        self._held = b""

    def measure(self, audio: Audio) -> list[float]:
        if audio.codec is not Codec.PCM16 or len(audio.data) != 2 * audio.samples * audio.channels:
            raise ProviderError(
                OutcomeClass.BLOCKED, "audio_codec_unsupported", "send whole samples of pcm16"
            )
        size = 2 * audio.channels * audio.rate * self.window_ms // 1_000
        if size <= 0:
            raise ProviderError(OutcomeClass.BLOCKED, "audio_rate_unsupported", f"{audio.rate} Hz")
        data = self._held + audio.data
        whole = len(data) // size * size
        self._held = data[whole:]
        return [level_db(data[at : at + size]) for at in range(0, whole, size)]


class EnergyVad:
    """The provider."""

    def __init__(self, name: str, settings: Mapping[str, object]) -> None:
        del settings  # it has none
        self.info = ProviderInfo(name=name, modality="vad", version="1", rates=RATES_HZ)

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    def begin(self, request: CallRequest, answer: Answer) -> EnergyCall:
        del request
        answer.accepted()
        return EnergyCall(answer)


class EnergyCall:
    """One session's ear: a score for every 20 ms."""

    __slots__ = ("_answer", "_levels", "_loudness", "_over")

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._levels = Levels()
        self._loudness = Loudness()
        self._over = False

    def feed(self, event: Event) -> None:
        if self._over or not isinstance(event.payload, Audio):
            return
        try:
            for level in self._levels.measure(event.payload):
                self._answer.score(self._loudness.probability(level))
        except ProviderError as error:
            self._over = True
            self._answer.fail(error)

    def end(self, last: bool) -> None:
        if last and not self._over:
            self._over = True
            self._answer.finish()

    def throttle(self, on: bool) -> None: ...

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        del reason, mode
        if not self._over:
            self._over = True
            self._answer.stopped()

    def kill(self) -> None:
        self._over = True
