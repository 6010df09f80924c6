"""INV-01 to INV-04, INV-12, INV-14, INV-16: what turns may do, with what evidence, under which plan, for which reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from rspp.contract.decisions import LEGAL, DecisionOutcome, OutcomeKind
from rspp.contract.event import Event, Signal
from rspp.contract.evidence import missing_fields
from rspp.contract.plan import ResolvedTurnPlan
from rspp.contract.transitions import Transition
from rspp.contract.words import SessionState, TurnState
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.invariants.view import TurnSeen, View
from rspp.kernel.lifecycle import SESSION, TURN, SessionTrigger, TurnTrigger
from rspp.kernel.planner import plan_hash

# Abort reason -> what an onlooker must have seen before it, any one of them.
EXPLAINED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "authority_loss": ("revoked", "rotated", "expired", "migrated"),
    "cancelled": ("cancelled",),
    "recording_evidence_unavailable": ("append_failed", "append_overdue"),
    "budget_exhausted": ("budget_exhausted",),
    "provider_failure": ("provider_error",),
    "node_timeout_or_failure": ("node_failed", "budget_exhausted"),
    "transport_disconnect_or_stall": ("cut",),
    "policy_terminated": ("closing", "revoked", "rotated", "expired", "migrated", "cut"),
    "runtime_internal_error": ("error_raised",),
    "execution_pool_saturated": ("shed",),
    "execution_pool_closed": ("shed",),
    "node_concurrency_limited": ("shed",),
    "scheduling_point_shed": ("shed",),
}


class LifecycleChecks:
    """Turns, from outside."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._refused_appends: tuple[str, ...] = ()
        self.on_input: Mapping[type, Callable[..., None]] = {
            i.EvidenceStored: self._stored,
            i.SnapshotPublished: self._snapshot,
            i.SnapshotLost: self._snapshot,
            i.CloseRequested: lambda _: self._cause("closing"),
            i.ConnectionChanged: self._line,
        }
        self.on_effect: Mapping[type, Callable[..., None]] = {
            fx.Record: self._record,
            fx.StoreEvidence: self._asked,
            fx.StoreClose: self._closed_with,
            fx.Invoke: self._invoked,
        }
        self.on_signal: Mapping[str, Callable[[Event, Signal], None]] = {
            "turn_open": self._open,
            "commit": self._terminal,
            "abort": self._terminal,
            "close": self._close,
            "cancel": self._cancelled,
            "budget_exhausted": self._caused,
            "provider_error": self._caused,
            "node_failed": self._caused,
            "shed": self._caused,
            "error_raised": self._caused,
            "evidence_append_failed": self._append_failed,
        }

    # ---- causes --------------------------------------------------------------------------------------------------

    def _cause(self, cause: str) -> None:
        turn = self._view.open_turn
        if cause == "closing":
            self._view.closing = True
        if turn is not None and cause not in turn.causes:
            turn.causes = (*turn.causes, cause)

    def cause(self, cause: str) -> None:
        self._cause(cause)

    def _caused(self, event: Event, signal: Signal) -> None:
        self._cause(signal.signal)

    def _snapshot(self, received: i.SnapshotPublished | i.SnapshotLost) -> None:
        view = self._view
        if isinstance(received, i.SnapshotLost):
            view.snapshot = None
        elif view.snapshot is None or received.snapshot.version >= view.snapshot.version:
            view.snapshot = received.snapshot

    def _line(self, changed: i.ConnectionChanged) -> None:
        self._view.cut = changed.state.value in ("disconnected", "reconnecting", "stall", "ended")
        if self._view.cut:
            self._cause("cut")

    def _append_failed(self, event: Event, signal: Signal) -> None:
        turn = self._view.open_turn
        if turn is not None:
            cause = "append_overdue" if signal.reason == "append_overdue" else "append_failed"
            turn.causes = (*turn.causes, cause)

    # ---- records -------------------------------------------------------------------------------------------------

    def _record(self, effect: fx.Record) -> None:
        entry = effect.entry
        if isinstance(entry, Transition):
            self._transition(entry)
        elif isinstance(entry, ResolvedTurnPlan):
            self._plan(entry)
        else:
            self._decision(entry)

    def _transition(self, entry: Transition) -> None:
        try:
            if entry.machine == "session":
                legal = SESSION.get((SessionState(entry.from_state), SessionTrigger(entry.trigger)))
            else:
                legal = TURN.get((TurnState(entry.from_state), TurnTrigger(entry.trigger)))  # type: ignore[assignment]
        except ValueError:
            legal = None
        if legal is None or legal.value != entry.to_state:
            step = f"{entry.from_state} --{entry.trigger}--> {entry.to_state}"
            self._view.blame("INV-02", "transition_legal", f"{entry.subject}: {step} is not in the table")

    def _decision(self, entry: DecisionOutcome) -> None:
        view = self._view
        scopes = LEGAL.get((entry.outcome_kind, entry.emitted_by), {}).get(entry.phase, ())
        if entry.scope not in scopes:
            view.blame(
                "INV-16", "decision_legal", f"{entry.outcome_kind} by {entry.emitted_by} for {entry.scope}"
            )
        if entry.turn_id is None:
            return
        if entry.outcome_kind is OutcomeKind.ADMIT:
            view.turn(entry.turn_id).admitted = True

    def _plan(self, plan: ResolvedTurnPlan) -> None:
        view, turn = self._view, self._view.turn(plan.turn_id)
        if turn.plan is not None:
            view.blame("INV-12", "plan_frozen_once", f"{plan.turn_id} has a second plan")
        if plan_hash(plan) != plan.plan_hash:
            view.blame("INV-12", "plan_hash_true", f"{plan.turn_id}: the hash is not that of the plan")
        turn.plan = plan

    # ---- opening, ending -----------------------------------------------------------------------------------------

    def _open(self, event: Event, signal: Signal) -> None:
        view = self._view
        turn = view.turn(event.scope.turn_id or "")
        if not turn.admitted:
            view.blame("INV-01", "open_admitted", f"{turn.id} opened without an admission")
        if turn.plan is None:
            view.blame("INV-01", "open_planned", f"{turn.id} opened without a plan")
        elif turn.plan.authority_epoch != view.epoch:
            view.blame("INV-01", "open_epoch", f"{turn.id} opened under epoch {turn.plan.authority_epoch}")
        elif (signal.detail or {}).get("plan_hash") != turn.plan.plan_hash:
            view.blame(
                "INV-12", "open_plan_hash", f"{turn.id} opened under another plan than the one recorded"
            )
        if not view.held():
            view.blame("INV-01", "open_authorised", f"{turn.id} opened without authority")
        self._open_view(turn)
        if turn.opened:
            view.blame("INV-02", "open_once", f"{turn.id} opened twice")
        if view.open_turn is not None:
            view.blame("INV-02", "one_open_turn", f"{turn.id} opened while {view.open_turn.id} is open")
        turn.opened = True
        view.open_turn = turn
        if view.cut:
            self._cause("cut")
        if view.closing:
            self._cause("closing")

    def _open_view(self, turn: TurnSeen) -> None:
        view, age_max = self._view, self._view.graph.policies.limits.snapshot_age_ms_max
        snapshot = view.snapshot
        if snapshot is None or not snapshot.compatible:
            view.blame(
                "INV-01", "open_snapshot", f"{turn.id} opened without a usable view of the control plane"
            )
        elif view.now - snapshot.taken_at > age_max * 1_000_000:
            view.blame("INV-01", "open_snapshot", f"{turn.id} opened on a view that is too old")
        elif snapshot.capacity != "allow":
            view.blame(
                "INV-01", "open_capacity", f"{turn.id} opened although the capacity says {snapshot.capacity}"
            )

    def _cancelled(self, event: Event, signal: Signal) -> None:
        if event.scope.turn_id is None:
            return
        turn = self._view.turn(event.scope.turn_id)
        turn.cancelled = True
        turn.causes = (*turn.causes, "cancelled")

    def _terminal(self, event: Event, signal: Signal) -> None:
        view = self._view
        turn = view.turn(event.scope.turn_id or "")
        if not turn.opened:
            view.blame(
                "INV-03", "terminal_of_accepted", f"{signal.signal} of {turn.id or 'no turn'}, never opened"
            )
            return
        if turn.terminal is not None:
            view.blame("INV-04", "one_terminal", f"{turn.id}: {signal.signal} after {turn.terminal}")
            return
        turn.terminal = signal.signal
        if not view.revoked and view.now >= view.expires_at:
            self._cause("expired")
        self._evidence_of(turn, signal)
        if signal.signal == "commit":
            self._may_commit(turn)
        else:
            self._explained(turn, signal.reason or "")

    def _may_commit(self, turn: TurnSeen) -> None:
        view = self._view
        if turn.cancelled:
            view.blame("INV-04", "precedence", f"{turn.id} committed after an accepted cancel")
        if not view.held() or "rotated" in turn.causes:
            view.blame("INV-11", "commit_authority", f"{turn.id} committed without authority")
        busy = [
            c.id
            for c in view.calls.values()
            if c.turn_id == turn.id and not c.ended and c.cancel_sent_at is None
        ]
        if busy:
            view.blame("INV-02", "commit_when_done", f"{turn.id} committed while {busy[0]} was running")

    def _explained(self, turn: TurnSeen, reason: str) -> None:
        causes = EXPLAINED_BY.get(reason)
        if causes is None:
            self._view.blame("INV-16", "abort_reason_known", f"{turn.id} aborted for {reason!r}")
        elif not any(cause in turn.causes for cause in causes):
            self._view.blame(
                "INV-16", "abort_explained", f"{turn.id} aborted for {reason}; nothing seen explains it"
            )
        if "authority" not in reason and any(
            c in turn.causes for c in ("revoked", "rotated", "expired", "migrated")
        ):
            self._view.blame("INV-04", "precedence", f"{turn.id} lost its authority but aborted for {reason}")

    def _close(self, event: Event, signal: Signal) -> None:
        view = self._view
        turn = view.turn(event.scope.turn_id or "")
        if not turn.opened:
            view.blame("INV-03", "close_of_accepted", f"close of {turn.id}, which was never opened")
        elif turn.terminal is None:
            view.blame("INV-02", "terminal_before_close", f"{turn.id} closed without a terminal")
        if turn.closed:
            view.blame("INV-04", "one_close", f"{turn.id} closed twice")
        turn.closed = True
        if view.open_turn is turn:
            view.open_turn = None

    # ---- evidence ------------------------------------------------------------------------------------------------

    def _asked(self, effect: fx.StoreEvidence) -> None:
        turn = self._view.turn(effect.evidence.turn_id)
        turn.asked = {**turn.asked, effect.record_id: effect.evidence}
        turn.last_evidence = effect.evidence
        turn.asked_at = self._view.now

    def _stored(self, answer: i.EvidenceStored) -> None:
        turn = self._view.open_turn
        if turn is None or answer.record_id not in turn.asked:
            return
        if answer.ok:
            turn.stored = (*turn.stored, answer.record_id)
        else:
            turn.failed_appends += 1

    def _evidence_of(self, turn: TurnSeen, signal: Signal) -> None:
        view = self._view
        if signal.signal == "commit":
            stored = [turn.asked[name] for name in turn.stored]
            if not any(record.terminal_outcome == "commit" for record in stored):
                view.blame(
                    "INV-14", "evidence_before_commit", f"{turn.id} committed before its evidence was stored"
                )
            return
        record = turn.last_evidence
        if record is None:
            view.blame("INV-14", "evidence_before_abort", f"{turn.id} aborted without evidence")
        elif record.terminal_outcome != "abort" or record.terminal_reason != signal.reason:
            said = f"{record.terminal_outcome}({record.terminal_reason})"
            view.blame(
                "INV-14", "evidence_true", f"{turn.id}: abort({signal.reason}), but the evidence says {said}"
            )

    def _closed_with(self, effect: fx.StoreClose) -> None:
        view = self._view
        turn = view.turn(effect.stamp.turn_id)
        if turn.last_evidence is None:
            view.blame("INV-14", "evidence_whole", f"{turn.id} closed without evidence")
            return
        missing = missing_fields(turn.last_evidence, effect.stamp)
        if missing:
            view.blame("INV-14", "evidence_whole", f"{turn.id} lacks {', '.join(missing)}")
        record, plan = turn.last_evidence, turn.plan
        if plan is not None and (record.plan_hash, record.determinism_seed) != (
            plan.plan_hash,
            plan.determinism.seed,
        ):
            view.blame("INV-14", "evidence_true", f"{turn.id}: the evidence is of another plan")
        if turn.cancelled and record.cancel_accepted_at is None:
            view.blame(
                "INV-14", "evidence_of_cancel", f"{turn.id} was cancelled, its evidence does not say so"
            )

    # ---- plan in force -------------------------------------------------------------------------------------------

    def _invoked(self, effect: fx.Invoke) -> None:
        if effect.turn_id is None:
            return
        view, turn = self._view, self._view.turn(effect.turn_id)
        if turn.plan is None or turn.terminal is not None or turn.cancelled:
            view.blame("INV-02", "work_in_turn", f"{effect.call_id} invoked outside the life of {turn.id}")
            return
        bound = turn.plan.provider_bindings.get(effect.modality)
        if bound is not None and effect.provider not in bound:
            view.blame(
                "INV-12", "provider_of_plan", f"{effect.call_id} uses {effect.provider}, planned were {bound}"
            )
        if effect.epoch != turn.plan.authority_epoch:
            view.blame("INV-11", "call_epoch", f"{effect.call_id} carries epoch {effect.epoch}")
        if effect.deadline_at is not None:
            timeout = (effect.deadline_at - view.now) // 1_000_000
            if timeout > turn.plan.provider_timeout_ms:
                view.blame("INV-12", "timeout_of_plan", f"{effect.call_id} may take {timeout} ms")

    def watch(self) -> None:
        """An evidence that is asked for is not waited for longer than its deadline."""
        view, turn = self._view, self._view.open_turn
        if turn is None or turn.asked_at is None or turn.terminal is not None:
            return
        bound = (view.graph.policies.limits.evidence_append_ms_max + 50) * 1_000_000
        if view.now - turn.asked_at > bound:
            view.blame("INV-07", "evidence_deadline", f"{turn.id} waits for its evidence beyond the deadline")
            turn.asked_at = None

    def finish(self) -> None:
        """The session is over: every accepted turn has its terminal and its close."""
        for turn in self._view.turns.values():
            if turn.opened and turn.terminal is None:
                self._view.blame("INV-04", "terminal_at_end", f"{turn.id} never had a terminal")
            elif turn.opened and not turn.closed:
                self._view.blame("INV-04", "close_at_end", f"{turn.id} was never closed")
