"""Two real hosts over real sockets and one store: a caller whose process dies goes on with the other, and each key has one effect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rspp.adapters.transports.websocket import WebSocketTransport
from rspp.client import Client, Moved, Patience, fixed
from rspp.contract.event import Signal
from rspp.host.durable import StateWriter
from rspp.host.host import Host, new_session_id
from rspp.host.ports import Bootstrap, Grant, Line, Refused, Seat, Store
from rspp.host.recorder import MemoryRecorder
from rspp.host.session import LiveSession
from rspp.kernel import inputs as i
from rspp.kernel.effects import Announce
from rspp.kernel.memory import CONVERSATION
from rspp.testing.store import MemoryStore
from tests.unit.adapters.transports.websocket.given import eventually, quick
from tests.unit.host.stage import graph_of, registry_of

HOUR_NS = 3_600 * 10**9


class Owned:
    """A seat whose every line is held until what it tells is kept."""

    def __init__(self, process: Process, session: LiveSession) -> None:
        self._process, self._session = process, session
        self.session_id, self.graph = session.session_id, session.graph

    @property
    def epoch(self) -> int:
        return self._session.epoch

    @property
    def ended(self) -> bool:
        return self._session.ended

    def ingest(self, received: i.Input) -> bool:
        return self._session.ingest(received)

    def attach(self, line: Line) -> None:
        session = self._session
        session.attach(self._process.state.hold(session.tenant_id, session.session_id, line))


class Process:
    """A host, its transport, and a door that gives each session to one process at a time."""

    def __init__(self, store: Store, owners: dict[str, tuple[str, Process, int]]) -> None:
        self.owners = owners
        self.alive = True
        self.said: list[Signal] = []
        self.state = StateWriter(store)
        self.host = Host(registry_of(), state=self.state, recorders=lambda _: Notes(self))
        self.transport = WebSocketTransport(quick())

    async def start(self) -> None:
        graph = graph_of()
        self.host.publish(graph)
        await self.host.start()
        await self.transport.start(self)

    async def enter(self, bootstrap: Bootstrap, line: Line) -> Seat:
        secret, tenant = bootstrap.resume or "", bootstrap.tenant_id
        name, epoch, durable = bootstrap.session_id or new_session_id(), 1, None
        if bootstrap.back:
            known, owner, last = self.owners.get(name, ("", self, 0))
            if known != secret:
                raise Refused("session_unknown", "nobody knows it")
            if owner.alive and owner is not self:
                raise Refused("session_moved", "it lives there", 20, owner.transport.url)
            epoch, durable = last + 1, await self.state.load(tenant, name)
        self.owners[name] = (secret, self, epoch)
        grant = Grant(
            session_id=name,
            tenant_id=tenant,
            graph_ref=graph_of().ref,
            epoch=epoch,
            lease_token=f"lease-{epoch}",
            expires_at=self.host.clock.now() + HOUR_NS,
            snapshot=self.host._snapshots(self.host.clock.now(), tenant, graph_of()),
            durable=durable,
        )
        return Owned(self, self.host.take(grant, self.state.hold(tenant, name, line)))

    def find(self, session_id: str) -> Seat | None:
        return None

    async def die(self) -> None:
        """As with `kill -9`: sockets break, nothing more is written, nothing is said."""
        self.alive = False
        self.host.tasks.cancel_all()
        for server in self.transport._servers.values():
            server.close()
        for caller in list(self.transport._callers):
            caller._left = True  # nobody is there to tell the session
            caller.socket._transport.disconnect(graceful=False)

    def names(self, *wanted: str) -> list[str]:
        return [said.signal for said in self.said if said.signal in wanted]


class Notes(MemoryRecorder):
    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process

    def did(self, at: int, effects: Any) -> None:
        for effect in effects:
            if isinstance(effect, Announce) and isinstance(effect.event.payload, Signal):
                self._process.said.append(effect.event.payload)


@asynccontextmanager
async def two_processes() -> AsyncIterator[tuple[Process, Process, MemoryStore]]:
    store = MemoryStore()
    owners: dict[str, tuple[str, Process, int]] = {}
    one, two = Process(store, owners), Process(store, owners)
    for process in (one, two):
        await process.start()
    try:
        yield one, two, store
    finally:
        for process in (one, two):
            await process.transport.stop("test over")
            assert await process.host.stop() == []


@pytest.mark.slow
@pytest.mark.proves("F-158")
def test_over_retries_reconnects_and_a_failover_each_key_has_one_effect_and_its_lineage_is_kept() -> None:
    async def main() -> None:
        async with two_processes() as (one, two, _):
            source = fixed(one.transport.url, two.transport.url)
            patience = Patience(first_ms=20, most_ms=100)
            async with Client.session(source, patience=patience) as session:
                session.say("My name is Ada.", "k1")
                session.say("My name is Ada.", "k1")  # a retry
                await session.signal("close")
                assert session._call is not None
                await session._call.drop()  # a reconnect, with its recent words
                await session.until(lambda event: isinstance(event, Moved))
                await eventually(lambda: len(one.names("duplicate_dropped")) == 2)
                session.say("This one was cut off.", "k2")
                await session.signal("turn_open")
                await one.die()  # before it was answered
                moved = await session.until(lambda event: isinstance(event, Moved))
                assert isinstance(moved, Moved)
                assert moved.process
                # The answered one is known here, and by the sequence it had there; the other one is answered here.
                await session.signal("close")
                assert two.names("duplicate_dropped", "commit") == ["duplicate_dropped", "commit"]
                dropped = next(said for said in two.said if said.signal == "duplicate_dropped")
                assert (dropped.detail or {})["first"] == next(
                    (said.detail or {})["first"] for said in one.said if said.signal == "duplicate_dropped"
                )
                kernel = next(iter(two.host.sessions.values())).kernel
                texts = [message.text for message in kernel.memory.history() if message.role == "user"]
                assert texts == ["My name is Ada.", "This one was cut off."]
                session.say("My name is Ada.", "k3")  # a new key with the same words
                await session.signal("close")
                assert two.names("commit") == ["commit", "commit"]
                assert (session.moves, session.epoch) == (2, 2)

    asyncio.run(main())


@pytest.mark.slow
def test_a_session_that_is_given_away_is_followed_at_once_and_the_conversation_goes_on() -> None:
    """Both markers are told before the good-bye, which is no end."""

    async def main() -> None:
        async with two_processes() as (one, two, store):
            source = fixed(one.transport.url, two.transport.url)
            async with Client.session(source, patience=Patience(first_ms=20)) as session:
                session.say("My name is Ada.")
                await session.signal("close")
                live = next(iter(one.host.sessions.values()))
                name = live.session_id
                live.ingest(i.MigrationChanged("start", 2))
                await one.state.flushed("default", name)
                assert {key.rpartition("/")[2] for key in await store.keys("state")} == {CONVERSATION}
                one.alive = False  # it has let go of the lease
                live.ingest(i.MigrationChanged("finish", 2))
                await session.signal("migration_start")
                await session.signal("migration_finish")
                moved = await session.until(lambda event: isinstance(event, Moved))
                assert isinstance(moved, Moved)
                assert (moved.reason, moved.process) == ("migrated", True)
                assert (session.attempts, session.epoch) == (2, 2)
                assert [*two.host.sessions] == [name]
                session.say("What is my name?")
                await session.signal("close")
                kernel = two.host.sessions[name].kernel
                assert next(message.text for message in kernel.memory.history()) == "My name is Ada."
                assert session.ended is None
            assert session.ended == "hung_up"

    asyncio.run(main())


def test_a_process_that_has_lost_its_lease_ends_no_conversation() -> None:
    async def main() -> None:
        async with two_processes() as (one, two, _):
            source = fixed(one.transport.url, two.transport.url)
            async with Client.session(source, patience=Patience(first_ms=20)) as session:
                live = next(iter(one.host.sessions.values()))
                one.alive = False
                live.ingest(i.LeaseChanged("revoked", live.epoch))
                moved = await session.until(lambda event: isinstance(event, Moved))
                assert isinstance(moved, Moved)
                assert (moved.reason, moved.process) == ("authority_lost", True)
                assert [*two.host.sessions] == [live.session_id]

    asyncio.run(main())
