"""What the watch saw against what the journal was told: whoever changes a surface past the journal is found out.

    the watch sees another row     is there a record of it? -> covered
                                   none after GRACE_MS      -> uncovered: counted, shown, and told on all the same
    a record comes                 what waited for it is covered

A record covers a row if it has its digest, and a revision after that of the row before it and not after its own, and if no record
between the two says otherwise: a watch may skip rows, and a beat that changed nothing raises the revision. Pure, with the time handed in.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.contract.surface import Coverage, Surface, Truth

GRACE_MS: Final = 5_000
# For so long after something was missed a surface counts as watched only.
RECENT_MS: Final = 600_000
# Things whose last records are known, and records of each; a forgotten one may count as uncovered, never as covered.
THINGS_MAX: Final = 50_000
RECORDS_MAX: Final = 16
# Changes that wait for their record; of more the oldest are called uncovered before their time.
WAITING_MAX: Final = 50_000

Thing = tuple[str, str, str]  # surface, tenant (empty: nobody's), aggregate
Place = tuple[Thing, int]  # and the revision


class Seen(msgspec.Struct, frozen=True):
    """A row that the watch found to be another one. `after` is the revision of the row before."""

    thing: Thing
    digest: str
    after: int
    revision: int
    at: int


class Count(msgspec.Struct):
    """Of one surface, since this process looks."""

    watched: int = 0
    uncovered: int = 0
    last_uncovered_at: int | None = None


class SurfaceCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """How others really hear of a surface's changes now, and why, where that is not what it declares."""

    surface: str
    declared: str
    coverage: str
    watched: int
    uncovered: int
    why: str = ""
    records: int = 0
    last_sequence: int = 0


class JournalStanding(msgspec.Struct, frozen=True, kw_only=True):
    """The journal and how far it can be relied on, as one process sees both."""

    writable: bool
    problem: str
    records: int
    oldest: int
    last: int
    bytes: int
    surfaces: tuple[SurfaceCoverage, ...]


class CoverageBook:
    """The account of one process. Nothing here waits."""

    def __init__(self) -> None:
        self._counts: dict[str, Count] = {}  # bounded: by the declarations
        # Digests and revisions that the journal has of a thing; bounded: THINGS_MAX, and RECORDS_MAX of each.
        self._records: OrderedDict[Thing, deque[tuple[str, int]]] = OrderedDict()
        # What was seen last of a thing: a later record may say that its own was not told; bounded: THINGS_MAX
        self._last: OrderedDict[Thing, Seen] = OrderedDict()
        self._waiting: OrderedDict[Place, Seen] = OrderedDict()  # oldest first; bounded: WAITING_MAX
        self._places: dict[Thing, list[Place]] = {}  # of what waits; bounded: likewise

    def count(self, surface: str) -> Count:
        return self._counts.setdefault(surface, Count())

    @property
    def waiting(self) -> int:
        """Changes that still wait to be found in the journal."""
        return len(self._waiting)

    def recorded(self, thing: Thing, digest: str, revision: int) -> None:
        """The journal has this."""
        known = self._records.get(thing)
        if known is None:
            known = self._records[thing] = deque(maxlen=RECORDS_MAX)
            if len(self._records) > THINGS_MAX:
                self._records.popitem(last=False)
        self._records.move_to_end(thing)
        known.append((digest, revision))
        for place in tuple(self._places.get(thing, ())):
            if self._covers(self._waiting[place]):
                self._settle(place)
        last = self._last.get(thing)
        if last is not None and digest and last.after < revision <= last.revision and not self._covers(last):
            self._wait(last)

    def ended(self, thing: Thing, revision: int) -> None:
        """The watch found that the row of this revision is there no more."""
        self._last.pop(thing, None)
        self.recorded(thing, "", revision)

    def saw(self, seen: Seen) -> None:
        """The watch has seen this."""
        self.count(seen.thing[0]).watched += 1
        # What was there before it was taken away says nothing about what came back.
        ended = max((at for digest, at in self._records.get(seen.thing, ()) if not digest), default=0)
        seen = msgspec.structs.replace(seen, after=max(seen.after, ended))
        self._last[seen.thing] = seen
        self._last.move_to_end(seen.thing)
        if len(self._last) > THINGS_MAX:
            self._last.popitem(last=False)
        if not self._covers(seen):
            self._wait(seen)

    def _wait(self, seen: Seen) -> None:
        place = seen.thing, seen.revision
        if place not in self._waiting:
            self._waiting[place] = seen
            self._places.setdefault(seen.thing, []).append(place)

    def due(self, now: int) -> list[Seen]:
        """What nobody told of in time. Each is named once."""
        missed = []
        while self._waiting:
            place, seen = next(iter(self._waiting.items()))
            if now - seen.at < GRACE_MS * NS_PER_MS and len(self._waiting) <= WAITING_MAX:
                break
            self._settle(place)
            if self._last.get(seen.thing) is seen:
                del self._last[seen.thing]  # each is named once
            count = self.count(seen.thing[0])
            count.uncovered += 1
            count.last_uncovered_at = now
            missed.append(seen)
        return missed

    def _settle(self, place: Place) -> None:
        del self._waiting[place]
        places = self._places[place[0]]
        places.remove(place)
        if not places:
            del self._places[place[0]]

    def _covers(self, seen: Seen) -> bool:
        known = self._records.get(seen.thing, ())
        between = [(at, digest) for digest, at in known if digest and seen.after < at <= seen.revision]
        return bool(between) and max(between)[1] == seen.digest

    def of(
        self, surface: Surface, now: int, *, problem: str = "", full: int = 0, lost: int = 0
    ) -> SurfaceCoverage:
        """Effective coverage. `problem`: why this process's own writer cannot write; `full`: rows that find no room; `lost`:
        changes that the writer could not take.
        """
        count = self._counts.get(surface.name, Count())
        coverage, why = surface.coverage, ""
        if surface.truth is Truth.CANONICAL and surface.coverage is Coverage.JOURNAL:
            at = count.last_uncovered_at
            if problem:
                coverage, why = Coverage.WATCH, f"the journal is not written: {problem}"
            elif at is not None and now - at < RECENT_MS * NS_PER_MS:
                minutes = (now - at) // NS_PER_MS // 60_000
                why = f"a change was not told to the journal, {minutes} min ago"
                coverage = Coverage.WATCH
        if lost:
            why = "; ".join(filter(None, (why, f"{lost} changes could not be told to the journal")))
        if full:
            why = "; ".join(filter(None, (why, f"{full} rows find no room here and are not watched")))
        return SurfaceCoverage(
            surface=surface.name,
            declared=surface.coverage.value,
            coverage=coverage.value,
            watched=count.watched,
            uncovered=count.uncovered,
            why=why,
        )
