"""The caller has finished when the pause after speech is long enough: then it says so, and again while the pause lasts."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from rspp.contract.event import Audio, Event
from rspp.contract.words import CancelMode, CancelReason
from rspp.host.ports import Answer, CallRequest, ProviderInfo
from rspp.testing.scripted.vad import Level, Probability, loud, quiet_bytes

# A pause this long has been told often enough.
PAUSE_MS_MAX: Final = 3_000


class EndOfTurnScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pause_ms: Annotated[int, Meta(ge=0)] = 200
    repeat_ms: Annotated[int, Meta(ge=20)] = 100
    likely: Probability = 0.95
    level: Level = 2


class ScriptedEndOfTurn:
    """Counts the silence after speech, in the audio's own time."""

    def __init__(self, name: str, script: EndOfTurnScript) -> None:
        self.info = ProviderInfo(
            name=name, modality="end_of_turn", version="v1", rates=(8_000, 16_000, 24_000, 48_000)
        )
        self._script = script
        self._quiet = quiet_bytes(script.level)

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    def begin(self, request: CallRequest, answer: Answer) -> EndOfTurnCall:
        call = EndOfTurnCall(answer, self._script, self._quiet)
        answer.accepted()
        return call


class EndOfTurnCall:
    """One session's."""

    __slots__ = ("_answer", "_due_ms", "_over", "_pause_ms", "_quiet", "_script")

    def __init__(self, answer: Answer, script: EndOfTurnScript, quiet: bytes) -> None:
        self._answer = answer
        self._script = script
        self._quiet = quiet
        self._pause_ms: float = PAUSE_MS_MAX  # nobody has spoken yet
        self._due_ms: float = script.pause_ms
        self._over = False

    def feed(self, event: Event) -> None:
        audio = event.payload
        if self._over or not isinstance(audio, Audio) or not audio.data or audio.rate <= 0:
            return
        if loud(audio.data, self._quiet):
            self._pause_ms, self._due_ms = 0, self._script.pause_ms
            return
        if self._pause_ms >= PAUSE_MS_MAX:
            return
        self._pause_ms += audio.samples * 1000 / audio.rate
        if self._pause_ms >= self._due_ms:
            self._due_ms = self._pause_ms + self._script.repeat_ms
            self._answer.score(self._script.likely)

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
