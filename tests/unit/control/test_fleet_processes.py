"""Real processes over a real JetStream: who is silent, full or in a region in trouble gets no session, and nobody acts on old news."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from rspp.control.authority.leases import Lease, Leases
from rspp.control.authority.members import Fleet
from rspp.control.fleet.failover import FailoverPolicy
from rspp.control.fleet.failover_watch import FailoverWatch
from rspp.control.fleet.provider_board import ProviderBoard
from rspp.control.fleet.provider_health import ProviderReport, ProviderState
from rspp.control.fleet.regions import Region, RegionMode, Regions
from rspp.control.fleet.routing import Chosen, Refusal, Wish, choose
from rspp.control.fleet.routing_view import RoutingView, SessionRoute, look_up
from rspp.control.names import HEALTH, key
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.ports import Refused, Store
from rspp.host.secrets import Secrets
from rspp.testing.cluster import NatsCluster

pytestmark = pytest.mark.slow

MEMBER = Path(__file__).with_name("fleet_member.py")
TTL_MS = 3_000


class Process:
    """One member."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def says(self, **said: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(said) + b"\n")
        await self.process.stdin.drain()

    def signal(self, what: signal.Signals) -> None:
        self.process.send_signal(what)


@asynccontextmanager
async def member(url: str, name: str, region: str = "a", capacity: int = 10) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(MEMBER), url, name, region, str(TTL_MS), str(capacity)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"joined\n"
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Control:
    """What a control process knows, in this one."""

    def __init__(self, store: Store, stale_ms: int = 1_000) -> None:
        self.store = store
        self.clock = MachineClock()
        self.fleet = Fleet(store, self.clock)
        self.view = RoutingView(store, self.clock, self.fleet, stale_ms=stale_ms)
        self.board = ProviderBoard(store, self.clock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Control]:
        tasks = [asyncio.create_task(one()) for one in (self.fleet.run, self.view.run, self.board.run)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def goes(self, session: str = "s", **wish: object) -> Chosen | Refusal:
        view = await self.view.current()
        asked = Wish(tenant_id="t", session_id=session, **wish)  # type: ignore[arg-type]
        return choose(view.places, asked, modes=view.modes)

    async def where(self, sessions: int = 40, **wish: object) -> set[str]:
        """The members to which sessions go now; what refuses them if nothing takes them."""
        found = set()
        for number in range(sessions):
            answer = await self.goes(f"s{number}", **wish)
            found.add(answer.place.id if isinstance(answer, Chosen) else answer.code)
        return found


async def until(holds: Callable[[], Awaitable[bool]], within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.02)


def test_sessions_go_to_the_one_worker_that_is_neither_silent_nor_full_and_are_refused_without_it(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            nats = await stack.enter_async_context(NatsCluster(tmp_path / "nats", nodes=1))
            silent, full, third = [
                await stack.enter_async_context(member(nats.store_url, name)) for name in ("m1", "m2", "m3")
            ]
            store = open_store(nats.store_url, Secrets())
            stack.push_async_callback(store.close)
            control = await stack.enter_async_context(Control(store).running())

            async def only(*names: str) -> None:
                async def holds() -> bool:
                    return await control.where() == set(names)

                await until(holds)

            await only("m1", "m2", "m3")
            await full.says(sessions=10)
            await only("m1", "m3")
            silent.signal(signal.SIGSTOP)
            await only("m3")
            assert await control.where(500) == {"m3"}
            await third.says(ready=False)
            await only("route_unfit")
            refusal = await control.goes()
            assert isinstance(refusal, Refusal)
            assert refusal.unfit == {"m1": "unhealthy", "m2": "full", "m3": "not_ready"}
            assert refusal.retry_after_ms is not None
            await third.says(ready=True)
            await only("m3")

    asyncio.run(main())


def test_a_region_in_trouble_is_left_for_another_one_by_the_switch_that_all_processes_see(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            nats = await stack.enter_async_context(NatsCluster(tmp_path / "nats", nodes=1))
            a, b = [
                await stack.enter_async_context(member(nats.store_url, name, name[0]))
                for name in ("a1", "b1")
            ]
            stores = [open_store(nats.store_url, Secrets()) for _ in range(2)]
            for store in stores:
                stack.push_async_callback(store.close)
            controls = [await stack.enter_async_context(Control(store).running()) for store in stores]
            policy = FailoverPolicy(mode="migrate", hold_ms=500, recover_ms=500)
            watches = [
                FailoverWatch(c.store, c.clock, c.view, c.board, policy=lambda: policy) for c in controls
            ]
            near_a = {"a": 5.0, "b": 70.0}

            async def turn(mode: RegionMode) -> int:
                """Look until the switch stands so; how often it was turned."""
                turned = 0
                async with asyncio.timeout(15):
                    while (await Regions(stores[0]).get("a")).region.mode is not mode:
                        looked = await asyncio.gather(*(watch.look() for watch in watches))
                        turned += sum(map(len, looked))
                        await asyncio.sleep(0.05)
                return turned

            async def say(state: ProviderState, region: str, beat: int) -> None:
                told = ProviderReport(
                    provider="p", member=f"{region}1", region=region, state=state, at_ms=0, calls=9, beat=beat
                )
                name = key("provider", "p", told.member)
                await stores[1].put(HEALTH, name, msgspec.json.encode(told), ttl_ms=60_000)

            async def all_go_to(*names: str) -> None:
                async def holds() -> bool:
                    return [await one.where(latencies_ms=near_a) for one in controls] == [set(names)] * 2

                await until(holds)

            await all_go_to("a1")
            with caplog.at_level(logging.WARNING, "rspp.control.fleet.failover"):
                await say(ProviderState.UNHEALTHY, "a", 1)
                await say(ProviderState.HEALTHY, "b", 1)
                assert await turn(RegionMode.MIGRATE) == 1
            assert "region a is migrate" in caplog.text
            assert "unhealthy: p" in caplog.text
            await all_go_to("b1")
            await b.says(ready=False)
            await all_go_to("route_unfit")
            await b.says(ready=True)
            await say(ProviderState.HEALTHY, "a", 2)
            assert await turn(RegionMode.OPEN) == 1
            await all_go_to("a1")
            await a.says(ready=False)
            await all_go_to("b1")

    asyncio.run(main())


@pytest.mark.proves("F-159")
@pytest.mark.long
def test_an_old_view_is_looked_up_before_a_session_moves_and_without_the_store_the_move_is_refused(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            nats = await stack.enter_async_context(NatsCluster(tmp_path / "nats", nodes=1))
            for name in ("m1", "m2"):
                await stack.enter_async_context(member(nats.store_url, name))
            store = open_store(nats.store_url, Secrets())
            stack.push_async_callback(store.close)
            control = Control(store, stale_ms=300)
            view, clock = control.view, control.clock
            snapshot = await view.current()
            assert (snapshot.version >= 1, snapshot.stale_ms) == (True, 300)
            mine, other = Leases(store, "m1"), Leases(store, "m2")
            held = await mine.acquire(Lease(tenant_id="t", session_id="s", owner="m1"))

            async def look() -> object:
                return await look_up(mine, control.fleet, clock, "t", "s", stale_ms=300)

            known = SessionRoute(await look(), clock, look)  # type: ignore[arg-type]
            assert (known.route.version >= 1, known.route.stale_ms) == (True, 300)
            assert known.route.endpoint == "ws://m1"
            freed = await mine.free(held)
            assert freed is not None
            taken = await other.take(freed, control.fleet.is_gone)
            await Regions(store).put(
                Region(name="a", mode=RegionMode.DRAIN, author="ann", reason="works"), expect=0
            )
            await asyncio.sleep(0.35)
            assert known.route.is_stale(clock.now())
            moved = await known.for_operation("migrate")
            assert (moved.endpoint, moved.epoch) == ("ws://m2", taken.epoch)
            refreshed = await view.current()
            assert refreshed.version > snapshot.version
            assert refreshed.modes == {"a": RegionMode.DRAIN}
            await nats.kill(nats.nodes[0].name)
            await asyncio.sleep(0.35)
            for refused in (known.for_operation("migrate"), view.current()):
                with pytest.raises(Refused, match="routing_view_stale"):
                    await refused

    asyncio.run(main())
