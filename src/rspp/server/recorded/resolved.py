"""The graph and the plans that were really in force for one session: inserted nodes and chosen providers included.

From a recording it is what the kernel was born with and each plan that it froze, beside what the turns' evidence says was
called. Of a session without a recording here only the graph is known, from the name that its lease bears.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec

from rspp.contract.evidence import TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan
from rspp.server.recorded.words import Edge, Node
from rspp.spec.graph import Condition, GraphDefinition, NodeDefinition, Role
from rspp.spec.insert import PREFIX
from rspp.timeline.recording import Recording

FROM_RECORDING: Final = "recording"
FROM_REGISTRY: Final = "registry"


def of_recording(recording: Recording) -> dict[str, Any]:
    """Everything, turn by turn."""
    graph = recording.head.graph
    evidence = {one.turn_id: one for one in recording.evidence.values()}
    turns = [
        _turn(number, plan, evidence.get(plan.turn_id))
        for number, plan in enumerate(recording.plans.values(), 1)
    ]
    _say_once(turns)
    return {
        **of_graph(graph, FROM_RECORDING),
        "runtime": recording.head.runtime,
        "turns": turns,
        "called": _called(recording),
    }


def of_graph(graph: GraphDefinition, source: str) -> dict[str, Any]:
    """The graph alone, as plain values."""
    return {
        "source": source,
        "graph": graph.ref,
        "pipeline": graph.pipeline,
        "version": graph.version,
        "profile": graph.profile,
        "fingerprint": graph.fingerprint,
        "nodes": [_node_facts(graph, node) for node in graph.nodes],
        "edges": [msgspec.to_builtins(one) for one in edges_of(graph)],
        "providers": {modality: list(names) for modality, names in sorted(graph.providers.items())},
    }


def _say_once(turns: list[dict[str, Any]]) -> None:
    """Where the plan's values came from, is the same for nearly all turns of a call: it stands where it is new."""
    before: object = None
    for turn in turns:
        if turn["sources"] == before:
            del turn["sources"]
        else:
            before = turn["sources"]


def _called(recording: Recording) -> list[dict[str, Any]]:
    """Who was really called, by which node, and how often; where no inputs are kept, as far as the turns' evidence says it."""
    calls = Counter(
        (str(item.facts.get("node") or ""), item.name, str(item.facts.get("provider") or ""))
        for item in recording.items
        if item.what == "invoke"
    ) or Counter(
        ("", one.modality, one.provider)
        for evidence in recording.evidence.values()
        for one in evidence.invocation_outcomes
    )
    return [
        {"node": node, "modality": modality, "provider": provider, "attempts": count}
        for (node, modality, provider), count in sorted(calls.items())
    ]


def nodes_of(graph: GraphDefinition) -> list[Node]:
    return [
        Node(id=node.id, type=node.type, provider=_provider(graph, node), inserted=is_inserted(node))
        for node in graph.nodes
    ]


def edges_of(graph: GraphDefinition) -> list[Edge]:
    return [
        Edge(
            from_=edge.source,
            to=edge.target,
            port=edge.source_port,
            lane=edge.lane.value,
            condition=None if edge.when is None else _said(edge.when),
        )
        for edge in graph.edges
    ]


def is_inserted(node: NodeDefinition) -> bool:
    """Did a policy put it there?"""
    return node.id.startswith(PREFIX)


def _node_facts(graph: GraphDefinition, node: NodeDefinition) -> dict[str, Any]:
    return {
        "id": node.id,
        "type": node.type,
        "version": node.version,
        "role": node.role.value,
        "modality": node.modality,
        "provider": _provider(graph, node),
        "inserted": is_inserted(node),
        "inserted_by": graph.defaulting_source.get(f"nodes.{node.id}") if is_inserted(node) else None,
    }


def _provider(graph: GraphDefinition, node: NodeDefinition) -> str | None:
    """Who is asked first by this node, if it asks anybody."""
    if node.role is not Role.CALL:
        return None
    for name in (node.id, node.modality or "", node.type):
        candidates = graph.providers.get(name)
        if candidates:
            return candidates[0]
    return None


def _said(condition: Condition) -> str:
    value = condition.value
    shown = ", ".join(value) if isinstance(value, tuple) else str(value)
    return f"{condition.attribute} {condition.op} {shown}"


def _turn(number: int, plan: ResolvedTurnPlan, evidence: TurnEvidence | None) -> dict[str, Any]:
    return {
        "number": number,
        "turn": plan.turn_id,
        "plan": plan.resolved_turn_plan_id,
        "plan_hash": plan.plan_hash,
        "graph": plan.graph_definition_ref,
        "pipeline_version": plan.pipeline_version,
        "profile": plan.execution_profile,
        "epoch": plan.authority_epoch,
        "providers": {modality: list(names) for modality, names in sorted(plan.provider_bindings.items())},
        "called": [
            {"modality": one.modality, "provider": one.provider, "outcome": one.outcome_class.value}
            for one in (evidence.invocation_outcomes if evidence is not None else ())
        ],
        "snapshots": msgspec.to_builtins(plan.snapshot_provenance),
        "recording_level": plan.recording_policy.level.value,
        "sources": dict(plan.defaulting_source),
    }
