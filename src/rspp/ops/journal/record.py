"""What a record of `runtime-state-change-v1` must be, field by field in one table; and how one is made of a change.

What is too long is cut and what is secret is hidden when a record is made: telling of a change never fails by its words. Only
what would make the record mean nothing is refused: an unknown or derived surface, a change type or an event id that is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.contract.surface import Truth
from rspp.host.secrets import REDACTED
from rspp.ops.changes import SCHEMA_VERSION, Change, StateChange
from rspp.ops.journal import bounds
from rspp.ops.journal.redaction import metadata_of, text_of
from rspp.ops.surfaces import Surfaces
from rspp.timeline.redaction.forms import Kind, without_secrets

SEVERITIES: Final = ("debug", "info", "notice", "warning", "error", "critical")
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*")
_EVENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+=-]*")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
WALL_MS_MAX: Final = 253_402_300_799_999  # the last millisecond that RFC 3339 can write

# What is wrong with a value, in words that do not repeat it; None if nothing is.
Rule = Callable[[Any], str | None]


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with one field of a record."""

    field: str
    code: str
    message: str


def _is(expected: object) -> Rule:
    return lambda value: (
        None if value == expected and type(value) is type(expected) else f"it is not {expected!r}"
    )


def _text(most: int, form: re.Pattern[str] | None = None, *, least: int = 1) -> Rule:
    def rule(value: Any) -> str | None:
        if not isinstance(value, str):
            return f"it is no text but {_kind(value)}"
        if not least <= len(value) <= most:
            return f"it has {len(value)} characters; {least} to {most} are allowed"
        if form is not None and form.fullmatch(value) is None:
            return "it is not of the form that is asked for"
        return None

    return rule


def _sequence(value: Any) -> str | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return f"it is no whole number but {_kind(value)}"
    return None if 1 <= value <= bounds.SEQUENCE_MAX else f"it is not from 1 to {bounds.SEQUENCE_MAX}"


def _time(value: Any) -> str | None:
    if not isinstance(value, str) or _TIME.fullmatch(value) is None:
        return "it is no time of RFC 3339 in UTC with milliseconds"
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return "there is no such time"
    return None


def _severity(value: Any) -> str | None:
    return (
        None if isinstance(value, str) and value in SEVERITIES else f"it is none of {', '.join(SEVERITIES)}"
    )


def _names(value: Any) -> str | None:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= bounds.CHANGED_SURFACES_MAX:
        return f"it is no list of 1 to {bounds.CHANGED_SURFACES_MAX} names"
    if any(_NAME_RULE(one) is not None for one in value):
        return "something in it is no name of a surface"
    return "a name stands in it twice" if len(set(value)) != len(value) else None


def _switch(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"it is neither true nor false but {_kind(value)}"


def _metadata(value: Any) -> str | None:
    if not isinstance(value, dict):
        return f"it is no map but {_kind(value)}"
    try:
        size = len(msgspec.json.encode(value))
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
        return "it holds what JSON cannot write"
    if size > bounds.METADATA_BYTES_MAX:
        return f"it has {size} bytes; {bounds.METADATA_BYTES_MAX} are allowed"
    return _beyond(value, 1)


def _beyond(value: Any, depth: int) -> str | None:
    """Which bound of metadata is passed, if one is."""
    if isinstance(value, str):
        return "a text in it is too long" if len(value) > bounds.TEXT_CHARACTERS_MAX else None
    if not isinstance(value, dict | list):
        return None
    if depth > bounds.DEPTH_MAX:
        return f"it is deeper than {bounds.DEPTH_MAX}"
    if isinstance(value, list):
        if len(value) > bounds.ITEMS_MAX:
            return "a list in it is too long"
        return next((found for one in value if (found := _beyond(one, depth + 1))), None)
    if len(value) > bounds.KEYS_MAX:
        return "a map in it has too many keys"
    if any(not isinstance(key, str) or len(key) > bounds.KEY_CHARACTERS_MAX for key in value):
        return "a key in it is no text, or too long"
    return next((found for one in value.values() if (found := _beyond(one, depth + 1))), None)


def _kind(value: object) -> str:
    return type(value).__name__


_NAME_RULE: Final = _text(bounds.NAME_CHARACTERS_MAX, _NAME)

REQUIRED: Final[Mapping[str, Rule]] = {
    "schema_version": _is(SCHEMA_VERSION),
    "event_id": _text(bounds.EVENT_ID_CHARACTERS_MAX, _EVENT_ID),
    "sequence": _sequence,
    "occurred_at": _time,
    "source": _text(bounds.SOURCE_CHARACTERS_MAX),
    "surface": _NAME_RULE,
    "change_type": _NAME_RULE,
    "aggregate_type": _NAME_RULE,
    "aggregate_id": _text(bounds.AGGREGATE_CHARACTERS_MAX, least=0),
    "changed_surfaces": _names,
    "severity": _severity,
    "snapshot_hint": _text(bounds.HINT_CHARACTERS_MAX, least=0),
    "mutates_authority_state": _switch,
}
OPTIONAL: Final[Mapping[str, Rule]] = {
    "artifact_ref": _text(bounds.REFERENCE_CHARACTERS_MAX),
    "correlation_id": _text(bounds.CORRELATION_CHARACTERS_MAX),
    "causation_id": _text(bounds.CORRELATION_CHARACTERS_MAX),
    "metadata": _metadata,
}
# Texts of a record that may hold what was never meant to be written, and what of random looks they may have.
SEARCHED: Final[Mapping[str, tuple[Kind, int]]] = {
    "source": (Kind.IDENTITY, bounds.SOURCE_CHARACTERS_MAX),
    "aggregate_id": (Kind.IDENTITY, bounds.AGGREGATE_CHARACTERS_MAX),
    "artifact_ref": (Kind.DIGEST, bounds.REFERENCE_CHARACTERS_MAX),
    "correlation_id": (Kind.IDENTITY, bounds.CORRELATION_CHARACTERS_MAX),
    "causation_id": (Kind.IDENTITY, bounds.CORRELATION_CHARACTERS_MAX),
}
# Texts that mean nothing when a part of them is hidden: such a change is refused.
UNCHANGED: Final[Mapping[str, Kind]] = {"event_id": Kind.IDENTITY, "change_type": Kind.FREE}


def faults_of(record: object) -> Iterator[Fault]:
    """Everything that is wrong with what should be a record, in the order of its fields."""
    if not isinstance(record, Mapping):
        yield Fault("", "type_mismatch", f"a record is a map, not {_kind(record)}")
        return
    for name, rule in REQUIRED.items():
        if name not in record:
            yield Fault(name, "field_missing", "it is not there")
        elif (found := rule(record[name])) is not None:
            yield Fault(name, "field_invalid", found)
    for name, rule in OPTIONAL.items():
        if name in record and (found := rule(record[name])) is not None:
            yield Fault(name, "field_invalid", found)
    for name in record:
        if name not in REQUIRED and name not in OPTIONAL:
            yield Fault(_shown(name), "field_unknown", f"{SCHEMA_VERSION} has no such field")
    yield from _secrets(record)


def _secrets(record: Mapping[Any, Any]) -> Iterator[Fault]:
    for name, (kind, _) in SEARCHED.items():
        text = record.get(name)
        if isinstance(text, str) and without_secrets(text, kind) != text:
            yield Fault(name, "secret_found", "it holds what looks like a secret, or cannot be seen")
    for name, kind in UNCHANGED.items():
        text = record.get(name)
        if isinstance(text, str) and without_secrets(text, kind) != text:
            yield Fault(name, "secret_found", "it looks like a secret")
    metadata = record.get("metadata")
    if isinstance(metadata, dict) and _metadata(metadata) is None and metadata_of(metadata) != metadata:
        yield Fault(
            "metadata", "secret_found", "it holds what looks like a secret, or is not as it is written here"
        )


def unlike_surface(record: Mapping[str, Any], surfaces: Surfaces) -> Iterator[Fault]:
    """Where a record says something else than the declaration of its surface does."""
    surface = surfaces.get(record["surface"]) if isinstance(record.get("surface"), str) else None
    if surface is None:
        yield Fault("surface", "surface_unknown", "nobody declares a surface of this name")
        return
    if surface.truth is Truth.DERIVED:
        yield Fault("surface", "surface_derived", f"{surface.name} is derived: it is nobody's source")
    if record.get("mutates_authority_state") is not surface.authority:
        yield Fault(
            "mutates_authority_state", "authority_mismatch", f"{surface.name} declares {surface.authority}"
        )
    if record.get("aggregate_type") != surface.aggregate_type:
        yield Fault(
            "aggregate_type", "aggregate_mismatch", f"{surface.name} declares {surface.aggregate_type}"
        )
    if tuple(record.get("changed_surfaces") or ()) != surfaces.changed_with(surface):
        yield Fault(
            "changed_surfaces", "changed_mismatch", "the declarations say that other surfaces change with it"
        )


def _shown(name: object) -> str:
    return text_of(name, bounds.KEY_CHARACTERS_MAX) if isinstance(name, str) else _kind(name)


# ---- made of a change ------------------------------------------------------------------------------------------------


def drafted(change: Change, surfaces: Surfaces) -> StateChange:
    """The record of a change, without a number yet; raises `MisuseError` where it would mean nothing."""
    surface = surfaces.named(change.surface)
    if surface.truth is Truth.DERIVED:
        raise MisuseError(
            "surface_derived", f"{surface.name} is derived: record what it comes from", "surface"
        )
    for name in ("event_id", "change_type"):
        found = REQUIRED[name](getattr(change, name))
        if found is not None:
            raise MisuseError("state_change_invalid", found, name)
    for name, kind in UNCHANGED.items():
        said: str = getattr(change, name)
        if without_secrets(said, kind) != said:
            raise MisuseError("state_change_invalid", "it looks like a secret", name)
    if change.severity not in SEVERITIES:
        raise MisuseError("state_change_invalid", f"it is none of {', '.join(SEVERITIES)}", "severity")
    return StateChange(
        schema_version=SCHEMA_VERSION,
        event_id=change.event_id,
        sequence=0,
        occurred_at=time_of(change.occurred_wall_ms),
        source=_said("source", change.source) or "unknown",
        surface=surface.name,
        change_type=change.change_type,
        aggregate_type=surface.aggregate_type,
        aggregate_id=_said("aggregate_id", change.aggregate_id) or "",
        changed_surfaces=surfaces.changed_with(surface),
        severity=change.severity,
        snapshot_hint=surface.read[: bounds.HINT_CHARACTERS_MAX],
        mutates_authority_state=surface.authority,
        artifact_ref=_said("artifact_ref", change.artifact_ref),
        correlation_id=_said("correlation_id", change.correlation_id),
        causation_id=_said("causation_id", change.causation_id),
        metadata=metadata_of(change.metadata),
    )


def _said(name: str, text: str | None) -> str | None:
    kind, most = SEARCHED[name]
    return None if not text else text_of(str(text), most, kind) or REDACTED


def recorded_name(aggregate_id: str) -> str:
    """How a record names this aggregate."""
    return _said("aggregate_id", aggregate_id) or ""


def time_of(wall_ms: int) -> str:
    """RFC 3339 in UTC, to the millisecond; a time that it cannot write is the nearest one that it can."""
    seconds, ms = divmod(min(max(wall_ms, 0), WALL_MS_MAX), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"


def wall_ms_of(occurred_at: str) -> int:
    """The other way; 0 for what is no time."""
    try:
        at = datetime.fromisoformat(occurred_at)
    except ValueError:
        return 0
    return max(0, round(at.timestamp() * 1000))
