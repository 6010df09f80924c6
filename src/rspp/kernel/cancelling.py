"""A call is stopped: at once for us, as soon as it can for the provider, by force when its grace is over."""

from __future__ import annotations

from rspp.contract import emitters
from rspp.contract.event import NS_PER_MS
from rspp.contract.signals import SignalName
from rspp.contract.words import CancelMode, CancelReason, CancelScope, OutcomeClass
from rspp.kernel.call_book import CallBook
from rspp.kernel.calls import Call, CallState
from rspp.kernel.desk import Desk
from rspp.kernel.effects import CancelCall, KillCall
from rspp.kernel.flags import Flag
from rspp.kernel.graph import NodeRun
from rspp.spec.graph import Role


class Cancelling:
    """Stops one session's calls."""

    def __init__(self, desk: Desk, book: CallBook) -> None:
        self._desk = desk
        self._book = book
        self._abandoned: dict[tuple[str, int], tuple[Call, int]] = {}  # bounded: by attempts within one grace

    def abandon(self, call: Call, reason: CancelReason) -> None:
        """An attempt is given up, its call perhaps not: told to stop, and stopped by force after its own grace."""
        desk = self._desk
        desk.do(CancelCall(call.id, call.attempt, reason, CancelMode.HARD))
        due = desk.now + self._book.policy.cancel_grace_ms * NS_PER_MS
        self._abandoned[call.id, call.attempt] = (call, due)
        self._watch()

    def _watch(self) -> None:
        """One timer for all that was given up, for the earliest: every grace is as long as any other."""
        due = next((due for _, due in self._abandoned.values()), None)
        if due is None:
            self._desk.disarm("grace")
        else:
            self._desk.arm("grace", due)

    def stopped(self, call_id: str, attempt: int) -> None:
        """An attempt has ended, however: if it was given up, nobody has to force it."""
        if self._abandoned.pop((call_id, attempt), None) is not None:
            self._watch()

    def cancel(self, call: Call, reason: CancelReason, mode: CancelMode) -> None:
        """Stop one call: at once for us, as soon as it can for the provider, by force after the grace."""
        desk = self._desk
        if not call.live:
            return
        for kind in ("call", "call.budget", "retry"):
            desk.disarm(kind, call.id)
        if self._book.current.get(call.node_id) is call:
            del self._book.current[call.node_id]
        if call.state is CallState.WAITING or desk.outbox.withdraw(call.id):
            self._book.close(call, OutcomeClass.CANCELLED, "cancel_requested_before_invoke", pump=False)
            return
        # Its outcome is settled by being cancelled, whenever the provider says so.
        call.end(desk.now, OutcomeClass.CANCELLED, "cancelled")
        turn = self._book.owner.turn()
        if turn is not None and call.scope.turn_id == turn.id:
            turn.outcome_of(call, list_all=Flag.OUTSIDE_DECISIONS_LISTED in self._desk.flags)
        call.state = CallState.CANCELLING
        call.soft_left = 1 if mode is CancelMode.SOFT else 0
        call.cancel_sent_at = desk.now
        desk.do(CancelCall(call.id, call.attempt, reason, mode))
        desk.arm("grace", desk.now + self._book.policy.cancel_grace_ms * NS_PER_MS, call.id)

    def cancel_turn(self, turn_id: str, reason: CancelReason) -> None:
        """Stop every call of a turn."""
        for node in self._book.graph.nodes.values():
            if node.turn_scoped and node.role is Role.CALL:
                node.open = False
        for call in list(self._book.calls.values()):
            if call.scope.turn_id == turn_id and call.live:
                self.cancel(call, reason, CancelMode.HARD)

    def cancel_node(self, node: NodeRun, reason: CancelReason, mode: CancelMode) -> bool:
        """Stop what one node is doing now; it goes on with what comes next."""
        call = self._book.current.get(node.id)
        if call is None:
            return False
        if mode is CancelMode.HARD:
            self._book.graph.fence_node(node, self._desk.fences.raise_floor(CancelScope.NODE, node.id))
        self.cancel(call, reason, mode)
        self._go_on(node)
        return True

    def _go_on(self, node: NodeRun) -> None:
        if node.turn_scoped:
            self._book.go_on(node)
        else:
            node.open = True
            self._book.graph.pump(node)
        self._book.owner.turn_progressed()

    def cancel_call(self, call_id: str, reason: CancelReason, mode: CancelMode) -> bool:
        call = self._book.calls.get(call_id)
        if call is None or not call.live:
            return False
        node = self._book.graph.nodes[call.node_id]
        self._desk.fences.raise_floor(CancelScope.CALL, call_id)
        if mode is CancelMode.HARD:
            self._book.graph.fence_call(node, call_id)
        self.cancel(call, reason, mode)
        self._go_on(node)
        return True

    def cancelled(self, call_id: str, attempt: int) -> None:
        """The provider says that it has stopped."""
        self.stopped(call_id, attempt)
        call = self._book.calls.get(call_id)
        if call is not None and call.state is CallState.CANCELLING and attempt == call.attempt:
            self.acknowledged(call)

    def acknowledged(self, call: Call) -> None:
        call.cancel_acked_at = self._desk.now
        self._desk.announce(
            SignalName.CANCEL_ACKNOWLEDGED,
            emitters.CALLS,
            call.scope,
            node_id=call.node_id,
            invocation_id=call.id,
        )
        self._book.close(call, OutcomeClass.CANCELLED, "cancelled", pump=False)
        self._book.owner.turn_progressed()

    def grace_due(self, call_id: str) -> str | None:
        """It did not stop in its grace: it is stopped by force. Returns the node to blame."""
        if not call_id:
            self._force_abandoned()
            return None  # their failures were said when they were given up
        call = self._book.calls.get(call_id)
        if call is None or call.state is not CallState.CANCELLING:
            return None
        self._force(call, call.attempt)
        self._book.close(call, OutcomeClass.CANCELLED, "cancel_forced", pump=False)
        self._book.owner.turn_progressed()
        return call.node_id

    def _force_abandoned(self) -> None:
        for (call_id, attempt), (call, due) in list(self._abandoned.items()):
            if due <= self._desk.now:
                del self._abandoned[call_id, attempt]
                self._force(call, attempt)
        self._watch()

    def _force(self, call: Call, attempt: int) -> None:
        self._desk.do(KillCall(call.id, attempt))
        self._desk.announce(
            SignalName.CANCEL_FORCED,
            emitters.FENCES,
            call.scope,
            reason="cancel_grace_exceeded",
            node_id=call.node_id,
            invocation_id=call.id,
        )

    def end_all(self, reason: CancelReason) -> None:
        """The session is over: nothing is left running."""
        for call in list(self._book.calls.values()):
            self.cancel(call, reason, CancelMode.HARD)
