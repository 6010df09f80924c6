"""The OpenAPI document is written from the table of operations: what it says of a route is what the route does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from rspp import __version__
from rspp.control.operations.operation import Operation, Scope
from rspp.server.faults import Fault

OPENAPI: Final = "3.1.0"
REFERENCE: Final = "#/components/schemas/{name}"
SECURITY: Final = "bearer"
SCOPE_WORDS: Final = {
    Scope.TENANT: "of one tenant; what is another's answers as if there were no such thing",
    Scope.FLEET: "of the whole fleet; needs a role that holds everywhere",
    Scope.OWN: "of the caller alone",
    Scope.SECRET: "of whoever shows the secret; needs no token",
}
# Which refusals a route may answer, beside those that every route may.
REFUSALS: Final = {
    "401": "No token, or one that is not valid.",
    "403": "The principal may not do this.",
    "404": "There is no such thing, or it is another tenant's.",
    "422": "A field is not what it must be; `path` names it.",
    "429": "Too much, too soon; `retry_after_ms` says when to try again.",
    "503": "What this depends on cannot be reached.",
}
REFUSALS_OF_CHANGES: Final = {
    "400": "The body is no JSON.",
    "409": "Somebody was first, or a consent is due.",
    "413": "The body is too large.",
}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The whole description, as plain data."""
    kinds = [kind for one in operations for kind in (one.request, one.response)]
    shapes, schemas = msgspec.json.schema_components([*kinds, Fault], ref_template=REFERENCE)
    shape_of = dict(zip([*kinds, Fault], shapes, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        request = _resolved(shape_of[operation.request], schemas)
        entry = _entry(operation, request, shape_of[operation.response], shape_of[Fault])
        paths.setdefault(operation.path, {})[operation.method.lower()] = entry
    for operation in operations:
        _drop(schemas, shape_of[operation.request])  # a request is shown field by field, at its route
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "RSPP control plane",
            "version": __version__,
            "summary": "What runs where, for whom, under which policy.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{SECURITY: []}],
        "tags": [{"name": noun} for noun in dict.fromkeys(one.noun for one in operations)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {SECURITY: {"type": "http", "scheme": "bearer", "bearerFormat": "RSPP"}},
        },
    }


def _entry(
    operation: Operation, request: dict[str, Any], response: dict[str, Any], fault: dict[str, Any]
) -> dict[str, Any]:
    refusals = {**REFUSALS, **(REFUSALS_OF_CHANGES if operation.changes else {})}
    answers = {code: _content(fault, words) for code, words in sorted(refusals.items())}
    entry: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.noun],
        "summary": operation.summary,
        "description": f"{SCOPE_WORDS[operation.scope].capitalize()}. Permission: `{operation.permission.value}`.",
        "parameters": _parameters(operation, request),
        "responses": {"200": _content(response, "Done."), **answers},
        "x-rspp-permission": operation.permission.value,
        "x-rspp-scope": operation.scope.value,
        "x-rspp-idempotent": operation.idempotent or not operation.changes,
    }
    if operation.scope is Scope.SECRET:
        entry["security"] = [{}]
    if operation.approval:
        entry["x-rspp-approval"] = True
    body = _body(operation, request)
    if body is not None:
        entry["requestBody"] = body
    return entry


def _parameters(operation: Operation, request: dict[str, Any]) -> list[dict[str, Any]]:
    """The path's parts, and of a GET the query."""
    required = request.get("required", [])
    found = []
    for name, shape in request.get("properties", {}).items():
        in_path = name in operation.path_fields
        if not in_path and operation.changes:
            continue
        one = {"name": name, "in": "path" if in_path else "query", "schema": shape}
        one["required"] = in_path or name in required
        if "description" in shape:
            one["description"] = shape["description"]
        found.append(one)
    return found


def _body(operation: Operation, request: dict[str, Any]) -> dict[str, Any] | None:
    if not operation.changes:
        return None
    path = operation.path_fields
    fields = {name: shape for name, shape in request.get("properties", {}).items() if name not in path}
    if not fields:
        return None
    required = [name for name in request.get("required", []) if name not in path]
    shape: dict[str, Any] = {"type": "object", "properties": fields, "additionalProperties": False}
    if required:
        shape["required"] = required
    content: dict[str, Any] = {"schema": shape}
    example = {name: value for name, value in operation.example.items() if name not in path}
    if example:
        content["example"] = example
    return {"required": bool(required), "content": {"application/json": content}}


def _content(shape: dict[str, Any], words: str) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": shape}}}


def _resolved(shape: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    name = shape.get("$ref", "").rpartition("/")[2]
    resolved: dict[str, Any] = schemas[name] if name else shape
    return resolved


def _drop(schemas: dict[str, Any], shape: dict[str, Any]) -> None:
    schemas.pop(shape.get("$ref", "").rpartition("/")[2], None)
