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
from collections.abc import Mapping, Sequence
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
from rspp.cli.recorded_orders import orders_of
from rspp.cli.run_listen import loop_factory
from rspp.cli.run_view import logging_to_stderr
from rspp.cli.serve_dependencies import Dependencies, Doorkeeper
from rspp.cli.serve_parts import FileParts, Parts
from rspp.cli.serve_settings import Work, as_work
from rspp.cli.tracing import Traces
from rspp.cli.validate import read_layers
from rspp.contract.errors import MisuseError, RsppError
from rspp.control.fleet.residency_guard import ResidentStore
from rspp.control.intake.capacity import CapacityLimits, Threshold
from rspp.control.security.key_folder import is_loopback
from rspp.control.security.tls import Tls, TlsFiles
from rspp.control.stores import open_store
from rspp.control.supervisor.child import Served, main
from rspp.control.supervisor.exposition import CONTENT_TYPE, INPUTS_WAITING, Exposition, depth_of
from rspp.control.supervisor.words import Assign, State
from rspp.control.worker import WorkerSettings
from rspp.control.worker.parts import FleetParts, PartsSettings
from rspp.host.clock import MachineClock
from rspp.host.conditions import Conditions
from rspp.host.host import Host, HostSettings
from rspp.host.isolation import isolation
from rspp.host.isolation_fates import SURFACE as NODES
from rspp.host.meters import Meters, Reading
from rspp.host.ports import Store
from rspp.host.registry import Registry
from rspp.host.secrets import Secrets
from rspp.ops.rows import clean
from rspp.server.state import Told
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
        told: Told | None = None,
    ) -> None:
        """`alone`: no other process listens at that socket, so there is no second one for this process alone.

        `told`: the store tells of its changes, and this process is whose it is.
        """
        self._work, self._assign, self._store = work, assign, store
        self._told_of = told
        self._told = 0  # sessions, when the fleet was told last out of turn
        _is_safe(work, listening)
        self._direct = None if alone else _own_socket(work, assign.slot)
        self._tls = _tls(work)
        self._rotating: asyncio.Task[None] | None = None
        clock, meters = MachineClock(), Meters()
        self.recorded = Recorded(work.choice, origin="serve", guarded=self._resident, keeps=self._keeps)
        self.traces = Traces(work.tracing, assign.name)
        graphs, registry = pipelines_of(work, secrets)
        self._parts = self._parts_of(graphs, assign, clock, meters)
        self.host = Host(
            registry,
            HostSettings(sessions_max=work.sessions_max, owns_process=True, metrics=work.in_band_metrics),
            clock=clock,
            recorders=self._parts.recorders(self.recorded.recorders),
            snapshots=self._parts.snapshot,
            state=self._parts.state,
            overhead_to=self.recorded.overhead,
            meters=meters,
            watches=self.traces.watches,
        )
        self.traces.count_in(self.host)
        self.recorded.count_in(meters)
        meters.gauge(INPUTS_WAITING, lambda: sum(one.waiting for one in self.host.sessions.values()))
        for graph in reversed(graphs):
            self.host.publish(graph, registry)
        self.worker = self._parts.worker(self.host, self._settings(assign))
        self.dependencies = Dependencies(
            store, self.host.providers, self._dependencies_changed, own_pipelines=bool(graphs)
        )
        self.conditions = Conditions(store, clock, lambda: self.worker.id, clean)
        self._saying: asyncio.Task[None] | None = None
        self.transport = self._transport(listening, secrets, pages or {})

    def _parts_of(
        self, graphs: Sequence[GraphDefinition], assign: Assign, clock: MachineClock, meters: Meters
    ) -> Parts:
        """Where pipelines come from: the files that were named, else the fleet's control plane."""
        if not graphs:
            return FleetParts(self._store, clock, self._fleet(assign), meters)
        return FileParts(
            {graph.ref: graph for graph in graphs},
            self._store,
            clock,
            self._work.sessions_max,
            region=self._work.region,
            meters=meters,
        )

    def _transport(
        self, listening: sockets.socket, secrets: Secrets, pages: Mapping[str, Page]
    ) -> WebSocketTransport:
        work = self._work
        token = None if work.token is None else secrets.resolve(work.token).reveal()
        return WebSocketTransport(
            Settings(
                host=work.host,
                connections_max=2 * work.sessions_max,
                origins=work.origins,
                own_names_only=is_loopback(work.host)
                and work.token is None
                and (work.dev or bool(work.pipelines)),
            ),
            pages={
                **pages,
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
            beside=Path(work.beside) if work.dev and work.beside is not None else None,
            unstated_level=work.choice.unstated,
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
        if self._told_of is not None:
            self._told_of.begin()
        await self.recorded.start()
        if self._tls is not None:
            self._rotating = asyncio.create_task(self._tls.run(), name="certificates")
        for one in await self.host.start():
            if not one.ready:
                log.warning("%s is not ready: %s", one.name, one.failure)
        await self._parts.start()
        await self.worker.start()
        self._parts.obey(orders_of(self.recorded))
        if self._direct is None:
            await self._warm()
        self.dependencies.start()
        await self.transport.start(Doorkeeper(self.worker, self.host, self.dependencies.failing))
        await self.accept(False)
        self._say()
        return self.worker.settings.endpoint

    def _say(self) -> None:
        """What only this process knows is said in the store from now on."""
        self._parts.say(self.conditions)
        self.recorded.say(self.conditions)
        self.conditions.add(NODES.name, self.host.providers.rows)
        self._saying = asyncio.create_task(self.conditions.run(), name="conditions")
        self._saying.add_done_callback(_ended)

    async def _warm(self) -> None:
        """What a caller gets who asks for nothing else is there before the first one comes, its models loaded."""
        if not isinstance(self._parts, FleetParts):
            return
        view, host = self._parts.view, self.host
        try:
            graph = await asyncio.to_thread(view.graph, view.choose(OWN_TENANT, "warm", None))
            host.publish(graph, self._parts.registry_for(graph))
        except RsppError as error:  # operators can lead callers to another version, so this goes on
            log.warning("callers who name no pipeline cannot be served: %s", error.message)
            return
        for one in await host.providers.open():
            if not one.ready:
                log.warning("%s is not ready: %s", one.name, one.failure)

    def renew(self) -> None:
        """Modules beside the pipelines were changed, and those that were loaded are forgotten."""
        if isinstance(self._parts, FleetParts):
            self._parts.renew()

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
        if self._saying is not None:
            self._saying.cancel()
            await asyncio.wait([self._saying])
            await self.conditions.clear()
        await self.worker.stop()
        await self._parts.stop()
        await self.host.stop()
        await asyncio.to_thread(self.traces.close)
        await self.recorded.finish(deadline_ms=export_ms)
        if self._told_of is not None:
            await self._told_of.end()
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
        exposition, reading = Exposition(), self.reading()
        exposition.take(self.worker.settings.name, reading)
        exposition.put("queue_depth", "gauge", depth_of(reading))
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
    return graphs, registry_of(here) if registry is None else _isolating(registry, work.pipelines)


def _isolating(registry: Registry, pipelines: Sequence[str]) -> Registry:
    """One provider isolates the nodes of all files."""
    folders = tuple(dict.fromkeys(Path(one).resolve().parent for one in pipelines))
    return msgspec.structs.replace(
        registry, providers={**registry.providers, **isolation(registry.nodes, folders)}
    )


def _both(one: Registry, other: Registry) -> Registry:
    return msgspec.structs.replace(
        one,
        providers={**one.providers, **other.providers},
        nodes={**one.nodes, **other.nodes},
        async_nodes={**one.async_nodes, **other.async_nodes},
    )


def _ended(task: asyncio.Task[None]) -> None:
    """Such a task only ends when it is told to: anything else is our fault, and is said."""
    if not task.cancelled() and task.exception() is not None:
        log.error("the task %s has ended", task.get_name(), exc_info=task.exception())


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
    logging_to_stderr(verbose=work.verbose, quiet=work.quiet, secrets=secrets, lines=True)
    told = Told(open_store(work.store, secrets), source=f"worker:{assign.name}")
    return ServedWorker(work, assign, listening, told.store, secrets, told=told)


if __name__ == "__main__":
    sys.exit(main(make, loop_factory(), sys.argv[1:]))
