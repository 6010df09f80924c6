"""What a session says of its own speed in band: how long nodes and edges took, and how much waited for them.

Off, nothing is said, whatever nodes measure. By default a turn says how long its first output took. With all of it, each node
says what a step or a call took as soon as that is known, and each edge and node, with every turn's end, how long the slowest
event waited and how many did at most; a node whose call lasts, how long its slowest answer took. All of it is telemetry: shed
first, numbered apart, and nothing is decided by it.
"""

from __future__ import annotations

from rspp.contract.event import NS_PER_MS, Scope
from rspp.contract.words import InBand
from rspp.kernel.calls import Call
from rspp.kernel.desk import Desk
from rspp.kernel.graph import Graph
from rspp.spec.graph import Role

MEASURED = (Role.SYNC, Role.CALL)


class Metering:
    """One session's."""

    __slots__ = ("_asked_at", "_desk", "_graph", "_slowest", "on")

    def __init__(self, desk: Desk, graph: Graph) -> None:
        self._desk, self._graph = desk, graph
        self.on = desk.request.metrics is InBand.ALL
        # Of calls that last, by node: its modality and when it was given the newest thing to answer, and the slowest answer
        # of this turn.
        self._asked_at: dict[str, tuple[str, int]] = {}  # bounded: by the graph
        self._slowest: dict[str, int] = {}  # bounded: likewise

    def stepped(self, node_id: str, elapsed_ms: int, scope: Scope | None) -> None:
        """The host has measured a step of a sync node."""
        if self.on and node_id in self._graph.nodes:
            self._desk.observe("node_latency_ms", elapsed_ms, "ms", scope, node_id)

    def called(self, call: Call) -> None:
        """A call is over; a stream that lasts says nothing by its length."""
        if self.on and not call.lasting:
            took_ms = (call.ended_at - call.started_at) / NS_PER_MS
            self._desk.observe("node_latency_ms", took_ms, "ms", call.scope, call.node_id)

    def asked(self, call: Call) -> None:
        """A call that lasts was given something to answer; the newest counts."""
        if self.on:
            self._asked_at[call.node_id] = call.modality, self._desk.now

    def answered(self, node_id: str) -> None:
        asked = self._asked_at.pop(node_id, None)
        if asked is not None:
            self._slowest[node_id] = max(self._slowest.get(node_id, 0), self._desk.now - asked[1])

    def scored(self, modality: str) -> None:
        """A model that scores frames has answered; it says so without its call."""
        for node_id in [one for one, (who, _) in self._asked_at.items() if who == modality]:
            self.answered(node_id)

    def turn_closed(self, scope: Scope) -> None:
        if not self.on:
            return
        desk, slowest = self._desk, self._slowest
        for node in self._graph.nodes.values():
            if node.role in MEASURED:
                if node.id in slowest:
                    desk.observe("node_latency_ms", slowest[node.id] / NS_PER_MS, "ms", scope, node.id)
                depth = sum(edge.queue.depth_max for edge in node.inbound)
                desk.observe("node_queue_depth", depth, "events", scope, node.id)
        for edge in self._graph.edges.values():
            queue = edge.queue
            desk.observe("edge_queue_depth", queue.depth_max, "events", scope, edge_id=edge.id)
            desk.observe("edge_latency_ms", queue.waited_max / NS_PER_MS, "ms", scope, edge_id=edge.id)
            queue.depth_max, queue.waited_max = len(queue.items), 0
        slowest.clear()
