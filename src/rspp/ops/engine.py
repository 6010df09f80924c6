"""The state engine of one process: the surfaces' rows, what the journal says of them, and what follows from both.

    store --watch--> snapshots --> health --> actions
                        |            (pure, made again when something has changed)
    journal --follow--> coverage: is every change that was seen also told?
                        |
                        +--> on_change: surface, aggregate, tenant, the journal's number; never state

It decides nothing and changes nothing. Without a journal it knows the same rows and the same health, and tells of changes by
what it sees; so a journal that is lost, late or forgotten loses nobody anything but its own records.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Final, Protocol

import msgspec

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS
from rspp.host.ports import Clock, Store
from rspp.ops.actions import Action, actions_of
from rspp.ops.changes import Change, StateChange
from rspp.ops.coverage import CoverageBook, JournalStanding, SurfaceCoverage, Thing
from rspp.ops.coverage import Seen as Watched
from rspp.ops.health import Health, health_of
from rspp.ops.journal.journal import Journal, JournalStatus, SurfaceRecords
from rspp.ops.journal.record import recorded_name
from rspp.ops.journalled import gone_of, known_of
from rspp.ops.snapshots import WATCH_MS, Seen, Snapshots
from rspp.ops.surfaces import HEALTH, Surfaces

log = logging.getLogger("rspp.ops.engine")

TICK_MS: Final = 100
RETRY_MS: Final = 500
# A record may be there before the watch has the row that it tells of: whoever asks on being told would get the former one.
AWAITED_MS: Final = 1_000
AWAITED_MAX: Final = 4_096  # of more, the oldest are told at once
SOURCE: Final = "engine"

# surface, aggregate, tenant (None: nobody's), the journal's last number
Changed = Callable[[str, str, str | None, int], None]


class Writes(Protocol):
    """The journal's writer in this process."""

    @property
    def problem(self) -> str: ...
    @property
    def lost(self) -> Mapping[str, int]: ...
    def tell(self, change: Change) -> None: ...


class _Awaited(msgspec.Struct, frozen=True):
    """A record whose row was not seen yet."""

    record: StateChange
    thing: Thing
    revision: int
    at: int


class StateEngine:
    """What a console asks. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        surfaces: Surfaces,
        clock: Clock,
        writer: Writes,
        journal: Journal | None = None,
    ) -> None:
        self.surfaces, self.writer = surfaces, writer
        self.journal = journal or Journal(store, surfaces, clock)
        self.snapshots = Snapshots(store, surfaces, clock)
        self.snapshots.on_change(self._seen)
        self._clock = clock
        self._book = CoverageBook()
        self._on_change: list[Changed] = []  # bounded: by the parts of this process
        self._awaited: OrderedDict[str, _Awaited] = OrderedDict()  # bounded: AWAITED_MAX
        self._gone: OrderedDict[Thing, tuple[Seen, int]] = OrderedDict()  # bounded: by the rows
        self._levels: dict[Thing, str] = {}  # of rows on which time works; bounded: by those
        self._was_stale = True
        self._health: Health | None = None
        self._actions: list[Action] | None = None

    # ---- what is asked -----------------------------------------------------------------------------------------------

    @property
    def sequence(self) -> int:
        return self.snapshots.sequence

    def health(self) -> Health:
        """How everything is; the same value until something changes."""
        if self._health is None or self._health.stale is not self.snapshots.stale:
            self._health = health_of(
                self.snapshots.by_surface(),
                self.surfaces,
                as_of_ms=self._clock.wall() // NS_PER_MS,
                sequence=self.sequence,
                stale=self.snapshots.stale,
            )
            self._actions = None
        return self._health

    def actions(self) -> list[Action]:
        """What can be done now."""
        health = self.health()
        if self._actions is None:
            self._actions = actions_of(health)
        return list(self._actions)

    def coverage(self) -> list[SurfaceCoverage]:
        """How others hear of each surface's changes, as this process has seen it."""
        now, problem, full = self._clock.now(), self.writer.problem, self.snapshots.full
        lost = self.writer.lost
        return [
            self._book.of(one, now, problem=problem, full=full.get(one.name, 0), lost=lost.get(one.name, 0))
            for one in self.surfaces
        ]

    async def status(self) -> JournalStanding:
        """The journal, and what the watch has found out about it; a journal that cannot be read says so."""
        problem = self.writer.problem
        try:
            found = await self.journal.status()
        except (RsppError, OSError) as error:
            why = error.code if isinstance(error, RsppError) else type(error).__name__
            found = JournalStatus(
                records=0, oldest=0, last=self.sequence, bytes=0, pages=0, kept=0, forgotten=0, surfaces=()
            )
            problem = problem or f"the journal cannot be read: {why}"
        held = {one.surface: one for one in found.surfaces}
        return JournalStanding(
            writable=not problem,
            problem=problem,
            records=found.records,
            oldest=found.oldest,
            last=found.last,
            bytes=found.bytes,
            surfaces=tuple(_with_records(one, held.get(one.surface)) for one in self.coverage()),
        )

    def on_change(self, callback: Changed) -> None:
        """Called for every record of the journal, and for every change that was seen and that the journal missed."""
        self._on_change.append(callback)

    # ---- life --------------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read everything once; raises what the store raises. A journal that cannot be read keeps nobody from it."""
        await self._begin()
        await self.snapshots.load()

    async def run(self) -> None:
        """Follow the store and the journal until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.snapshots.run(), name="engine:snapshots")
            tasks.create_task(self._follow(), name="engine:journal")
            while True:
                await asyncio.sleep(TICK_MS / 1000)
                self.tick()

    async def _begin(self) -> None:
        try:
            last = (await self.journal.status()).last
        except (RsppError, OSError) as error:
            log.warning("the journal cannot be read: %s", type(error).__name__)
            return
        if last != self.sequence:
            self.snapshots.sequence, self._health = last, None

    async def _follow(self) -> None:
        while True:
            scope = asyncio.timeout(WATCH_MS / 1000)
            try:
                async with scope, aclosing(self.journal.follow(self.sequence)) as records:  # type: ignore[type-var]
                    async for record in records:
                        self.recorded(record)
            except (RsppError, OSError) as error:
                if scope.expired():
                    continue  # one that has quietly died is not believed for longer
                log.info("the journal cannot be followed: %s", type(error).__name__)
            await asyncio.sleep(RETRY_MS / 1000)
            await self._begin()  # what was forgotten meanwhile, or deleted whole, will not come any more

    # ---- what comes in -----------------------------------------------------------------------------------------------

    def recorded(self, record: StateChange) -> None:
        """A record of the journal. It is told on when its row is there to be asked for."""
        self.snapshots.sequence = record.sequence
        self._health = None
        tenant, revision = record.metadata.get("tenant"), record.metadata.get("revision")
        thing = record.surface, str(tenant or ""), record.aggregate_id
        if not isinstance(revision, int):
            self._tell(thing, record.sequence)
            return
        self._book.recorded(thing, str(record.metadata.get("row", "")), revision)
        if not record.metadata.get("row"):
            self._deleted(thing, revision)
        seen = self.snapshots.seen(thing)
        if record.metadata.get("row") and (seen is None or seen.revision < revision):
            self._awaited[record.event_id] = _Awaited(record, thing, revision, self._clock.now())
            if len(self._awaited) > AWAITED_MAX:
                self._release(next(iter(self._awaited)))
        else:
            self._compare(thing, record, revision)
            self._tell(thing, record.sequence)

    def _compare(self, thing: Thing, record: StateChange, revision: int) -> None:
        """A record of another row than was there before it and is there now: that it came back must have been told too."""
        row, seen = str(record.metadata.get("row", "")), self.snapshots.seen(thing)
        if row and seen is not None and seen.digest != row and seen.since < revision < seen.revision:
            self._book.saw(Watched(thing, seen.digest, revision, seen.revision, self._clock.now()))

    def _deleted(self, thing: Thing, revision: int) -> None:
        """A row of this revision was taken away: no watch tells that, and one that looks the same may be there again by now."""
        seen = self.snapshots.seen(thing)
        if seen is not None and seen.revision <= revision:
            self.snapshots.drop(seen)
        elif seen is not None and seen.since <= revision:
            self._book.saw(Watched(thing, seen.digest, revision, seen.revision, self._clock.now()))
        gone = self._gone.get(thing)
        if gone is not None and revision >= gone[0].revision:
            del self._gone[thing]

    def _seen(self, before: Seen | None, after: Seen | None) -> None:
        """The watch found another row."""
        self._health = None
        if after is None:
            assert before is not None
            self._gone[before.thing] = (before, self._clock.now())
            self._book.ended(_as_recorded(before.thing), before.revision)
            self._levels.pop(before.thing, None)
            return
        self._gone.pop(after.thing, None)
        self._levels.pop(after.thing, None)  # this change is told by itself
        since, thing = 0 if before is None else before.revision, _as_recorded(after.thing)
        self._book.saw(Watched(thing, after.digest, since, after.revision, self._clock.now()))
        if thing != after.thing:
            self._tell(after.thing, self.sequence)  # its record will not name it

    # ---- what time brings --------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Tell what is due: records whose rows have come, what no record came for, what time alone has changed."""
        now = self._clock.now()
        for event, awaited in list(self._awaited.items()):
            seen = self.snapshots.seen(awaited.thing)
            if (seen is not None and seen.revision >= awaited.revision) or self._is_late(awaited.at, now):
                self._release(event)
        for missed in self._book.due(now):
            log.warning("a change of %s was not told to the journal", missed.thing[0])
            self._tell(missed.thing, self.sequence)
        for thing, (seen, at) in list(self._gone.items()):
            if self._is_late(at, now):
                del self._gone[thing]
                self._expired(seen)
        self._pass_time()

    def _is_late(self, at: int, now: int) -> bool:
        return now - at >= AWAITED_MS * NS_PER_MS

    def _release(self, event: str) -> None:
        awaited = self._awaited.pop(event)
        self._compare(awaited.thing, awaited.record, awaited.revision)
        self._tell(awaited.thing, awaited.record.sequence)

    def _expired(self, seen: Seen) -> None:
        """Nobody said that it is gone: its time to live was over, or somebody took it away past the journal. So we say it."""
        bucket, key = seen.place
        self.writer.tell(
            gone_of(
                seen.surface.name,
                bucket,
                key,
                known_of(seen.row, seen.revision),
                source=SOURCE,
                wall_ms=self._clock.wall() // NS_PER_MS,
            )
        )
        self._tell(seen.thing, self.sequence)

    def _pass_time(self) -> None:
        """A row that fell silent, or whose time is over, is another one; nobody wrote that."""
        if self.snapshots.stale is not self._was_stale:
            self._was_stale, self._health = self.snapshots.stale, None
            self._tell((HEALTH, "", HEALTH), self.sequence)
        for seen, row in self.snapshots.timed():
            thing = seen.thing
            if row is seen.row and thing not in self._levels:
                continue  # time has changed nothing: nearly all of them, ten times a second
            told = f"{row.level} {row.state} {row.over}"
            before = self._levels.get(thing, f"{seen.row.level} {seen.row.state} {seen.row.over}")
            self._levels[thing] = told
            if told != before:
                self._health = None
                self._tell(thing, self.sequence)

    def _tell(self, thing: Thing, sequence: int) -> None:
        surface, tenant, aggregate = thing
        for callback in self._on_change:
            callback(surface, aggregate, tenant or None, sequence)


def _as_recorded(thing: Thing) -> Thing:
    """As the journal names it, which hides a name that looks like a secret."""
    surface, tenant, aggregate = thing
    return surface, tenant, recorded_name(aggregate)


def _with_records(one: SurfaceCoverage, held: SurfaceRecords | None) -> SurfaceCoverage:
    if held is None:
        return one
    return msgspec.structs.replace(one, records=held.records, last_sequence=held.last_sequence)
