"""All that this process decides for new sessions and for turns comes from here, out of memory, and from nothing older than its bound.

    store --watch--> Knowledge, HealthView --> which graph a session gets; the snapshot of its next turn
          --pulse--> what is in force is read again in turn: proof that the store is there, and no change is missed for long

What follows when something is not as it should be:

    the store not heard of within `stale_ms`   no snapshot and no new session, in every mode
    a policy in force that cannot be had       `strict`: no snapshot, no new session; `availability`: as if there were none
    a plugin that failed                       as its policy says: refused, or left out
    a document that cannot be read             the last good one stays in force, and the fault is told

Leases and admission are not asked here: they fail closed in both modes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract.decisions import DecisionReason
from rspp.contract.errors import PeerFault, RsppError
from rspp.contract.plan import SnapshotProvenance
from rspp.contract.words import RecordingLevel
from rspp.control.config import skew
from rspp.control.config.feed import PULSE_MS, RETRY_MS, STALE_MS, Faults, Feed
from rspp.control.config.graphs import Graphs, inserted_nodes
from rspp.control.config.health_view import HealthView
from rspp.control.config.knowledge import Knowledge, Summary, summary
from rspp.control.config.nodes import Points, offered
from rspp.control.config.plugins import Plugins
from rspp.control.config.policy import FLEET
from rspp.control.config.registry import RELEASE, SCHEMA
from rspp.control.config.resolve import NO_POLICY, Resolved, request_of, resolve
from rspp.control.config.rollout import choose
from rspp.control.config.rollouts import SPEC
from rspp.host.ports import Clock, Refused, Store
from rspp.kernel.snapshot import Snapshot
from rspp.spec.graph import GraphDefinition

SNAPSHOTS_MAX: Final = 2_000
TELL_AFTER_MS: Final = 2_000

# A tenant, the name of its graph, and which policy asked for which node of it.
Inserted = Callable[[str, str, dict[str, str]], None]


class Fallback(StrEnum):
    """What a process does when it is in touch with the store and still does not know the policy."""

    STRICT = "strict"
    AVAILABILITY = "availability"


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What a new session runs, and why."""

    pipeline: str
    version: str
    why: str
    graph_ref: str
    rollout: str


class View:
    """The control plane as this process sees it. `sync` reads it once; `run` keeps it new until it is cancelled."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        region: str = "local",
        default_pipeline: str | None = None,
        fallback: Fallback = Fallback.STRICT,
        stale_ms: int = STALE_MS,
        pulse_ms: int = PULSE_MS,
        points: Points = offered,
        plugins: Plugins | None = None,
        unstated_level: RecordingLevel | None = None,
        routing_ref: Callable[[], str] = lambda: "routing/local",
        capacity: Callable[[str], str] = lambda _: "allow",
    ) -> None:
        self.known = Knowledge(points)
        self.health = HealthView()
        self.region = region
        self._clock = clock
        self._default = default_pipeline
        self._fallback = fallback
        self._graphs = Graphs(self.known.find, points, unstated_level)
        self._plugins = plugins or Plugins()
        self._routing_ref = routing_ref
        self._capacity = capacity
        self._taken: OrderedDict[tuple[str, str], tuple[int, Resolved]] = (
            OrderedDict()
        )  # bounded: SNAPSHOTS_MAX
        self._faults = Faults()
        self._feed = Feed(
            store,
            clock,
            self.known,
            self.health,
            self._graphs,
            self._faults,
            stale_ms=stale_ms,
            pulse_ms=pulse_ms,
        )
        self._on_inserted: list[Inserted] = []  # bounded: likewise
        self._told: OrderedDict[tuple[str, str], None] = OrderedDict()  # bounded: SNAPSHOTS_MAX

    # ---- what it says ---------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Rises with every change that a session could notice."""
        return self.known.revision + self.health.number

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong in the store, or with what is in force, by where."""
        return {**self.known.problems, **self._faults.now}

    def summary(self) -> Summary:
        return msgspec.structs.replace(summary(self.known), problems=self.problems)

    def fresh(self, now: int) -> bool:
        """Was the store heard of within the bound?"""
        return self._feed.fresh(now)

    def on_change(self, callback: Callable[[], None]) -> None:
        self._feed.on_change(callback)

    def on_inserted(self, callback: Inserted) -> None:
        """Told of the first session of each tenant on a graph into which a policy has put nodes."""
        self._on_inserted.append(callback)

    def snapshot(self, now: int, tenant_id: str, graph: GraphDefinition) -> Snapshot | None:
        """What holds for this tenant's next turns on this graph; None when that is not known, or too long ago."""
        contact_at = self._feed.contact_at
        if contact_at is None or not self.fresh(now):
            return None
        resolved = self._resolved(tenant_id, graph)
        if resolved is None:
            return None
        return Snapshot(
            version=self.version,
            taken_at=contact_at,
            provenance=self._provenance(graph, resolved),
            compatible=self._is_compatible(graph),
            capacity="reject" if resolved.denied is not None else self._capacity(tenant_id),
            quota=resolved.quota,
            health=dict(resolved.signals.health),
            price=dict(resolved.signals.price),
            circuits_open=resolved.signals.circuits_open,
            capabilities=resolved.capabilities,
            overrides=resolved.overrides,
            facts={"region": self.region, **resolved.facts},
        )

    def version_for(self, tenant_id: str, session_id: str, pipeline: str | None = None) -> Chosen:
        """What a new session runs. `pipeline` is one's name, or `name@version`. Raises `Refused`."""
        if not session_id or tenant_id in ("", FLEET):
            raise Refused(DecisionReason.CP_ADMISSION_INVALID_INPUT, "a session has a tenant and a name")
        if not self.fresh(self._clock.now()):
            raise self._not_known("the control plane was not heard of for too long")
        if self._fallback is Fallback.STRICT and (broken := self.known.broken(tenant_id)):
            raise self._not_known(f"what is in force is not known: {', '.join(broken)}")
        name, _, version = (pipeline or self._pipeline_of(tenant_id)).partition("@")
        record = self.known.rollouts.get(name)
        if record is None:
            raise Refused("pipeline_unknown", f"no pipeline {name!r} is served")
        try:
            choice = choose(record.rollout, tenant_id, session_id, version or None)
        except PeerFault as fault:
            raise Refused(fault.code, fault.message) from fault
        ref = str(self.known.graph_ref(tenant_id, name, choice.version))
        graph = self.graph_for(ref)
        self._is_allowed(tenant_id, graph)
        self._tell_inserted(tenant_id, graph)
        return Chosen(
            pipeline=name,
            version=choice.version,
            why=choice.why,
            graph_ref=ref,
            rollout=f"rollout/{name}@{record.number}",
        )

    def choose(self, tenant_id: str, session_id: str, pipeline: str | None = None) -> str:
        """The name of the graph for a new session; raises `Refused`."""
        return self.version_for(tenant_id, session_id, pipeline).graph_ref

    def graph_for(self, graph_ref: str) -> GraphDefinition:
        """That graph, compiled from what its name says, whatever is in force now; raises `Refused` if it cannot be had."""
        try:
            return self._graphs.get(graph_ref)
        except RsppError as fault:
            code = "graph_unusable" if fault.code == "graph_unusable" else "pipeline_unknown"
            raise Refused(code, fault.message, RETRY_MS) from fault

    def graph(self, graph_ref: str) -> GraphDefinition:
        """As `graph_for`: what a worker's port calls it."""
        return self.graph_for(graph_ref)

    def renew(self) -> list[GraphDefinition]:
        """The modules beside the pipelines were changed: every graph anew, where it can be had."""
        self._taken.clear()
        return self._graphs.renew()

    # ---- how it knows ---------------------------------------------------------------------------------------------

    async def sync(self) -> None:
        """Read all that is in force. Raises what the store raises; then this view is as old as it was."""
        await self._feed.sync()

    async def run(self) -> None:
        """Follow the store, until cancelled."""
        await self._feed.run()

    def _tell_inserted(self, tenant_id: str, graph: GraphDefinition) -> None:
        if (tenant_id, graph.ref) in self._told:
            return
        self._told[tenant_id, graph.ref] = None
        while len(self._told) > SNAPSHOTS_MAX:
            self._told.popitem(last=False)
        nodes = inserted_nodes(graph)
        for callback in self._on_inserted if nodes else ():
            callback(tenant_id, graph.ref, nodes)

    # ---- its parts ------------------------------------------------------------------------------------------------

    def _resolved(self, tenant_id: str, graph: GraphDefinition) -> Resolved | None:
        """From memory as long as nothing has changed."""
        where = (tenant_id, graph.ref)
        kept = self._taken.get(where)
        if kept is not None and kept[0] == self.version:
            self._taken.move_to_end(where)
            return kept[1]
        resolved = self._resolve(tenant_id, graph)
        if resolved is not None:
            self._taken[where] = (self.version, resolved)
            while len(self._taken) > SNAPSHOTS_MAX:
                self._taken.popitem(last=False)
        return resolved

    def _resolve(self, tenant_id: str, graph: GraphDefinition) -> Resolved | None:
        place = f"resolve/{tenant_id}/{graph.ref}"
        lenient = self._fallback is Fallback.AVAILABILITY
        broken = self.known.broken(tenant_id)
        if broken and not lenient:
            self._faults.tell(place, f"what is in force is not known: {', '.join(broken)}")
            return None
        policies = self.known.policies_of(tenant_id)
        request = request_of(graph, tenant_id, self.region, policies)
        try:
            resolved = resolve(graph, request, policies, self.health.signals, self._plugins)
        except PeerFault as fault:
            self._faults.tell(place, f"{fault.code}: {fault.message}")
            if not lenient:
                return None
            return Resolved(ref=NO_POLICY, signals=self.health.signals)
        if resolved.problems:
            self._faults.tell(place, "; ".join(resolved.problems))
        else:
            self._faults.clear(place)
        return resolved

    def _provenance(self, graph: GraphDefinition, resolved: Resolved) -> SnapshotProvenance:
        record = self.known.rollouts.get(graph.pipeline)
        return SnapshotProvenance(
            routing_view_snapshot=self._routing_ref(),
            admission_policy_snapshot=f"admission/{resolved.ref}",
            abi_compatibility_snapshot=f"{skew.POLICY.ref}/{skew.own().runtime}",
            version_resolution_snapshot=f"rollout/{graph.pipeline}@{record.number if record else 0}",
            policy_resolution_snapshot=resolved.ref,
            provider_health_snapshot=self.health.ref,
        )

    def _is_compatible(self, graph: GraphDefinition) -> bool:
        """May this runtime run what that control plane has published?"""
        document = self.known.find(SPEC, graph.pipeline, graph.version)
        if document is None:
            return True  # not from the registry: it was compiled by this very process
        mine = skew.own()
        try:
            return skew.is_allowed(
                skew.POLICY,
                skew.Versions(
                    runtime=mine.runtime,
                    control=document.facts.get(RELEASE, ""),
                    schema=document.facts.get(SCHEMA, ""),
                ),
            )
        except PeerFault:
            return False

    def _is_allowed(self, tenant_id: str, graph: GraphDefinition) -> None:
        resolved = self._resolved(tenant_id, graph)
        if resolved is None:
            raise self._not_known("the policies in force do not hold on this pipeline")
        if resolved.denied is not None:
            raise Refused(DecisionReason.CP_ADMISSION_REJECT_POLICY, resolved.denied[:200])
        if not self._is_compatible(graph):
            raise Refused(
                "version_skew_unsupported",
                f"{graph.ref} was published by a release that this one does not go with",
            )

    def _pipeline_of(self, tenant_id: str) -> str:
        """What a caller gets who names none: the tenant's, the fleet's, this process's, or the only one there is."""
        for one in reversed(self.known.policies_of(tenant_id)):
            if one.policy.pipeline is not None:
                return one.policy.pipeline
        if self._default is not None:
            return self._default
        if len(self.known.rollouts) == 1:
            return next(iter(self.known.rollouts))
        raise Refused(
            "pipeline_missing", "the caller names no pipeline, and there is none for such callers", RETRY_MS
        )

    def _not_known(self, message: str) -> Refused:
        return Refused(DecisionReason.SNAPSHOT_INVALID_OR_MISSING, message, TELL_AFTER_MS)
