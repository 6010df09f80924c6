"""The pages of one store, and the index that follows them: each full page is read once, the tail each time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec

from rspp.host.ports import Entry, Store
from rspp.ops.journal.bounds import KEPT_ASKED_PAGES, READ_AT_ONCE
from rspp.ops.journal.index import NOBODY, Index
from rspp.ops.journal.pages import BUCKET, KEPT, TAIL, Kept, Page, encode, kept_of, page_key, page_of


class Held(msgspec.Struct, frozen=True):
    """The tail as it was read, or written by us."""

    page: Page
    revision: int


class Shelf:
    def __init__(self, store: Store) -> None:
        self.store: Final = store
        self.index: Final = Index()
        self._reading = asyncio.Lock()
        self._asked_kept = 0  # the tail's index when what is kept was last read

    async def look(self) -> Held | None:
        """The tail as it is now, everything before it known; None where there is no journal. Raises what the store raises."""
        async with self._reading:
            entry = await self.store.get(BUCKET, TAIL)
            if entry is None:
                if self.index.birth != NOBODY:
                    self.index.is_gone()
                return None
            page = page_of(TAIL, entry.value)
            if page.birth != self.index.birth:
                self.index.begins(page)
                await self._ask_kept(page.index)
            elif (
                page.next <= self.index.last
            ):  # a replica that is behind: whoever writes by it loses, and looks again
                return Held(page, entry.revision)
            await self._take_sealed(page.index)
            self.index.takes_tail(page, len(entry.value))
            return Held(page, entry.revision)

    async def wrote(self, page: Page, size_bytes: int, sealed: Page | None) -> bool:
        """We replaced the tail; whoever looked meanwhile may know that, and more. False: what is known is not of this store
        any more, which somebody has set back to what it was; it is forgotten.
        """
        async with self._reading:
            if page.birth != self.index.birth:
                self.index.begins(page)
            elif page.next <= self.index.last:
                if self.index.sequence_of(page.records[-1].event_id) is not None:
                    return True
                self.index.is_gone()
                return False
            if sealed is not None and sealed.index >= self.index.next_page:
                self.index.takes_page(sealed, len(encode(sealed)))
            self.index.takes_tail(page, size_bytes)
            return True

    async def page(self, birth: str, index: int) -> Page | None:
        """A full page; None where it is not there any more."""
        return _decoded(await self.store.get(BUCKET, page_key(birth, index)))

    async def kept(self) -> tuple[Kept | None, int]:
        """What compaction has left of any birth, and its revision."""
        entry = await self.store.get(BUCKET, KEPT)
        return (None, 0) if entry is None else (kept_of(entry.value), entry.revision)

    async def ask_kept(self) -> None:
        """Learn which pages are there no more."""
        async with self._reading:
            if self.index.tail is not None:
                await self._ask_kept(self.index.tail.index)

    async def _ask_kept(self, at: int) -> None:
        self._asked_kept = at
        entry = await self.store.get(BUCKET, KEPT)
        if entry is None:
            return
        kept = kept_of(entry.value)
        if kept.birth == self.index.birth and kept.through >= self.index.through:
            self.index.takes_kept(kept, len(entry.value))

    async def _take_sealed(self, until: int) -> None:
        """Every full page below `until` that is not known yet. One that is missing was compacted, or is lost: it is left out."""
        while (start := self.index.next_page) < until:
            lot = range(start, min(start + READ_AT_ONCE, until))
            found = await self.entries(lot)
            for entry in found:
                if entry is not None:
                    self.index.takes_page(page_of(entry.key, entry.value), len(entry.value))
            self.index.next_page = lot.stop
            if None in found:
                await self._ask_kept(until)
        if until - self._asked_kept >= KEPT_ASKED_PAGES:
            await self._ask_kept(until)

    async def entries(self, indexes: Iterable[int]) -> list[Entry | None]:
        """Full pages as they lie there, some at a time."""
        birth = self.index.birth
        return list(await asyncio.gather(*(self.store.get(BUCKET, page_key(birth, one)) for one in indexes)))


def _decoded(entry: Entry | None) -> Page | None:
    return None if entry is None else page_of(entry.key, entry.value)
