"""When each field is due and what it may say: one rule table for envelopes, signals and decisions.

Types say what can be written at all; these rules say what may stand together. A rule is declared as (code, path, when
it applies, what must hold, in words), and every check walks its table to the end, so that one look shows everything
there is to mend. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from rspp.contract.codec import SUPPORTED_SCHEMA_VERSIONS, VERSION_PATTERN
from rspp.contract.decisions import (
    DecisionOutcome,
    DecisionReason,
    OutcomeKind,
    OutcomeScope,
    Phase,
    is_legal,
)
from rspp.contract.event import Audio, Envelope, Event, Fault, Note, Sample, Signal, Text, flatten
from rspp.contract.signals import SIGNALS, SignalName
from rspp.contract.words import LANE_OF, EventKind, EventScope, Lane, PayloadClass

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

MERGED_IDS_MAX: Final = 64


class Violation(msgspec.Struct, frozen=True, gc=False):
    """One broken rule: a stable code, the field, and what must hold."""

    code: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.code} at {self.path or 'the root'}: {self.message}"


class Rule(Generic[T_contra]):
    """`holds` must be true of whatever `when` is true of."""

    __slots__ = ("code", "holds", "message", "path", "when")

    def __init__(
        self,
        code: str,
        path: str,
        when: Callable[[T_contra], bool],
        holds: Callable[[T_contra], bool],
        message: str,
    ) -> None:
        self.code = code
        self.path = path
        self.when = when
        self.holds = holds
        self.message = message

    def check(self, subject: T_contra) -> Violation | None:
        if not self.when(subject) or self.holds(subject):
            return None
        return Violation(self.code, self.path, self.message)


# --- words that the tables are written in -------------------------------------------------------------------------

_SIGNAL_FIELDS: Final = ("reason", "scope", "target_lane", "amount", "seq_range")
_DUE_IDS: Final = ("session_id", "pipeline_version", "event_id")
_OPTIONAL_IDS: Final = (
    *("tenant_id", "turn_id", "node_id", "edge_id", "causal_parent_id", "provider_invocation_id"),
    *("idempotency_key", "lease_token", "sync_id", "sync_domain", "discontinuity_id", "merge_group_id"),
)
_NUMBERS: Final = (
    *("transport_sequence", "runtime_sequence", "authority_epoch"),
    *("runtime_timestamp_ms", "wall_clock_timestamp_ms", "timestamp_ms"),
)
_PAYLOAD_OF: Final = {
    EventKind.AUDIO: Audio,
    EventKind.TEXT: Text,
    EventKind.CONTROL: Signal,
    EventKind.METRICS: Sample,
    EventKind.DEBUG: Note,
    EventKind.ERROR: Fault,
}
_CORE_FIELDS: Final = frozenset(Envelope.__struct_fields__)


def _always(_: object) -> bool:
    return True


def _present(name: str) -> Callable[[object], bool]:
    return lambda subject: getattr(subject, name) is not None


def _absent(name: str) -> Callable[[object], bool]:
    return lambda subject: getattr(subject, name) is None


def _not_empty(name: str) -> Callable[[object], bool]:
    return lambda subject: getattr(subject, name) != ""


def _not_negative(name: str) -> Callable[[object], bool]:
    return lambda subject: getattr(subject, name) >= 0


def _control(envelope: Envelope) -> bool:
    return envelope.lane is Lane.CONTROL


def _not_control(envelope: Envelope) -> bool:
    return envelope.lane is not Lane.CONTROL


def _turn(envelope: Envelope) -> bool:
    return envelope.event_scope is EventScope.TURN


def _one_media_time(envelope: Envelope) -> bool:
    media = envelope.media_time
    return media is not None and (media.sample_index is None) != (media.pts_ms is None)


def _media_not_negative(envelope: Envelope) -> bool:
    media = envelope.media_time
    return media is None or ((media.sample_index or 0) >= 0 and (media.pts_ms or 0) >= 0)


def _lineage(envelope: Envelope) -> bool:
    ids = envelope.merged_from_event_ids or []
    return 1 <= len(ids) <= MERGED_IDS_MAX and len(set(ids)) == len(ids) and all(ids)


def _range_in_order(envelope: Envelope) -> bool:
    span = envelope.seq_range
    return span is None or 0 <= span.start <= span.end


def _payload_fits(envelope: Envelope) -> bool:
    return isinstance(envelope.payload, _PAYLOAD_OF[envelope.event_kind])


def _signal_alike(envelope: Envelope) -> bool:
    """A signal stands in its payload and, flat, beside it; two truths would be one too many."""
    inner = envelope.payload
    if not isinstance(inner, Signal):
        return True
    names = ("signal", "emitted_by", *_SIGNAL_FIELDS)
    return all(getattr(inner, name) == getattr(envelope, name) for name in names)


def _namespaced(envelope: Envelope) -> bool:
    """`vendor.field`: text on both sides of a point."""
    keys = envelope.extensions or {}
    return all(all(key.split(".")) and "." in key for key in keys if key not in _CORE_FIELDS)


def _shadows_nothing(envelope: Envelope) -> bool:
    return not any(key in _CORE_FIELDS for key in envelope.extensions or {})


def _epoch_due(envelope: Envelope) -> bool:
    return _turn(envelope) or _control(envelope)


# --- envelopes ----------------------------------------------------------------------------------------------------

ENVELOPE_RULES: Final[tuple[Rule[Envelope], ...]] = (
    Rule("schema_version_malformed", "schema_version", _always,
         lambda e: VERSION_PATTERN.fullmatch(e.schema_version) is not None, "the version is written like v1.0"),
    Rule("schema_version_unsupported", "schema_version",
         lambda e: VERSION_PATTERN.fullmatch(e.schema_version) is not None,
         lambda e: e.schema_version in SUPPORTED_SCHEMA_VERSIONS,
         f"the version is one of {', '.join(SUPPORTED_SCHEMA_VERSIONS)}"),
    *(Rule("field_empty", name, _always, _not_empty(name), "an identifier has at least one character")
      for name in _DUE_IDS),
    *(Rule("field_empty", name, _present(name), _not_empty(name), "an identifier that is sent is not empty")
      for name in _OPTIONAL_IDS),
    *(Rule("number_negative", name, _present(name), _not_negative(name), "the number is 0 or more")
      for name in _NUMBERS),
    Rule("lane_mismatch", "lane", _always, lambda e: e.lane is LANE_OF[e.event_kind],
         "control travels in the ControlLane and nothing else does; each other kind has its lane"),
    Rule("field_missing", "turn_id", _turn, _present("turn_id"), "an event of turn scope names its turn"),
    Rule("field_missing", "turn_id", lambda e: e.late_after_cancel, _present("turn_id"),
         "what is late names the turn that it is late for"),
    Rule("late_outside_turn", "late_after_cancel", lambda e: e.late_after_cancel, _turn,
         "only an event of turn scope can be late after a cancel"),
    Rule("authority_epoch_missing", "authority_epoch", _epoch_due, _present("authority_epoch"),
         "turn scope and control carry the epoch; no default is assumed"),
    Rule("payload_class_mismatch", "payload_class", _control,
         lambda e: e.payload_class is PayloadClass.METADATA, "control is metadata"),
    Rule("media_time_missing", "media_time", lambda e: e.payload_class is PayloadClass.AUDIO_RAW,
         _present("media_time"), "raw audio carries its media time"),
    Rule("media_time_ambiguous", "media_time", _present("media_time"), _one_media_time,
         "media time is exactly one of sample_index and pts_ms"),
    Rule("number_negative", "media_time", _present("media_time"), _media_not_negative, "media time is 0 or more"),
    Rule("sync_domain_missing", "sync_domain", _present("discontinuity_id"), _present("sync_domain"),
         "a discontinuity names its domain"),
    Rule("merge_lineage_invalid", "merge_group_id", _present("merged_from_event_ids"), _present("merge_group_id"),
         "merged events name their group"),
    Rule("merge_lineage_invalid", "merged_from_event_ids", _present("merged_from_event_ids"), _lineage,
         f"1 to {MERGED_IDS_MAX} ids, none twice and none empty"),
    *(Rule("field_missing", name, _control, _present(name), "control names its signal and who emitted it")
      for name in ("signal", "emitted_by")),
    *(Rule("field_forbidden", name, _not_control, _absent(name), "only the ControlLane carries signals")
      for name in ("signal", "emitted_by", *_SIGNAL_FIELDS)),
    Rule("payload_mismatch", "payload", _present("payload"), _payload_fits, "the payload is of the event's kind"),
    Rule("payload_mismatch", "payload", _control, _signal_alike, "a signal says the same in and beside its payload"),
    Rule("extension_shadows_core", "extensions", _present("extensions"), _shadows_nothing,
         "no extension has the name of a core field"),
    Rule("extension_not_namespaced", "extensions", _present("extensions"), _namespaced,
         "extensions are named like vendor.field"),
)  # fmt: skip

PAST_INGRESS_RULES: Final[tuple[Rule[Envelope], ...]] = (
    Rule("authority_epoch_missing", "authority_epoch", lambda e: not _epoch_due(e), _present("authority_epoch"),
         "past ingress everything carries the epoch; no default is assumed"),
)  # fmt: skip

INGRESS_RULES: Final[tuple[Rule[Envelope], ...]] = (
    Rule("idempotency_key_missing", "idempotency_key", _always, _present("idempotency_key"),
         "what comes in carries a key that is the same on every retry"),
)  # fmt: skip


def check_envelope(envelope: Envelope, *, at_ingress: bool = False) -> list[Violation]:
    """Everything that is wrong with an envelope, its signal included.

    At ingress a key is due, and the epoch of session data may still be enriched; past it the epoch is due everywhere.
    """
    found = _walk(ENVELOPE_RULES, envelope)
    found += _walk(INGRESS_RULES if at_ingress else PAST_INGRESS_RULES, envelope)
    return found + check_signal(envelope)


def check_event(event: Event) -> list[Violation]:
    """Everything that is wrong with an event, by the envelope that it would become."""
    return check_envelope(flatten(event, 0))


# --- signals ------------------------------------------------------------------------------------------------------

SIGNAL_RULES: Final[tuple[Rule[Envelope], ...]] = (
    Rule("signal_unknown", "signal", _always, lambda e: e.signal in SIGNALS, "the registry of signals is closed"),
    Rule("amount_invalid", "amount", _present("amount"), lambda e: e.amount is not None and e.amount >= 1,
         "an amount is at least 1"),
    Rule("seq_range_invalid", "seq_range", _present("seq_range"), _range_in_order,
         "a range has 0 <= start <= end, in runtime sequence"),
    *(Rule("field_empty", name, _present(name), _not_empty(name), "a word that is sent is not empty")
      for name in ("reason", "emitted_by")),
)  # fmt: skip


def check_signal(envelope: Envelope) -> list[Violation]:
    """Everything by which a control envelope breaks its signal's row; nothing for what is no signal."""
    if not _control(envelope) or envelope.signal is None:
        return []
    found = _walk(SIGNAL_RULES, envelope)
    rule = SIGNALS.get(envelope.signal)
    if rule is None:
        return found
    if envelope.emitted_by is not None and envelope.emitted_by not in rule.emitters:
        allowed = ", ".join(rule.emitters)
        found.append(
            Violation("signal_emitter_illegal", "emitted_by", f"{rule.name} is emitted by {allowed}")
        )
    if rule.scope not in ("any", envelope.event_scope.value):
        found.append(Violation("signal_scope_illegal", "event_scope", f"{rule.name} has {rule.scope} scope"))
    found += [
        Violation("field_missing", path, f"{rule.name} carries {path}")
        for path in rule.requires
        if _value_at(envelope, path) is None
        # The envelope's own rules have said so already.
        and not (path == "turn_id" and _turn(envelope))
        and path != "authority_epoch"
    ]
    return found


def _value_at(envelope: Envelope, path: str) -> object:
    if not path.startswith("detail."):
        return getattr(envelope, path)
    payload = envelope.payload
    detail = payload.detail if isinstance(payload, Signal) else None
    return (detail or {}).get(path.removeprefix("detail."))


# --- decisions ----------------------------------------------------------------------------------------------------

_REASONS: Final = frozenset(DecisionReason)
_WITH_EPOCH: Final = (OutcomeKind.STALE_EPOCH_REJECT, OutcomeKind.DEAUTHORIZED_DRAIN)


DECISION_RULES: Final[tuple[Rule[DecisionOutcome], ...]] = (
    *(Rule("field_empty", name, _always, _not_empty(name), "the field is not empty")
      for name in ("session_id", "event_id", "emitted_by", "reason")),
    *(Rule("field_empty", name, _present(name), _not_empty(name), "an identifier that is sent is not empty")
      for name in ("turn_id", "edge_id", "node_id")),
    *(Rule("number_negative", name, _present(name), _not_negative(name), "the number is 0 or more")
      for name in ("runtime_timestamp_ms", "wall_clock_timestamp_ms", "authority_epoch")),
    Rule("decision_illegal", "outcome_kind", _always, is_legal,
         "emitter, phase and scope of this outcome are a row of the table of decisions"),
    Rule("decision_reason_unknown", "reason", _not_empty("reason"), lambda d: d.reason in _REASONS,
         "the reason is one of the closed set"),
    Rule("authority_epoch_missing", "authority_epoch", lambda d: d.outcome_kind in _WITH_EPOCH,
         _present("authority_epoch"), "a decision on authority carries the epoch"),
    Rule("field_missing", "turn_id",
         lambda d: d.scope is OutcomeScope.TURN or d.phase is Phase.ACTIVE_TURN,
         _present("turn_id"), "a decision on a turn names it"),
)  # fmt: skip


def check_decision(outcome: DecisionOutcome) -> list[Violation]:
    """Everything that is wrong with one decision."""
    return _walk(DECISION_RULES, outcome)


# --- sequences ----------------------------------------------------------------------------------------------------

_REFUSALS: Final = (OutcomeKind.REJECT, OutcomeKind.DEFER, *_WITH_EPOCH)
_TERMINALS: Final = (SignalName.COMMIT, SignalName.ABORT, SignalName.CLOSE)


def check_batch(envelopes: Sequence[Envelope], *, at_ingress: bool = False) -> list[Violation]:
    """Everything that is wrong with a batch; a batch with any violation is refused as a whole.

    Inside it neither sequence of a session goes backwards. Paths begin with the index of the envelope.
    """
    found: list[Violation] = []
    highest: dict[tuple[str, str], int] = {}
    for index, envelope in enumerate(envelopes):
        found += [
            Violation(broken.code, f"[{index}].{broken.path}", broken.message)
            for broken in check_envelope(envelope, at_ingress=at_ingress)
        ]
        for name in ("runtime_sequence", "transport_sequence"):
            now = getattr(envelope, name)
            before = highest.get((envelope.session_id, name), -1)
            if now is None:
                continue
            if now < before:
                message = f"{name} goes back from {before} to {now}"
                found.append(Violation("sequence_regressed", f"[{index}].{name}", message))
            highest[envelope.session_id, name] = max(before, now)
    return found


def check_history(items: Iterable[DecisionOutcome | Envelope]) -> list[Violation]:
    """A turn that was refused before it opened has no terminal; paths begin with the index of the item."""
    found: list[Violation] = []
    refused: set[tuple[str, str]] = set()
    for index, item in enumerate(items):
        if item.turn_id is None:
            continue
        turn = (item.session_id, item.turn_id)
        if isinstance(item, DecisionOutcome):
            if item.phase is Phase.PRE_TURN and item.outcome_kind in _REFUSALS:
                refused.add(turn)
        elif item.signal == SignalName.TURN_OPEN:
            refused.discard(turn)
        elif item.signal in _TERMINALS and turn in refused:
            message = f"{item.signal} of turn {item.turn_id}, which was refused before it opened"
            found.append(Violation("refusal_followed_by_terminal", f"[{index}].signal", message))
    return found


def _walk(rules: Iterable[Rule[T]], subject: T) -> list[Violation]:
    return [broken for rule in rules if (broken := rule.check(subject)) is not None]
