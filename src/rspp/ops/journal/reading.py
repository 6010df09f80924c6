"""A page of records is what lies in the journal above a number, and says honestly where something between is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from rspp.ops.changes import StateChange
from rspp.ops.journal.shelf import Held, Shelf


class JournalPage(msgspec.Struct, frozen=True, kw_only=True):
    """`next` is where to go on. `compacted`: above what was asked for some numbers are not there any more; whoever follows the
    journal reads the surfaces again. From `oldest` on nothing is missing.
    """

    records: tuple[StateChange, ...]
    next: int
    last: int
    compacted: bool
    oldest: int


async def collected(
    shelf: Shelf, held: Held | None, after: int, surface: str | None, limit: int, *, certain: bool
) -> JournalPage | None:
    """What lies above `after`; None where a page was taken away while it was read, if that is to be certain."""
    index = shelf.index
    if held is None:
        return JournalPage(
            records=(), next=index.last, last=index.last, compacted=after > 0, oldest=index.oldest
        )
    last, through = held.page.next - 1, index.through
    start = 0 if after > last else after  # a journal that is shorter than somebody knows it has begun anew
    gap = after > last or start < through
    behind = max(start, through) + 1
    # As it is now: others may learn of more while we wait.
    sheets = [one for one in index.sealed[index.place_of(behind) :] if one.index < held.page.index]
    records: list[StateChange] = []  # bounded: limit, what was kept and one page more
    if start < through:
        kept, _ = await shelf.kept()
        if kept is not None and kept.birth == index.birth:
            if kept.through != through and certain:
                return None
            records += _wanted(kept.records, start, surface)
    for sheet in sheets:
        if len(records) > limit:
            break
        page = await shelf.page(held.page.birth, sheet.index)
        if page is None:
            if certain:
                return None
            continue
        gap, behind = gap or page.first > behind, page.next
        records += _wanted(page.records, start, surface)
    if len(records) <= limit:
        gap = gap or held.page.first > behind
        records += _wanted(held.page.records, start, surface)
    more = len(records) > limit
    return JournalPage(
        records=tuple(records[:limit]),
        next=records[limit - 1].sequence if more else last,
        last=last,
        compacted=gap,
        oldest=index.oldest,
    )


def _wanted(records: Iterable[StateChange], after: int, surface: str | None) -> Iterator[StateChange]:
    return (one for one in records if one.sequence > after and surface in (None, one.surface))
