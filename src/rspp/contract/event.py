"""One immutable envelope for all traffic: small inside the process, complete and flat on the wire.

What is constant for a session or a turn lives once in a shared `Scope` that its events point to, so an audio frame
pays for none of its correlation identifiers and still has them all. `flatten` writes the contract's envelope.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from rspp.contract.words import (
    CORE_SCHEMA_VERSION,
    LANE_OF,
    CancelScope,
    Codec,
    EventKind,
    EventScope,
    Lane,
    PayloadClass,
)

NS_PER_MS: Final = 1_000_000

# Bounds of what crosses a boundary. Inside the process nothing is checked twice: encoding and construction are free.
Natural = Annotated[int, msgspec.Meta(ge=0)]
Identifier = Annotated[str, msgspec.Meta(min_length=1)]


class Scope(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What every event of one session, or of one turn in it, has in common."""

    session_id: str
    tenant_id: str
    pipeline_version: str
    epoch: int
    lease_token: str | None = None
    turn_id: str | None = None


class Audio(msgspec.Struct, frozen=True, gc=False, tag="audio", forbid_unknown_fields=True):
    """A run of samples of one stream; `sample_index` counts from the stream's start and is its media time.

    On the wire all of it is written and all but `end` is due (`AUDIO_WIRE_FIELDS`): a reader never has to guess a rate.
    """

    data: bytes
    samples: Natural
    sample_index: Natural
    rate: Natural = 16_000
    channels: Natural = 1
    codec: Codec = Codec.PCM16
    end: bool = False


class Text(msgspec.Struct, frozen=True, gc=False, tag="text", omit_defaults=True, forbid_unknown_fields=True):
    """A revision of one text segment: revisions only move forward, and one final, immutable, ends it."""

    text: str
    segment: Natural = 0
    revision: Natural = 0
    final: bool = False
    language: str | None = None
    confidence: float | None = None
    role: str | None = None
    attributes: dict[str, str | int | float | bool] | None = None


class SeqRange(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """An inclusive span of runtime sequence numbers."""

    start: Natural
    end: Natural


class Signal(
    msgspec.Struct, frozen=True, gc=False, tag="signal", omit_defaults=True, forbid_unknown_fields=True
):
    """A control signal. Which fields it must carry, and who may emit it, stands in `contract.signals`."""

    signal: str
    emitted_by: str
    reason: str | None = None
    scope: CancelScope | None = None
    target_lane: Lane | None = None
    amount: int | None = None
    seq_range: SeqRange | None = None
    detail: dict[str, str | int | float | bool | None] | None = None


class Sample(
    msgspec.Struct, frozen=True, gc=False, tag="sample", omit_defaults=True, forbid_unknown_fields=True
):
    """One measurement, shed before anything else."""

    name: str
    value: float
    unit: str = ""


class Note(msgspec.Struct, frozen=True, gc=False, tag="note", forbid_unknown_fields=True):
    """A debug remark; off unless its session asked for it."""

    message: str


class Fault(
    msgspec.Struct, frozen=True, gc=False, tag="fault", omit_defaults=True, forbid_unknown_fields=True
):
    """An error told to whoever must act: a stable code, where, in words, and whether trying again makes sense."""

    code: str
    message: str
    retryable: bool = False
    path: str | None = None


AUDIO_WIRE_FIELDS: Final = ("data", "samples", "sample_index", "rate", "channels", "codec")

Payload = Audio | Text | Signal | Sample | Note | Fault


class Sync(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Which events stand or fall together, and where a stream was cut."""

    sync_id: str | None = None
    domain: str | None = None
    discontinuity_id: str | None = None


class Merge(msgspec.Struct, frozen=True, gc=False):
    """The lineage of a merged item."""

    group_id: str
    event_ids: tuple[str, ...]


class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One item of traffic inside a session. `generation` is the fence it was born under."""

    scope: Scope
    kind: EventKind
    sequence: int
    at: int
    payload: Payload
    payload_class: PayloadClass
    generation: int = 0
    node_id: str | None = None
    edge_id: str | None = None
    parent: int | None = None
    transport_sequence: int | None = None
    invocation_id: str | None = None
    idempotency_key: str | None = None
    sync: Sync | None = None
    merge: Merge | None = None
    late_after_cancel: bool = False
    extensions: dict[str, object] | None = None

    @property
    def lane(self) -> Lane:
        return LANE_OF[self.kind]

    @property
    def event_id(self) -> str:
        return event_id(self.scope, self.sequence)


def event_id(scope: Scope, sequence: int) -> str:
    """An identifier that is unique in its session because the runtime sequence is."""
    return f"evt/{scope.session_id}/{scope.turn_id or 'session'}/{sequence:06d}"


class MediaTime(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """Exactly one of the two; samples are canonical for audio."""

    sample_index: Natural | None = None
    pts_ms: Natural | None = None


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The flat form of any event, as it crosses a boundary. `contract.rules` says when each field is due."""

    schema_version: str
    event_kind: EventKind
    event_scope: EventScope
    lane: Lane
    session_id: Identifier
    pipeline_version: Identifier
    event_id: Identifier
    # The key is always present; a runtime-born event has no transport sequence, and 0 is never invented for it.
    transport_sequence: Natural | None
    runtime_sequence: Natural
    runtime_timestamp_ms: Natural
    wall_clock_timestamp_ms: Natural
    payload_class: PayloadClass
    tenant_id: Identifier | None = None
    turn_id: Identifier | None = None
    node_id: Identifier | None = None
    edge_id: Identifier | None = None
    causal_parent_id: Identifier | None = None
    provider_invocation_id: Identifier | None = None
    idempotency_key: Identifier | None = None
    authority_epoch: Natural | None = None
    lease_token: Identifier | None = None
    timestamp_ms: Natural | None = None
    media_time: MediaTime | None = None
    sync_id: Identifier | None = None
    sync_domain: Identifier | None = None
    discontinuity_id: Identifier | None = None
    merge_group_id: Identifier | None = None
    merged_from_event_ids: list[str] | None = None
    late_after_cancel: bool = False
    signal: Identifier | None = None
    emitted_by: Identifier | None = None
    reason: Identifier | None = None
    scope: CancelScope | None = None
    target_lane: Lane | None = None
    amount: Annotated[int, msgspec.Meta(ge=1)] | None = None
    seq_range: SeqRange | None = None
    payload: Payload | None = None
    extensions: dict[str, object] | None = None


def flatten(event: Event, wall_offset_ns: int) -> Envelope:
    """The contract's envelope of an event; `wall_offset_ns` is wall clock minus monotonic at the session's anchor."""
    scope, payload = event.scope, event.payload
    signal = payload if isinstance(payload, Signal) else None
    sync, merge = event.sync, event.merge
    return Envelope(
        schema_version=CORE_SCHEMA_VERSION,
        event_kind=event.kind,
        event_scope=EventScope.TURN if scope.turn_id is not None else EventScope.SESSION,
        lane=event.lane,
        session_id=scope.session_id,
        tenant_id=scope.tenant_id,
        pipeline_version=scope.pipeline_version,
        event_id=event.event_id,
        transport_sequence=event.transport_sequence,
        runtime_sequence=event.sequence,
        runtime_timestamp_ms=event.at // NS_PER_MS,
        wall_clock_timestamp_ms=(event.at + wall_offset_ns) // NS_PER_MS,
        payload_class=event.payload_class,
        turn_id=scope.turn_id,
        node_id=event.node_id,
        edge_id=event.edge_id,
        causal_parent_id=None if event.parent is None else event_id(scope, event.parent),
        provider_invocation_id=event.invocation_id,
        idempotency_key=event.idempotency_key,
        authority_epoch=scope.epoch,
        lease_token=scope.lease_token,
        media_time=MediaTime(sample_index=payload.sample_index) if isinstance(payload, Audio) else None,
        sync_id=sync.sync_id if sync else None,
        sync_domain=sync.domain if sync else None,
        discontinuity_id=sync.discontinuity_id if sync else None,
        merge_group_id=merge.group_id if merge else None,
        merged_from_event_ids=list(merge.event_ids) if merge else None,
        late_after_cancel=event.late_after_cancel,
        signal=signal.signal if signal else None,
        emitted_by=signal.emitted_by if signal else None,
        reason=signal.reason if signal else None,
        scope=signal.scope if signal else None,
        target_lane=signal.target_lane if signal else None,
        amount=signal.amount if signal else None,
        seq_range=signal.seq_range if signal else None,
        payload=payload,
        extensions=event.extensions,
    )
