"""Sync nodes on the graph: an event goes in, outputs go on in the same step, a failure stays with its node.

What follows a failure is declared with the node: its fallback takes the event, the event goes to the dead letters, the
session goes on degraded, or the turn ends. A budget's verdict on a node comes later, from the host's meter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from rspp.contract import emitters
from rspp.contract.errors import MisuseError
from rspp.contract.event import Event, Scope
from rspp.contract.signals import SignalName
from rspp.contract.words import AbortReason, CancelReason, EventKind
from rspp.kernel.budgets import Verdict, judge
from rspp.kernel.desk import Desk
from rspp.kernel.effects import DeadLetter, SaveState, StopNode
from rspp.kernel.graph import EdgeRun, Graph, NodeRun
from rspp.kernel.hosting import CLASS_OF, KIND_OF, Failed, Hosted, NodeFactory, Output
from rspp.kernel.state import State
from rspp.kernel.turn import Turn
from rspp.spec.graph import OnFailure, Role


class Owner(Protocol):
    """What this needs of the session."""

    def turn(self) -> Turn | None: ...
    def turn_failed(self, reason: AbortReason, detail: str) -> None: ...
    def capability_lost(self, modality: str, reason: str) -> None: ...


class Steps:
    """All sync nodes of one session."""

    def __init__(self, desk: Desk, state: State, factories: Mapping[str, NodeFactory], owner: Owner) -> None:
        self._desk = desk
        self._owner = owner
        self.graph: Graph | None = None
        self._hosted: dict[str, Hosted] = {}
        self._diverted: dict[str, str] = {}  # a node over its budget, and who takes its events now
        budget_ms = desk.graph.budgets.node_budget_ms_default
        for node in desk.graph.nodes:
            if node.role is not Role.SYNC:
                continue
            factory = factories.get(node.type)
            if factory is None:
                known = ", ".join(sorted(factories)) or "none"
                raise MisuseError(
                    "node_type_unknown", f"no node type {node.type!r} is registered; known: {known}", node.id
                )
            self._hosted[node.id] = Hosted(
                node, factory(node.config), state, node.budget.per_event_ms or budget_ms
            )

    # ---- hooks ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        assert self.graph is not None
        for node_id, hosted in self._hosted.items():
            node = self.graph.nodes[node_id]
            node.open = True
            self._after(node, None, hosted.start(self._desk.now, self._desk.scope))

    def stop(self) -> None:
        for node_id, hosted in self._hosted.items():
            hosted.stop(self._desk.now, self._desk.scope)
            self._desk.do(StopNode(node_id))

    def open_turn(self, turn: Turn) -> None:
        self._diverted.clear()  # a budget overrun says something of its turn, not of the next
        for hosted in self._hosted.values():
            hosted.reseed(turn.plan.determinism.seed)

    def cancel_turn(self, scope: Scope, reason: CancelReason) -> None:
        """Every turn-scoped node learns that its turn is over, and forgets what it held of it."""
        assert self.graph is not None
        for node_id, hosted in self._hosted.items():
            node = self.graph.nodes[node_id]
            if node.turn_scoped:
                self._after(node, None, hosted.cancel(self._desk.now, scope, reason))
                node.open = True
                self._desk.announce(SignalName.CANCEL_ACKNOWLEDGED, emitters.HOSTING, scope, node_id=node_id)

    def barge_in(self, scope: Scope) -> None:
        """The caller takes the floor: every node is told, before anything of the turn is cancelled."""
        self._tell(tuple(self._hosted), "on_barge_in", scope)

    def _tell(self, node_ids: tuple[str, ...], hook: str, scope: Scope, *arguments: object) -> None:
        assert self.graph is not None
        for node_id in node_ids:
            hosted = self._hosted.get(node_id)
            if hosted is not None:
                self._after(
                    self.graph.nodes[node_id], None, hosted.told(hook, self._desk.now, scope, *arguments)
                )

    def take(self, node: NodeRun, edge: EdgeRun, event: Event) -> None:
        diverted = self._diverted.get(node.id)
        if diverted is not None:
            assert self.graph is not None
            other = self.graph.nodes[diverted]
            if other.taker is not None and other.open:
                other.taker.take(other, edge, event)
                return
        result = self._hosted[node.id].step(self._desk.now, event.scope, edge.definition.target_port, event)
        self._after(node, event, result)
        if node.blocked:
            node.open = False

    # ---- what a step gave ----------------------------------------------------------------------------------------

    def _after(self, node: NodeRun, event: Event | None, result: list[Output] | Failed) -> None:
        desk = self._desk
        for saved in self._hosted[node.id].context.take_saves():
            desk.do(SaveState(saved.key, saved.value, saved.revision, desk.scope.epoch))
        if isinstance(result, Failed):
            self.failed(node.id, result.error, result.hook, event)
            return
        assert self.graph is not None
        for output in result:
            kind = KIND_OF[type(output.payload)]
            scope = event.scope if event else desk.scope
            if output.port == "":
                if kind is EventKind.METRICS or desk.debugging():
                    desk.offer_telemetry(kind, output.payload, scope, node.id)
                continue
            out = Event(
                scope,
                kind,
                desk.number(),
                desk.now,
                output.payload,
                CLASS_OF[type(output.payload)],
                # What an event caused is no younger than it: a fence silences both.
                event.generation if event else desk.fences.generation,
                node.id,
                None,
                event.sequence if event else None,
                None,
                event.invocation_id if event else None,
            )
            self.graph.push(node, output.port, out)

    def failed(self, node_id: str, error: str, hook: str, event: Event | None) -> None:
        """One node has failed; nobody else has."""
        assert self.graph is not None
        desk, node = self._desk, self.graph.nodes[node_id]
        scope = event.scope if event else None
        desk.announce(
            SignalName.NODE_FAILED, emitters.HOSTING, scope, reason=error[:64], node_id=node_id, hook=hook
        )
        desk.announce(
            SignalName.ERROR_RAISED,
            emitters.HOSTING,
            scope,
            reason="runtime_internal_error",
            node_id=node_id,
            code="runtime_internal_error",
            message=f"{hook} of the node failed: {error[:64]}",
            retryable=False,
        )
        definition = node.definition
        if (
            definition.fallback is not None
            and event is not None
            and self._fall_back(node, definition.fallback, event)
        ):
            pass
        elif definition.on_failure is OnFailure.DEAD_LETTER and event is not None:
            desk.do(DeadLetter(node_id, error[:64], event))
            desk.announce(
                SignalName.DEAD_LETTERED, emitters.HOSTING, scope, reason=error[:64], node_id=node_id
            )
        elif definition.on_failure is OnFailure.DEGRADE or not node.turn_scoped:
            self._owner.capability_lost(node_id, "node_failed")
        else:
            self._owner.turn_failed(AbortReason.NODE_TIMEOUT_OR_FAILURE, node_id)

    def _fall_back(self, node: NodeRun, other: str, event: Event) -> bool:
        """The node's fallback takes the event, if it can."""
        assert self.graph is not None
        target = self.graph.nodes[other]
        if target.taker is None or not target.open or not node.inbound:
            return False
        self._desk.announce(
            SignalName.FALLBACK_ACTIVATED,
            emitters.GRAPH,
            event.scope,
            reason="error",
            node_id=node.id,
            to=other,
        )
        target.taker.take(target, node.inbound[0], event)
        return True

    # ---- what it cost --------------------------------------------------------------------------------------------

    def measured(self, node_id: str, elapsed_ms: int, turn_ms: int) -> None:
        """The host's meter has spoken: a soft budget asks for a verdict, a declared one is acted upon."""
        assert self.graph is not None
        node = self.graph.nodes.get(node_id)
        if node is None:
            return
        budget = node.definition.budget
        turn = self._owner.turn()
        plan = turn.plan if turn else None
        default = (plan.budgets if plan else self._desk.graph.budgets).node_budget_ms_default
        allowed = plan.allowed_adaptive_actions if plan else self._desk.graph.allowed_adaptive_actions
        spent, limit = elapsed_ms, budget.per_event_ms or default
        if budget.per_turn_ms is not None and turn_ms >= budget.per_turn_ms:
            spent, limit = turn_ms, budget.per_turn_ms
        declared = budget.per_event_ms is not None or budget.per_turn_ms is not None
        degradable = node.definition.on_failure is OnFailure.DEGRADE
        verdict = judge(
            spent, limit, allowed, degradable=degradable, fallback=node.definition.fallback is not None
        )
        if verdict not in (Verdict.CONTINUE, Verdict.WARN):
            self._overran(node, turn, verdict, spent, limit, declared)

    def _overran(
        self, node: NodeRun, turn: Turn | None, verdict: Verdict, spent: int, limit: int, declared: bool
    ) -> None:
        desk = self._desk
        scope = turn.scope if turn else None
        self._tell((node.id,), "on_budget_exhausted", scope or desk.scope, verdict.value)
        for name in (SignalName.BUDGET_WARNING, SignalName.BUDGET_EXHAUSTED):
            desk.announce(
                name, emitters.BUDGETS, scope, reason="node", node_id=node.id, spent_ms=spent, limit_ms=limit
            )
        if verdict is Verdict.DEGRADE:
            desk.announce(SignalName.DEGRADE, emitters.BUDGETS, scope, reason="node_budget", node_id=node.id)
            self._owner.capability_lost(node.id, "node_budget")
        elif verdict is Verdict.FALLBACK and node.definition.fallback is not None:
            desk.announce(SignalName.FALLBACK, emitters.BUDGETS, scope, reason="node_budget", node_id=node.id)
            desk.announce(
                SignalName.FALLBACK_ACTIVATED,
                emitters.GRAPH,
                scope,
                reason="timeout",
                node_id=node.id,
                to=node.definition.fallback,
            )
            self._diverted[node.id] = node.definition.fallback
        elif declared and turn is not None:
            self._owner.turn_failed(AbortReason.NODE_TIMEOUT_OR_FAILURE, node.id)
