"""A turn's plan is resolved once, frozen, hashed and explained: equal inputs give an equal hash.

Owns the hash rule and the order of candidates. The six policy blocks of a control plane override the graph's together
or not at all; everything else comes from the compiled graph. Keeps INV-12; knows nothing of time but what it is given.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from rspp.contract.plan import Determinism, ResolvedTurnPlan
from rspp.kernel.determinism import seed_of
from rspp.kernel.snapshot import Snapshot
from rspp.spec.graph import GraphDefinition

# The plan's own name and what is computed from the hash stand outside of it.
NOT_HASHED: Final = ("resolved_turn_plan_id", "plan_hash", "determinism")
HEALTH_RANK: Final = {"healthy": 0, "unknown": 1, "unhealthy": 2}
CANDIDATES_MAX: Final = 5


class PlanFailure(msgspec.Struct, frozen=True, gc=False):
    """Why no plan could be made; `kind` is defer or reject."""

    kind: str
    reason: str
    detail: str


def _failed(detail: str) -> PlanFailure:
    return PlanFailure("reject", "plan_materialization_failed", detail)


def canonical(plan: ResolvedTurnPlan) -> bytes:
    """The hash's input: canonical JSON of all but identity and what derives from the hash."""
    document = msgspec.to_builtins(plan, str_keys=True)
    for name in NOT_HASHED:
        del document[name]
    document["merge_rule"] = [plan.determinism.merge_rule_id, plan.determinism.merge_rule_version]
    return msgspec.json.encode(document, order="sorted")


def plan_hash(plan: ResolvedTurnPlan) -> str:
    return hashlib.sha256(canonical(plan)).hexdigest()


def order_candidates(
    candidates: tuple[str, ...], snapshot: Snapshot, open_circuits: frozenset[str]
) -> tuple[tuple[str, ...], str]:
    """Healthy before unknown before unhealthy, then by price, then as declared; and why."""
    usable = tuple(c for c in candidates if c not in open_circuits and c not in snapshot.circuits_open)
    if not usable:
        return candidates[:CANDIDATES_MAX], "no_candidate_left_catalogue_order"
    if not snapshot.health and not snapshot.price:
        return usable[:CANDIDATES_MAX], "signals_missing_declared_order"

    def rank(name: str) -> tuple[int, int, int]:
        health = HEALTH_RANK.get(snapshot.health.get(name, "unknown"), 1)
        return health, snapshot.price.get(name, 0), usable.index(name)

    return tuple(sorted(usable, key=rank))[:CANDIDATES_MAX], "health_price_rank"


def build(
    graph: GraphDefinition,
    snapshot: Snapshot,
    turn_id: str,
    pipeline_version: str,
    epoch: int,
    open_circuits: frozenset[str],
    capabilities: dict[str, tuple[str, ...]],
    degraded: tuple[str, ...] = (),
) -> ResolvedTurnPlan | PlanFailure:
    """Resolve and freeze the plan of one turn."""
    blocks = snapshot.overrides
    declared = blocks.provider_bindings if blocks else graph.providers
    source = dict(graph.defaulting_source)
    bindings: dict[str, tuple[str, ...]] = {}
    for modality in sorted(declared):
        ordered, why = order_candidates(declared[modality], snapshot, open_circuits)
        if not ordered and modality not in degraded:
            return _failed(f"no provider for {modality}")
        bindings[modality] = ordered
        source[f"provider_bindings.{modality}"] = why
    if blocks:
        source["policy_blocks"] = snapshot.provenance.policy_resolution_snapshot
    unknown = set(blocks.edge_buffer_policies if blocks else ()) - {edge.id for edge in graph.edges}
    if unknown:
        return _failed(f"override of unknown edge {min(unknown)}")
    edges = {edge.id: edge.buffer for edge in graph.edges}
    nodes = {node.id: node.policy for node in graph.nodes}
    if blocks:
        edges |= blocks.edge_buffer_policies
        nodes |= blocks.node_execution_policies
    actions = blocks.allowed_adaptive_actions if blocks else None
    plan = ResolvedTurnPlan(
        resolved_turn_plan_id=f"plan/{turn_id}",
        plan_hash="",
        turn_id=turn_id,
        pipeline_version=pipeline_version,
        graph_definition_ref=graph.ref,
        graph_fingerprint=graph.fingerprint,
        execution_profile=graph.profile,
        authority_epoch=epoch,
        budgets=blocks.budgets if blocks else graph.budgets,
        provider_timeout_ms=graph.policies.calls.provider_timeout_ms,
        cancel_grace_ms=graph.policies.calls.cancel_grace_ms,
        provider_bindings=bindings,
        edge_buffer_policies=edges,
        node_execution_policies=nodes,
        flow_control=blocks.flow_control if blocks else graph.flow_control,
        allowed_adaptive_actions=graph.allowed_adaptive_actions if actions is None else actions,
        snapshot_provenance=snapshot.provenance,
        recording_policy=blocks.recording_policy if blocks else graph.recording_policy,
        determinism=Determinism(seed=0),
        policies=msgspec.to_builtins(graph.policies, str_keys=True),
        capabilities={**snapshot.capabilities, **capabilities},
        streaming_handoff=graph.streaming_handoff,
        defaulting_source=source,
    )
    digest = plan_hash(plan)
    return msgspec.structs.replace(
        plan, plan_hash=digest, determinism=Determinism(seed=seed_of(digest, epoch))
    )
