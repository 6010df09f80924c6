"""What stands under one subject: read, replaced against a revision, removed. Keys and blobs are made of it.

A write that nobody answered may have been done, or may be done later. It is asked for again with the same id and against the
same revision, so that it is done once at most; and where that is refused, who stands there now tells whose write it was.
Even a write without condition is against the revision that it found: one that was held up on its way for long must not undo
what came after it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from rspp.adapters.stores.nats import faults
from rspp.adapters.stores.nats.faults import NO_STREAM, WRONG_LAST, Told, UnansweredError
from rspp.adapters.stores.nats.jetstream import EXPECTED, MESSAGE_ID, Attempt, JetStream, Stored
from rspp.adapters.stores.nats.streams import Streams
from rspp.contract.errors import LimitReached

A = TypeVar("A")
B = TypeVar("B")

# Questions of one call that are under way at once.
READS_AT_ONCE: Final = 32


class Won(msgspec.Struct, frozen=True, gc=False):
    """An unconditional write: the revision it was given and what it replaced."""

    revision: int
    replaced: Stored | None


class Cells:
    """The subjects of one stream."""

    def __init__(self, jetstream: JetStream, streams: Streams, shape: str) -> None:
        self._jetstream = jetstream
        self._streams = streams
        self._shape = shape

    async def read(self, subject: str) -> Stored | None:
        stream = await self._streams.ready(self._shape)
        try:
            return await self._jetstream.insist(
                lambda one: self._jetstream.last(stream, subject, one.within_s)
            )
        except Told as told:
            raise self._fault(told) from None

    async def read_all(self, below: str) -> list[Stored]:
        """Everything under these subjects, each as the leader has it when it is asked."""
        stream = await self._streams.ready(self._shape)
        try:
            subjects = await self._jetstream.subjects(stream, below)
        except Told as told:
            raise self._fault(told) from None
        found = await gathered(self.read, subjects)
        return [one for one in found if one is not None]

    async def replace(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str],
        expected: int,
        write_id: str | None = None,
    ) -> int | None:
        """The new revision; None if another one than the expected stands there. 0 expects nothing."""
        stream = await self._streams.ready(self._shape)
        own_id = write_id or uuid.uuid4().hex
        marked = {**headers, EXPECTED: str(expected), MESSAGE_ID: own_id}

        async def once(attempt: Attempt) -> int | None:
            try:
                return await self._jetstream.publish(subject, data, marked, attempt.within_s)
            except Told as told:
                if told.code not in WRONG_LAST:
                    raise self._fault(told) from None
            if not attempt.unsure:
                return None
            found = await self._jetstream.last(stream, subject, attempt.within_s)
            if found is not None and found.headers.get(MESSAGE_ID) == own_id:
                return found.sequence
            if (found.sequence if found else 0) == expected:  # what was under way there came to nothing
                raise UnansweredError("a write under way was given up", sent=True)
            raise faults.unreachable("another write followed", self._jetstream.deadline_s, sent=True)

        return await self._jetstream.insist(once)

    async def overwrite(self, subject: str, data: bytes, headers: Mapping[str, str]) -> Won:
        """Whatever stands there."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._jetstream.deadline_s
        while clock() < deadline:
            found = await self.read(subject)
            revision = await self.replace(subject, data, headers, found.sequence if found else 0)
            if revision is not None:
                return Won(revision, found)
        raise LimitReached("store_contended", "others keep changing what is to be changed")

    async def remove(self, subject: str) -> Stored | None:
        """What stood there. Whatever is put while this is under way stays."""
        found = await self.read(subject)
        if found is not None:
            await self.purge(subject, found.sequence)
        return found

    async def purge(self, subjects: str, through: int) -> None:
        stream = await self._streams.ready(self._shape)
        try:
            await self._jetstream.purge(stream, subjects, through)
        except Told as told:
            raise self._fault(told) from None

    def _fault(self, told: Told) -> Exception:
        if told.code == NO_STREAM:
            self._streams.forget()
        return told.as_fault()


async def gathered(call: Callable[[A], Awaitable[B]], items: Sequence[A]) -> list[B]:
    """The call for each of them, so many at once; the first failure ends the rest."""
    found: dict[int, B] = {}  # bounded: the items
    left = iter(enumerate(items))

    async def work() -> None:
        for number, item in left:
            found[number] = await call(item)

    tasks = [asyncio.ensure_future(work()) for _ in range(min(READS_AT_ONCE, len(items)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
    return [found[number] for number in range(len(items))]
