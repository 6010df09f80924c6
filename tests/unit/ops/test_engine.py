"""The engine: what a console is told, when, and that it needs no journal to be right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from rspp.contract.errors import PeerFault
from rspp.contract.surface import Level
from rspp.control.authority.members import MemberState
from rspp.control.names import key
from rspp.ops.changes import StateChange
from rspp.ops.coverage import GRACE_MS
from rspp.ops.engine import StateEngine
from rspp.ops.journal.journal import Journal
from rspp.ops.journal.pages import BUCKET
from rspp.ops.journal.writer import Writer
from rspp.ops.journalled import Journalled, gone_of, known_of
from rspp.ops.snapshots import WATCH_MS
from rspp.server.surfaces import surfaces
from rspp.testing.clock import run_virtual
from rspp.testing.store import MemoryStore
from tests.unit.ops.owners import Faulty, LoopClock
from tests.unit.ops.test_snapshots import worker

ALL = surfaces()
GRACE_S = GRACE_MS / 1000 + 0.5


class Given:
    """One process that writes through the store that tells, and an engine."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.bare = MemoryStore(self.clock)
        self.faulty = Faulty(self.bare)
        self.writer = Writer(Journal(self.faulty, ALL, self.clock))
        self.store = Journalled(self.faulty, ALL, self.writer, source="test", wall_ms=self.clock.wall_ms)
        self.engine = StateEngine(self.bare, ALL, self.clock, self.writer)
        self.told: list[tuple[str, str, str | None, int]] = []
        self.engine.on_change(lambda *change: self.told.append(change))

    @property
    def uncovered(self) -> dict[str, int]:
        return {one.surface: one.uncovered for one in self.engine.coverage() if one.uncovered}


def running(test: Callable[[Given], Awaitable[None]]) -> None:
    async def main() -> None:
        given = Given()
        await given.engine.load()
        tasks = [asyncio.create_task(given.engine.run()), asyncio.create_task(given.writer.run())]
        await asyncio.sleep(0.3)
        given.told.clear()
        try:
            await test(given)
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.wait(tasks)
            await given.bare.close()
        assert all(one.cancelled() for one in tasks)

    run_virtual(main())


def test_a_change_is_told_once_with_its_number_and_its_row_is_there_by_then() -> None:
    async def test(given: Given) -> None:
        def look(surface: str, aggregate: str, tenant: str | None, sequence: int) -> None:
            row = given.engine.snapshots.row(surface, aggregate, tenant)
            found.append((aggregate, row is not None, sequence))

        found: list[tuple[str, bool, int]] = []
        given.engine.on_change(look)
        for number in range(3):
            await given.store.put(*worker(f"w{number}"))
        await asyncio.sleep(1)
        assert found == [("w0", True, 1), ("w1", True, 2), ("w2", True, 3)]
        assert given.engine.sequence == 3
        await asyncio.sleep(GRACE_S)
        assert given.uncovered == {}

    running(test)


def test_what_is_written_past_the_journal_is_told_all_the_same_and_shown() -> None:
    async def test(given: Given) -> None:
        await given.bare.put(*worker())
        await asyncio.sleep(1)
        assert given.engine.snapshots.row("workers", "w1") is not None
        await asyncio.sleep(GRACE_S)
        assert given.told == [("workers", "w1", None, 0)]
        assert given.uncovered == {"workers": 1}
        (shown,) = [one for one in (await given.engine.status()).surfaces if one.surface == "workers"]
        assert (shown.declared, shown.coverage, shown.records) == ("journal", "watch", 0)

    running(test)


def test_while_the_journal_cannot_be_written_surfaces_are_watched_and_nothing_is_lost_after() -> None:
    async def test(given: Given) -> None:
        given.faulty.shut = True
        await given.store.put(*worker())
        await asyncio.sleep(GRACE_S)
        status = await given.engine.status()
        assert not status.writable
        assert "shut" in status.problem
        assert {one.coverage for one in status.surfaces if one.declared == "journal"} == {"watch"}
        assert [one[:3] for one in given.told] == [("workers", "w1", None)]
        given.faulty.shut = False
        await asyncio.sleep(10)
        status = await given.engine.status()
        assert (status.writable, status.records) == (True, 1)

    running(test)


def test_deleting_the_journal_changes_no_row_and_no_health_and_it_goes_on() -> None:
    async def test(given: Given) -> None:
        await given.store.put(*worker())
        await given.store.put(*worker("w2", state=MemberState.LOST, reason="killed"))
        await asyncio.sleep(1)
        health, rows = given.engine.health(), given.engine.snapshots.by_surface()
        assert health.level is Level.FAILED
        assert given.engine.actions() is not None
        for name in await given.bare.keys(BUCKET):
            await given.bare.delete(BUCKET, name)
        await asyncio.sleep(GRACE_S)
        assert given.engine.snapshots.by_surface() == rows
        now = given.engine.health()
        assert msgspec.structs.replace(now, as_of_ms=0, sequence=0) == msgspec.structs.replace(
            health, as_of_ms=0, sequence=0
        )
        assert given.uncovered == {}
        await given.store.put(*worker(state=MemberState.DRAINING))
        await asyncio.sleep(GRACE_S + 3)
        assert given.told[-1][:3] == ("workers", "w1", None)
        again = StateEngine(given.bare, ALL, given.clock, given.writer)
        await again.load()
        assert again.health().reasons == given.engine.health().reasons

    running(test)


def test_health_is_the_same_value_until_something_changes() -> None:
    async def test(given: Given) -> None:
        await given.store.put(*worker())
        await asyncio.sleep(1)
        before = given.engine.health()
        for beat in range(2, 5):
            await given.store.put(*worker(beat=beat))
            await asyncio.sleep(1)
        after = given.engine.health()
        assert after.reasons == before.reasons
        await asyncio.sleep(1)
        assert given.engine.health() is after
        await given.store.put(*worker(ready=False, reasons=("full",)))
        await asyncio.sleep(1)
        assert [one.code for one in given.engine.health().reasons] == ["worker_unready"]

    running(test)


def test_a_worker_that_falls_silent_is_told_although_nobody_wrote_anything() -> None:
    async def test(given: Given) -> None:
        await given.store.put(*worker())
        await asyncio.sleep(10)
        given.told.clear()
        assert given.engine.health().level is Level.OK
        await asyncio.sleep(10)
        assert given.told == [("workers", "w1", None, 1)]
        assert given.engine.health().level is Level.FAILED

    running(test)


def test_what_expires_is_told_to_the_journal_by_whoever_finds_it_gone_and_by_several_only_once() -> None:
    async def test(given: Given) -> None:
        other = StateEngine(given.bare, ALL, given.clock, Writer(Journal(given.bare, ALL, given.clock)))
        await other.load()
        tasks = [asyncio.create_task(other.run()), asyncio.create_task(other.writer.run())]  # type: ignore[attr-defined]
        await given.store.put(*worker(), ttl_ms=2_000)
        await asyncio.sleep(20)
        page = await given.engine.journal.page()
        assert [one.change_type for one in page.records] == ["changed", "deleted"]
        assert ("workers", "w1", None) in [one[:3] for one in given.told]
        for one in tasks:
            one.cancel()
        await asyncio.wait(tasks)

    running(test)


def test_a_deletion_that_its_owner_told_is_not_told_again() -> None:
    async def test(given: Given) -> None:
        await given.store.put(*worker())
        await asyncio.sleep(1)
        await given.store.delete("members", key("w1"))
        await asyncio.sleep(20)
        page = await given.engine.journal.page()
        assert [one.change_type for one in page.records] == ["changed", "deleted"]
        assert [one.source for one in page.records] == ["test", "test"]

    running(test)


def test_an_engine_begins_although_the_journal_cannot_be_read() -> None:
    async def test(given: Given) -> None:
        async def broken() -> None:
            raise PeerFault("journal_corrupt", "no page")

        engine = StateEngine(given.bare, ALL, given.clock, given.writer)
        engine.journal.status = broken  # type: ignore[assignment, method-assign]
        await given.store.put(*worker())
        await engine.load()
        assert len(engine.snapshots.rows("workers")) == 1
        assert not (await engine.status()).writable

    running(test)


def test_a_journals_watch_that_dies_quietly_is_begun_anew() -> None:
    async def test(given: Given) -> None:
        follow, begun = given.engine.journal.follow, 0

        async def dies(after: int) -> AsyncIterator[StateChange]:
            nonlocal begun
            begun += 1
            async for record in follow(after):
                if begun == 1 and record.sequence > 1:
                    await asyncio.Event().wait()
                yield record

        given.engine.journal.follow = dies  # type: ignore[method-assign]
        await asyncio.sleep(WATCH_MS / 1000)
        for number in range(3):
            await given.store.put(*worker(f"w{number}"))
        await asyncio.sleep(1)
        assert (begun, given.engine.sequence) == (1, 1)
        await asyncio.sleep(WATCH_MS / 1000)
        assert given.engine.sequence == 3

    running(test)


def test_a_row_that_somebody_else_wrote_last_is_told_as_deleted_at_its_own_revision() -> None:
    async def test(given: Given) -> None:
        other = Journalled(given.faulty, ALL, given.writer, source="other", wall_ms=given.clock.wall_ms)
        await given.store.put(*worker())
        await other.put(*worker(state=MemberState.DRAINING))
        await asyncio.sleep(0.5)
        await given.store.delete("members", key("w1"))
        await given.bare.put(*worker(state=MemberState.DRAINING))  # past the journal, and the same row
        await asyncio.sleep(GRACE_S)
        assert given.uncovered == {"workers": 1}

    running(test)


def test_a_deletion_is_known_when_it_is_told_and_what_comes_back_past_the_journal_is_found() -> None:
    async def test(given: Given) -> None:
        await given.store.put(*worker())
        await asyncio.sleep(1)
        await given.store.delete("members", key("w1"))
        await asyncio.sleep(0.2)
        assert given.engine.snapshots.rows("workers") == []
        await given.bare.put(*worker())  # the same row as before
        await asyncio.sleep(GRACE_S)
        assert len(given.engine.snapshots.rows("workers")) == 1
        assert given.uncovered == {"workers": 1}

    running(test)


def test_a_deletion_that_is_told_and_is_not_true_takes_no_row_away_for_long() -> None:
    async def test(given: Given) -> None:
        await given.store.put(*worker())
        await asyncio.sleep(1)
        seen = given.engine.snapshots.seen(("workers", "", "w1"))
        assert seen is not None
        known = known_of(seen.row, seen.revision)
        given.writer.tell(gone_of("workers", *seen.place, known, source="a liar", wall_ms=1))
        await asyncio.sleep(4)
        assert len(given.engine.snapshots.rows("workers")) == 1

    running(test)


def test_a_row_that_is_put_back_past_the_journal_before_anybody_looked_is_found_out() -> None:
    async def test(given: Given) -> None:
        await given.store.put(*worker())
        await asyncio.sleep(1)
        await given.store.put(*worker(state=MemberState.DRAINING))
        await given.store.put(*worker())
        await asyncio.sleep(GRACE_S)
        assert given.uncovered == {}
        await given.store.put(*worker(state=MemberState.DRAINING))
        await given.bare.put(*worker())
        await asyncio.sleep(GRACE_S)
        assert given.uncovered == {"workers": 1}

    running(test)


def test_what_is_written_when_the_journal_is_back_is_told_in_time() -> None:
    async def test(given: Given) -> None:
        given.faulty.shut = True
        await given.store.put(*worker())
        await asyncio.sleep(60)
        assert given.uncovered == {"workers": 1}, "this one nobody was told of in time"
        given.faulty.shut = False
        await given.store.put(*worker("w2"))
        await asyncio.sleep(GRACE_S)
        assert given.uncovered == {"workers": 1}
        assert (given.engine.sequence, given.writer.problem) == (2, "")

    running(test)


def test_a_name_that_the_journal_hides_is_no_change_that_it_missed() -> None:
    name = "Zk3vQ9_xL2mTr8-WbN5yHc7JdP0sGf4AuEoIk6XqVhM"  # as some call their sessions

    async def test(given: Given) -> None:
        await given.store.put(*worker(name))
        await asyncio.sleep(GRACE_S)
        (record,) = (await given.engine.journal.page()).records
        assert record.aggregate_id == "[redacted]"
        assert given.uncovered == {}
        assert ("workers", name) in [one[:2] for one in given.told]

    running(test)
