"""The resolved turn plan: everything a turn will be judged by, frozen before it opens and hashed.

Equal inputs give an equal hash, so a plan's hash is its identity in evidence and in replay. Each derived field names
where its value came from (`defaulting_source`).
"""

from __future__ import annotations

import msgspec

from rspp.contract.words import (
    AdaptiveAction,
    BufferStrategy,
    DropSide,
    FlowMode,
    Lane,
    RecordingLevel,
    SyncPolicy,
)


class _Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of this file: immutable, by keyword, and strict about what they are given."""


class Budgets(_Frozen, frozen=True):
    """Soft limits: reaching one asks for a verdict, it kills nothing by itself."""

    turn_budget_ms: int
    node_budget_ms_default: int
    path_budget_ms_default: int
    edge_budget_ms_default: int


class Watermark(_Frozen, frozen=True):
    """Crossing `high` upwards starts a saturation episode, falling to `low` ends it."""

    high: int
    low: int


class Watermarks(_Frozen, frozen=True):
    queue_items: Watermark | None = None
    queue_ms: Watermark | None = None


class SyncDropPolicy(_Frozen, frozen=True):
    policy: SyncPolicy = SyncPolicy.NO_SYNC
    scope: str = "edge_local"
    group_by: str = "sync_id"
    sync_domain: str | None = None


class LaneHandling(_Frozen, frozen=True):
    """What an edge does with each lane when it is full; control is never dropped."""

    data: str = "drop"
    control: str = "non_blocking_priority"
    telemetry: str = "best_effort_drop"


class BufferPolicy(_Frozen, frozen=True):
    """An edge's bounds, each enforced on its own, and what happens at them."""

    strategy: BufferStrategy
    max_queue_items: int
    max_queue_ms: int
    max_queue_bytes: int
    max_latency_contribution_ms: int
    watermarks: Watermarks
    drop_side: DropSide | None = None
    max_block_time_ms: int | None = None
    coalesce_ms: int | None = None
    lane_handling: LaneHandling = LaneHandling()
    sync_drop: SyncDropPolicy = SyncDropPolicy()
    fairness_key: str | None = None
    defaulting_source: dict[str, str] = {}


class NodePolicy(_Frozen, frozen=True):
    """`concurrency_limit` 0 means none."""

    concurrency_limit: int = 0
    fairness_key: str | None = None


class FlowControl(_Frozen, frozen=True):
    mode_by_lane: dict[Lane, FlowMode]
    watermarks: dict[Lane, Watermark]
    shedding_strategy_by_lane: dict[Lane, str]


class SnapshotProvenance(_Frozen, frozen=True):
    """Which versions of the control plane's view the plan was made from; all six are due."""

    routing_view_snapshot: str
    admission_policy_snapshot: str
    abi_compatibility_snapshot: str
    version_resolution_snapshot: str
    policy_resolution_snapshot: str
    provider_health_snapshot: str


class RecordingPolicy(_Frozen, frozen=True):
    level: RecordingLevel = RecordingLevel.L0
    allowed_replay_modes: tuple[str, ...] = ("replay_decisions",)


class NondeterministicInput(_Frozen, frozen=True):
    input_key: str
    source: str
    evidence_ref: str


class Determinism(_Frozen, frozen=True):
    seed: int
    merge_rule_id: str = "default-merge-rule"
    merge_rule_version: str = "v1.0.0"
    ordering_markers: tuple[str, ...] = ("runtime_sequence", "event_id")
    nondeterministic_inputs: tuple[NondeterministicInput, ...] = ()


class HandoffEdge(_Frozen, frozen=True):
    enabled: bool = False
    min_partial_chars: int = 12
    trigger_on_punctuation: str = ".!?"
    max_partial_age_ms: int = 400
    max_pending_revisions: int = 4
    max_pending_segments: int = 8
    coalesce_latest_only: bool = True
    emit_flow_control_signals: bool = False
    degrade_on_threshold_breach: bool = False


class StreamingHandoff(_Frozen, frozen=True):
    stt_to_llm: HandoffEdge = HandoffEdge()
    llm_to_tts: HandoffEdge = HandoffEdge()


class ResolvedTurnPlan(_Frozen, frozen=True, tag="plan"):
    """What one turn runs under. It cannot change while the turn lives."""

    resolved_turn_plan_id: str
    plan_hash: str
    turn_id: str
    pipeline_version: str
    graph_definition_ref: str
    graph_fingerprint: str
    execution_profile: str
    authority_epoch: int
    budgets: Budgets
    provider_timeout_ms: int
    cancel_grace_ms: int
    # Modality -> the ordered candidates, the first of which is the binding; frozen at open.
    provider_bindings: dict[str, tuple[str, ...]]
    edge_buffer_policies: dict[str, BufferPolicy]
    node_execution_policies: dict[str, NodePolicy]
    flow_control: FlowControl
    allowed_adaptive_actions: tuple[AdaptiveAction, ...]
    snapshot_provenance: SnapshotProvenance
    recording_policy: RecordingPolicy
    determinism: Determinism
    # The turn-taking, playout, call and cost settings in force (see `spec.graph.Policies`), as plain data.
    policies: dict[str, object] = {}
    # Opaque capability words of transport and providers, captured at turn start.
    capabilities: dict[str, tuple[str, ...]] = {}
    streaming_handoff: StreamingHandoff | None = None
    defaulting_source: dict[str, str] = {}
