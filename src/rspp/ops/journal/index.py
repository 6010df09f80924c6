"""What one process knows of the pages without reading them again: which holds which numbers, event ids, aggregates.

It is a copy and may be behind; it is never ahead. What was read of a page that is full stays true for as long as the page is there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from rspp.ops.changes import StateChange
from rspp.ops.journal.pages import Kept, Page
from rspp.ops.journal.record import wall_ms_of

Aggregate = tuple[str, str, str]  # surface, tenant (empty: nobody's), aggregate_id
NOBODY: Final = ""


class Sheet(msgspec.Struct, frozen=True):
    """What is known of one page, or of what compaction has kept."""

    index: int
    first: int
    next: int
    size_bytes: int
    until_wall_ms: int  # the latest time in it
    sequences: tuple[int, ...]
    events: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]


def sheet_of(index: int, first: int, behind: int, records: Sequence[StateChange], size_bytes: int) -> Sheet:
    return Sheet(
        index,
        first,
        behind,
        size_bytes,
        max((wall_ms_of(one.occurred_at) for one in records), default=0),
        tuple(one.sequence for one in records),
        tuple(one.event_id for one in records),
        tuple(map(aggregate_of, records)),
    )


def aggregate_of(record: StateChange) -> Aggregate:
    """Two tenants may give their things the same name."""
    return record.surface, str(record.metadata.get("tenant") or ""), record.aggregate_id


class Index:
    """The journal of one birth, as far as it was read."""

    def __init__(self) -> None:
        self.birth = NOBODY
        self.origin = 0
        self.last = (
            0  # the highest number seen; it outlives a deletion, so that what is begun goes on behind it
        )
        self.through = 0
        self.page_first = 0  # full pages below are nobody's any more
        self.next_page = 0  # full pages below were taken, or were not there to be taken
        self.forgotten = 0
        self.tail: Sheet | None = None
        self.kept: Sheet | None = None
        self.sealed: list[Sheet] = []  # bounded: by compaction: a window, and what is not yet due
        self._events: dict[str, int] = {}  # bounded: by the records of the sheets

    def begins(self, page: Page) -> None:
        """A journal that was not known."""
        self.birth = page.birth
        # Where its records cannot be read now, the next look must not take them for known.
        self.origin = self.last = self.through = page.origin
        self.page_first = self.next_page = self.forgotten = 0
        self.tail = self.kept = None
        self.sealed, self._events = [], {}

    def is_gone(self) -> None:
        """There is no journal any more; what is the next will go on behind the last number."""
        self.begins(Page(format=0, birth=NOBODY, index=0, origin=self.last, first=0, next=0, records=()))

    # ---- taking in -----------------------------------------------------------------------------------------------

    def takes_tail(self, page: Page, size_bytes: int) -> None:
        if self.tail is not None and self.tail.index == page.index:
            new = page.records[len(self.tail.events) :]
        else:
            new = page.records
        self._learn(new)
        self.tail = sheet_of(page.index, page.first, page.next, page.records, size_bytes)
        self.last = page.next - 1

    def takes_page(self, page: Page, size_bytes: int) -> None:
        """Pages are taken in the order of their numbers."""
        self._learn(page.records)
        self.next_page = page.index + 1
        self.sealed.append(sheet_of(page.index, page.first, page.next, page.records, size_bytes))

    def takes_kept(self, kept: Kept, size_bytes: int) -> None:
        """What compaction has left, and so which pages are there no more."""
        gone = [one for one in self.sealed if one.index < kept.page_first]
        for sheet in [*gone, *([self.kept] if self.kept else [])]:
            for event in sheet.events:
                self._events.pop(event, None)
        self.sealed = self.sealed[len(gone) :]
        self.next_page = max(self.next_page, kept.page_first)
        self.through, self.page_first, self.forgotten = kept.through, kept.page_first, kept.forgotten
        self._learn(kept.records)
        self.kept = sheet_of(-1, 0, 0, kept.records, size_bytes)

    def _learn(self, records: Sequence[StateChange]) -> None:
        for one in records:
            self._events[one.event_id] = one.sequence

    # ---- asking --------------------------------------------------------------------------------------------------

    def sequence_of(self, event_id: str) -> int | None:
        """The number under which this event is in the journal, if it is."""
        return self._events.get(event_id)

    @property
    def sheets(self) -> Iterator[Sheet]:
        """Full pages and the tail, in order."""
        yield from self.sealed
        if self.tail is not None:
            yield self.tail

    @property
    def everything(self) -> Iterator[Sheet]:
        if self.kept is not None:
            yield self.kept
        yield from self.sheets

    @property
    def oldest(self) -> int:
        """The number from which on nothing is missing."""
        if self.tail is None:
            return self.last + 1
        found = self.tail.first
        for sheet in reversed(self.sealed):
            if sheet.next != found:
                break
            found = sheet.first
        return max(found, self.through + 1)

    def place_of(self, sequence: int) -> int:
        """Where in `sealed` the page stands that holds this number, or the first one behind it."""
        place = bisect_right(self.sealed, sequence, key=lambda sheet: sheet.first) - 1
        if place < 0:
            return 0
        return place if sequence < self.sealed[place].next else place + 1

    def newest(self, page_first: int = 0) -> dict[Aggregate, int]:
        """The highest number of each aggregate on the pages from this one on."""
        found: dict[Aggregate, int] = {}
        for sheet in self.sheets:
            if sheet.index >= page_first:
                found.update(zip(sheet.aggregates, sheet.sequences, strict=True))
        return found
