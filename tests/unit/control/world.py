"""A fleet in virtual time over a store that answers late, never, or twice: who believes to own what, at every instant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random

from rspp.contract.errors import PeerFault, RsppError
from rspp.control.authority.leases import Held, Lease, Leases
from rspp.control.authority.members import Fleet, Member, Membership, new_member_id
from rspp.host.ports import Entry, Refused, Store
from rspp.testing.store import MemoryStore

TTL_MS = 3_000
TENANT = "acme"


class SkewedClock:
    """A machine's own clock: it runs a little fast or slow, and its time of day is anything."""

    def __init__(self, rate: float, wall: int) -> None:
        self._rate, self._wall = rate, wall
        self._loop = asyncio.get_running_loop()

    def now(self) -> int:
        return int(self._loop.time() * 1e9 * self._rate) + 7_000_000_000

    def wall(self) -> int:
        return self._wall + self.now()


class BadLine:
    """A store as one process reaches it: requests and answers are late or lost, and at times nothing passes at all.

    What was lost on its way there may still arrive, long after whoever sent it has given up.
    """

    def __init__(self, store: MemoryStore, random: Random) -> None:
        self._store, self._random = store, random
        self.cut_until = 0.0
        self.reliable = False  # then only `cut_until` is in its way
        self._late: set[asyncio.Task[object]] = set()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def get(self, bucket: str, key: str) -> Entry | None:
        await self._way()
        found = await self._store.get(bucket, key)
        await self._way()
        return found

    async def put(self, bucket: str, key: str, value: bytes, **how: int | None) -> int | None:
        loop, random = asyncio.get_running_loop(), self._random
        if loop.time() < self.cut_until or self._misses():
            if random.random() < 0.5:  # it was on its way already, and arrives when the line is back
                wait_s = max(0.0, self.cut_until - loop.time()) + random.uniform(0, TTL_MS / 500)
                self._late.add(loop.create_task(self._arrive(wait_s, bucket, key, value, how)))
            await asyncio.sleep(random.uniform(0.2, 2.0))
            raise PeerFault("store_unreachable", "no answer")
        await self._way()
        revision = await self._store.put(bucket, key, value, **how)
        if self._misses():
            await asyncio.sleep(random.uniform(0.2, 2.0))
            raise PeerFault("store_unreachable", "the answer was lost")
        await self._way()
        return revision

    def _misses(self) -> bool:
        return not self.reliable and self._random.random() < 0.05

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        await self._way()
        return await self._store.keys(bucket, prefix)

    async def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]:
        async for entry in self._store.watch(bucket, prefix):
            loop = asyncio.get_running_loop()
            if loop.time() < self.cut_until:
                await asyncio.sleep(self.cut_until - loop.time())
                raise PeerFault("store_unreachable", "the watch broke")
            await asyncio.sleep(self._random.uniform(0, 0.05))
            yield entry

    async def _arrive(
        self, wait_s: float, bucket: str, key: str, value: bytes, how: dict[str, int | None]
    ) -> object:
        await asyncio.sleep(wait_s)
        return await self._store.put(bucket, key, value, **how)

    async def _way(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self.cut_until:
            await asyncio.sleep(min(self.cut_until - loop.time(), self._random.uniform(0.2, 2.0)))
            if loop.time() < self.cut_until:
                raise PeerFault("store_unreachable", "cut off")
        await asyncio.sleep(self._random.expovariate(1 / 0.004))


class Process:
    """One process that wants sessions, keeps them for a while, and believes what its membership tells it."""

    def __init__(self, world: World, name: str) -> None:
        random = world.random
        self.world, self.name = world, name
        self.clock = SkewedClock(random.uniform(0.995, 1.005), random.randrange(10**18))
        self.line = BadLine(world.store, random)
        self.owned: dict[str, Held] = {}
        self.joined = 0

    def owns(self, session: str) -> bool:
        return session in self.owned and self.membership.held

    async def live(self) -> None:
        store: Store = self.line  # type: ignore[assignment]  # the rest comes from the store itself
        self.fleet = Fleet(store, self.clock)
        watching = asyncio.get_running_loop().create_task(self._watch())
        while True:
            member = Member(id=new_member_id(self.name), kind="worker", ttl_ms=TTL_MS)
            self.membership = Membership(store, self.clock, member)
            lost = asyncio.Event()

            def over(_: str, lost: asyncio.Event = lost) -> None:
                lost.set()

            self.membership.watch(describe=lambda member: member, on_renewed=lambda _: None, on_lost=over)
            self.leases = Leases(store, member.id)
            try:
                await self.membership.join()
            except RsppError:
                await asyncio.sleep(0.3)
                continue
            self.joined += 1
            loop = asyncio.get_running_loop()
            works = [loop.create_task(self.membership.run()), loop.create_task(self._want())]
            await lost.wait()
            for work in works:
                work.cancel()
            self.owned.clear()
            assert not watching.done() or watching.exception() is None

    async def _watch(self) -> None:
        while True:
            try:
                await self.fleet.run()
            except RsppError:
                await asyncio.sleep(0.1)

    async def _want(self) -> None:
        random, world = self.world.random, self.world
        while True:
            await asyncio.sleep(random.expovariate(1 / 0.3))
            session = random.choice(world.sessions)
            try:
                await self._one(session)
            except (RsppError, Refused):
                continue

    async def _one(self, session: str) -> None:
        random = self.world.random
        mine = self.owned.get(session)
        if mine is not None:
            if random.random() < 0.3:
                moving = await self.leases.move(mine)
                if moving is not None:
                    del self.owned[session]  # it stops acting before it lets go
                    await self.leases.free(moving)
            return
        held = await self.leases.get(TENANT, session)
        if held is None:
            got = await self.leases.acquire(
                Lease(tenant_id=TENANT, session_id=session, owner=self.membership.id)
            )
        elif held.lease.owner == self.membership.id:
            return  # an acquisition of ours whose answer never came: left to be swept
        else:
            got = await self.leases.take(held, self.fleet.is_gone)
        self.owned[session] = got
        self.world.epochs.setdefault(session, []).append(got.epoch)
        self.world.check()


class World:
    def __init__(self, seed: int, processes: int = 4, sessions: int = 3) -> None:
        self.random = Random(seed)
        self.store = MemoryStore()
        self.sessions = [f"s{number}" for number in range(sessions)]
        self.processes = [Process(self, f"p{number}") for number in range(processes)]
        self.epochs: dict[str, list[int]] = {}
        self.twice: list[str] = []

    def check(self) -> None:
        for session in self.sessions:
            owners = [one.name for one in self.processes if hasattr(one, "membership") and one.owns(session)]
            if len(owners) > 1:
                self.twice.append(
                    f"{session}: {' and '.join(owners)} at {asyncio.get_running_loop().time():.3f}"
                )

    async def run(self, seconds: float, plant: Callable[[World], None] = lambda _: None) -> None:
        plant(self)
        loop = asyncio.get_running_loop()
        works = [loop.create_task(one.live()) for one in self.processes]
        until = loop.time() + seconds
        while loop.time() < until:
            await asyncio.sleep(0.02)
            self.check()
            if self.random.random() < 0.004:
                victim = self.random.choice(self.processes)
                victim.line.cut_until = loop.time() + self.random.uniform(0.5, 3 * TTL_MS / 1000)
        for work in works:
            assert not work.done(), work.exception()
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
