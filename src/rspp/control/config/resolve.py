"""The policies in force for one tenant on one graph become the pieces of its snapshots: a pure function, so equal in, equal out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from rspp.contract.errors import PeerFault
from rspp.contract.words import AdaptiveAction
from rspp.control.config.plugins import Plugins, PolicyAnswer, PolicyRequest, PolicySight
from rspp.control.config.policy import InForce, ProviderRule
from rspp.kernel.snapshot import PolicyBlocks, Quota
from rspp.spec.graph import GraphDefinition

NO_POLICY = "policy/none"


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet knows of its providers."""

    health: Mapping[str, str] = {}
    price: Mapping[str, int] = {}
    circuits_open: tuple[str, ...] = ()


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into a snapshot. `overrides` is None where the graph's own six blocks hold as they are."""

    ref: str
    signals: Signals
    overrides: PolicyBlocks | None = None
    quota: Quota = Quota()
    capabilities: dict[str, tuple[str, ...]] = {}
    facts: dict[str, str | int | float | bool] = {}
    denied: str | None = None
    problems: tuple[str, ...] = ()


def languages_of(graph: GraphDefinition) -> tuple[str, ...]:
    """The languages that a pipeline's models are set to."""
    found = (node.config.get("language") for node in graph.nodes if node.modality is not None)
    return tuple(dict.fromkeys(str(one) for one in found if one))


def ref_of(policies: Sequence[InForce]) -> str:
    return "+".join(one.ref for one in policies) or NO_POLICY


def request_of(
    graph: GraphDefinition, tenant_id: str, region: str, policies: Sequence[InForce]
) -> PolicyRequest:
    return PolicyRequest(
        tenant_id=tenant_id,
        pipeline=graph.pipeline,
        version=graph.version,
        region=region,
        tier=next((one.policy.tier for one in reversed(policies) if one.policy.tier), ""),
        languages=languages_of(graph),
    )


def resolve(
    graph: GraphDefinition,
    request: PolicyRequest,
    policies: Sequence[InForce],
    signals: Signals,
    plugins: Plugins,
) -> Resolved:
    """`policies`: the fleet's first, then the tenant's. Raises PeerFault where they cannot hold on this graph."""
    own_first = tuple(reversed(policies))
    blocks = _blocks(graph, own_first)
    declared = blocks.provider_bindings if blocks else graph.providers
    rules = [rule for one in own_first for rule in one.policy.providers]
    bindings = {
        modality: _candidates(modality, names, rules, request, signals)
        for modality, names in declared.items()
    }
    own_actions = blocks.allowed_adaptive_actions if blocks else None
    actions = graph.allowed_adaptive_actions if own_actions is None else own_actions
    allowed = _intersection(actions, (one.policy.allowed_adaptive_actions for one in policies))
    facts = {name: value for one in policies for name, value in one.policy.facts.items()}
    answer, problems = _ask(own_first, plugins, request, _sight(bindings, signals, facts))
    bindings |= answer.providers
    allowed = _intersection(allowed, (answer.allowed_adaptive_actions,))
    changed = blocks is not None or bindings != graph.providers or allowed != graph.allowed_adaptive_actions
    return Resolved(
        ref=ref_of(policies),
        signals=_ordering(signals, own_first),
        overrides=_overrides(graph, blocks, bindings, allowed) if changed else None,
        quota=_tighter(policies),
        capabilities={name: words for one in policies for name, words in one.policy.capabilities.items()},
        facts={**facts, **answer.facts},
        denied=answer.deny,
        problems=problems,
    )


def _candidates(
    modality: str,
    names: tuple[str, ...],
    rules: Sequence[ProviderRule],
    request: PolicyRequest,
    signals: Signals,
) -> tuple[str, ...]:
    """Those of the first rule that holds and leaves any; without one, the pipeline's own in their order."""
    for rule in rules:
        if rule.modality.value != modality or not _holds(rule, request):
            continue
        left = tuple(
            name
            for name in rule.providers
            if name in names and not (rule.price_max and signals.price.get(name, 0) > rule.price_max)
        )
        if left or rule.otherwise == "refuse":
            return left
    return names


def _holds(rule: ProviderRule, request: PolicyRequest) -> bool:
    when = rule.when
    asked = (
        (when.tenants, (request.tenant_id,)),
        (when.pipelines, (request.pipeline,)),
        (when.regions, (request.region,)),
        (when.tiers, (request.tier,)),
    )
    if any(wanted and not set(wanted) & set(given) for wanted, given in asked):
        return False
    return not when.languages or any(
        _speaks(wanted, given) for wanted in when.languages for given in request.languages
    )


def _speaks(wanted: str, given: str) -> bool:
    wanted, given = wanted.lower(), given.lower()
    return given == wanted or given.startswith(f"{wanted}-")


def _blocks(graph: GraphDefinition, own_first: Iterable[InForce]) -> PolicyBlocks | None:
    """The tenant's, or the fleet's, or none. Blocks of another shape of this pipeline hold in no part."""
    for one in own_first:
        blocks = one.policy.blocks.get(graph.pipeline)
        if blocks is None:
            continue
        unknown = set(blocks.edge_buffer_policies) - {edge.id for edge in graph.edges}
        unknown |= set(blocks.node_execution_policies) - {node.id for node in graph.nodes}
        unknown |= set(graph.providers) ^ set(blocks.provider_bindings)
        for modality, names in blocks.provider_bindings.items():
            unknown |= set(names) - set(graph.providers.get(modality, ()))
        if unknown:
            message = f"the blocks of {one.ref} do not fit {graph.ref}: {', '.join(sorted(unknown))}"
            raise PeerFault("policy_unfit", message)
        return blocks
    return None


def _overrides(
    graph: GraphDefinition,
    blocks: PolicyBlocks | None,
    bindings: dict[str, tuple[str, ...]],
    actions: tuple[AdaptiveAction, ...],
) -> PolicyBlocks:
    """All six together: where the policies change one of them, the others are the graph's own."""
    whole = blocks or PolicyBlocks(
        budgets=graph.budgets,
        provider_bindings=dict(graph.providers),
        edge_buffer_policies={edge.id: edge.buffer for edge in graph.edges},
        node_execution_policies={node.id: node.policy for node in graph.nodes},
        flow_control=graph.flow_control,
        recording_policy=graph.recording_policy,
    )
    return msgspec.structs.replace(whole, provider_bindings=bindings, allowed_adaptive_actions=actions)


def _intersection(
    actions: tuple[AdaptiveAction, ...], bounds: Iterable[tuple[AdaptiveAction, ...] | None]
) -> tuple[AdaptiveAction, ...]:
    """In their canonical order, whatever order they were written in."""
    left = set(actions).intersection(*(bound for bound in bounds if bound is not None))
    return actions if left == set(actions) else tuple(action for action in AdaptiveAction if action in left)


def _tighter(policies: Sequence[InForce]) -> Quota:
    """The lower of two limits; refused unless all who limit would rather wait."""
    quotas = [one.policy.quota for one in policies if one.policy.quota != Quota()]

    def least(values: Iterable[int]) -> int:
        return min((value for value in values if value), default=0)

    waits = bool(quotas) and all(quota.action == "defer" for quota in quotas)
    return Quota(
        turns_per_minute=least(quota.turns_per_minute for quota in quotas),
        tokens_per_minute=least(quota.tokens_per_minute for quota in quotas),
        action="defer" if waits else "reject",
    )


def _ordering(signals: Signals, own_first: Sequence[InForce]) -> Signals:
    """What the kernel may order candidates by."""
    order = own_first[0].policy.order if own_first else "health_price"
    if order == "health_price":
        return signals
    price: Mapping[str, int] = {}
    health = signals.health if order == "health" else {}
    return Signals(health=health, price=price, circuits_open=signals.circuits_open)


def _sight(
    bindings: Mapping[str, tuple[str, ...]],
    signals: Signals,
    facts: Mapping[str, str | int | float | bool],
) -> PolicySight:
    return PolicySight(
        providers=dict(bindings),
        health=dict(signals.health),
        price=dict(signals.price),
        circuits_open=signals.circuits_open,
        facts=dict(facts),
    )


def _ask(
    own_first: Sequence[InForce], plugins: Plugins, request: PolicyRequest, sight: PolicySight
) -> tuple[PolicyAnswer, tuple[str, ...]]:
    """The plugin of the tenant's policy, or of the fleet's. One that failed is told; whether that refuses, its policy says."""
    for one in own_first:
        if one.policy.plugin is None:
            continue
        try:
            return plugins.ask(one.policy.plugin, request, sight), ()
        except PeerFault as fault:
            if one.policy.on_plugin_failure == "refuse":
                raise
            return PolicyAnswer(), (f"{one.ref}: {fault.message}",)
    return PolicyAnswer(), ()
