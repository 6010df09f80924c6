"""Every accepted turn leaves a whole record, however it ends; what is missing is named and never made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from rspp.contract.event import NS_PER_MS
from rspp.contract.evidence import CloseStamp, TurnEvidence, missing_fields
from rspp.contract.plan import SnapshotProvenance
from rspp.contract.words import (
    AbortReason,
    CancelReason,
    CancelScope,
    ConnectionState,
    OutcomeClass,
    PayloadClass,
)
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.spec import voice_template
from rspp.testing.rig import Rig

Record = tuple[TurnEvidence, CloseStamp | None]


def records(rig: Rig) -> list[Record]:
    """The record that each closed turn rests on, with its close stamp."""
    stored = {effect.record_id: effect.evidence for effect in rig.of(fx.StoreEvidence)}
    return [(stored[effect.record_id], effect.stamp) for effect in rig.of(fx.StoreClose)]


def talking(**policies: Any) -> Rig:
    rig = Rig(voice_template(**policies))
    rig.connect()
    rig.type("what time is it")
    return rig


def commits() -> Rig:
    rig = talking()
    rig.answer("It is ten.")
    rig.advance(1_000)
    return rig


def cancelled_at_work() -> Rig:
    rig = talking()
    rig.tokens("It is ten. ")
    rig.control("cancel", scope=CancelScope.TURN)
    return rig


def cancelled_with_no_call_under_way() -> Rig:
    """The answer is made and only its sound is left: nobody but the player can be told to stop."""
    rig = talking()
    rig.answer("It is ten.", ms=4_000)
    rig.control("cancel", scope=CancelScope.TURN)
    return rig


def revoked() -> Rig:
    rig = talking()
    rig.give(i.LeaseChanged("revoked", 7))
    return rig


def rotated() -> Rig:
    rig = talking()
    # Something was heard already, so the words are not asked again under the new epoch.
    rig.answer("It is ten.", ms=4_000)
    rig.give(i.LeaseChanged("rotated", 8, "lease-8", 900_000 * NS_PER_MS))
    return rig


def evidence_refused() -> Rig:
    rig = talking()
    rig.stores_evidence = False
    rig.answer("It is ten.", ms=20)
    rig.advance(1_000)
    return rig


def out_of_budget() -> Rig:
    rig = talking(calls={"provider_timeout_ms": 9_000})
    rig.advance(2_000)
    return rig


def provider_fails() -> Rig:
    rig = talking()
    for _ in range(2):
        rig.fail("llm", OutcomeClass.BLOCKED)
    return rig


def disconnected() -> Rig:
    rig = talking(calls={"provider_timeout_ms": 90_000}, budgets={"turn_budget_ms": 90_000})
    rig.give(i.ConnectionChanged(ConnectionState.DISCONNECTED))
    rig.advance(30_000)
    return rig


def closed_at_once() -> Rig:
    rig = talking()
    rig.give(i.CloseRequested("operator", drain=False))
    return rig


ENDINGS: list[tuple[Callable[[], Rig], AbortReason | None]] = [
    (commits, None),
    (cancelled_at_work, AbortReason.CANCELLED),
    (cancelled_with_no_call_under_way, AbortReason.CANCELLED),
    (revoked, AbortReason.AUTHORITY_LOSS),
    (rotated, AbortReason.AUTHORITY_LOSS),
    (evidence_refused, AbortReason.RECORDING_EVIDENCE_UNAVAILABLE),
    (out_of_budget, AbortReason.BUDGET_EXHAUSTED),
    (provider_fails, AbortReason.PROVIDER_FAILURE),
    (disconnected, AbortReason.TRANSPORT_DISCONNECT_OR_STALL),
    (closed_at_once, AbortReason.POLICY_TERMINATED),
]


@pytest.mark.parametrize(
    ("ending", "reason"), ENDINGS, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_a_turn_leaves_a_complete_record_however_it_ends(
    ending: Callable[[], Rig], reason: AbortReason | None
) -> None:
    rig = ending()
    rig.advance(5_000)
    ((evidence, stamp),) = records(rig)
    assert missing_fields(evidence, stamp) == ()
    assert evidence.terminal_outcome == ("commit" if reason is None else "abort")
    assert evidence.terminal_reason == reason
    assert evidence.invocation_outcomes, "provider work was done, so it stands in the record"


@pytest.mark.parametrize(
    ("ending", "reason"), ENDINGS, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_an_accepted_turn_has_one_terminal_then_close(
    ending: Callable[[], Rig], reason: AbortReason | None
) -> None:
    rig = ending()
    rig.advance(5_000)
    turns = [event.scope.turn_id for event in rig.events("turn_open")]
    for turn_id in turns:
        shown = [
            name
            for name in ("commit", "abort", "close")
            for event in rig.events(name)
            if event.scope.turn_id == turn_id
        ]
        assert shown == ["commit" if reason is None else "abort", "close"]
    assert len(turns) == 1


DUE = (
    *("session_id", "turn_id", "pipeline_version", "event_id", "resolved_turn_plan_id", "plan_hash"),
    *(
        "execution_profile_version",
        "snapshot_provenance",
        "lease_epoch_at_turn_open",
        "lease_epoch_at_terminal",
    ),
    *("admission_outcome", "decision_outcomes", "determinism_seed", "merge_rule_id", "merge_rule_version"),
    *(
        "ordering_markers",
        "envelope_snapshot",
        "payload_tags",
        "redaction_decisions",
        "turn_open_proposed_at",
    ),
    *("turn_open_at", "turn_terminal_at", "terminal_outcome", "terminal_reason", "cancel_scope"),
    *("cancel_accepted_at", "cancel_fence_at", "cancel_sent_at", "or02_evidence_schema_version"),
)


def removed(name: str) -> object:
    if name in ("snapshot_provenance", "admission_outcome", "terminal_reason", "cancel_scope"):
        return None
    if name in ("decision_outcomes", "ordering_markers", "payload_tags", "redaction_decisions"):
        return ()
    return None if name.endswith("_at") or "epoch" in name or "seed" in name else ""


@pytest.mark.parametrize("name", DUE)
def test_a_field_that_is_removed_is_missed_by_name(name: str) -> None:
    ((evidence, stamp),) = records(cancelled_at_work())
    without = msgspec.structs.replace(evidence, **{name: removed(name)})
    assert name in missing_fields(without, stamp)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("plan_hash", "0" * 63),
        ("plan_hash", "unknown"),
        ("pipeline_version", " Default "),
        ("or02_evidence_schema_version", "or02/v0"),
        ("terminal_outcome", "finished"),
        ("lease_epoch_at_turn_open", -1),
        ("determinism_seed", -1),
        ("ordering_markers", ("event_id", "event_id")),
        ("payload_tags", (PayloadClass.METADATA, PayloadClass.METADATA)),
        ("turn_open_at", 0),
        ("accepted_stale_outputs", True),
    ],
)
def test_a_field_that_is_corrupted_is_missed_by_name(name: str, value: object) -> None:
    rig = Rig()
    rig.connect()
    rig.advance(100)
    rig.type("hello")
    rig.control("cancel", scope=CancelScope.TURN)
    ((evidence, stamp),) = records(rig)
    assert missing_fields(evidence, stamp) == ()
    corrupted = msgspec.structs.replace(evidence, **{name: value})
    if name == "turn_open_at":
        corrupted = msgspec.structs.replace(corrupted, turn_open_proposed_at=1)
    assert name in missing_fields(corrupted, stamp)


@pytest.mark.parametrize("name", SnapshotProvenance.__struct_fields__)
def test_each_of_the_six_snapshot_references_is_due(name: str) -> None:
    ((evidence, stamp),) = records(commits())
    assert evidence.snapshot_provenance is not None
    provenance = msgspec.structs.replace(evidence.snapshot_provenance, **{name: ""})
    without = msgspec.structs.replace(evidence, snapshot_provenance=provenance)
    assert missing_fields(without, stamp) == (f"snapshot_provenance.{name}",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("provider_invocation_id", ""),
        ("provider", ""),
        ("modality", ""),
        ("retry_decision", ""),
        ("retryable", None),
        ("attempts", 0),
        ("final_attempt_latency_ms", 1 << 40),
    ],
)
def test_what_is_missing_of_a_call_is_named_with_its_place(name: str, value: object) -> None:
    ((evidence, stamp),) = records(commits())
    first, *rest = evidence.invocation_outcomes
    broken = (msgspec.structs.replace(first, **{name: value}), *rest)
    without = msgspec.structs.replace(evidence, invocation_outcomes=broken)
    assert missing_fields(without, stamp) == (f"invocation_outcomes[0].{name}",)


def test_without_its_close_stamp_or_with_anothers_a_turn_is_not_closed() -> None:
    ((evidence, stamp),) = records(commits())
    assert stamp is not None
    for wrong in (
        None,
        msgspec.structs.replace(stamp, turn_id="another"),
        msgspec.structs.replace(stamp, close_emitted=False),
        msgspec.structs.replace(stamp, turn_close_at=(evidence.turn_terminal_at or 0) - 1),
    ):
        assert {"turn_close_at", "close_emitted"} & set(missing_fields(evidence, wrong))


def test_a_cancelled_calls_outcome_is_on_record_before_the_provider_has_stopped() -> None:
    ((evidence, _),) = records(cancelled_at_work())
    assert {outcome.outcome_class for outcome in evidence.invocation_outcomes} == {OutcomeClass.CANCELLED}
    assert evidence.cancel_reason is CancelReason.USER_CANCEL


def test_an_outcome_is_on_record_once_though_its_cancel_is_acknowledged_later() -> None:
    rig = talking()
    rig.tokens("It is ten. ")
    rig.control("cancel", scope=CancelScope.NODE, target="tts")
    rig.cancel_acks()
    rig.finish("llm")
    rig.advance(100)
    ((evidence, stamp),) = records(rig)
    assert missing_fields(evidence, stamp) == ()
    ids = [outcome.provider_invocation_id for outcome in evidence.invocation_outcomes]
    assert len(ids) == len(set(ids)) == 2


def test_lost_authority_leaves_its_cause_as_a_migration_marker() -> None:
    for ending, marker in ((revoked, "lease_deauthorized"), (rotated, "lease_rotated")):
        ((evidence, _),) = records(ending())
        assert evidence.migration_markers == (marker,)


def test_a_refused_report_after_a_cancel_leaves_its_marker() -> None:
    rig = talking()
    rig.answer("It is ten.", ms=4_000)
    rig.stores_evidence = False
    rig.control("cancel", scope=CancelScope.TURN)
    rig.give(i.DeliveryReported("started", "s1/turn-1"))
    refused = rig.signals("output_refused")
    assert [signal.reason for signal in refused] == ["cancel_fence_applied"]
    rig.advance(100)
    assert [m.output for m in rig.of(fx.StoreEvidence)[-1].evidence.refusal_markers][-1] == "started"
