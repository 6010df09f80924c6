"""From an intent to a closed turn: gates, plan, open, work, evidence, one terminal, close. In this order or not at all.

    propose -> [snapshot, capacity, epoch, authorisation, lease] -> plan -> admit record -> turn_open
    settle  -> store evidence -> (taken) commit or abort -> close -> store the close stamp

A refused intent leaves no turn behind. The terminal is sent only after the recorder took its evidence; while it is
asked, a stronger condition may still take over. Keeps INV-01 to INV-04, INV-12 and INV-14.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

import msgspec

from rspp.contract import emitters
from rspp.contract.decisions import OutcomeKind, OutcomeScope, Phase
from rspp.contract.event import NS_PER_MS
from rspp.contract.signals import SignalName
from rspp.contract.transitions import Transition
from rspp.contract.words import AbortReason, CancelReason, CancelScope, OverlapPolicy, TurnState
from rspp.kernel.admission import Admission
from rspp.kernel.arbiter import RANK_OF, OnIntent, Rank, on_intent, strongest
from rspp.kernel.authority import Authority
from rspp.kernel.budgets import Costs
from rspp.kernel.desk import Desk
from rspp.kernel.effects import StoreClose, StoreEvidence
from rspp.kernel.evidence import close_stamp, terminal_record
from rspp.kernel.identity import turn_id
from rspp.kernel.lifecycle import REFUSED_TURN, TURN, TurnTrigger, step
from rspp.kernel.planner import PlanFailure, build
from rspp.kernel.playout import Playout
from rspp.kernel.snapshot import Snapshot
from rspp.kernel.turn import Cancelled, Intent, Turn

CLOSED_MAX: Final = 16  # closed turns remembered, for what comes late

# What a turn's calls are told when it ends without a cancellation; what is not here came from outside.
CALLS_END_FOR: Final = {
    AbortReason.BUDGET_EXHAUSTED: CancelReason.TIMEOUT,
    AbortReason.PROVIDER_FAILURE: CancelReason.PROVIDER_ERROR,
    AbortReason.NODE_TIMEOUT_OR_FAILURE: CancelReason.PROVIDER_ERROR,
    AbortReason.RUNTIME_INTERNAL_ERROR: CancelReason.PROVIDER_ERROR,
}
REFUSALS: Final = {
    OutcomeKind.REJECT: (SignalName.REJECT, TurnTrigger.REJECT, emitters.ADMISSION),
    OutcomeKind.DEFER: (SignalName.DEFER, TurnTrigger.DEFER, emitters.ADMISSION),
    OutcomeKind.STALE_EPOCH_REJECT: (SignalName.STALE_EPOCH_REJECT, TurnTrigger.STALE, emitters.AUTHORITY),
    OutcomeKind.DEAUTHORIZED_DRAIN: (
        SignalName.DEAUTHORIZED_DRAIN,
        TurnTrigger.DEAUTHORIZED,
        emitters.AUTHORITY,
    ),
}


class Owner(Protocol):
    """What this needs of the session whose turns these are."""

    def accepting(self) -> bool: ...
    def speaking(self) -> bool: ...
    def capabilities(self) -> dict[str, tuple[str, ...]]: ...
    def open_circuits(self) -> frozenset[str]: ...
    def degraded(self) -> tuple[str, ...]: ...
    def turn_opened(self, turn: Turn) -> None: ...
    def silence(self, turn: Turn, reason: CancelReason, why: str) -> None: ...
    def turn_settling(self, turn: Turn) -> None: ...
    def turn_closed(self, turn: Turn) -> None: ...
    def generated(self, turn: Turn) -> bool: ...
    def turn_confirmed(self) -> None: ...


class Turns:
    """A session's turns: one open at a time, some intents waiting, the last few remembered."""

    def __init__(self, desk: Desk, authority: Authority, admission: Admission, owner: Owner) -> None:
        self._desk = desk
        self._authority = authority
        self._admission = admission
        self._owner = owner
        self._limits = desk.policies.limits
        self.snapshot: Snapshot | None = desk.request.snapshot
        self.current: Turn | None = None
        self.closed: deque[Turn] = deque(maxlen=CLOSED_MAX)
        self.waiting: deque[Intent] = deque(maxlen=max(1, self._limits.queued_intents_max))
        self.deferred: Intent | None = None
        self.idle_state = TurnState.IDLE
        self._ordinal = desk.request.next_turn - 1
        self._successor = False  # did another process own the session before?
        self.last_closed_at = 0

    @property
    def next_ordinal(self) -> int:
        return self._ordinal + 1

    def unanswered_keys(self) -> frozenset[str]:
        """The keys of words that no turn has closed over: whoever says them again is not repeating an effect."""
        open_now = () if self.current is None or self.current.terminal is not None else (self.current.intent,)
        intents = (*self.waiting, *open_now, *(() if self.deferred is None else (self.deferred,)))
        return frozenset(intent.key for intent in intents if intent.key is not None)

    def find(self, wanted: str) -> Turn | None:
        if self.current is not None and self.current.id == wanted:
            return self.current
        return next((turn for turn in self.closed if turn.id == wanted), None)

    # ---- before a turn exists ------------------------------------------------------------------------------------

    def intend(self, text: str, **about: object) -> None:
        """Somebody wants a turn: propose it now, or do with it what the overlap policy says."""
        desk = self._desk
        event = desk.announce(SignalName.TURN_OPEN_PROPOSED, emitters.PRELUDE, candidate=self._candidate())
        intent = msgspec.structs.replace(Intent(text, desk.now, event.event_id), **about)
        self._overlap(intent)

    def _overlap(self, intent: Intent) -> None:
        desk = self._desk
        turn = self.current
        if turn is not None and turn.conditions:
            # It is ending already: what comes now is simply next, and the newest wish is the one that counts.
            self.drop_waiting()
            self.waiting.append(intent)
            return
        busy = turn is not None or self._waits_for_sound(intent)
        choice = on_intent(self._policy(intent), busy, len(self.waiting), self._limits.queued_intents_max)
        if choice is not OnIntent.OPEN:
            desk.announce(SignalName.OVERLAP_DECIDED, emitters.ARBITER, reason=choice.value)
        if choice is OnIntent.REFUSE:
            return
        if choice is OnIntent.PREEMPT and turn is not None:
            self.drop_waiting()
            self.waiting.append(intent)
            self.cancel(CancelScope.TURN, CancelReason.BARGE_IN)
            return
        if choice is OnIntent.QUEUE:
            self.waiting.append(intent)
            desk.announce(SignalName.INTENT_QUEUED, emitters.ARBITER, waiting=len(self.waiting))
            return
        self._open(intent)

    def _policy(self, intent: Intent) -> OverlapPolicy:
        """Who yields interrupts nobody, but is not turned away for it."""
        policy = self._desk.policies.overlap
        return OverlapPolicy.QUEUE if intent.yields and policy is OverlapPolicy.PREEMPT else policy

    def _waits_for_sound(self, intent: Intent) -> bool:
        """What queues waits for the last turn to be heard, not only for it to be over."""
        return self._policy(intent) is OverlapPolicy.QUEUE and self._owner.speaking()

    def drop_waiting(self) -> None:
        """None of those that wait will be a turn; each is told."""
        while self.waiting:
            self.waiting.popleft()
            self._superseded("intent_superseded")

    def forget_speculative(self, utterance: int) -> None:
        """The words of a guess were taken back before it was a turn: it shall not become one."""
        for intent in [i for i in self.waiting if i.speculative and i.utterance == utterance]:
            self.waiting.remove(intent)
            self._superseded("intent_superseded")
        if self.deferred and self.deferred.speculative and self.deferred.utterance == utterance:
            self._drop_deferred()

    def _drop_deferred(self) -> None:
        self.deferred = None
        self._desk.disarm("turn.defer")
        self._superseded("deferred_intent_superseded")

    def _superseded(self, reason: str) -> None:
        self._desk.announce(SignalName.OVERLAP_DECIDED, emitters.ARBITER, reason=reason)

    def _candidate(self) -> str:
        epoch = self._desk.scope.epoch if self._successor else None
        return turn_id(self._desk.scope.session_id, self._ordinal + 1, epoch)

    def succeed(self, next_turn: object) -> None:
        """Go on counting where the last owner stopped, under names that it cannot have given."""
        self._successor = True
        if isinstance(next_turn, int) and next_turn > self._ordinal:
            self._ordinal = next_turn - 1

    def _open(self, intent: Intent) -> None:
        desk = self._desk
        if self.deferred is not None:
            # One wish at a time: the newer one counts, and the older is not forgotten without a word.
            self._drop_deferred()
        self._move_idle(TurnTrigger.PROPOSED)
        refused = self._gates()
        if refused is not None:
            self._refuse(intent, *refused)
            return
        assert self.snapshot is not None
        plan = build(
            desk.graph,
            self.snapshot,
            self._candidate(),
            desk.scope.pipeline_version,
            self._authority.epoch,
            self._owner.open_circuits(),
            self._owner.capabilities(),
            self._owner.degraded(),
        )
        if isinstance(plan, PlanFailure):
            kind = OutcomeKind.REJECT if desk.policies.bad_snapshot == "reject" else OutcomeKind.DEFER
            self._refuse(intent, kind, plan.reason)
            return
        self._ordinal += 1
        scope = msgspec.structs.replace(desk.scope, turn_id=plan.turn_id)
        playout = Playout(plan.turn_id, desk.policies.playout, desk.request.reports_playback)
        turn = Turn(plan.turn_id, intent, scope, plan, desk.now, playout, Costs(desk.policies.caps))
        self._accept(turn)

    def _gates(self) -> tuple[OutcomeKind, str] | None:
        """The gates before a turn, in their order; the first that refuses decides."""
        desk, authority = self._desk, self._authority
        gate = self._admission.snapshot_gate(
            desk.now, self.snapshot, self._limits.snapshot_age_ms_max, desk.policies.bad_snapshot
        )
        if gate is None and self.snapshot is not None:
            gate = self._admission.capacity_gate(desk.now, self.snapshot)
        if gate is not None:
            return gate.kind, gate.reason
        if authority.epoch != desk.scope.epoch:
            return OutcomeKind.STALE_EPOCH_REJECT, "authority_epoch_mismatch"
        if not authority.held or desk.now >= authority.expires_at or not self._owner.accepting():
            return OutcomeKind.DEAUTHORIZED_DRAIN, "authority_revoked_before_open"
        return None

    def _refuse(self, intent: Intent, kind: OutcomeKind, reason: str) -> None:
        """Refused before it was a turn: one record, one signal, and no terminal, ever."""
        desk = self._desk
        name, trigger, by = REFUSALS[kind]
        desk.decide(kind, Phase.PRE_TURN, OutcomeScope.SESSION, by, reason, intent.event_id)
        desk.announce(name, by, reason=reason)
        self._move_idle(trigger)
        if kind is OutcomeKind.DEFER and intent.tries < self._limits.defer_tries_max:
            self.deferred = msgspec.structs.replace(intent, tries=intent.tries + 1)
            desk.arm("turn.defer", desk.now + self._limits.defer_retry_ms * NS_PER_MS)
        elif kind is OutcomeKind.DEFER:
            self._refuse_for_good(intent, reason)

    def _refuse_for_good(self, intent: Intent, reason: str) -> None:
        desk = self._desk
        desk.decide(
            OutcomeKind.REJECT,
            Phase.PRE_TURN,
            OutcomeScope.SESSION,
            emitters.ADMISSION,
            reason,
            intent.event_id,
        )
        desk.announce(SignalName.REJECT, emitters.ADMISSION, reason=reason, tries=intent.tries)

    def retry_deferred(self) -> None:
        """Its time has come, or the view it lacked has."""
        intent, self.deferred = self.deferred, None
        self._desk.disarm("turn.defer")
        if intent is not None:
            self._overlap(intent)

    def _move_idle(self, trigger: TurnTrigger, subject: str | None = None) -> None:
        """The part of the turn's table that belongs to the session: Idle and Opening."""
        before, after = self.idle_state, step(TURN, self.idle_state, trigger)
        subject = subject or self._candidate()
        if after is None:
            self.refuse_transition(subject, before, trigger)
            return
        self._desk.record(Transition("turn", subject, before.value, trigger.value, after.value))
        self.idle_state = after

    # ---- opening -------------------------------------------------------------------------------------------------

    def _accept(self, turn: Turn) -> None:
        desk = self._desk
        turn.admission = desk.decide(
            OutcomeKind.ADMIT,
            Phase.PRE_TURN,
            OutcomeScope.TURN,
            emitters.ADMISSION,
            "admission_capacity_allow",
            turn.intent.event_id,
            turn.id,
        )
        turn.decided(turn.admission)
        desk.announce(SignalName.ADMIT, emitters.ADMISSION, reason="admission_capacity_allow")
        self._admission.admitted(desk.now)
        desk.record(turn.plan)
        plan = turn.plan
        desk.announce(SignalName.PLAN_RESOLVED, emitters.PLANNER, turn.scope, plan_hash=plan.plan_hash)
        desk.announce(
            SignalName.DETERMINISM_MARKED,
            emitters.DETERMINISM,
            turn.scope,
            seed=plan.determinism.seed,
            merge_rule=f"{plan.determinism.merge_rule_id}@{plan.determinism.merge_rule_version}",
        )
        self.current = turn
        self._move_idle(TurnTrigger.OPEN, turn.id)
        turn.state, self.idle_state = TurnState.ACTIVE, TurnState.IDLE
        desk.announce(
            SignalName.TURN_OPEN,
            emitters.ARBITER,
            turn.scope,
            ordinal=self._ordinal,
            speculative=turn.speculative,
            plan_hash=plan.plan_hash,
        )
        if not turn.speculative:
            self._arm_budget(turn)
        else:
            # An unconfirmed turn is not a state to be stuck in.
            settings = desk.policies.turn_taking
            desk.arm(
                "turn.speculation",
                desk.now + (settings.silence_ms_max + settings.final_wait_ms_max) * 2 * NS_PER_MS,
            )
        self._owner.turn_opened(turn)

    def _arm_budget(self, turn: Turn) -> None:
        desk = self._desk
        left = turn.plan.budgets.turn_budget_ms
        desk.arm("turn.budget", turn.budget_from + left * NS_PER_MS, turn.id)

    def confirm(self) -> None:
        """The speculation was right: the turn is a turn like any other, and its budget begins."""
        turn = self.current
        if turn is None or not turn.speculative:
            return
        turn.speculative = False
        turn.budget_from = self._desk.now
        self._desk.disarm("turn.speculation")
        self._desk.announce(SignalName.TURN_CONFIRMED, emitters.PRELUDE, turn.scope)
        self._arm_budget(turn)
        self._owner.turn_confirmed()

    # ---- ending --------------------------------------------------------------------------------------------------

    def condition(self, reason: AbortReason, detail: str = "") -> None:
        """Something that ends the turn has happened; the strongest at the end of the step owns the ending."""
        turn = self.current
        if turn is not None and turn.terminal is None:
            turn.conditions.setdefault(RANK_OF[reason], (reason, detail))

    def cancel(self, scope: CancelScope, reason: CancelReason) -> bool:
        """Accept a cancellation: silence at once, the ending afterwards."""
        turn = self.current
        desk = self._desk
        if turn is None or turn.terminal is not None:
            return False
        if turn.cancelled is None:
            accepted_at = desk.now
            self._owner.silence(turn, reason, reason.value)
            turn.cancelled = Cancelled(scope, reason, accepted_at, desk.now, desk.now)
            desk.announce(
                SignalName.CANCEL,
                emitters.FENCES,
                turn.scope,
                reason=reason.value,
                cancel=scope,
                mode="hard",
                fence_at_ms=desk.now // NS_PER_MS,
            )
        self.condition(AbortReason.CANCELLED, reason.value)
        return True

    def settle(self) -> None:
        """At the end of a step: has this turn an ending, or a stronger one than the one it is waiting for?"""
        turn = self.current
        if turn is None or turn.terminal is not None:
            return
        ending = strongest(turn.conditions)
        if ending is None:
            if turn.settling is None and not turn.speculative and self._owner.generated(turn):
                self._ask(turn, None)
            return
        rank = min(turn.conditions)
        if turn.settling is None or rank < turn.settled:
            self._ask(turn, ending[0])
            turn.settled = rank

    def _ask(self, turn: Turn, reason: AbortReason | None) -> None:
        """Have the terminal's evidence stored before the terminal is sent."""
        desk = self._desk
        turn.settling = "commit" if reason is None else "abort"
        turn.terminal_reason = reason
        turn.settled = Rank.SUCCESS
        if reason is not None and not turn.fenced:
            self._silence(turn)
        if reason is AbortReason.AUTHORITY_LOSS:
            self._deauthorize(turn)
        desk.disarm("turn.budget", turn.id)
        self._owner.turn_settling(turn)
        turn.evidence_id = f"or02/{turn.id}/{desk.number()}"
        turn.terminal_at = desk.now
        desk.do(StoreEvidence(turn.evidence_id, terminal_record(turn, self._authority.epoch)))
        desk.arm("turn.evidence", desk.now + self._limits.evidence_append_ms_max * NS_PER_MS, turn.id)

    def _silence(self, turn: Turn) -> None:
        """Nobody cancelled it, but it ends: whoever works for it stops, and is told the nearest of the four reasons."""
        why = turn.terminal_reason or AbortReason.RECORDING_EVIDENCE_UNAVAILABLE
        self._owner.silence(turn, CALLS_END_FOR.get(why, CancelReason.USER_CANCEL), why.value)

    def _deauthorize(self, turn: Turn) -> None:
        desk = self._desk
        event = desk.announce(
            SignalName.DEAUTHORIZED_DRAIN, emitters.AUTHORITY, turn.scope, reason="authority_revoked_in_turn"
        )
        turn.decided(
            desk.decide(
                OutcomeKind.DEAUTHORIZED_DRAIN,
                Phase.ACTIVE_TURN,
                OutcomeScope.TURN,
                emitters.AUTHORITY,
                "authority_revoked_in_turn",
                event.event_id,
                turn.id,
            )
        )

    def evidence_stored(self, record_id: str, ok: bool, reason: str | None) -> None:
        """The recorder has answered; an answer to an earlier question says nothing."""
        turn = self.current
        if turn is None or turn.settling is None or turn.evidence_id != record_id:
            return
        if not ok:
            self._evidence_failed(turn, reason or "append_failed")
        self._end(turn)

    def evidence_overdue(self) -> None:
        turn = self.current
        if turn is not None and turn.settling is not None:
            self._evidence_failed(turn, "append_overdue")
            self._end(turn)

    def _evidence_failed(self, turn: Turn, reason: str) -> None:
        """No evidence, no commit: the turn aborts for that, unless its authority is gone or it was cancelled before."""
        desk = self._desk
        desk.announce(SignalName.EVIDENCE_APPEND_FAILED, emitters.EVIDENCE, turn.scope, reason=reason)
        turn.settling = "abort"
        if turn.terminal_reason not in (AbortReason.AUTHORITY_LOSS, AbortReason.CANCELLED):
            turn.terminal_reason = AbortReason.RECORDING_EVIDENCE_UNAVAILABLE
        if not turn.fenced:
            self._silence(turn)
        # The failed append's own record goes to the space that is reserved for it; nobody waits for it.
        turn.evidence_id = f"or02/{turn.id}/{desk.number()}"
        desk.do(StoreEvidence(turn.evidence_id, terminal_record(turn, self._authority.epoch)))

    def _end(self, turn: Turn) -> None:
        """The one terminal, then close."""
        desk = self._desk
        desk.disarm("turn.evidence", turn.id)
        desk.disarm("turn.speculation")
        desk.outbox.seal()
        turn.terminal = turn.settling
        trigger = TurnTrigger.COMMIT if turn.terminal == "commit" else TurnTrigger.ABORT
        self._move(turn, trigger)
        turn.terminal_at = desk.now
        if turn.terminal == "commit":
            desk.announce(SignalName.COMMIT, emitters.ARBITER, turn.scope)
        else:
            assert turn.terminal_reason is not None
            desk.announce(SignalName.ABORT, emitters.ARBITER, turn.scope, reason=turn.terminal_reason.value)
        self._move(turn, TurnTrigger.CLOSE)
        desk.announce(SignalName.CLOSE, emitters.ARBITER, turn.scope, ordinal=self._ordinal)
        desk.do(StoreClose(turn.evidence_id, close_stamp(turn, desk.now)))
        self.current = None
        # The record has the whole plan; of those that are only remembered, its tables of settings would be most of the weight.
        turn.plan = msgspec.structs.replace(turn.plan, policies={}, defaulting_source={})
        self.closed.append(turn)
        self.last_closed_at = desk.now
        desk.fences.release(CancelScope.TURN, turn.id, desk.now)
        self._owner.turn_closed(turn)

    def next_waiting(self) -> None:
        """Open what was queued while the last turn was open, or was still being heard."""
        if self.current is None and self.waiting and not self._waits_for_sound(self.waiting[0]):
            self._open(self.waiting.popleft())

    def _move(self, turn: Turn, trigger: TurnTrigger) -> None:
        after = step(TURN, turn.state, trigger)
        if after is None:
            self.refuse_transition(turn.id, turn.state, trigger)
            return
        self._desk.record(Transition("turn", turn.id, turn.state.value, trigger.value, after.value))
        turn.state = after

    def refuse_transition(self, subject: str, state: TurnState, trigger: TurnTrigger) -> None:
        self._desk.refuse_step(REFUSED_TURN, subject, state.value, trigger.value)
