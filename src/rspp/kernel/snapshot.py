"""What the control plane tells a session, as values: the kernel asks nobody and decides from the last one it was given."""

from __future__ import annotations

import msgspec

from rspp.contract.plan import (
    Budgets,
    BufferPolicy,
    FlowControl,
    NodePolicy,
    RecordingPolicy,
    SnapshotProvenance,
)
from rspp.contract.words import AdaptiveAction, InBand


class PolicyBlocks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The six blocks a control plane may override: together, or not at all."""

    budgets: Budgets
    provider_bindings: dict[str, tuple[str, ...]]
    edge_buffer_policies: dict[str, BufferPolicy]
    node_execution_policies: dict[str, NodePolicy]
    flow_control: FlowControl
    recording_policy: RecordingPolicy
    allowed_adaptive_actions: tuple[AdaptiveAction, ...] | None = None


class Quota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Rates a minute; 0 is unlimited."""

    turns_per_minute: int = 0
    tokens_per_minute: int = 0
    action: str = "reject"  # or "defer"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One versioned view of routing, admission, compatibility, versions, policy and provider health."""

    version: int
    taken_at: int
    provenance: SnapshotProvenance
    compatible: bool = True
    capacity: str = "allow"  # or "defer", "reject"
    quota: Quota = Quota()
    health: dict[str, str] = {}  # provider -> healthy, unknown, unhealthy
    price: dict[str, int] = {}  # provider -> micro-units, for ordering only
    circuits_open: tuple[str, ...] = ()
    capabilities: dict[str, tuple[str, ...]] = {}
    overrides: PolicyBlocks | None = None
    facts: dict[str, str | int | float | bool] = {}


class ClockAnchor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One instant, on the three clocks."""

    monotonic: int
    wall: int
    sample_index: int = 0


class Durable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state that outlives a runtime process, as it is kept outside it."""

    revision: int
    values: dict[str, object]
    age_ms: int = 0


class OpenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that a kernel is born with. Together with its inputs it determines every effect."""

    session_id: str
    tenant_id: str
    pipeline_version: str
    epoch: int
    lease_token: str
    lease_expires_at: int
    anchor: ClockAnchor
    snapshot: Snapshot | None = None
    resume: Durable | None = None
    flags: tuple[int, ...] | None = None
    debug: bool = False
    metrics: InBand = InBand.TURNS
    reports_playback: bool = True
    next_turn: int = 1
