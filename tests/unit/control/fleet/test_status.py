"""What is told of a session is what its kernel announced, its tenant's alone, and its last word always gets there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rspp.contract.errors import LimitReached, MisuseError
from rspp.contract.event import Signal
from rspp.control import names
from rspp.control.authority.members import DRIFT, TTL_MS
from rspp.control.fleet.session_ear import SessionEar, heard_by
from rspp.control.fleet.sessions import LOOKED_AT_MAX, Sessions, StatusFilter
from rspp.control.fleet.status import SessionWord, Status, after, ended
from rspp.control.fleet.status_writer import BEAT_MS, ENDED_TTL_MS, LIVE_TTL_MS, StatusWriter, end_for
from rspp.control.worker.worker import WorkerSettings
from rspp.host.ports import TellsSession, WatchesNodes
from rspp.host.recorder import MemoryRecorder
from rspp.host.snapshots import ALONE
from rspp.kernel.snapshot import ClockAnchor, OpenRequest, Snapshot
from rspp.spec import voice_template
from rspp.testing.clock import ManualClock, run_virtual
from rspp.testing.store import MemoryStore
from tests.unit.host.stage import Stage, VirtualClock, on_stage

CONNECTED, RUNNING, DEGRADED, ENDED = SessionWord


def status(session: str = "s1", tenant: str = "t1", **changes: Any) -> Status:
    fields = {"since_ms": 1, "opened_ms": 1, "epoch": 5, "owner": "w1", "state": CONNECTED, "region": "a"}
    return Status(**{"tenant": tenant, "session": session, **fields, **changes})


def signal(name: str, by: str = "lifecycle", reason: str | None = None, **detail: Any) -> Signal:
    return Signal(name, by, reason=reason, detail=detail or None)


def told(*signals: Signal) -> Status:
    now = status()
    for number, one in enumerate(signals):
        now = after(now, one, 100 + number)
    return now


# ---- the word -----------------------------------------------------------------------------------------------------------


def test_a_session_goes_through_all_four_words() -> None:
    open_turn = signal("turn_open")
    lost = signal("degraded", reason="provider_failure", capability="tts")
    back = signal("recovered", capability="tts")
    assert told(signal("connected")).state is CONNECTED
    running = told(signal("connected"), open_turn, open_turn)
    assert (running.state, running.turns, running.since_ms) == (RUNNING, 2, 101)
    less = told(signal("connected"), open_turn, lost)
    assert (less.state, less.missing, less.reason) == (DEGRADED, ("tts",), "provider_failure")
    again = told(signal("connected"), open_turn, lost, back)
    assert (again.state, again.missing, again.reason, again.since_ms) == (RUNNING, (), "", 103)
    over = ended(again, "closed", 900)
    assert (over.state, over.reason, over.since_ms, over.turns) == (ENDED, "closed", 900, 1)


def test_a_session_is_degraded_until_the_last_missing_capability_is_back() -> None:
    lost = [signal("degraded", reason="r", capability=name) for name in ("stt", "tts", "stt")]
    assert told(*lost).missing == ("tts", "stt")
    one_back = told(*lost, signal("recovered", capability="stt"))
    assert (one_back.state, one_back.missing) == (DEGRADED, ("tts",))
    assert told(*lost, *(signal("recovered", capability=name) for name in ("stt", "tts"))).state is CONNECTED


def test_what_tells_nothing_new_changes_nothing() -> None:
    now = told(signal("connected"))
    for name in ("connected", "commit", "recovered", "speech_started", "nonsense"):
        assert after(now, signal(name), 999) is now
    forced = signal("degraded", "cancellation_fences", reason="cancel_forced", capability="node-1")
    assert after(now, forced, 999) is now, "nothing ever comes back from that"


def test_what_has_ended_stays_ended() -> None:
    over = ended(status(), "closed", 9)
    assert ended(over, "again", 10) is over
    for name in ("connected", "turn_open", "degraded", "reconnecting"):
        assert after(over, signal(name), 11) is over
    assert ended(status(), "", 9).reason == "forced"


def test_a_caller_who_is_away_and_a_session_that_drains_are_told_of() -> None:
    away = told(signal("connected"), signal("reconnecting"))
    assert (away.state, away.line) == (CONNECTED, "reconnecting")
    drains = told(signal("connected"), signal("session_state_changed", reason="shutdown", to="DRAINING"))
    assert drains.reason == "draining: shutdown"


# ---- the ear ------------------------------------------------------------------------------------------------------------


class _Tells(MemoryRecorder):
    def attach(self, tell: Any) -> None: ...


class _Watches(MemoryRecorder):
    def stepped(self, step: Any) -> None: ...


def test_an_ear_can_what_the_recorder_behind_it_can_and_no_more() -> None:
    for recorder, tells, watches in (
        (MemoryRecorder(), False, False),
        (_Tells(), True, False),
        (_Watches(), False, True),
    ):
        ear = SessionEar(recorder, ())
        assert (isinstance(ear, TellsSession), isinstance(ear, WatchesNodes)) == (tells, watches)


# ---- the writer ---------------------------------------------------------------------------------------------------------


class Away(MemoryStore):
    away = False
    loses_answers = False

    async def put(self, *given: Any, **more: Any) -> int | None:
        if self.away:
            raise LimitReached("store_busy", "away")
        revision = await super().put(*given, **more)
        if self.loses_answers:
            self.loses_answers = False
            raise LimitReached("store_busy", "no answer")
        return revision


class Desk:
    """A writer in a test's own time."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Away(self.clock)
        self.writer = StatusWriter(self.store, self.clock, owner=lambda: "w1", region="a")

    def opens(self, session: str = "s1", tenant: str = "t1", epoch: int = 5) -> None:
        now = self.clock.now()
        snapshot = Snapshot(version=1, taken_at=now, provenance=ALONE)
        self.writer.opened(
            OpenRequest(
                session_id=session,
                tenant_id=tenant,
                pipeline_version="v3",
                epoch=epoch,
                lease_token="x",
                lease_expires_at=now,
                anchor=ClockAnchor(monotonic=now, wall=self.clock.wall()),
                snapshot=snapshot,
            ),
            voice_template(),
        )

    def hears(self, name: str, session: str = "s1", **more: Any) -> None:
        self.writer.heard(session, signal(name, **more))

    async def kept(self, session: str = "s1", tenant: str = "t1") -> Status | None:
        return await Sessions(self.store).get(tenant, session)


def test_changes_of_one_session_are_written_a_few_times_a_second_and_the_last_one_always() -> None:
    async def main() -> None:
        desk = Desk()
        desk.opens()
        assert await desk.writer.write_due() > 0
        assert await desk.kept() is None, "its caller has not come"
        desk.hears("connected")
        await desk.writer.write_due()
        first = await desk.kept()
        assert first is not None
        assert (first.state, first.pipeline, first.policy, first.owner, first.region, first.epoch) == (
            CONNECTED,
            f"{voice_template().pipeline}@{voice_template().version}",
            "local/policy",
            "w1",
            "a",
            5,
        )
        for _ in range(100):
            desk.hears("reconnecting")
            desk.hears("connected")
            desk.hears("turn_open")
            desk.clock.advance(10)
            await desk.writer.write_due()
        assert desk.writer.writes <= 6, "a second of flapping"
        desk.writer.over("s1", "closed")
        await desk.writer.write_due()
        last = await desk.kept()
        assert last is not None
        assert (last.state, last.reason, last.turns) == (ENDED, "closed", 100)
        assert desk.writer._rows == {}
        assert desk.writer._changed == {}

    asyncio.run(main())


def test_a_record_that_lives_is_renewed_and_those_of_a_dead_process_and_of_ended_sessions_go_by_themselves() -> (
    None
):
    async def main() -> None:
        desk = Desk()
        for name in ("alive", "over"):
            desk.opens(name)
            desk.hears("connected", name)
        await desk.writer.write_due()
        desk.writer.over("over", "closed")
        for _ in range(40):
            await desk.writer.write_due()
            desk.clock.advance(5_000)
        assert await desk.kept("alive") is not None
        assert desk.writer.writes < 12
        assert await desk.kept("over") is not None
        desk.clock.advance(LIVE_TTL_MS)
        assert await desk.kept("alive") is None
        desk.clock.advance(ENDED_TTL_MS)
        assert await desk.kept("over") is None

    asyncio.run(main())


def test_what_the_store_did_not_take_is_written_when_it_is_back_and_a_lost_answer_is_looked_up() -> None:
    async def main() -> None:
        desk = Desk()
        desk.opens()
        desk.hears("connected")
        desk.store.away = True
        await desk.writer.write_due()
        desk.writer.over("s1", "closed")
        assert await desk.writer.flush(1.0) == 1
        desk.store.away = False
        desk.store.loses_answers = True
        assert await desk.writer.flush(1.0) == 1, "nobody knows whether it was written"
        assert await desk.writer.flush(1.0) == 0
        kept = await desk.kept()
        assert kept is not None
        assert kept.state is ENDED
        assert desk.writer.failures == 3

    asyncio.run(main())


def test_a_former_owner_does_not_write_over_its_successor() -> None:
    async def main() -> None:
        former, successor = Desk(), Desk()
        successor.store = former.store
        successor.writer = StatusWriter(former.store, former.clock, owner=lambda: "w2", region="b")
        former.opens(epoch=5)
        former.hears("connected")
        await former.writer.write_due()
        former.hears("turn_open")
        successor.opens(epoch=9)
        successor.hears("connected")
        await successor.writer.write_due()
        assert await former.writer.flush(1.0) == 0
        former.writer.over("s1", "runtime_internal_error")
        await former.writer.flush(1.0)
        kept = await former.kept()
        assert kept is not None
        assert (kept.owner, kept.epoch, kept.state) == ("w2", 9, CONNECTED)

    asyncio.run(main())


@pytest.mark.parametrize("reason", ["migrated", "lease_expired", "lease_deauthorized"])
def test_a_session_that_goes_on_elsewhere_has_not_ended(reason: str) -> None:
    async def main() -> None:
        desk = Desk()
        desk.opens()
        desk.hears("connected")
        await desk.writer.write_due()
        desk.hears("turn_open")
        desk.writer.over("s1", reason)
        assert await desk.writer.flush(1.0) == 0
        kept = await desk.kept()
        assert kept is not None
        assert kept.state is CONNECTED

    asyncio.run(main())


def test_whoever_ends_a_dead_owners_session_can_say_so() -> None:
    async def main() -> None:
        desk = Desk()
        assert not await end_for(desk.store, "t1", "s1", "owner_lost", 9)
        desk.opens()
        desk.hears("connected")
        await desk.writer.write_due()
        assert await end_for(desk.store, "t1", "s1", "owner_lost", 9)
        assert await end_for(desk.store, "t1", "s1", "again", 10)
        kept = await desk.kept()
        assert kept is not None
        assert (kept.state, kept.reason) == (ENDED, "owner_lost")

    asyncio.run(main())


def test_a_session_that_was_ended_for_its_owner_does_not_come_back() -> None:
    async def main() -> None:
        desk = Desk()
        desk.opens()
        desk.hears("connected")
        await desk.writer.write_due()
        assert await end_for(desk.store, "t1", "s1", "owner_lost", 9)
        desk.hears("turn_open")  # an owner that was thought to be gone, and does not know it yet
        assert await desk.writer.flush(1.0) == 0
        kept = await desk.kept()
        assert kept is not None
        assert (kept.state, kept.reason) == (ENDED, "owner_lost")
        assert desk.writer._rows == {}

    asyncio.run(main())


def test_a_row_that_no_store_takes_keeps_nobody_else_from_being_written() -> None:
    async def main() -> None:
        desk = Desk()
        desk.opens("s0", tenant="x" * 201)  # no key of a store is as long
        desk.hears("connected", "s0")
        for number in range(1, 40):
            desk.opens(f"s{number}")
            desk.hears("connected", f"s{number}")
        for _ in range(2):
            await desk.writer.write_due()
        assert list(desk.writer._changed) == ["s0"]

    asyncio.run(main())


def test_while_the_store_is_away_it_is_asked_now_and_then_however_much_changes() -> None:
    async def main() -> None:
        desk = Desk()
        desk.store.away = True
        running = asyncio.create_task(desk.writer.run())
        desk.opens()
        loop = asyncio.get_running_loop()
        until = loop.time() + 60
        while loop.time() < until:
            desk.hears("reconnecting")
            desk.hears("connected")
            desk.clock.advance(10)
            await asyncio.sleep(0.01)
        assert 100 <= desk.writer.failures <= 125
        assert len(desk.writer._rows) == len(desk.writer._changed) == 1
        desk.store.away = False
        await asyncio.sleep(1)
        assert await desk.kept() is not None
        running.cancel()

    run_virtual(main())


# ---- asking -----------------------------------------------------------------------------------------------------------


async def shelf(*all_of_them: Status) -> MemoryStore:
    import msgspec

    store = MemoryStore()
    for one in all_of_them:
        await store.put(names.STATUS, names.key(one.tenant, one.session), msgspec.json.encode(one))
    return store


def test_a_tenant_gets_its_own_and_nothing_that_only_looks_like_it() -> None:
    async def main() -> None:
        tenants = ("t", "t1", "t/1", "T", "t%2F1")
        sessions = Sessions(await shelf(*(status("s1", tenant) for tenant in tenants)))
        for tenant in tenants:
            page = await sessions.list(tenant)
            assert [one.tenant for one in page.sessions] == [tenant]
        assert await sessions.get("t", "1/s1") is None
        assert (await sessions.list("nobody")).sessions == ()
        with pytest.raises(MisuseError):
            await sessions.list("")

    asyncio.run(main())


def test_a_record_in_a_tenants_room_that_is_another_tenants_is_not_shown() -> None:
    async def main() -> None:
        import msgspec

        store = await shelf()
        for name, value in (
            ("t/s1", msgspec.json.encode(status("s1", "other"))),
            ("t/s2", msgspec.json.encode(status("s9", "t"))),
            ("t/s3", b"{"),
            ("t/s4", b"\xff" * 1_000),
        ):
            await store.put(names.STATUS, name, value)
        sessions = Sessions(store)
        assert (await sessions.list("t")).sessions == ()
        assert [await sessions.get("t", f"s{n}") for n in range(1, 5)] == [None] * 4

    asyncio.run(main())


def test_a_pipeline_is_found_by_its_name_and_by_one_of_its_versions() -> None:
    one = status("s1", pipeline="desk@v2")
    assert [
        StatusFilter(pipeline=name).passes(one) for name in ("desk", "desk@v2", "desk@v1", "v2", "des")
    ] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_pages_give_each_session_once_whatever_the_filter() -> None:
    async def main() -> None:
        many = [
            status(f"s{n:04}", state=RUNNING if n % 3 else DEGRADED, region="ab"[n % 2]) for n in range(250)
        ]
        sessions = Sessions(await shelf(*many, status("s1", "t0"), status("s1", "t2")))

        async def walk(filters: StatusFilter, limit: int) -> list[str]:
            found: list[str] = []
            after: str | None = None
            while True:
                page = await sessions.list("t1", filters, limit=limit, after=after)
                found += [one.session for one in page.sessions]
                after = page.after
                if after is None:
                    return found

        for filters in (
            StatusFilter(),
            StatusFilter(states=(DEGRADED,)),
            StatusFilter(region="b", states=(RUNNING,)),
        ):
            due = [one.session for one in many if filters.passes(one)]
            for limit in (1, 7, 50, 200):
                assert await walk(filters, limit) == due
        assert await walk(StatusFilter(owner="nobody"), 10) == []
        assert (await sessions.list("t0", limit=1)).after is None, "there is no page after the last session"

    asyncio.run(main())


def test_a_filter_that_hardly_any_session_passes_gives_a_short_page_and_a_place_to_go_on_from() -> None:
    async def main() -> None:
        many = [status(f"s{n:05}") for n in range(LOOKED_AT_MAX + 5)]
        rare = status("s99999", state=DEGRADED)
        sessions = Sessions(await shelf(*many, rare))
        wanted = StatusFilter(states=(DEGRADED,))
        first = await sessions.list("t1", wanted)
        assert first.sessions == ()
        assert first.after is not None
        second = await sessions.list("t1", wanted, after=first.after)
        assert (second.sessions, second.after) == ((rare,), None)

    asyncio.run(main())


@pytest.mark.parametrize(
    "asked",
    [{"limit": 0}, {"limit": -1}, {"limit": 201}, {"after": "t2/s1"}, {"after": "s1"}, {"after": ""}],
)
def test_a_page_of_no_size_or_from_elsewhere_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(MisuseError, match="page_invalid"):
        asyncio.run(Sessions(MemoryStore()).list("t1", **asked))


# ---- with a real host -----------------------------------------------------------------------------------------------------


def test_a_real_session_is_followed_through_all_its_words_as_they_change() -> None:
    store = MemoryStore()
    seen: list[Status] = []
    writer = StatusWriter(store, VirtualClock(), owner=lambda: "w1", region="a")

    async def watch() -> None:
        async for one in Sessions(store).watch("t1"):
            seen.append(one)  # noqa: PERF401 - it is looked at while it grows

    async def scene(stage: Stage) -> None:
        tasks = [asyncio.create_task(writer.run()), asyncio.create_task(watch())]
        caller = stage.call(session_id="s1")
        stranger = stage.call("t2", session_id="s2")
        await caller.frames(600)
        await caller.speak()
        await caller.until("turn_open")
        await caller.frames(1_000)
        caller.seat.kernel.capability_lost("tts", "provider_failure")  # type: ignore[union-attr]
        await caller.frames(1_000)
        caller.seat.kernel.capability_back("tts")  # type: ignore[union-attr]
        await caller.frames(1_000)
        for one in (caller, stranger):
            await stage.host.close_session(one.seat.session_id)  # type: ignore[union-attr]
        assert await writer.flush(1.0) == 0
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    on_stage(scene, recorders=heard_by(lambda _: MemoryRecorder(), (writer,)))
    words = [
        one.state for number, one in enumerate(seen) if number == 0 or one.state is not seen[number - 1].state
    ]
    assert words == [CONNECTED, RUNNING, DEGRADED, RUNNING, ENDED]
    assert {one.tenant for one in seen} == {"t1"}
    assert seen[-1].turns >= 1
    assert seen[-1].reason


def test_the_record_of_a_lost_processs_session_is_there_until_its_end_is_told() -> None:
    renewed_ms, lost_ms = BEAT_MS * 5 // 4, int(TTL_MS * DRIFT)
    settings = WorkerSettings()
    assert renewed_ms + lost_ms + settings.resume_ms + settings.sweep_ms < LIVE_TTL_MS
