"""Slots over a store: exactly the limit gets in, whatever the store, the clocks and the other processes do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rspp.contract.errors import PeerFault
from rspp.control.intake.admission import FLEET, LimitsOf, Reservation, Slots
from rspp.control.intake.holders import bytes_of, holders_of
from rspp.control.intake.quotas import Action, Limit, QuotaName, TenantLimits, Verdict
from rspp.control.names import SLOTS
from rspp.host.meters import Meters
from rspp.host.ports import Entry, Refused, Store
from rspp.testing.clock import ManualClock, run_virtual
from rspp.testing.store import MemoryStore
from tests.unit.host.stage import VirtualClock


def limits(
    fleet: int = 0, tenant: int = 0, *, action: Action = Action.REJECT, per_minute: int = 0
) -> LimitsOf:
    def of(tenant_id: str | None) -> TenantLimits:
        if tenant_id is None:
            return TenantLimits(sessions=Limit(most=fleet, action=Action.DEFER))
        return TenantLimits(
            sessions=Limit(most=tenant, action=action),
            sessions_per_minute=Limit(most=per_minute, action=action),
        )

    return of


class Faulty:
    """A store that does some of what it is asked and says that it failed, or fails, or is away."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.away = False
        self.fault: Callable[[int], str] = lambda _: "none"  # of the n-th put: none, done, undone, hangs
        self.puts = self.gets = 0

    async def get(self, bucket: str, key: str) -> Entry | None:
        self.gets += 1
        await asyncio.sleep(0.001)
        self._there()
        return await self.inner.get(bucket, key)

    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: int | None = None, ttl_ms: int | None = None
    ) -> int | None:
        self.puts += 1
        await asyncio.sleep(0.001)
        self._there()
        fault = self.fault(self.puts)
        if fault == "undone":
            raise PeerFault("store_unreachable", "nothing was done")
        if fault == "late":
            asyncio.get_running_loop().call_later(
                0.02,
                lambda: asyncio.ensure_future(
                    self.inner.put(bucket, key, value, expect=expect, ttl_ms=ttl_ms)
                ),
            )
            raise PeerFault("store_unreachable", "it will be done in a moment")
        revision = await self.inner.put(bucket, key, value, expect=expect, ttl_ms=ttl_ms)
        if fault == "done":
            raise PeerFault("store_unreachable", "it was done, and nobody said so")
        if fault == "hangs":
            await asyncio.sleep(3_600)
        return revision

    def _there(self) -> None:
        if self.away:
            raise PeerFault("store_unreachable", "away")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Processes:
    """Some processes over one store, in virtual time."""

    def __init__(self, count: int, of: LimitsOf, **more: Any) -> None:
        self.clock = VirtualClock()
        self.store = Faulty(MemoryStore(self.clock))
        self.gone: set[str] = set()
        self.meters = Meters()
        self.all = [self.process(f"m{number}", of, **more) for number in range(count)]

    def process(self, member: str, of: LimitsOf, **more: Any) -> Slots:
        fields: dict[str, Any] = {
            "clock": self.clock,
            "is_gone": self._is_gone,
            "meters": self.meters,
            **more,
        }
        return Slots(self.store, member, of, **fields)

    async def _is_gone(self, member: str) -> bool:
        return member in self.gone

    async def written(self, key: str = FLEET) -> dict[str, int]:
        entry = await self.store.inner.get(SLOTS, key)
        found = holders_of(entry.value).holders if entry is not None else {}
        return {member: hold.count for member, hold in found.items() if hold.count}


async def burst(
    processes: Processes, asking: int, tenants: int = 1
) -> tuple[list[tuple[Slots, Reservation]], list[Refused]]:
    """All of them at once, over all processes."""

    async def one(number: int) -> tuple[Slots, Reservation] | Refused:
        slots = processes.all[number % len(processes.all)]
        try:
            return slots, await slots.reserve(f"t{number % tenants}", session_id=f"s{number}")
        except Refused as refused:
            return refused

    found = await asyncio.gather(*map(one, range(asking)))
    return [one for one in found if isinstance(one, tuple)], [
        one for one in found if isinstance(one, Refused)
    ]


def played(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scene()

    run_virtual(main())


@pytest.mark.parametrize("count", [1, 4])
def test_of_two_thousand_at_once_exactly_a_hundred_get_in_and_the_others_know_when_to_come_again(
    count: int,
) -> None:
    async def scene() -> None:
        processes = Processes(count, limits(fleet=100))
        admitted, refused = await burst(processes, 2_000, tenants=5)
        assert len(admitted) == 100
        assert len(refused) == 1_900
        assert {one.code for one in refused} == {"cp_admission_defer_capacity"}
        assert all(one.retry_after_ms and 300 < one.retry_after_ms <= 75_000 for one in refused)
        assert sum((await processes.written()).values()) == 100
        # Few writes for so many: all who wait in a process are in one.
        assert processes.store.puts < 40 * count
        by_tenant = [sum(one.tenant_id == f"t{number}" for _, one in admitted) for number in range(5)]
        # Those who come to one process in one moment are served in turn; between processes the first one is.
        assert count > 1 or max(by_tenant) - min(by_tenant) <= 1
        for slots, reservation in admitted:
            slots.release(reservation)
            slots.release(reservation)
        for slots in processes.all:
            await slots.settled()
            assert slots.held == {}
        assert await processes.written() == {}
        assert len((await burst(processes, 300))[0]) == 100

    played(scene)


@pytest.mark.parametrize("fault", ["done", "undone", "late", "hangs"])
def test_a_write_whose_outcome_nobody_knows_admits_nobody_twice_and_loses_no_slot(fault: str) -> None:
    async def scene() -> None:
        processes = Processes(3, limits(fleet=20, tenant=15), wait_ms_max=30_000)
        processes.store.fault = lambda number: fault if number % 3 == 1 else "none"
        admitted, refused = await burst(processes, 90, tenants=2)
        assert len(admitted) == 20
        assert len(refused) == 70
        processes.store.fault = lambda _: "none"
        await asyncio.sleep(1)
        for slots in processes.all:
            await slots.reconcile(slots.held)
            await slots.settled()
        written = await processes.written()
        assert sum(written.values()) == 20
        assert written == {
            f"m{number}": sum(slots.held.values()) for number, slots in enumerate(processes.all) if slots.held
        }
        for slots, reservation in admitted:
            slots.release(reservation)
        for slots in processes.all:
            await slots.settled()
        assert await processes.written() == {}

    played(scene)


def test_a_write_that_was_done_though_it_failed_counts_its_sessions_once() -> None:
    async def scene() -> None:
        processes = Processes(1, limits(per_minute=10))
        processes.store.fault = lambda number: "done" if number == 1 else "none"
        admitted, refused = await burst(processes, 12)
        assert (len(admitted), len(refused)) == (10, 2)

    played(scene)


def test_a_write_that_lands_when_nobody_waits_any_more_is_given_back() -> None:
    async def scene() -> None:
        processes = Processes(1, limits(fleet=5), wait_ms_max=1)
        processes.store.fault = lambda _: "done"
        _, refused = await burst(processes, 5)
        assert {one.code for one in refused} == {"admission_unavailable"}
        processes.store.fault = lambda _: "none"
        await asyncio.sleep(2)
        await processes.all[0].settled()
        assert processes.all[0].held == {}
        assert await processes.written() == {}

    played(scene)


def test_a_store_that_is_away_lets_nobody_in_and_is_told_of_releases_when_it_is_back() -> None:
    async def scene() -> None:
        processes = Processes(1, limits(fleet=5), wait_ms_max=800)
        (slots,) = processes.all
        kept = [await slots.reserve("t") for _ in range(3)]
        processes.store.away = True
        began = processes.clock.now()
        with pytest.raises(Refused) as caught:
            await slots.reserve("t")
        assert caught.value.code == "admission_unavailable"
        assert caught.value.retry_after_ms
        assert "away" not in str(caught.value)
        assert (processes.clock.now() - began) / 1e6 == pytest.approx(800, abs=5)
        slots.release(kept.pop())
        await asyncio.sleep(60)
        assert await processes.written() == {"m0": 3}
        processes.store.away = False
        await asyncio.sleep(1)
        await slots.settled()
        assert await processes.written() == {"m0": 2}
        assert processes.meters.counter("admission_total", outcome="unavailable").value == 1

    played(scene)


def test_what_a_dead_process_held_is_free_and_what_a_living_one_holds_is_not() -> None:
    async def scene() -> None:
        processes = Processes(3, limits(fleet=30))
        admitted, _ = await burst(processes, 30)
        (await processes.all[0].reconcile({"t0": 10}))
        with pytest.raises(Refused):
            await processes.all[0].reserve("t0")
        processes.gone = {"m2"}
        await asyncio.sleep(1.1)
        got = 0
        for _ in range(15):
            try:
                await processes.all[0].reserve("t0")
                got += 1
            except Refused:
                pass
        assert got == 10
        assert await processes.written() == {"m0": 20, "m1": 10}
        assert len(admitted) == 30

    played(scene)


def test_a_process_that_is_no_member_any_more_lets_nobody_in() -> None:
    async def scene() -> None:
        acting = True
        processes = Processes(1, limits(fleet=5), may_act=lambda: acting)
        await processes.all[0].reserve("t")
        acting = False
        with pytest.raises(Refused) as caught:
            await processes.all[0].reserve("t")
        assert caught.value.code == "admission_unavailable"
        with pytest.raises(Refused):
            await processes.all[0].move("t", "m9")

    played(scene)


def test_a_session_that_is_taken_over_takes_its_slot_with_it_even_where_there_is_none() -> None:
    async def scene() -> None:
        processes = Processes(2, limits(fleet=10))
        kept = [await slots.reserve("t0") for slots in processes.all for _ in range(5)]
        assert len(kept) == 10
        processes.gone = {"m1"}
        moved = [await processes.all[0].move("t0", "m1") for _ in range(5)]
        assert await processes.written() == {"m0": 10}
        with pytest.raises(Refused):
            await processes.all[0].reserve("t0")
        # From a process that lives and gives its own back: counted twice until it has, and never less than once.
        third = processes.process("m3", limits(fleet=10))
        first = await third.move("t0", "m0")
        assert await processes.written() == {"m0": 10, "m3": 1}
        processes.all[0].release(moved[0])
        await processes.all[0].settled()
        assert await processes.written() == {"m0": 9, "m3": 1}
        third.release(first)

    played(scene)


def test_a_process_that_died_between_the_tenants_slot_and_the_fleets_leaves_none_behind() -> None:
    async def scene() -> None:
        processes = Processes(2, limits(fleet=10, tenant=1))
        processes.store.fault = lambda number: "hangs" if number == 2 else "none"
        dying = asyncio.ensure_future(processes.all[0].reserve("t0"))
        await asyncio.sleep(0.5)
        await processes.all[0].close()
        dying.cancel()
        assert await processes.written("tenant/t0") == {"m0": 1}
        with pytest.raises(Refused):
            await processes.all[1].reserve("t0")
        processes.gone = {"m0"}
        await asyncio.sleep(1.1)
        await processes.all[1].reserve("t0")
        await processes.all[1].reconcile({"t0": 1})
        await processes.all[1].settled()
        assert await processes.written("tenant/t0") == {"m1": 1}
        assert await processes.written() == {"m1": 1}

    played(scene)


def test_whoever_stops_waiting_holds_nothing() -> None:
    async def scene() -> None:
        processes = Processes(1, limits(fleet=5))
        (slots,) = processes.all
        asking = [asyncio.ensure_future(slots.reserve("t")) for _ in range(5)]
        for moment in range(12):
            await asyncio.sleep(0.0005)
            if moment < 5:
                asking[moment].cancel()
        await asyncio.wait(asking)
        await slots.settled()
        left = sum(not one.cancelled() for one in asking)
        assert sum(slots.held.values()) == left
        assert sum((await processes.written()).values()) == left

    played(scene)


def test_the_fleets_refusal_gives_the_tenants_slot_back_and_does_not_count_as_a_start() -> None:
    async def scene() -> None:
        processes = Processes(1, limits(fleet=1, per_minute=3))
        (slots,) = processes.all
        first = await slots.reserve("t")
        for _ in range(5):
            with pytest.raises(Refused) as caught:
                await slots.reserve("t")
            assert caught.value.code == "cp_admission_defer_capacity"
        await slots.settled()
        assert await processes.written("tenant/t") == {"m0": 1}
        for kept in (first, await after_release(slots, first)):
            slots.release(kept)
        await slots.reserve("t")
        with pytest.raises(Refused) as caught:
            await slots.reserve("t")
        assert caught.value.code == "cp_admission_reject_quota"

    async def after_release(slots: Slots, kept: Reservation) -> Reservation:
        slots.release(kept)
        return await slots.reserve("t")

    played(scene)


@pytest.mark.parametrize("action", Action)
def test_sessions_a_minute_act_by_each_action_are_counted_for_the_tenant_and_pass_with_the_minute(
    action: Action,
) -> None:
    async def scene() -> None:
        processes = Processes(1, limits(per_minute=2, action=action))
        (slots,) = processes.all
        for _ in range(2):
            await slots.reserve("a")
        code = {"reject": "cp_admission_reject_quota", "defer": "cp_admission_defer_capacity"}.get(action)
        if code is None:
            assert (await slots.reserve("a")).degraded == QuotaName.SESSIONS_PER_MINUTE
        else:
            with pytest.raises(Refused) as caught:
                await slots.reserve("a")
            assert caught.value.code == code
            assert caught.value.retry_after_ms
            assert 0 < caught.value.retry_after_ms <= 65_000
        counter = processes.meters.counter(
            "quota_actions_total",
            tenant="a",
            quota="sessions_per_minute",
            action=action.value,
            moment="session",
        )
        assert counter.value == 1
        assert (await slots.reserve("b")).degraded is None
        await asyncio.sleep(60)
        assert (await slots.reserve("a")).degraded is None

    played(scene)


def test_what_a_tenant_has_used_up_otherwise_refuses_its_sessions_too() -> None:
    async def scene() -> None:
        spent = Verdict(
            action=Action.REJECT, quota=QuotaName.SPEND_MICROS_PER_DAY, used=5, most=5, window_ms=9_000
        )
        processes = Processes(1, limits(), used_up=lambda tenant: spent if tenant == "poor" else Verdict())
        with pytest.raises(Refused) as caught:
            await processes.all[0].reserve("poor")
        assert caught.value.code == "cp_admission_reject_quota"
        assert caught.value.retry_after_ms
        assert caught.value.retry_after_ms >= 9_000
        await processes.all[0].reserve("rich")

    played(scene)


def test_what_was_reserved_in_a_former_life_frees_nothing_in_this_one() -> None:
    async def scene() -> None:
        processes = Processes(2, limits(fleet=10))
        before = await processes.all[0].reserve("t")
        await processes.all[1].reserve("t")
        processes.all[1].release(before)
        assert processes.all[1].held == {"t": 1}

    played(scene)


def test_a_refusal_says_nothing_of_other_tenants() -> None:
    async def scene() -> None:
        processes = Processes(1, limits(fleet=7))
        await burst(processes, 7)
        with pytest.raises(Refused) as caught:
            await processes.all[0].reserve("other")
        assert "7" not in caught.value.message
        assert "t0" not in caught.value.message

    played(scene)


def test_reconciling_gives_back_what_was_forgotten_and_spares_what_is_about_to_begin() -> None:
    async def scene() -> None:
        processes = Processes(1, limits(fleet=10))
        (slots,) = processes.all
        forgotten = [await slots.reserve("a") for _ in range(4)]
        await slots.reserve("b")
        await slots.reconcile({})
        assert slots.held == {"a": 4, "b": 1}
        await asyncio.sleep(61)
        await slots.reserve("b")
        await slots.reconcile({"b": 1})
        await slots.settled()
        assert slots.held == {"b": 2}
        assert await processes.written() == {"m0": 2}
        for kept in forgotten:
            slots.release(kept)  # too late to be heard
        await slots.settled()
        assert slots.held == {"b": 2}
        assert processes.meters.counter("slots_corrected_total").value == 4

    played(scene)


def test_reconciling_takes_nothing_from_those_who_are_being_let_in() -> None:
    async def scene() -> None:
        processes = Processes(1, limits(fleet=10, tenant=5))
        (slots,) = processes.all
        await slots.reserve("a")
        await asyncio.sleep(61)
        fleets = processes.store.puts + 2
        processes.store.fault = lambda number: "hangs" if number == fleets else "none"
        asking = asyncio.ensure_future(slots.reserve("a"))
        await asyncio.sleep(0.5)
        assert await processes.written("tenant/a") == {"m0": 2}
        await slots.reconcile({"a": 1})
        await asking
        await slots.settled()
        assert slots.held == {"a": 2}
        assert processes.meters.counter("slots_corrected_total").value == 0

    played(scene)


def test_an_entry_that_somebody_else_took_out_or_changed_is_written_anew() -> None:
    async def scene() -> None:
        processes = Processes(1, limits(fleet=10))
        (slots,) = processes.all
        for _ in range(3):
            await slots.reserve("a")
        await processes.store.inner.put(SLOTS, FLEET, bytes_of(holders_of(b"{}")))
        await slots.reconcile({"a": 3})
        await slots.settled()
        assert await processes.written() == {"m0": 3}

    played(scene)


def test_a_damaged_document_lets_nobody_in_until_it_is_gone() -> None:
    async def scene() -> None:
        processes = Processes(1, limits(fleet=10, tenant=5), wait_ms_max=500)
        (slots,) = processes.all
        await processes.store.inner.put(SLOTS, FLEET, b'{"holders": {"x": [-4, 0]}}')
        with pytest.raises(Refused) as caught:
            await slots.reserve("a")
        assert caught.value.code == "admission_unavailable"
        await processes.store.inner.delete(SLOTS, FLEET)
        await asyncio.sleep(1)
        await slots.reserve("a")
        await slots.settled()
        assert await processes.written() == await processes.written("tenant/a") == {"m0": 1}

    played(scene)


def test_limits_that_are_not_known_let_nobody_in() -> None:
    async def scene() -> None:
        def unknown(_: str | None) -> TenantLimits:
            raise PeerFault("store_unreachable", "no view yet")

        processes = Processes(1, unknown, wait_ms_max=200)
        with pytest.raises(Refused) as caught:
            await processes.all[0].reserve("a")
        assert caught.value.code == "admission_unavailable"

    played(scene)


def test_limits_that_are_not_known_leave_the_sessions_that_run_as_they_were_told_last() -> None:
    known = True

    def limits_of(tenant_id: str | None) -> TenantLimits:
        if not known:
            raise PeerFault("quotas_unknown", "not read for too long")
        return limits(fleet=10, tenant=1, action=Action.DEGRADE)(tenant_id)

    async def scene() -> None:
        nonlocal known
        processes = Processes(1, limits_of)
        for _ in range(2):
            await processes.all[0].reserve("t")
        assert processes.all[0].over("t").degraded
        known = False
        assert processes.all[0].over("t").degraded
        assert not processes.all[0].over("another").degraded

    played(scene)


def test_of_many_documents_some_are_looked_through_at_a_time_and_each_has_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rspp.control.intake.admission.SWEEP_MAX", 3)

    async def scene() -> None:
        processes = Processes(2, limits(fleet=100, tenant=5))
        for number in range(8):
            await processes.all[1].reserve(f"t{number}")
        processes.gone = {"m1"}
        left = []
        for _ in range(3):
            await processes.all[0].sweep()
            processes.all[0]._scopes.clear()  # as `reconcile` lets idle ones go
            held = [await processes.store.inner.get(SLOTS, f"tenant/t{number}") for number in range(8)]
            left.append(sum(holders_of(one.value).count() for one in held if one is not None))
        assert left == [5, 2, 0]

    played(scene)


def test_documents_that_hold_nothing_go_and_those_of_the_dead_are_looked_through() -> None:
    async def scene() -> None:
        processes = Processes(2, limits(fleet=10, tenant=5))
        kept = [await processes.all[0].reserve(f"tenant {number}/x") for number in range(3)]
        await processes.all[1].reserve("left behind")
        for one in kept:
            processes.all[0].release(one)
        await processes.all[0].settled()
        processes.gone = {"m1"}
        await processes.all[0].reconcile({})
        await asyncio.sleep(400)
        assert [key for key in await processes.store.inner.keys(SLOTS) if key != FLEET] == []
        await processes.all[0].reconcile({})
        assert set(processes.all[0]._scopes) <= {FLEET}

    played(scene)


@pytest.mark.parametrize("ahead_ms", [0, 10**12, -(10**11)])
def test_clocks_years_apart_admit_no_more_at_a_time(ahead_ms: int) -> None:
    async def scene() -> None:
        processes = Processes(1, limits(fleet=10))
        other = processes.process(
            "other", limits(fleet=10), clock=ManualClock(wall=10**18 + ahead_ms * 10**6)
        )
        processes.all.append(other)
        admitted, refused = await burst(processes, 50)
        assert len(admitted) == 10
        assert len(refused) == 40

    played(scene)


def test_churn_with_a_failing_store_and_dying_processes_leaks_nothing_and_never_exceeds_the_limit() -> None:
    async def scene() -> None:
        processes = Processes(0, limits(fleet=25, tenant=15), wait_ms_max=2_000)
        faults = ["none", "none", "done", "none", "undone", "late", "none"]
        processes.store.fault = lambda number: faults[number * 7 // 3 % len(faults)]
        held: dict[str, list[tuple[Slots, Reservation]]] = {}
        for era in range(12):
            name = f"m{era}"
            processes.all.append(processes.process(name, limits(fleet=25, tenant=15), wait_ms_max=2_000))
            if era >= 3:
                dead = processes.all.pop(0)
                await dead.close()
                processes.gone.add(dead._member)
                held.pop(dead._member, None)
                await asyncio.sleep(1.2)
            admitted, _ = await burst(processes, 40, tenants=3)
            for slots, reservation in admitted:
                held.setdefault(slots._member, []).append((slots, reservation))
            assert sum(map(len, held.values())) <= 25
            for mine in held.values():
                for slots, reservation in mine[::2]:
                    slots.release(reservation)
                del mine[::2]
        processes.store.fault = lambda _: "none"
        for slots in processes.all:
            await slots.reconcile(slots.held)
            await slots.settled()
        assert sum((await processes.written()).values()) == sum(map(len, held.values()))
        for mine in held.values():
            for slots, reservation in mine:
                slots.release(reservation)
        for slots in processes.all:
            await slots.settled()
        assert await processes.written() == {}
        assert len((await burst(processes, 100, tenants=2))[0]) == 25

    played(scene)


def test_where_nothing_is_limited_nobody_waits_for_a_write_and_a_limit_that_comes_later_holds() -> None:
    async def scene() -> None:
        fleet = 0

        def later(tenant_id: str | None) -> TenantLimits:
            return limits(fleet=fleet)(tenant_id)

        processes = Processes(2, later)
        admitted, refused = await burst(processes, 500)
        assert len(admitted) == 500
        assert refused == []
        assert processes.store.puts == processes.store.gets == 0
        for slots in processes.all:
            await slots.reconcile(slots.held)
            await slots.settled()
        assert await processes.written() == {"m0": 250, "m1": 250}
        fleet = 400
        for slots, reservation in admitted[:99]:
            slots.release(reservation)
        with pytest.raises(Refused):
            await processes.all[0].reserve("t0")
        for slots, reservation in admitted[99:110]:
            slots.release(reservation)
        await asyncio.gather(*(slots.settled() for slots in processes.all))
        assert len((await burst(processes, 50))[0]) == 10

    played(scene)


def test_it_reconciles_by_itself_as_long_as_it_is_let() -> None:
    async def scene() -> None:
        processes = Processes(1, limits(fleet=10))
        (slots,) = processes.all
        await slots.reserve("t")
        running = asyncio.ensure_future(slots.run(dict))
        await asyncio.sleep(70)
        assert await processes.written() == {}
        running.cancel()
        await asyncio.wait([running])

    played(scene)
