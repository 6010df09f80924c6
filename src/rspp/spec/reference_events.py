"""What each field of the envelope means, in words, and one envelope that shows most of them."""

from __future__ import annotations

from typing import Final

from rspp.contract.event import Envelope, MediaTime, Text
from rspp.contract.words import CORE_SCHEMA_VERSION, EventKind, EventScope, Lane, PayloadClass

FIELDS: Final = {
    "schema_version": "Version of this schema, as `vN.N`.",
    "event_kind": "What the event is; control if and only if it travels on the ControlLane.",
    "event_scope": "Whether it belongs to the session or to one turn of it.",
    "lane": "Priority: control before data before telemetry.",
    "session_id": "The conversation.",
    "pipeline_version": "The version of the pipeline that it runs on.",
    "event_id": "Unique in the session.",
    "transport_sequence": "The transport's own number; null for what the runtime made.",
    "runtime_sequence": "The authoritative order; one counter for a session.",
    "runtime_timestamp_ms": "Monotonic time, for latency.",
    "wall_clock_timestamp_ms": "Wall clock, for correlation only.",
    "payload_class": "How the payload is to be protected; exactly one.",
    "tenant_id": "Whose session it is.",
    "turn_id": "The turn; due when the scope is a turn.",
    "node_id": "The node that made it.",
    "edge_id": "The edge that it speaks of; due on edge signals.",
    "causal_parent_id": "The event that caused it.",
    "provider_invocation_id": "The provider call that it came from.",
    "idempotency_key": "Given by the caller; equal over retry, reconnect and failover.",
    "authority_epoch": "The lease's fencing number; due past ingress.",
    "lease_token": "The lease's token, when the carrier supplies it.",
    "timestamp_ms": "A legacy alias of the time.",
    "media_time": "Samples or presentation time, exactly one; due for raw audio.",
    "sync_id": "Events with the same one stand or fall together.",
    "sync_domain": "The streams that are kept in step.",
    "discontinuity_id": "Where a stream was cut; needs a domain.",
    "merge_group_id": "The group that a merged item stands for.",
    "merged_from_event_ids": "What was merged: 1 to 64 ids.",
    "late_after_cancel": "It came after its turn was cancelled.",
    "signal": "Which control signal; on the ControlLane only.",
    "emitted_by": "The one module that may emit the signal.",
    "reason": "Why the signal was sent.",
    "scope": "What a cancel applies to.",
    "target_lane": "The lane that an edge signal speaks of.",
    "amount": "How many credits are granted.",
    "seq_range": "The runtime sequences that a notice covers, both ends included.",
    "payload": "What is carried.",
    "extensions": "Namespaced additions; they never weaken a core field.",
}

EXAMPLE: Final = Envelope(
    schema_version=CORE_SCHEMA_VERSION,
    event_kind=EventKind.TEXT,
    event_scope=EventScope.TURN,
    lane=Lane.DATA,
    session_id="s-1",
    tenant_id="acme",
    pipeline_version="v1",
    event_id="evt/s-1/t-1/000042",
    turn_id="t-1",
    node_id="stt",
    transport_sequence=None,
    runtime_sequence=42,
    runtime_timestamp_ms=1_250,
    wall_clock_timestamp_ms=1_767_225_601_250,
    payload_class=PayloadClass.TEXT_RAW,
    authority_epoch=1,
    media_time=MediaTime(sample_index=20_000),
    payload=Text("hello", segment=0, revision=3, final=True, language="en", confidence=0.93),
)
