from __future__ import annotations

import asyncio

import pytest

from rspp.control.authority.leases import Lease, Leases, LeaseState
from rspp.control.authority.members import GONE, fence
from rspp.control.worker import Worker
from rspp.control.worker.ports import Admitted
from rspp.host.ports import Bootstrap, Refused
from rspp.kernel import inputs as i
from tests.unit.control.worker.stage import SECRET, TTL_MS, Stage, on_stage, turn
from tests.unit.host.stage import Caller, bootstrap_of


def texts_of(worker: Worker, session_id: str = "s1") -> list[str]:
    return [message.text for message in worker.host.sessions[session_id].kernel.history()]


def last_sent_at(caller: Caller) -> int:
    return max(at for at, event in caller.events)


def test_a_new_session_is_leased_before_it_is_opened_and_speaks_under_that_epoch() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        caller = await stage.call(worker)
        held = await worker.leases.get("t1", "s1")
        assert held is not None
        assert (held.lease.owner, held.lease.state) == (worker.id, LeaseState.HELD)
        assert caller.seat is not None
        assert caller.seat.epoch == held.epoch
        await turn(caller, "hello")
        assert {event.scope.epoch for _, event in caller.events} == {held.epoch}

    on_stage(scene)


def test_a_session_that_ends_leaves_a_tombstone_its_room_and_no_state() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        caller = await stage.call(worker)
        await turn(caller, "hello")
        assert stage.rooms["a"].left == 99
        await worker.host.close_session("s1")
        await asyncio.sleep(0.2)
        held = await worker.leases.get("t1", "s1")
        assert held is not None
        assert held.lease.state is LeaseState.ENDED
        assert (worker.owned, stage.rooms["a"].left, stage.shelf) == ({}, 100, {})
        with pytest.raises(Refused, match="session_exists"):
            await stage.call(worker)
        assert stage.rooms["a"].left == 100

    on_stage(scene)


def test_a_killed_workers_session_is_taken_over_after_its_ttl_and_remembers_what_was_said() -> None:
    async def scene(stage: Stage) -> None:
        first, second = await stage.worker("a"), await stage.worker("b")
        caller = await stage.call(first)
        await turn(caller, "my name is Ada")
        told = texts_of(first)
        epoch = caller.seat.epoch if caller.seat else 0
        stage.kill(first)
        again, took_ms = await stage.back_in_time(second)
        assert took_ms <= TTL_MS + 2_000
        assert again.seat is not None
        assert again.seat.epoch > epoch
        assert texts_of(second) == told
        assert again.signals("state_attached") or "state_attached" in again.names()
        await turn(again, "what is my name", 1)
        assert stage.rooms["b"].moved == [first.id]

    on_stage(scene)


def test_a_worker_that_its_parent_has_seen_die_is_succeeded_at_once() -> None:
    async def scene(stage: Stage) -> None:
        first, second = await stage.worker("a"), await stage.worker("b")
        await turn(await stage.call(first), "hello")
        stage.kill(first)
        assert await fence(stage.store, first.id, "its process has ended")
        _, took_ms = await stage.back_in_time(second)
        assert took_ms < 500

    on_stage(scene)


def test_a_worker_that_is_cut_off_is_silent_before_anybody_else_may_speak() -> None:
    async def scene(stage: Stage) -> None:
        first, second = await stage.worker("a"), await stage.worker("b")
        caller = await stage.call(first)
        await turn(caller, "hello")
        old = first.id
        stage.cut(first, 3 * TTL_MS / 1000)

        async def keep_talking() -> None:
            for number in range(1_000):
                if caller.closed:
                    return
                if number % 20 == 0:
                    caller.give(i.TextReceived(f"more {number}", number + 1))
                await caller.frames(20)

        talking = asyncio.get_running_loop().create_task(keep_talking())
        again, took_ms = await stage.back_in_time(second)
        taken_at = stage.clock.now()
        await talking
        assert caller.closed == "authority_lost"
        assert last_sent_at(caller) <= taken_at
        assert took_ms <= TTL_MS + 2_000
        await turn(again, "still there?", 1_000)
        for _ in range(1_000):
            if first.id != old and first.ready:
                break
            await asyncio.sleep(0.02)
        assert first.ready, "it is back, as somebody new"
        assert "s1" not in first.host.sessions
        seen = second.fleet.get(old)
        assert seen is not None
        assert seen.member.state in GONE

    on_stage(scene)


def test_a_session_that_moves_is_never_two_and_goes_on_under_the_epoch_that_was_reserved() -> None:
    async def scene(stage: Stage) -> None:
        first, second = await stage.worker("a"), await stage.worker("b")
        caller = await stage.call(first)
        await turn(caller, "hello")
        before = texts_of(first)
        assert await first.migrate("t1", "s1")
        again, took_ms = await stage.back_in_time(second)
        names = caller.names()
        assert (
            names.index("migration_start") < names.index("session_handoff") < names.index("migration_finish")
        )
        assert caller.closed == "migrated"
        [start] = caller.signals("migration_start")
        assert again.seat is not None
        assert (start.detail or {}).get("target_epoch") == again.seat.epoch
        assert texts_of(second) == before
        assert took_ms < 1_000
        assert stage.rooms["a"].left == 100
        assert not await first.migrate("t1", "s1"), "it is not here any more"

    on_stage(scene)


def test_a_call_that_is_being_answered_moves_after_its_answer() -> None:
    async def scene(stage: Stage) -> None:
        first, second = await stage.worker("a"), await stage.worker("b")
        caller = await stage.call(first)
        caller.give(i.TextReceived("tell me a story", 0))
        await caller.until("turn_open")
        moving = asyncio.get_running_loop().create_task(first.migrate("t1", "s1"))
        await caller.until("migration_finish")
        assert await moving
        assert len(caller.signals("commit")) == 1
        assert not caller.signals("abort")
        await stage.back_in_time(second)

    on_stage(scene)


def test_a_worker_that_drains_by_moving_sends_all_its_calls_on() -> None:
    async def scene(stage: Stage) -> None:
        first, second = await stage.worker("a"), await stage.worker("b")
        callers = [await stage.call(first, f"s{number}") for number in range(5)]
        for caller in callers:
            await turn(caller, "hello")
        assert await first.drain("migrate", 5_000) == 0
        assert first.unready() == ("draining",)
        with pytest.raises(Refused, match="runtime_draining"):
            await stage.call(first, "new")
        for number in range(5):
            await stage.back(second, f"s{number}")
        assert len(second.host.sessions) == 5

    on_stage(scene)


def test_a_worker_that_drains_lets_its_calls_end_by_themselves() -> None:
    async def scene(stage: Stage) -> None:
        first = await stage.worker("a")
        caller = await stage.call(first)
        draining = asyncio.get_running_loop().create_task(first.drain("drain", 20_000))
        await turn(caller, "still here?")
        assert not caller.closed
        await turn(caller, "and now?", 1)
        await first.host.close_session("s1")
        assert await draining == 0

    on_stage(scene)


@pytest.mark.parametrize(("session_id", "secret"), [("s1", "a guess"), ("nothing", SECRET), ("s1", "")])
def test_a_stranger_learns_nothing_about_which_sessions_there_are(session_id: str, secret: str) -> None:
    async def scene(stage: Stage) -> None:
        first, second = await stage.worker("a"), await stage.worker("b")
        await stage.call(first)
        with pytest.raises(Refused, match="resume_refused: no such session, or not with this token"):
            await stage.back(second, session_id, secret)
        bootstrap = bootstrap_of("another", session_id=session_id, resume=SECRET, back=True)
        with pytest.raises(Refused, match="resume_refused"):
            await second.enter(bootstrap, Caller(stage.clock))

    on_stage(scene)


def test_a_caller_who_asks_the_wrong_process_is_sent_to_the_right_one() -> None:
    async def scene(stage: Stage) -> None:
        first, second = await stage.worker("a"), await stage.worker("b")
        await stage.call(first)
        with pytest.raises(Refused, match="session_moved") as refusal:
            await stage.back(second)
        assert refusal.value.endpoint == "ws://a"

    on_stage(scene)


def test_a_revoked_session_ends_and_nobody_may_take_it() -> None:
    async def scene(stage: Stage) -> None:
        first, second = await stage.worker("a"), await stage.worker("b")
        caller = await stage.call(first)
        await turn(caller, "hello")
        await Leases(stage.store, "operator").revoke("t1", "s1", "asked")
        await caller.until("deauthorized_drain")
        for _ in range(200):
            if caller.closed:
                break
            await asyncio.sleep(0.02)
        assert caller.closed
        assert caller.closed not in ("migrated", "authority_lost")
        with pytest.raises(Refused, match="session_over"):
            await stage.back(second)

    on_stage(scene)


def test_a_session_that_nobody_takes_up_after_its_worker_was_lost_is_ended_truthfully() -> None:
    async def scene(stage: Stage) -> None:
        first = await stage.worker("a")
        second = await stage.worker("b", resume_ms=4_000)
        await turn(await stage.call(first), "hello")
        stage.kill(first)
        await asyncio.sleep(TTL_MS / 1000 + 7)
        held = await second.leases.get("t1", "s1")
        assert held is not None
        assert (held.lease.state, held.lease.reason) == (LeaseState.ENDED, "worker_lost")

    on_stage(scene)


def test_a_lease_whose_session_was_never_made_is_given_back() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        await worker.leases.acquire(Lease(tenant_id="t1", session_id="ghost", owner=worker.id))
        await asyncio.sleep(8)
        held = await worker.leases.get("t1", "ghost")
        assert held is not None
        assert (held.lease.state, held.lease.reason) == (LeaseState.ENDED, "open_failed")

    on_stage(scene)


def test_without_room_without_a_view_or_without_a_store_nobody_is_let_in_and_nothing_is_left() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        stage.rooms["a"].left = 0
        with pytest.raises(Refused, match="cp_admission_reject_quota"):
            await stage.call(worker)
        assert await worker.leases.get("t1", "s1") is None
        stage.rooms["a"].left = 100
        stage.cut(worker, 1.0)
        with pytest.raises(Refused, match="store_unreachable"):
            await stage.call(worker)
        assert worker.owned == {}
        assert stage.rooms["a"].left == 100
        stage.plans.stale = True
        assert "control_plane_stale" in worker.unready()

    on_stage(scene)


def test_what_was_signed_and_is_not_known_here_yet_is_to_be_asked_for_again() -> None:
    class Signed:
        def __init__(self, token_id: str) -> None:
            self.token_id = token_id

        def admit(self, bootstrap: Bootstrap) -> Admitted:
            return Admitted(
                tenant_id=bootstrap.tenant_id, session_id="s1", pipeline="new@v1", token_id=self.token_id
            )

    def unknown(tenant_id: str, session_id: str, pipeline: str | None) -> str:
        raise Refused("pipeline_unknown", f"no pipeline {pipeline!r} is served")

    async def scene(stage: Stage) -> None:
        stage.plans.choose = unknown  # type: ignore[method-assign]
        for token_id, retries in (("t-1", True), ("", False)):
            stage.gate = Signed(token_id)
            worker = await stage.worker(f"a{token_id}")
            with pytest.raises(Refused, match="pipeline_unknown") as refusal:
                await stage.call(worker)
            assert (refusal.value.retry_after_ms is not None) == retries

    on_stage(scene)
