"""What a session knows of one turn while it lives: its plan, its state, what became of its work, when things happened.

A plain record, written by the parts that own each fact and read when its evidence is made. Every list in it is bounded.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rspp.contract.decisions import DecisionOutcome
from rspp.contract.event import NS_PER_MS, Scope
from rspp.contract.evidence import InvocationOutcome, RefusalMarker
from rspp.contract.plan import ResolvedTurnPlan
from rspp.contract.words import AbortReason, CancelReason, CancelScope, TurnState
from rspp.kernel.budgets import Costs
from rspp.kernel.calls import Call
from rspp.kernel.determinism import NondeterminismLog
from rspp.kernel.playout import Playout

OUTCOMES_MAX: Final = 256
REFUSALS_MAX: Final = 64
DECISIONS_MAX: Final = 64


class Intent(msgspec.Struct, frozen=True, gc=False):
    """A wish for a turn: what was said, or what is to be said. It is no turn yet and has no turn state."""

    text: str
    proposed_at: int
    event_id: str
    utterance: int = 0
    speculative: bool = False
    yields: bool = False  # wait for an open turn, whatever the overlap policy says
    say: bool = False  # speak `text` instead of answering it
    tries: int = 0
    audio_ingress_at: int | None = None
    key: str | None = None  # under which the caller would say it again


class Cancelled(msgspec.Struct, frozen=True, gc=False):
    """An accepted cancellation: for whom, why, and when each thing was done."""

    scope: CancelScope
    reason: CancelReason
    accepted_at: int
    fence_at: int
    sent_at: int


class Turn:
    """One accepted turn."""

    __slots__ = (
        "admission",
        "budget_from",
        "cancelled",
        "conditions",
        "costs",
        "decisions",
        "degraded",
        "epoch_at_open",
        "evidence_id",
        "fence_floor",
        "first_output_at",
        "id",
        "injected",
        "intent",
        "nondeterminism",
        "opened_at",
        "outcomes",
        "plan",
        "playback_started_at",
        "playout",
        "refusals",
        "said",
        "scope",
        "settled",
        "settling",
        "speculative",
        "state",
        "superseded",
        "terminal",
        "terminal_at",
        "terminal_reason",
    )

    def __init__(
        self,
        turn_id: str,
        intent: Intent,
        scope: Scope,
        plan: ResolvedTurnPlan,
        now: int,
        playout: Playout,
        costs: Costs,
    ) -> None:
        self.id = turn_id
        self.intent = intent
        self.scope = scope
        self.plan: ResolvedTurnPlan = plan
        self.state = TurnState.OPENING
        self.speculative = intent.speculative
        self.superseded = False  # another turn answers its words, better known or under another epoch
        self.opened_at = self.budget_from = now  # a guess is held to its budget from when it proved right
        self.epoch_at_open = scope.epoch
        self.playout = playout
        self.costs = costs
        self.nondeterminism = NondeterminismLog()
        self.fence_floor = 0
        self.injected = False
        self.first_output_at: int | None = None
        self.playback_started_at: int | None = None
        self.cancelled: Cancelled | None = None
        # The strongest condition wins when the turn is settled: rank of the precedence list -> reason and detail.
        self.conditions: dict[int, tuple[AbortReason, str]] = {}
        self.settling: str | None = None  # "commit" or "abort", chosen and waiting for its evidence
        self.evidence_id = ""
        self.settled = 0  # how often its evidence was asked for
        self.terminal: str | None = None
        self.terminal_reason: AbortReason | None = None
        self.terminal_at: int | None = None
        self.admission: DecisionOutcome | None = None
        self.decisions: list[DecisionOutcome] = []
        self.outcomes: list[InvocationOutcome] = []
        self.refusals: list[RefusalMarker] = []
        self.said: list[str] = []
        self.degraded = False

    @property
    def active(self) -> bool:
        return self.state is TurnState.ACTIVE

    @property
    def fenced(self) -> bool:
        return self.cancelled is not None

    def budget_left_ms(self, now: int) -> int | None:
        """What is left of the turn's budget; None once the first output is out: then progress is what counts."""
        if self.first_output_at is not None or self.speculative:
            return None
        return max(0, self.plan.budgets.turn_budget_ms - (now - self.budget_from) // NS_PER_MS)

    def decided(self, outcome: DecisionOutcome) -> None:
        if len(self.decisions) < DECISIONS_MAX:
            self.decisions.append(outcome)

    def outcome_of(self, call: Call, *, list_all: bool) -> None:
        """Keep how one invocation ended, once: a cancelled one ends again when the provider says so."""
        known = any(outcome.provider_invocation_id == call.id for outcome in self.outcomes)
        if known or call.outcome is None or len(self.outcomes) >= OUTCOMES_MAX:
            return
        if list_all or call.provider in self.plan.provider_bindings.get(call.modality, ()):
            self.nondeterminism.note(call.id, "external_call", f"{call.modality}/{call.provider}")
        self.outcomes.append(
            InvocationOutcome(
                provider_invocation_id=call.id,
                modality=call.modality,
                provider=call.provider,
                outcome_class=call.outcome,
                retryable=call.retryable,
                reason=call.reason or None,
                retry_decision=call.decision,
                attempts=max(1, call.attempt),
                final_attempt_latency_ms=call.final_attempt_ms,
                total_latency_ms=(call.ended_at - call.started_at) // NS_PER_MS,
            )
        )

    def refused(self, kind: str, reason: str, now: int) -> None:
        if len(self.refusals) < REFUSALS_MAX:
            self.refusals.append(RefusalMarker(output=kind, reason=reason, refused_at=now))
