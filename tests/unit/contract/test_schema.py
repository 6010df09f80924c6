"""The published schemas are those of the runtime, and a breaking change of one is found, named and blocked."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from rspp.contract import schema
from rspp.contract.codes import CODES
from rspp.contract.compat import Change, compare, compare_all
from rspp.contract.errors import MisuseError
from rspp.contract.event import AUDIO_WIRE_FIELDS
from rspp.contract.schema import HASH_KEY, TYPES, fingerprint, schemas
from rspp.contract.signals import SIGNALS


def test_each_schema_has_its_id_its_draft_a_description_and_the_hash_of_its_content() -> None:
    made = schemas()
    assert set(made) == {*TYPES, "errors"}
    for name, one in made.items():
        assert one["$id"] == f"rspp:{name}:v1.0"
        assert one["$schema"] == schema.DRAFT
        assert one["description"]
        assert one[HASH_KEY] == fingerprint(one)


def test_the_same_types_give_the_same_hashes_and_a_change_gives_another() -> None:
    one, other = schemas()["text"], schemas()["text"]
    assert one == other
    other["properties"]["text"]["maxLength"] = 10
    assert fingerprint(one) != fingerprint(other)


def test_no_core_record_takes_fields_that_it_does_not_name() -> None:
    assert all(one["additionalProperties"] is False for name, one in schemas().items() if name != "errors")


def test_the_registry_of_signals_and_the_table_of_codes_stand_in_the_schemas() -> None:
    made = schemas()
    assert made["signal"]["properties"]["signal"]["enum"] == list(SIGNALS)
    assert made["errors"]["properties"]["code"]["enum"] == list(CODES)
    conditions = made["envelope"]["allOf"]
    asked = [rule["if"]["properties"].get("signal", {}).get("const") for rule in conditions]
    assert [name for name in asked if name] == list(SIGNALS)
    cancel = conditions[asked.index("cancel")]["then"]
    assert cancel["required"] == ["scope"]
    assert cancel["properties"]["emitted_by"]["enum"] == list(SIGNALS["cancel"].emitters)


def test_audio_must_say_its_format_in_the_schema_too() -> None:
    assert schemas()["audio"]["required"] == ["type", *AUDIO_WIRE_FIELDS]


# --- compatibility ------------------------------------------------------------------------------------------------

OLD: dict[str, Any] = {
    "$id": "rspp:thing:v1.0",
    "type": "object",
    "properties": {
        "id": {"type": "string", "minLength": 1},
        "size": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]},
        "word": {"$ref": "#/$defs/Word"},
        "inner": {"anyOf": [{"$ref": "#/$defs/Inner"}, {"type": "null"}]},
        "list": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["id", "word"],
    "allOf": [{"if": {"properties": {"word": {"const": "a"}}}, "then": {"required": ["size"]}}],
    "$defs": {
        "Word": {"enum": ["a", "b"]},
        "Inner": {
            "title": "Inner",
            "type": "object",
            "properties": {"deep": {"type": "integer"}, "again": {"$ref": "#/$defs/Inner"}},
        },
    },
}


def after(*steps: tuple[str, Any]) -> list[Change]:
    """The differences after some places of the schema were set (or, with ..., deleted)."""
    new = copy.deepcopy(OLD)
    for path, value in steps:
        *parents, last = path.split("/")
        target: Any = new
        for step in parents:
            target = target[int(step)] if isinstance(target, list) else target[step]
        if value is ...:
            del target[last]
        else:
            target[last] = value
    return compare(OLD, new)


def told(found: list[Change]) -> list[tuple[str, str, bool]]:
    return [(change.path, change.rule, change.breaking) for change in found]


BREAKING: list[tuple[list[tuple[str, Any]], str, str]] = [
    ([("properties/id", ...), ("required", ["word"])], "id", "required_field_removed"),
    ([("properties/list", ...)], "list", "property_removed"),
    ([("properties/size", {"type": "number", "minimum": 0})], "size", "type_narrowed"),
    ([("properties/size/anyOf/0/type", "integer")], "size", "type_narrowed"),
    ([("properties/id", {"type": "integer"})], "id", "type_narrowed"),
    ([("$defs/Word", {"enum": ["a"]})], "word", "enum_narrowed"),
    ([("properties/id", {"enum": ["x"], "minLength": 1})], "id", "enum_narrowed"),
    ([("required", ["id", "word", "size"])], "size", "required_field_added"),
    ([("properties/fresh", {"type": "string"}), ("required", ["id", "word", "fresh"])], "fresh", "required_field_added"),
    ([("properties/id/minLength", 2)], "id", "bound_tightened"),
    ([("properties/id/maxLength", 9)], "id", "bound_tightened"),
    ([("properties/id/pattern", "^x")], "id", "bound_tightened"),
    ([("properties/list/items/minimum", 0)], "list[]", "bound_tightened"),
    ([("$defs/Inner/properties/deep/maximum", 9)], "inner.deep", "bound_tightened"),
    ([("additionalProperties", False)], "", "additional_properties_closed"),
    ([("allOf/0/then/required", ["size", "list"])], "list", "required_field_added"),
    (
        [("allOf", [*OLD["allOf"], {"if": {"properties": {"word": {"const": "b"}}}, "then": {"required": ["list"]}}])],
        "",
        "condition_added",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "path", "rule"), BREAKING, ids=lambda value: str(value)[:40])
def test_a_breaking_change_is_named_by_field_and_rule(
    steps: list[tuple[str, Any]], path: str, rule: str
) -> None:
    assert (path, rule, True) in told(after(*steps))


@pytest.mark.parametrize(("steps", "path", "rule"), BREAKING, ids=lambda value: str(value)[:40])
def test_with_a_new_major_version_the_same_change_passes(
    steps: list[tuple[str, Any]], path: str, rule: str
) -> None:
    found = after(*steps, ("$id", "rspp:thing:v2.0"))
    assert (path, rule, False) in told(found)
    assert not any(change.breaking for change in found)


def test_a_new_minor_version_does_not_excuse_a_breaking_change() -> None:
    assert any(change.breaking for change in after(("properties/list", ...), ("$id", "rspp:thing:v1.1")))


FINE: list[tuple[list[tuple[str, Any]], str]] = [
    ([("properties/fresh", {"type": "string"})], "optional_field_added"),
    ([("$defs/Word", {"enum": ["a", "b", "c"]})], "enum_widened"),
    ([("$defs/Word", {"type": "string"})], "enum_widened"),
    ([("properties/list/items", {"type": "number"})], "type_widened"),
    ([("properties/id/minLength", ...)], "bound_loosened"),
    ([("properties/size/anyOf/0/minimum", -1)], "bound_loosened"),
    ([("required", ["id"])], "required_dropped"),
    ([("allOf", [])], "condition_removed"),
    (
        [
            ("$defs/Word", {"enum": ["a", "b", "c"]}),
            ("allOf", [*OLD["allOf"], {"if": {"properties": {"word": {"const": "c"}}}, "then": {"required": ["list"]}}]),
        ],
        "condition_added",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "rule"), FINE, ids=lambda value: str(value)[:40])
def test_an_addition_passes(steps: list[tuple[str, Any]], rule: str) -> None:
    found = after(*steps)
    assert rule in {change.rule for change in found}
    assert not any(change.breaking for change in found)


def test_the_contract_is_compatible_with_itself_and_losing_a_schema_is_breaking() -> None:
    made = schemas()
    assert not any(compare_all(made, schemas()).values())
    fewer = {name: one for name, one in made.items() if name != "plan"}
    assert [change.rule for change in compare_all(made, fewer)["plan"] if change.breaking] == [
        "schema_removed"
    ]
    assert not any(change.breaking for change in compare_all(fewer, made)["plan"])


def test_each_required_field_of_the_envelope_is_missed_when_it_is_removed() -> None:
    old = schemas()["envelope"]
    for name in old["required"]:
        new = copy.deepcopy(old)
        del new["properties"][name]
        new["required"].remove(name)
        assert (name, "required_field_removed", True) in told(compare(old, new))


def test_a_signal_may_be_added_and_not_removed() -> None:
    old = schemas()["signal"]
    more, less = copy.deepcopy(old), copy.deepcopy(old)
    more["properties"]["signal"]["enum"].append("fresh")
    more["allOf"].append(
        {
            "if": {"properties": {"signal": {"const": "fresh"}}, "required": ["signal"]},
            "then": {"required": ["reason"]},
        }
    )
    assert not any(change.breaking for change in compare(old, more))
    less["properties"]["signal"]["enum"].remove("stop")
    assert ("signal", "enum_narrowed", True) in told(compare(old, less))


def test_a_row_of_the_table_of_decisions_may_be_added_and_not_removed() -> None:
    old = schemas()["decision"]
    new = copy.deepcopy(old)
    row = new["anyOf"].pop()
    assert ("", "row_removed", True) in told(compare(old, new))
    assert [change.rule for change in compare(new, old)] == ["row_added"]
    assert row not in new["anyOf"]


@pytest.mark.parametrize("target", ["#/$defs/Nowhere", "other.json#/$defs/Word", "#/$defs/Loop"])
def test_a_reference_that_leads_nowhere_is_misuse_and_not_a_crash(target: str) -> None:
    with pytest.raises(MisuseError, match="schema_reference_broken"):
        after(("properties/id", {"$ref": target}), ("$defs/Loop", {"$ref": "#/$defs/Loop"}))


def test_schemas_are_plain_json() -> None:
    made = schemas()
    assert msgspec.json.decode(msgspec.json.encode(made)) == made
