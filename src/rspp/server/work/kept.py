"""Work sessions are put on record line by line: each line of a trace is one revision, and one record of the journal.

    the store has line n  ->  is it in the journal?  ->  put line n+1 by compare-and-set  ->  in the journal  ->  n+2 ...

A line is put only when the one before it is in the journal, so whatever dies wherever, at most the last line lacks its
record; and whoever tells next begins by telling that one again, which has the same id and so is one record. A line that is
there already is skipped: two who tell the same never go back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from rspp.contract.errors import PeerFault
from rspp.control.fleet.work import DONE, SESSIONS_MAX, WORK, Work, work_of
from rspp.control.names import key
from rspp.host.ports import Entry
from rspp.manifest.telling import WorkSnapshot
from rspp.ops.changes import Change
from rspp.ops.journalled import CHANGED, CREATED, ENDED, change_of, event_id
from rspp.ops.rows import row_of
from rspp.ops.work_session import SURFACE
from rspp.server.state import Told
from rspp.server.work.record import ENCODE, recorded

DAY_MS: Final = 24 * 3_600_000
# A session that is done is looked at for a month; one that is not may be taken up again half a year later.
DONE_TTL_MS: Final = 30 * DAY_MS
TTL_MS: Final = 180 * DAY_MS
RACES_MAX: Final = 16
JOURNAL_MS_MAX: Final = 2_000


class KeptWork:
    """Belongs to one loop. The store is somebody else's to close."""

    def __init__(self, told: Told, *, source: str, wall_ms: Callable[[], int]) -> None:
        self._told, self._source, self._wall_ms = told, source, wall_ms
        self._turn = asyncio.Lock()
        # What is in the journal for certain, of sessions that were told here: id -> revision.
        self._sure: dict[str, int] = {}  # bounded: SESSIONS_MAX

    async def tell(self, snapshots: Sequence[WorkSnapshot]) -> None:
        """All of them are on record and in the journal when this returns; raises what keeps them from it. Lines may come again:
        what is there already costs one look.
        """
        async with self._turn:
            there: dict[str, Entry | None] = {}  # bounded: by the sessions that are told at once
            for one in snapshots:
                if one.id not in there:
                    there[one.id] = await self._looked(one.id)
                there[one.id] = await self._tell(one, there[one.id])

    async def last(self, session: str) -> Work | None:
        """What is on record of it, and in the journal for certain."""
        async with self._turn:
            return work_of(await self._looked(session))

    async def _tell(self, snapshot: WorkSnapshot, entry: Entry | None) -> Entry | None:
        """What is on record afterwards."""
        where = key(snapshot.id)
        for _ in range(RACES_MAX):
            before = work_of(entry)
            if before is not None and _is_told(snapshot, before):
                return entry
            if entry is None:
                await self._make_room()
            work = recorded(snapshot, before)
            value, expect = ENCODE(work), entry.revision if entry is not None else 0
            revision = await self._told.store.put(WORK, where, value, expect=expect, ttl_ms=_ttl_ms(work))
            if revision is not None:
                await self._flushed()
                self._is_sure(snapshot.id, revision)
                return Entry(where, value, revision)
            entry = await self._looked(snapshot.id)
        raise PeerFault("store_contended", "others tell of this work session all the time")

    async def _looked(self, session: str) -> Entry | None:
        """What is on record, and in the journal for certain."""
        entry = await self._told.store.get(WORK, key(session))
        work = work_of(entry)
        if entry is not None and work is not None:
            await self._be_sure(entry, work)
        return entry

    async def _be_sure(self, entry: Entry, work: Work) -> None:
        """Whoever wrote this may have died before it was in the journal: it is told again, which makes it one record still."""
        if self._sure.get(work.id) == entry.revision:
            return
        row = row_of(SURFACE, entry.key, entry.value)
        if row is None:
            return
        what = ENDED if row.over else CREATED if work.line == 1 else CHANGED
        change: Change = change_of(
            SURFACE,
            row,
            what=what,
            event=event_id(SURFACE.name, WORK, entry.key, entry.revision),
            source=self._source,
            revision=entry.revision,
            wall_ms=self._wall_ms(),
        )
        self._told.writer.tell(change)
        await self._flushed()
        self._is_sure(work.id, entry.revision)

    def _is_sure(self, session: str, revision: int) -> None:
        self._sure.pop(session, None)
        self._sure[session] = revision
        if len(self._sure) > SESSIONS_MAX:
            del self._sure[next(iter(self._sure))]

    async def _flushed(self) -> None:
        if not await self._told.writer.flush(JOURNAL_MS_MAX):
            why = self._told.writer.problem or f"it took more than {JOURNAL_MS_MAX} ms"
            raise PeerFault("work_untold", f"the journal does not have it yet: {why}")

    async def _make_room(self) -> None:
        """Of more sessions than are kept the oldest go, those first that are done."""
        names = await self._told.store.keys(WORK)
        if len(names) < SESSIONS_MAX:
            return
        every = [(name, work_of(await self._told.store.get(WORK, name))) for name in names]
        oldest = sorted(every, key=lambda one: _keeping(one[1]))
        for name, _ in oldest[: len(names) - SESSIONS_MAX + 1]:
            await self._told.store.delete(WORK, name)


def _keeping(work: Work | None) -> tuple[int, int]:
    """How much it is worth keeping: least what nobody can read."""
    return (0, 0) if work is None else (1 if work.state == DONE else 2, work.updated_at_ms)


def _is_told(snapshot: WorkSnapshot, before: Work) -> bool:
    """Is this line on record already? Of two sessions of one name the one that began last is on record, and the other one is
    told so, whoever speaks when: they never take turns.
    """
    if snapshot.begun != before.begun:
        if (snapshot.begun_at_ms, snapshot.begun) > (before.begun_at_ms, before.begun):
            return False  # the same name was begun anew: the newer one is what there is
        where = f" in a folder {before.folder}" if before.folder else ""
        raise PeerFault(
            "work_other",
            f"a newer work session of the name {snapshot.id} is on record{where}, so this one is not shown. "
            "Give each its own name, or its own store (--store)",
        )
    if snapshot.line == before.line and snapshot.trace != before.trace:
        raise PeerFault(
            "work_other",
            f"line {before.line} of {snapshot.id} is on record, and is not the line {before.line} that is here: a copy of this "
            "work tells the same store, or its trace was put back. Give one of them its own store (--store)",
        )
    return snapshot.line <= before.line


def _ttl_ms(work: Work) -> int:
    return DONE_TTL_MS if work.state == DONE else TTL_MS
