"""What a worker is made of: the parts of a fleet, or of a process that serves pipelines of its own files.

With files everybody may come, as far as there is room, and nothing changes while the process lives; sessions are leased in
the store all the same, so that another process can go on with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from rspp.contract.errors import MisuseError
from rspp.control.worker import Worker, WorkerSettings
from rspp.control.worker.gate import OpenGate
from rspp.host.durable import StateWriter
from rspp.host.host import Host, RecorderFactory
from rspp.host.ports import Clock, Refused, Store
from rspp.host.snapshots import SnapshotSource, alone
from rspp.kernel.snapshot import Snapshot
from rspp.spec.graph import GraphDefinition


class Parts(Protocol):
    """What a worker has of the control plane, as `rspp.control.worker.parts` puts it together."""

    @property
    def state(self) -> StateWriter: ...
    def snapshot(self, now: int, tenant_id: str, graph: GraphDefinition) -> Snapshot | None: ...
    def recorders(self, inner: RecorderFactory) -> RecorderFactory: ...
    def worker(self, host: Host, settings: WorkerSettings) -> Worker: ...
    async def start(self) -> None: ...
    def obey(self) -> None: ...
    async def stop(self) -> None: ...


class FilePlans:
    """The pipelines that were given as files; the first serves whoever names none."""

    def __init__(self, graphs: Mapping[str, GraphDefinition]) -> None:
        if not graphs:
            raise MisuseError("pipeline_missing", "no pipeline to serve")
        self._graphs = dict(graphs)
        self._default = next(iter(self._graphs))
        self._snapshots: SnapshotSource = alone()

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
    """The parts of a process that asks no control plane."""

    def __init__(
        self, graphs: Mapping[str, GraphDefinition], store: Store, clock: Clock, sessions_max: int
    ) -> None:
        self.state = StateWriter(store)
        self._plans = FilePlans(graphs)
        self._store, self._clock, self._sessions_max = store, clock, sessions_max

    def snapshot(self, now: int, tenant_id: str, graph: GraphDefinition) -> Snapshot | None:
        return self._plans.snapshot(now, tenant_id, graph)

    def recorders(self, inner: RecorderFactory) -> RecorderFactory:
        return inner

    def worker(self, host: Host, settings: WorkerSettings) -> Worker:
        return Worker(
            host,
            self._store,
            settings,
            clock=self._clock,
            # Whoever reaches the transport has shown the token that it asks for, or is on this machine.
            gate=OpenGate(),
            plans=self._plans,
            slots=lambda _: OwnRoom(self._sessions_max),
            residency=Anywhere(),
            state=self.state,
        )

    async def start(self) -> None:
        """There is nothing to read."""

    def obey(self) -> None:
        """Nobody gives orders."""

    async def stop(self) -> None:
        """There is nothing that runs."""
