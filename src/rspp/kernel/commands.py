"""The rarer inputs of a session, each in its few lines: control messages, snapshots, facts, pressure, reports.

Every one of them is checked as what it is: data from outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from rspp.contract import emitters
from rspp.contract.event import NS_PER_MS, Sync, Text
from rspp.contract.signals import SignalName
from rspp.contract.words import (
    AbortReason,
    CancelMode,
    CancelReason,
    CancelScope,
    EventKind,
    PayloadClass,
    SessionState,
)
from rspp.kernel import inputs as i
from rspp.kernel.budgets import Verdict, judge
from rspp.kernel.desk import Desk
from rspp.kernel.flags import Flag
from rspp.kernel.gateway import Refusal

if TYPE_CHECKING:
    from rspp.kernel.session import SessionKernel

# The keys under which a host hands in what it was asked for itself.
HOST_KEYS: Final = "host/"
DIGITS: Final = frozenset("0123456789*#ABCD")
CANCEL_REASONS: Final = {reason.value: reason for reason in CancelReason}


class Commands:
    """What the caller, the host and the control plane say now and then."""

    def __init__(self, desk: Desk, kernel: SessionKernel) -> None:
        self._desk = desk
        self._kernel = kernel

    # ---- from the client -----------------------------------------------------------------------------------------

    def text(self, received: i.TextReceived) -> None:
        """Typed words are an intent of their own, and reach whoever listens for them."""
        k = self._kernel
        if k.connection.state is not SessionState.ACTIVE:
            if k.connection.state is SessionState.DRAINING:
                self._desk.announce(
                    SignalName.LATE_EVENT_DECIDED, emitters.ARBITER, reason="session_draining"
                )
            return
        if not k.gateway.text(received):
            return
        words = Text(received.text, final=True, role="user")
        k.ingest(
            "text", k.gateway.event(EventKind.TEXT, words, PayloadClass.TEXT_RAW, received.transport_sequence)
        )
        if received.text.strip():
            k.turns.intend(received.text.strip(), key=received.idempotency_key)

    def control(self, received: i.ControlReceived) -> None:
        """A control message of the client, by name; a name that is not in the table is refused."""
        k = self._kernel
        if not k.listening() or not self._well_formed(received):
            return
        if not k.gateway.accepts(received):
            return
        if received.signal == "stop":
            self._desk.announce(SignalName.STOP, emitters.FENCES, reason=received.reason)
        if received.signal in ("cancel", "stop"):
            self._cancel(received)
        elif received.signal == "barge_in":
            k.prelude.interrupt("client")
        elif received.signal == "end_of_utterance":
            k.prelude.ended()
        elif received.signal in ("talk_pressed", "talk_released"):
            k.prelude.talk(received.signal == "talk_pressed")
        elif received.signal == "digit":
            self._digit(received.value or "", received.extensions)

    def _well_formed(self, received: i.ControlReceived) -> bool:
        gateway = self._kernel.gateway
        known = ("cancel", "stop", "barge_in", "end_of_utterance", "talk_pressed", "talk_released", "digit")
        refusal: Refusal | None = None
        if received.signal not in known:
            refusal = Refusal("signal_unknown", "signal", f"use one of {', '.join(known)}")
        elif received.reason is not None and received.reason not in CANCEL_REASONS:
            refusal = Refusal("cancel_reason_unknown", "reason", f"use one of {', '.join(CANCEL_REASONS)}")
        elif received.signal == "digit" and (received.value or "") not in DIGITS:
            refusal = Refusal("digit_unknown", "value", "a digit is one of 0-9 * # A-D")
        elif received.signal == "cancel" and received.scope is None:
            refusal = Refusal("field_missing", "scope", "a cancel names its scope")
        elif any("." not in name for name in received.extensions or ()):
            refusal = Refusal("extension_not_namespaced", "extensions", "name extensions like `vendor.field`")
        if refusal is None:
            return True
        gateway.refuse(refusal)
        return False

    def _cancel(self, received: i.ControlReceived) -> None:
        k = self._kernel
        reason = CANCEL_REASONS.get(received.reason or "", CancelReason.USER_CANCEL)
        self._by_operator(received)
        scope = received.scope or CancelScope.TURN
        mode = received.mode or CancelMode.HARD
        if scope is CancelScope.NODE:
            node = k.graph.nodes.get(received.target or "")
            if node is not None:
                mode = received.mode or node.definition.cancel
            done = node is not None and k.work.cancelling.cancel_node(node, reason, mode)
        elif scope is CancelScope.CALL:
            done = k.work.cancelling.cancel_call(received.target or "", reason, mode)
        else:
            done = self._cancel_turn(scope, reason)
        if done and scope in (CancelScope.NODE, CancelScope.CALL):
            self._desk.announce(
                SignalName.CANCEL,
                emitters.FENCES,
                reason=reason.value,
                cancel=scope,
                target=received.target,
                mode=mode.value,
                fence_at_ms=self._desk.now // NS_PER_MS,
            )
        if not done:
            self._desk.announce(
                SignalName.LATE_EVENT_DECIDED,
                emitters.ARBITER,
                reason="nothing_to_cancel",
                scope_asked=scope.value,
            )

    def _by_operator(self, received: i.ControlReceived) -> None:
        """A cancel that the host was asked for is no wish of the caller's."""
        key, turn = received.idempotency_key or "", self._kernel.turn()
        if (
            turn is not None
            and key.startswith(HOST_KEYS)
            and Flag.OUTSIDE_DECISIONS_LISTED in self._desk.flags
        ):
            turn.nondeterminism.note(f"cancel/{key}", "operator_override", "control_received")

    def _cancel_turn(self, scope: CancelScope, reason: CancelReason) -> bool:
        k = self._kernel
        playing = k.egress.playing
        if scope is CancelScope.SESSION:
            k.turns.drop_waiting()
            k.turns.deferred = None
            self._desk.disarm("turn.defer")
        done = k.turns.cancel(scope, reason)
        if playing is not None and playing.terminal is not None:
            k.egress.stop(playing, reason.value)
            k.truncated(playing)
            done = True
        return done

    def _digit(self, digit: str, extensions: dict[str, Any] | None) -> None:
        """A key is a control event, with whatever the transport says of it in fields of its own namespace."""
        k = self._kernel
        event = self._desk.announce(SignalName.DIGIT_PRESSED, emitters.GATEWAY, digit=digit)
        k.ingest("control", msgspec.structs.replace(event, extensions=extensions) if extensions else event)
        k.prelude.keyed(digit)

    def unknown(self, received: i.UnknownReceived) -> None:
        k = self._kernel
        if (
            k.connection.state is SessionState.ACTIVE
            and k.gateway.accepts(received)
            and k.gateway.unknown(received)
        ):
            words = Text("", role="unknown", attributes={"kind": received.kind[:64]})
            event = k.gateway.event(EventKind.TEXT, words, PayloadClass.METADATA, received.transport_sequence)
            k.ingest("text", msgspec.structs.replace(event, extensions=received.extensions))

    def delivery(self, received: i.DeliveryReported) -> None:
        k = self._kernel
        if received.epoch is not None and received.epoch != k.authority.epoch:
            k.gateway.stale(received.epoch, "egress", received.turn_id)
            return
        if received.heard_ms < 0 or received.what not in ("accepted", "started", "position", "completed"):
            k.gateway.refuse(
                Refusal("schema_validation_error", "what", "accepted, started, position or completed")
            )
            return
        k.egress.reported(received.what, received.turn_id, received.heard_ms, received.epoch)
        k.egress.pump()

    def credit(self, received: i.CreditGranted) -> None:
        k = self._kernel
        edge = k.graph.edges.get(received.edge_id)
        if edge is None or received.amount < 1 or not edge.gate.counts:
            k.gateway.refuse(
                Refusal("credit_refused", "amount", "a positive amount, for an edge that counts credits")
            )
            return
        k.graph.granted(edge, received.amount)
        k.graph.pump(edge.target)

    # ---- from providers ------------------------------------------------------------------------------------------

    def produced(self, received: i.CallProduced) -> None:
        self._kernel.work.results.produced(
            received.call_id, received.attempt, received.sequence, received.payload, received.port
        )

    def finished(self, received: i.CallFinished) -> None:
        self._kernel.work.results.finished(received.call_id, received.attempt, received.tokens)

    def grace_due(self, call_id: str) -> None:
        node_id = self._kernel.work.cancelling.grace_due(call_id)
        if node_id is not None:
            self._desk.announce(
                SignalName.DEGRADED,
                emitters.FENCES,
                reason="cancel_forced",
                node_id=node_id,
                capability=node_id,
            )

    # ---- from the control plane, the recorder and the host -------------------------------------------------------

    def snapshot(self, received: i.SnapshotPublished) -> None:
        """A newer view; it holds from the next turn on."""
        k = self._kernel
        known = k.turns.snapshot
        if known is not None and received.snapshot.version < known.version:
            self._desk.announce(SignalName.STATE_REFUSED, emitters.STATE, reason="snapshot_older")
            return
        k.turns.snapshot = received.snapshot
        if received.snapshot.facts:
            self._desk.learn(received.snapshot.facts)
            k.graph.facts_changed()
        k.turns.retry_deferred()

    def snapshot_lost(self, received: i.SnapshotLost) -> None:
        self._kernel.turns.snapshot = None

    def pressed(self, received: i.RecorderPressed) -> None:
        change = self._kernel.levels.pressed(self._desk.now, received.fill, received.export_lag_ms)
        if change is not None:
            self._kernel.level_changed(change)

    def node_raised(self, received: i.NodeRaised) -> None:
        k = self._kernel
        if received.node_id in k.graph.nodes:
            k.steps.failed(received.node_id, received.error, "worker", None)

    def pool(self, received: i.PoolChanged) -> None:
        if received.state in ("open", "saturated", "closed"):
            self._kernel.admission.pool = received.state

    def clock(self, received: i.ClockObserved) -> None:
        desk = self._desk
        seen = desk.timebase.observe(desk.now, received.wall, received.sample_index)
        if seen.rebased:
            desk.announce(SignalName.CLOCK_REBASED, emitters.TIMEBASE, reason="skew", skew_ms=seen.skew_ms)
            desk.announce(
                SignalName.DISCONTINUITY,
                emitters.SYNC,
                reason="clock_rebased",
                sync=Sync(domain="caller.audio", discontinuity_id=f"clock-{desk.timebase.rebases}"),
            )
        elif seen.refused is not None:
            desk.announce(
                SignalName.CLOCK_REBASED, emitters.TIMEBASE, reason=seen.refused, skew_ms=seen.skew_ms
            )

    def fact(self, received: i.FactChanged) -> None:
        self._desk.learn({received.name: received.value})
        self._kernel.graph.facts_changed()

    def measured(self, received: i.NodeMeasured) -> None:
        k = self._kernel
        turn = k.turn()
        k.metering.stepped(received.node_id, received.elapsed_ms, turn.scope if turn else None)
        k.steps.measured(received.node_id, received.elapsed_ms, received.turn_ms)

    def debug(self, received: i.DebugSwitched) -> None:
        desk = self._desk
        desk.debug_until = (received.until or 1 << 62) if received.on else None

    # ---- deadlines of the turn -----------------------------------------------------------------------------------

    def turn_budget_due(self) -> None:
        """No output in the turn's budget: a verdict, in the order degrade, fallback, terminate."""
        turn, desk = self._kernel.turn(), self._desk
        if turn is None or turn.first_output_at is not None:
            return
        limit = turn.plan.budgets.turn_budget_ms
        for name in (SignalName.BUDGET_WARNING, SignalName.BUDGET_EXHAUSTED):
            desk.announce(name, emitters.BUDGETS, turn.scope, reason="turn", limit_ms=limit)
        # Neither a lesser fidelity nor another path can bring back time that is spent: nothing here is degradable.
        verdict = judge(limit, limit, turn.plan.allowed_adaptive_actions, degradable=False, fallback=False)
        if verdict is Verdict.TERMINATE:
            self._kernel.turns.condition(AbortReason.BUDGET_EXHAUSTED, "turn")

    def speculation_due(self) -> None:
        """Nobody confirmed it and nobody took it back: it is taken back."""
        turn = self._kernel.turn()
        if turn is not None and turn.speculative:
            self._desk.announce(
                SignalName.TURN_SUPERSEDED, emitters.PRELUDE, turn.scope, reason="never_confirmed"
            )
            self._kernel.turns.cancel(CancelScope.TURN, CancelReason.TIMEOUT)
