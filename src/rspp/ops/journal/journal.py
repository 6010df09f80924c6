"""The journal of one store, as one process writes and reads it.

Whatever it answers was true of the store when it was asked. Nothing here is kept apart from the store but the index, which is
made anew from it at any time; a process that dies anywhere leaves a journal that is whole.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from secrets import token_hex
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.host.ports import Clock, Store
from rspp.ops.changes import Change, StateChange
from rspp.ops.journal import bounds, checking, compaction, following
from rspp.ops.journal.bounds import (
    APPEND_MS_MAX,
    LIMIT_DEFAULT,
    RACE_PAUSE_MS,
    RACE_PAUSE_MS_MAX,
    WINDOW,
    Window,
)
from rspp.ops.journal.pages import BUCKET, TAIL, Page, batches, encode, first_page, page_key, written
from rspp.ops.journal.reading import JournalPage, collected
from rspp.ops.journal.record import drafted
from rspp.ops.journal.shelf import Held, Shelf
from rspp.ops.surfaces import Surfaces

READ_TRIES_MAX: Final = 8


class SurfaceRecords(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal holds of one surface."""

    surface: str
    records: int
    last_sequence: int


class JournalStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is. Between `oldest` and `last` no number is missing; of older ones `kept` records are left."""

    records: int
    oldest: int
    last: int
    bytes: int
    pages: int
    kept: int
    forgotten: int
    surfaces: tuple[SurfaceRecords, ...]


class Journal:
    """Belongs to one event loop. Any number of them, in any processes, may be over one store."""

    def __init__(self, store: Store, surfaces: Surfaces, clock: Clock, *, window: Window = WINDOW) -> None:
        self.surfaces: Final = surfaces
        self._store = store
        self._clock = clock
        self._window = window
        self._shelf = Shelf(store)
        self._turn = asyncio.Lock()
        self._held: Held | None = None  # the tail, while nobody but us has written it as far as we know

    # ---- writing ---------------------------------------------------------------------------------------------------

    async def append(self, changes: Sequence[Change]) -> list[StateChange]:
        """The records of these changes, in their order; one whose event_id is in the journal already is that record.

        Up to BATCH_RECORDS_MAX of them, and BATCH_BYTES_MAX, are written whole or not at all. Raises `MisuseError` for a change that none may record,
        before anything is written, and what the store raises: then the same changes may be given again, and none is recorded
        twice.
        """
        drafts = [drafted(one, self.surfaces) for one in changes]
        found: dict[str, StateChange] = {}
        for batch in batches(drafts):
            async with self._turn:
                found |= await self._append({one.event_id: one for one in batch})
        return [found[one.event_id] for one in drafts]

    async def _append(self, batch: dict[str, StateChange]) -> dict[str, StateChange]:
        deadline = asyncio.get_running_loop().time() + APPEND_MS_MAX / 1000
        pause_ms = RACE_PAUSE_MS
        while True:
            if self._held is None:
                self._held = await self._shelf.look()
            sequence_of = self._shelf.index.sequence_of
            fresh = [one for event, one in batch.items() if sequence_of(event) is None]
            made = {one.event_id: one for one in await self._replace(fresh)} if fresh else {}
            known = {event: at for event in batch if (at := sequence_of(event)) is not None}
            if len(known) == len(batch):
                return made | {
                    event: await self._at(at, batch[event])
                    for event, at in known.items()
                    if event not in made
                }
            if asyncio.get_running_loop().time() >= deadline:
                raise PeerFault("journal_contended", "others write to the journal all the time")
            await asyncio.sleep(pause_ms * random.random() / 1000)  # noqa: S311 - no secret hangs on it
            pause_ms = min(2 * pause_ms, RACE_PAUSE_MS_MAX)

    async def _replace(self, fresh: list[StateChange]) -> tuple[StateChange, ...]:
        """One try to put them behind what is there; nothing where somebody else was first. An answer that was lost is looked up."""
        held, self._held = self._held, None  # until it is known how this went, nothing is
        birth = token_hex(4) if held is None else held.page.birth
        before = first_page(birth, self._shelf.index.last) if held is None else held.page
        step = written(before, fresh)
        if step.sealed is not None:
            await self._store.put(BUCKET, page_key(birth, step.sealed.index), encode(step.sealed))
        data = encode(step.tail)
        try:
            revision = await self._store.put(BUCKET, TAIL, data, expect=held.revision if held else 0)
        except (RsppError, OSError):
            self._held = await self._shelf.look()
            if any(self._shelf.index.sequence_of(one.event_id) is None for one in fresh):
                raise
            return ()
        if revision is None:
            return ()
        if not await self._shelf.wrote(step.tail, len(data), step.sealed):
            return ()
        self._held = Held(step.tail, revision)
        return step.records

    async def _at(self, sequence: int, draft: StateChange) -> StateChange:
        """The record that is there under this number; as it would be, where compaction has just taken it away."""
        if self._held is not None and sequence >= self._held.page.first:
            return self._held.page.records[sequence - self._held.page.first]
        page = await self.page(after=sequence - 1, limit=1)
        if page.records and page.records[0].sequence == sequence:
            return page.records[0]
        return msgspec.structs.replace(draft, sequence=sequence)

    # ---- reading ---------------------------------------------------------------------------------------------------

    async def page(
        self, after: int = 0, surface: str | None = None, limit: int = LIMIT_DEFAULT
    ) -> JournalPage:
        """Records with numbers above `after`, in order; of one surface, or of all."""
        if after < 0 or not 1 <= limit <= bounds.LIMIT_MAX:
            raise MisuseError("page_invalid", f"after is from 0 up, limit from 1 to {bounds.LIMIT_MAX}")
        if surface is not None:
            self.surfaces.named(surface)
        for tries in range(READ_TRIES_MAX):
            held = await self._shelf.look()
            found = await collected(
                self._shelf, held, after, surface, limit, certain=tries + 1 < READ_TRIES_MAX
            )
            if found is not None:
                return found
            await self._shelf.ask_kept()  # what was to be read was compacted meanwhile
        raise PeerFault("journal_contended", "the journal is compacted faster than it is read")

    def follow(self, after: int) -> AsyncIterator[StateChange]:
        """Every record above `after`, as it comes; raises `Compacted` when some of them are there no more."""
        return following.follow(self, self._store, after)

    async def status(self) -> JournalStatus:
        await self._shelf.look()
        index = self._shelf.index
        sheets = list(index.everything)
        count: dict[str, int] = {}
        last: dict[str, int] = {}
        for sheet in sheets:
            for (surface, *_), sequence in zip(sheet.aggregates, sheet.sequences, strict=True):
                count[surface] = count.get(surface, 0) + 1
                last[surface] = max(sequence, last.get(surface, 0))
        names = dict.fromkeys([*(one.name for one in self.surfaces), *count])
        return JournalStatus(
            records=sum(count.values()),
            oldest=index.oldest,
            last=index.last,
            bytes=sum(sheet.size_bytes for sheet in sheets),
            pages=sum(1 for _ in index.sheets),
            kept=0 if index.kept is None else len(index.kept.events),
            forgotten=index.forgotten,
            surfaces=tuple(
                SurfaceRecords(surface=name, records=count.get(name, 0), last_sequence=last.get(name, 0))
                for name in names
            ),
        )

    # ---- keeping it in order ---------------------------------------------------------------------------------------

    def is_over_bound(self) -> bool:
        """Is there so much to forget that it is worth its cost? As far as is known without asking."""
        index = self._shelf.index
        first = compaction.page_first_of(index, self._wall_ms(), self._window)
        return first - index.page_first >= self._window.due_pages_min

    async def compact(self) -> compaction.Compaction:
        """Forget what need not be kept. It may be stopped anywhere, and several may do it at once."""
        return await compaction.compact(self._shelf, self._wall_ms(), self._window)

    async def validate(self) -> checking.Validation:
        """Read all of it again, and name everything that is not as it must be."""
        return await checking.validate(self._store, self.surfaces)

    def _wall_ms(self) -> int:
        return self._clock.wall() // NS_PER_MS


__all__ = ["Journal", "JournalPage", "JournalStatus", "Page", "SurfaceRecords"]
