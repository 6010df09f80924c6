"""One thing goes wrong, at one step: what is left afterwards, and where the session is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from rspp.contract.errors import PeerFault
from rspp.contract.words import ConnectionState
from rspp.control.authority.leases import Lease, Leases, LeaseState
from rspp.control.authority.members import MemberState
from rspp.control.names import LEASES, key
from rspp.control.worker import Worker
from rspp.host.ports import Refused
from rspp.kernel import inputs as i
from tests.unit.control.worker.stage import SECRET, TTL_MS, Stage, on_stage, turn
from tests.unit.host.stage import Caller, VirtualClock, bootstrap_of


async def met(condition: Callable[[], bool], within_s: float = 20) -> None:
    for _ in range(int(within_s / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to that in time")


class Gate:
    """Holds up whatever is put behind it, or makes it fail."""

    def __init__(self, owner: object, name: str) -> None:
        self.open = asyncio.Event()
        self.waiting = 0
        self.fails: Exception | None = None
        inner = getattr(owner, name)

        async def held_up(*args: Any, **more: Any) -> Any:
            self.waiting += 1
            try:
                await self.open.wait()
            finally:
                self.waiting -= 1
            if self.fails is not None:
                raise self.fails
            return await inner(*args, **more)

        setattr(owner, name, held_up)


async def freed_at(stage: Stage) -> tuple[Worker, Worker]:
    """A session that was given away and that nobody has; by whom, and who may take it."""
    first, second = await stage.worker("a"), await stage.worker("b")
    await turn(await stage.call(first), "hello")
    assert await first.migrate("t1", "s1")
    await met(lambda: not first.owned)
    return first, second


def nothing_left(stage: Stage, worker: Worker) -> bool:
    return (
        not (worker.owned or worker.entrance.coming or worker.entrance.opening)
        and stage.rooms[worker.settings.name].left == 100
    )


async def state_of(worker: Worker, session: str = "s1") -> LeaseState | None:
    held = await Leases(worker._store, "").get("t1", session)
    return held.lease.state if held is not None else None


# ---- coming in ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["reserve", "acquire"])
def test_a_new_caller_who_goes_while_the_store_is_asked_leaves_nothing(step: str) -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        gate = Gate(worker.slots if step == "reserve" else worker.leases, step)
        entering = asyncio.ensure_future(stage.call(worker))
        await met(lambda: gate.waiting > 0)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert nothing_left(stage, worker)

    on_stage(scene)


@pytest.mark.parametrize("step", ["take", "move", "load"])
@pytest.mark.parametrize("goes", [True, False])
def test_a_session_whose_caller_comes_back_in_vain_is_nobodys_and_the_next_attempt_has_it(
    step: str, goes: bool
) -> None:
    async def scene(stage: Stage) -> None:
        _, second = await freed_at(stage)
        owner = {"take": second.leases, "move": second.slots, "load": second._state}[step]
        whole = getattr(owner, step)
        gate = Gate(owner, step)
        entering = asyncio.ensure_future(stage.back(second))
        await met(lambda: gate.waiting > 0)
        assert second.is_here("t1", "s1"), "nobody ends what is on its way in"
        if goes:
            entering.cancel()
        gate.fails = PeerFault("store_unreachable", "no answer")
        gate.open.set()
        with pytest.raises((asyncio.CancelledError, Refused)):
            await entering
        setattr(owner, step, whole)
        await met(lambda: nothing_left(stage, second))
        assert await state_of(second) is LeaseState.FREE
        await turn(await stage.back(second), "still there?", 1)

    on_stage(scene)


def test_a_session_that_was_taken_and_of_which_no_answer_came_is_its_callers_at_the_next_attempt() -> None:
    async def scene(stage: Stage) -> None:
        _, second = await freed_at(stage)
        take = second.leases.take

        async def unheard(*args: Any) -> Any:
            await take(*args)
            raise PeerFault("store_unreachable", "the answer was lost")

        second.leases.take = unheard  # type: ignore[method-assign, assignment]
        with pytest.raises(Refused, match="store_unreachable"):
            await stage.back(second)
        second.leases.take = take  # type: ignore[method-assign]
        assert await state_of(second) is LeaseState.HELD
        await turn(await stage.back(second), "still there?", 1)

    on_stage(scene)


def test_a_session_that_was_taken_unheard_of_and_is_not_asked_for_goes_to_whoever_asks() -> None:
    async def scene(stage: Stage) -> None:
        first, second = await freed_at(stage)
        held = await second.leases.get("t1", "s1")
        assert held is not None
        await second.leases.take(held, second.fleet.is_gone)
        _, took_ms = await stage.back_in_time(first)
        assert took_ms < 8_000

    on_stage(scene)


@pytest.mark.parametrize("back", [False, True])
def test_a_session_that_was_asked_for_under_a_former_membership_is_not_opened_under_the_next(
    back: bool,
) -> None:
    async def scene(stage: Stage) -> None:
        if back:
            _, worker = await freed_at(stage)
            gate = Gate(worker._state, "load")
            entering = asyncio.ensure_future(stage.back(worker))
        else:
            worker = await stage.worker("a")
            gate = Gate(worker.leases, "acquire")
            entering = asyncio.ensure_future(stage.call(worker))
        await met(lambda: gate.waiting > 0)
        old = worker.id
        membership = worker.membership
        stage.cut(worker, 1.5 * TTL_MS / 1000)
        await met(lambda: membership.over)
        if not back:
            await met(lambda: worker.id != old and worker.membership.held)
        gate.open.set()
        with pytest.raises(Refused, match="worker_not_member"):
            await entering
        await met(lambda: worker.id != old and worker.membership.held)
        assert not worker.host.sessions
        assert nothing_left(stage, worker)

    on_stage(scene)


def test_a_session_that_is_withdrawn_before_its_opening_was_answered_is_not_opened() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        acquire = worker.leases.acquire

        async def slowly(lease: Lease) -> Any:
            held = await acquire(lease)
            await asyncio.sleep(0.5)
            return held

        worker.leases.acquire = slowly  # type: ignore[method-assign]
        entering = asyncio.ensure_future(stage.call(worker))
        await asyncio.sleep(0.2)
        assert await Leases(stage.store, "operator").revoke("t1", "s1", "asked")
        with pytest.raises(Refused, match="session_over"):
            await entering
        await met(lambda: nothing_left(stage, worker))

    on_stage(scene)


def test_who_comes_while_providers_are_opened_waits_for_them_though_the_first_has_gone() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        gate = Gate(worker.host.providers, "open")
        first = asyncio.ensure_future(stage.call(worker))
        await met(lambda: gate.waiting > 0)
        first.cancel()
        second = asyncio.ensure_future(stage.call(worker, "s2"))
        await asyncio.sleep(0.5)
        assert not second.done()
        gate.open.set()
        await turn(await second, "hello")

    on_stage(scene)


@pytest.mark.parametrize("session_id", [None, "", "x" * 300, "\ud800"])
def test_a_name_that_none_can_have_is_answered_as_one_that_nobody_has(session_id: str | None) -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        bootstrap = bootstrap_of(session_id=session_id, resume=SECRET, back=True)
        with pytest.raises(Refused, match="resume_refused"):
            await worker.enter(bootstrap, Caller(stage.clock))

    on_stage(scene)


def test_a_process_that_is_full_uses_up_no_name() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        gate = Gate(worker.slots, "reserve")
        worker.host.settings = type(worker.host.settings)(sessions_max=2)
        asked = [asyncio.ensure_future(stage.call(worker, f"s{number}")) for number in range(3)]
        await asyncio.sleep(0.1)
        gate.open.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(one, Refused) and one.code for one in found] == [False, False, "sessions_full"]
        assert await state_of(worker, "s2") is None

    on_stage(scene)


# ---- going ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["migrate", "drain"])
@pytest.mark.parametrize("away", [True, False])
def test_a_drain_is_over_at_its_deadline_whatever_the_store_does(mode: str, away: bool) -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a", resume_ms=5_000)
        callers = [await stage.call(worker, f"s{number}") for number in range(3)]
        for caller in callers:
            caller.give(i.TextReceived("tell me a story", 0))
        await callers[-1].until("turn_open")
        if away:
            stage.cut(worker, 3)
        began = stage.clock.now()
        cut = await worker.drain(mode, 1_000)
        assert stage.clock.now() - began <= 1_100 * 1_000_000
        assert worker.host.sessions == {}
        assert cut or (mode, away) == ("migrate", False)

    on_stage(scene)


def test_a_session_that_could_not_be_moved_is_moved_when_the_store_is_back() -> None:
    async def scene(stage: Stage) -> None:
        first, second = await stage.worker("a"), await stage.worker("b")
        await turn(await stage.call(first), "hello")
        stage.cut(first, 1.5)
        assert await first.drain("migrate", 20_000) == 0
        await stage.back_in_time(second)

    on_stage(scene)


def test_a_session_whose_state_cannot_be_kept_stays_and_goes_on() -> None:
    async def scene(stage: Stage) -> None:
        first, second = await stage.worker("a"), await stage.worker("b")
        caller = await stage.call(first)
        await turn(caller, "hello")
        flushed = first._state.flushed
        gate = Gate(first._state, "flushed")
        gate.fails = PeerFault("durable_state_unsaved", "no")
        gate.open.set()
        stay = first.leases.stay

        async def unheard(*args: Any) -> Any:
            await stay(*args)
            raise PeerFault("store_unreachable", "the answer was lost")

        first.leases.stay = unheard  # type: ignore[method-assign, assignment]
        assert not await first.migrate("t1", "s1")
        await turn(caller, "still there?", 1)
        with pytest.raises(Refused, match="session_moved"):
            await stage.back(second)
        first._state.flushed = flushed  # type: ignore[method-assign]
        assert await first.migrate("t1", "s1")
        await stage.back_in_time(second)

    on_stage(scene)


def test_a_session_that_is_being_closed_is_not_given_to_anybody_else() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        caller = await stage.call(worker)
        caller.give(i.TextReceived("tell me a story", 0))
        await caller.until("turn_open")
        moving = asyncio.ensure_future(worker.migrate("t1", "s1"))
        await caller.until("migration_start")
        closing = asyncio.ensure_future(worker.host.close_session("s1", "operator"))
        await met(lambda: not worker.owned)
        assert not await moving
        await closing
        held = await worker.leases.get("t1", "s1")
        assert held is not None
        assert (held.lease.state, held.lease.reason) == (LeaseState.ENDED, "operator")

    on_stage(scene)


def test_a_session_whose_caller_is_not_there_yet_is_not_moved_under_its_feet() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        caller = Caller(stage.clock)
        seat = await worker.enter(bootstrap_of(session_id="s1", resume=SECRET), caller)
        caller.seat = seat  # type: ignore[assignment]
        assert not await worker.migrate("t1", "s1")
        seat.ingest(i.ConnectionChanged(ConnectionState.CONNECTED))
        await turn(caller, "hello")

    on_stage(scene)


def test_an_end_whose_answer_was_lost_is_an_end_with_its_own_reason() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        await stage.call(worker)
        held = worker.owned["t1", "s1"].held
        await worker.leases.stay(held)  # a write of ours of which this process knows nothing
        worker.sweeper.take = lambda _: None  # type: ignore[method-assign, assignment]
        worker.owned["t1", "s1"].held = held
        await worker.host.close_session("s1", "operator")
        await met(lambda: not worker.owned)
        found = await worker.leases.get("t1", "s1")
        assert found is not None
        assert (found.lease.state, found.lease.reason) == (LeaseState.ENDED, "operator")

    on_stage(scene)


def test_a_lost_owner_forgets_nothing_of_a_session_that_is_anothers() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        await turn(await stage.call(worker), "hello")
        owned = worker.owned["t1", "s1"]
        worker.sweeper.take = lambda _: None  # type: ignore[method-assign, assignment]
        later = Leases(stage.store, "b")
        taken = await later.take(owned.held, _gone)
        await worker.host.close_session("s1", "operator")
        await met(lambda: not worker.owned)
        assert stage.shelf["t1", "s1"]
        assert await later.move(taken) is not None

    on_stage(scene)


async def _gone(_: str) -> bool:
    return True


# ---- time, and what is heard late ------------------------------------------------------------------------------------------


def test_a_process_that_was_stopped_for_longer_than_its_ttl_says_nothing_when_it_wakes() -> None:
    async def scene(stage: Stage) -> None:
        asleep = 0

        class Leaps(VirtualClock):
            def now(self) -> int:
                return super().now() + asleep

        worker = await stage.worker("a")
        clock = Leaps()
        for one in (worker.membership, worker.host, worker):
            for name in ("_clock", "clock"):
                if hasattr(one, name):
                    setattr(one, name, clock)
        worker.host.timer._now = clock.now
        caller = await stage.call(worker)
        caller.give(i.TextReceived("tell me a story", 0))
        await caller.until_answered()
        heard = len(caller.audio())
        asleep = 2 * TTL_MS * 1_000_000
        for _ in range(100):
            caller.give(i.TextReceived("go on", 1))
            await caller.frames(20)
        assert len(caller.audio()) == heard
        assert caller.closed == "authority_lost"

    on_stage(scene)


def test_a_member_that_was_not_heard_of_keeps_its_sessions() -> None:
    async def scene(stage: Stage) -> None:
        first = await stage.worker("a")
        await turn(await stage.call(first), "hello")
        second = await stage.worker("b", resume_ms=2_000)
        await asyncio.sleep(0.5)
        second.fleet.take = lambda _: None  # type: ignore[method-assign, assignment]
        second.fleet.seen.pop(first.id)
        await asyncio.sleep(8)
        assert await state_of(first) is LeaseState.HELD

    on_stage(scene)


def test_what_the_store_has_lost_is_not_ended_again_and_again() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a", resume_ms=1_000)
        await Leases(stage.store, "dead").acquire(Lease(tenant_id="t1", session_id="s1", owner=""))
        await met(lambda: bool(worker.sweeper.leases))
        await stage.store.delete(LEASES, key("t1", "s1"))
        await met(lambda: not worker.sweeper.leases)
        assert not worker.sweeper._ownerless

    on_stage(scene)


def test_nothing_is_kept_of_a_session_that_others_end_or_withdraw() -> None:
    async def scene(stage: Stage) -> None:
        first, second = await stage.worker("a"), await stage.worker("b", resume_ms=2_000)
        for name in ("s1", "s2", "s3"):
            await turn(await stage.call(first, name), "hello")
        await Leases(stage.store, "operator").revoke("t1", "s1", "asked")
        await met(lambda: ("t1", "s1") not in stage.shelf)
        stage.kill(first)
        await met(lambda: first.id not in {member.id for member in second.fleet.members()})
        await Leases(stage.store, "operator").revoke("t1", "s2", "asked")
        await met(lambda: not stage.shelf)
        await met(lambda: not second.sweeper._ended)

    on_stage(scene)


def test_a_membership_is_found_again_after_the_store_was_away_for_long_and_once_more() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        for number in range(2):
            caller = await stage.call(worker, f"s{number}")
            old = worker.id
            stage.cut(worker, 20 * TTL_MS / 1000)
            await met(lambda caller=caller: caller.closed == "authority_lost")  # type: ignore[misc]
            await met(lambda old=old: worker.id != old and worker.ready, 100)  # type: ignore[misc]
        assert nothing_left(stage, worker)
        assert sum(name.startswith("worker:membership") for name in worker.tasks.names()) == 1

    on_stage(scene)


def test_a_renewal_that_breaks_in_a_way_nobody_thought_of_is_tried_again() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        old, fresh = worker.id, stage.plans.fresh
        stage.plans.fresh = _breaks  # type: ignore[method-assign, assignment]
        await asyncio.sleep(TTL_MS / 2000)
        stage.plans.fresh = fresh  # type: ignore[method-assign]
        await asyncio.sleep(2 * TTL_MS / 1000)
        assert worker.id == old
        assert worker.membership.held

    on_stage(scene)


def _breaks(_: int) -> bool:
    raise OSError("who would have thought so")


def test_a_rejoin_while_draining_is_a_rejoin_that_takes_nobody() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        await stage.call(worker)
        draining = asyncio.ensure_future(worker.drain("drain", 60_000))
        old = worker.id
        stage.cut(worker, 2 * TTL_MS / 1000)
        await met(lambda: worker.id != old and worker.membership.held)
        assert worker.membership.member.state is MemberState.DRAINING
        with pytest.raises(Refused, match="runtime_draining"):
            await stage.call(worker, "new")
        assert await draining == 0

    on_stage(scene)


def test_a_session_that_has_no_room_left_to_hear_that_it_is_not_ours_ends_at_once() -> None:
    async def scene(stage: Stage) -> None:
        worker = await stage.worker("a")
        caller = await stage.call(worker)
        session = worker.host.sessions["s1"]
        with suppress(AttributeError):
            while session.ingest(i.Woken()):
                pass
        worker.fenced("t1", "s1")
        assert session.ended
        assert caller.closed == "authority_lost"

    on_stage(scene)
