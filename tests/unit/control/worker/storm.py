"""Real workers in bad weather: the store late, deaf or away, processes that die, callers who come and go at any moment.

Whatever happens, no session is spoken for by two, none is left that nobody has and its caller wants, and what a worker keeps
for a session goes with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from rspp.contract.event import Signal
from rspp.contract.words import ConnectionState
from rspp.control.authority.leases import OVER, OWNED, Leases
from rspp.control.worker import Worker, WorkerSettings
from rspp.control.worker.owned import OwnedSeat
from rspp.host.durable import StateWriter
from rspp.host.host import Host
from rspp.host.ports import Refused, Store
from rspp.kernel import inputs as i
from tests.unit.control.worker.stage import SECRET, TTL_MS, Anywhere, Open, Room, Stage
from tests.unit.control.world import BadLine, SkewedClock
from tests.unit.host.stage import Caller, bootstrap_of, registry_of

# As long as nobody is away for so long, no session may end of having had no owner.
RESUME_MS = 120_000
# Nothing is wrong any more: then every caller is back in at most this.
CALM_S = 15.0


class Line(BadLine):
    """A first value that lands after everything of its session was deleted would stay: no store can tell that one."""

    async def _arrive(
        self, wait_s: float, bucket: str, key: str, value: bytes, how: dict[str, int | None]
    ) -> object:
        return None if bucket == "state" else await super()._arrive(wait_s, bucket, key, value, how)


class SlowRoom(Room):
    """Answers late, and now and then not at all."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    async def _wait(self) -> None:
        await asyncio.sleep(self._random.expovariate(1 / 0.05))
        if self._random.random() < 0.1:
            await asyncio.sleep(self._random.uniform(0, 2))
            raise Refused("admission_unavailable", "admission cannot decide now", 300)

    async def reserve(self, tenant_id: str, *, session_id: str = "") -> str:
        await self._wait()
        return await super().reserve(tenant_id, session_id=session_id)

    async def move(self, tenant_id: str, from_member: str) -> str:
        await self._wait()
        return await super().move(tenant_id, from_member)


class Storm(Stage):
    """A stage whose workers have clocks, stores and rooms of their own, none of them good."""

    def __init__(self, seed: int, callers: int = 4) -> None:
        super().__init__()
        self.random = Random(seed)
        self.calm = False
        self.wrong: list[str] = []
        self.names = 0
        self.callers = [Client(self, f"c{number}") for number in range(callers)]
        self.lost = 0
        self.seats: dict[str, tuple[Worker, OwnedSeat]] = {}

    async def another(self) -> Worker:
        self.names += 1
        name = f"w{self.names}"
        line = self.lines[name] = Line(self.store, self.random)
        store: Store = line  # type: ignore[assignment]
        clock = SkewedClock(self.random.uniform(0.995, 1.005), 0)
        room = self.rooms[name] = SlowRoom(self.random)
        kept = StateWriter(
            store,
            clock=clock,
            on_stale=lambda tenant, session: worker.fenced(tenant, session),  # noqa: PLW0108 - made below
            lives=lambda tenant, session: worker.lives(tenant, session),  # noqa: PLW0108 - likewise
        )
        host = Host(
            registry_of(),
            clock=clock,
            recorders=self.judges.recorder,
            snapshots=self.plans.snapshot,
            state=kept,
        )
        await host.start()
        settings = WorkerSettings(name=name, endpoint=f"ws://{name}", ttl_ms=TTL_MS, resume_ms=RESUME_MS)
        worker = Worker(
            host,
            store,
            settings,
            clock=clock,
            gate=Open(),
            plans=self.plans,
            slots=lambda _: room,
            residency=Anywhere(),
            state=kept,
        )
        line.reliable = True  # whoever cannot join is started again, by somebody else
        await worker.start()
        line.reliable = False
        self.workers.append(worker)
        return worker

    # ---- the weather ---------------------------------------------------------------------------------------------

    async def blow(self, seconds: float) -> None:
        for _ in range(3):
            await self.another()
        loop = asyncio.get_running_loop()
        living = [loop.create_task(one.live()) for one in self.callers]
        until = loop.time() + seconds
        while loop.time() < until:
            await asyncio.sleep(0.02)
            self.look()
            if self.random.random() < 0.01:
                await self._blows()
        self.calm = True
        for line in self.lines.values():
            line.reliable = True
        # Whoever is cut off is reached again, and whoever is lost is back.
        await asyncio.sleep(4 * TTL_MS / 1000)
        ready = [worker.id for worker in self.workers if not worker.membership.held]
        self.wrong += [f"{one} is no member any more" for one in ready]
        await asyncio.sleep(CALM_S)
        self.look()
        for one, task in zip(self.callers, living, strict=True):
            if task.done():
                task.result()
            elif not one.served:
                self.wrong.append(f"{one.name} waits for {one.session}: {one.answers[-3:]}")
            task.cancel()
        await asyncio.gather(*living, return_exceptions=True)
        await self.left_over()
        await self.finish()

    async def _blows(self) -> None:
        random = self.random
        worker = random.choice(self.workers)
        what = random.random()
        if what < 0.45:
            self.cut(worker, random.uniform(0.3, 3 * TTL_MS / 1000))
        elif what < 0.6:
            self.lost += 1
            self.cut(worker, 1e9)
            for one in self.callers:
                one.hung_up_by(worker)
            self.kill(worker)
            await self.another()
        elif worker.owned:
            where = random.choice(list(worker.owned))
            worker.tasks.spawn(_moved(worker, where), "storm:move")

    # ---- looking -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Who may speak for a session now?"""
        speaking: dict[str, str] = {}
        for worker in self.workers:
            now = worker.host.clock.now()
            for name, session in worker.host.sessions.items():
                authority = session.kernel.authority
                if session.ended or not authority.held or now >= authority.expires_at:
                    continue
                if name in speaking:
                    at = asyncio.get_running_loop().time()
                    self.wrong.append(f"{name}: {speaking[name]} and {worker.id} at {at:.3f}")
                speaking[name] = worker.id

    async def left_over(self) -> None:
        """What is kept, here and in the store, is of sessions that live."""
        leases = {held.lease.session_id: held for held in await Leases(self.store, "").sessions()}
        here: set[str] = set()
        for worker in self.workers:
            room, live = self.rooms[worker.settings.name], set(worker.host.sessions)
            here |= live
            owned = {session for _, session in worker.owned}
            if owned != live:
                self.wrong.append(f"{worker.id} has {live}, and owns {owned}")
            if 100 - room.left != len(live):
                self.wrong.append(f"{worker.id}: {100 - room.left} rooms for {len(live)} sessions")
            if worker.entrance.coming:
                self.wrong.append(f"{worker.id}: still on their way in: {worker.entrance.coming}")
            for session in live & leases.keys():
                if leases[session].lease.owner != worker.id:
                    self.wrong.append(f"{session} runs at {worker.id}, and the store says {leases[session]}")
        owners = {worker.id for worker in self.workers}
        for session, held in leases.items():
            if held.lease.owner in owners and held.lease.state in OWNED and session not in here:
                self.wrong.append(f"nobody has {session}: {held.lease}")
        alive = {worker.settings.name for worker in self.workers}
        for name in await self.store.keys("state"):
            lease = leases[name.split("/")[1]].lease
            # One that died between the two, the end and the forgetting, leaves it.
            if lease.state in OVER and lease.owner.partition("-")[0] in alive:
                self.wrong.append(f"state is left of {name}")


async def _moved(worker: Worker, where: tuple[str, str]) -> None:
    await worker.migrate(*where)


class Client:
    """Wants one session at a time, and comes back to it until it is told that it is over."""

    def __init__(self, storm: Storm, name: str) -> None:
        self.storm, self.name = storm, name
        self.number = self.said = 0
        self.lived = self.ended = self.served = False
        self.caller: Caller | None = None
        self.answers: list[str] = []
        self.lines: list[tuple[Worker, Caller]] = []
        self._asking: tuple[Worker, asyncio.Task[Any]] | None = None
        self._at: Worker | None = None

    @property
    def session(self) -> str:
        return f"{self.name}-{self.number}"

    def hung_up_by(self, worker: Worker) -> None:
        """That process is dead: its sockets are closed, and nothing that it still does here was ever done."""
        for at, line in self.lines:
            if at is worker:
                line.announce = line.send = lambda _: None  # type: ignore[method-assign, assignment]
                line.closed = line.closed or "dead"
        if self._asking is not None and self._asking[0] is worker:
            self._asking[1].cancel()

    async def live(self) -> None:
        wanted: Worker | None = None
        while True:
            worker = wanted if wanted in self.storm.workers else self.storm.random.choice(self.storm.workers)
            wanted = None
            assert worker is not None
            try:
                await self._talk(worker)
            except Refused as error:
                self.answers.append(error.code)
                if error.code == "session_moved":
                    wanted = next(
                        (w for w in self.storm.workers if w.settings.endpoint == error.endpoint), None
                    )
                if error.code in ("session_over", "resume_refused", "session_exists"):
                    self._over(error)
                await asyncio.sleep((error.retry_after_ms or 100) / 1000)
            except asyncio.CancelledError:
                if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    raise
                await asyncio.sleep(0.1)  # it was the asking that was cut short

    def _over(self, error: Refused) -> None:
        if self.lived and not self.ended:
            self.storm.wrong.append(f"{self.session} was lost: {error}")
        self._check()
        self.number += 1
        self.said = 0
        self.lived = self.ended = False
        self.lines.clear()

    def _check(self) -> None:
        """What was heard, on whatever lines, is of one owner after the other."""
        heard = [(at, event) for _, line in self.lines for at, event in line.events]
        highest = 0
        for at, event in sorted(heard, key=lambda one: one[0]):
            epoch = event.scope.epoch or 0
            if epoch < highest:
                what = event.payload.signal if isinstance(event.payload, Signal) else event.payload
                self.storm.wrong.append(f"{self.session} heard {what} of {epoch} after {highest} at {at}")
            highest = max(epoch, highest)

    async def _seat(self, worker: Worker) -> OwnedSeat:
        storm, loop = self.storm, asyncio.get_running_loop()
        at, seat = storm.seats.get(self.session, (None, None))
        if seat is not None and at is worker and not seat.ended:
            seat.attach(self._line(worker))
            return seat
        bootstrap = bootstrap_of(session_id=self.session, resume=SECRET, back=self.lived)
        task = loop.create_task(worker.enter(bootstrap, self._line(worker)))
        self._asking = (worker, task)
        if not storm.calm and storm.random.random() < 0.2:
            loop.call_later(storm.random.expovariate(1 / 0.1), task.cancel)
        try:
            async with asyncio.timeout(5):
                found: OwnedSeat = await task  # type: ignore[assignment]
        except TimeoutError:
            raise Refused("door_timeout", "no answer", 300) from None
        finally:
            self._asking = None
        storm.seats[self.session] = (worker, found)
        return found

    def _line(self, worker: Worker) -> Caller:
        self.caller = Caller(self.storm.clock)
        self.lines.append((worker, self.caller))
        return self.caller

    async def _talk(self, worker: Worker) -> None:
        random, storm = self.storm.random, self.storm
        seat = await self._seat(worker)
        caller = self.caller
        assert caller is not None
        self.lived = True
        seat.ingest(i.ConnectionChanged(ConnectionState.CONNECTED))
        try:
            while caller.closed is None and not seat.ended:
                self.served = True
                self.said += 1
                seat.ingest(i.TextReceived(f"{self.said}", self.said))
                await asyncio.sleep(random.expovariate(1 / 0.5))
                if storm.calm:
                    continue
                if random.random() < 0.05:
                    self.ended = True
                    seat.ingest(i.ConnectionChanged(ConnectionState.ENDED))
                    await asyncio.sleep(0.5)
                    return
                if random.random() < 0.05:
                    seat.ingest(i.ConnectionChanged(ConnectionState.DISCONNECTED))
                    return
        finally:
            self.served = storm.calm and caller.closed is None and not seat.ended
        self.answers.append(str(caller.closed))
        await asyncio.sleep(0.05)


Plant = Callable[[Storm], None]
