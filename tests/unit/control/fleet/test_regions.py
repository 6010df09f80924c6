"""A region's switch is turned by one at a time, who says why, and tells workers what to do."""

from __future__ import annotations

import asyncio

import pytest

from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.authority.members import Member, MemberState
from rspp.control.fleet.regions import Region, RegionMode, Regions, Wanted, wanted, wanted_of
from rspp.control.names import CONFIG
from rspp.testing.store import MemoryStore


@pytest.mark.parametrize(
    ("mode", "state", "what"),
    [
        (RegionMode.OPEN, MemberState.UP, Wanted.SERVE),
        (RegionMode.OPEN, MemberState.DRAINING, Wanted.DRAIN),
        (RegionMode.DRAIN, MemberState.UP, Wanted.DRAIN),
        (RegionMode.MIGRATE, MemberState.UP, Wanted.MIGRATE),
        (RegionMode.MIGRATE, MemberState.DRAINING, Wanted.MIGRATE),
        (RegionMode.CLOSED, MemberState.UP, Wanted.DRAIN),
    ],
)
def test_a_worker_does_what_its_region_says(mode: RegionMode, state: MemberState, what: Wanted) -> None:
    assert wanted(mode, state) is what
    member = Member(id="m", kind="worker", ttl_ms=3_000, region="a", state=state)
    assert wanted_of({"a": Region(name="a", mode=mode), "b": Region(name="b")}, member) is what


def test_a_region_that_nobody_has_said_anything_about_is_open() -> None:
    async def main() -> None:
        switched = await Regions(MemoryStore()).get("a")
        assert (switched.region.mode, switched.revision) == (RegionMode.OPEN, 0)
        member = Member(id="m", kind="worker", ttl_ms=3_000, region="a")
        assert wanted_of({}, member) is Wanted.SERVE

    asyncio.run(main())


def test_of_two_who_turn_the_same_switch_one_does() -> None:
    async def main() -> None:
        store = MemoryStore()
        regions = Regions(store)
        turned = Region(name="a", mode=RegionMode.DRAIN, author="ann", reason="works on the power")

        async def turn(reason: str) -> str:
            before = await regions.get("a")
            await asyncio.sleep(0)
            try:
                await regions.put(
                    Region(name="a", mode=RegionMode.DRAIN, author="ann", reason=reason),
                    expect=before.revision,
                )
            except PeerFault as error:
                return error.code
            return "turned"

        assert sorted(await asyncio.gather(turn("one"), turn("two"))) == ["revision_conflict", "turned"]
        before = await regions.get("a")
        await regions.put(turned, expect=before.revision)
        assert (await regions.list())["a"].region == turned

    asyncio.run(main())


@pytest.mark.parametrize(
    "region",
    [
        Region(name="a", mode=RegionMode.DRAIN),
        Region(name="a", mode=RegionMode.DRAIN, author="ann", reason=" "),
        Region(name="a", mode=RegionMode.DRAIN, author="", reason="why"),
        Region(name="a", mode=RegionMode.DRAIN, author="ann", reason="x" * 513),
    ],
)
def test_a_switch_is_not_turned_by_nobody_or_for_nothing(region: Region) -> None:
    async def main() -> None:
        store = MemoryStore()
        with pytest.raises(MisuseError, match="region_unexplained"):
            await Regions(store).put(region, expect=0)
        assert await store.keys(CONFIG) == []

    asyncio.run(main())


def test_a_record_that_cannot_be_read_closes_its_region_and_failover_leaves_it_alone() -> None:
    async def main() -> None:
        store = MemoryStore()
        ill = (
            b"",
            b"{",
            b'{"name": "r2", "mode": "ajar"}',
            b"\xff" * 100_000,
            b'{"name": "r0", "mode": "open"}',
        )
        for number, value in enumerate(ill):
            await store.put(CONFIG, f"region/r{number}", value)
        found = await Regions(store).list()
        assert {name: one.region.mode for name, one in found.items()} == {
            f"r{number}": RegionMode.CLOSED for number in range(5)
        }
        assert all(one.region.pinned for one in found.values())

    asyncio.run(main())


def test_a_turn_is_seen_by_who_watches() -> None:
    async def main() -> None:
        regions = Regions(MemoryStore())
        seen: list[RegionMode] = []
        first = asyncio.Event()

        async def watch() -> None:
            async for switched in regions.watch():
                seen.append(switched.region.mode)
                first.set()
                if len(seen) == 2:
                    return

        await regions.put(Region(name="a", author="ann", reason="new"), expect=0)
        watching = asyncio.create_task(watch())
        await asyncio.wait_for(first.wait(), 5)
        before = await regions.get("a")
        await regions.put(
            Region(name="a", mode=RegionMode.MIGRATE, author="ann", reason="fire"), expect=before.revision
        )
        await asyncio.wait_for(watching, 5)
        assert seen == [RegionMode.OPEN, RegionMode.MIGRATE]

    asyncio.run(main())
