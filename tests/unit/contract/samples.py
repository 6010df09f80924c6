"""Well-formed records of each kind, which the tests then spoil one field at a time."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from rspp.contract import emitters
from rspp.contract.decisions import DecisionOutcome, OutcomeKind, OutcomeScope, Phase
from rspp.contract.event import (
    Audio,
    Envelope,
    Event,
    Payload,
    Scope,
    SeqRange,
    Signal,
    Sync,
    Text,
    flatten,
)
from rspp.contract.evidence import CloseStamp, InvocationOutcome, RedactionDecision, TurnEvidence
from rspp.contract.plan import SnapshotProvenance
from rspp.contract.signals import SIGNALS, SignalRule
from rspp.contract.words import CancelScope, EventKind, Lane, OutcomeClass, PayloadClass

T = TypeVar("T", bound=msgspec.Struct)

SESSION: Final = Scope(session_id="s-1", tenant_id="acme", pipeline_version="v1", epoch=3)
TURN: Final = Scope(session_id="s-1", tenant_id="acme", pipeline_version="v1", epoch=3, turn_id="t-1")
ALL_REFS: Final = SnapshotProvenance(*(f"{name}/7" for name in SnapshotProvenance.__struct_fields__))


def event(
    payload: Payload, kind: EventKind, payload_class: PayloadClass, scope: Scope = TURN, **more: Any
) -> Event:
    return Event(scope, kind, more.pop("sequence", 42), 1_000_000_000, payload, payload_class, **more)


def text(**more: Any) -> Envelope:
    made = event(Text("hello", revision=2), EventKind.TEXT, PayloadClass.TEXT_RAW)
    return changed(flatten(made, 0), **more)


def audio(**more: Any) -> Envelope:
    made = event(Audio(b"\0\0" * 160, 160, 320), EventKind.AUDIO, PayloadClass.AUDIO_RAW)
    return changed(flatten(made, 0), **more)


def signal_of(rule: SignalRule) -> Event:
    """A signal with everything that its row of the registry asks for, and nothing else."""
    needs = set(rule.requires)
    detail: dict[str, Any] = {
        path.removeprefix("detail."): "x" for path in needs if path.startswith("detail.")
    }
    payload = Signal(
        signal=rule.name.value,
        emitted_by=rule.emitters[0],
        reason="because" if "reason" in needs else None,
        scope=CancelScope.TURN if "scope" in needs else None,
        target_lane=Lane.DATA if "target_lane" in needs else None,
        amount=1 if "amount" in needs else None,
        seq_range=SeqRange(1, 2) if "seq_range" in needs else None,
        detail=detail or None,
    )
    return event(
        payload,
        EventKind.CONTROL,
        PayloadClass.METADATA,
        TURN if rule.scope == "turn" else SESSION,
        edge_id="e-1" if "edge_id" in needs else None,
        sync=Sync(domain="d", discontinuity_id="x-1") if "sync_domain" in needs else None,
    )


def signal(name: str, **more: Any) -> Envelope:
    """The flat form; what is changed beside the payload is changed in it too, where it has such a field."""
    envelope = flatten(signal_of(SIGNALS[name]), 0)
    assert envelope.payload is not None
    inner = {key: value for key, value in more.items() if key in Signal.__struct_fields__}
    return changed(envelope, payload=changed(envelope.payload, **inner), **more)


def admit(**more: Any) -> DecisionOutcome:
    return changed(
        DecisionOutcome(
            outcome_kind=OutcomeKind.ADMIT,
            phase=Phase.PRE_TURN,
            scope=OutcomeScope.TURN,
            session_id="s-1",
            event_id="evt/s-1/t-1/000001",
            runtime_timestamp_ms=10,
            wall_clock_timestamp_ms=20,
            emitted_by=emitters.ADMISSION,
            reason="admission_capacity_allow",
            turn_id="t-1",
        ),
        **more,
    )


def invocation(**more: Any) -> InvocationOutcome:
    made = InvocationOutcome(
        provider_invocation_id="pvi/1",
        modality="llm",
        provider="llm-anthropic",
        outcome_class=OutcomeClass.SUCCESS,
        retry_decision="none",
        attempts=1,
        final_attempt_latency_ms=300,
        total_latency_ms=300,
        retryable=False,
    )
    return changed(made, **more)


def evidence(**more: Any) -> TurnEvidence:
    made = TurnEvidence(
        or02_evidence_schema_version="or02/v1",
        session_id="s-1",
        turn_id="t-1",
        pipeline_version="v1",
        event_id="evt/s-1/session/000001",
        resolved_turn_plan_id="plan/s-1/t-1",
        plan_hash="ab" * 32,
        execution_profile_version="simple/v1",
        snapshot_provenance=ALL_REFS,
        lease_epoch_at_turn_open=3,
        lease_epoch_at_terminal=3,
        admission_outcome=admit(),
        decision_outcomes=(admit(),),
        determinism_seed=2**64 - 1,
        merge_rule_id="default-merge-rule",
        merge_rule_version="v1.0.0",
        ordering_markers=("runtime_sequence", "event_id"),
        nondeterministic_inputs=(),
        envelope_snapshot="v1@abcdef",
        payload_tags=(PayloadClass.TEXT_RAW, PayloadClass.METADATA),
        redaction_decisions=(
            RedactionDecision(PayloadClass.METADATA, "allow"),
            RedactionDecision(PayloadClass.TEXT_RAW, "hash"),
        ),
        turn_open_proposed_at=100,
        turn_open_at=200,
        turn_terminal_at=300,
        terminal_outcome="commit",
        invocation_outcomes=(invocation(),),
    )
    return changed(made, **more)


def close(**more: Any) -> CloseStamp:
    return changed(CloseStamp(session_id="s-1", turn_id="t-1", turn_close_at=400), **more)


def changed(record: T, **more: Any) -> T:
    return msgspec.structs.replace(record, **more)
