"""A normalised spec becomes a graph in which nothing is left to decide, with a fingerprint of all that could matter.

Two specs with equal fingerprints behave alike: comments, metadata, the pipeline's name and version, and the record of
where values came from are left out of it; every node, edge, number and word is in it.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from rspp.contract.plan import NodePolicy
from rspp.contract.words import CancelMode, EventKind, FlowMode
from rspp.spec.assemble import Assembly
from rspp.spec.edge_policy import buffer_of, canonical, class_of, lane_of
from rspp.spec.graph import (
    ISOLATED,
    Absent,
    Condition,
    EdgeDefinition,
    GraphDefinition,
    Lifetime,
    MergeRule,
    NodeBudget,
    NodeDefinition,
    OnCancel,
    OnFailure,
    Policies,
    Role,
    SelectRule,
)
from rspp.spec.model import ConditionSpec, NodeBudgetSpec, NodeLimitsSpec
from rspp.spec.normalise import EXPLICIT, NormalisedSpec
from rspp.spec.problem import Findings
from rspp.spec.profile import SOURCE
from rspp.spec.wiring import Link, Resolved, Wiring, fallback_of

# Enough to keep a producer busy for a third of a second of audio; the contract names no number.
CREDITS: Final = 16
# What says where a thing came from, what it is called or how it is measured, but not what it does.
IDENTITY: Final = ("ref", "fingerprint", "pipeline", "version", "defaulting_source", "targets")


def compile_graph(
    normalised: NormalisedSpec, wiring: Wiring, edges: tuple[EdgeDefinition, ...], turn_input: tuple[str, str]
) -> GraphDefinition:
    """The graph of a spec in which no fault was found."""
    spec = normalised.spec
    handoff = normalised.policies.streaming_handoff
    graph = GraphDefinition(
        ref=f"graph/{spec.pipeline}@{spec.version}",
        fingerprint="",
        pipeline=spec.pipeline,
        version=spec.version,
        profile=normalised.profile,
        nodes=tuple(node_of(node) for node in wiring.nodes.values()),
        edges=edges,
        turn_input=turn_input,
        providers=normalised.providers,
        budgets=normalised.budgets,
        flow_control=normalised.policies.flow_control,
        allowed_adaptive_actions=normalised.policies.allowed_adaptive_actions,
        recording_policy=normalised.policies.recording_policy,
        policies=_kernel_policies(normalised),
        streaming_handoff=handoff if handoff.stt_to_llm.enabled or handoff.llm_to_tts.enabled else None,
        defaulting_source=_sources(normalised, wiring, edges),
        provider_settings=normalised.provider_settings,
        targets=normalised.targets,
    )
    return msgspec.structs.replace(graph, fingerprint=fingerprint(graph))


def fingerprint(graph: GraphDefinition) -> str:
    """SHA-256 over canonical JSON of everything that can alter execution."""
    plain = msgspec.to_builtins(graph)
    for name in IDENTITY:
        del plain[name]
    if not plain["provider_settings"]:
        del plain[
            "provider_settings"
        ]  # a graph that was compiled before there were any keeps its fingerprint
    for edge in plain["edges"]:
        del edge["buffer"]["defaulting_source"]
    return hashlib.sha256(canonical(plain)).hexdigest()


def turn_input_of(assembly: Assembly, wiring: Wiring, findings: Findings) -> tuple[str, str] | None:
    """The one text output that crosses from the session into the turn, or the one that the spec names."""
    crossing = [
        (link.source, link.source_port)
        for link in wiring.links
        if wiring.nodes[link.source].scope == "session"
        and wiring.nodes[link.target].scope == "turn"
        and EventKind.TEXT in link.kinds
    ]
    candidates = list(dict.fromkeys(crossing))
    if assembly.turn_input is not None:
        node, _, port = assembly.turn_input.partition(".")
        for candidate in candidates:
            if candidate[0] == node and port in ("", candidate[1]):
                return candidate
        message = f"'{assembly.turn_input}' feeds no node of a turn"
        findings.error("turn_input_unknown", ("turn_input",), message, _named(candidates))
        return None
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        message = "nothing gives a turn its text: no output of a session node feeds a node of turn scope"
        findings.error(
            "turn_input_missing", ("edges",), message, "Add an edge such as `stt.final` to `llm.text`"
        )
        return None
    message = f"several outputs feed the turn: {', '.join('.'.join(one) for one in candidates)}"
    findings.error(
        "turn_input_ambiguous",
        ("edges",),
        message,
        "Join them in a merge or a select, or name one in `turn_input`",
    )
    return None


def _named(candidates: list[tuple[str, str]]) -> str:
    return f"Candidates: {', '.join('.'.join(one) for one in candidates)}" if candidates else ""


def node_of(node: Resolved) -> NodeDefinition:
    definition = _definition(node)
    limits = node.placed.spec.limits or NodeLimitsSpec()
    return _isolated(definition, limits) if node.placed.spec.isolate else definition


def _isolated(node: NodeDefinition, limits: NodeLimitsSpec) -> NodeDefinition:
    """A sync node in a process of its own is a call: its provider is told the node as it would run inside."""
    return msgspec.structs.replace(
        node,
        role=Role.CALL,
        modality=ISOLATED,
        lifetime=Lifetime.EVENT if node.scope == "turn" else Lifetime.SESSION,
        config={"node": msgspec.to_builtins(node), "limits": msgspec.to_builtins(limits)},
    )


def _definition(node: Resolved) -> NodeDefinition:
    spec = node.placed.spec
    fallback = fallback_of(node)
    budget = spec.budget or NodeBudgetSpec()
    return NodeDefinition(
        id=node.id,
        type=node.kind.name,
        version=spec.version or node.kind.version,
        role=node.role,
        scope=node.scope or "session",
        inputs=node.ports(node.inputs),
        outputs=node.ports(node.outputs),
        modality=node.kind.modality,
        lifetime=node.lifetime,
        config=node.config,
        budget=NodeBudget(per_event_ms=budget.per_event_ms, per_turn_ms=budget.per_turn_ms),
        cancel=spec.cancel or CancelMode.HARD,
        on_failure=spec.on_failure or (OnFailure.FALLBACK if fallback else OnFailure.TERMINATE),
        fallback=fallback,
        policy=NodePolicy(concurrency_limit=spec.concurrency_limit or 0, fairness_key=spec.fairness_key),
        merge=MergeRule(order=spec.merge.order, window_ms=spec.merge.window_ms)
        if spec.merge
        else _merge_default(node),
        select=_select_of(node),
    )


def _merge_default(node: Resolved) -> MergeRule | None:
    return MergeRule() if node.role.value == "merge" else None


def _select_of(node: Resolved) -> SelectRule | None:
    spec = node.placed.spec.select
    if spec is None:
        return None
    return SelectRule(candidates=tuple((one.input, condition_of(one.when)) for one in spec.candidates))


def condition_of(spec: ConditionSpec | None) -> Condition | None:
    if spec is None:
        return None
    return Condition(
        attribute=spec.attribute, op=spec.op, value=spec.value, absent=spec.absent or Absent.SKIP
    )


def edge_of(link: Link, wiring: Wiring, findings: Findings) -> EdgeDefinition:
    source, target = wiring.nodes[link.source], wiring.nodes[link.target]
    spec = link.wire.spec
    lane = lane_of(link, findings)
    flow = spec.flow or FlowMode.SIGNAL
    return EdgeDefinition(
        id=link.id,
        source=link.source,
        source_port=link.source_port,
        target=link.target,
        target_port=link.target_port,
        kinds=link.kinds,
        lane=lane,
        buffer=buffer_of(link, class_of(link, lane, source, target), lane, findings),
        flow=flow,
        credits=0 if flow is FlowMode.SIGNAL else spec.credits or CREDITS,
        when=condition_of(spec.when),
        on_cancel=spec.on_cancel or OnCancel.CLEAR,
    )


def _kernel_policies(normalised: NormalisedSpec) -> Policies:
    """The kernel's part of the policies; the rest stands in the graph's own fields."""
    policies = normalised.policies
    return Policies(**{name: getattr(policies, name) for name in Policies.__struct_fields__})


def _sources(normalised: NormalisedSpec, wiring: Wiring, edges: tuple[EdgeDefinition, ...]) -> dict[str, str]:
    """Where each value came from, by its path: every derived field has an entry."""
    sources = dict(normalised.origins)
    for node in wiring.nodes.values():
        for name in ("scope", "budget", "cancel", "on_failure", "concurrency_limit", "version"):
            given = getattr(node.placed.spec, name) is not None
            sources[f"nodes.{node.id}.{name}"] = EXPLICIT if given else SOURCE
    for edge, link in zip(edges, wiring.links, strict=True):
        for name in ("lane", "flow", "credits", "on_cancel"):
            given = getattr(link.wire.spec, name) is not None
            sources[f"edges.{edge.id}.{name}"] = EXPLICIT if given else SOURCE
        for name, source in edge.buffer.defaulting_source.items():
            sources[f"edges.{edge.id}.buffer.{name}"] = source
    return dict(sorted(sources.items()))
