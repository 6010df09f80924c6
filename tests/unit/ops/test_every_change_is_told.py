"""Ten thousand changes of surfaces, with everything going wrong: each is in the journal or shown as uncovered, and health is right."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import suppress

import pytest

from rspp.contract.errors import PeerFault
from rspp.ops.coverage import GRACE_MS
from rspp.ops.engine import StateEngine
from rspp.ops.health import Health, health_of
from rspp.ops.journal.journal import Journal
from rspp.ops.journal.writer import Writer
from rspp.ops.journalled import Journalled
from rspp.ops.snapshots import Seen, as_of
from rspp.server.surfaces import surfaces
from rspp.testing.clock import run_virtual
from rspp.testing.store import MemoryStore
from tests.unit.ops.owners import OWNERS, Faulty, LoopClock

ALL = surfaces()
SOLE = {place.bucket for one in ALL for place in one.places if place.sole}


Change = tuple[tuple[str, str, str], str, int]  # thing, digest, revision


class World:
    """Several processes that write, one that looks, and what really happened."""

    def __init__(self, seed: int, writers: int = 3) -> None:
        self.draw = random.Random(seed)
        self.clock = LoopClock()
        self.bare = MemoryStore(self.clock)
        self.faulty = Faulty(self.bare)
        self.writers = [Writer(Journal(self.faulty, ALL, self.clock)) for _ in range(writers)]
        self.stores = [
            Journalled(self.faulty, ALL, one, source=f"p{number}", wall_ms=self.clock.wall_ms)
            for number, one in enumerate(self.writers)
        ]
        self.engine = StateEngine(self.bare, ALL, self.clock, self.writers[0])
        self.uncovered: list[tuple[str, str, str]] = []
        self.told: list[tuple[str, str, str | None, int]] = []
        self.engine.on_change(lambda *change: self.told.append(change))
        # What is in the store, as it came to be there: place -> (value, revision, when).
        self.there: dict[tuple[str, str], tuple[bytes, int, int]] = {}
        self.changes: list[Change] = []
        self.honest: list[Change] = []  # those whose owner knew what became of its write
        self.bypassed: set[tuple[str, str]] = set()

    # ---- what happens ------------------------------------------------------------------------------------------------

    async def step(self, beat: int) -> None:
        draw = self.draw
        bucket, key, value = draw.choice(OWNERS)(draw, beat)
        place, chance = (bucket, key), draw.random()
        known = self.there.get(place)
        expect = draw.choice([None, known[1] if known else 0])
        if bucket in ("sessions", "status", "members") or key.startswith("rollout"):
            expect = known[1] if known else 0  # owners of these never write blindly
        own = self.stores[0]  # where a place has one writer
        if chance < 0.03 and known is not None:
            await (own if bucket in SOLE else draw.choice(self.stores)).delete(bucket, key)
            del self.there[place]
            return
        honest = chance >= 0.11
        if chance < 0.06:  # past the journal
            await self.bare.put(bucket, key, value)
            self.bypassed.add(place)
        else:
            store = own if bucket in SOLE else draw.choice(self.stores)
            self.faulty.lose = "before" if 0.06 <= chance < 0.08 else "after" if chance < 0.11 else ""
            with suppress(PeerFault):
                await store.put(bucket, key, value, expect=expect)
            self.faulty.lose = ""
        # A place with one writer is believed to have one.
        await self.note(place, honest=honest and not (place in self.bypassed and bucket in SOLE))

    async def note(self, place: tuple[str, str], *, honest: bool) -> None:
        """What stands there now, and whether its row is another one."""
        entry = await self.bare.get(*place)
        before = self.there.get(place)
        if entry is None or (before is not None and before[1] == entry.revision):
            return
        self.there[place] = (entry.value, entry.revision, self.clock.now())
        for surface in ALL.at(*place):
            assert surface.row is not None
            row = surface.row(place[1], entry.value)
            former = None if before is None else surface.row(place[1], before[0])
            if row is not None and (former is None or former.digest() != row.digest()):
                thing = surface.name, row.tenant_id or "", row.aggregate_id
                self.changes.append((thing, row.digest(), entry.revision))
                self.honest += self.changes[-1:] if honest else []

    # ---- what must hold ----------------------------------------------------------------------------------------------

    def from_scratch(self) -> Health:
        """Health from nothing but what lies in the store."""
        rows = defaultdict(list)
        for (bucket, key), (value, revision, at) in self.there.items():
            for surface in ALL.at(bucket, key):
                assert surface.row is not None
                row = surface.row(key, value)
                if row is not None:
                    seen = Seen(surface, (bucket, key), row, row.digest(), revision, revision, at)
                    silent_ms = (self.clock.now() - at) // 1_000_000
                    rows[surface.name].append(as_of(seen, silent_ms, self.clock.wall_ms()))
        now = self.engine.health()
        return health_of(rows, ALL, as_of_ms=now.as_of_ms, sequence=now.sequence, stale=now.stale)

    async def settled(self) -> None:
        """Deletions are found by listing, seconds later."""
        await asyncio.sleep(4.0)

    async def recorded(self) -> dict[tuple[str, str, str], set[tuple[str, int]]]:
        found = defaultdict(set)
        after = 0
        while True:
            page = await self.engine.journal.page(after=after, limit=1_000)
            for one in page.records:
                thing = one.surface, str(one.metadata.get("tenant", "")), one.aggregate_id
                found[thing].add((str(one.metadata["row"]), int(one.metadata["revision"])))
                after = one.sequence
            if not page.records:
                return found


async def mutated(world: World, mutations: int, *, look_every: int) -> set[tuple[tuple[str, str, str], str]]:
    """Everything is changed so often; the things and rows that were shown as uncovered."""
    missed: set[tuple[tuple[str, str, str], str]] = set()
    due = world.engine._book.due

    def watched_due(now: int):  # type: ignore[no-untyped-def]
        found = due(now)
        missed.update((one.thing, one.digest) for one in found)
        return found

    world.engine._book.due = watched_due  # type: ignore[method-assign]
    await world.engine.load()
    tasks = [asyncio.create_task(one.run()) for one in world.writers]
    tasks.append(asyncio.create_task(world.engine.run()))
    await asyncio.sleep(0.2)
    for beat in range(mutations):
        world.faulty.shut = (beat // 500) % 4 == 3  # now and then the journal cannot be written for a while
        await world.step(beat)
        for _ in range(4):  # the watch sees this one, and then the next happens
            await asyncio.sleep(0)
        if beat % 8 == 0:
            await asyncio.sleep(0.02)
        if beat % look_every == look_every - 1:
            await world.settled()
            assert world.engine.health() == world.from_scratch(), f"health is wrong after {beat} changes"
    world.faulty.shut = False
    await asyncio.sleep(60 + 2 * GRACE_MS / 1000)
    assert world.engine.health() == world.from_scratch()
    for one in tasks:
        one.cancel()
    await asyncio.wait(tasks)
    for one in tasks:
        assert one.cancelled(), one
    return missed


def verify(seed: int, mutations: int, look_every: int) -> None:
    async def main() -> None:
        world = World(seed)
        missed = await mutated(world, mutations, look_every=look_every)
        recorded = await world.recorded()
        lost = [
            change
            for change in world.changes
            if (change[1], change[2]) not in recorded[change[0]] and (change[0], change[1]) not in missed
        ]
        untold = [change for change in world.honest if (change[1], change[2]) not in recorded[change[0]]]
        how = [(one.problem, one.refused, one.lost, one.waiting) for one in world.writers]
        assert not untold, (
            f"{how} {len(untold)} of {len(world.honest)} plain writes are not on record: {untold[:3]}"
        )
        assert not lost, f"{len(lost)} of {len(world.changes)} changes nobody was told of: {lost[:3]}"
        assert sum(one.uncovered for one in world.engine.coverage()) >= len(missed)
        assert missed, "nothing was written past the journal: this test proves nothing"
        told = {(surface, tenant or "", aggregate) for surface, aggregate, tenant, _ in world.told}
        assert {change[0] for change in world.changes} <= told
        await world.bare.close()

    run_virtual(main())


def test_each_of_a_few_hundred_changes_is_told_or_shown_as_missed() -> None:
    verify(seed=1, mutations=250, look_every=50)


@pytest.mark.slow
def test_each_of_ten_thousand_changes_is_told_or_shown_as_missed_and_health_is_as_from_scratch() -> None:
    verify(seed=2, mutations=10_000, look_every=100)
