"""Whoever follows gets every record, in order and once, or is told that this cannot be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final, Protocol

from rspp.contract.errors import LimitReached
from rspp.host.ports import Store
from rspp.ops.changes import StateChange
from rspp.ops.journal.pages import BUCKET, TAIL, page_of
from rspp.ops.journal.reading import JournalPage

LOT: Final = 500


class Compacted(LimitReached):
    """Records above the number that was asked for are there no more: read the surfaces, then follow from `last`."""

    def __init__(self, oldest: int, last: int) -> None:
        super().__init__(
            "journal_compacted", f"the journal has all records from {oldest} on; the last is {last}"
        )
        self.oldest = oldest
        self.last = last


class Pages(Protocol):
    async def page(self, after: int = 0, surface: str | None = None, limit: int = LOT) -> JournalPage: ...


async def follow(journal: Pages, store: Store, after: int) -> AsyncIterator[StateChange]:
    """The store tells of each new tail; what it skipped between two of them is read from the pages."""
    birth: str | None = None
    async with aclosing(store.watch(BUCKET, TAIL)) as tails:  # type: ignore[type-var]  # an async generator
        async for entry in tails:
            tail = page_of(entry.key, entry.value)
            if birth not in (None, tail.birth) or after >= tail.next:
                page = await journal.page(after=tail.next - 1, limit=1)
                raise Compacted(page.oldest, page.last)
            birth = tail.birth
            while after < tail.next - 1:
                if after >= tail.first - 1:
                    records = tail.records[after + 1 - tail.first :]
                else:
                    page = await journal.page(after=after, limit=LOT)
                    if page.compacted or not page.records:  # or it was deleted, or begun anew, just now
                        raise Compacted(page.oldest, page.last)
                    records = page.records
                for record in records:
                    yield record
                    after = record.sequence
