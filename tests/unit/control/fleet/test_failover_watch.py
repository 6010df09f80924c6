"""A change of failover's happens once in the whole fleet, is told of, and is never done on a view that is too old."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import PeerFault
from rspp.control.authority.members import Fleet, Member
from rspp.control.fleet.failover import Change, FailoverPolicy
from rspp.control.fleet.failover_watch import FailoverWatch
from rspp.control.fleet.provider_board import ProviderBoard
from rspp.control.fleet.provider_health import ProviderReport, ProviderState
from rspp.control.fleet.regions import Region, RegionMode, Regions
from rspp.control.fleet.routing import Chosen, Refusal, Wish, choose
from rspp.control.fleet.routing_view import RoutingView
from rspp.control.names import HEALTH, MEMBERS, key
from rspp.control.security.audit import Audit
from rspp.host.meters import Meters
from rspp.host.ports import Entry, Refused
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore
from rspp.timeline.audit import records

POLICY = FailoverPolicy(mode="migrate", hold_ms=3_000, recover_ms=5_000)
ASKED = Wish(tenant_id="t", session_id="s", latencies_ms={"a": 5.0, "b": 80.0})


class Away(MemoryStore):
    away = False

    async def get(self, bucket: str, key: str) -> Entry | None:
        await asyncio.sleep(0)  # others come in between, as they do everywhere but in memory
        return await super().get(bucket, key)

    async def put(self, *given: Any, **more: Any) -> int | None:
        await asyncio.sleep(0)
        return await super().put(*given, **more)

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        if self.away:
            raise PeerFault("store_unreachable", "away")
        await asyncio.sleep(0)
        return await super().keys(bucket, prefix)


class Site:
    """A store with two regions of two workers each, and control processes that watch them."""

    def __init__(self, watches: int = 1) -> None:
        self.clock = ManualClock()
        self.store = Away(self.clock)
        self.meters = [Meters() for _ in range(watches)]
        self.told: list[Change] = []
        self.audit = Audit(self.store, "control")
        self.boards = [ProviderBoard(self.store, self.clock) for _ in range(watches)]
        self.views = [
            RoutingView(self.store, self.clock, Fleet(self.store, self.clock), stale_ms=500)
            for _ in range(watches)
        ]
        self.watches = [
            FailoverWatch(
                self.store,
                self.clock,
                self.views[n],
                self.boards[n],
                policy=lambda: POLICY,
                told=self.tell,
                meters=self.meters[n],
            )
            for n in range(watches)
        ]
        self.ready = {"a1": True, "a2": True, "b1": True, "b2": True}
        self.beat = 0

    async def tell(self, change: Change) -> None:
        self.told.append(change)
        await self.audit.done("failover", "region.change", None, change.region.reason, change.region.facts)

    async def beats(self) -> None:
        self.beat += 1
        for name, ready in self.ready.items():
            fields: dict[str, Any] = {"region": name[0], "ready": ready, "capacity": 10, "beat": self.beat}
            one = Member(id=name, kind="worker", ttl_ms=15_000, endpoint=f"ws://{name}", **fields)
            await self.store.put(MEMBERS, name, msgspec.json.encode(one))

    async def says(self, member: str, state: ProviderState, beat: int) -> None:
        told = ProviderReport(
            provider="p", member=member, region=member[0], state=state, at_ms=0, calls=10, beat=beat
        )
        name = key("provider", "p", member)
        revision = await self.store.put(HEALTH, name, msgspec.json.encode(told))
        assert revision is not None
        for board in self.boards:
            board.take(Entry(name, msgspec.json.encode(told), revision))

    async def seconds(self, count: int) -> None:
        for _ in range(count):
            await self.beats()
            await asyncio.gather(*(watch.look() for watch in self.watches))
            self.clock.advance(1_000)

    async def modes(self) -> dict[str, RegionMode]:
        return {name: one.region.mode for name, one in (await Regions(self.store).list()).items()}

    async def goes(self) -> Chosen | Refusal:
        view = await self.views[0].current()
        return choose(view.places, ASKED, modes=view.modes)


def test_new_sessions_leave_a_region_in_trouble_and_come_back_when_it_is_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        site = Site()
        await site.seconds(5)
        assert await site.modes() == {}
        site.ready["a1"] = site.ready["a2"] = False
        with caplog.at_level(logging.WARNING, "rspp.control.fleet.failover"):
            await site.seconds(3)
            assert await site.modes() == {}
            await site.seconds(1)
        assert await site.modes() == {"a": RegionMode.MIGRATE}
        assert "region a is migrate: trouble 1.00 of 0.5: workers: 0 of 2 workers are well" in caplog.text
        answer = await site.goes()
        assert isinstance(answer, Chosen)
        assert answer.place.region == "b"
        site.ready["b1"] = site.ready["b2"] = False
        await site.seconds(10)
        answer = await site.goes()
        assert isinstance(answer, Refusal)
        assert answer.retry_after_ms is not None
        site.ready = dict.fromkeys(site.ready, True)
        await site.seconds(7)
        assert await site.modes() == {"a": RegionMode.OPEN}
        written = await records(site.store, next(iter(await site.store.keys("audit"))))
        assert [one.facts.get("trouble") for one in written] == ["1.00", "0.00"]

    asyncio.run(main())


def test_a_provider_that_fails_in_one_region_only_is_a_reason_that_is_counted() -> None:
    async def main() -> None:
        site = Site()
        for second in range(6):
            for name in ("a1", "a2"):
                await site.says(name, ProviderState.UNHEALTHY, second + 1)
            for name in ("b1", "b2"):
                await site.says(name, ProviderState.HEALTHY, second + 1)
            await site.seconds(1)
        assert await site.modes() == {"a": RegionMode.MIGRATE}
        counters = {
            (one.name, dict(one.labels).get("factor")): one.value for one in site.meters[0].read().counters
        }
        assert counters["failover_triggers_total", "providers"] == 1
        assert counters["region_changes_total", None] == 1
        gauges = {
            dict(one.labels)["region"]: one.value
            for one in site.meters[0].read().gauges
            if one.name == "region_trouble"
        }
        assert gauges == {"a": 1.0, "b": 0.0}
        assert [trigger.factor for trigger in site.told[0].triggers] == ["providers"]

    asyncio.run(main())


def test_a_change_that_could_not_be_told_of_is_told_once_when_it_can() -> None:
    async def main() -> None:
        site = Site()
        site.ready["a1"] = site.ready["a2"] = False
        await site.seconds(3)
        write, tried = site.audit.done, 0

        async def away(*given: Any) -> Any:
            nonlocal tried
            tried += 1
            raise PeerFault("store_unreachable", "away")

        site.audit.done = away  # type: ignore[method-assign,assignment]
        for _ in range(2):
            with pytest.raises(PeerFault):
                await site.seconds(1)
        assert (tried, await site.modes()) == (2, {"a": RegionMode.MIGRATE})
        site.audit.done = write  # type: ignore[method-assign]
        await site.seconds(3)
        written = await records(site.store, next(iter(await site.store.keys("audit"))))
        assert len(written) == 1

    asyncio.run(main())


def test_of_three_control_processes_one_turns_the_switch() -> None:
    async def main() -> None:
        site = Site(watches=3)
        site.ready["a1"] = site.ready["a2"] = False
        await site.seconds(12)
        assert await site.modes() == {"a": RegionMode.MIGRATE}
        assert len(site.told) == 1

    asyncio.run(main())


def test_what_an_operator_turns_while_failover_looks_is_not_turned_back() -> None:
    async def main() -> None:
        site = Site()
        regions = Regions(site.store)
        site.ready["a1"] = site.ready["a2"] = False
        await site.seconds(3)
        await regions.put(
            Region(name="a", mode=RegionMode.OPEN, author="ann", reason="a test", pinned=True), expect=0
        )
        await site.seconds(10)
        assert (await regions.get("a")).region.author == "ann"
        assert site.told == []

    asyncio.run(main())


@pytest.mark.parametrize(
    "turned",
    [
        Region(name="a", pinned=True, author="ann", reason="a test"),
        Region(name="a", mode=RegionMode.MIGRATE, author="ann", reason="by hand"),
        Region(name="a", mode=RegionMode.CLOSED, author="ann", reason="sold"),
    ],
    ids=["pinned", "turned", "closed"],
)
def test_a_switch_that_was_turned_after_the_last_look_is_left_as_it_is(turned: Region) -> None:
    async def main() -> None:
        site = Site()
        site.ready["a1"] = site.ready["a2"] = False
        await site.seconds(3)
        await site.beats()
        await site.views[0].current()
        await Regions(site.store).put(turned, expect=0)
        await site.watches[0].look()
        assert (await Regions(site.store).get("a")).region == turned
        assert site.told == []

    asyncio.run(main())


def test_without_a_new_view_nothing_is_turned_and_the_hold_time_proves_nothing() -> None:
    async def main() -> None:
        site = Site()
        site.ready["a1"] = site.ready["a2"] = False
        await site.seconds(2)
        site.store.away = True
        site.clock.advance(600_000)
        with pytest.raises(Refused, match="routing_view_stale"):
            await site.watches[0].look()
        running = asyncio.create_task(site.watches[0].run())
        await asyncio.sleep(0.01)
        running.cancel()
        site.store.away = False
        await site.beats()
        await site.watches[0].look()
        assert await site.modes() == {}, "ten minutes passed unseen"

    asyncio.run(main())
