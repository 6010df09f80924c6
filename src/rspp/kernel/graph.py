"""An event crosses the whole graph in one synchronous call, and waits only where an edge lets it.

Owns the edges and their queues, the order in which waiting events go on (control before data before telemetry, then
by sequence), conditions, merges and selects, and the telling of what an edge lost. Who takes an event at the end of an
edge is a `Taker`: sync nodes, calls and sinks each have theirs. Keeps INV-06, INV-07 and INV-08 together with
`buffers`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from rspp.contract import emitters
from rspp.contract.event import Event, Sync
from rspp.contract.plan import ResolvedTurnPlan
from rspp.contract.signals import SignalName
from rspp.contract.words import BufferStrategy, FlowMode, Lane
from rspp.kernel.buffers import Crossed, Cut, Dropped, EdgeQueue
from rspp.kernel.desk import Desk
from rspp.kernel.flow import FlowGate
from rspp.kernel.routing import Answer, choose, holds, merge_key
from rspp.spec.graph import EdgeDefinition, NodeDefinition, OnCancel, Role

LANE_RANK: Final = {Lane.CONTROL: 0, Lane.DATA: 1, Lane.TELEMETRY: 2}
MERGE_HELD_MAX: Final = 1024


class Taker(Protocol):
    """Whoever stands at the end of a node's edges."""

    def take(self, node: NodeRun, edge: EdgeRun, event: Event) -> None:
        """Take this event; only called while the node is open."""


class EdgeRun:
    """One edge at work."""

    __slots__ = (
        "definition",
        "gate",
        "id",
        "passed",
        "plain",
        "queue",
        "target",
        "turn_scoped",
        "upstream",
        "when",
        "xoff",
    )

    def __init__(self, definition: EdgeDefinition, target: NodeRun, turn_scoped: bool) -> None:
        self.definition = definition
        self.id = definition.id
        self.queue = EdgeQueue(definition.id, definition.buffer, patient=target.role is Role.SINK)
        marks = definition.buffer.watermarks.queue_items
        batch = marks.high - marks.low if marks else 1
        self.gate = FlowGate(definition.flow, definition.credits or definition.buffer.max_queue_items, batch)
        self.queue.gated = self.gate.counts
        self.target = target
        self.turn_scoped = turn_scoped
        self.when = definition.when
        self.passed = 0  # events that did not wait here at all
        self.xoff = False
        self.upstream: tuple[NodeRun, ...] = ()
        # Nothing to ask before an event may pass straight through.
        self.plain = (
            self.when is None and definition.flow is FlowMode.SIGNAL and not definition.buffer.coalesce_ms
        )


class NodeRun:
    """One node at work. `open` says whether it can take an event now; its taker keeps that true."""

    __slots__ = (
        "definition",
        "held",
        "id",
        "inbound",
        "open",
        "out",
        "role",
        "selected",
        "taker",
        "throttles",
        "turn_scoped",
    )

    def __init__(self, definition: NodeDefinition) -> None:
        self.definition = definition
        self.id = definition.id
        self.role = definition.role
        self.turn_scoped = definition.scope == "turn"
        self.out: dict[str, tuple[EdgeRun, ...]] = {}
        self.inbound: tuple[EdgeRun, ...] = ()
        self.open = False
        self.taker: Taker | None = None
        self.selected: str | None = None
        self.throttles = 0
        self.held: list[tuple[tuple[int, int, int], Event]] = []  # bounded: MERGE_HELD_MAX, a merge's window

    @property
    def blocked(self) -> bool:
        """Has it outputs that an edge does not take? Then it takes nothing itself."""
        return any(edge.queue.parked for edges in self.out.values() for edge in edges)


class Graph:
    """A session's graph at work."""

    def __init__(
        self, desk: Desk, throttle: Callable[[NodeRun, bool], None], arrived: Callable[[], None]
    ) -> None:
        self._desk = desk
        self._throttle = throttle
        self._arrived = arrived
        self.nodes = {definition.id: NodeRun(definition) for definition in desk.graph.nodes}
        self.edges: dict[str, EdgeRun] = {}
        self._pumping: set[str] = set()
        for definition in desk.graph.edges:
            self._connect(definition)
        for edge in self.edges.values():
            edge.upstream = self._producers(self.nodes[edge.definition.source])
        for node in self.nodes.values():
            if node.role in (Role.MERGE, Role.SELECT):
                node.open = True
            if node.definition.select is not None:
                node.selected = choose(node.definition.select, desk.facts)

    def _connect(self, definition: EdgeDefinition) -> None:
        source, target = self.nodes[definition.source], self.nodes[definition.target]
        into_turn = (definition.source, definition.source_port) == self._desk.graph.turn_input
        edge = EdgeRun(definition, target, source.turn_scoped or into_turn)
        self.edges[definition.id] = edge
        source.out[definition.source_port] = (*source.out.get(definition.source_port, ()), edge)
        target.inbound = (*target.inbound, edge)

    def _producers(self, node: NodeRun) -> tuple[NodeRun, ...]:
        """The calls that fill this node's edges: those to be told to stop when an edge is full."""
        if node.role is Role.CALL:
            return (node,)
        found: dict[str, NodeRun] = {}
        for edge in node.inbound:
            found.update({n.id: n for n in self._producers(self.nodes[edge.definition.source])})
        return tuple(found.values())

    # ---- along the edges -----------------------------------------------------------------------------------------

    def push(self, node: NodeRun, port: str, event: Event) -> None:
        """Send an event out of a node's port, along every edge that wants it."""
        left_out: EdgeRun | None = None
        wanted = False
        for edge in node.out.get(port, ()):
            queue = edge.queue
            if edge.plain and not queue.items and not queue.parked and edge.target.open:
                if event.generation >= queue.floor:
                    edge.passed += 1
                    edge.target.taker.take(edge.target, edge, event)  # type: ignore[union-attr]
                wanted = True
            elif edge.when is None or self._wanted(edge, event):
                self._offer(edge, event)
                wanted = True
            else:
                left_out = edge
        if left_out is not None and not wanted:
            self._routed(left_out, event, "not_taken")

    def _wanted(self, edge: EdgeRun, event: Event) -> bool:
        """Ask a conditional edge, and record what it said."""
        assert edge.when is not None
        answer = holds(edge.when, event, self._desk.facts)
        if answer is Answer.ERROR:
            self._desk.announce(
                SignalName.ERROR_RAISED,
                emitters.GRAPH,
                reason="attribute_absent",
                node_id=edge.definition.source,
                edge_id=edge.id,
                code="condition_attribute_absent",
                retryable=False,
                attribute=edge.when.attribute,
            )
        if answer is Answer.YES:
            self._routed(edge, event, f"{edge.when.attribute}_{edge.when.op}")
        return answer is Answer.YES

    def _routed(self, edge: EdgeRun, event: Event, reason: str) -> None:
        """One routing record an event: the branch it took, or that no branch wanted it."""
        self._desk.announce(
            SignalName.ROUTE_CHOSEN,
            emitters.GRAPH,
            event.scope,
            reason=reason,
            edge_id=edge.id,
            parent=event.sequence,
        )

    def _offer(self, edge: EdgeRun, event: Event) -> None:
        desk, queue = self._desk, edge.queue
        if not edge.gate.lets(len(queue.items)):
            queue.park(desk.now, event, "no_credit")
        else:
            queue.offer(desk.now, event)
        self.settle(edge)
        target = edge.target
        if target.role is Role.SINK:
            self._arrived()
        else:
            self.pump(target)

    def settle(self, edge: EdgeRun) -> None:
        """Tell what a queue did, and arrange to be woken for it."""
        queue = edge.queue
        if queue.notices:
            notices, queue.notices = queue.notices, []
            for notice in notices:
                self._tell(edge, notice)
        if queue.blocked_since is not None or queue.policy.coalesce_ms:
            at = queue.wake_at()
            if at is not None and at > self._desk.now:
                self._desk.arm("edge", at, edge.id)

    def pump(self, node: NodeRun) -> None:
        """Let a node take what waits for it, while it can: control first, then data, then telemetry."""
        if node.id in self._pumping or not node.open:
            return
        self._pumping.add(node.id)
        try:
            while not node.blocked:
                edge = self._next_edge(node)
                if edge is None or not node.open:
                    break
                event = edge.queue.poll(self._desk.now)
                self._left(edge)
                if event is not None:
                    node.taker.take(node, edge, event)  # type: ignore[union-attr]
        finally:
            self._pumping.discard(node.id)

    def _next_edge(self, node: NodeRun) -> EdgeRun | None:
        best: EdgeRun | None = None
        best_key: tuple[int, int] = (3, 0)
        for edge in node.inbound:
            if not edge.queue.items:
                continue
            head = edge.queue.head(self._desk.now)
            if edge.queue.notices:
                self.settle(edge)
            if head is None:
                continue
            key = (LANE_RANK[edge.definition.lane], head.sequence)
            if best is None or key < best_key:
                best, best_key = edge, key
        return best

    def poll(self, edge: EdgeRun) -> Event | None:
        """Take the next event from one edge (the sink paces itself)."""
        event = edge.queue.poll(self._desk.now)
        self._left(edge)
        return event

    def _left(self, edge: EdgeRun) -> None:
        """After something left an edge: notices, credits, and a producer that may go on."""
        gate = edge.gate
        if gate.counts:
            amount = gate.delivered(len(edge.queue.items))
            if amount:
                self._tell_grant(edge, amount)
        if edge.queue.notices:
            self.settle(edge)
        if edge.queue.parked and gate.counts:
            self._readmit(edge)
        if not edge.queue.parked:
            self._unblock(edge)

    def _unblock(self, edge: EdgeRun) -> None:
        """An edge takes again: if nothing else blocks its sync producer, that goes on with what waits for it."""
        source = self.nodes[edge.definition.source]
        if source.inbound and source.role is not Role.CALL and not source.blocked:
            source.open = True
            self.pump(source)

    def granted(self, edge: EdgeRun, amount: int) -> None:
        """Give credits to an edge's producer, first to what waits parked."""
        edge.gate.grant(amount)
        self._tell_grant(edge, amount)
        self._readmit(edge)
        self._unblock(edge)

    def _tell_grant(self, edge: EdgeRun, amount: int) -> None:
        self._desk.announce(
            SignalName.CREDIT_GRANT, emitters.FLOW, edge_id=edge.id, lane=edge.definition.lane, amount=amount
        )

    def _readmit(self, edge: EdgeRun) -> None:
        """Let in what waits parked, as far as the credits go."""
        edge.queue.readmit(self._desk.now, edge.gate.room(len(edge.queue.items)))
        if edge.queue.notices:
            self.settle(edge)

    # ---- telling -------------------------------------------------------------------------------------------------

    def _tell(self, edge: EdgeRun, notice: Dropped | Cut | Crossed) -> None:
        desk, lane = self._desk, edge.definition.lane
        if isinstance(notice, Dropped):
            reason = "telemetry_best_effort_drop" if lane is Lane.TELEMETRY else notice.reason
            desk.announce(
                SignalName.DROP_NOTICE,
                emitters.BUFFERS,
                reason=reason,
                edge_id=edge.id,
                lane=lane,
                span=(notice.first, notice.last),
                sync=Sync(sync_id=notice.sync_id) if notice.sync_id else None,
                count=notice.count,
            )
        elif isinstance(notice, Cut):
            desk.announce(
                SignalName.DISCONTINUITY,
                emitters.SYNC,
                reason="sync_drop",
                edge_id=edge.id,
                sync=Sync(domain=notice.domain, discontinuity_id=notice.discontinuity_id),
            )
        else:
            self._crossed(edge, notice)

    def _crossed(self, edge: EdgeRun, notice: Crossed) -> None:
        desk, lane = self._desk, edge.definition.lane
        desk.announce(
            SignalName.WATERMARK,
            emitters.BUFFERS,
            reason=notice.cause if notice.rising else "low",
            edge_id=edge.id,
            lane=lane,
            depth=notice.depth,
            rising=notice.rising,
            action=edge.queue.policy.strategy.value,
        )
        edge.gate.xoff = edge.xoff = notice.rising
        if edge.definition.flow is not FlowMode.CREDIT:
            if notice.rising:
                desk.announce(
                    SignalName.FLOW_XOFF, emitters.FLOW, reason=notice.cause, edge_id=edge.id, lane=lane
                )
            else:
                desk.announce(SignalName.FLOW_XON, emitters.FLOW, edge_id=edge.id, lane=lane)
        if edge.queue.policy.strategy is BufferStrategy.BLOCK:
            for producer in edge.upstream:
                self._throttle(producer, notice.rising)

    # ---- time, turns, fences -------------------------------------------------------------------------------------

    def edge_due(self, edge_id: str) -> None:
        """An edge's own time has come: a block has lasted long enough, or a cadence lets the next item go."""
        edge = self.edges[edge_id]
        edge.queue.shed_blocked(self._desk.now)
        self.settle(edge)
        if edge.target.role is Role.SINK:
            self._arrived()
        else:
            self.pump(edge.target)
        self._unblock(edge)

    def adopt(self, plan: ResolvedTurnPlan) -> None:
        """A turn opens: its edges run under its plan."""
        for edge in self.edges.values():
            if edge.turn_scoped:
                policy = plan.edge_buffer_policies[edge.id]
                if policy is not edge.queue.policy:
                    edge.queue.adopt(policy)

    def fence_turn(self, floor: int) -> int:
        """Silence every edge that carries the turn, at a cost that does not grow with what it carries."""
        silenced = 0
        # From the end backwards: what a node still makes of a drained edge finds its own way already fenced.
        for edge in reversed(self.edges.values()):
            if edge.turn_scoped:
                if edge.definition.on_cancel is OnCancel.DRAIN:
                    self._drain(edge)
                silenced += edge.queue.fence(floor)
                self.settle(edge)
        for node in self.nodes.values():
            if node.held and node.turn_scoped:
                node.held.clear()
        return silenced

    def _drain(self, edge: EdgeRun) -> None:
        """Let a node see what waits for it before the fence falls; to calls and callers nothing goes any more."""
        target = edge.target
        if target.role not in (Role.CALL, Role.SINK):
            for event in edge.queue.empty():
                target.taker.take(target, edge, event)  # type: ignore[union-attr]

    def fence_node(self, node: NodeRun, floor: int) -> int:
        silenced = 0
        for edges in node.out.values():
            for edge in edges:
                silenced += edge.queue.fence(floor)
                self.settle(edge)
        return silenced

    def fence_call(self, node: NodeRun, call_id: str) -> None:
        for edges in node.out.values():
            for edge in edges:
                edge.queue.fence_call(call_id)

    def turn_idle(self) -> bool:
        """Is nothing of the turn waiting on any edge?"""
        for edge in self.edges.values():
            if edge.turn_scoped:
                if edge.queue.items:
                    edge.queue.head(self._desk.now)
                    self.settle(edge)
                if edge.queue.items or edge.queue.parked:
                    return False
        return not any(node.held for node in self.nodes.values() if node.turn_scoped)

    # ---- merge and select ----------------------------------------------------------------------------------------

    def facts_changed(self) -> None:
        """Every select looks again, and says so where its choice changes."""
        for node in self.nodes.values():
            rule = node.definition.select
            if rule is None:
                continue
            chosen = choose(rule, self._desk.facts)
            if chosen != node.selected:
                node.selected = chosen
                self._desk.announce(
                    SignalName.SELECT_SWITCHED,
                    emitters.GRAPH,
                    reason="condition_changed" if chosen is not None else "no_candidate_qualifies",
                    node_id=node.id,
                    to=chosen,
                )

    def merge_due(self, node_id: str) -> None:
        """A merge's window is over: everything held goes on, in the declared order."""
        node = self.nodes[node_id]
        held, node.held = sorted(node.held, key=lambda item: item[0]), []
        for _, event in held:
            self.push(node, node.definition.outputs[0].name, event)


class Joiner:
    """Takes events for merge and select nodes."""

    def __init__(self, desk: Desk, graph: Graph) -> None:
        self._desk = desk
        self._graph = graph

    def take(self, node: NodeRun, edge: EdgeRun, event: Event) -> None:
        if node.role is Role.SELECT:
            if edge.definition.target_port == node.selected:
                self._graph.push(node, node.definition.outputs[0].name, event)
            return
        rule = node.definition.merge
        if rule is None or rule.window_ms == 0:
            self._graph.push(node, node.definition.outputs[0].name, event)
            return
        rank = node.inbound.index(edge)
        node.held.append((merge_key(rule, rank, event), event))
        if len(node.held) == 1:
            self._desk.arm("merge", self._desk.now + rule.window_ms * 1_000_000, node.id)
        elif len(node.held) >= MERGE_HELD_MAX:
            self._desk.disarm("merge", node.id)
            self._graph.merge_due(node.id)
