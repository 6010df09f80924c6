"""A turn's evidence is made from what happened, field by field; what did not happen is absent.

The terminal record is made before the terminal is sent, from the turn's own record. Keeps INV-14.
"""

from __future__ import annotations

from typing import Final

from rspp.contract.evidence import EVIDENCE_VERSION, CloseStamp, RedactionDecision, TurnEvidence
from rspp.contract.words import AbortReason, PayloadClass
from rspp.kernel.turn import Turn

# What the timeline does with each class at L0, the level of the baseline record.
L0_REDACTION: Final = (
    RedactionDecision(PayloadClass.AUDIO_RAW, "drop"),
    RedactionDecision(PayloadClass.TEXT_RAW, "hash"),
    RedactionDecision(PayloadClass.METADATA, "allow"),
)


def terminal_record(turn: Turn, epoch_at_terminal: int) -> TurnEvidence:
    """The terminal part of a turn's evidence."""
    plan, intent, cancelled = turn.plan, turn.intent, turn.cancelled
    redactions = _redactions(turn)
    return TurnEvidence(
        or02_evidence_schema_version=EVIDENCE_VERSION,
        session_id=turn.scope.session_id,
        turn_id=turn.id,
        pipeline_version=turn.scope.pipeline_version,
        event_id=intent.event_id,
        resolved_turn_plan_id=plan.resolved_turn_plan_id,
        plan_hash=plan.plan_hash,
        execution_profile_version=plan.execution_profile,
        snapshot_provenance=plan.snapshot_provenance,
        lease_epoch_at_turn_open=turn.epoch_at_open,
        lease_epoch_at_terminal=epoch_at_terminal,
        admission_outcome=turn.admission,
        decision_outcomes=tuple(turn.decisions),
        determinism_seed=plan.determinism.seed,
        merge_rule_id=plan.determinism.merge_rule_id,
        merge_rule_version=plan.determinism.merge_rule_version,
        ordering_markers=plan.determinism.ordering_markers,
        nondeterministic_inputs=turn.nondeterminism.entries(),
        envelope_snapshot=f"{turn.scope.pipeline_version}@{plan.graph_fingerprint[:16]}",
        payload_tags=tuple(decision.payload_class for decision in redactions),
        redaction_decisions=redactions,
        turn_open_proposed_at=intent.proposed_at,
        turn_open_at=turn.opened_at,
        turn_terminal_at=turn.terminal_at,
        terminal_outcome=turn.settling,
        terminal_reason=turn.terminal_reason,
        first_output_at=turn.first_output_at,
        audio_input_ingress_at=intent.audio_ingress_at,
        playback_started_at=turn.playback_started_at,
        cancel_scope=cancelled.scope if cancelled else None,
        cancel_reason=cancelled.reason if cancelled else None,
        cancel_accepted_at=cancelled.accepted_at if cancelled else None,
        cancel_fence_at=cancelled.fence_at if cancelled else None,
        cancel_sent_at=cancelled.sent_at if cancelled else None,
        refusal_markers=tuple(turn.refusals),
        invocation_outcomes=tuple(turn.outcomes),
        migration_markers=tuple(
            detail for reason, detail in turn.conditions.values() if reason is AbortReason.AUTHORITY_LOSS
        ),
        accepted_stale_outputs=False,
    )


def _redactions(turn: Turn) -> tuple[RedactionDecision, ...]:
    """One decision for each class of payload that the turn really had."""
    had = {PayloadClass.METADATA}
    if turn.intent.text or turn.said:
        had.add(PayloadClass.TEXT_RAW)
    if turn.intent.audio_ingress_at is not None or turn.playout.first_sent_at is not None:
        had.add(PayloadClass.AUDIO_RAW)
    return tuple(decision for decision in L0_REDACTION if decision.payload_class in had)


def close_stamp(turn: Turn, now: int) -> CloseStamp:
    return CloseStamp(session_id=turn.scope.session_id, turn_id=turn.id, turn_close_at=now)
