"""What is old is forgotten but for the newest record of each aggregate, and no crash at any point loses more than that.

    1  which full pages lie outside the window?          a decision: nothing has changed
    2  `kept` is replaced: it now has what is to be kept of them, and says that they are nobody's any more
    3  they are removed, and with them whatever else is nobody's

Until 2 everything is as it was; from 2 on nobody reads those pages, whether they are there or not. Of two who do 2 at once, one
loses and leaves it. The tail is never touched, so writers do not notice. What 3 left behind is removed the next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import msgspec

from rspp.ops.changes import StateChange
from rspp.ops.journal.bounds import READ_AT_ONCE, Window
from rspp.ops.journal.index import Aggregate, Index, aggregate_of
from rspp.ops.journal.pages import BUCKET, FORMAT, KEPT, PAGES, Kept, encode, page_key, page_of
from rspp.ops.journal.shelf import Shelf


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """What one compaction did. `compacted_through`: from the number behind it on nothing is missing."""

    compacted_through: int
    pages_removed: int
    records_removed: int
    records_kept: int
    forgotten: int


def page_first_of(index: Index, now_wall_ms: int, window: Window) -> int:
    """The first full page that the window needs: those below may go."""
    tail = index.tail
    behind, size_bytes = (0, 0) if tail is None else (tail.next - tail.first, tail.size_bytes)
    for sheet in reversed(index.sealed):
        young = now_wall_ms - sheet.until_wall_ms < window.age_ms
        full = behind >= window.records_max or size_bytes >= window.bytes_max
        if full or (behind >= window.records_min and not young):
            return sheet.index + 1
        behind += sheet.next - sheet.first
        size_bytes += sheet.size_bytes
    return index.page_first


def left_of(
    records: Iterable[StateChange], newer: Mapping[Aggregate, int], window: Window
) -> tuple[tuple[StateChange, ...], int]:
    """The newest record of each aggregate of which the pages have none, and how many of those had no room."""
    newest: dict[Aggregate, StateChange] = {}
    for one in records:
        aggregate = aggregate_of(one)
        if newer.get(aggregate, 0) <= one.sequence:
            newest[aggregate] = max(one, newest.get(aggregate, one), key=lambda record: record.sequence)
    ordered = sorted(newest.values(), key=lambda record: record.sequence, reverse=True)
    room_bytes, kept = window.kept_bytes_max, 0
    for one in ordered[: window.kept_records_max]:
        room_bytes -= len(encode(one))
        if room_bytes < 0:
            break
        kept += 1
    return tuple(reversed(ordered[:kept])), len(ordered) - kept


async def compact(shelf: Shelf, now_wall_ms: int, window: Window) -> Compaction:
    held = await shelf.look()
    await shelf.ask_kept()
    index, removed = shelf.index, 0
    if held is not None and (first := page_first_of(index, now_wall_ms, window)) > index.page_first:
        removed = await _fold(shelf, index.birth, first, window)
        await shelf.ask_kept()
    return Compaction(
        pages_removed=await _sweep(shelf),
        records_removed=removed,
        compacted_through=index.through,
        records_kept=0 if index.kept is None else len(index.kept.events),
        forgotten=index.forgotten,
    )


async def _fold(shelf: Shelf, birth: str, first: int, window: Window) -> int:
    """Step 2; how many records are no more by it, 0 if somebody else was faster."""
    found, revision = await shelf.kept()
    if found is not None and found.birth != birth:
        # What a younger journal has kept is not replaced: who looks again knows whether ours is the younger one.
        await shelf.look()
        found = None
    old = found or Kept(format=FORMAT, birth=birth, through=0, page_first=0, forgotten=0, records=())
    sheets = [one for one in shelf.index.sealed if old.page_first <= one.index < first]
    if not sheets or shelf.index.birth != birth:
        return 0
    newer = shelf.index.newest(first)
    records = list(old.records)
    for start in range(0, len(sheets), READ_AT_ONCE):
        for entry in await shelf.entries(one.index for one in sheets[start : start + READ_AT_ONCE]):
            records += page_of(entry.key, entry.value).records if entry is not None else ()
    left, forgotten = left_of(records, newer, window)
    kept = Kept(
        format=FORMAT,
        birth=birth,
        through=sheets[-1].next - 1,
        page_first=first,
        forgotten=old.forgotten + forgotten,
        records=left,
    )
    done = await shelf.store.put(BUCKET, KEPT, encode(kept), expect=revision)
    return 0 if done is None else len(records) - len(left)


async def _sweep(shelf: Shelf) -> int:
    """Step 3: every full page that nobody reads. It is listed before the tail is asked for its birth: a page of a birth that is
    younger than the tail was there after the list was made.
    """
    there = await shelf.store.keys(BUCKET, PAGES)
    held = await shelf.look()
    if held is None:
        return 0
    await shelf.ask_kept()
    birth, first = held.page.birth, shelf.index.page_first
    mine, until = page_key(birth, 0).rpartition("/")[0] + "/", page_key(birth, first)
    gone = [key for key in there if not key.startswith(mine) or key < until]
    for start in range(0, len(gone), READ_AT_ONCE):
        await asyncio.gather(*(shelf.store.delete(BUCKET, key) for key in gone[start : start + READ_AT_ONCE]))
    return len(gone)
