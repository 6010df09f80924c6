"""What is told of a change, and the record that the journal makes of it (`runtime-state-change-v1`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

SCHEMA_VERSION: Final = "runtime-state-change-v1"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A surface has changed, as its owner's process tells it. The journal adds number and time, bounds and masks the rest."""

    event_id: str
    surface: str
    change_type: str
    aggregate_id: str
    source: str
    occurred_wall_ms: int
    severity: str = "info"
    artifact_ref: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    metadata: Mapping[str, Any] = {}


class StateChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of the journal. It says that something changed, never what is true now: whoever reads it asks the surface."""

    schema_version: str
    event_id: str
    sequence: int
    occurred_at: str  # RFC 3339, UTC, milliseconds
    source: str
    surface: str
    change_type: str
    aggregate_type: str
    aggregate_id: str
    changed_surfaces: tuple[str, ...]
    severity: str
    snapshot_hint: str  # how the surface is read
    mutates_authority_state: bool
    artifact_ref: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    metadata: dict[str, Any] = {}


class Tells(Protocol):
    """Takes changes. It never waits and never raises: what it cannot take it counts, and its surface is watched instead."""

    def tell(self, change: Change) -> None: ...
