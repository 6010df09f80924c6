"""An attempt has failed: again, with another provider, by another node, without the capability, or not at all.

What follows is decided in `calls`; here it is done. A provider that makes no progress has failed, whatever it accepted.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from rspp.contract import emitters
from rspp.contract.codes import CODES
from rspp.contract.event import NS_PER_MS
from rspp.contract.signals import SignalName
from rspp.contract.words import AbortReason, CancelReason, OutcomeClass
from rspp.kernel.call_book import CallBook
from rspp.kernel.calls import Call, CallState, Failure, Next, after_failure, scrubbed
from rspp.kernel.cancelling import Cancelling
from rspp.kernel.desk import Desk
from rspp.kernel.dispatch import Dispatch
from rspp.kernel.graph import NodeRun
from rspp.spec.graph import Lifetime, OnFailure, Role

# A node hands over one event at a time and waits for it: this many would be as many nodes with one fallback.
HANDED_MAX: Final = 64


class Recovery:
    """Deals with one session's failed attempts."""

    def __init__(self, desk: Desk, book: CallBook, dispatch: Dispatch, cancelling: Cancelling) -> None:
        self._desk = desk
        self._book = book
        self._dispatch = dispatch
        self._cancelling = cancelling

    def failed(self, call_id: str, attempt: int, failure: Failure) -> None:
        self._cancelling.stopped(call_id, attempt)
        call = self._book.calls.get(call_id)
        if call is None or attempt != call.attempt:
            return
        if call.state is CallState.CANCELLING:
            self._cancelling.acknowledged(call)
            return
        if not call.live:
            return
        self.attempt_failed(call, msgspec.structs.replace(failure, reason=scrubbed(failure.reason)))

    def attempt_failed(self, call: Call, failure: Failure) -> None:
        desk = self._desk
        desk.disarm("call", call.id)
        if call.lasting:
            call.forgive(desk.now, self._book.policy.progress_ms_max)
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
            self._book.circuits.abandoned(call.provider)
        call.probe = False
        following = self._following(call, failure)
        call.decision, call.retryable = following.decision, failure.retryable
        if following.decision == "none":
            self._exhausted(call, failure, following.why)
        else:
            self._again(call, following)

    def _following(self, call: Call, failure: Failure) -> Next:
        turn = self._book.owner.turn() if call.scope.turn_id else None
        actions = turn.plan.allowed_adaptive_actions if turn else self._desk.graph.allowed_adaptive_actions
        left = self._budget_left(call)
        return after_failure(
            call, failure, left, self._book.policy, actions, self._book.circuits.open_at(self._desk.now)
        )

    def _budget_left(self, call: Call) -> int | None:
        turn = self._book.owner.turn() if call.scope.turn_id else None
        return turn.budget_left_ms(self._desk.now) if turn else None

    def _count_circuit(self, call: Call, failure: Failure) -> None:
        if self._book.circuits.failed(self._desk.now, call.provider) == "opened":
            self._desk.announce(
                SignalName.CIRCUIT_EVENT,
                emitters.CALLS,
                call.scope,
                reason="opened",
                provider=call.provider,
                code=failure.code,
                failures=self._book.policy.circuit_failures,
                window_ms=self._book.policy.circuit_window_ms,
                cooldown_ms=self._book.policy.circuit_cooldown_ms,
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
        if call.lasting:
            # What comes meanwhile waits on its edge until the stream stands again.
            self._book.node(call).open = False
        if following.wait_ms:
            desk.arm("retry", desk.now + following.wait_ms * NS_PER_MS, call.id)
        else:
            self._dispatch.attempt(call)

    def _exhausted(self, call: Call, failure: Failure, why: str) -> None:
        """No attempt is left: the node's fallback, a degraded session, or the end of the turn."""
        desk, node = self._desk, self._book.graph.nodes[call.node_id]
        self._book.close(call, failure.outcome, failure.reason or why, pump=False)
        if node.definition.lifetime is Lifetime.SESSION:
            self._book.owner.capability_lost(call.modality, failure.outcome.value)
            self._dispatch.restart_later(node)
            return
        if self._fall_back(node, call, failure):
            pass
        elif call.modality in desk.policies.degrade_on or node.definition.on_failure is OnFailure.DEGRADE:
            self._book.owner.capability_lost(call.modality, failure.outcome.value)
        else:
            self._book.owner.turn_failed(AbortReason.PROVIDER_FAILURE, f"{call.node_id}: {why}")
            return
        self._book.go_on(node)
        self._book.owner.turn_progressed()

    def _fall_back(self, node: NodeRun, call: Call, failure: Failure) -> bool:
        """Hand the event to the node's fallback, if there is one; to a busy one for when it can take it.

        Until that is done the node takes nothing: its next output would overtake its fallback's.
        """
        if node.definition.fallback is None or call.event is None:
            return False
        other = self._book.graph.nodes[node.definition.fallback]
        waits = other.role is Role.CALL and other.turn_scoped and other.id not in self._book.standing_in
        if other.taker is None or not node.inbound or not (other.open or waits):
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
        self._book.standing_in[node.id] = call.event.sequence
        if other.open:
            other.taker.take(other, node.inbound[0], call.event)
        else:
            waiting = self._book.handed.setdefault(other.id, deque(maxlen=HANDED_MAX))
            waiting.append((node.inbound[0], call.event))
        return True

    def call_due(self, call_id: str) -> None:
        """Has this call made progress lately? If not, it has failed, whatever it accepted."""
        call = self._book.calls.get(call_id)
        if call is None or not call.live:
            return
        if call.lasting and call.state is CallState.STREAMING and not call.owed:
            return  # nothing was asked of it, or it has answered
        desk = self._desk
        limit = call.timeout_ms if call.state is CallState.INVOKED else self._book.policy.progress_ms_max
        if call.throttled:
            call.progress_at = desk.now
        due = call.progress_at + limit * NS_PER_MS
        if due > desk.now:
            desk.arm("call", due, call_id)
            return
        self._cancelling.abandon(call, CancelReason.TIMEOUT)
        self.attempt_failed(call, Failure(OutcomeClass.TIMEOUT, "provider_timeout", retryable=True))

    def budget_due(self, call_id: str) -> None:
        """The node's own budget for one event is spent: no retry, but its fallback if it has one."""
        call = self._book.calls.get(call_id)
        if call is None or not call.live:
            return
        desk = self._desk
        desk.announce(
            SignalName.BUDGET_EXHAUSTED, emitters.BUDGETS, call.scope, reason="node", node_id=call.node_id
        )
        if call.state is not CallState.WAITING:
            self._cancelling.abandon(call, CancelReason.TIMEOUT)
        self._exhausted(call, Failure(OutcomeClass.TIMEOUT, "node_budget_exhausted"), "node_budget_exhausted")

    def retry_due(self, call_id: str) -> None:
        call = self._book.calls.get(call_id)
        if call is not None and call.state is CallState.WAITING:
            self._dispatch.attempt(call)
