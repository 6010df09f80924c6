"""The calls of one session: which there are, which is in hand at each node, and how one ends.

Whoever begins, answers, recovers or cancels a call writes here; nothing else knows how many there are. Ended calls are
remembered for a while, so that what comes late is known as late.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from rspp.contract import emitters
from rspp.contract.event import NS_PER_MS, Event, Text
from rspp.contract.signals import SignalName
from rspp.contract.words import AbortReason, CancelScope, OutcomeClass
from rspp.kernel.admission import Admission
from rspp.kernel.calls import Call, CallState, Circuits
from rspp.kernel.desk import Desk
from rspp.kernel.effects import Message
from rspp.kernel.flags import Flag
from rspp.kernel.graph import EdgeRun, Graph, NodeRun
from rspp.kernel.metering import Metering
from rspp.kernel.turn import Turn
from rspp.spec.graph import Lifetime, NodeDefinition, Role

ENDED_MAX: Final = 128


class Owner(Protocol):
    """What this needs of the session that it works for."""

    def turn(self) -> Turn | None: ...
    def history(self) -> tuple[Message, ...]: ...
    def transcript(self, text: Text) -> None: ...
    def capability_lost(self, modality: str, reason: str) -> None: ...
    def capability_back(self, modality: str) -> None: ...
    def turn_failed(self, reason: AbortReason, detail: str) -> None: ...
    def turn_progressed(self) -> None: ...


def acts(node: NodeDefinition) -> bool:
    """Does a call of this node change the world? A tool that does not say does."""
    return node.modality == "external" and bool(node.config.get("has_effects", True))


class CallBook:
    """All calls of one session."""

    graph: Graph  # attached once it is built, before anything is begun
    metering: Metering  # likewise

    def __init__(self, desk: Desk, admission: Admission, owner: Owner) -> None:
        self._desk = desk
        self.admission = admission
        self.owner = owner
        self.policy = desk.policies.calls
        self.circuits = Circuits(self.policy)
        self.calls: dict[str, Call] = {}  # bounded: live ones by the graph's nodes, ended ones by ENDED_MAX
        self.current: dict[str, Call] = {}
        # Nodes whose failed event another node is doing, or will do: they wait, so that outputs stay in order.
        self.standing_in: dict[str, int] = {}  # bounded: by the nodes; node -> its event's number
        self.handed: dict[str, deque[tuple[EdgeRun, Event]]] = {}  # bounded: one event a node that fails
        self.late_dropped = 0

    def node(self, call: Call) -> NodeRun:
        return self.graph.nodes[call.node_id]

    def turn_of(self, call: Call) -> Turn | None:
        """The open turn, if the call belongs to it."""
        turn = self.owner.turn()
        return turn if turn is not None and call.scope.turn_id == turn.id else None

    def turn_busy(self, turn_id: str) -> bool:
        if any(self.handed.values()):
            return True
        return any(call.scope.turn_id == turn_id and call.live for call in self.current.values())

    def ready(self, node: NodeRun) -> bool:
        """May this node of a turn take an event now? What it may not take yet waits on its edge, and is not lost."""
        turn = self.owner.turn()
        if turn is None or turn.fence_floor or turn.conditions or node.id in self.standing_in:
            return False
        if turn.speculative and acts(node.definition):
            return False  # what a guess has done in the world cannot be taken back
        single = node.definition.lifetime is Lifetime.EVENT
        if node.id in self.current:
            return not single
        if single and node.throttles:
            return False  # what it would produce has nowhere to go
        costs = turn.costs
        if turn.speculative and costs.speculative_calls >= costs.caps.speculative_calls_max:
            return False  # until the guess is confirmed
        policy = turn.plan.node_execution_policies.get(node.id, node.definition.policy)
        key, limit = policy.fairness_key or node.id, policy.concurrency_limit
        if not limit or self.admission.in_flight.get(key, 0) < limit:
            return True
        # A cancelled call leaves its place in a moment; one that works is a reason to shed.
        return not any(c.state is CallState.CANCELLING and c.fairness_key == key for c in self.calls.values())

    def go_on(self, node: NodeRun) -> None:
        """Let a node of a turn take what waits for it, if it may: first what a failed node handed to it."""
        node.open = self.ready(node)
        while node.open and node.taker is not None and (handed := self.handed.get(node.id)):
            node.taker.take(node, *handed.popleft())
        self.graph.pump(node)
        doing = {call.event.sequence for call in self.current.values() if call.live and call.event}
        doing.update(event.sequence for waiting in self.handed.values() for _, event in waiting)
        for lender in [who for who, number in self.standing_in.items() if number not in doing]:
            if self.standing_in.pop(lender, None) is not None:
                self.go_on(self.graph.nodes[lender])

    def turn_nodes(self) -> list[NodeRun]:
        return [node for node in self.graph.nodes.values() if node.role is Role.CALL and node.turn_scoped]

    def close(self, call: Call, outcome: OutcomeClass, reason: str, *, pump: bool = True) -> None:
        desk, node = self._desk, self.graph.nodes[call.node_id]
        stopped = call.state is CallState.CANCELLING
        call.end(desk.now, outcome, reason)
        if call.probe and outcome is not OutcomeClass.SUCCESS:
            self.circuits.abandoned(call.provider)
        for kind in ("call", "call.budget", "retry", "grace"):
            desk.disarm(kind, call.id)
        self.admission.done(call.fairness_key)
        desk.fences.release(CancelScope.CALL, call.id, desk.now)
        turn = self.owner.turn()
        if turn is not None and call.scope.turn_id == turn.id:
            turn.outcome_of(call, list_all=Flag.OUTSIDE_DECISIONS_LISTED in desk.flags)
        desk.announce(
            SignalName.CALL_ENDED,
            emitters.CALLS,
            call.scope,
            reason=reason or None,
            node_id=node.id,
            invocation_id=call.id,
            outcome=outcome.value,
            attempts=call.attempt,
            provider=call.provider,
        )
        self.metering.called(call)
        if desk.debugging():
            took_ms = (desk.now - call.started_at) // NS_PER_MS
            how = f"{outcome.value} after {took_ms} ms, {call.attempt} attempts, {call.produced} chunks"
            desk.remark(f"{call.id} of {call.provider}: {how}", call.scope, node.id)
        if self.current.get(node.id) is call:
            del self.current[node.id]
        self._forget()
        if stopped:
            for other in self.turn_nodes():
                if not other.open:
                    self.go_on(other)  # it may have waited for this place
        elif pump and node.turn_scoped:
            self.go_on(node)
            self.owner.turn_progressed()

    def _forget(self) -> None:
        ended = [call.id for call in self.calls.values() if call.state is CallState.ENDED]
        for call_id in ended[: max(0, len(ended) - ENDED_MAX)]:
            del self.calls[call_id]

    def late(self, call: Call | None, call_id: str, why: str) -> None:
        """Output of a call that is over: dropped where it stands, counted, and marked if a cancel made it late."""
        self.late_dropped += 1
        cancelled = call is not None and call.cancel_sent_at is not None
        self._desk.announce(
            SignalName.LATE_OUTPUT_DROPPED,
            emitters.FENCES,
            call.scope if call else None,
            reason=why,
            invocation_id=call_id[:256],
            late=bool(cancelled and call is not None and call.scope.turn_id),
        )
