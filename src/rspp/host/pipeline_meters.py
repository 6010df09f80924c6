"""The meters of the pipelines that a host runs: one set a version, made with its first session and dropped when it is gone.

What an edge counts, its queue counts anyway; it is fetched when somebody reads, and kept for sessions that have ended. A version
that no session runs any more keeps its series while there are few such; the oldest goes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic_ns
from typing import Final

from rspp.contract.words import Lane
from rspp.host.meters import Counter, Histogram, Meters
from rspp.host.metric_names import NONE
from rspp.kernel.graph import EdgeRun
from rspp.kernel.session import SessionKernel
from rspp.spec.graph import GraphDefinition, NodeDefinition, Role

# Versions without a session whose series are still shown: what was rolled back can be looked at for a while.
IDLE_VERSIONS_MAX: Final = 8
RATE_NS: Final = 60_000_000_000
RATE_POINTS_MAX: Final = 128
REFUSING: Final = ("reject", "shed")


class EdgeMeters:
    """One edge, over all sessions of a version."""

    __slots__ = ("depth", "drops", "merges", "over_drops", "over_merges", "waits")

    def __init__(self, meters: Meters, labels: dict[str, str]) -> None:
        self.waits = meters.histogram("edge_latency_ms", **labels)
        self.drops = meters.counter("edge_drops_total", **labels)
        self.merges = meters.counter("edge_merges_total", **labels)
        self.over_drops = self.over_merges = 0  # of sessions that have ended
        self.depth = 0
        meters.gauge("edge_queue_depth", lambda: self.depth, **labels)


class PipelineMeters:
    """One version of one pipeline."""

    def __init__(self, meters: Meters, graph: GraphDefinition) -> None:
        self.labels = {"pipeline": graph.pipeline, "pipeline_version": graph.version}
        self._meters = meters
        self._providers = {node.id: provider_of(graph, node) for node in graph.nodes}
        self._histograms: dict[
            tuple[str, str, str], Histogram
        ] = {}  # bounded: by the graph and its providers
        self._counters: dict[tuple[str, str], Counter] = {}  # bounded: by the names and outcomes of the table
        self._live: dict[str, SessionKernel] = {}  # bounded: by the sessions of the host
        self._edges = {
            edge.id: EdgeMeters(
                meters, {**self.labels, "edge": edge.id, "provider": self._providers[edge.target]}
            )
            for edge in graph.edges
        }
        meters.gauge("sessions_open", lambda: len(self._live), **self.labels)
        self.first_output = meters.histogram("turn_first_output_ms", **self.labels)
        self.plan_build = meters.histogram("resolved_turn_plan_build_ms", **self.labels)
        self.interruptions = meters.counter("interruptions_total", **self.labels)
        # Nodes that work have their series from the first scrape on; sources and sinks do nothing of their own.
        for node in graph.nodes:
            if node.role in (Role.SYNC, Role.CALL):
                self.node(node.id, self._providers[node.id])

    @property
    def idle(self) -> bool:
        return not self._live

    # ---- series ----------------------------------------------------------------------------------------------------

    def node(self, node_id: str, provider: str) -> Histogram:
        return self._histogram("node_latency_ms", "node", node_id, provider)

    def sync_node(self, node_id: str) -> Histogram:
        return self.node(node_id, NONE)

    def cancel(self, node_id: str, provider: str) -> Histogram:
        return self._histogram("cancel_latency_ms", "node", node_id, provider)

    def of_provider(self, name: str, modality: str, provider: str) -> Histogram:
        return self._histogram(name, "modality", modality, provider)

    def count_provider(self, name: str, modality: str, provider: str, **more: str) -> Counter:
        return self._meters.counter(name, **self.labels, modality=modality, provider=provider, **more)

    def count(self, name: str, outcome: str) -> None:
        counter = self._counters.get((name, outcome))
        if counter is None:
            counter = self._counters[name, outcome] = self._meters.counter(
                name, **self.labels, outcome=outcome
            )
        counter.add()

    def _histogram(self, name: str, label: str, value: str, provider: str) -> Histogram:
        """Found once and remembered: to look a series up by its labels takes as long as a frame."""
        known = self._histograms.get((name, value, provider))
        if known is None:
            labels = {**self.labels, label: value, "provider": provider}
            known = self._histograms[name, value, provider] = self._meters.histogram(name, **labels)
        return known

    # ---- sessions --------------------------------------------------------------------------------------------------

    def began(self, session_id: str, kernel: SessionKernel) -> None:
        self._live[session_id] = kernel
        for edge_id, edge in kernel.graph.edges.items():
            edge.queue.waits = self._edges[edge_id].waits

    def ended(self, session_id: str) -> None:
        kernel = self._live.pop(session_id, None)
        if kernel is not None:
            for edge_id, edge in kernel.graph.edges.items():
                mine = self._edges[edge_id]
                mine.over_drops += edge.queue.dropped
                mine.over_merges += edge.queue.merged
                _told(mine, edge)

    def gather(self) -> None:
        """What the edges' queues have counted until now."""
        for edge_id, mine in self._edges.items():
            drops, merges, depth = mine.over_drops, mine.over_merges, 0
            for kernel in self._live.values():
                edge = kernel.graph.edges[edge_id]
                queue = edge.queue
                drops += queue.dropped
                merges += queue.merged
                depth += len(queue.items) + len(queue.parked)
                _told(mine, edge)
            mine.drops.value, mine.merges.value, mine.depth = drops, merges, depth


def _told(mine: EdgeMeters, edge: EdgeRun) -> None:
    """What went straight through was on its way for no time at all."""
    if edge.passed:
        mine.waits.noughts(edge.passed)
        edge.passed = 0


def provider_of(graph: GraphDefinition, node: NodeDefinition) -> str:
    """Who serves a node's calls if all is well."""
    if node.role is not Role.CALL:
        return NONE
    modality = node.modality or node.type
    return (graph.providers.get(modality) or (modality,))[0]


class Board:
    """One host's."""

    def __init__(
        self, meters: Meters, waiting: Callable[[Lane], int], now: Callable[[], int] = monotonic_ns
    ) -> None:
        """`waiting` says how many inputs wait in a lane. `now` is of whoever reads, perhaps after the loop has ended."""
        self.meters = meters
        self._now = now
        self._pipelines: dict[str, PipelineMeters] = {}  # bounded: those with sessions, and IDLE_VERSIONS_MAX
        self.preempt = meters.histogram("control_preempt_delay_ms")
        for lane in Lane:
            meters.gauge("lane_queue_depth", partial(waiting, lane), lane=lane.value)
        self.dropped = {lane: meters.counter("drops_total", lane=lane.value) for lane in Lane}
        self._decided = self._refused = 0
        self._points: deque[tuple[int, int, int]] = deque(maxlen=RATE_POINTS_MAX)
        self._rate = 0.0
        meters.gauge("shed_rate", lambda: self._rate)
        meters.before(self.gather)

    def of(self, graph: GraphDefinition) -> PipelineMeters:
        found = self._pipelines.pop(graph.ref, None)
        if found is None:
            found = PipelineMeters(self.meters, graph)
        self._pipelines[graph.ref] = found  # the last used last
        idle = [ref for ref, one in self._pipelines.items() if one.idle and one is not found]
        for ref in idle[: max(0, len(idle) - IDLE_VERSIONS_MAX)]:
            self.meters.forget(**self._pipelines.pop(ref).labels)
        return found

    def decided(self, pipeline: PipelineMeters, outcome: str) -> None:
        """An intent, or a piece of work, was admitted or not."""
        pipeline.count("intents_total", outcome)
        self._decided += 1
        self._refused += outcome in REFUSING

    def gather(self) -> None:
        for pipeline in self._pipelines.values():
            pipeline.gather()
        now = self._now()
        points = self._points
        while points and now - points[0][0] > RATE_NS:
            points.popleft()
        points.append((now, self._decided, self._refused))
        _, decided, refused = points[0] if len(points) > 1 else (now, 0, 0)
        self._rate = (self._refused - refused) / max(1, self._decided - decided)
