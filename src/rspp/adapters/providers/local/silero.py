"""`local-silero`: a score for every 32 ms of each session, made for all sessions together in a worker thread.

A window needs the memory that the one before it left, so a session has one window out at a time and the others wait,
bounded. When the machine cannot keep up, the oldest waiting windows are skipped: a late score is worth nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Final

from rspp.adapters.providers.local.silero_model import (
    WINDOW_BYTES,
    Scored,
    SileroModel,
    Window,
    nothing_heard,
)
from rspp.adapters.providers.local.sound import Ear
from rspp.contract.event import Audio, Event
from rspp.contract.streams import RATES_HZ
from rspp.contract.words import CancelMode, CancelReason, OutcomeClass
from rspp.host.batching import Batcher
from rspp.host.ports import Answer, CallRequest, ProviderError, ProviderInfo

BATCH_MAX: Final = 128
# Windows come every 32 ms; two more make the batches of many sessions larger and delay nobody noticeably.
BATCH_WINDOW_MS: Final = 2
QUEUE_MS_MAX: Final = 200
QUEUE_MAX: Final = 2_048  # one window of each session that a process can have
CLOSE_MS_MAX: Final = 1_000
# The machine was too slow for one window; the next may be in time.
MISSED: Final = (OutcomeClass.OVERLOAD, OutcomeClass.TIMEOUT)
WINDOWS_WAITING_MAX: Final = 16  # half a second


class LocalSilero:
    """The provider: one model for all sessions."""

    def __init__(self, name: str, settings: Mapping[str, object]) -> None:
        del settings  # it has none
        self.info = ProviderInfo(name=name, modality="vad", version="6", rates=RATES_HZ, model="silero-vad")
        self._batcher: Batcher[Window, Scored] | None = None

    async def open(self) -> None:
        model = await asyncio.to_thread(SileroModel)
        self._batcher = Batcher(
            self.info.name,
            model,
            batch_max=BATCH_MAX,
            window_ms=BATCH_WINDOW_MS,
            queue_ms_max=QUEUE_MS_MAX,
            capacity=QUEUE_MAX,
        )

    def begin(self, request: CallRequest, answer: Answer) -> SileroCall:
        del request
        if self._batcher is None:
            raise ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, "provider_not_open", retryable=True)
        answer.accepted()
        return SileroCall(answer, self._batcher)

    async def close(self) -> None:
        if self._batcher is not None:
            batcher, self._batcher = self._batcher, None
            await batcher.close(CLOSE_MS_MAX)


class SileroCall:
    """One session's ear."""

    __slots__ = (
        "_answer",
        "_batcher",
        "_ear",
        "_ending",
        "_held",
        "_memory",
        "_out",
        "_over",
        "_waiting",
        "skipped",
    )

    def __init__(self, answer: Answer, batcher: Batcher[Window, Scored]) -> None:
        self._answer = answer
        self._batcher = batcher
        self._ear = Ear()
        self._held = b""
        self._memory = nothing_heard()
        self._waiting: deque[bytes] = deque(maxlen=WINDOWS_WAITING_MAX)
        self._out = False  # is a window being scored?
        self._ending = False
        self._over = False
        self.skipped = 0

    def feed(self, event: Event) -> None:
        if self._over or self._ending or not isinstance(event.payload, Audio):
            return
        try:
            heard = self._held + self._ear.hear(event.payload)
        except ProviderError as error:
            self._fail(error)
            return
        whole = len(heard) // WINDOW_BYTES * WINDOW_BYTES
        self._held = heard[whole:]
        for at in range(0, whole, WINDOW_BYTES):
            self.skipped += len(self._waiting) == WINDOWS_WAITING_MAX
            self._waiting.append(heard[at : at + WINDOW_BYTES])
        self._next()

    def end(self, last: bool) -> None:
        if last:
            self._ending = True
            self._next()

    def throttle(self, on: bool) -> None: ...

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        del reason, mode
        if not self._over:
            self.kill()
            self._answer.stopped()

    def kill(self) -> None:
        self._over = True
        self._waiting.clear()

    def _next(self) -> None:
        if self._over or self._out:
            return
        if self._waiting:
            self._out = True
            self._batcher.submit(Window(self._memory, self._waiting.popleft()), self._scored)
        elif self._ending:
            self._over = True
            self._answer.finish()

    def _scored(self, result: Scored | ProviderError) -> None:
        self._out = False
        if self._over:
            return
        if isinstance(result, Scored):
            self._memory = result.memory
            self._answer.score(result.probability)
        elif result.outcome in MISSED:
            self.skipped += 1
        else:
            self._fail(result)
            return
        self._next()

    def _fail(self, error: ProviderError) -> None:
        self.kill()
        self._answer.fail(error)
