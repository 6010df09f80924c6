from __future__ import annotations

import asyncio

import pytest

from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.authority.members import Fleet, Member, Membership, MemberState, fence
from rspp.testing.store import ManualClock, MemoryStore

TTL_MS = 3_000


class Line(MemoryStore):
    """Does what it is asked, and at times its answer is lost."""

    deaf = False

    async def put(self, bucket: str, key: str, value: bytes, **how: int | None) -> int | None:
        done = await super().put(bucket, key, value, **how)
        if self.deaf:
            raise PeerFault("store_unreachable", "the answer was lost")
        return done


def membership(store: MemoryStore, clock: ManualClock, name: str = "w-1") -> Membership:
    return Membership(store, clock, Member(id=name, kind="worker", ttl_ms=TTL_MS))


async def state_of(store: MemoryStore, clock: ManualClock, name: str = "w-1") -> MemberState:
    fleet = Fleet(store, clock)
    entry = await store.get("members", name)
    assert entry is not None
    fleet.take(entry)
    seen = fleet.get(name)
    assert seen is not None
    return seen.member.state


def test_two_lives_never_have_one_id() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        first = membership(store, clock)
        await first.join()
        with pytest.raises(MisuseError, match="member_exists"):
            await Membership(store, clock, Member(id="w-1", kind="worker", ttl_ms=TTL_MS, region="b")).join()
        assert first.held
        await fence(store, "w-1", "gone")
        with pytest.raises(MisuseError, match="member_exists"):
            await membership(store, clock).join()

    asyncio.run(main())


def test_who_leaves_is_gone_though_an_answer_to_it_was_lost_before() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = Line(clock)
        one = membership(store, clock)
        await one.join()
        store.deaf = True
        assert not await one._renew()
        store.deaf = False
        await one.leave("stopped")
        assert await state_of(store, clock) is MemberState.LEFT
        assert one.over
        assert not one.held

    asyncio.run(main())


def test_who_was_called_lost_stays_lost_when_it_leaves() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        one = membership(store, clock)
        await one.join()
        await fence(store, "w-1", "silent")
        await one.leave("stopped")
        assert await state_of(store, clock) is MemberState.LOST

    asyncio.run(main())


def test_a_watch_that_tells_again_what_is_old_makes_nobody_younger() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        await membership(store, clock).join()
        fleet = Fleet(store, clock)
        entry = await store.get("members", "w-1")
        assert entry is not None
        fleet.take(entry)
        clock.advance(TTL_MS * 1.01)
        fleet.take(entry)
        assert not await fleet.is_gone("w-1"), "clocks may differ by so much"
        clock.advance(TTL_MS * 0.02)
        fleet.take(entry)
        assert fleet.members() == []
        assert await fleet.is_gone("w-1")
        assert await state_of(store, clock) is MemberState.LOST

    asyncio.run(main())
