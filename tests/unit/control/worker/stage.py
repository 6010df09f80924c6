"""Some workers over one store, in virtual time: real hosts with scripted providers, whose callers can come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Any

from rspp.contract.words import ConnectionState
from rspp.control.worker import Worker, WorkerSettings
from rspp.control.worker.ports import Admitted, Gate, KeptLine
from rspp.host.host import Host
from rspp.host.ports import Bootstrap, Line, Refused, Seat, Store
from rspp.host.snapshots import alone
from rspp.kernel import inputs as i
from rspp.kernel.effects import SaveState
from rspp.kernel.snapshot import Durable, Snapshot
from rspp.spec.graph import GraphDefinition
from rspp.testing.clock import run_virtual
from rspp.testing.judge import Judges
from rspp.testing.store import MemoryStore
from tests.unit.control.world import BadLine
from tests.unit.host.stage import Caller, VirtualClock, bootstrap_of, graph_of, registry_of

TTL_MS = 3_000
SECRET = "the caller's own"


class Open:
    """Lets everybody in."""

    def admit(self, bootstrap: Bootstrap) -> Admitted:
        return Admitted(tenant_id=bootstrap.tenant_id, session_id=bootstrap.session_id)


class OnePlan:
    """One graph for all."""

    def __init__(self) -> None:
        self.one = graph_of()
        self._snapshots = alone()
        self.stale = False

    def fresh(self, now: int) -> bool:
        return not self.stale

    def choose(self, tenant_id: str, session_id: str, pipeline: str | None) -> str:
        return self.one.ref

    def graph(self, graph_ref: str) -> GraphDefinition:
        return self.one

    def snapshot(self, now: int, tenant_id: str, graph: GraphDefinition) -> Snapshot | None:
        return None if self.stale else self._snapshots(now, tenant_id, graph)

    def on_change(self, callback: Callable[[], None]) -> None: ...


class Room:
    """As many as come, counted."""

    def __init__(self, places: int = 100) -> None:
        self.left = places
        self.moved: list[str] = []

    async def reserve(self, tenant_id: str, *, session_id: str = "") -> str:
        if not self.left:
            raise Refused("cp_admission_reject_quota", "full", 1_000)
        self.left -= 1
        return tenant_id

    async def move(self, tenant_id: str, from_member: str) -> str:
        self.moved.append(from_member)
        self.left -= 1
        return tenant_id

    def release(self, reservation: object) -> None:
        self.left += 1

    async def reconcile(self, actual: Mapping[str, int]) -> None: ...

    async def close(self) -> None: ...


class Anywhere:
    def check(self, tenant_id: str, region: str) -> None: ...


class Kept:
    """Durable state of all workers of a stage; a write takes a moment."""

    def __init__(self, shelf: dict[tuple[str, str], dict[str, SaveState]], line: BadLine) -> None:
        self._shelf, self._line = shelf, line
        self._waiting: list[tuple[tuple[str, str], SaveState]] = []

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def flush(self, timeout_s: float) -> int:
        return 0

    def put(self, tenant_id: str, session_id: str, effect: SaveState) -> None:
        self._waiting.append(((tenant_id, session_id), effect))
        asyncio.get_running_loop().call_later(0.005, self._write)

    def _write(self) -> None:
        if asyncio.get_running_loop().time() < self._line.cut_until:
            return
        for where, effect in self._waiting:
            kept = self._shelf.setdefault(where, {})
            if effect.key not in kept or kept[effect.key].epoch <= effect.epoch:
                kept[effect.key] = effect
        self._waiting.clear()

    async def flushed(self, tenant_id: str, session_id: str) -> None:
        while self._waiting:  # noqa: ASYNC110 - the store of a stage says nothing by itself
            await asyncio.sleep(0.005)

    async def load(self, tenant_id: str, session_id: str) -> Durable | None:
        kept = self._shelf.get((tenant_id, session_id))
        if kept is None:
            return None
        return Durable(
            revision=max(one.revision for one in kept.values()),
            values={key: one.value for key, one in kept.items()},
        )

    async def forget(self, tenant_id: str, session_id: str) -> None:
        self._shelf.pop((tenant_id, session_id), None)

    def hold(self, tenant_id: str, session_id: str, line: Line) -> KeptLine:
        kept: KeptLine = line  # type: ignore[assignment]
        kept.cut = line.close  # type: ignore[method-assign]
        return kept


class Stage:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.shelf: dict[tuple[str, str], dict[str, SaveState]] = {}
        self.judges = Judges()
        self.gate: Gate = Open()
        self.plans = OnePlan()
        self.workers: list[Worker] = []
        self.lines: dict[str, BadLine] = {}
        self.rooms: dict[str, Room] = {}

    async def worker(self, name: str, **settings: Any) -> Worker:
        line = self.lines[name] = BadLine(self.store, Random(name))
        line.reliable = True
        store: Store = line  # type: ignore[assignment]
        room = self.rooms[name] = Room()
        kept = Kept(self.shelf, line)
        host = Host(
            registry_of(),
            clock=self.clock,
            recorders=self.judges.recorder,
            snapshots=self.plans.snapshot,
            state=kept,  # type: ignore[arg-type]
        )
        await host.start()
        worker = Worker(
            host,
            store,
            WorkerSettings(name=name, endpoint=f"ws://{name}", ttl_ms=TTL_MS, **settings),
            clock=self.clock,
            gate=self.gate,
            plans=self.plans,
            slots=lambda _: room,
            residency=Anywhere(),
            state=kept,
        )
        await worker.start()
        self.workers.append(worker)
        return worker

    async def call(self, worker: Worker, session_id: str = "s1", **more: Any) -> Caller:
        return await self._enter(worker, bootstrap_of(session_id=session_id, resume=SECRET, **more))

    async def back(self, worker: Worker, session_id: str = "s1", secret: str = SECRET) -> Caller:
        return await self._enter(worker, bootstrap_of(session_id=session_id, resume=secret, back=True))

    async def back_in_time(self, worker: Worker, within_ms: int = 10_000) -> tuple[Caller, int]:
        """Asks as a client does: again whenever it is told to. The caller, and how long that took."""
        began = self.clock.now()
        while True:
            try:
                caller = await self.back(worker)
            except Refused as refusal:
                waited_ms = (self.clock.now() - began) // 1_000_000
                if not refusal.retry_after_ms or waited_ms > within_ms:
                    raise
                await asyncio.sleep(refusal.retry_after_ms / 1000)
            else:
                return caller, (self.clock.now() - began) // 1_000_000

    async def _enter(self, worker: Worker, bootstrap: Bootstrap) -> Caller:
        caller = Caller(self.clock)
        seat: Seat = await worker.enter(bootstrap, caller)
        caller.seat = seat  # type: ignore[assignment]
        seat.ingest(i.ConnectionChanged(ConnectionState.CONNECTED))
        return caller

    def cut(self, worker: Worker, seconds: float) -> None:
        """Nothing passes between this worker and the store."""
        self.lines[worker.settings.name].cut_until = asyncio.get_running_loop().time() + seconds

    def kill(self, worker: Worker) -> None:
        """As `kill -9` does: from here on it does nothing at all."""
        worker.tasks.cancel_all()
        for session in list(worker.host.sessions.values()):
            worker.host.on_over = None
            session.force("killed")
        self.workers.remove(worker)

    async def finish(self) -> None:
        for worker in self.workers:
            await worker.stop()
            assert await worker.host.stop() == []


def on_stage(scene: Callable[[Stage], Coroutine[Any, Any, None]]) -> Stage:
    async def main() -> Stage:
        stage = Stage()
        await scene(stage)
        await stage.finish()
        assert stage.judges.violations() == []
        return stage

    return run_virtual(main())


async def turn(caller: Caller, words: str, sequence: int = 0) -> None:
    """One typed question, heard to the end of its turn."""
    closed = len(caller.signals("close"))
    caller.give(i.TextReceived(words, sequence))
    for _ in range(1_000):
        if len(caller.signals("close")) > closed:
            return
        await caller.frames(20)
    raise AssertionError(f"no answer to {words!r}; came: {caller.names()}")
