"""Logs: one subject each, of which all messages count. Their numbers are the stream's: they rise, with gaps, and never again."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Final

from rspp.adapters.stores.nats import names
from rspp.adapters.stores.nats.cells import Cells
from rspp.adapters.stores.nats.faults import NO_STREAM, Told
from rspp.adapters.stores.nats.following import Following
from rspp.adapters.stores.nats.jetstream import MESSAGE_ID, JetStream, Stored
from rspp.adapters.stores.nats.streams import LOGS, Streams

HEAD: Final = "l"

Follow = Callable[[str, str, int], AbstractContextManager[Following]]


class Logs:
    """The logs of a store."""

    def __init__(self, jetstream: JetStream, streams: Streams, namespace: str) -> None:
        self._jetstream = jetstream
        self._streams = streams
        self._cells = Cells(jetstream, streams, LOGS)
        self._namespace = namespace

    async def append(self, log: str, record: bytes) -> int:
        """Once, however often it must be asked for: the stream knows the id of what it took."""
        await self._streams.ready(LOGS)
        subject = self._subject(log)
        headers = {MESSAGE_ID: uuid.uuid4().hex}
        try:
            return await self._jetstream.insist(
                lambda one: self._jetstream.publish(subject, record, headers, one.within_s)
            )
        except Told as told:
            if told.code == NO_STREAM:
                self._streams.forget()
            raise told.as_fault() from None

    async def read(self, log: str, after: int, follow: Follow) -> AsyncIterator[tuple[int, bytes]]:
        """What the leader says that it held when reading began; a follower that lags is waited for."""
        subject = self._subject(log)
        newest = await self._cells.read(subject)
        if newest is None or newest.sequence <= after:
            return
        with follow(LOGS, subject, after) as following:
            messages = following.messages()
            try:
                async for message in messages:
                    if message is None:
                        if await self._nothing_left(subject, after, newest.sequence):
                            return
                        continue
                    if message.sequence > newest.sequence:
                        return
                    after = message.sequence
                    yield after, message.data
                    if after == newest.sequence:
                        return
            finally:
                await messages.aclose()  # type: ignore[attr-defined]  # an async generator

    async def trim(self, log: str, through: int) -> None:
        """Up to the last record there is now: what is appended meanwhile stays, whatever its number."""
        newest = await self._cells.read(self._subject(log))
        if newest is not None and through > 0:
            await self._cells.purge(newest.subject, min(through, newest.sequence))

    async def _nothing_left(self, subject: str, seen: int, through: int) -> bool:
        """Somebody trimmed what was to come."""
        found: Stored | None = await self._jetstream.insist(
            lambda one: self._jetstream.after(self._streams.name(LOGS), subject, seen, one.within_s)
        )
        return found is None or found.sequence > through

    def _subject(self, log: str) -> str:
        return names.subject(self._namespace, HEAD, name=log)
