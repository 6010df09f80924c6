"""Speech is what is loud: one score for each frame, at once, from the frame itself.

It runs fifty times a second for each of hundreds of sessions, so a frame costs a slice, one look in a table and the call
that tells the score.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from rspp.contract.event import Audio, Event
from rspp.contract.words import CancelMode, CancelReason
from rspp.host.ports import Answer, CallRequest, ProviderInfo

# Bytes from one sample looked at to the next, twice over: every 13th and every 17th sample, for a tone that is met only at
# its zeroes by one of the two is not by the other.
STRIDE: Final = 26
OTHER_STRIDE: Final = 34
Level = Annotated[int, Meta(ge=1, le=127, description="The high byte of the softest sample that is loud.")]
Probability = Annotated[float, Meta(ge=0, le=1)]


class VadScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    level: Level = 2
    speech: Probability = 0.95
    silence: Probability = 0.02


def quiet_bytes(level: int) -> bytes:
    """The high bytes of all samples softer than a level, of either sign."""
    return bytes((*range(level), *range(256 - level, 256)))


def loud(data: bytes, quiet: bytes) -> bool:
    """Is any of the samples looked at louder than quiet? Reads PCM16, little endian, of any length."""
    return bool((data[1::STRIDE] + data[1::OTHER_STRIDE]).translate(None, quiet))


class ScriptedVad:
    """Tells speech from silence by loudness."""

    def __init__(self, name: str, script: VadScript) -> None:
        self.info = ProviderInfo(
            name=name, modality="vad", version="v1", rates=(8_000, 16_000, 24_000, 48_000)
        )
        self._script = script
        self._quiet = quiet_bytes(script.level)

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    def begin(self, request: CallRequest, answer: Answer) -> VadCall:
        call = VadCall(answer, self._quiet, self._script)
        answer.accepted()
        return call


class VadCall:
    """One session's."""

    __slots__ = ("_answer", "_over", "_quiet", "_silence", "_speech")

    def __init__(self, answer: Answer, quiet: bytes, script: VadScript) -> None:
        self._answer = answer
        self._quiet = quiet
        self._speech, self._silence = script.speech, script.silence
        self._over = False

    def feed(self, event: Event) -> None:
        audio = event.payload
        if audio.__class__ is not Audio or self._over:
            return
        data: bytes = audio.data
        if data:
            self._answer.score(self._speech if loud(data, self._quiet) else self._silence)

    def end(self, last: bool) -> None:
        if last and not self._over:
            self._over = True
            self._answer.finish()

    def throttle(self, on: bool) -> None: ...

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        if not self._over:
            self._over = True
            self._answer.stopped()

    def kill(self) -> None:
        self._over = True
