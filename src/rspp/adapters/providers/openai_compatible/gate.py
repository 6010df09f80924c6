"""One utterance, held until it is asked for: what is quiet is not sent, what is too long loses its beginning."""

from __future__ import annotations

import io
import wave
from collections import deque
from typing import Final

from rspp.adapters.providers.openai_compatible.settings import SttSettings
from rspp.media.level import mean_square

BYTES_PER_SAMPLE: Final = 2
FULL_SCALE: Final = 32768.0


class Utterance:
    """Audio since the last final, once there was speech in it; before that only the lead-in."""

    def __init__(self, settings: SttSettings) -> None:
        self._floor = (FULL_SCALE * 10 ** (settings.gate_dbfs / 20)) ** 2
        self._speech_ms_min = settings.speech_ms_min
        self._lead_in_ms = settings.lead_in_ms
        self._ms_max = settings.utterance_ms_max
        self._frames: deque[tuple[bytes, float]] = deque()  # bounded: utterance_ms_max, the oldest goes
        self._held_ms = 0.0
        self._loud_ms = 0.0
        self.rate = 0

    @property
    def spoken(self) -> bool:
        """Was there enough above the gate to be a word?"""
        return self._loud_ms > 0 and self._loud_ms >= self._speech_ms_min

    def add(self, data: bytes, rate: int) -> None:
        self.rate = rate
        data = data[: len(data) & ~1]
        if not data:
            return
        ms = len(data) / BYTES_PER_SAMPLE * 1000 / rate
        if mean_square(data) >= self._floor:
            self._loud_ms += ms
        self._frames.append((data, ms))
        self._held_ms += ms
        room = self._ms_max if self.spoken else self._lead_in_ms + self._speech_ms_min
        while self._held_ms > room and len(self._frames) > 1:
            self._held_ms -= self._frames.popleft()[1]

    def wav(self) -> bytes:
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(BYTES_PER_SAMPLE)
            out.setframerate(self.rate)
            out.writeframes(b"".join(data for data, _ in self._frames))
        return file.getvalue()

    def clear(self) -> None:
        self._frames.clear()
        self._held_ms = self._loud_ms = 0.0
