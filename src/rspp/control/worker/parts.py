"""All that a worker of a fleet needs of the control plane, over one store: put together once, started and stopped together.

parts = FleetParts(store, clock, secrets, settings, meters)
host = Host(registry, recorders=parts.recorders(recorders), snapshots=parts.snapshot, state=parts.state, meters=meters)
worker = parts.worker(host, worker_settings)
await parts.start()      # the view is read once: without it nobody would be let in
await worker.start()
...
await worker.stop()
await parts.stop()
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS
from rspp.contract.surface import Row
from rspp.contract.words import RecordingLevel
from rspp.control.authority.members import GONE, member_of
from rspp.control.commands import CommandKind
from rspp.control.config import skew
from rspp.control.config.inserted import InsertionAudit
from rspp.control.config.nodes import Beside, Points, offered, search_path_of
from rspp.control.config.view import Fallback, View
from rspp.control.fleet import turns
from rspp.control.fleet.provider_board import (
    CIRCUITS,
    Circuits,
    Probes,
    ProviderBoard,
    ProviderReporter,
    probed,
)
from rspp.control.fleet.residency_guard import Guard, ResidencyView, ResidentStore
from rspp.control.fleet.routing_view import RoutingView
from rspp.control.fleet.session_ear import heard_by
from rspp.control.fleet.status_writer import StatusWriter
from rspp.control.fleet.turns import LastTurns
from rspp.control.intake import limits
from rspp.control.intake.admission import Slots
from rspp.control.intake.capacity import CapacityLimits
from rspp.control.intake.limits import Limits, use_rows
from rspp.control.intake.load import LoadWatch
from rspp.control.intake.quotas import ALLOWED, Usage, Verdict
from rspp.control.intake.usage import UsageBoard
from rspp.control.names import MEMBERS
from rspp.control.objectives.availability import AvailabilityCount
from rspp.control.security.audit import Audit
from rspp.control.security.keyring import Keyring
from rspp.control.security.strangers import Strangers
from rspp.control.security.tokens import Verifier
from rspp.control.worker.gate import OpenGate, RouteGate
from rspp.control.worker.orders import Obey, Orders
from rspp.control.worker.ports import Gate
from rspp.control.worker.worker import Worker, WorkerSettings
from rspp.host.conditions import Conditions
from rspp.host.discovery import discover_for
from rspp.host.durable import StateWriter
from rspp.host.host import Host, RecorderFactory
from rspp.host.isolation import isolation
from rspp.host.meters import Meters
from rspp.host.ports import Clock, Store
from rspp.host.registry import Registry
from rspp.host.tasks import TaskScope
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.snapshot import Snapshot
from rspp.spec.graph import GraphDefinition

log = logging.getLogger("rspp.control.parts")

RETRY_S: Final = 0.5
FLUSH_S: Final = 2.0


class PartsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What differs between workers in how they see the control plane."""

    name: str
    deployment: str = "rspp"
    region: str = "local"
    endpoints: tuple[str, ...] = ()  # what route tokens for this process are for
    open_door: bool = False  # no tokens: for a process that only its own machine can reach
    default_pipeline: str | None = None
    fallback: Fallback = Fallback.STRICT
    capacity: CapacityLimits = CapacityLimits()
    beside: Path | None = None  # whose modules pipelines may name: for a process of this machine alone
    unstated_level: RecordingLevel | None = None  # of a pipeline that does not say how it is recorded


class FleetParts:
    """Each part is what its own module says; this only holds them together."""

    def __init__(self, store: Store, clock: Clock, settings: PartsSettings, meters: Meters) -> None:
        self.store, self.clock, self.settings, self.meters = store, clock, settings, meters
        self._points: Points = offered if settings.beside is None else Beside(settings.beside)
        self._nodes: dict[str, NodeFactory] = {}  # bounded: by the nodes that published pipelines name
        self.quotas = Limits(store)
        self.usage = UsageBoard(
            store,
            settings.name,
            self.quotas.of,
            clock=clock,
            meters=meters,
            sessions_over=self._sessions_over,
        )
        self.usage.on_change(self._used_up)
        self.view = View(
            store,
            clock,
            region=settings.region,
            default_pipeline=settings.default_pipeline,
            fallback=settings.fallback,
            points=self._points,
            unstated_level=settings.unstated_level,
            capacity=self.usage.capacity,
            routing_ref=self._routing_ref,
        )
        self.audit = Audit(store, settings.name, clock)
        self.strangers = Strangers(self.audit, clock)
        self.insertions = InsertionAudit(self.audit, f"worker:{settings.name}")
        self.view.on_inserted(self.insertions)
        self.residencies = ResidencyView(store, clock)
        self.guard = Guard(self.residencies.rules, settings.region, self.audit, f"worker:{settings.name}")
        self.state = StateWriter(ResidentStore(store, self.guard), on_stale=self._fenced, lives=self._lives)
        self.keyring = Keyring(store, clock)
        self.board = ProviderBoard(store, clock)
        self.probes = Probes(store, self.board, clock, settings.name)
        self.circuits = Circuits()
        self.turns = LastTurns()
        self.status = StatusWriter(store, clock, owner=self._member_id, region=settings.region)
        self.availability = AvailabilityCount(
            store, clock, deployment=settings.deployment, member_id=self._member_id
        )
        self.reporter = ProviderReporter(
            store,
            clock,
            meters,
            member_id=self._member_id,
            region=settings.region,
            circuits=self.circuits,
            sessions=lambda: len(self._host.sessions),
        )
        self.load: LoadWatch
        self.routing: RoutingView
        self._host: Host
        self._worker: Worker | None = None
        self._tasks: TaskScope

    # ---- what a host is given ----------------------------------------------------------------------------------------

    def snapshot(self, now: int, tenant_id: str, graph: GraphDefinition) -> Snapshot | None:
        """What is in force for this tenant's next turns, with what its quotas say of them."""
        taken = self.view.snapshot(now, tenant_id, graph)
        if taken is None:
            return None
        facts = {**taken.facts, **self.usage.facts(tenant_id)}
        return probed(msgspec.structs.replace(taken, facts=facts), graph, self.probes)

    def recorders(self, inner: RecorderFactory) -> RecorderFactory:
        """These recorders, heard by whoever counts and tells."""
        return self.usage.recorders(
            heard_by(inner, (self.status, self.circuits, self.turns, self.availability))
        )

    def worker(self, host: Host, settings: WorkerSettings) -> Worker:
        self._host = host
        self.load = LoadWatch(
            host, self.settings.capacity, clock=self.clock, meters=self.meters, flying=self.usage.flying
        )
        self._worker = Worker(
            host,
            self.store,
            msgspec.structs.replace(settings, versions={**skew.told(), **settings.versions}),
            clock=self.clock,
            gate=self._gate(),
            plans=self.view,
            slots=self._slots,
            residency=self.guard,
            state=self.state,
            crowded=self.load.admit,
            registry_for=self.registry_for,
        )
        self.routing = RoutingView(self.store, self.clock, self._worker.fleet)
        return self._worker

    def registry_for(self, graph: GraphDefinition) -> Registry:
        """What this host has, and the nodes that the graph names, isolated or not; raises `MisuseError`."""
        beside = search_path_of(self._points)
        found = discover_for(graph, search_path=beside).registry(self._host.registry)
        # One provider isolates the nodes of all graphs here, so it has to know those of the next graph as well.
        self._nodes.update(found.nodes)
        return msgspec.structs.replace(found, providers={**found.providers, **isolation(self._nodes, beside)})

    def renew(self) -> None:
        """The modules beside the pipelines were changed: sessions that begin from now on have them as they are now."""
        for graph in self.view.renew():
            if self._host.has(graph.ref):
                self._host.publish(graph, self.registry_for(graph))

    def _gate(self) -> Gate:
        if self.settings.open_door:
            return OpenGate()
        wall_ms = lambda: self.clock.wall() // NS_PER_MS  # noqa: E731 - read where it is used
        return RouteGate(Verifier(self.keyring), self.settings.endpoints, wall_ms, self._denied)

    def _denied(self, code: str) -> None:
        self._tasks.spawn(self._record(code), "part:stranger")

    async def _record(self, code: str) -> None:
        try:
            await self.strangers.refused("", code)
        except (RsppError, OSError) as error:
            log.warning("a refused token is not on record: %s", type(error).__name__)

    def _slots(self, member_id: str) -> Slots:
        worker = self._worker
        assert worker is not None
        return Slots(
            self.store,
            member_id,
            self.quotas.of,
            clock=self.clock,
            is_gone=worker.fleet.is_gone,
            may_act=lambda: worker.membership.held,
            used_up=self.usage.verdict,
            meters=self.meters,
        )

    def _sessions_over(self, tenant_id: str) -> Verdict:
        slots = getattr(self._worker, "slots", None)
        return ALLOWED if slots is None else slots.over(tenant_id)

    def _used_up(self, tenants: Collection[str]) -> None:
        """Their sessions are told now, and not with the next view."""
        for session in list(self._host.sessions.values()):
            if session.tenant_id in tenants:
                self._host.snapshot_wanted(session, "quota_changed")

    def _routing_ref(self) -> str:
        seen = self.routing.peek()
        return f"routing/{seen.version}" if seen is not None else "routing/none"

    def _fenced(self, tenant_id: str, session_id: str) -> None:
        if self._worker is not None:
            self._worker.fenced(tenant_id, session_id)

    async def _lives(self, tenant_id: str, session_id: str) -> bool:
        return self._worker is None or await self._worker.lives(tenant_id, session_id)

    def _member_id(self) -> str:
        return self._worker.id if self._worker is not None else self.settings.name

    def say(self, conditions: Conditions) -> None:
        """What only this process knows of its sessions, for whoever looks at the whole."""
        conditions.add(turns.SURFACE.name, self.turns.rows, shared=False, ttl_ms=turns.TTL_MS)
        conditions.add(CIRCUITS.name, self.circuits.rows)
        conditions.add(limits.SURFACE.name, self._used_up_rows)

    def _used_up_rows(self) -> Iterable[Row]:
        slots = getattr(self._worker, "slots", None)
        if not isinstance(slots, Slots):
            return ()
        tenants = dict.fromkeys([*self.usage.tenants, *slots.held])
        return use_rows(self.quotas, tenants, lambda tenant_id: self._used(slots, tenant_id))

    def _used(self, slots: Slots, tenant_id: str | None) -> Usage:
        """Sessions by the slots, all else by the usage."""
        held = slots.used(tenant_id)
        used = self.usage.together if tenant_id is None else self.usage.usage(tenant_id)
        return msgspec.structs.replace(used, sessions=held.sessions, sessions_minute=held.sessions_minute)

    # ---- life ----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read what is in force. Raises what the store raises: a worker that knows nothing is of no use yet.

        And `PeerFault` where a control plane runs whose release this one does not go with.
        """
        await self._meet()
        await self.view.sync()
        await self.quotas.load()
        await self.residencies.refresh()
        await self.keyring.load()
        self._tasks = TaskScope(asyncio.get_running_loop(), self._failed)
        for name, work in (
            ("view", self.view.run),
            ("routing", self.routing.run),
            ("quotas", self.quotas.run),
            ("usage", self.usage.run),
            ("residency", self.residencies.run),
            ("guard", self.guard.run),
            ("keyring", self.keyring.run),
            ("board", self.board.run),
            ("probes", self.probes.run),
            ("status", self.status.run),
            ("reporter", self.reporter.run),
            ("availability", self.availability.run),
            ("load", self.load.run),
        ):
            self._tasks.spawn(self._for_ever(work), f"part:{name}")

    async def _meet(self) -> None:
        """Every control process that is there must be of a release that goes with this one."""
        for name in await self.store.keys(MEMBERS):
            entry = await self.store.get(MEMBERS, name)
            member = member_of(entry) if entry is not None else None
            if member is not None and member.kind == "control" and member.state not in GONE:
                skew.check_peer(skew.POLICY, member.versions, is_control=True)

    def obey(self, also: Mapping[CommandKind, Obey] | None = None) -> None:
        """Do what operators and the region's switch say, from now on. The worker is a member by now."""
        assert self._worker is not None
        orders = Orders(self._worker, self.store, self.clock, also=also, vouched=self.reporter.vouch)
        self._tasks.spawn(self._for_ever(orders.run), "part:orders")
        self._tasks.spawn(self._for_ever(orders.follow_region), "part:region")

    async def stop(self) -> None:
        """What is still to be said is said if that can be done in a moment; nothing runs on afterwards in any case."""
        try:
            async with asyncio.timeout(2 * FLUSH_S):
                await self.status.flush(FLUSH_S)
                await self.insertions.flushed()
                await self.availability.write()
        except (RsppError, OSError) as error:
            log.warning("not all was written in the end: %s", type(error).__name__)
        finally:
            self._tasks.cancel_all()
            await self._tasks.wait(FLUSH_S)

    async def _for_ever(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A part that ends because of the store begins again."""
        while True:
            try:
                await work()
            except* (RsppError, OSError, TimeoutError) as errors:
                log.info("begun anew: %s", type(errors.exceptions[0]).__name__)
            await asyncio.sleep(RETRY_S)

    def _failed(self, name: str, error: BaseException) -> None:
        log.error("%s failed", name, exc_info=error)
