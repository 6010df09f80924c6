"""One attempt of one call, from the host's side: what a provider says becomes inputs of its session, in order.

Each attempt ends with exactly one of finished, failed, cancelled. What a provider says later is counted and dropped
here, before it costs anybody anything; that it could not do harm anyway is the kernel's business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, Protocol

from rspp.contract.event import Audio, Event, Note, Sample, Text
from rspp.contract.words import CancelMode, CancelReason, OutcomeClass
from rspp.host.ports import Call, CallRequest, Chunk, EndOfFeed, ProviderError
from rspp.kernel import inputs as i

# Ten seconds of 20 ms frames that a coroutine has not taken yet: it will not catch up.
FEED_ITEMS_MAX: Final = 512
CHUNKS: Final = (Audio, Text, Sample, Note)

Run = Callable[["Inside"], Coroutine[Any, Any, None]]
Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


class Inbox(Protocol):
    """Where a session takes inputs."""

    def ingest(self, received: i.Input) -> bool: ...


class Reply:
    """The `Answer` of one attempt."""

    __slots__ = (
        "_inbox",
        "_on_done",
        "_sequence",
        "broken",
        "dropped",
        "ended",
        "muted",
        "request",
        "throttled",
    )

    def __init__(self, request: CallRequest, inbox: Inbox, on_done: Callable[[Reply], None]) -> None:
        self.request = request
        self.throttled = False
        self.ended = False
        self.broken = False  # it was ended by us, and its provider does not know
        self.muted = False  # another attempt goes on in its place: of this one only the end counts
        self.dropped = 0
        self._inbox = inbox
        self._on_done = on_done
        self._sequence = 0

    def accepted(self) -> None:
        if not (self.ended or self.muted):
            self._inbox.ingest(i.CallAccepted(self.request.call_id, self.request.attempt))

    def produce(self, payload: Chunk, port: str | None = None) -> None:
        if self.ended or self.muted:
            self.dropped += 1
            return
        if type(payload) not in CHUNKS:
            self._refuse(ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, "chunk_of_no_kind"))
            return
        request = self.request
        chunk = i.CallProduced(request.call_id, request.attempt, self._sequence, payload, port)
        self._sequence += 1
        if not self._inbox.ingest(chunk):
            # A hole in a call's output is no output: better that it fails, and is tried anew.
            self._refuse(ProviderError(OutcomeClass.OVERLOAD, "session_inbox_full", retryable=True))

    def score(self, probability: float) -> None:
        if self.ended or self.muted:
            self.dropped += 1
            return
        if not _probable(probability):
            self._refuse(ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, "score_out_of_range"))
            return
        ends = self.request.modality == "end_of_turn"
        self._inbox.ingest(i.EndOfTurnScored(probability) if ends else i.SpeechScored(probability))

    def finish(self, tokens: int = 0) -> None:
        if self._end():
            self._inbox.ingest(i.CallFinished(self.request.call_id, self.request.attempt, tokens))

    def fail(self, error: ProviderError) -> None:
        if self._end():
            self._inbox.ingest(
                i.CallFailed(
                    self.request.call_id,
                    self.request.attempt,
                    error.outcome,
                    error.reason,
                    error.retryable,
                    error.circuit,
                    error.retry_after_ms,
                )
            )

    def stopped(self) -> None:
        if self._end():
            self._inbox.ingest(i.CallCancelled(self.request.call_id, self.request.attempt))

    def _refuse(self, error: ProviderError) -> None:
        """End it from our side; whoever it ends for sees to its provider."""
        self.broken = True
        self.fail(error)

    def _end(self) -> bool:
        if self.ended:
            self.dropped += 1
            return False
        self.ended = True
        self._on_done(self)
        return True


def _probable(score: object) -> bool:
    try:
        return bool(0 <= score <= 1)  # type: ignore[operator]  # an adapter may give anything
    except TypeError:
        return False


class Inside:
    """A `LiveCall`: the side of a call on which a coroutine lives."""

    __slots__ = ("_fed", "_flow", "_items", "_reply", "request", "stopping", "tokens")

    def __init__(self, request: CallRequest, reply: Reply) -> None:
        self.request = request
        self.stopping = False
        self.tokens = 0
        self._reply = reply
        self._items: deque[Event | EndOfFeed] = deque()  # bounded: by FEED_ITEMS_MAX, in `put`
        self._fed = asyncio.Event()
        self._flow = asyncio.Event()
        self._flow.set()

    def put(self, item: Event | EndOfFeed) -> bool:
        """Take what is fed; False when the coroutine is too far behind."""
        if len(self._items) >= FEED_ITEMS_MAX:
            return False
        self._items.append(item)
        self._fed.set()
        return True

    def stop(self) -> None:
        self.stopping = True
        self._fed.set()

    def open(self, flowing: bool) -> None:
        if flowing:
            self._flow.set()
        else:
            self._flow.clear()

    async def feed(self) -> AsyncIterator[Event | EndOfFeed]:
        while True:
            while self._items and not self.stopping:
                item = self._items.popleft()
                yield item
                if isinstance(item, EndOfFeed) and item.last:
                    return
            if self.stopping:
                return  # softly: who waits for more finishes what is in flight instead
            self._fed.clear()
            await self._fed.wait()

    def accepted(self) -> None:
        self._reply.accepted()

    async def produce(self, payload: Chunk, port: str | None = None) -> None:
        if not self._flow.is_set():
            await self._flow.wait()
        self._reply.produce(payload, port)
        if self._reply.ended:
            raise asyncio.CancelledError  # refused, or over long ago: nobody asks for more
        # Who has all its chunks at once would fill its session's inbox before anybody has looked at the first.
        await asyncio.sleep(0)

    def score(self, probability: float) -> None:
        self._reply.score(probability)

    def used(self, tokens: int) -> None:
        self.tokens += tokens


class CoroutineCall:
    """A `Call` that is served by a coroutine, in a task of its session."""

    __slots__ = ("_inside", "_reply", "_task")

    def __init__(self, request: CallRequest, reply: Reply, run: Run, spawn: Spawn) -> None:
        self._inside = Inside(request, reply)
        self._reply = reply
        self._task = spawn(_live(self._inside, reply, run), f"call:{request.call_id}#{request.attempt}")
        self._task.add_done_callback(self._ended)

    def feed(self, event: Event) -> None:
        self._put(event)

    def end(self, last: bool) -> None:
        self._put(EndOfFeed(last))

    def throttle(self, on: bool) -> None:
        self._inside.open(not on)

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        self._inside.stop()
        if mode is not CancelMode.SOFT:
            self._task.cancel()

    def kill(self) -> None:
        self._inside.stopping = True
        self._task.cancel()
        if not self._reply.ended:
            self._reply.stopped()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that was cancelled before its first step never came to say so."""
        if task.cancelled() and not self._reply.ended:
            self._reply.stopped()

    def _put(self, item: Event | EndOfFeed) -> None:
        if not self._reply.ended and not self._inside.put(item):
            self._reply.fail(ProviderError(OutcomeClass.OVERLOAD, "call_feed_full", retryable=True))
            self._task.cancel()


async def _live(inside: Inside, reply: Reply, run: Run) -> None:
    """Run the coroutine to its end, and make its end the call's."""
    try:
        await run(inside)
    except asyncio.CancelledError:
        if reply.ended:
            return
        if inside.stopping:
            reply.stopped()
        else:
            reply.fail(ProviderError(OutcomeClass.CANCELLED, "provider_cancelled"))
    except ProviderError as error:
        reply.fail(error)
    except Exception as error:  # noqa: BLE001 - the host supervises: whatever an adapter raises is that call's outcome
        reply.fail(adapter_error(error))
    else:
        if inside.stopping and not reply.ended:
            reply.stopped()
        else:
            reply.finish(inside.tokens)


def adapter_error(error: BaseException) -> ProviderError:
    """What an adapter let through that is no ProviderError (contract §7); what it was is for the log, not for the session."""
    return ProviderError(
        OutcomeClass.INFRASTRUCTURE_FAILURE,
        "adapter_invoke_error",
        type(error).__name__,
        retryable=True,
        circuit=True,
    )


class Refusing:
    """A call that could not begin: it has failed already and hears nothing."""

    __slots__ = ()

    def feed(self, event: Event) -> None: ...
    def end(self, last: bool) -> None: ...
    def throttle(self, on: bool) -> None: ...
    def cancel(self, reason: CancelReason, mode: CancelMode) -> None: ...
    def kill(self) -> None: ...


REFUSING: Final[Call] = Refusing()
