"""Every row of the contract's tables on envelopes, signals and decisions, kept and broken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.contract import emitters
from rspp.contract.codes import CODES
from rspp.contract.decisions import LEGAL, DecisionOutcome, OutcomeKind, OutcomeScope, Phase
from rspp.contract.event import MediaTime, Note, SeqRange, Signal
from rspp.contract.rules import (
    DECISION_RULES,
    ENVELOPE_RULES,
    INGRESS_RULES,
    PAST_INGRESS_RULES,
    SIGNAL_RULES,
    Violation,
    check_batch,
    check_decision,
    check_envelope,
    check_history,
)
from rspp.contract.signals import SIGNALS, SignalRule
from rspp.contract.words import CancelScope, EventKind, EventScope, Lane, PayloadClass
from tests.unit.contract import samples


def broken(found: list[Violation]) -> set[tuple[str, str]]:
    return {(violation.code, violation.path) for violation in found}


def test_well_formed_envelopes_of_each_lane_have_no_violation() -> None:
    assert check_envelope(samples.text()) == []
    assert check_envelope(samples.audio()) == []
    assert check_envelope(samples.signal("commit")) == []


TEXT_FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"schema_version": "1.0"}, "schema_version_malformed", "schema_version"),
    ({"schema_version": "v2.0"}, "schema_version_unsupported", "schema_version"),
    ({"session_id": ""}, "field_empty", "session_id"),
    ({"pipeline_version": ""}, "field_empty", "pipeline_version"),
    ({"event_id": ""}, "field_empty", "event_id"),
    ({"node_id": ""}, "field_empty", "node_id"),
    ({"turn_id": None}, "field_missing", "turn_id"),
    ({"authority_epoch": None}, "authority_epoch_missing", "authority_epoch"),
    ({"authority_epoch": -1}, "number_negative", "authority_epoch"),
    ({"runtime_sequence": -1}, "number_negative", "runtime_sequence"),
    ({"transport_sequence": -1}, "number_negative", "transport_sequence"),
    ({"runtime_timestamp_ms": -1}, "number_negative", "runtime_timestamp_ms"),
    ({"wall_clock_timestamp_ms": -1}, "number_negative", "wall_clock_timestamp_ms"),
    ({"timestamp_ms": -1}, "number_negative", "timestamp_ms"),
    ({"lane": Lane.CONTROL}, "lane_mismatch", "lane"),
    ({"lane": Lane.TELEMETRY}, "lane_mismatch", "lane"),
    ({"event_kind": EventKind.METRICS}, "payload_mismatch", "payload"),
    ({"payload_class": PayloadClass.AUDIO_RAW}, "media_time_missing", "media_time"),
    ({"media_time": MediaTime()}, "media_time_ambiguous", "media_time"),
    ({"media_time": MediaTime(sample_index=1, pts_ms=1)}, "media_time_ambiguous", "media_time"),
    ({"media_time": MediaTime(pts_ms=-1)}, "number_negative", "media_time"),
    ({"discontinuity_id": "x"}, "sync_domain_missing", "sync_domain"),
    ({"merged_from_event_ids": ["a"]}, "merge_lineage_invalid", "merge_group_id"),
    ({"merge_group_id": "g", "merged_from_event_ids": []}, "merge_lineage_invalid", "merged_from_event_ids"),
    (
        {"merge_group_id": "g", "merged_from_event_ids": ["a", "a"]},
        "merge_lineage_invalid",
        "merged_from_event_ids",
    ),
    (
        {"merge_group_id": "g", "merged_from_event_ids": [str(n) for n in range(65)]},
        "merge_lineage_invalid",
        "merged_from_event_ids",
    ),
    (
        {"event_scope": EventScope.SESSION, "turn_id": None, "late_after_cancel": True},
        "late_outside_turn",
        "late_after_cancel",
    ),
    ({"turn_id": None, "late_after_cancel": True}, "field_missing", "turn_id"),
    ({"signal": "commit"}, "field_forbidden", "signal"),
    ({"emitted_by": emitters.ARBITER}, "field_forbidden", "emitted_by"),
    ({"reason": "because"}, "field_forbidden", "reason"),
    ({"scope": CancelScope.TURN}, "field_forbidden", "scope"),
    ({"amount": 1}, "field_forbidden", "amount"),
    ({"seq_range": SeqRange(1, 2)}, "field_forbidden", "seq_range"),
    ({"payload": Note("not text")}, "payload_mismatch", "payload"),
    ({"extensions": {"plain": 1}}, "extension_not_namespaced", "extensions"),
    ({"extensions": {".": 1}}, "extension_not_namespaced", "extensions"),
    ({"extensions": {"lane": "DataLane"}}, "extension_shadows_core", "extensions"),
]


@pytest.mark.parametrize(("fault", "code", "path"), TEXT_FAULTS)
def test_a_fault_in_an_envelope_is_named_by_code_and_field(
    fault: dict[str, Any], code: str, path: str
) -> None:
    assert (code, path) in broken(check_envelope(samples.text(**fault)))


def test_what_is_late_after_a_cancel_is_accepted_on_turn_scope() -> None:
    assert check_envelope(samples.text(late_after_cancel=True)) == []


def test_session_data_needs_an_epoch_past_ingress_and_a_key_at_ingress() -> None:
    fresh = samples.text(event_scope=EventScope.SESSION, turn_id=None, authority_epoch=None)
    assert broken(check_envelope(fresh)) == {("authority_epoch_missing", "authority_epoch")}
    assert broken(check_envelope(fresh, at_ingress=True)) == {("idempotency_key_missing", "idempotency_key")}
    keyed = samples.changed(fresh, idempotency_key="k-1")
    assert check_envelope(keyed, at_ingress=True) == []


def test_a_control_envelope_is_metadata_and_says_its_signal_its_emitter_and_its_epoch() -> None:
    spoiled = samples.signal("commit", payload_class=PayloadClass.PII, authority_epoch=None)
    assert broken(check_envelope(spoiled)) == {
        ("payload_class_mismatch", "payload_class"),
        ("authority_epoch_missing", "authority_epoch"),
    }
    mute = samples.changed(samples.signal("commit"), signal=None, emitted_by=None)
    assert {("field_missing", "signal"), ("field_missing", "emitted_by")} <= broken(check_envelope(mute))


def test_a_signal_that_says_one_thing_outside_and_another_inside_is_refused() -> None:
    two_truths = samples.changed(samples.signal("abort"), reason="another")
    assert broken(check_envelope(two_truths)) == {("payload_mismatch", "payload")}


@pytest.mark.parametrize("rule", SIGNALS.values(), ids=lambda rule: rule.name.value)
def test_each_signal_is_refused_from_a_stranger_and_in_a_foreign_scope(rule: SignalRule) -> None:
    stranger = next(name for name in sorted(emitters.ALL) if name not in rule.emitters)
    found = broken(check_envelope(samples.signal(rule.name, emitted_by=stranger)))
    assert ("signal_emitter_illegal", "emitted_by") in found
    if rule.scope == "session":
        moved = samples.signal(rule.name, event_scope=EventScope.TURN, turn_id="t-1")
    elif rule.scope == "turn":
        moved = samples.signal(rule.name, event_scope=EventScope.SESSION)
    else:
        return
    assert ("signal_scope_illegal", "event_scope") in broken(check_envelope(moved))


REQUIRED = [(name, path) for name, rule in SIGNALS.items() for path in rule.requires]


@pytest.mark.parametrize(("name", "path"), REQUIRED)
def test_each_signal_is_refused_without_any_field_that_its_row_asks_for(name: str, path: str) -> None:
    if path.startswith("detail."):
        found = _without_detail(name, path)
    else:
        found = check_envelope(samples.signal(name, **{path: None}))
    assert path in {violation.path for violation in found}


def _without_detail(name: str, path: str) -> list[Violation]:
    envelope = samples.signal(name)
    payload = envelope.payload
    assert isinstance(payload, Signal)
    detail = {key: value for key, value in (payload.detail or {}).items() if f"detail.{key}" != path}
    return check_envelope(samples.changed(envelope, payload=samples.changed(payload, detail=detail)))


def test_an_unregistered_signal_is_refused() -> None:
    assert ("signal_unknown", "signal") in broken(check_envelope(samples.signal("commit", signal="comit")))


@pytest.mark.parametrize("span", [SeqRange(2, 1), SeqRange(-1, 1)])
def test_a_range_that_ends_before_it_starts_or_starts_below_0_is_refused(span: SeqRange) -> None:
    assert ("seq_range_invalid", "seq_range") in broken(
        check_envelope(samples.signal("drop_notice", seq_range=span))
    )


def test_a_grant_of_no_credit_is_refused() -> None:
    assert ("amount_invalid", "amount") in broken(check_envelope(samples.signal("credit_grant", amount=0)))


# --- decisions ----------------------------------------------------------------------------------------------------

EVERY_COMBINATION = st.builds(
    samples.admit,
    outcome_kind=st.sampled_from(OutcomeKind),
    emitted_by=st.sampled_from(sorted(emitters.ALL)),
    phase=st.sampled_from(Phase),
    scope=st.sampled_from(OutcomeScope),
    authority_epoch=st.just(3),
)


@given(EVERY_COMBINATION)
def test_a_decision_is_legal_exactly_when_the_table_has_it(outcome: DecisionOutcome) -> None:
    rows = LEGAL.get((outcome.outcome_kind, outcome.emitted_by), {}).get(outcome.phase, ())
    assert (check_decision(outcome) == []) == (outcome.scope in rows)


LEGAL_ROWS = [
    (kind, emitter, phase, scope)
    for (kind, emitter), phases in LEGAL.items()
    for phase, scopes in phases.items()
    for scope in scopes
]


@pytest.mark.parametrize(("kind", "emitter", "phase", "scope"), LEGAL_ROWS)
def test_every_row_of_the_table_of_decisions_is_accepted(
    kind: OutcomeKind, emitter: str, phase: Phase, scope: OutcomeScope
) -> None:
    outcome = samples.admit(
        outcome_kind=kind, emitted_by=emitter, phase=phase, scope=scope, authority_epoch=3
    )
    assert check_decision(outcome) == []


STALE = {"outcome_kind": OutcomeKind.STALE_EPOCH_REJECT, "emitted_by": emitters.AUTHORITY}
DRAIN = {
    "outcome_kind": OutcomeKind.DEAUTHORIZED_DRAIN,
    "emitted_by": emitters.AUTHORITY,
    "phase": Phase.ACTIVE_TURN,
    "authority_epoch": 3,
}
DECISION_FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"phase": Phase.ACTIVE_TURN}, "decision_illegal", "outcome_kind"),
    ({"emitted_by": emitters.ARBITER}, "decision_illegal", "outcome_kind"),
    ({"emitted_by": emitters.CP_ADMISSION}, "decision_illegal", "outcome_kind"),
    ({"outcome_kind": OutcomeKind.SHED}, "decision_illegal", "outcome_kind"),
    (
        {
            "outcome_kind": OutcomeKind.SHED,
            "phase": Phase.SCHEDULING_POINT,
            "scope": OutcomeScope.EDGE_ENQUEUE,
            "emitted_by": emitters.BUFFERS,
        },
        "decision_illegal",
        "outcome_kind",
    ),
    (STALE, "authority_epoch_missing", "authority_epoch"),
    ({**STALE, "authority_epoch": 3, "emitted_by": emitters.ADMISSION}, "decision_illegal", "outcome_kind"),
    ({**STALE, "authority_epoch": -3}, "number_negative", "authority_epoch"),
    ({**DRAIN, "scope": OutcomeScope.SESSION}, "decision_illegal", "outcome_kind"),
    ({**DRAIN, "turn_id": None}, "field_missing", "turn_id"),
    ({"turn_id": None}, "field_missing", "turn_id"),
    ({"reason": ""}, "field_empty", "reason"),
    ({"reason": "deterministic_reason"}, "decision_reason_unknown", "reason"),
    ({"session_id": ""}, "field_empty", "session_id"),
    ({"event_id": ""}, "field_empty", "event_id"),
    ({"runtime_timestamp_ms": -1}, "number_negative", "runtime_timestamp_ms"),
    ({"wall_clock_timestamp_ms": -1}, "number_negative", "wall_clock_timestamp_ms"),
]


@pytest.mark.parametrize(("fault", "code", "path"), DECISION_FAULTS)
def test_a_fault_in_a_decision_is_named_by_code_and_field(
    fault: dict[str, Any], code: str, path: str
) -> None:
    assert (code, path) in broken(check_decision(samples.admit(**fault)))


# --- sequences ----------------------------------------------------------------------------------------------------


def test_a_batch_in_order_is_accepted_and_runtime_born_events_have_no_transport_sequence() -> None:
    batch = [
        samples.text(runtime_sequence=1, transport_sequence=7),
        samples.text(runtime_sequence=2),
        samples.text(runtime_sequence=3, transport_sequence=8),
        samples.text(session_id="another", runtime_sequence=1, transport_sequence=1),
    ]
    assert check_batch(batch) == []


@pytest.mark.parametrize("name", ["runtime_sequence", "transport_sequence"])
def test_a_sequence_that_goes_backwards_is_refused_by_index(name: str) -> None:
    batch = [
        samples.text(**{"runtime_sequence": 10 + at, name: number}) for at, number in enumerate((4, 6, 5))
    ]
    assert broken(check_batch(batch)) == {("sequence_regressed", f"[2].{name}")}


def test_a_fault_inside_a_batch_is_named_by_index() -> None:
    assert broken(check_batch([samples.text(), samples.text(turn_id=None)])) == {
        ("field_missing", "[1].turn_id")
    }


def test_a_turn_that_was_refused_before_it_opened_has_no_terminal() -> None:
    refusal = samples.admit(outcome_kind=OutcomeKind.REJECT, reason="admission_capacity_reject")
    opened, aborted = samples.signal("turn_open"), samples.signal("abort")
    assert broken(check_history([refusal, aborted])) == {("refusal_followed_by_terminal", "[1].signal")}
    assert check_history([refusal, opened, aborted, samples.signal("close")]) == []
    assert check_history([refusal, samples.signal("close", turn_id="t-2")]) == []


def test_every_code_of_every_rule_says_what_to_do() -> None:
    tables = (ENVELOPE_RULES, INGRESS_RULES, PAST_INGRESS_RULES, SIGNAL_RULES, DECISION_RULES)
    codes = {rule.code for table in tables for rule in table}
    assert codes <= set(CODES)
