"""The table of operations for people: as rows, and as the part of docs/control-api.md that nobody writes by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rspp.control.operations.operation import Operation, Scope

BEGIN: Final = "<!-- operations: written by `rspp control operations --markdown`, checked by a test -->"
END: Final = "<!-- /operations -->"
COLUMNS: Final = ("operation", "route", "needs", "of")
SCOPES: Final = {
    Scope.TENANT: "a tenant",
    Scope.FLEET: "the fleet",
    Scope.OWN: "the caller",
    Scope.SECRET: "whoever has the secret",
}


def row(operation: Operation) -> tuple[str, ...]:
    free = operation.scope in (Scope.OWN, Scope.SECRET)
    needs = "" if free else operation.permission.value
    return operation.name, f"{operation.method} {operation.path}", needs, SCOPES[operation.scope]


def markdown(operations: Sequence[Operation]) -> str:
    """The table between its two marks. A star says that the change may have to wait for consent."""
    lines = [BEGIN, "| operation | what it does | route | needs | of |", "| --- | --- | --- | --- | --- |"]
    for one in operations:
        name, route, needs, scope = row(one)
        star = " *" if one.approval else ""
        need = f"`{needs}`" if needs else "-"
        lines.append(f"| `{name}`{star} | {one.summary} | `{route}` | {need} | {scope} |")
    return "\n".join([*lines, END]) + "\n"
