"""Surfaces, rows, health, actions and the journal, as GraphQL names them.

What is answered are the structs of those who know; a type here only says which of their fields are shown. Where a name differs,
a resolver says so.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import strawberry
from strawberry.scalars import JSON


@strawberry.enum(name="Level")
class LevelWord(Enum):
    """How things are, from well to worst."""

    OK = "ok"
    NOTICE = "notice"
    DEGRADED = "degraded"
    FAILED = "failed"


def _tenant(root: strawberry.Parent[Any]) -> str | None:
    """Whose it is; without one it is the fleet's."""
    tenant: str | None = root.tenant_id
    return tenant


@strawberry.type
class Surface:
    """One declared surface of the runtime's state."""

    name: str
    owner: str
    summary: str
    aggregate_type: str
    storage: str
    truth: str
    derived_from: list[str]
    affects_health: bool
    affects_actions: bool
    authority: bool
    coverage: str
    read: str


@strawberry.type
class Row:
    """One aggregate of a surface at one moment."""

    surface: str
    aggregate_id: str
    tenant: str | None
    state: str
    level: LevelWord
    reason: str
    message: str
    since_ms: float
    over: bool
    facts: JSON


@strawberry.type
class RowPage:
    """`next` is the `after` of the next page; without one this is the last."""

    items: list[Row]
    next: str | None
    total: int


@strawberry.type
class Reason:
    """One row that is not ok."""

    surface: str
    aggregate_id: str
    tenant: str | None = strawberry.field(resolver=_tenant)
    level: LevelWord
    code: str
    message: str
    since_ms: float


@strawberry.type
class SurfaceHealth:
    surface: str
    level: LevelWord
    rows: int
    reasons: list[Reason]


@strawberry.type
class Health:
    """A pure function of the surfaces' rows. `sequence` is the journal's last record that it includes."""

    level: LevelWord
    as_of_ms: float
    sequence: float
    stale: bool
    reasons: list[Reason]
    surfaces: list[SurfaceHealth]


@strawberry.type
class Call:
    """The one mutation that performs an action, in the three ways to ask for it."""

    method: str
    path: str
    body: JSON
    graphql: str
    cli: str


@strawberry.type
class Action:
    """What can be done now, and whether the caller may."""

    id: strawberry.ID
    kind: str
    title: str
    why: str
    surface: str
    aggregate_id: str
    tenant: str | None
    role: str
    risk: str
    allowed: bool
    call: Call


@strawberry.type
class ActionResult:
    id: strawberry.ID
    done: bool
    repeated: bool
    message: str
    code: str


@strawberry.type
class StateChange:
    """One record of the journal."""

    schema_version: str
    event_id: str
    sequence: float
    occurred_at: str
    source: str
    surface: str
    change_type: str
    aggregate_type: str
    aggregate_id: str
    changed_surfaces: list[str]
    severity: str
    snapshot_hint: str
    mutates_authority_state: bool
    artifact_ref: str | None
    correlation_id: str | None
    causation_id: str | None
    metadata: JSON


@strawberry.type
class JournalPage:
    """`compacted`: what was asked for is no longer there; `oldest` is where the journal begins now."""

    items: list[StateChange]
    next: float
    last: float
    compacted: bool
    oldest: float


@strawberry.type
class SurfaceCoverage:
    surface: str
    declared: str
    coverage: str
    records: float
    last_sequence: float
    watched: float
    uncovered: float
    why: str


@strawberry.type
class JournalStatus:
    writable: bool
    problem: str
    records: float
    oldest: float
    last: float
    bytes: float
    surfaces: list[SurfaceCoverage]
