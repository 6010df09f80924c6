# ruff: noqa: INP001 - a module that stands alone, as a small package's does
"""A voice that beeps, once for each word: the least that a text-to-speech adapter for RSPP can be, and it keeps its word."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Mapping

import msgspec

from rspp import Audio, LiveCall, Text
from rspp.host.ports import ProviderInfo
from rspp.host.registry import ProviderKind

RATE = 16_000
BEEP_MS = 60
GAP_MS = 40


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a pipeline may say under `provider_settings`."""

    tone_hz: int = 440


class BeepVoice:
    """A coroutine provider: `run` returns when the call is done; a cancel ends it where it waits."""

    def __init__(self, name: str, settings: Mapping[str, object]) -> None:
        self.info = ProviderInfo(name=name, modality="tts", version="v1", rates=(RATE,))
        self._word = beep(msgspec.convert(dict(settings), Settings).tone_hz)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, call: LiveCall) -> None:
        event = call.request.event
        said = event.payload.text if event is not None and isinstance(event.payload, Text) else ""
        call.accepted()
        at = 0
        for _ in said.split():
            await asyncio.sleep(0.01)  # a real voice thinks
            if call.stopping:
                return
            await call.produce(Audio(self._word, len(self._word) // 2, at, RATE))
            at += len(self._word) // 2
        await call.produce(Audio(b"", 0, at, RATE, end=True))


def beep(tone_hz: int) -> bytes:
    """One word's sound: a tone and a gap."""
    tone = (int(8_000 * math.sin(2 * math.pi * tone_hz * n / RATE)) for n in range(RATE * BEEP_MS // 1_000))
    return array("h", [*tone, *[0] * (RATE * GAP_MS // 1_000)]).tobytes()


def kinds() -> dict[str, ProviderKind]:
    """What the package offers under the entry point group `rspp.providers`."""
    return {"beep-voice": ProviderKind("tts", BeepVoice, "a beep for each word")}
