"""Availability equals what a hand counts, over processes, hours and windows; below the objective there is an incident, above none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.contract.errors import LimitReached
from rspp.contract.event import NS_PER_MS, Signal
from rspp.contract.words import ConnectionState
from rspp.control.fleet.session_ear import heard_by
from rspp.control.objectives.availability import (
    BUCKET,
    HOURS_MAX,
    MINUTE_MS,
    Availability,
    AvailabilityCount,
    What,
    session_is_good,
    turn_is_good,
)
from rspp.control.objectives.error_budget import DAY_MS, HOUR_MS, Counts, Objective
from rspp.control.objectives.incidents import Incident, IncidentWatch
from rspp.host.meters import Meters
from rspp.host.recorder import MemoryRecorder
from rspp.kernel import inputs as i
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore
from tests.unit.host.stage import Stage, VirtualClock, on_stage


class Away(MemoryStore):
    away = False

    async def put(self, *given: Any, **more: Any) -> int | None:
        if self.away:
            raise LimitReached("store_busy", "away")
        return await super().put(*given, **more)


class Fleet:
    """Processes of one deployment that count, and a control process that adds up."""

    def __init__(self, workers: int = 2) -> None:
        self.clock = ManualClock()
        self.store = Away(self.clock)
        self.workers = [self.worker(f"w{n}") for n in range(workers)]

    def worker(self, name: str) -> AvailabilityCount:
        return AvailabilityCount(self.store, self.clock, deployment="voice", member_id=lambda: name)

    async def counts(self, what: What = What.SESSIONS, span_ms: int = DAY_MS) -> Counts:
        for worker in self.workers:
            await worker.write()
        reader = Availability(self.store)
        await reader.refresh("voice")
        return reader.counts("voice", what, self.clock.wall() // NS_PER_MS, (span_ms,))[span_ms]


def ends(worker: AvailabilityCount, good: int, bad: int) -> None:
    for number in range(good):
        worker.over(f"g{number}", "closed")
    for number in range(bad):
        worker.over(f"b{number}", "runtime_internal_error")


def test_what_a_known_number_of_failures_comes_to_equals_what_a_hand_counts() -> None:
    async def main() -> None:
        fleet = Fleet(3)
        for worker, good, bad in zip(fleet.workers, (500, 300, 199), (0, 1, 0), strict=True):
            ends(worker, good, bad)
            assert await worker.write() == 0
            await worker.write()  # the same once more: nothing is counted twice
        found = await fleet.counts()
        assert found == Counts(999, 1)
        assert found.good / found.total == 0.999

    asyncio.run(main())


def test_what_a_dead_process_has_counted_still_counts_and_its_successor_counts_beside_it() -> None:
    async def main() -> None:
        fleet = Fleet(1)
        ends(fleet.workers[0], 5, 1)
        assert await fleet.counts() == Counts(5, 1)
        fleet.workers = [fleet.worker("w0-again")]
        ends(fleet.workers[0], 2, 2)
        assert await fleet.counts() == Counts(7, 3)

    asyncio.run(main())


def test_a_window_holds_what_came_in_it_to_the_minute() -> None:
    async def main() -> None:
        fleet = Fleet(1)
        wall_ms = fleet.clock.wall() // NS_PER_MS
        fleet.clock.advance(MINUTE_MS - wall_ms % MINUTE_MS)  # at the begin of a minute
        for _ in range(180):
            ends(fleet.workers[0], 1, 0)
            fleet.clock.advance(MINUTE_MS)
        for span_minutes in (1, 5, 59, 60, 61, 179):
            assert (await fleet.counts(span_ms=span_minutes * MINUTE_MS)).good == span_minutes
        fleet.clock.advance(HOUR_MS)
        assert (await fleet.counts(span_ms=HOUR_MS)).total == 0
        assert (await fleet.counts()).good == 180

    asyncio.run(main())


def test_hours_that_are_over_and_written_are_let_go_and_a_store_that_is_away_loses_only_the_oldest() -> None:
    async def main() -> None:
        fleet = Fleet(1)
        worker = fleet.workers[0]
        for _ in range(5):
            ends(worker, 1, 0)
            await worker.write()
            fleet.clock.advance(HOUR_MS)
        assert len(worker._hours) == 2, "a clock may be put back"
        fleet.clock.advance(HOUR_MS)
        await worker.write()
        assert len(worker._hours) == 0
        fleet.store.away = True
        for _ in range(HOURS_MAX + 3):
            ends(worker, 1, 0)
            fleet.clock.advance(HOUR_MS)
            await worker.write()
        assert (len(worker._hours), worker.lost) == (HOURS_MAX, 3)
        fleet.store.away = False
        assert await fleet.counts(span_ms=30 * DAY_MS) == Counts(5 + HOURS_MAX, 0)

    asyncio.run(main())


def test_a_clock_that_is_put_back_over_the_hour_loses_nothing_of_it() -> None:
    async def main() -> None:
        fleet = Fleet(1)
        worker = fleet.workers[0]
        ends(worker, 9, 1)
        wall_ms = fleet.clock.wall() // NS_PER_MS
        fleet.clock.advance(HOUR_MS - wall_ms % HOUR_MS)
        await worker.write()
        fleet.clock._wall -= 1_000 * NS_PER_MS
        ends(worker, 1, 0)
        assert await fleet.counts() == Counts(10, 1)

    asyncio.run(main())


def test_what_was_being_written_when_it_was_cancelled_or_given_up_is_not_forgotten() -> None:
    async def main() -> None:
        fleet = Fleet(1)
        worker = fleet.workers[0]
        put, came, goes = fleet.store.put, asyncio.Event(), asyncio.Event()

        async def slow(*given: Any, **more: Any) -> int | None:
            came.set()
            await goes.wait()
            return await put(*given, **more)

        fleet.store.put = slow  # type: ignore[method-assign]
        ends(worker, 1, 0)
        writing = asyncio.create_task(worker.write())
        await came.wait()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert len(worker._changed) == 1
        fleet.store.away = True
        writing = asyncio.create_task(worker.write())
        came.clear()
        await came.wait()
        for _ in range(HOURS_MAX):  # the hour that is being written has to go
            fleet.clock.advance(HOUR_MS)
            ends(worker, 1, 0)
        goes.set()
        await writing
        assert worker.lost == 1
        assert await worker.write() == HOURS_MAX

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "reason", "good"),
    [
        ("commit", None, True),
        ("abort", "provider_failure", False),
        ("abort", "budget_exhausted", False),
        ("abort", "authority_loss", False),
        ("abort", "cancelled", None),
        ("abort", "transport_disconnect_or_stall", None),
        ("abort", "policy_terminated", None),
        ("turn_open", None, None),
        ("connected", None, None),
    ],
)
def test_what_a_turn_says_of_the_service(name: str, reason: str | None, good: bool | None) -> None:
    assert turn_is_good(Signal(name, "turn_arbiter", reason=reason)) is good


def test_what_the_end_of_a_session_and_a_refusal_say_of_the_service() -> None:
    assert [session_is_good(reason) for reason in ("closed", "peer_ended", "", "runtime_internal_error")] == [
        True,
        True,
        False,
        False,
    ]
    assert session_is_good("migrated") is None

    async def main() -> None:
        fleet = Fleet(1)
        for code in ("fleet_full", "session_unknown", "residency_denied", "routing_view_stale"):
            fleet.workers[0].refused(code)
        assert await fleet.counts() == Counts(0, 2)
        fleet.workers[0].heard("s", Signal("commit", "turn_arbiter"))
        assert await fleet.counts(What.TURNS) == Counts(1, 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("voice/1/w", b""),
        ("voice/1/w", b'{"hour":2,"sessions":{},"turns":{}}'),
        ("voice/1/w", b'{"hour":1,"sessions":{"60":[1,1]},"turns":{}}'),
        ("voice/1/w", b'{"hour":1,"sessions":{"1":[-9,1]},"turns":{}}'),
        ("voice/1/w", b'{"hour":1,"sessions":{"1":[1]},"turns":{}}'),
        ("voice/1", b'{"hour":1,"sessions":{},"turns":{}}'),
    ],
)
def test_what_cannot_be_read_counts_for_nothing_and_is_told(name: str, value: bytes) -> None:
    async def main() -> None:
        store = MemoryStore()
        await store.put(BUCKET, name, value)
        reader = Availability(store)
        await reader.refresh("voice")
        assert reader.unreadable == 1
        assert reader.counts("voice", What.SESSIONS, 2 * HOUR_MS, (DAY_MS,))[DAY_MS] == Counts()

    asyncio.run(main())


def test_another_deployment_with_a_name_that_begins_alike_is_another_one() -> None:
    async def main() -> None:
        fleet = Fleet(0)
        fleet.workers = [
            AvailabilityCount(fleet.store, fleet.clock, deployment=name, member_id=lambda: "w")
            for name in ("voice", "voice-2", "voice/1")
        ]
        reader = Availability(fleet.store)
        for worker, name in zip(fleet.workers, ("voice", "voice-2", "voice/1"), strict=True):
            ends(worker, 1, 0)
            await worker.write()
            await reader.refresh(name)
        now_ms = fleet.clock.wall() // NS_PER_MS
        assert reader.counts("voice", What.SESSIONS, now_ms, (DAY_MS,)) == {DAY_MS: Counts(1, 0)}

    asyncio.run(main())


def test_sessions_of_a_real_host_that_fail_are_counted_as_a_hand_counts_them(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "fleet.db", clock)
    count = AvailabilityCount(store, clock, deployment="voice", member_id=lambda: "w1")

    async def scene(stage: Stage) -> None:
        callers = [stage.call(session_id=f"s{number}") for number in range(10)]
        for caller in callers:
            await caller.frames(100)
        for caller in callers[:2]:  # a defect in the kernel of each of these
            caller.seat.kernel = None  # type: ignore[union-attr]
            await caller.frames(20)
        for caller in callers[2:3]:  # a caller who is never heard of again
            caller.give(i.ConnectionChanged(ConnectionState.ENDED))
        for caller in callers[3:]:
            await stage.host.close_session(caller.seat.session_id)  # type: ignore[union-attr]
        await asyncio.sleep(60)
        assert stage.host.sessions == {}
        assert await count.write() == 0
        reader = Availability(store)
        await reader.refresh("voice")
        now_ms = clock.wall() // NS_PER_MS
        assert reader.counts("voice", What.SESSIONS, now_ms, (DAY_MS,)) == {DAY_MS: Counts(8, 2)}
        for target, incidents in ((0.81, 1), (0.8, 0)):
            objectives = {"voice": Objective(target=target)}
            found = await IncidentWatch(reader, clock, lambda now=objectives: now).look()  # type: ignore[misc]
            assert len(found) == incidents
        await store.close()

    on_stage(scene, recorders=heard_by(lambda _: MemoryRecorder(), (count,)))


@pytest.mark.parametrize(
    ("good", "bad", "incident"),
    [(9_990, 10, False), (9_989, 11, True), (10_000, 0, False), (0, 1, True), (0, 0, False)],
)
def test_below_the_objective_there_is_an_incident_and_above_it_none(
    good: int, bad: int, incident: bool
) -> None:
    async def main() -> None:
        fleet = Fleet(1)
        worker = fleet.workers[0]
        for outcome, times in ((True, good), (False, bad)):
            for _ in range(times):
                worker.count(What.SESSIONS, outcome)
        await worker.write()
        reader = Availability(fleet.store)
        await reader.refresh("voice")
        told: list[Incident] = []
        meters = Meters()

        async def tell(one: Incident) -> None:
            told.append(one)

        objectives = {"voice": Objective(target=0.999)}
        watch = IncidentWatch(reader, fleet.clock, lambda: objectives, told=tell, meters=meters)
        for _ in range(3):
            await watch.look()
        assert [one.open for one in told] == [True] * incident
        assert sum(one.value for one in meters.read().counters) == incident
        available = good / (good + bad) if good + bad else None
        assert watch.verdicts["voice"].availability == available
        fleet.clock.advance(31 * DAY_MS)
        await watch.look()
        assert [one.open for one in told] == [True, False] * incident

    asyncio.run(main())


def test_an_incident_that_could_not_be_told_of_is_told_at_the_next_look() -> None:
    async def main() -> None:
        fleet = Fleet(1)
        ends(fleet.workers[0], 0, 1)
        await fleet.workers[0].write()
        reader = Availability(fleet.store)
        await reader.refresh("voice")
        tries: list[Incident] = []

        async def tell(one: Incident) -> None:
            tries.append(one)
            if len(tries) == 1:
                raise LimitReached("store_busy", "away")

        watch = IncidentWatch(reader, fleet.clock, lambda: {"voice": Objective()}, told=tell)
        with pytest.raises(LimitReached):
            await watch.look()
        await watch.look()
        await watch.look()
        assert len(tries) == 2

    asyncio.run(main())
