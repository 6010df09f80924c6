"""Any failure on demand: a provider that works, wrapped so that it breaks its word in one named way.

    scripted.make("scripted-tts", faults={"cancel": "ignore", "ignore_throttle": True})

The wrapper knows nothing of what it wraps, so it spoils any `ReactiveProvider`: one of your own too.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from rspp.contract.event import Audio, Event, Text
from rspp.contract.words import CancelMode, CancelReason, OutcomeClass
from rspp.host.ports import Answer, Call, CallRequest, Chunk, ProviderError, ProviderInfo, ReactiveProvider
from rspp.testing.scripted.paced import Refusing

Natural = Annotated[int, Meta(ge=0)]


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What goes wrong. Everything off is a provider that keeps its word.

    `fail_times`: so many calls fail, after `fail_after_chunks` chunks, as `fail_outcome` and `fail_reason`; -1 is all.
    `raises`: an exception that is no ProviderError, out of this method.
    """

    open_fails: bool = False
    fail_times: Annotated[int, Meta(ge=-1)] = 0
    fail_after_chunks: Natural = 0
    fail_outcome: OutcomeClass = OutcomeClass.INFRASTRUCTURE_FAILURE
    fail_reason: str = "scripted_failure"
    fail_retryable: bool = True
    fail_circuit: bool = False
    fail_retry_after_ms: Natural | None = None
    hang: Literal["never", "before_first_chunk", "after_first_chunk"] = "never"
    cancel: Literal["acknowledge", "ignore", "late", "twice"] = "acknowledge"
    cancel_late_ms: Natural = 200
    kill: Literal["obey", "ignore"] = "obey"
    ignore_throttle: bool = False
    finish: Literal["once", "twice", "never", "then_produce"] = "once"
    chunks: Literal["good", "malformed", "duplicate", "reorder"] = "good"
    finals: Literal["given", "withheld"] = "given"
    raises: Literal["nothing", "begin", "feed", "end", "throttle", "cancel"] = "nothing"
    block_ms: Annotated[float, Meta(ge=0, description="Each call blocks the loop for so long.")] = 0
    leak_task: bool = False


class ScriptedFaultError(RuntimeError):
    """What a provider with `raises` raises, and one that cannot be opened."""


class Faulty:
    """A provider with faults."""

    def __init__(self, inner: ReactiveProvider, faults: Faults) -> None:
        self.inner = inner
        self.faults = faults
        self._failures_left = faults.fail_times
        self._leaked: set[asyncio.Task[object]] = set()  # bounded: by the calls of a test that asks for leaks

    @property
    def info(self) -> ProviderInfo:
        return self.inner.info

    async def open(self) -> None:
        if self.faults.open_fails:
            raise ScriptedFaultError("this provider cannot be opened")
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    def begin(self, request: CallRequest, answer: Answer) -> Call:
        faults = self.faults
        if faults.raises == "begin":
            raise ScriptedFaultError("begin")
        if faults.block_ms:
            time.sleep(faults.block_ms / 1000)
        if faults.leak_task:
            self._leaked.add(asyncio.get_running_loop().create_task(asyncio.Event().wait()))
        failing = self._failures_left != 0
        self._failures_left -= self._failures_left > 0
        spoiled = _Answer(answer, faults, failing)
        if failing and not faults.fail_after_chunks:
            spoiled.break_off()
            return Refusing()
        return _Call(self.inner.begin(request, spoiled), spoiled, faults)


class _Answer:
    """What the wrapped provider says, spoiled."""

    __slots__ = ("_answer", "_failing", "_faults", "_given", "_held", "_over")

    def __init__(self, answer: Answer, faults: Faults, failing: bool) -> None:
        self._answer = answer
        self._faults = faults
        self._failing = failing
        self._given = 0
        self._held: Chunk | None = None
        self._over = False

    @property
    def throttled(self) -> bool:
        return self._answer.throttled and not self._faults.ignore_throttle

    @property
    def _hung(self) -> bool:
        hang = self._faults.hang
        return self._over or hang == "before_first_chunk" or (hang == "after_first_chunk" and self._given > 0)

    def break_off(self) -> None:
        faults = self._faults
        self._over = True
        self._answer.fail(
            ProviderError(
                faults.fail_outcome,
                faults.fail_reason,
                retryable=faults.fail_retryable,
                circuit=faults.fail_circuit,
                retry_after_ms=faults.fail_retry_after_ms,
            )
        )

    def accepted(self) -> None:
        if self._faults.hang != "before_first_chunk":
            self._answer.accepted()

    def produce(self, payload: Chunk, port: str | None = None) -> None:
        if self._hung or (self._faults.finals == "withheld" and isinstance(payload, Text) and payload.final):
            return
        if self._failing and self._given >= self._faults.fail_after_chunks:
            self.break_off()
            return
        self._given += 1
        for chunk in self._spoiled(payload):
            self._answer.produce(chunk, port)

    def _spoiled(self, payload: Chunk) -> list[Chunk]:
        match self._faults.chunks:
            case "malformed":
                return [_malformed(payload)]
            case "duplicate":
                return [payload, payload]
            case "reorder":
                # Each second piece before the one that it follows.
                held, self._held = self._held, None
                if held is not None:
                    return [payload, held]
                self._held = payload
                return []
        return [payload]

    def score(self, probability: float) -> None:
        if not self._hung:
            self._given += 1
            self._answer.score(2.0 if self._faults.chunks == "malformed" else probability)

    def finish(self, tokens: int = 0) -> None:
        if self._hung or self._faults.finish == "never":
            return
        if self._held is not None:
            self._answer.produce(self._held)
        self._answer.finish(tokens)
        if self._faults.finish == "twice":
            self._answer.finish(tokens)
        elif self._faults.finish == "then_produce":
            self._answer.produce(Text("too late", 99, final=True, role="user"))

    def fail(self, error: ProviderError) -> None:
        if not self._hung:
            self._answer.fail(error)

    def stopped(self) -> None:
        if self._over:
            return
        match self._faults.cancel:
            case "late":
                later = asyncio.get_running_loop().call_later
                later(self._faults.cancel_late_ms / 1000, self._answer.stopped)
            case "twice":
                self._answer.stopped()
                self._answer.stopped()
            case _:
                self._answer.stopped()


class _Call:
    """What the wrapped call is told, spoiled."""

    __slots__ = ("_call", "_faults", "_spoiled")

    def __init__(self, call: Call, spoiled: _Answer, faults: Faults) -> None:
        self._call = call
        self._spoiled = spoiled
        self._faults = faults

    def feed(self, event: Event) -> None:
        self._maybe_raise("feed")
        self._call.feed(event)

    def end(self, last: bool) -> None:
        self._maybe_raise("end")
        self._call.end(last)

    def throttle(self, on: bool) -> None:
        self._maybe_raise("throttle")
        if not self._faults.ignore_throttle:
            self._call.throttle(on)

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        self._maybe_raise("cancel")
        if self._faults.cancel != "ignore":
            self._call.cancel(reason, mode)

    def kill(self) -> None:
        if self._faults.kill == "obey":
            self._call.kill()

    def _maybe_raise(self, method: str) -> None:
        if self._faults.raises == method:
            raise ScriptedFaultError(method)


def _malformed(payload: Chunk) -> Chunk:
    """The same piece with a count that does not agree with its bytes, or text that has no place in its stream."""
    if isinstance(payload, Audio):
        return msgspec.structs.replace(payload, samples=payload.samples + 1)
    if isinstance(payload, Text):
        return msgspec.structs.replace(payload, segment=-1)
    return payload
