"""A call begins: admitted, named, bound to its candidates, and asked of the provider; again for each attempt.

Takes the events that come to call nodes. A session's own calls are opened with it, and opened again after a while when
they are lost.
"""

from __future__ import annotations

from rspp.contract import emitters
from rspp.contract.decisions import OutcomeKind, OutcomeScope, Phase
from rspp.contract.event import NS_PER_MS, Event, Text
from rspp.contract.signals import SignalName
from rspp.contract.words import AbortReason, Lane, OutcomeClass
from rspp.kernel.call_book import CallBook
from rspp.kernel.calls import Call
from rspp.kernel.desk import Desk
from rspp.kernel.effects import EndFeed, Feed, Invoke
from rspp.kernel.graph import EdgeRun, NodeRun
from rspp.kernel.identity import invocation_id
from rspp.kernel.spending import Spending
from rspp.kernel.turn import Turn
from rspp.spec.graph import ISOLATED, Lifetime, Role


class Dispatch:
    """Begins one session's calls."""

    def __init__(self, desk: Desk, book: CallBook, spending: Spending) -> None:
        self._desk = desk
        self._book = book
        self._spending = spending
        self._begun = 0

    def take(self, node: NodeRun, edge: EdgeRun, event: Event) -> None:
        """An event has come to a call node that is open for it."""
        definition = node.definition
        if definition.lifetime is Lifetime.EVENT:
            blank = isinstance(event.payload, Text) and not event.payload.text.strip()
            if blank and definition.modality != ISOLATED:
                return  # nothing to say to a model; to a node in its own process the end of a text says something
            self._invoke(node, event)
            return
        call = self._book.current.get(node.id)
        if call is None:
            self._invoke(node, event)
        elif not self._desk.outbox.data(Feed(call.id, event)):
            self._shed(edge, event)
        elif self._book.metering.on and call.modality != "stt":  # that is asked for its words, and says so
            self._book.metering.asked(call)

    def _shed(self, edge: EdgeRun, event: Event) -> None:
        """The data lane out of the kernel is full: what cannot go is accounted for."""
        desk = self._desk
        notice = desk.announce(
            SignalName.DROP_NOTICE,
            emitters.LANES,
            reason="lane_queue_capacity_exceeded",
            edge_id=edge.id,
            lane=Lane.DATA,
            span=(event.sequence, event.sequence),
        )
        desk.announce(
            SignalName.SHED, emitters.ADMISSION, reason="lane_queue_capacity_exceeded", edge_id=edge.id
        )
        self._decide_shed("lane_queue_capacity_exceeded", notice.event_id, None)

    def _decide_shed(self, reason: str, event_id: str, turn_id: str | None) -> None:
        self._desk.decide(
            OutcomeKind.SHED,
            Phase.SCHEDULING_POINT,
            OutcomeScope.NODE_DISPATCH,
            emitters.ADMISSION,
            reason,
            event_id,
            turn_id,
        )

    def start_session_calls(self) -> None:
        """Open the calls that last as long as the session."""
        for node in self._book.graph.nodes.values():
            lasting = node.role is Role.CALL and node.definition.lifetime is Lifetime.SESSION
            if lasting and node.id not in self._book.current:
                self._invoke(node, None)

    def open_turn(self) -> None:
        """A turn is active: its call nodes take events."""
        self._book.standing_in.clear()
        self._book.handed.clear()
        for node in self._book.turn_nodes():
            node.open = self._book.ready(node)

    def go_on(self) -> None:
        """What held the turn's calls back is gone: they take what waits for them."""
        for node in self._book.turn_nodes():
            self._book.go_on(node)

    def _invoke(self, node: NodeRun, event: Event | None) -> None:
        desk, definition = self._desk, node.definition
        turn = self._book.owner.turn() if node.turn_scoped else None
        if node.turn_scoped and turn is None:
            return
        modality = definition.modality or definition.type
        policy = (
            turn.plan.node_execution_policies.get(node.id, definition.policy) if turn else definition.policy
        )
        key = policy.fairness_key or node.id
        refused = self._book.admission.dispatch(key, policy.concurrency_limit)
        if refused is not None:
            self._refused(node, turn, refused)
            return
        self._begun += 1
        what = f"{node.id}-{event.sequence if event else self._begun}"
        scope = turn.scope if turn else desk.scope
        candidates = self._candidates(modality, turn)
        failing = self._book.circuits.open_at(desk.now)
        call = Call(
            id=invocation_id(scope.session_id, scope.turn_id, what, modality),
            node_id=node.id,
            modality=modality,
            scope=scope,
            candidates=candidates,
            candidate=next((at for at, name in enumerate(candidates) if name not in failing), 0),
            generation=desk.fences.generation,
            started_at=desk.now,
            timeout_ms=self._book.policy.provider_timeout_ms,
            fairness_key=key,
            event=event,
            speculative=turn is not None and turn.speculative,
            lasting=definition.lifetime is Lifetime.SESSION,
        )
        self._book.calls[call.id] = self._book.current[node.id] = call
        node.open = definition.lifetime is Lifetime.TURN
        if turn is not None and not self._spending.affordable(turn, call):
            self._book.close(call, OutcomeClass.BLOCKED, "cost_cap_reached")
            return
        if call.speculative:
            # The cap holds back and drops nothing: with its last call begun, the others' events stay queued.
            for other in self._book.turn_nodes():
                other.open = other.open and self._book.ready(other)
        desk.announce(SignalName.CALL_STARTED, emitters.CALLS, scope, node_id=node.id, invocation_id=call.id)
        if definition.budget.per_event_ms is not None:
            desk.arm("call.budget", desk.now + definition.budget.per_event_ms * NS_PER_MS, call.id)
        self.attempt(call)

    def _candidates(self, modality: str, turn: Turn | None) -> tuple[str, ...]:
        if turn is not None and turn.plan is not None:
            found = turn.plan.provider_bindings.get(modality)
        else:
            found = self._desk.graph.providers.get(modality)
        return found or (modality,)

    def _refused(self, node: NodeRun, turn: Turn | None, reason: str) -> None:
        shed = self._desk.announce(
            SignalName.SHED, emitters.ADMISSION, turn.scope if turn else None, reason=reason, node_id=node.id
        )
        self._decide_shed(reason, shed.event_id, turn.id if turn else None)
        if turn is not None:
            self._book.owner.turn_failed(AbortReason(reason), node.id)
        else:
            self.restart_later(node)

    def attempt(self, call: Call) -> None:
        desk = self._desk
        node = self._book.graph.nodes[call.node_id]
        call.probe = self._book.circuits.probe(desk.now, call.provider)
        if call.probe:
            desk.announce(
                SignalName.CIRCUIT_EVENT,
                emitters.CALLS,
                call.scope,
                reason="half_open",
                provider=call.provider,
            )
        call.begin_attempt(desk.now)
        deadline = desk.now + call.timeout_ms * NS_PER_MS
        llm = call.modality == "llm"
        desk.outbox.work(
            Invoke(
                call_id=call.id,
                attempt=call.attempt,
                node_id=call.node_id,
                modality=call.modality,
                provider=call.provider,
                idempotency_key=call.id,
                epoch=call.scope.epoch,
                deadline_at=deadline,
                turn_id=call.scope.turn_id,
                event=call.event,
                history=self._book.owner.history() if llm else (),
                config=node.definition.config,
                speculative=call.speculative,
            )
        )
        desk.arm("call", deadline, call.id)
        if node.definition.lifetime is Lifetime.EVENT:
            desk.outbox.work(EndFeed(call.id))

    def restart_later(self, node: NodeRun) -> None:
        node.open = False
        self._desk.arm(
            "call.restart", self._desk.now + self._book.policy.circuit_cooldown_ms * NS_PER_MS, node.id
        )

    def circuit_reset(self, provider: str) -> None:
        """An operator vouches for the provider: it is called again, and a stream that waits for its time begins at once."""
        desk = self._desk
        if self._book.circuits.reset(provider):
            desk.announce(
                SignalName.CIRCUIT_EVENT, emitters.CALLS, reason="closed", provider=provider, cause="reset"
            )
        waiting = [subject for kind, subject in desk.timers if kind == "call.restart"]
        for node_id in waiting:
            node = self._book.graph.nodes[node_id]
            if provider in self._candidates(node.definition.modality or node.definition.type, None):
                desk.disarm("call.restart", node_id)
                self.restart_due(node_id)

    def restart_due(self, node_id: str) -> None:
        node = self._book.graph.nodes[node_id]
        if node_id not in self._book.current:
            self._invoke(node, None)
