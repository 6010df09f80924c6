"""What must be on record of every accepted turn, at every recording level: the OR-02 baseline.

Stored in two parts: the terminal part before the terminal signal, the close stamp right after `close`. What is missing
stays missing: `missing_fields` names it, and nothing here invents a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from rspp.contract.decisions import DecisionOutcome, OutcomeKind, is_legal
from rspp.contract.plan import NondeterministicInput, SnapshotProvenance
from rspp.contract.words import AbortReason, CancelReason, CancelScope, OutcomeClass, PayloadClass

EVIDENCE_VERSION: Final = "or02/v1"


class InvocationOutcome(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """How one provider call of the turn ended."""

    provider_invocation_id: str
    modality: str
    provider: str
    outcome_class: OutcomeClass
    retry_decision: str
    attempts: int
    final_attempt_latency_ms: int
    total_latency_ms: int
    # Due, but absent until somebody says it: whether a failure could be retried is nobody's default.
    retryable: bool | None = None
    reason: str | None = None


class RedactionDecision(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What was done with payloads of one class."""

    payload_class: PayloadClass
    action: str


class RefusalMarker(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """An output that was refused after a fence."""

    output: str
    reason: str
    refused_at: int


class TurnEvidence(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The terminal part. Times are monotonic nanoseconds."""

    or02_evidence_schema_version: str
    session_id: str
    turn_id: str
    pipeline_version: str
    event_id: str
    resolved_turn_plan_id: str
    plan_hash: str
    execution_profile_version: str
    snapshot_provenance: SnapshotProvenance | None
    lease_epoch_at_turn_open: int | None
    lease_epoch_at_terminal: int | None
    admission_outcome: DecisionOutcome | None
    decision_outcomes: tuple[DecisionOutcome, ...]
    determinism_seed: int | None
    merge_rule_id: str
    merge_rule_version: str
    ordering_markers: tuple[str, ...]
    nondeterministic_inputs: tuple[NondeterministicInput, ...]
    envelope_snapshot: str
    payload_tags: tuple[PayloadClass, ...]
    redaction_decisions: tuple[RedactionDecision, ...]
    turn_open_proposed_at: int | None
    turn_open_at: int | None
    turn_terminal_at: int | None
    terminal_outcome: str | None
    terminal_reason: AbortReason | None = None
    first_output_at: int | None = None
    audio_input_ingress_at: int | None = None
    playback_started_at: int | None = None
    cancel_scope: CancelScope | None = None
    cancel_reason: CancelReason | None = None
    cancel_accepted_at: int | None = None
    cancel_fence_at: int | None = None
    cancel_sent_at: int | None = None
    cancel_ack_at: int | None = None
    refusal_markers: tuple[RefusalMarker, ...] = ()
    invocation_outcomes: tuple[InvocationOutcome, ...] = ()
    migration_markers: tuple[str, ...] = ()
    accepted_stale_outputs: bool = False


class CloseStamp(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """The second part, stored right after `close`: when the turn closed, and that the signal went out."""

    session_id: str
    turn_id: str
    turn_close_at: int
    close_emitted: bool = True


# What earlier systems wrote when they did not know. A value that says nothing counts as missing.
_PLACEHOLDERS: Final = ("", "unknown", "default", "none", "null", "n/a", "todo", "deterministic_reason")
_PLAN_HASH: Final = re.compile(r"[0-9a-f]{64}")

_ALWAYS: Final = (
    *("session_id", "turn_id", "pipeline_version", "event_id"),
    *("resolved_turn_plan_id", "plan_hash", "execution_profile_version", "snapshot_provenance"),
    *("lease_epoch_at_turn_open", "lease_epoch_at_terminal", "admission_outcome", "decision_outcomes"),
    *("determinism_seed", "merge_rule_id", "merge_rule_version", "ordering_markers"),
    *("envelope_snapshot", "payload_tags", "redaction_decisions"),
    *("turn_open_proposed_at", "turn_open_at", "turn_terminal_at", "terminal_outcome"),
)
# A cancel that was accepted has all four; the acknowledgement may never come.
_CANCEL: Final = ("cancel_scope", "cancel_accepted_at", "cancel_fence_at", "cancel_sent_at")
# Each of these pairs is in order when both are there.
_IN_ORDER: Final = (
    ("turn_open_proposed_at", "turn_open_at"),
    ("turn_open_at", "turn_terminal_at"),
    ("turn_open_at", "first_output_at"),
    ("cancel_accepted_at", "cancel_fence_at"),
    ("cancel_accepted_at", "cancel_sent_at"),
    ("cancel_sent_at", "cancel_ack_at"),
)


def missing_fields(evidence: TurnEvidence, close: CloseStamp | None) -> tuple[str, ...]:
    """Every field that is due and absent, a placeholder, contradicted or out of order; empty when complete."""
    found = [name for name in _ALWAYS if _is_absent(getattr(evidence, name))]
    for part in (_identity, _admission, _terminal, _cancel, _payloads, _invocations, _times):
        found += part(evidence)
    found += _closing(evidence, close)
    return tuple(dict.fromkeys(found))


def _is_absent(value: object) -> bool:
    return value is None or value == () or (isinstance(value, str) and value.strip().lower() in _PLACEHOLDERS)


def _identity(evidence: TurnEvidence) -> Iterator[str]:
    if evidence.or02_evidence_schema_version != EVIDENCE_VERSION:
        yield "or02_evidence_schema_version"
    if _PLAN_HASH.fullmatch(evidence.plan_hash or "") is None:
        yield "plan_hash"
    if evidence.snapshot_provenance is not None:
        for name, ref in msgspec.structs.asdict(evidence.snapshot_provenance).items():
            if _is_absent(ref):
                yield f"snapshot_provenance.{name}"
    for name in ("lease_epoch_at_turn_open", "lease_epoch_at_terminal", "determinism_seed"):
        if (getattr(evidence, name) or 0) < 0:
            yield name
    if len(set(evidence.ordering_markers)) != len(evidence.ordering_markers):
        yield "ordering_markers"
    if evidence.accepted_stale_outputs:
        yield "accepted_stale_outputs"


def _admission(evidence: TurnEvidence) -> Iterator[str]:
    """The turn was opened by somebody who may, and what gated it is among the decisions."""
    admission = evidence.admission_outcome
    if admission is not None and not (admission.outcome_kind is OutcomeKind.ADMIT and is_legal(admission)):
        yield "admission_outcome"
    kinds = [outcome.outcome_kind for outcome in evidence.decision_outcomes]
    if OutcomeKind.ADMIT not in kinds or not all(map(is_legal, evidence.decision_outcomes)):
        yield "decision_outcomes"


def _terminal(evidence: TurnEvidence) -> Iterator[str]:
    if evidence.terminal_outcome not in ("commit", "abort"):
        yield "terminal_outcome"
    if (evidence.terminal_outcome == "abort") != (evidence.terminal_reason is not None):
        yield "terminal_reason"


def _cancel(evidence: TurnEvidence) -> Iterator[str]:
    said = [name for name in _CANCEL if getattr(evidence, name) is not None]
    if said or evidence.cancel_ack_at is not None or evidence.terminal_reason is AbortReason.CANCELLED:
        yield from (name for name in _CANCEL if name not in said)


def _payloads(evidence: TurnEvidence) -> Iterator[str]:
    """One decision for each tag, and no tag twice."""
    if len(set(evidence.payload_tags)) != len(evidence.payload_tags):
        yield "payload_tags"
    decided = [decision.payload_class for decision in evidence.redaction_decisions]
    if sorted(decided) != sorted(evidence.payload_tags):
        yield "redaction_decisions"


def _invocations(evidence: TurnEvidence) -> Iterator[str]:
    for index, call in enumerate(evidence.invocation_outcomes):
        place = f"invocation_outcomes[{index}]"
        names = ("provider_invocation_id", "modality", "provider", "retry_decision", "retryable")
        # `none` is a decision here, not a placeholder.
        for name in names:
            value = getattr(call, name)
            if _is_absent(value) and not (name == "retry_decision" and value == "none"):
                yield f"{place}.{name}"
        if call.attempts < 1:
            yield f"{place}.attempts"
        if not 0 <= call.final_attempt_latency_ms <= call.total_latency_ms:
            yield f"{place}.final_attempt_latency_ms"
        if call.outcome_class is not OutcomeClass.SUCCESS and _is_absent(call.reason):
            yield f"{place}.reason"


def _times(evidence: TurnEvidence) -> Iterator[str]:
    for first, then in _IN_ORDER:
        before, after = getattr(evidence, first), getattr(evidence, then)
        if before is not None and after is not None and after < before:
            yield then


def _closing(evidence: TurnEvidence, close: CloseStamp | None) -> Iterator[str]:
    if close is None or (close.session_id, close.turn_id) != (evidence.session_id, evidence.turn_id):
        yield from ("turn_close_at", "close_emitted")
        return
    if evidence.turn_terminal_at is not None and close.turn_close_at < evidence.turn_terminal_at:
        yield "turn_close_at"
    if not close.close_emitted:
        yield "close_emitted"
