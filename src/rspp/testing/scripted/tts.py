"""A voice that hums: sound as long as the text would take to say, in chunks, faster than it is played.

The tone is a whole number of waves a second made once, so a chunk costs a slice. Nothing is kept of what was given.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from rspp.contract.event import Audio, Text
from rspp.contract.words import OutcomeClass
from rspp.host.ports import Answer, Call, CallRequest, ProviderError, ProviderInfo
from rspp.testing.scripted.paced import Paced, Refusing

Positive = Annotated[float, Meta(gt=0)]


class TtsScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`speed` is how many times faster than real time the chunks come; `tone_hz` 0 is silence."""

    ms_per_character: Positive = 60
    first_ms: Annotated[float, Meta(ge=0)] = 100
    chunk_ms: Annotated[int, Meta(ge=10, le=1_000)] = 100
    speed: Positive = 10
    rate: Literal[8_000, 16_000, 24_000, 48_000] = 16_000
    tone_hz: Annotated[int, Meta(ge=0, le=4_000)] = 220
    amplitude: Annotated[int, Meta(ge=0, le=32_767)] = 8_000
    text_characters_max: Annotated[int, Meta(ge=1, description="A longer text is refused.")] = 20_000


class ScriptedTts:
    """Speaks any text as a tone."""

    def __init__(self, name: str, script: TtsScript) -> None:
        self.info = ProviderInfo(name=name, modality="tts", version="v1", rates=(script.rate,))
        self._script = script
        self._second = tone(script.tone_hz, script.rate, script.amplitude)

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    def begin(self, request: CallRequest, answer: Answer) -> Call:
        said = request.event.payload if request.event else None
        if not isinstance(said, Text):
            answer.fail(ProviderError(OutcomeClass.BLOCKED, "input_unsupported", "this call needs a text"))
            return Refusing()
        if len(said.text) > self._script.text_characters_max:
            answer.fail(ProviderError(OutcomeClass.BLOCKED, "text_too_long"))
            return Refusing()
        answer.accepted()
        script = self._script
        samples = int(len(said.text) * script.ms_per_character * script.rate / 1000)
        return Paced(answer, self._chunks(samples), script.first_ms, script.chunk_ms / script.speed)

    def _chunks(self, total: int) -> Iterator[Audio]:
        rate = self._script.rate
        size = rate * self._script.chunk_ms // 1000
        for start in range(0, total, size):
            count = min(size, total - start)
            offset = start % rate
            data = (self._second[2 * offset :] + self._second)[: 2 * count]
            yield Audio(data, count, start, rate)


def tone(hz: int, rate: int, amplitude: int) -> bytes:
    """One second of a sine, as PCM16; it begins where it ends, so seconds can be laid side by side."""
    step = 2 * math.pi * hz / rate
    samples = array("h", (round(amplitude * math.sin(step * index)) for index in range(rate)))
    return samples.tobytes()
