"""Nobody acts on a view that is too old: it is looked up first, or the operation is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.authority.leases import Lease, Leases
from rspp.control.authority.members import Fleet, Member, MemberState
from rspp.control.fleet.regions import Region, RegionMode, Regions
from rspp.control.fleet.routing_view import Route, RoutingView, SessionRoute, look_up
from rspp.control.names import MEMBERS
from rspp.host.ports import Entry, Refused
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore


class Reachable(MemoryStore):
    """A store that can go away, and counts who comes."""

    def __init__(self) -> None:
        super().__init__(ManualClock())
        self.away = False
        self.hangs = False
        self.reads = 0

    async def get(self, bucket: str, key: str) -> Entry | None:
        await self._there()
        return await super().get(bucket, key)

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        await self._there()
        return await super().keys(bucket, prefix)

    async def _there(self) -> None:
        self.reads += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise PeerFault("store_unreachable", "away")
        await asyncio.sleep(0)


async def member(store: MemoryStore, name: str, **changes: Any) -> None:
    fields = {
        "id": name,
        "kind": "worker",
        "ttl_ms": 15_000,
        "endpoint": f"ws://{name}",
        "region": "a",
        **changes,
    }
    await store.put(MEMBERS, name, msgspec.json.encode(Member(**{"ready": True, "capacity": 9, **fields})))


def made(store: Reachable, stale_ms: int = 5_000) -> tuple[RoutingView, ManualClock]:
    clock = ManualClock()
    return RoutingView(store, clock, Fleet(store, clock), stale_ms=stale_ms), clock


def test_a_view_has_a_version_and_a_bound_and_an_old_one_is_looked_up_first() -> None:
    async def main() -> None:
        store = Reachable()
        await member(store, "w1")
        view, clock = made(store)
        assert view.peek() is None
        first = await view.current()
        assert (first.version >= 1, first.stale_ms, [p.id for p in first.places]) == (True, 5_000, ["w1"])
        await member(store, "w2")
        clock.advance(5_000)
        reads = store.reads
        assert [p.id for p in (await view.current()).places] == ["w1"], "within its bound it is used as it is"
        assert store.reads == reads
        clock.advance(1)
        aged = view.peek()
        assert aged is not None
        assert aged.is_stale(clock.now())
        assert aged.age_ms(clock.now()) == 5_001
        second = await view.current()
        assert [p.id for p in second.places] == ["w1", "w2"]
        assert second.version > first.version
        assert not second.is_stale(clock.now())

    asyncio.run(main())


@pytest.mark.parametrize("trouble", ["away", "hangs"])
def test_when_the_store_cannot_be_read_an_old_view_is_refused_and_one_within_its_bound_is_not(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr("rspp.control.fleet.routing_view.READ_MS_MAX", 20)
        store = Reachable()
        await member(store, "w1")
        view, clock = made(store)
        await view.current()
        setattr(store, trouble, True)
        clock.advance(4_999)
        assert (await view.current()).places
        clock.advance(2)
        with pytest.raises(Refused, match="routing_view_stale") as caught:
            await view.current()
        assert caught.value.retry_after_ms is not None
        setattr(store, trouble, False)
        assert (await view.current()).places

    asyncio.run(main())


def test_many_who_find_the_view_old_look_once() -> None:
    async def main() -> None:
        store = Reachable()
        await member(store, "w1")
        view, _ = made(store)
        await asyncio.gather(*(view.current() for _ in range(50)))
        assert view.refreshes == 1

    asyncio.run(main())


def test_an_age_counts_from_when_reading_began_and_not_from_when_it_was_done() -> None:
    async def main() -> None:
        store = Reachable()
        view, clock = made(store)
        slow = store._there

        async def there() -> None:
            await slow()
            clock.advance(400)

        store._there = there  # type: ignore[method-assign]
        began = clock.now()
        await view.refresh()
        found = view.peek()
        assert found is not None
        assert found.taken_at == began < clock.now()

    asyncio.run(main())


def test_regions_are_part_of_the_view_and_members_that_left_are_not() -> None:
    async def main() -> None:
        store = Reachable()
        await member(store, "w1")
        await member(store, "gone", state=MemberState.LEFT)
        await member(store, "lost", state=MemberState.LOST)
        await member(store, "control", kind="control")
        await store.put(MEMBERS, "torn", b"{")
        await Regions(store).put(
            Region(name="a", mode=RegionMode.DRAIN, author="ann", reason="works"), expect=0
        )
        view, clock = made(store)
        found = await view.current()
        assert {place.id: place.healthy for place in found.places} == {"w1": True, "lost": False}
        assert found.modes == {"a": RegionMode.DRAIN}
        clock.advance(14_000)
        await member(store, "w1", beat=2)
        clock.advance(47_000)
        await member(store, "w1", beat=3)
        later = await view.current()
        assert [place.id for place in later.places] == ["w1"], "a worker that was lost counts for a minute"

    asyncio.run(main())


def test_a_region_that_was_read_before_it_was_turned_does_not_undo_the_turn() -> None:
    async def main() -> None:
        store = Reachable()
        regions = Regions(store)
        old = await regions.put(Region(name="a", author="ann", reason="new"), expect=0)
        closed = Region(name="a", mode=RegionMode.CLOSED, author="ann", reason="sold")
        new = await regions.put(closed, expect=old.revision)
        view, _ = made(store)
        await view.refresh()
        view._turned(new.region, new.revision)
        view._turned(old.region, old.revision)
        assert (await view.current()).modes == {"a": RegionMode.CLOSED}

    asyncio.run(main())


def test_a_view_without_a_bound_is_not_made() -> None:
    with pytest.raises(MisuseError):
        made(Reachable(), stale_ms=0)


# ---- one session -----------------------------------------------------------------------------------------------------


def route(**changes: Any) -> Route:
    fields = {
        "tenant_id": "t",
        "session_id": "s",
        "member_id": "w1",
        "endpoint": "ws://w1",
        "region": "a",
        "epoch": 5,
        "version": 5,
        "taken_at": 0,
    }
    return Route(**{**fields, **changes})


async def _nobody() -> Route:
    raise AssertionError("nobody was to look")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (route(version=4), "route_outdated"),
        (route(version=6, epoch=4), "authority_epoch_mismatch"),
        (route(version=4, epoch=9), "route_outdated"),
        (route(endpoint="ws://w2"), "route_outdated"),
        (route(version=6, session_id="other"), "route_other_session"),
        (route(version=6, tenant_id="other"), "route_other_session"),
        (route(version=0, epoch=0), "route_malformed"),
        (route(version=6, epoch=-1), "route_malformed"),
        (route(version=6, endpoint=""), "route_malformed"),
        (route(version=6, stale_ms=0), "route_malformed"),
    ],
)
def test_a_route_of_the_past_or_of_another_session_changes_nothing(given: Route, code: str) -> None:
    known = SessionRoute(route(), ManualClock(), _nobody)
    with pytest.raises(PeerFault) as caught:
        known.take(given)
    assert caught.value.code == code
    assert known.route == route()


def test_a_newer_route_is_taken_and_the_same_one_again_is_no_change_but_proves_its_age() -> None:
    known = SessionRoute(route(), ManualClock(), _nobody)
    assert not known.take(route())
    assert not known.take(route(taken_at=7))
    assert known.route.taken_at == 7
    assert not known.take(route(taken_at=3))
    assert known.route.taken_at == 7
    assert known.take(route(version=6, endpoint="ws://w2", epoch=6))
    assert known.route.endpoint == "ws://w2"


def test_an_operation_that_moves_a_session_looks_first_when_its_route_is_old_and_is_refused_when_it_cannot() -> (
    None
):
    async def main() -> None:
        store = Reachable()
        clock = ManualClock()
        await member(store, "w1")
        await member(store, "w2")
        fleet = Fleet(store, clock)
        for name in ("w1", "w2"):
            entry = await store.get(MEMBERS, name)
            assert entry is not None
            fleet.take(entry)
        mine, other = Leases(store, "w1"), Leases(store, "w2")
        held = await mine.acquire(Lease(tenant_id="t", session_id="s", owner="w1"))

        async def look() -> Route:
            return await look_up(other, fleet, clock, "t", "s")

        known = SessionRoute(await look(), clock, look)
        assert (known.route.epoch, known.route.version, known.route.endpoint) == (
            held.epoch,
            held.revision,
            "ws://w1",
        )
        reads = store.reads
        clock.advance(5_000)
        assert (await known.for_operation("migrate")).member_id == "w1"
        assert store.reads == reads
        freed = await mine.free(held)
        assert freed is not None
        await other.take(freed, fleet.is_gone)
        clock.advance(1)
        moved = await known.for_operation("migrate")
        assert (moved.member_id, moved.epoch > held.epoch) == ("w2", True)
        clock.advance(5_001)
        store.away = True
        with pytest.raises(Refused, match="routing_view_stale"):
            await known.for_operation("migrate")
        store.away = False
        await mine.revoke("t", "s", "test")
        with pytest.raises(Refused, match="session_unknown"):
            await known.for_operation("migrate")

    asyncio.run(main())
