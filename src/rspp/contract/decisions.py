"""Decision outcomes: who may decide what, in which phase, for which scope. What is not in the table is illegal."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract import emitters
from rspp.contract.event import Identifier, Natural


class OutcomeKind(StrEnum):
    ADMIT = "admit"
    REJECT = "reject"
    DEFER = "defer"
    SHED = "shed"
    STALE_EPOCH_REJECT = "stale_epoch_reject"
    DEAUTHORIZED_DRAIN = "deauthorized_drain"


class Phase(StrEnum):
    PRE_TURN = "pre_turn"
    SCHEDULING_POINT = "scheduling_point"
    ACTIVE_TURN = "active_turn"


class OutcomeScope(StrEnum):
    TENANT = "tenant"
    SESSION = "session"
    TURN = "turn"
    EDGE_ENQUEUE = "edge_enqueue"
    EDGE_DEQUEUE = "edge_dequeue"
    NODE_DISPATCH = "node_dispatch"


class DecisionReason(StrEnum):
    SNAPSHOT_INVALID_OR_MISSING = "snapshot_invalid_or_missing"
    ADMISSION_CAPACITY_ALLOW = "admission_capacity_allow"
    ADMISSION_CAPACITY_DEFER = "admission_capacity_defer"
    ADMISSION_CAPACITY_REJECT = "admission_capacity_reject"
    TURN_START_BUNDLE_RESOLUTION_FAILED = "turn_start_bundle_resolution_failed"
    PLAN_MATERIALIZATION_FAILED = "plan_materialization_failed"
    AUTHORITY_EPOCH_MISMATCH = "authority_epoch_mismatch"
    AUTHORITY_REVOKED_BEFORE_OPEN = "authority_revoked_before_open"
    AUTHORITY_REVOKED_IN_TURN = "authority_revoked_in_turn"
    SCHEDULING_POINT_SHED = "scheduling_point_shed"
    LANE_QUEUE_CAPACITY_EXCEEDED = "lane_queue_capacity_exceeded"
    EXECUTION_POOL_SATURATED = "execution_pool_saturated"
    EXECUTION_POOL_CLOSED = "execution_pool_closed"
    NODE_CONCURRENCY_LIMITED = "node_concurrency_limited"
    CP_ADMISSION_ALLOWED = "cp_admission_allowed"
    CP_ADMISSION_DEFER_CAPACITY = "cp_admission_defer_capacity"
    CP_ADMISSION_REJECT_POLICY = "cp_admission_reject_policy"
    CP_ADMISSION_REJECT_QUOTA = "cp_admission_reject_quota"
    CP_ADMISSION_INVALID_INPUT = "cp_admission_invalid_input"
    LEASE_AUTHORIZED = "lease_authorized"
    LEASE_STALE_EPOCH = "lease_stale_epoch"
    LEASE_DEAUTHORIZED = "lease_deauthorized"
    LEASE_INVALID_INPUT = "lease_invalid_input"


class DecisionOutcome(
    msgspec.Struct,
    frozen=True,
    gc=False,
    kw_only=True,
    omit_defaults=True,
    tag="decision",
    forbid_unknown_fields=True,
):
    """One decision, as it is recorded and kept as evidence; `LEGAL` says which combinations there are."""

    outcome_kind: OutcomeKind
    phase: Phase
    scope: OutcomeScope
    session_id: Identifier
    event_id: Identifier
    runtime_timestamp_ms: Natural
    wall_clock_timestamp_ms: Natural
    emitted_by: Identifier
    reason: Identifier
    turn_id: Identifier | None = None
    authority_epoch: Natural | None = None
    edge_id: Identifier | None = None
    node_id: Identifier | None = None


_POINTS: Final = (OutcomeScope.EDGE_ENQUEUE, OutcomeScope.EDGE_DEQUEUE, OutcomeScope.NODE_DISPATCH)
_LOCAL: Final = (OutcomeScope.TENANT, OutcomeScope.SESSION, OutcomeScope.TURN)
_CP: Final = (OutcomeScope.TENANT, OutcomeScope.SESSION)
_SESSION_OR_TURN: Final = (OutcomeScope.SESSION, OutcomeScope.TURN)

# (kind, emitter) -> phase -> the scopes that are legal there.
LEGAL: Final[Mapping[tuple[OutcomeKind, str], Mapping[Phase, tuple[OutcomeScope, ...]]]] = {
    (OutcomeKind.ADMIT, emitters.ADMISSION): {Phase.PRE_TURN: _LOCAL},
    (OutcomeKind.REJECT, emitters.ADMISSION): {Phase.PRE_TURN: _LOCAL},
    (OutcomeKind.DEFER, emitters.ADMISSION): {Phase.PRE_TURN: _LOCAL},
    (OutcomeKind.ADMIT, emitters.CP_ADMISSION): {Phase.PRE_TURN: _CP},
    (OutcomeKind.REJECT, emitters.CP_ADMISSION): {Phase.PRE_TURN: _CP},
    (OutcomeKind.DEFER, emitters.CP_ADMISSION): {Phase.PRE_TURN: _CP},
    (OutcomeKind.SHED, emitters.ADMISSION): {Phase.SCHEDULING_POINT: _POINTS},
    (OutcomeKind.STALE_EPOCH_REJECT, emitters.AUTHORITY): {
        Phase.PRE_TURN: _SESSION_OR_TURN,
        Phase.SCHEDULING_POINT: _POINTS,
    },
    (OutcomeKind.DEAUTHORIZED_DRAIN, emitters.AUTHORITY): {
        Phase.PRE_TURN: _SESSION_OR_TURN,
        Phase.ACTIVE_TURN: (OutcomeScope.TURN,),
    },
}


def is_legal(outcome: DecisionOutcome) -> bool:
    """Whether this kind may come from this emitter in this phase and scope."""
    phases = LEGAL.get((outcome.outcome_kind, outcome.emitted_by), {})
    return outcome.scope in phases.get(outcome.phase, ())
