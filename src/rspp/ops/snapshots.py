"""The rows of all canonical surfaces, as the store has them now: read whole, kept new by watching, and never older than is said.

    watch     one a bucket, begun anew every WATCH_MS: one that has quietly died is not believed for longer
    listing   every LIST_MS: what is gone, which no watch tells, and what was never told

A row of which its owner says how often it is renewed, and that is not, is `silent`: as far as this process has seen, and only
while it can see. It is read once more before it is called so; and when the store was away, the time counts from when it was back.
Rows are kept within a bound: what has ended gives way to what lives, and what finds no room is counted and said.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing
from itertools import islice
from typing import Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS
from rspp.contract.surface import Level, Row, Surface
from rspp.host.ports import Clock, Entry, Store
from rspp.ops.rows import row_of
from rspp.ops.surfaces import Surfaces

log = logging.getLogger("rspp.ops.snapshots")

ROWS_MAX: Final = 20_000  # of one surface
LIST_MS: Final = 3_000
WATCH_MS: Final = 60_000
STALE_MS: Final = 10_000
RETRY_MS: Final = 500
AT_ONCE: Final = 32
SILENT: Final = "silent"

Place = tuple[str, str]  # bucket, key
Thing = tuple[str, str, str]  # surface, tenant (empty: nobody's), aggregate


class Seen(msgspec.Struct, frozen=True):
    """A row, where it lies, and when this process saw it written last, on its own clock."""

    surface: Surface
    place: Place
    row: Row
    digest: str
    revision: int
    since: int  # the revision at which it was first seen to look like this
    at: int

    @property
    def thing(self) -> Thing:
        return self.surface.name, self.row.tenant_id or "", self.row.aggregate_id


# What was there, what is there: None for nothing. At least one is something.
Heard = Callable[[Seen | None, Seen | None], None]


def as_of(seen: Seen, silent_ms: int, wall_ms: int) -> Row:
    """The row with what time alone has made of it."""
    row = seen.row
    if row.over:
        return row
    if (row.until_ms and wall_ms >= row.until_ms) or (row.fades_ms and silent_ms >= row.fades_ms):
        return msgspec.structs.replace(row, over=True, level=Level.OK, reason="", message="")
    if row.renewed_ms and silent_ms > row.renewed_ms:
        what = seen.surface.aggregate_type
        message = f"{row.aggregate_id} says something every {row.renewed_ms} ms or sooner, and has not"
        return msgspec.structs.replace(
            row, state=SILENT, level=Level.FAILED, reason=f"{what}_{SILENT}", message=message
        )
    return row


class Snapshots:
    """Rows by surface, in memory. Belongs to one event loop."""

    def __init__(self, store: Store, surfaces: Surfaces, clock: Clock) -> None:
        self.surfaces = surfaces
        self.sequence = 0  # of the journal's last record that was heard of
        self._store, self._clock = store, clock
        self._rows: dict[str, dict[Place, Seen]] = {
            one.name: {} for one in surfaces
        }  # bounded: ROWS_MAX each
        self._things: dict[Thing, Seen] = {}  # bounded: as the rows
        # Of the rows those that are over, the first that ended first; bounded: as the rows.
        self._over: dict[str, dict[Place, None]] = {one.name: {} for one in surfaces}
        self._left_out: dict[str, set[Place]] = {one.name: set() for one in surfaces}  # bounded: by the keys
        # Of every key, those that are no row included; bounded: by the keys of the buckets.
        self._revisions: dict[str, dict[str, int]] = {bucket: {} for bucket in surfaces.buckets}
        self._timed: dict[Thing, Seen] = {}  # those on which time works; bounded: as the rows
        self._lists: dict[str, list[Row]] = {}  # as they were asked for last, until something changes
        self._on_change: list[Heard] = []  # bounded: by the parts of this process
        self._listed_at: int | None = None
        self._back_at = 0  # when the store could be read again, after it was away
        self._loaded = False

    # ---- what is asked -----------------------------------------------------------------------------------------------

    @property
    def stale(self) -> bool:
        """Could the store not be read lately?"""
        at = self._listed_at
        return at is None or self._clock.now() - at > STALE_MS * NS_PER_MS

    @property
    def full(self) -> dict[str, int]:
        """How many rows find no room, by surface."""
        return {name: len(places) for name, places in self._left_out.items() if places}

    def rows(self, surface: str) -> list[Row]:
        """All rows of one surface, as of now; none of one that nobody declared."""
        known = self._lists.get(surface)
        if known is not None:
            return list(known)
        now, wall_ms = self._last_look(), self._clock.wall() // NS_PER_MS
        seen = self._rows.get(surface, {}).values()
        found = [as_of(one, self._silent_ms(one, now), wall_ms) for one in seen]
        if not any(one.thing[0] == surface for one in self._timed.values()):
            self._lists[surface] = found
        return list(found)

    def row(self, surface: str, aggregate_id: str, tenant_id: str | None = None) -> Row | None:
        seen = self.seen((surface, tenant_id or "", aggregate_id))
        wall_ms = self._clock.wall() // NS_PER_MS
        return None if seen is None else as_of(seen, self._silent_ms(seen, self._last_look()), wall_ms)

    def by_surface(self) -> dict[str, list[Row]]:
        return {one.name: self.rows(one.name) for one in self.surfaces}

    def seen(self, thing: Thing) -> Seen | None:
        """A row and its revision, by surface, tenant (empty: nobody's) and aggregate."""
        return self._things.get(thing)

    def timed(self) -> list[tuple[Seen, Row]]:
        """What time may change, and how it is now."""
        now, wall_ms = self._last_look(), self._clock.wall() // NS_PER_MS
        return [(one, as_of(one, self._silent_ms(one, now), wall_ms)) for one in self._timed.values()]

    def on_change(self, callback: Heard) -> None:
        """Called for each row that is another than before, from the second reading on."""
        self._on_change.append(callback)

    def _last_look(self) -> int:
        """Until when silence means something: what happened while the store was away nobody has seen."""
        now = self._clock.now()
        if self._listed_at is None or now - self._listed_at <= 2 * LIST_MS * NS_PER_MS:
            return now
        return self._listed_at

    def _silent_ms(self, seen: Seen, now: int) -> int:
        return max(0, now - max(seen.at, self._back_at)) // NS_PER_MS

    # ---- what is there -----------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read everything once; raises what the store raises. Nothing of it counts as a change."""
        for bucket in self.surfaces.buckets:
            await self._list(bucket)
        self._loaded = True
        self._listed_at = self._clock.now()

    def take(self, bucket: str, entry: Entry) -> None:
        """One key as it is now; what is older than what is known changes nothing."""
        place, revisions = (bucket, entry.key), self._revisions[bucket]
        if entry.revision <= revisions.get(entry.key, 0):
            return
        revisions[entry.key] = entry.revision
        for surface in self.surfaces.at(bucket, entry.key):
            row, digest = self._read(surface, entry)
            before = self._rows[surface.name].get(place)
            if row is not None and before is None and not self._has_room(surface.name, row):
                self._left_out[surface.name].add(place)
                continue
            self._left_out[surface.name].discard(place)
            if row is not None:
                self._put(surface, place, row, digest, entry.revision, before)
            elif before is not None:
                self._drop(before)

    def drop(self, seen: Seen) -> None:
        """Somebody says that this row is there no more. If that is not so, the next listing brings it back."""
        if self._things.get(seen.thing) is seen:
            bucket, key = seen.place
            self._revisions[bucket].pop(key, None)
            self._drop(seen)

    def _read(self, surface: Surface, entry: Entry) -> tuple[Row | None, str]:
        """The row and its digest."""
        try:
            row = row_of(surface, entry.key, entry.value)
            return (None, "") if row is None else (row, row.digest())
        except Exception as error:  # noqa: BLE001 - supervised: one owner's row must not end the watch of all others
            log.error("a row of %s cannot be made: %s", surface.name, type(error).__name__)  # noqa: TRY400
            return None, ""

    def _has_room(self, surface: str, row: Row) -> bool:
        """What has ended, and is only kept to be looked at, makes room for what lives."""
        if len(self._rows[surface]) < ROWS_MAX:
            return True
        ended = next(iter(self._over[surface]), None)
        if row.over or ended is None:
            return False
        self._remove(self._rows[surface][ended])
        self._left_out[surface].add(ended)
        return True

    def _put(
        self, surface: Surface, place: Place, row: Row, digest: str, revision: int, before: Seen | None
    ) -> None:
        rows, since = self._rows[surface.name], revision
        if before is not None and before.digest == digest:
            row, since = msgspec.structs.replace(row, since_ms=before.row.since_ms), before.since
        seen = rows[place] = Seen(surface, place, row, digest, revision, since, self._clock.now())
        if before is not None and before.thing != seen.thing:
            self._things.pop(before.thing, None)
            self._timed.pop(before.thing, None)
        self._things[seen.thing] = seen
        self._mark(seen)
        if before is None or before.digest != digest:
            self._lists.pop(surface.name, None)
            self._tell(before, seen)

    def _mark(self, seen: Seen) -> None:
        row, over = seen.row, self._over[seen.surface.name]
        if row.over:
            over.setdefault(seen.place)
        else:
            over.pop(seen.place, None)
        if not row.over and (row.until_ms or row.fades_ms or row.renewed_ms):
            self._timed[seen.thing] = seen
            self._lists.pop(seen.surface.name, None)
        else:
            self._timed.pop(seen.thing, None)

    def _drop(self, before: Seen) -> None:
        self._remove(before)
        self._tell(before, None)

    def _remove(self, before: Seen) -> None:
        del self._rows[before.surface.name][before.place]
        self._over[before.surface.name].pop(before.place, None)
        self._timed.pop(before.thing, None)
        if self._things.get(before.thing) is before:
            del self._things[before.thing]
        self._lists.pop(before.surface.name, None)

    def _tell(self, before: Seen | None, after: Seen | None) -> None:
        if self._loaded:
            for callback in self._on_change:
                callback(before, after)

    # ---- the store ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the store until cancelled; while it cannot be reached, the rows grow older and say so."""
        async with asyncio.TaskGroup() as tasks:
            for bucket in self.surfaces.buckets:
                tasks.create_task(self._watch(bucket), name=f"snapshots:{bucket}")
            tasks.create_task(self._relist(), name="snapshots:list")

    async def _watch(self, bucket: str) -> None:
        while True:
            scope = asyncio.timeout(WATCH_MS / 1000)
            try:
                async with scope, aclosing(self._store.watch(bucket)) as changes:  # type: ignore[type-var]
                    async for entry in changes:
                        self.take(bucket, entry)
            except (RsppError, OSError) as error:
                if scope.expired():
                    continue
                log.info("watching %s: %s", bucket, type(error).__name__)
            await asyncio.sleep(RETRY_MS / 1000)

    async def _relist(self) -> None:
        while True:
            try:
                began = self._clock.now()
                for bucket in self.surfaces.buckets:
                    await self._list(bucket)
                if self._listed_at is not None and began - self._listed_at > 2 * LIST_MS * NS_PER_MS:
                    self._back_at = self._clock.now()  # nobody could say anything while it was away
                self._loaded, self._listed_at = True, began
                await asyncio.sleep(LIST_MS / 1000)
            except (RsppError, OSError) as error:
                log.info("surfaces could not be listed: %s", type(error).__name__)
                await asyncio.sleep(RETRY_MS / 1000)

    async def _list(self, bucket: str) -> None:
        """What is there that was never seen, or that is to be read again, is read; what was seen and is there no more is gone."""
        known = self._revisions[bucket]
        before, there = dict(known), set(await self._store.keys(bucket))
        again = self._again(bucket)
        asked = sorted((there - known.keys()) | (there & again.keys()))
        for start in range(0, len(asked), AT_ONCE):
            lot = asked[start : start + AT_ONCE]
            for entry in await asyncio.gather(*(self._store.get(bucket, key) for key in lot)):
                if entry is not None:
                    if again.get(entry.key) == known.get(entry.key):
                        known.pop(entry.key, None)
                    self.take(bucket, entry)
        # Seen before the listing, not in it, and not made anew meanwhile.
        self._forget(bucket, [key for key in before.keys() - there if known.get(key) == before[key]])

    def _again(self, bucket: str) -> dict[str, int]:
        """What is read although it is known: rows for which there is room now, and those that will soon be called silent, for it
        may be the watch that fell silent. With the revision from which on the row is read anew; 0: only if it is another one.
        """
        now, again = self._clock.now(), {}  # bounded: ROWS_MAX, and the rows on which time works
        for seen in self._timed.values():
            half_ms = seen.row.renewed_ms // 2
            if seen.place[0] == bucket and half_ms and self._silent_ms(seen, now) > half_ms:
                again[seen.place[1]] = 0
        for name, places in self._left_out.items():
            room = ROWS_MAX - len(self._rows[name])
            for place in islice(places, max(0, room)) if places else ():
                if place[0] == bucket:
                    again[place[1]] = self._revisions[bucket].get(place[1], 0)
        return again

    def _forget(self, bucket: str, keys: Iterable[str]) -> None:
        for key in keys:
            del self._revisions[bucket][key]
            for surface in self.surfaces.at(bucket, key):
                place = (bucket, key)
                self._left_out[surface.name].discard(place)
                seen = self._rows[surface.name].get(place)
                if seen is not None:
                    self._drop(seen)
