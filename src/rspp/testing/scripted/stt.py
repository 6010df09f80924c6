"""Given texts are what the caller said: partials grow with the speech that is heard, and each request for a final gets one.

The words come from the script, the timing from the audio. Where nothing was said the final is empty.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from rspp.contract.event import Audio, Event, Text
from rspp.contract.words import CancelMode, CancelReason
from rspp.host.ports import Answer, CallRequest, ProviderInfo
from rspp.testing.scripted.vad import Level, loud, quiet_bytes

# Less sound than this is a click, and no words.
SPEECH_MS_MIN: Final = 60
Natural = Annotated[int, Meta(ge=0)]


class SttScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`texts` are the utterances of one call, begun again when they are through."""

    texts: Annotated[tuple[str, ...], Meta(min_length=1)] = ("Hello there.",)
    partial_ms: Annotated[int, Meta(ge=20, description="Speech from one partial to the next.")] = 200
    words_a_partial: Annotated[int, Meta(ge=1)] = 2
    final_ms: Annotated[int, Meta(ge=0, description="From being asked to the final.")] = 60
    level: Level = 2


class ScriptedStt:
    """Recognises whatever its script says was spoken."""

    def __init__(self, name: str, script: SttScript) -> None:
        self.info = ProviderInfo(
            name=name, modality="stt", version="v1", rates=(8_000, 16_000, 24_000, 48_000)
        )
        self._script = script
        self._quiet = quiet_bytes(script.level)

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    def begin(self, request: CallRequest, answer: Answer) -> SttCall:
        call = SttCall(answer, self._script, self._quiet)
        answer.accepted()
        return call


class SttCall:
    """One session's: the segment in hand, how much of it was heard, and the finals that are due."""

    __slots__ = (
        "_answer",
        "_heard_ms",
        "_over",
        "_quiet",
        "_revision",
        "_script",
        "_segment",
        "_shown_ms",
        "_timers",
        "_utterance",
    )

    def __init__(self, answer: Answer, script: SttScript, quiet: bytes) -> None:
        self._answer = answer
        self._script = script
        self._quiet = quiet
        self._utterance = self._segment = self._revision = 0
        self._heard_ms = self._shown_ms = 0.0
        self._over = False
        self._timers: dict[
            int, asyncio.TimerHandle
        ] = {}  # bounded: by the finals asked for and not yet given

    def feed(self, event: Event) -> None:
        audio = event.payload
        if self._over or not isinstance(audio, Audio) or audio.rate <= 0 or not loud(audio.data, self._quiet):
            return
        self._heard_ms += audio.samples * 1000 / audio.rate
        if self._heard_ms - self._shown_ms >= self._script.partial_ms:
            self._shown_ms = self._heard_ms
            self._partial()

    def _partial(self) -> None:
        words = self._words().split(" ")
        shown = (self._revision + 1) * self._script.words_a_partial
        if shown < len(words) + self._script.words_a_partial:
            self._revision += 1
            self._answer.produce(Text(" ".join(words[:shown]), self._segment, self._revision, role="user"))

    def end(self, last: bool) -> None:
        if self._over:
            return
        key = len(self._timers) + 1
        while key in self._timers:
            key += 1
        self._timers[key] = asyncio.get_running_loop().call_later(
            self._script.final_ms / 1000, self._final, key, last
        )

    def _final(self, key: int, last: bool) -> None:
        del self._timers[key]
        if self._over:
            return
        spoken = self._heard_ms >= SPEECH_MS_MIN
        text = self._words() if spoken else ""
        if spoken or not last:
            self._answer.produce(Text(text, self._segment, self._revision + 1, final=True, role="user"))
        self._segment += 1
        self._revision = 0
        self._heard_ms = self._shown_ms = 0.0
        self._utterance += spoken
        if last:
            self._stop()
            self._answer.finish()

    def throttle(self, on: bool) -> None: ...

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        if not self._over:
            self._stop()
            self._answer.stopped()

    def kill(self) -> None:
        self._stop()

    def _stop(self) -> None:
        self._over = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _words(self) -> str:
        return self._script.texts[self._utterance % len(self._script.texts)]
