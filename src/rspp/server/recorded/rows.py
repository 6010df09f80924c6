"""Pages of a timeline's rows. Rows are decoded a chunk at a time, and filtered on a thread: no page stops the loop."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from rspp.server.recorded.job import ROWS_IN_CHUNK
from rspp.server.recorded.shelf import Kept
from rspp.server.recorded.words import TimelinePage, TimelineRow

ROWS_MAX: Final = 1_000


class RowsWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows; what is None does not matter, and all of the rest must hold. `after` is the number of the last one had."""

    kind: str | None = None
    node: str | None = None
    lane: str | None = None
    turn: int | None = None
    first: int = 500
    after: int = 0

    @property
    def is_all(self) -> bool:
        return self.kind is None and self.node is None and self.lane is None and self.turn is None

    def matches(self, row: TimelineRow) -> bool:
        return (
            (self.kind is None or row.kind == self.kind)
            and (self.node is None or row.node == self.node)
            and (self.lane is None or row.lane == self.lane)
            and (self.turn is None or row.turn == self.turn)
        )


async def page_of(kept: Kept, wanted: RowsWanted) -> TimelinePage:
    """One page, in the order of time; `total` counts all rows that pass the filter."""
    return await asyncio.to_thread(_all if wanted.is_all else _filtered, kept, wanted)


def _all(kept: Kept, wanted: RowsWanted) -> TimelinePage:
    """Rows are numbered without a hole, so that a page is found without looking at those before it."""
    total, count = kept.view.rows, _count(wanted)
    begin = min(max(0, wanted.after), total)
    end = min(begin + count, total)
    items: list[TimelineRow] = []
    for number in range(begin // ROWS_IN_CHUNK, -(-end // ROWS_IN_CHUNK)):
        at = number * ROWS_IN_CHUNK
        items += kept.chunk(number)[max(0, begin - at) : max(0, end - at)]
    return TimelinePage(items=items, next=end if end < total else None, total=total)


def _filtered(kept: Kept, wanted: RowsWanted) -> TimelinePage:
    items: list[TimelineRow] = []
    total, more, count = 0, False, _count(wanted)
    for chunk in kept.rows():
        for row in filter(wanted.matches, chunk):
            total += 1
            if row.number > wanted.after:
                more = len(items) == count
                if not more:
                    items.append(row)
    return TimelinePage(items=items, next=items[-1].number if more and items else None, total=total)


def _count(wanted: RowsWanted) -> int:
    return max(1, min(wanted.first, ROWS_MAX))
