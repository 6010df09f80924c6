"""The JSON Schemas of the contract, made from the very types and tables that the runtime uses.

One document a name, draft 2020-12, with an `$id` of `rspp:<name>:<version>` and a hash of its content, so that a copy
anywhere can be told from a forgery or from last year's. What types cannot say (a turn's event names its turn, a signal
carries its fields) is added from the tables of `contract.signals` and `contract.rules` as conditions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from rspp.contract import event, plan
from rspp.contract.codes import CODES
from rspp.contract.compat import Change, compare, compare_all
from rspp.contract.decisions import LEGAL, DecisionOutcome, DecisionReason, OutcomeKind
from rspp.contract.errors import ERROR_CLASSES
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.rules import MERGED_IDS_MAX
from rspp.contract.signals import SIGNALS, SignalRule
from rspp.contract.transitions import Transition
from rspp.contract.words import CORE_SCHEMA_VERSION, LANE_OF, EventKind

__all__ = ["Change", "compare", "compare_all", "fingerprint", "schemas"]

Schema = dict[str, Any]

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
HASH_KEY: Final = "x-content-hash"
_NOT_NULL: Final[Mapping[str, Any]] = {"not": {"type": "null"}}
_ABSENT: Final[Mapping[str, Any]] = {"type": "null"}

TYPES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "envelope": event.Envelope,
    "audio": event.Audio,
    "text": event.Text,
    "signal": event.Signal,
    "sample": event.Sample,
    "note": event.Note,
    "fault": event.Fault,
    "decision": DecisionOutcome,
    "transition": Transition,
    "plan": plan.ResolvedTurnPlan,
    "turn-evidence": TurnEvidence,
    "close-stamp": CloseStamp,
}

# Definition -> field -> the least value. The types of plans do not say it, because specs are checked with lines.
_LEAST: Final[Mapping[str, Mapping[str, int]]] = {
    "Budgets": dict.fromkeys(plan.Budgets.__struct_fields__, 1),
    "BufferPolicy": dict.fromkeys(
        (
            *("max_queue_items", "max_queue_ms", "max_queue_bytes", "max_latency_contribution_ms"),
            *("max_block_time_ms", "coalesce_ms"),
        ),
        1,
    ),
    "Watermark": {"high": 1, "low": 0},
    "NodePolicy": {"concurrency_limit": 0},
    "HandoffEdge": dict.fromkeys(
        ("min_partial_chars", "max_partial_age_ms", "max_pending_revisions", "max_pending_segments"), 1
    ),
    "Determinism": {"seed": 0},
    "ResolvedTurnPlan": {"authority_epoch": 0, "provider_timeout_ms": 1, "cancel_grace_ms": 0},
    "InvocationOutcome": {"attempts": 1, "final_attempt_latency_ms": 0, "total_latency_ms": 0},
}


def schemas() -> dict[str, Schema]:
    """Every published schema by name."""
    made = {name: _document(name, _of_type(kind)) for name, kind in TYPES.items()}
    made["errors"] = _document("errors", _errors())
    return made


def fingerprint(schema: Mapping[str, Any]) -> str:
    """A hash of what a schema says; the place of the hash itself is left out."""
    content = {key: value for key, value in schema.items() if key != HASH_KEY}
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def _document(name: str, body: Schema) -> Schema:
    # Defaults are Python's tuples and enums; what is published and hashed is what a reader of the JSON sees.
    plain: Schema = msgspec.json.decode(msgspec.json.encode(body))
    schema: Schema = {"$schema": DRAFT, "$id": f"rspp:{name}:{CORE_SCHEMA_VERSION}", **plain}
    schema[HASH_KEY] = fingerprint(schema)
    return schema


def _of_type(kind: type[msgspec.Struct]) -> Schema:
    made = msgspec.json.schema(kind, schema_hook=_anything)
    definitions: dict[str, Schema] = made["$defs"]
    for title, definition in definitions.items():
        if "description" in definition:
            definition["description"] = " ".join(definition["description"].split())
        for field, least in _LEAST.get(title, {}).items():
            _each_integer(definition["properties"][field], least)
        if title in _REFINEMENTS:
            _REFINEMENTS[title](definition)
    root = definitions.pop(kind.__name__)
    return {**root, "$defs": definitions} if definitions else root


def _anything(_: type) -> Schema:
    return {"description": "Any value."}


def _each_integer(schema: Schema, least: int) -> None:
    for option in schema.get("anyOf", [schema]):
        if option.get("type") == "integer":
            option["minimum"] = least


# --- what types cannot say ----------------------------------------------------------------------------------------


def _due(paths: Sequence[str]) -> Schema:
    """The fields are there and not null. `detail.x` is a key of a signal's detail."""
    plain = [path for path in paths if "." not in path]
    schema: Schema = (
        {"required": plain, "properties": {path: dict(_NOT_NULL) for path in plain}} if plain else {}
    )
    keys = [path.partition(".")[2] for path in paths if "." in path]
    if keys:
        schema.setdefault("required", []).append("detail")
        schema.setdefault("properties", {})["detail"] = {"type": "object", **_due(keys)}
    return schema


def _when(condition: Mapping[str, Any], then: Schema, otherwise: Schema | None = None) -> Schema:
    """If the fields of `condition` have these values, `then` holds."""
    tests = {
        name: value if isinstance(value, Mapping) else {"const": value} for name, value in condition.items()
    }
    rule: Schema = {"if": {"properties": tests, "required": list(tests)}, "then": then}
    return rule if otherwise is None else {**rule, "else": otherwise}


def _fields(**fixed: object) -> Schema:
    return {"properties": {name: {"const": value} for name, value in fixed.items()}}


def _refine_envelope(definition: Schema) -> None:
    properties = definition["properties"]
    properties["schema_version"]["pattern"] = r"^v\d+\.\d+(\.\d+)?$"
    merged = next(
        option for option in properties["merged_from_event_ids"]["anyOf"] if option["type"] == "array"
    )
    merged |= {"minItems": 1, "maxItems": MERGED_IDS_MAX, "uniqueItems": True}
    extensions = next(option for option in properties["extensions"]["anyOf"] if option["type"] == "object")
    extensions["propertyNames"] = {"pattern": r"^[^.]+(\.[^.]+)+$"}
    properties["signal"] = {"anyOf": [{"enum": list(SIGNALS)}, {"type": "null"}], "default": None}
    control = {**_fields(lane="ControlLane", payload_class="metadata"), "required": ["lane"]}
    signal_fields = ("signal", "emitted_by", "reason", "scope", "target_lane", "amount", "seq_range")
    definition["allOf"] = [
        _when(
            {"event_kind": "control"},
            {"allOf": [control, _due(("signal", "emitted_by", "authority_epoch"))]},
            {"properties": {name: dict(_ABSENT) for name in signal_fields}},
        ),
        *(_when({"event_kind": kind.value}, _fields(lane=LANE_OF[kind].value))
          for kind in EventKind if kind is not EventKind.CONTROL),
        _when({"event_scope": "turn"}, _due(("turn_id", "authority_epoch"))),
        _when({"late_after_cancel": True}, {**_due(("turn_id",)), **_fields(event_scope="turn")}),
        _when({"payload_class": "audio_raw"}, _due(("media_time",))),
        _when({"discontinuity_id": _NOT_NULL}, _due(("sync_domain",))),
        _when({"merged_from_event_ids": _NOT_NULL}, _due(("merge_group_id",))),
        *(_when({"signal": name}, _signal_in_envelope(rule)) for name, rule in SIGNALS.items()),
    ]  # fmt: skip


def _signal_in_envelope(rule: SignalRule) -> Schema:
    schema = _due([path for path in rule.requires if not path.startswith("detail.")])
    properties: Schema = schema.setdefault("properties", {})
    properties["emitted_by"] = {"enum": list(rule.emitters)}
    if rule.scope != "any":
        properties["event_scope"] = {"const": rule.scope}
    details = [path for path in rule.requires if path.startswith("detail.")]
    if details:
        schema.setdefault("required", []).append("payload")
        properties["payload"] = _due(details)
    return schema


def _refine_signal(definition: Schema) -> None:
    definition["properties"]["signal"] = {"enum": list(SIGNALS)}
    own = frozenset(event.Signal.__struct_fields__)
    definition["allOf"] = []
    for name, rule in SIGNALS.items():
        then = _due([path for path in rule.requires if path in own or path.startswith("detail.")])
        then.setdefault("properties", {})["emitted_by"] = {"enum": list(rule.emitters)}
        definition["allOf"].append(_when({"signal": name}, then))


def _refine_media_time(definition: Schema) -> None:
    definition["oneOf"] = [_due((name,)) for name in ("sample_index", "pts_ms")]


def _refine_audio(definition: Schema) -> None:
    definition["required"] = ["type", *event.AUDIO_WIRE_FIELDS]


def _refine_decision(definition: Schema) -> None:
    definition["properties"]["reason"] = {"enum": [reason.value for reason in DecisionReason]}
    rows = [
        {
            "outcome_kind": kind.value,
            "emitted_by": emitter,
            "phase": phase.value,
            "scope": {"enum": list(scopes)},
        }
        for (kind, emitter), phases in LEGAL.items()
        for phase, scopes in phases.items()
    ]
    definition["anyOf"] = [
        {"properties": {n: v if isinstance(v, dict) else {"const": v} for n, v in row.items()}}
        for row in rows
    ]
    with_epoch = (OutcomeKind.STALE_EPOCH_REJECT, OutcomeKind.DEAUTHORIZED_DRAIN)
    definition["allOf"] = [
        *(_when({"outcome_kind": kind.value}, _due(("authority_epoch",))) for kind in with_epoch),
        _when({"scope": "turn"}, _due(("turn_id",))),
        _when({"phase": "active_turn"}, _due(("turn_id",))),
    ]


def _refine_plan(definition: Schema) -> None:
    definition["properties"]["plan_hash"]["pattern"] = "^[0-9a-f]{64}$"


def _errors() -> Schema:
    classes = {name.value: msgspec.to_builtins(entry) for name, entry in ERROR_CLASSES.items()}
    return {
        "title": "Errors",
        "description": "Every stable code with its meaning and remedy, and what the platform does about each class.",
        "type": "object",
        "properties": {"code": {"enum": list(CODES)}, "class": {"enum": list(classes)}},
        "x-codes": msgspec.to_builtins(dict(CODES)),
        "x-classes": classes,
    }


_REFINEMENTS: Final = {
    "Envelope": _refine_envelope,
    "Signal": _refine_signal,
    "MediaTime": _refine_media_time,
    "Audio": _refine_audio,
    "DecisionOutcome": _refine_decision,
    "ResolvedTurnPlan": _refine_plan,
}
