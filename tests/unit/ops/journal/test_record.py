"""A record is checked field by field, and a change becomes one whatever its words are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rspp.contract.errors import MisuseError
from rspp.ops.changes import Change, StateChange
from rspp.ops.journal import bounds
from rspp.ops.journal.record import drafted, faults_of, time_of, unlike_surface, wall_ms_of
from tests.unit.ops.journal.made import SURFACES, WALL_MS, change
from tests.unit.ops.journal.planted import JWT, PLANTED, URLSAFE

LEASE_TOKEN = "d3b07384d113edec49eaa6238ad5ff00"


def record(**more: Any) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(drafted(change("e1", correlation_id="c-1"), SURFACES))
    return made | {"sequence": 7} | more


def test_a_change_becomes_a_record_with_what_its_surface_declares() -> None:
    made = drafted(change("e1", metadata={"state": "ready"}), SURFACES)
    assert made == StateChange(
        schema_version="runtime-state-change-v1",
        event_id="e1",
        sequence=0,
        occurred_at="2023-11-14T22:13:20.000Z",
        source="w-1@test",
        surface="workers",
        change_type="changed",
        aggregate_type="worker",
        aggregate_id="w-1",
        changed_surfaces=("workers", "runtime_health", "runtime_actions"),
        severity="info",
        snapshot_hint="rows workers",
        mutates_authority_state=False,
        metadata={"state": "ready"},
    )
    assert drafted(change("e2", surface="leases"), SURFACES).mutates_authority_state is True


def test_a_record_that_is_as_it_must_be_has_no_faults() -> None:
    assert list(faults_of(record())) == []
    assert list(unlike_surface(record(), SURFACES)) == []


WRONG: tuple[tuple[str, Any], ...] = (
    ("schema_version", "runtime-state-change-v2"),
    ("schema_version", None),
    ("event_id", ""),
    ("event_id", "a b"),
    ("event_id", "x" * 129),
    ("event_id", 7),
    ("sequence", 0),
    ("sequence", -1),
    ("sequence", True),
    ("sequence", "7"),
    ("sequence", 2**53),
    ("occurred_at", "2023-11-14 22:13:20Z"),
    ("occurred_at", "2023-11-14T22:13:20Z"),
    ("occurred_at", "2023-13-14T22:13:20.000Z"),
    ("occurred_at", "2023-11-14T22:13:20.000+01:00"),
    ("occurred_at", 1),
    ("source", ""),
    ("source", "x" * 129),
    ("surface", "Workers"),
    ("surface", "x" * 65),
    ("change_type", "has space"),
    ("change_type", "_x"),
    ("change_type", "x..y"),
    ("change_type", ["changed"]),
    ("aggregate_type", ""),
    ("aggregate_id", "x" * 257),
    ("aggregate_id", None),
    ("changed_surfaces", []),
    ("changed_surfaces", ["workers", "workers"]),
    ("changed_surfaces", "workers"),
    ("changed_surfaces", ["a"] * 65),
    ("changed_surfaces", [1]),
    ("severity", "bad"),
    ("severity", ["info"]),
    ("snapshot_hint", "x" * 257),
    ("mutates_authority_state", 1),
    ("mutates_authority_state", None),
    ("artifact_ref", ""),
    ("artifact_ref", "x" * 513),
    ("correlation_id", 5),
    ("causation_id", "x" * 129),
    ("metadata", []),
    ("metadata", {"a": "x" * 513}),
    ("metadata", {str(n): n for n in range(33)}),
    ("metadata", {"a": {"b": {"c": {"d": {}}}}}),
    ("metadata", {"a": list(range(33))}),
    ("metadata", {"x" * 65: 1}),
    ("metadata", {f"k{n}": "word " * 100 for n in range(9)}),
    ("metadata", {"a": b"x"}),
)


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda one: str(one)[:24])
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    found = list(faults_of(record(**{field: value})))
    assert field in {one.field for one in found}
    assert {one.code for one in found if one.field == field} <= {"field_invalid", "secret_found"}


@pytest.mark.parametrize("field", [*record()])
def test_a_missing_field_is_named_if_it_is_required(field: str) -> None:
    without = record()
    del without[field]
    optional = field in ("metadata", "correlation_id")
    assert [(one.field, one.code) for one in faults_of(without)] == (
        [] if optional else [(field, "field_missing")]
    )


def test_a_field_that_the_schema_does_not_have_is_refused() -> None:
    assert [(one.field, one.code) for one in faults_of(record(extra=1))] == [("extra", "field_unknown")]


@pytest.mark.parametrize("value", [None, 5, "x", [record()]])
def test_what_is_no_map_is_no_record(value: object) -> None:
    assert [one.code for one in faults_of(value)] == ["type_mismatch"]


@pytest.mark.parametrize(
    "field", ["source", "aggregate_id", "artifact_ref", "correlation_id", "causation_id", "event_id"]
)
def test_a_secret_in_any_text_is_found(field: str) -> None:
    assert (field, "secret_found") in [
        (one.field, one.code) for one in faults_of(record(**{field: JWT[:120]}))
    ]


def test_a_secret_written_as_a_kind_of_change_is_found() -> None:
    found = [(one.field, one.code) for one in faults_of(record(change_type=LEASE_TOKEN))]
    assert found == [("change_type", "secret_found")]


@pytest.mark.parametrize("planted", PLANTED[::7], ids=lambda one: one.name)
def test_a_secret_in_metadata_that_was_written_past_us_is_found_and_not_repeated(planted: Any) -> None:
    found = [one for one in faults_of(record(metadata=planted.metadata)) if one.field == "metadata"]
    assert found
    assert planted.secret not in str(found)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mutates_authority_state", True),
        ("aggregate_type", "session"),
        ("changed_surfaces", ["workers"]),
        ("surface", "nobody"),
        ("surface", "runtime_health"),
        ("surface", 5),
    ],
)
def test_what_the_declaration_says_otherwise_is_named(field: str, value: Any) -> None:
    assert field in {one.field for one in unlike_surface(record(**{field: value}), SURFACES)}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"surface": "nobody"}, "surface_unknown"),
        ({"surface": "runtime_health"}, "surface_derived"),
        ({"change_type": "Has Space"}, "state_change_invalid"),
        ({"change_type": LEASE_TOKEN}, "state_change_invalid"),
        ({"change_type": f"changed.{LEASE_TOKEN}"}, "state_change_invalid"),
        ({"severity": "loud"}, "state_change_invalid"),
        ({"event": ""}, "state_change_invalid"),
        ({"event": JWT[:120]}, "state_change_invalid"),
    ],
)
def test_a_change_that_would_mean_nothing_is_refused(more: dict[str, Any], code: str) -> None:
    with pytest.raises(MisuseError) as caught:
        drafted(change(**({"event": "e1"} | more)), SURFACES)
    assert caught.value.code == code


def test_what_is_too_long_is_cut_and_what_is_secret_is_hidden() -> None:
    made = drafted(
        change("e1", "w-" + "1" * 400, artifact_ref=f"https://x/y?token={URLSAFE}", correlation_id=URLSAFE),
        SURFACES,
    )
    assert len(made.aggregate_id) == bounds.AGGREGATE_CHARACTERS_MAX
    assert "...[+" in made.aggregate_id
    assert made.artifact_ref == "https://x/y?token=[redacted]"
    assert made.correlation_id == "[redacted]"


words = st.text(max_size=300)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    about=words,
    source=words,
    artifact=words,
    correlation=words,
    metadata=st.dictionaries(words, words),
    wall=st.integers(),
)
def test_whatever_words_a_change_has_its_record_is_sound(
    about: str, source: str, artifact: str, correlation: str, metadata: dict[str, str], wall: int
) -> None:
    told = Change(
        event_id="e1",
        surface="workers",
        change_type="changed",
        aggregate_id=about,
        source=source,
        occurred_wall_ms=wall,
        artifact_ref=artifact,
        correlation_id=correlation,
        metadata=metadata,
    )
    made = msgspec.to_builtins(drafted(told, SURFACES)) | {"sequence": 1}
    assert list(faults_of(msgspec.msgpack.decode(msgspec.msgpack.encode(made)))) == []


@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_a_time_is_read_as_it_was_written(wall_ms: int) -> None:
    assert wall_ms_of(time_of(wall_ms)) == wall_ms


def test_the_clock_of_a_record_is_utc() -> None:
    assert time_of(WALL_MS + 7) == "2023-11-14T22:13:20.007Z"
    assert wall_ms_of("never") == 0
