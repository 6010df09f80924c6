"""What it costs to open a session under one authority, on both stores.

The whole way is gone each time: a route is asked of the control plane (version, residency, place, signed token), a worker
takes the caller in (token, version, room, lease, a real host's session), and the session is closed again. Then leases alone.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS, Event
from rspp.contract.words import CORE_SCHEMA_VERSION
from rspp.control.authority.leases import Lease, Leases
from rspp.control.intake.capacity import CapacityLimits, Threshold
from rspp.control.operations.routes import CreateRoute, create
from rspp.control.plane import ControlPlane, PlaneSettings, os_principal
from rspp.control.security.key_folder import KeyFolder, first_key
from rspp.control.stores import open_store
from rspp.control.worker import Worker, WorkerSettings
from rspp.control.worker.parts import FleetParts, PartsSettings
from rspp.host.clock import MachineClock
from rspp.host.host import Host, HostSettings
from rspp.host.meters import Meters
from rspp.host.ports import Bootstrap, Store
from rspp.host.recorder import MemoryRecorder
from rspp.host.registry import Registry
from rspp.host.secrets import Secrets
from rspp.nodes import factories
from rspp.testing.cluster import NatsCluster
from rspp.testing.scripted import providers

ENDPOINT: Final = "ws://127.0.0.1:8080/v1/rtc/ws"
TENANT: Final = "bench"
AT_ONCE: Final = 16  # callers
WARM_UP: Final = 20
# A worker that is asked as fast as it answers is busy, and would turn callers away for it.
AS_MUCH_AS_THERE_IS: Final = CapacityLimits(cpu=Threshold(defer=100, reject=100))
SPEC: Final = """
pipeline: bench
version: v1
template: voice
providers: {vad: scripted-vad, end_of_turn: scripted-end-of-turn, stt: scripted-stt, llm: scripted-llm, tts: scripted-tts}
"""


class Spread(msgspec.Struct, frozen=True):
    """Of many times, in milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One store."""

    store: str
    opens: int
    route: Spread  # version, residency, place, token
    enter: Spread  # token, version, room, lease, session
    open: Spread  # both, one after the other
    open_at_once: Spread  # sixteen callers at a time
    opens_per_s_at_once: float
    lease_ops_per_s: float  # sixteen at a time; taking and ending a lease are two
    slots_left_over: int
    leases_left_over: int


class Silent:
    """A line that nobody is on."""

    def send(self, event: Event) -> None: ...
    def announce(self, event: Event) -> None: ...
    def pause(self, turn_id: str) -> None: ...
    def resume(self, turn_id: str) -> None: ...
    def stop(self, turn_id: str, keep_ms: int) -> None: ...
    def close(self, reason: str) -> None: ...


def spread(times_ns: list[int]) -> Spread:
    """Nearest rank."""
    ordered = sorted(times_ns)

    def at(share: float) -> float:
        return round(ordered[max(0, -(-int(share * len(ordered) * 100) // 100) - 1)] / NS_PER_MS, 3)

    return Spread(at(0.5), at(0.95), at(0.99))


class Bench:
    """A control plane and a worker over one store."""

    def __init__(self, plane: ControlPlane, worker: Worker, parts: FleetParts) -> None:
        self.plane, self.worker, self.parts = plane, worker, parts
        self._principal = os_principal()
        self._line = Silent()

    async def open(self, times: list[tuple[int, int]]) -> None:
        """One session, from the question for a route to its end."""
        began = time.perf_counter_ns()
        route = await create(self.plane, self._principal, CreateRoute(tenant=TENANT))
        routed = time.perf_counter_ns()
        bootstrap = Bootstrap(
            schema_version=CORE_SCHEMA_VERSION,
            transport_kind="websocket",
            tenant_id=TENANT,
            requested_at_ms=0,
            token=route.token,
            resume="nobody comes back",
        )
        seat = await self.worker.enter(bootstrap, self._line)
        times.append((routed - began, time.perf_counter_ns() - routed))
        session = self.worker.host.sessions[seat.session_id]
        session.force("measured")

    async def opens(self, count: int, at_once: int) -> tuple[list[tuple[int, int]], float]:
        times: list[tuple[int, int]] = []  # bounded: count

        async def some(share: int) -> None:
            for _ in range(share):
                await self.open(times)

        began = time.perf_counter()
        await asyncio.gather(*(some(count // at_once) for _ in range(at_once)))
        return times, time.perf_counter() - began

    async def leases(self, count: int) -> float:
        """Leases taken and ended a second, two operations each."""
        leases = Leases(self.plane.store, "bench")

        async def some(first: int, share: int) -> None:
            for number in range(first, first + share):
                lease = Lease(tenant_id="leases", session_id=f"l{number}", owner="bench")
                await leases.end(await leases.acquire(lease), "measured")

        share = count // AT_ONCE
        began = time.perf_counter()
        await asyncio.gather(*(some(turn * share, share) for turn in range(AT_ONCE)))
        return 2 * share * AT_ONCE / (time.perf_counter() - began)

    async def settled(self) -> tuple[int, int]:
        """Slots and leases that are still held when nobody is there: both must come to nothing."""
        for _ in range(500):
            slots = sum(getattr(self.worker.slots, "held", {}).values())
            if not self.worker.owned and not slots:
                break
            await asyncio.sleep(0.02)
        return sum(getattr(self.worker.slots, "held", {}).values()), len(self.worker.owned)


@asynccontextmanager
async def bench_over(store: Store, folder: Path) -> AsyncIterator[Bench]:
    clock, meters = MachineClock(), Meters()
    keys = KeyFolder(folder / "keys")
    first_key(keys, clock.wall() // NS_PER_MS)
    plane = ControlPlane(store, keys=keys, settings=PlaneSettings(name="bench"))
    await plane.load()
    await plane.registry.publish(SPEC, "bench")
    await plane.rollouts.begin("bench", "v1", author="bench")
    parts = FleetParts(
        store, clock, PartsSettings(name="bench", endpoints=(ENDPOINT,), capacity=AS_MUCH_AS_THERE_IS), meters
    )
    host = Host(
        Registry(providers=providers(), nodes=factories()),
        HostSettings(sessions_max=10_000),
        recorders=parts.recorders(lambda _: MemoryRecorder()),
        snapshots=parts.snapshot,
        state=parts.state,
        meters=meters,
    )
    await host.start()
    worker = parts.worker(host, WorkerSettings(name="bench", endpoint=ENDPOINT))
    await parts.start()
    await worker.start()
    running = asyncio.get_running_loop().create_task(plane.run())
    try:
        await _routed(plane)
        yield Bench(plane, worker, parts)
    finally:
        await worker.stop()
        await host.stop()
        await parts.stop()
        running.cancel()
        await asyncio.wait([running])


async def _routed(plane: ControlPlane) -> None:
    """The control plane has seen the worker, and may sign."""
    for _ in range(200):
        await plane.look_at_fleet()
        if any(place.ready for place in (await plane.routing.current()).places):
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("the worker never got ready")


async def figures_of(name: str, store: Store, folder: Path, count: int) -> Figures:
    async with bench_over(store, folder) as bench:
        await bench.opens(WARM_UP, 1)
        alone, _ = await bench.opens(count, 1)
        together, took_s = await bench.opens(count, AT_ONCE)
        per_s = await bench.leases(count)
        slots, leases = await bench.settled()
    return Figures(
        store=name,
        opens=count,
        route=spread([route for route, _ in alone]),
        enter=spread([enter for _, enter in alone]),
        open=spread([sum(both) for both in alone]),
        open_at_once=spread([sum(both) for both in together]),
        opens_per_s_at_once=round(len(together) / took_s, 1),
        lease_ops_per_s=round(per_s, 1),
        slots_left_over=slots,
        leases_left_over=leases,
    )


async def run(names: tuple[str, ...], count: int, told: Callable[[str], None]) -> list[Figures]:
    found: list[Figures] = []
    for name in names:
        told(name)
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rspp-bench-")))
            url = f"sqlite://{folder / 'store.db'}"
            if name == "nats":
                url = (await stack.enter_async_context(NatsCluster(folder / "nats"))).store_url
            store = open_store(url, Secrets())
            stack.push_async_callback(store.close)
            found.append(await figures_of(name, store, folder, count))
    return found
