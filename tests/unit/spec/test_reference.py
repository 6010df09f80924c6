"""The reference says what the code says: every field, every default, and examples that the code accepts."""

from __future__ import annotations

import msgspec
import pytest

from rspp.contract.event import Envelope
from rspp.contract.words import CORE_SCHEMA_VERSION
from rspp.spec import load, model, source
from rspp.spec.check import read
from rspp.spec.problem import Findings
from rspp.spec.profile import ROWS
from rspp.spec.reference import MINIMAL, pages, structs_of
from rspp.spec.reference_events import EXAMPLE, FIELDS
from rspp.spec.schema import spec_schema

STRUCTS = structs_of(model.PipelineSpec)


def test_every_field_of_every_record_has_a_description() -> None:
    for struct in STRUCTS:
        kind = msgspec.inspect.type_info(struct)
        assert isinstance(kind, msgspec.inspect.StructType)
        for field in kind.fields:
            assert isinstance(field.type, msgspec.inspect.Metadata), f"{struct.__name__}.{field.name}"
            assert (field.type.extra_json_schema or {}).get("description"), f"{struct.__name__}.{field.name}"


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_every_example_is_accepted_by_the_checker(struct: type[msgspec.Struct]) -> None:
    kind = msgspec.inspect.type_info(struct)
    assert isinstance(kind, msgspec.inspect.StructType)
    for field in kind.fields:
        assert isinstance(field.type, msgspec.inspect.Metadata)
        for example in (field.type.extra_json_schema or {}).get("examples", []):
            text = msgspec.json.encode({"value": example}).decode()
            root = source.read(text, "example").root
            assert root is not None
            findings = Findings("example")
            read(root.entries["value"], field.type, (field.encode_name,), findings)
            assert [str(problem) for problem in findings.problems] == []


def test_every_setting_and_every_field_is_on_its_page() -> None:
    written = pages()
    assert all(f"| `{path}` |" in written["reference/policies.md"] for path in ROWS)
    assert all(f"| `{name}` |" in written["reference/events.md"] for name in FIELDS)
    for struct in STRUCTS:
        assert f"## {struct.__name__}\n" in written["reference/pipeline-spec.md"]


def test_the_envelopes_fields_are_all_described_and_its_example_decodes() -> None:
    assert set(FIELDS) == {field.encode_name for field in msgspec.structs.fields(Envelope)}
    assert msgspec.json.decode(msgspec.json.encode(EXAMPLE), type=Envelope) == EXAMPLE
    assert EXAMPLE.schema_version == CORE_SCHEMA_VERSION


def test_the_minimal_spec_of_the_page_compiles() -> None:
    assert load(MINIMAL).graph is not None


def test_the_published_schema_has_every_field_and_no_dangling_reference() -> None:
    schema = spec_schema()
    assert CORE_SCHEMA_VERSION in schema["title"]
    assert set(schema["$defs"]["PipelineSpec"]["properties"]) == {
        field.encode_name for field in msgspec.structs.fields(model.PipelineSpec)
    }
    text = msgspec.json.encode(schema).decode()
    for name in {part.split('"')[0] for part in text.split("#/$defs/")[1:]}:
        assert name in schema["$defs"]
    assert "required" not in schema["$defs"]["SomeTurnTaking"]
