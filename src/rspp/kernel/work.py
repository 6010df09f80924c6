"""Provider calls and async nodes in a session: asked for, fed, watched, retried, cancelled, accounted for.

The machine of one call is in `calls`; here it is wired to the graph, the turn and the timers. A turn's calls end with
their turn. A session's own calls (recognition, voice activity) are begun again when they fail, and the session says
that it is degraded meanwhile. Keeps INV-09's provider half.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from rspp.contract import emitters
from rspp.contract.codes import CODES
from rspp.contract.decisions import OutcomeKind, OutcomeScope, Phase
from rspp.contract.event import NS_PER_MS, Audio, Event, Note, Sample, Text
from rspp.contract.signals import SignalName
from rspp.contract.words import (
    AbortReason,
    CancelMode,
    CancelReason,
    CancelScope,
    Codec,
    EventKind,
    Lane,
    OutcomeClass,
    PayloadClass,
)
from rspp.kernel.admission import Admission
from rspp.kernel.calls import Call, CallState, Circuits, Failure, Next, after_failure, malformed, scrubbed
from rspp.kernel.desk import Desk
from rspp.kernel.effects import CancelCall, EndFeed, Feed, Invoke, KillCall, Message, Throttle
from rspp.kernel.graph import EdgeRun, Graph, NodeRun
from rspp.kernel.hosting import CLASS_OF, KIND_OF
from rspp.kernel.identity import invocation_id
from rspp.kernel.turn import Turn
from rspp.spec.graph import Lifetime, OnFailure, Role

# Ended calls remembered so that what comes late is known as late.
ENDED_MAX: Final = 128
LISTENERS: Final = ("vad", "end_of_turn")


class Owner(Protocol):
    """What this needs of the session that it works for."""

    def turn(self) -> Turn | None: ...
    def history(self) -> tuple[Message, ...]: ...
    def transcript(self, text: Text) -> None: ...
    def capability_lost(self, modality: str, reason: str) -> None: ...
    def capability_back(self, modality: str) -> None: ...
    def turn_failed(self, reason: AbortReason, detail: str) -> None: ...
    def turn_progressed(self) -> None: ...


class Work:
    """All calls of one session."""

    def __init__(self, desk: Desk, admission: Admission, owner: Owner) -> None:
        self._desk = desk
        self._admission = admission
        self._owner = owner
        self._policy = desk.policies.calls
        self.circuits = Circuits(self._policy)
        self.graph: Graph | None = None
        self.calls: dict[str, Call] = {}  # bounded: live ones by the graph's nodes, ended ones by ENDED_MAX
        self._current: dict[str, Call] = {}
        self._begun = 0
        self.late_dropped = 0

    # ---- taking events -------------------------------------------------------------------------------------------

    def take(self, node: NodeRun, edge: EdgeRun, event: Event) -> None:
        """An event has come to a call node that is open for it."""
        definition = node.definition
        if definition.lifetime is Lifetime.EVENT:
            if isinstance(event.payload, Text) and not event.payload.text.strip():
                return
            self._invoke(node, event)
            return
        call = self._current.get(node.id)
        if call is None:
            self._invoke(node, event)
        elif not self._desk.outbox.data(Feed(call.id, event)):
            self._shed(edge, event)

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

    # ---- beginning -----------------------------------------------------------------------------------------------

    def start_session_calls(self) -> None:
        """Open the calls that last as long as the session."""
        assert self.graph is not None
        for node in self.graph.nodes.values():
            lasting = node.role is Role.CALL and node.definition.lifetime is Lifetime.SESSION
            if lasting and node.id not in self._current:
                self._invoke(node, None)

    def open_turn(self) -> None:
        """A turn is active: its call nodes take events."""
        assert self.graph is not None
        for node in self.graph.nodes.values():
            if node.role is Role.CALL and node.turn_scoped:
                node.open = True

    def _invoke(self, node: NodeRun, event: Event | None) -> None:
        desk, definition = self._desk, node.definition
        turn = self._owner.turn() if node.turn_scoped else None
        if node.turn_scoped and turn is None:
            return
        modality = definition.modality or definition.type
        policy = (
            turn.plan.node_execution_policies.get(node.id, definition.policy) if turn else definition.policy
        )
        key = policy.fairness_key or node.id
        refused = self._admission.dispatch(key, policy.concurrency_limit)
        if refused is not None:
            self._refused(node, turn, refused)
            return
        self._begun += 1
        what = f"{node.id}-{event.sequence if event else self._begun}"
        scope = turn.scope if turn else desk.scope
        candidates = self._candidates(modality, turn)
        failing = self.circuits.open_at(desk.now)
        call = Call(
            id=invocation_id(scope.session_id, scope.turn_id, what, modality),
            node_id=node.id,
            modality=modality,
            scope=scope,
            candidates=candidates,
            candidate=next((at for at, name in enumerate(candidates) if name not in failing), 0),
            generation=desk.fences.generation,
            started_at=desk.now,
            timeout_ms=self._policy.provider_timeout_ms,
            fairness_key=key,
            event=event,
            speculative=turn is not None and turn.speculative,
        )
        self.calls[call.id] = self._current[node.id] = call
        node.open = definition.lifetime is Lifetime.TURN
        if turn is not None and not self._affordable(turn, call):
            self._close(call, OutcomeClass.BLOCKED, "cost_cap_reached")
            return
        desk.announce(SignalName.CALL_STARTED, emitters.CALLS, scope, node_id=node.id, invocation_id=call.id)
        if definition.budget.per_event_ms is not None:
            desk.arm("call.budget", desk.now + definition.budget.per_event_ms * NS_PER_MS, call.id)
        self._attempt(call)

    def _candidates(self, modality: str, turn: Turn | None) -> tuple[str, ...]:
        if turn is not None and turn.plan is not None:
            found = turn.plan.provider_bindings.get(modality)
        else:
            found = self._desk.graph.providers.get(modality)
        return found or (modality,)

    def _affordable(self, turn: Turn, call: Call) -> bool:
        """Hold the call to the turn's cost caps; what exceeds them is cut or not done, and said."""
        costs = turn.costs
        if call.speculative and not costs.take_speculative_call():
            self._cap(turn, "speculative_calls_max", costs.caps.speculative_calls_max)
            return False
        if call.modality == "llm" and costs.spent("tokens_max"):
            self._cap(turn, "tokens_max", costs.caps.tokens_max)
            return False
        if call.modality != "tts" or call.event is None or not isinstance(call.event.payload, Text):
            return True
        text = call.event.payload.text
        allowed = costs.take_characters(len(text))
        if allowed < len(text):
            self._cap(turn, "characters_max", costs.caps.characters_max)
            if allowed == 0 or costs.caps.on_cap != "truncate":
                return False
            payload = msgspec.structs.replace(call.event.payload, text=text[:allowed])
            call.event = msgspec.structs.replace(call.event, payload=payload)
            text = text[:allowed]
        turn.playout.speaking(call.id, text)
        return True

    def _cap(self, turn: Turn, cap: str, amount: int) -> None:
        if turn.costs.first_time(cap):
            self._desk.announce(
                SignalName.CAP_REACHED, emitters.BUDGETS, turn.scope, reason=cap, amount=None, cap=amount
            )

    def _refused(self, node: NodeRun, turn: Turn | None, reason: str) -> None:
        shed = self._desk.announce(
            SignalName.SHED, emitters.ADMISSION, turn.scope if turn else None, reason=reason, node_id=node.id
        )
        self._decide_shed(reason, shed.event_id, turn.id if turn else None)
        if turn is not None:
            self._owner.turn_failed(AbortReason(reason), node.id)
        else:
            self._restart_later(node)

    def _attempt(self, call: Call) -> None:
        desk = self._desk
        assert self.graph is not None
        node = self.graph.nodes[call.node_id]
        call.probe = self.circuits.probe(desk.now, call.provider)
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
                history=self._owner.history() if llm else (),
                config=node.definition.config,
                speculative=call.speculative,
            )
        )
        desk.arm("call", deadline, call.id)
        if node.definition.lifetime is Lifetime.EVENT:
            desk.outbox.work(EndFeed(call.id))

    # ---- what comes back -----------------------------------------------------------------------------------------

    def accepted(self, call_id: str, attempt: int) -> None:
        call = self.calls.get(call_id)
        if call is None or not call.live or attempt != call.attempt:
            return
        assert self.graph is not None
        node = self.graph.nodes[call.node_id]
        if node.definition.lifetime is Lifetime.SESSION:
            # It is fed all along; silence means nothing until something is asked of it.
            call.state = CallState.STREAMING
            self._desk.disarm("call", call_id)
            node.open = True
            self._owner.capability_back(call.modality)
            self.graph.pump(node)

    def produced(
        self,
        call_id: str,
        attempt: int,
        sequence: int,
        payload: Audio | Text | Sample | Note,
        port: str | None,
    ) -> None:
        """A chunk of output: check it, then send it on its way."""
        desk = self._desk
        call = self.calls.get(call_id)
        if call is None:
            self._late(None, call_id, "call_unknown")
            return
        broken = malformed(payload)
        if broken is not None and call.live and attempt == call.attempt:
            desk.do(CancelCall(call.id, call.attempt, CancelReason.PROVIDER_ERROR, CancelMode.HARD))
            self._attempt_failed(call, Failure(OutcomeClass.INFRASTRUCTURE_FAILURE, broken))
            return
        soft = call.state is CallState.CANCELLING and call.soft_left > 0 and broken is None
        if soft:
            call.soft_left -= 1
        else:
            refused = call.take_chunk(desk.now, attempt, sequence)
            if refused is not None:
                self._late(call, call_id, refused)
                return
        if call.modality == "stt" and isinstance(payload, Text):
            self._transcribed(call, payload)
            return
        self._forward(call, payload, port)

    def _forward(self, call: Call, payload: Audio | Text | Sample | Note, port: str | None) -> None:
        assert self.graph is not None
        desk, node = self._desk, self.graph.nodes[call.node_id]
        kind = KIND_OF.get(type(payload))
        if kind is None:
            return
        turn = self._owner.turn() if call.scope.turn_id is not None else None
        if turn is not None and isinstance(payload, (Audio, Text)):
            kept = self._within_caps(turn, call, payload)
            if kept is None:
                return
            payload = kept
        if isinstance(payload, Audio):
            if turn is not None:
                turn.playout.produced(call.id, payload.samples, payload.rate)
        elif kind is EventKind.METRICS or kind is EventKind.DEBUG:
            if kind is EventKind.METRICS or desk.debugging():
                desk.offer_telemetry(kind, payload, call.scope, node.id)
            return
        event = Event(
            call.scope,
            kind,
            desk.number(),
            desk.now,
            payload,
            CLASS_OF[type(payload)],
            call.generation,
            node.id,
            None,
            call.event.sequence if call.event else None,
            None,
            call.id,
        )
        if port is None:
            port = self._port(node, kind)
        if port is not None:
            self.graph.push(node, port, event)

    def _within_caps(self, turn: Turn, call: Call, payload: Audio | Text) -> Audio | Text | None:
        """As much of a chunk as the turn's caps still allow; None where that is nothing."""
        costs = turn.costs
        if isinstance(payload, Text):
            if call.modality != "llm" or not payload.text:
                return payload
            # A chunk is a token at least; the provider's own count corrects it at the end.
            call.tokens += 1
            if costs.take_tokens(1):
                return payload
            self._cap(turn, "tokens_max", costs.caps.tokens_max)
            return None
        if not costs.caps.audio_ms_max or not payload.samples:
            return payload
        ms = payload.samples * 1000 // payload.rate
        allowed = costs.take_audio(ms)
        if allowed == ms:
            return payload
        self._cap(turn, "audio_ms_max", costs.caps.audio_ms_max)
        if allowed == 0 or costs.caps.on_cap != "truncate" or payload.codec is not Codec.PCM16:
            return None
        samples = allowed * payload.rate // 1000
        data = payload.data[: samples * 2 * payload.channels]
        return msgspec.structs.replace(payload, data=data, samples=samples)

    def _port(self, node: NodeRun, kind: EventKind) -> str | None:
        for port in node.definition.outputs:
            if kind in port.kinds:
                return port.name
        return None

    def _transcribed(self, call: Call, text: Text) -> None:
        """Partials go on at once; a final is the listener's, who says when it becomes a turn's words."""
        assert self.graph is not None
        desk = self._desk
        refused = call.take_text(text)
        if refused is not None:
            desk.announce(
                SignalName.ERROR_RAISED,
                emitters.CALLS,
                reason="schema_validation_error",
                node_id=call.node_id,
                invocation_id=call.id,
                code=refused,
                retryable=False,
                segment=text.segment,
                revision=text.revision,
            )
            return
        if not text.final:
            node = self.graph.nodes[call.node_id]
            event = desk.event(
                EventKind.TEXT, text, PayloadClass.TEXT_RAW, call.scope, node.id, None, call.id
            )
            self.graph.push(node, "partial", event)
        self._owner.transcript(text)

    def finished(self, call_id: str, attempt: int, tokens: int) -> None:
        call = self.calls.get(call_id)
        if call is None or not call.live or attempt != call.attempt:
            if call is not None and call.state is CallState.CANCELLING:
                self._acknowledged(call)
            return
        desk = self._desk
        self._admission.spent(desk.now, tokens)
        turn = self._owner.turn()
        uncounted = tokens - call.tokens
        if turn is not None and uncounted > 0 and turn.costs.take_tokens(uncounted) < uncounted:
            self._cap(turn, "tokens_max", turn.costs.caps.tokens_max)
        if self.circuits.succeeded(call.provider) == "closed":
            desk.announce(
                SignalName.CIRCUIT_EVENT, emitters.CALLS, call.scope, reason="closed", provider=call.provider
            )
        assert self.graph is not None
        node = self.graph.nodes[call.node_id]
        if turn is not None:
            turn.playout.finished(call.id)
        if self._port(node, EventKind.TEXT) and call.scope.turn_id is not None:
            # Whoever collects text downstream learns that no more is coming.
            self._forward(call, Text("", final=True, role="assistant"), None)
        self._close(call, OutcomeClass.SUCCESS, "")

    def failed(self, call_id: str, attempt: int, failure: Failure) -> None:
        call = self.calls.get(call_id)
        if call is None or attempt != call.attempt:
            return
        if call.state is CallState.CANCELLING:
            self._acknowledged(call)
            return
        if not call.live:
            return
        self._attempt_failed(call, msgspec.structs.replace(failure, reason=scrubbed(failure.reason)))

    def _attempt_failed(self, call: Call, failure: Failure) -> None:
        desk = self._desk
        desk.disarm("call", call.id)
        desk.announce(
            SignalName.PROVIDER_ERROR,
            emitters.CALLS,
            call.scope,
            reason=failure.outcome.value,
            node_id=call.node_id,
            invocation_id=call.id,
            provider=call.provider,
            attempt=call.attempt,
            cause=failure.reason,
            code=failure.code,
            message=CODES[failure.code].meaning if failure.code in CODES else failure.outcome.value,
            retryable=failure.retryable,
            budget_left_ms=self._budget_left(call),
        )
        if failure.circuit or failure.outcome is OutcomeClass.TIMEOUT:
            self._count_circuit(call, failure)
        elif call.probe:
            self.circuits.abandoned(call.provider)
        call.probe = False
        following = self._following(call, failure)
        call.decision, call.retryable = following.decision, failure.retryable
        if following.decision == "none":
            self._exhausted(call, failure, following.why)
        else:
            self._again(call, following)

    def _following(self, call: Call, failure: Failure) -> Next:
        turn = self._owner.turn() if call.scope.turn_id else None
        actions = turn.plan.allowed_adaptive_actions if turn else self._desk.graph.allowed_adaptive_actions
        left = self._budget_left(call)
        return after_failure(
            call, failure, left, self._policy, actions, self.circuits.open_at(self._desk.now)
        )

    def _budget_left(self, call: Call) -> int | None:
        turn = self._owner.turn() if call.scope.turn_id else None
        return turn.budget_left_ms(self._desk.now) if turn else None

    def _count_circuit(self, call: Call, failure: Failure) -> None:
        if self.circuits.failed(self._desk.now, call.provider) == "opened":
            self._desk.announce(
                SignalName.CIRCUIT_EVENT,
                emitters.CALLS,
                call.scope,
                reason="opened",
                provider=call.provider,
                code=failure.code,
                failures=self._policy.circuit_failures,
                window_ms=self._policy.circuit_window_ms,
                cooldown_ms=self._policy.circuit_cooldown_ms,
            )

    def _again(self, call: Call, following: Next) -> None:
        desk = self._desk
        if following.decision == "provider_switch":
            before = call.provider
            call.candidate, call.attempts_here = following.candidate, 0
            desk.announce(
                SignalName.PROVIDER_SWITCH,
                emitters.CALLS,
                call.scope,
                reason="attempts_exhausted",
                node_id=call.node_id,
                invocation_id=call.id,
                previous=before,
                provider=call.provider,
            )
        call.state = CallState.WAITING
        if following.wait_ms:
            desk.arm("retry", desk.now + following.wait_ms * NS_PER_MS, call.id)
        else:
            self._attempt(call)

    def _exhausted(self, call: Call, failure: Failure, why: str) -> None:
        """No attempt is left: the node's fallback, a degraded session, or the end of the turn."""
        assert self.graph is not None
        desk, node = self._desk, self.graph.nodes[call.node_id]
        self._close(call, failure.outcome, failure.reason or why, pump=False)
        if node.definition.lifetime is Lifetime.SESSION:
            self._owner.capability_lost(call.modality, failure.outcome.value)
            self._restart_later(node)
            return
        if self._fall_back(node, call, failure):
            pass
        elif call.modality in desk.policies.degrade_on or node.definition.on_failure is OnFailure.DEGRADE:
            self._owner.capability_lost(call.modality, failure.outcome.value)
        else:
            self._owner.turn_failed(AbortReason.PROVIDER_FAILURE, f"{call.node_id}: {why}")
            return
        node.open = True
        self.graph.pump(node)
        self._owner.turn_progressed()

    def _fall_back(self, node: NodeRun, call: Call, failure: Failure) -> bool:
        """Hand the event to the node's fallback, if there is one and it can take it now."""
        assert self.graph is not None
        if node.definition.fallback is None or call.event is None:
            return False
        other = self.graph.nodes[node.definition.fallback]
        if other.taker is None or not other.open or not node.inbound:
            return False
        timeout = failure.outcome is OutcomeClass.TIMEOUT
        self._desk.announce(
            SignalName.FALLBACK_ACTIVATED,
            emitters.GRAPH,
            call.scope,
            reason="timeout" if timeout else "error",
            node_id=node.id,
            to=other.id,
            cause=failure.reason,
            provider=call.provider,
        )
        other.taker.take(other, node.inbound[0], call.event)
        return True

    def _restart_later(self, node: NodeRun) -> None:
        node.open = False
        self._desk.arm("call.restart", self._desk.now + self._policy.circuit_cooldown_ms * NS_PER_MS, node.id)

    # ---- ending --------------------------------------------------------------------------------------------------

    def _close(self, call: Call, outcome: OutcomeClass, reason: str, *, pump: bool = True) -> None:
        assert self.graph is not None
        desk, node = self._desk, self.graph.nodes[call.node_id]
        call.end(desk.now, outcome, reason)
        if call.probe and outcome is not OutcomeClass.SUCCESS:
            self.circuits.abandoned(call.provider)
        for kind in ("call", "call.budget", "retry", "grace"):
            desk.disarm(kind, call.id)
        self._admission.done(call.fairness_key)
        desk.fences.release(CancelScope.CALL, call.id, desk.now)
        turn = self._owner.turn()
        if turn is not None and call.scope.turn_id == turn.id:
            turn.outcome_of(call)
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
        if self._current.get(node.id) is call:
            del self._current[node.id]
        self._forget()
        if pump and node.turn_scoped:
            node.open = turn is not None and call.scope.turn_id == turn.id
            self.graph.pump(node)
            self._owner.turn_progressed()

    def _forget(self) -> None:
        ended = [call.id for call in self.calls.values() if call.state is CallState.ENDED]
        for call_id in ended[: max(0, len(ended) - ENDED_MAX)]:
            del self.calls[call_id]

    def _late(self, call: Call | None, call_id: str, why: str) -> None:
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

    # ---- cancelling ----------------------------------------------------------------------------------------------

    def cancel(self, call: Call, reason: CancelReason, mode: CancelMode) -> None:
        """Stop one call: at once for us, as soon as it can for the provider, by force after the grace."""
        desk = self._desk
        if not call.live:
            return
        for kind in ("call", "call.budget", "retry"):
            desk.disarm(kind, call.id)
        if self._current.get(call.node_id) is call:
            del self._current[call.node_id]
        if call.state is CallState.WAITING or desk.outbox.withdraw(call.id):
            self._close(call, OutcomeClass.CANCELLED, "cancel_requested_before_invoke", pump=False)
            return
        # Its outcome is settled by being cancelled, whenever the provider says so.
        call.end(desk.now, OutcomeClass.CANCELLED, "cancelled")
        turn = self._owner.turn()
        if turn is not None and call.scope.turn_id == turn.id:
            turn.outcome_of(call)
        call.state = CallState.CANCELLING
        call.soft_left = 1 if mode is CancelMode.SOFT else 0
        call.cancel_sent_at = desk.now
        desk.do(CancelCall(call.id, call.attempt, reason, mode))
        desk.arm("grace", desk.now + self._policy.cancel_grace_ms * NS_PER_MS, call.id)

    def cancel_turn(self, turn_id: str, reason: CancelReason) -> None:
        """Stop every call of a turn."""
        assert self.graph is not None
        for node in self.graph.nodes.values():
            if node.turn_scoped and node.role is Role.CALL:
                node.open = False
        for call in list(self.calls.values()):
            if call.scope.turn_id == turn_id and call.live:
                self.cancel(call, reason, CancelMode.HARD)

    def cancel_node(self, node: NodeRun, reason: CancelReason, mode: CancelMode) -> bool:
        """Stop what one node is doing now; it goes on with what comes next."""
        assert self.graph is not None
        call = self._current.get(node.id)
        if call is None:
            return False
        if mode is CancelMode.HARD:
            self.graph.fence_node(node, self._desk.fences.raise_floor(CancelScope.NODE, node.id))
        self.cancel(call, reason, mode)
        node.open = True
        self.graph.pump(node)
        self._owner.turn_progressed()
        return True

    def cancel_call(self, call_id: str, reason: CancelReason, mode: CancelMode) -> bool:
        assert self.graph is not None
        call = self.calls.get(call_id)
        if call is None or not call.live:
            return False
        node = self.graph.nodes[call.node_id]
        self._desk.fences.raise_floor(CancelScope.CALL, call_id)
        if mode is CancelMode.HARD:
            self.graph.fence_call(node, call_id)
        self.cancel(call, reason, mode)
        node.open = True
        self.graph.pump(node)
        self._owner.turn_progressed()
        return True

    def cancelled(self, call_id: str, attempt: int) -> None:
        """The provider says that it has stopped."""
        call = self.calls.get(call_id)
        if call is not None and call.state is CallState.CANCELLING and attempt == call.attempt:
            self._acknowledged(call)

    def _acknowledged(self, call: Call) -> None:
        call.cancel_acked_at = self._desk.now
        self._desk.announce(
            SignalName.CANCEL_ACKNOWLEDGED,
            emitters.CALLS,
            call.scope,
            node_id=call.node_id,
            invocation_id=call.id,
        )
        self._close(call, OutcomeClass.CANCELLED, "cancelled", pump=False)
        self._owner.turn_progressed()

    # ---- time ----------------------------------------------------------------------------------------------------

    def call_due(self, call_id: str) -> None:
        """Has this call made progress lately? If not, it has failed, whatever it accepted."""
        call = self.calls.get(call_id)
        if call is None or not call.live:
            return
        desk = self._desk
        limit = call.timeout_ms if call.state is CallState.INVOKED else self._policy.progress_ms_max
        if call.throttled:
            call.progress_at = desk.now
        due = call.progress_at + limit * NS_PER_MS
        if due > desk.now:
            desk.arm("call", due, call_id)
            return
        desk.do(CancelCall(call.id, call.attempt, CancelReason.TIMEOUT, CancelMode.HARD))
        self._attempt_failed(call, Failure(OutcomeClass.TIMEOUT, "provider_timeout", retryable=True))

    def budget_due(self, call_id: str) -> None:
        """The node's own budget for one event is spent: no retry, but its fallback if it has one."""
        call = self.calls.get(call_id)
        if call is None or not call.live:
            return
        desk = self._desk
        desk.announce(
            SignalName.BUDGET_EXHAUSTED, emitters.BUDGETS, call.scope, reason="node", node_id=call.node_id
        )
        if call.state is not CallState.WAITING:
            desk.do(CancelCall(call.id, call.attempt, CancelReason.TIMEOUT, CancelMode.HARD))
        self._exhausted(call, Failure(OutcomeClass.TIMEOUT, "node_budget_exhausted"), "node_budget_exhausted")

    def retry_due(self, call_id: str) -> None:
        call = self.calls.get(call_id)
        if call is not None and call.state is CallState.WAITING:
            self._attempt(call)

    def grace_due(self, call_id: str) -> str | None:
        """It did not stop in its grace: it is stopped by force. Returns the node to blame."""
        call = self.calls.get(call_id)
        if call is None or call.state is not CallState.CANCELLING:
            return None
        desk = self._desk
        desk.do(KillCall(call.id, call.attempt))
        desk.announce(
            SignalName.CANCEL_FORCED,
            emitters.FENCES,
            call.scope,
            reason="cancel_grace_exceeded",
            node_id=call.node_id,
            invocation_id=call.id,
        )
        self._close(call, OutcomeClass.CANCELLED, "cancel_forced", pump=False)
        self._owner.turn_progressed()
        return call.node_id

    def restart_due(self, node_id: str) -> None:
        assert self.graph is not None
        node = self.graph.nodes[node_id]
        if node_id not in self._current:
            self._invoke(node, None)

    # ---- pressure and ends ---------------------------------------------------------------------------------------

    def throttle(self, node: NodeRun, on: bool) -> None:
        """An edge below a call is full (or has room again): tell the call once, however many edges say so."""
        node.throttles += 1 if on else -1
        node.throttles = max(0, node.throttles)
        call = self._current.get(node.id)
        if call is None or not call.live or call.throttled == (node.throttles > 0):
            return
        call.throttled = node.throttles > 0
        call.progress_at = self._desk.now
        self._desk.do(Throttle(call.id, call.throttled))

    def finalise(self) -> None:
        """Ask the recognisers for their finals."""
        for call in self._current.values():
            if call.modality == "stt" and call.live:
                self._desk.outbox.work(EndFeed(call.id, last=False))

    def end_all(self, reason: CancelReason) -> None:
        """The session is over: nothing is left running."""
        for call in list(self.calls.values()):
            self.cancel(call, reason, CancelMode.HARD)

    def turn_busy(self, turn_id: str) -> bool:
        return any(call.scope.turn_id == turn_id and call.live for call in self._current.values())
