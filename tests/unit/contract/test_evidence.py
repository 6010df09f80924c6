"""A turn's evidence is complete or its gaps are named; nothing is ever filled in."""

from __future__ import annotations

from typing import Any

import pytest

from rspp.contract import emitters
from rspp.contract.decisions import OutcomeKind
from rspp.contract.evidence import missing_fields
from rspp.contract.words import AbortReason, CancelScope, OutcomeClass, PayloadClass
from tests.unit.contract import samples

CANCELLED: dict[str, Any] = {
    "terminal_outcome": "abort",
    "terminal_reason": AbortReason.CANCELLED,
    "cancel_scope": CancelScope.TURN,
    "cancel_accepted_at": 210,
    "cancel_fence_at": 210,
    "cancel_sent_at": 220,
}


def gaps(**more: Any) -> tuple[str, ...]:
    return missing_fields(samples.evidence(**more), samples.close())


def test_a_committed_turn_with_everything_is_complete() -> None:
    assert gaps() == ()


def test_a_cancelled_turn_with_its_four_fields_is_complete_with_and_without_an_acknowledgement() -> None:
    assert gaps(**CANCELLED) == ()
    assert gaps(**CANCELLED, cancel_ack_at=240) == ()


ALWAYS = [
    *("session_id", "turn_id", "pipeline_version", "event_id", "resolved_turn_plan_id", "plan_hash"),
    *("execution_profile_version", "merge_rule_id", "merge_rule_version", "envelope_snapshot"),
    *("snapshot_provenance", "lease_epoch_at_turn_open", "lease_epoch_at_terminal", "admission_outcome"),
    *("determinism_seed", "turn_open_proposed_at", "turn_open_at", "turn_terminal_at", "terminal_outcome"),
    *("decision_outcomes", "ordering_markers", "payload_tags", "redaction_decisions"),
]


@pytest.mark.parametrize("name", ALWAYS)
def test_each_field_that_is_always_due_is_missed(name: str) -> None:
    whole = getattr(samples.evidence(), name)
    empty: object = "" if isinstance(whole, str) else () if isinstance(whole, tuple) else None
    assert name in gaps(**{name: empty})


@pytest.mark.parametrize("word", ["unknown", "DEFAULT", " n/a ", "none", "deterministic_reason"])
@pytest.mark.parametrize(
    "name", ["plan_hash", "resolved_turn_plan_id", "execution_profile_version", "merge_rule_id"]
)
def test_a_placeholder_counts_as_missing(name: str, word: str) -> None:
    assert gaps(**{name: word}) == (name,)


def test_a_plan_hash_is_64_hexadecimal_digits() -> None:
    assert gaps(plan_hash="ab" * 31) == ("plan_hash",)


def test_a_plan_hash_that_is_not_there_at_all_is_missed() -> None:
    assert gaps(plan_hash=None) == ("plan_hash",)


def test_a_seed_and_an_epoch_of_0_are_values() -> None:
    assert gaps(determinism_seed=0, lease_epoch_at_turn_open=0, lease_epoch_at_terminal=0) == ()


def test_each_empty_ref_of_the_provenance_is_named() -> None:
    refs = samples.changed(samples.ALL_REFS, provider_health_snapshot="")
    assert gaps(snapshot_provenance=refs) == ("snapshot_provenance.provider_health_snapshot",)


def test_an_open_without_a_legal_admit_is_incomplete() -> None:
    refusal = samples.admit(outcome_kind=OutcomeKind.REJECT)
    assert gaps(admission_outcome=refusal) == ("admission_outcome",)
    assert gaps(decision_outcomes=(refusal,)) == ("decision_outcomes",)
    forged = samples.admit(emitted_by=emitters.ARBITER)
    assert gaps(decision_outcomes=(samples.admit(), forged)) == ("decision_outcomes",)


def test_an_abort_has_a_reason_and_a_commit_has_none() -> None:
    assert gaps(terminal_outcome="abort") == ("terminal_reason",)
    assert gaps(terminal_reason=AbortReason.POLICY_TERMINATED) == ("terminal_reason",)
    assert gaps(terminal_outcome="done") == ("terminal_outcome",)


@pytest.mark.parametrize("name", ["cancel_scope", "cancel_accepted_at", "cancel_fence_at", "cancel_sent_at"])
def test_each_of_the_four_fields_of_a_cancel_is_missed(name: str) -> None:
    assert gaps(**{**CANCELLED, name: None}) == (name,)


def test_a_cancel_that_is_only_told_by_the_terminal_reason_misses_all_four() -> None:
    found = gaps(terminal_outcome="abort", terminal_reason=AbortReason.CANCELLED)
    assert found == ("cancel_scope", "cancel_accepted_at", "cancel_fence_at", "cancel_sent_at")


@pytest.mark.parametrize(
    ("times", "named"),
    [
        ({"turn_open_proposed_at": 201}, "turn_open_at"),
        ({"turn_open_at": 301}, "turn_terminal_at"),
        ({"turn_terminal_at": 401}, "turn_close_at"),
        ({**CANCELLED, "cancel_fence_at": 209}, "cancel_fence_at"),
        ({**CANCELLED, "cancel_ack_at": 219}, "cancel_ack_at"),
        ({"first_output_at": 199}, "first_output_at"),
    ],
)
def test_a_time_before_the_one_it_follows_is_named(times: dict[str, Any], named: str) -> None:
    assert gaps(**times) == (named,)


def test_each_tag_has_one_redaction_decision_and_none_has_two() -> None:
    one = samples.evidence().redaction_decisions
    assert gaps(redaction_decisions=one[:1]) == ("redaction_decisions",)
    assert gaps(redaction_decisions=(*one, one[0])) == ("redaction_decisions",)
    twice = (PayloadClass.TEXT_RAW, PayloadClass.TEXT_RAW)
    assert gaps(payload_tags=twice) == ("payload_tags", "redaction_decisions")


def test_ordering_markers_are_unique() -> None:
    assert gaps(ordering_markers=("event_id", "event_id")) == ("ordering_markers",)


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"attempts": 0}, "attempts"),
        ({"final_attempt_latency_ms": 301}, "final_attempt_latency_ms"),
        ({"provider": ""}, "provider"),
        ({"retryable": None}, "retryable"),
        ({"retry_decision": ""}, "retry_decision"),
        ({"outcome_class": OutcomeClass.TIMEOUT}, "reason"),
    ],
)
def test_a_gap_in_a_provider_call_is_named_by_its_place(fault: dict[str, Any], named: str) -> None:
    calls = (samples.invocation(), samples.invocation(**fault))
    assert gaps(invocation_outcomes=calls) == (f"invocation_outcomes[1].{named}",)


def test_an_accepted_stale_output_spoils_the_evidence() -> None:
    assert gaps(accepted_stale_outputs=True) == ("accepted_stale_outputs",)


def test_without_its_own_close_stamp_a_turn_is_incomplete() -> None:
    assert missing_fields(samples.evidence(), None) == ("turn_close_at", "close_emitted")
    assert missing_fields(samples.evidence(), samples.close(turn_id="t-2")) == (
        "turn_close_at",
        "close_emitted",
    )
    assert missing_fields(samples.evidence(), samples.close(close_emitted=False)) == ("close_emitted",)


def test_evidence_of_another_version_is_not_taken_for_ours() -> None:
    assert gaps(or02_evidence_schema_version="or02/v0") == ("or02_evidence_schema_version",)
