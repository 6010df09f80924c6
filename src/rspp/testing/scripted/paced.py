"""Pieces of output that leave at a rhythm: made one at a time, held back while nobody reads, never queued.

A piece that is late does not delay the next: the rhythm is kept from the first. What throttling held back goes on from
the moment it is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from rspp.contract.event import Event
from rspp.contract.words import CancelMode, CancelReason
from rspp.host.ports import Answer, Chunk


class Paced:
    """One call that gives pieces: the first after `first_ms`, the others `gap_ms` apart."""

    __slots__ = (
        "_answer",
        "_due",
        "_gap_s",
        "_loop",
        "_over",
        "_pieces",
        "_throttled",
        "_timer",
        "_tokens",
        "_waiting",
    )

    def __init__(
        self, answer: Answer, pieces: Iterator[Chunk], first_ms: float, gap_ms: float, tokens: int = 0
    ) -> None:
        self._answer = answer
        self._pieces = pieces
        self._gap_s = gap_ms / 1000
        self._tokens = tokens
        self._over = self._waiting = self._throttled = False
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + first_ms / 1000
        self._timer = self._loop.call_at(self._due, self._step)

    def _step(self) -> None:
        if self._over:
            return
        if self._throttled or self._answer.throttled:
            self._waiting = True
            return
        piece = next(self._pieces, None)
        if piece is None:
            self._over = True
            self._answer.finish(self._tokens)
            return
        self._answer.produce(piece)
        self._due += self._gap_s
        self._timer = self._loop.call_at(self._due, self._step)

    def feed(self, event: Event) -> None: ...
    def end(self, last: bool) -> None: ...

    def throttle(self, on: bool) -> None:
        self._throttled = on
        if not on and self._waiting and not self._over:
            self._waiting = False
            self._due = self._loop.time()
            self._timer = self._loop.call_soon(self._step)  # type: ignore[assignment]  # cancelled alike

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        if not self._over:
            self.kill()
            self._answer.stopped()

    def kill(self) -> None:
        self._over = True
        self._timer.cancel()


class Refusing:
    """A call that was refused, or that will never say a word: it hears nothing."""

    __slots__ = ()

    def feed(self, event: Event) -> None: ...
    def end(self, last: bool) -> None: ...
    def throttle(self, on: bool) -> None: ...
    def cancel(self, reason: CancelReason, mode: CancelMode) -> None: ...
    def kill(self) -> None: ...
