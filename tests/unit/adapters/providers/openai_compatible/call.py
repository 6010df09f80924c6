"""A call as a provider sees it, in the hands of a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from rspp.contract.event import Audio, Event, Scope, Text
from rspp.contract.words import EventKind, PayloadClass
from rspp.host.ports import CallRequest, Chunk, EndOfFeed, Message

SCOPE = Scope(session_id="s", tenant_id="t", pipeline_version="v1", epoch=1)


def event_of(payload: Audio | Text) -> Event:
    kind = EventKind.AUDIO if isinstance(payload, Audio) else EventKind.TEXT
    data = PayloadClass.AUDIO_RAW if isinstance(payload, Audio) else PayloadClass.TEXT_RAW
    return Event(SCOPE, kind, 1, 0, payload, data)


async def until(holds: Callable[[], object]) -> None:
    """Waits for a condition, with a deadline."""
    async with asyncio.timeout(5):
        while True:
            if holds():
                return
            await asyncio.sleep(0.002)


class Live:
    """Keeps what was said, and when. `feed` gives what was handed in, then waits for more until told to end."""

    def __init__(
        self,
        text: str | None = None,
        *,
        config: dict[str, Any] | None = None,
        history: Iterable[tuple[str, str]] = (),
        modality: str = "llm",
    ) -> None:
        self.request = CallRequest(
            call_id="pvi/s/t/1/x",
            attempt=1,
            node_id=modality,
            modality=modality,
            provider="p",
            idempotency_key="pvi/s/t/1/x",
            epoch=1,
            deadline_at=None,
            event=None if text is None else event_of(Text(text, role="user")),
            history=tuple(Message(role, said) for role, said in history),
            config=config or {},
        )
        self.stopping = False
        self.chunks: list[Chunk] = []
        self.times: list[float] = []
        self.accepts = 0
        self.tokens = 0
        self.stop_after: int | None = None
        self._said = asyncio.Condition()
        self.items: asyncio.Queue[Event | EndOfFeed] = asyncio.Queue(10_000)

    async def feed(self) -> AsyncIterator[Event | EndOfFeed]:
        while True:
            item = await self.items.get()
            yield item
            if isinstance(item, EndOfFeed) and item.last:
                return

    def give(self, *items: Audio | EndOfFeed) -> None:
        for item in items:
            self.items.put_nowait(item if isinstance(item, EndOfFeed) else event_of(item))

    def accepted(self) -> None:
        self.accepts += 1

    async def produce(self, payload: Chunk, port: str | None = None) -> None:
        assert port is None
        self.chunks.append(payload)
        self.times.append(time.perf_counter())
        self.stopping = self.stopping or len(self.chunks) == self.stop_after
        async with self._said:
            self._said.notify_all()

    def score(self, probability: float) -> None:
        raise AssertionError("nobody here gives scores")

    def used(self, tokens: int) -> None:
        self.tokens = tokens

    async def heard(self, count: int) -> None:
        """Waits until so many chunks were produced."""
        async with asyncio.timeout(5), self._said:
            await self._said.wait_for(lambda: len(self.chunks) >= count)

    @property
    def texts(self) -> list[str]:
        return [chunk.text for chunk in self.chunks if isinstance(chunk, Text)]

    @property
    def text(self) -> str:
        return "".join(self.texts)
