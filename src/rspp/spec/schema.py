"""The published JSON Schema of what people write, made from the types that check it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect

from rspp.contract.words import CORE_SCHEMA_VERSION
from rspp.spec.model import PipelineSpec


def spec_schema() -> dict[str, Any]:
    """The published JSON Schema of a PipelineSpec."""
    return schema_of(PipelineSpec)


def schema_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """A record's schema; where some of another record's fields may stand, that record with nothing required."""
    schema = msgspec.json.schema(struct)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"{struct.__name__} {CORE_SCHEMA_VERSION}"
    definitions = schema["$defs"]
    kind = inspect.type_info(struct)
    assert isinstance(kind, inspect.StructType)
    for field in kind.fields:
        overlay = overlay_of(field.type)
        if overlay is not None:
            partial = msgspec.json.schema(overlay)
            for name, definition in partial["$defs"].items():
                definitions[f"Some{name}"] = _without_required(definition)
            where = definitions[struct.__name__]["properties"][field.encode_name]
            where.pop("type", None)
            where["$ref"] = f"#/$defs/Some{overlay.__name__}"
    return schema


def _without_required(definition: Any) -> Any:
    """The same definition, optional throughout, its references turned to the optional ones."""
    if isinstance(definition, dict):
        return {
            key: value.replace("#/$defs/", "#/$defs/Some") if key == "$ref" else _without_required(value)
            for key, value in definition.items()
            if key != "required" or not isinstance(value, list)
        }
    return [_without_required(item) for item in definition] if isinstance(definition, list) else definition


def overlay_of(kind: inspect.Type) -> type[msgspec.Struct] | None:
    overlay: type[msgspec.Struct] | None = None
    if isinstance(kind, inspect.Metadata):
        overlay = (kind.extra or {}).get("overlay")
    return overlay
