"""One process of `rspp serve`: a host, its membership of the fleet, and two sockets for callers.

    python -m rspp.cli.serve_worker --channel-fd N      started by the supervisor alone, which hands it its work

The shared socket brings new calls to whoever has room; the process's own brings back those whose session is here, and
answers probes of this very loop.
"""

from __future__ import annotations

import asyncio
import logging
import socket as sockets
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from rspp.adapters.transports.websocket import (
    Page,
    Settings,
    WebSocketTransport,
    anyone,
    listening_socket,
    with_token,
)
from rspp.cli.compose import installed, missing, pipeline_of, registry_of
from rspp.cli.recorded import Recorded
from rspp.cli.run_listen import loop_factory
from rspp.cli.run_view import logging_to_stderr
from rspp.cli.serve_dependencies import Dependencies, Doorkeeper
from rspp.cli.serve_parts import FileParts, Parts
from rspp.cli.serve_settings import Work, as_work
from rspp.cli.validate import read_layers
from rspp.contract.errors import MisuseError, RsppError
from rspp.control.fleet.residency_guard import ResidentStore
from rspp.control.intake.capacity import CapacityLimits, Threshold
from rspp.control.security.key_folder import is_loopback
from rspp.control.security.tls import Tls, TlsFiles
from rspp.control.stores import open_store
from rspp.control.supervisor.child import Served, main
from rspp.control.supervisor.exposition import CONTENT_TYPE, INPUTS_WAITING, Exposition
from rspp.control.supervisor.words import Assign, State
from rspp.control.worker import WorkerSettings
from rspp.control.worker.parts import FleetParts, PartsSettings
from rspp.host.clock import MachineClock
from rspp.host.discovery import discover_for
from rspp.host.host import Host, HostSettings
from rspp.host.meters import Meters, Reading
from rspp.host.ports import Store
from rspp.host.registry import Registry
from rspp.host.secrets import Secrets
from rspp.spec import Severity
from rspp.spec.graph import GraphDefinition
from rspp.timeline.access import OWN_TENANT

log = logging.getLogger("rspp.serve")

JSON: Final = "application/json"
EXPORT_MS: Final = 10_000
# The fleet is told out of turn when so much of a process's room was taken or given back: a twentieth.
TOLD_PART: Final = 20
# A developer's machine is busy with other things, and that is no reason to turn its owner away.
BUSY_MACHINE: Final = CapacityLimits(cpu=Threshold(defer=100, reject=100))


class ServedWorker:
    """A `Served`: what the supervisor has of this process."""

    def __init__(
        self,
        work: Work,
        assign: Assign,
        listening: sockets.socket,
        store: Store,
        secrets: Secrets,
        *,
        alone: bool = False,
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        """`alone`: no other process listens at that socket, so there is no second one for this process alone."""
        self._work, self._assign, self._store = work, assign, store
        self._told = 0  # sessions, when the fleet was told last out of turn
        _is_safe(work, listening)
        self._direct = None if alone else _own_socket(work, assign.slot)
        self._tls = _tls(work)
        self._rotating: asyncio.Task[None] | None = None
        clock, meters = MachineClock(), Meters()
        self.recorded = Recorded(work.choice, origin="serve", guarded=self._resident, keeps=self._keeps)
        graphs, registry = pipelines_of(work, secrets)
        self._parts: Parts = (
            FileParts({graph.ref: graph for graph in graphs}, store, clock, work.sessions_max)
            if graphs
            else FleetParts(store, clock, self._fleet(assign), meters)
        )
        self.host = Host(
            registry,
            HostSettings(sessions_max=work.sessions_max, owns_process=True),
            clock=clock,
            recorders=self._parts.recorders(self.recorded.recorders),
            snapshots=self._parts.snapshot,
            state=self._parts.state,
            overhead_to=self.recorded.overhead,
            meters=meters,
        )
        meters.gauge(INPUTS_WAITING, lambda: sum(one.waiting for one in self.host.sessions.values()))
        for graph in reversed(graphs):
            self.host.publish(graph, registry)
        self.worker = self._parts.worker(self.host, self._settings(assign))
        self.dependencies = Dependencies(
            store, self.host.providers, self._dependencies_changed, own_pipelines=bool(graphs)
        )
        token = None if work.token is None else secrets.resolve(work.token).reveal()
        self.transport = WebSocketTransport(
            Settings(host=work.host, connections_max=2 * work.sessions_max),
            pages={
                **(pages or {}),
                "/livez": self._live,
                "/readyz": self._ready,
                # Meters name tenants: where callers of all of them come, the supervisor's own address has them.
                **({"/metrics": self._metrics} if is_loopback(work.host) else {}),
            },
            admits=anyone if token is None else with_token(token),
            tls=None if self._tls is None else self._tls.server,
            listening=listening,
            direct=self._direct,
        )

    def _resident(self, store: Store) -> Store:
        """What a tenant's residency keeps out of this region is not exported here."""
        return ResidentStore(store, self._parts.guard) if isinstance(self._parts, FleetParts) else store

    def _keeps(self, tenant_id: str) -> bool:
        return not isinstance(self._parts, FleetParts) or self._parts.guard.keeps(tenant_id)

    @property
    def _endpoint(self) -> str:
        if self._direct is None:
            return self._assign.shared_url
        return self._work.advertise.replace("{port}", str(self._direct.getsockname()[1]))

    def _fleet(self, assign: Assign) -> PartsSettings:
        work = self._work
        return PartsSettings(
            name=assign.name,
            region=work.region,
            endpoints=(self._endpoint, assign.shared_url, *work.audiences),
            open_door=work.dev,
            default_pipeline=work.default_pipeline,
            capacity=BUSY_MACHINE if work.dev else CapacityLimits(),
        )

    def _settings(self, assign: Assign) -> WorkerSettings:
        work = self._work
        return WorkerSettings(
            name=assign.name,
            endpoint=self._endpoint,
            shared_endpoint=assign.shared_url,
            region=work.region,
            zone=work.zone,
            labels=work.labels,
            ttl_ms=work.ttl_ms,
            own_pipelines=bool(work.pipelines),
        )

    # ---- its life --------------------------------------------------------------------------------------------------

    async def start(self) -> str:
        await self.recorded.start()
        if self._tls is not None:
            self._rotating = asyncio.create_task(self._tls.run(), name="certificates")
        for one in await self.host.start():
            if not one.ready:
                log.warning("%s is not ready: %s", one.name, one.failure)
        await self._parts.start()
        await self.worker.start()
        self._parts.obey()
        if self._direct is None:
            await self._warm()
        self.dependencies.start()
        await self.transport.start(Doorkeeper(self.worker, self.host, self.dependencies.failing))
        await self.accept(False)
        return self.worker.settings.endpoint

    async def _warm(self) -> None:
        """What a caller gets who asks for nothing else is there before the first one comes, its models loaded."""
        if not isinstance(self._parts, FleetParts):
            return
        view, host = self._parts.view, self.host
        try:
            graph = view.graph(view.choose(OWN_TENANT, "warm", None))
            host.publish(graph, discover_for(graph).registry(host.registry))
        except RsppError as error:  # operators can lead callers to another version, so this goes on
            log.warning("callers who name no pipeline cannot be served: %s", error.message)
            return
        for one in await host.providers.open():
            if not one.ready:
                log.warning("%s is not ready: %s", one.name, one.failure)

    async def accept(self, on: bool) -> None:
        """Its own socket stays open to the end: for callers who come back, and for probes."""
        await self.transport.accepting(on, direct=True)

    async def drain(self, mode: str, deadline_ms: int) -> tuple[int, int]:
        before = len(self.worker.owned)
        cut = await self.worker.drain(mode, deadline_ms)
        return cut, max(0, before - cut) if mode == "migrate" else 0

    async def stop(self, export_ms: int = EXPORT_MS) -> None:
        await self.transport.stop("runtime_stopping")
        if self._direct is not None:
            self._direct.close()  # callers would queue there for nobody
        if self._rotating is not None:
            self._rotating.cancel()
        await self.dependencies.stop()
        await self.worker.stop()
        await self._parts.stop()
        await self.host.stop()
        await self.recorded.finish(deadline_ms=export_ms)
        await self._store.close()

    def _dependencies_changed(self) -> None:
        """The fleet should know before the next beat."""
        if self.worker_is_there:
            self.worker.membership.changed()

    def _tell_routers(self, sessions: int) -> None:
        """Who sends calls here should not go by a figure that is far from true: they would all come at once."""
        if self.worker_is_there and abs(sessions - self._told) >= max(
            1, self._work.sessions_max // TOLD_PART
        ):
            self._told = sessions
            self.worker.membership.changed()

    # ---- how it is -------------------------------------------------------------------------------------------------

    def state(self) -> State:
        reasons = (
            (*self.worker.unready(), *self.dependencies.failing()) if self.worker_is_there else ("starting",)
        )
        sessions, capacity = len(self.host.sessions), self._work.sessions_max
        self._tell_routers(sessions)
        return State(
            ready=not reasons,
            draining=self.worker.draining,
            reasons=tuple(dict.fromkeys(reasons)),
            sessions=sessions,
            capacity=capacity,
            load=sessions / max(1, capacity),
        )

    @property
    def worker_is_there(self) -> bool:
        return hasattr(self.worker, "membership")

    def reading(self) -> Reading:
        return self.host.meters.read()

    def _live(self) -> Page:
        """That this is answered is the answer."""
        return Page(JSON, b'{"ok":true}\n')

    def _ready(self) -> Page:
        state = self.state()
        return Page(JSON, msgspec.json.encode(state) + b"\n", 200 if state.ready else 503)

    def _metrics(self) -> Page:
        exposition = Exposition()
        exposition.take(self.worker.settings.name, self.reading())
        return Page(CONTENT_TYPE, exposition.body)


def pipelines_of(work: Work, secrets: Secrets) -> tuple[list[GraphDefinition], Registry]:
    """Every pipeline, and one registry that can make the parts of all; raises `MisuseError` with the first problem.

    With no pipeline of its own a worker serves those of the control plane's registry, with whatever is installed.
    """
    here, layers = installed(secrets=secrets), read_layers(work.layers)
    choice = work.choice
    graphs: list[GraphDefinition] = []
    registry: Registry | None = None
    for path in map(Path, work.pipelines):
        found = pipeline_of(path, here, layers, level=choice.asked, unstated_level=choice.unstated)
        problem = next((one for one in found.problems if one.severity is Severity.ERROR), None)
        if found.graph is None or found.registry is None:
            raise MisuseError("pipeline_missing", str(problem))
        lacking, _ = missing(found, here)
        if lacking:
            raise MisuseError("pipeline_missing", f"{path}: {lacking}")
        graphs.append(found.graph)
        registry = found.registry if registry is None else _both(registry, found.registry)
    return graphs, registry or registry_of(here)


def _both(one: Registry, other: Registry) -> Registry:
    return msgspec.structs.replace(
        one,
        providers={**one.providers, **other.providers},
        nodes={**one.nodes, **other.nodes},
        async_nodes={**one.async_nodes, **other.async_nodes},
    )


def _is_safe(work: Work, listening: sockets.socket) -> None:
    """Who lets everybody in listens on this machine alone, however it was started; raises `MisuseError`."""
    is_open = work.dev if not work.pipelines else work.token is None
    hosts = (work.host, str(listening.getsockname()[0]))
    if is_open and not all(map(is_loopback, hosts)):
        message = f"no token is asked for here, and {hosts[1]} is reached from other machines"
        raise MisuseError("control_dev_not_loopback", message)


def _own_socket(work: Work, slot: int) -> sockets.socket:
    """A socket for those who were sent to this very process: at the slot's port of those that are given, or at any that is free.

    There is one port more than slots, so that a successor has one beside the process that it replaces.
    """
    ports = work.direct_ports or (0,)
    first = slot % len(ports)
    *others, last = (*ports[first:], *ports[:first])
    for port in others:
        with suppress(MisuseError):
            return listening_socket(work.host, port, Settings())
    return listening_socket(work.host, last, Settings())


def _tls(work: Work) -> Tls | None:
    if work.tls_cert is None or work.tls_key is None:
        return None
    ca = None if work.tls_client_ca is None else Path(work.tls_client_ca)
    return Tls(TlsFiles(ca=ca, cert=Path(work.tls_cert), key=Path(work.tls_key)))


async def make(assign: Assign, listening: sockets.socket) -> Served:
    work = as_work(assign.work)
    secrets = Secrets()
    logging_to_stderr(verbose=work.verbose, quiet=work.quiet, secrets=secrets)
    store = open_store(work.store, secrets)
    return ServedWorker(work, assign, listening, store, secrets)


if __name__ == "__main__":
    sys.exit(main(make, loop_factory(), sys.argv[1:]))
