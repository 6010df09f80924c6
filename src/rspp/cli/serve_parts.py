"""What a worker is made of: the parts of a fleet, or of a process that serves pipelines of its own files.

With files everybody may come, as far as there is room, and no pipeline changes while the process lives; sessions are leased in
the store all the same, so that another process can go on with them, and orders of a console are obeyed as in a fleet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

from rspp.contract.errors import MisuseError, RsppError
from rspp.control.commands import CommandKind
from rspp.control.config import skew
from rspp.control.fleet import turns
from rspp.control.fleet.places import PIPELINES
from rspp.control.fleet.provider_board import CIRCUITS, Circuits, ProviderReporter
from rspp.control.fleet.session_ear import heard_by
from rspp.control.fleet.status_writer import StatusWriter
from rspp.control.worker import Worker, WorkerSettings
from rspp.control.worker.gate import OpenGate
from rspp.control.worker.orders import Obey, Orders
from rspp.host.conditions import Conditions
from rspp.host.durable import StateWriter
from rspp.host.host import Host, RecorderFactory
from rspp.host.meters import Meters
from rspp.host.ports import Clock, Refused, Store
from rspp.host.snapshots import SnapshotSource, alone
from rspp.kernel.snapshot import Snapshot
from rspp.spec.graph import GraphDefinition

log = logging.getLogger("rspp.serve")

FLUSH_S: Final = 2.0


class Parts(Protocol):
    """What a worker has of the control plane, as `rspp.control.worker.parts` puts it together."""

    @property
    def state(self) -> StateWriter: ...
    def snapshot(self, now: int, tenant_id: str, graph: GraphDefinition) -> Snapshot | None: ...
    def recorders(self, inner: RecorderFactory) -> RecorderFactory: ...
    def worker(self, host: Host, settings: WorkerSettings) -> Worker: ...
    async def start(self) -> None: ...
    def obey(self, also: Mapping[CommandKind, Obey] | None = None) -> None: ...
    def say(self, conditions: Conditions) -> None: ...
    async def stop(self) -> None: ...


class FilePlans:
    """The pipelines that were given as files; the first serves whoever names none."""

    def __init__(self, graphs: Mapping[str, GraphDefinition]) -> None:
        if not graphs:
            raise MisuseError("pipeline_missing", "no pipeline to serve")
        self._graphs = dict(graphs)
        self._default = next(iter(self._graphs))
        self._snapshots: SnapshotSource = alone()

    @property
    def names(self) -> tuple[str, ...]:
        """Each as `name@version`, the default first."""
        return tuple(f"{graph.pipeline}@{graph.version}" for graph in self._graphs.values())

    def fresh(self, now: int) -> bool:  # noqa: ARG002 - what never changes is never stale
        return True

    def choose(self, tenant_id: str, session_id: str, pipeline: str | None) -> str:  # noqa: ARG002 - one for all
        if pipeline is None:
            return self._default
        for ref, graph in self._graphs.items():
            if pipeline in (ref, graph.pipeline, graph.version):
                return ref
        raise Refused("pipeline_unknown", "no such pipeline is served here")

    def graph(self, graph_ref: str) -> GraphDefinition:
        found = self._graphs.get(graph_ref)
        if found is None:
            raise Refused("pipeline_unknown", "no such pipeline is served here")
        return found

    def snapshot(self, now: int, tenant_id: str, graph: GraphDefinition) -> Snapshot | None:
        return self._snapshots(now, tenant_id, graph)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Nothing changes."""


class OwnRoom:
    """As many sessions as this process bears; whoever is moved here was let in before."""

    def __init__(self, sessions_max: int, retry_after_ms: int = 2_000) -> None:
        self._left = self._sessions_max = sessions_max
        self._retry_after_ms = retry_after_ms

    async def reserve(self, tenant_id: str, *, session_id: str = "") -> str:  # noqa: ARG002 - the port's
        if self._left <= 0:
            raise Refused("sessions_full", "all sessions of this process are taken", self._retry_after_ms)
        self._left -= 1
        return tenant_id

    async def move(self, tenant_id: str, from_member: str) -> str:  # noqa: ARG002 - the port's
        return await self.reserve(tenant_id)

    def release(self, reservation: object) -> None:  # noqa: ARG002 - all places are alike
        self._left += 1

    async def reconcile(self, actual: Mapping[str, int]) -> None:
        self._left = self._sessions_max - sum(actual.values())

    async def close(self) -> None:
        """Nothing is written anywhere."""


class Anywhere:
    """No tenant is bound to a region."""

    def check(self, tenant_id: str, region: str) -> None:
        """Always."""


class FileParts:
    """The parts of a process that asks no control plane. A console beside it sees its sessions, turns and providers all the same."""

    def __init__(
        self,
        graphs: Mapping[str, GraphDefinition],
        store: Store,
        clock: Clock,
        sessions_max: int,
        *,
        region: str = "",
        meters: Meters,
    ) -> None:
        self.state = StateWriter(store)
        self._plans = FilePlans(graphs)
        self._store, self._clock, self._sessions_max = store, clock, sessions_max
        self._worker: Worker
        self._status = StatusWriter(store, clock, owner=lambda: self._worker.id, region=region)
        self._turns = turns.LastTurns()
        self._circuits = Circuits()
        self._reporter = ProviderReporter(
            store,
            clock,
            meters,
            member_id=lambda: self._worker.id,
            region=region,
            circuits=self._circuits,
            sessions=lambda: len(self._worker.host.sessions),
        )

    def snapshot(self, now: int, tenant_id: str, graph: GraphDefinition) -> Snapshot | None:
        return self._plans.snapshot(now, tenant_id, graph)

    def recorders(self, inner: RecorderFactory) -> RecorderFactory:
        return heard_by(inner, (self._status, self._circuits, self._turns))

    def worker(self, host: Host, settings: WorkerSettings) -> Worker:
        self._worker = Worker(
            host,
            self._store,
            # A console beside it asks every process of the store for these, and leads calls of its page here.
            msgspec.structs.replace(
                settings,
                versions={**skew.told(), **settings.versions},
                labels={**settings.labels, PIPELINES: ",".join(self._plans.names)},
            ),
            clock=self._clock,
            # Whoever reaches the transport has shown the token that it asks for, or is on this machine.
            gate=OpenGate(),
            plans=self._plans,
            slots=lambda _: OwnRoom(self._sessions_max),
            residency=Anywhere(),
            state=self.state,
        )
        return self._worker

    async def start(self) -> None:
        """There is nothing to read."""

    def obey(self, also: Mapping[CommandKind, Obey] | None = None) -> None:
        """Whoever looks at this process through a console may empty it, close its sessions, and what else there is to order."""
        worker = self._worker
        orders = Orders(worker, self._store, self._clock, also=also, vouched=self._reporter.vouch)
        worker.tasks.spawn(worker.supervised(self._status.run), "worker:status")
        worker.tasks.spawn(worker.supervised(self._reporter.run), "worker:reporter")
        worker.tasks.spawn(worker.supervised(orders.run), "worker:orders")
        worker.tasks.spawn(worker.supervised(orders.follow_region), "worker:region")

    def say(self, conditions: Conditions) -> None:
        """There are no quotas here; of the sessions all is told that a fleet would tell."""
        conditions.add(turns.SURFACE.name, self._turns.rows, shared=False, ttl_ms=turns.TTL_MS)
        conditions.add(CIRCUITS.name, self._circuits.rows)

    async def stop(self) -> None:
        """How its sessions ended is said, if that can be done in a moment."""
        try:
            async with asyncio.timeout(2 * FLUSH_S):
                await self._status.flush(FLUSH_S)
        except (RsppError, OSError) as error:
            log.warning("how sessions ended was not told: %s", type(error).__name__)
