"""A policy says, for a tenant or for the whole fleet, which provider serves whom, what may be adapted, and what must be put in.

Two are in force for a tenant: the fleet's, called `*`, and its own. They are laid over each other: the tenant's word comes
first where one of two can hold (providers, blocks, settings), and where both bound something the tighter bound holds (quota,
adaptive actions). What the fleet's policy puts into pipelines stays in, whatever the tenant's says.

Some of a policy is compiled into the graph (`settings`, `nodes`), and so has effect for new sessions; the rest goes into the
snapshots of the control plane, and has effect at each session's next turn.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from rspp.contract.errors import MisuseError
from rspp.contract.words import AdaptiveAction, Modality
from rspp.control.config.nodes import Points, nodes_for_insertions, offered
from rspp.kernel.snapshot import PolicyBlocks, Quota
from rspp.spec import Insertion, Layer, Severity, check_layer
from rspp.spec.insert import faults
from rspp.spec.model import Ids, Words
from rspp.spec.normalise import PROVIDERS_MAX, LayerName
from rspp.timeline.declared import declared

POLICY: Final = "policy"
PROVIDERS: Final = "providers"
FLEET: Final = "*"
RULES_MAX: Final = 200
NODES_MAX: Final = 16
FACTS_MAX: Final = 50

Some = Annotated[tuple[Words, ...], Meta(max_length=1_000)]


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something a person wrote: immutable, by keyword, strict about names."""


class When(_Written, frozen=True):
    """For whom a rule is; what is empty holds for all. A language holds for its regions too: `en` for `en-GB`."""

    tenants: Some = ()
    pipelines: Some = ()
    languages: Some = ()
    regions: Some = ()
    tiers: Some = ()


class ProviderRule(_Written, frozen=True):
    """These candidates of a modality, the preferred one first. Those that cost more than `price_max` are left out.

    Only candidates that the pipeline has are ever called. `otherwise`: what holds if none of them is left.
    """

    modality: Modality
    providers: Ids
    when: When = When()
    price_max: Annotated[int, Meta(ge=0)] = 0  # 0: any; a candidate of unknown price is not left out
    otherwise: Literal["next", "refuse"] = "next"


class Policy(_Written, frozen=True):
    """One version of a policy."""

    tier: str = ""  # the tenant's cost tier, which rules may ask for
    pipeline: str | None = None  # what a caller gets who names none
    providers: Annotated[tuple[ProviderRule, ...], Meta(max_length=RULES_MAX)] = ()
    order: Literal["health_price", "health", "declared"] = "health_price"
    settings: dict[str, Any] = {}  # `budgets`, `targets`, `policies` as in a spec, laid over it
    blocks: dict[str, PolicyBlocks] = {}  # by pipeline: the six blocks, together
    quota: Quota = Quota()
    allowed_adaptive_actions: tuple[AdaptiveAction, ...] | None = None
    capabilities: dict[str, tuple[str, ...]] = {}
    residency: str | None = None  # the name of a rule of residency that this policy counts on
    nodes: Annotated[tuple[Insertion, ...], Meta(max_length=NODES_MAX)] = ()
    facts: Annotated[dict[str, str | int | float | bool], Meta(max_length=FACTS_MAX)] = {}
    plugin: str | None = None  # an entry point of the group `rspp.policies`
    on_plugin_failure: Literal["refuse", "ignore"] = "refuse"

    @property
    def compiles(self) -> bool:
        """Does a graph under this policy differ from one without?"""
        return bool(self.settings or self.nodes)


class ProviderConfig(_Written, frozen=True):
    """One version of a tenant's, or the fleet's, providers: which there are, and their settings, secrets by reference."""

    providers: dict[Modality, Words | Ids] = {}
    provider_settings: dict[Words, dict[str, Any]] = {}


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """A policy with its name and version."""

    name: str
    version: str
    policy: Policy

    @property
    def ref(self) -> str:
        return f"{POLICY}/{self.name}@{self.version}"


def policy_of(text: str, source: str = POLICY, points: Points = offered) -> Policy:
    """A policy from YAML or JSON; raises MisuseError `policy_invalid` with all that is wrong with it."""
    policy = declared(text, Policy, "policy_invalid", source)
    wrong = [*_settings_faults(policy), *_node_faults(policy, points), *_word_faults(policy)]
    if wrong:
        raise MisuseError("policy_invalid", f"{source}: {'; '.join(wrong)}")
    return policy


def provider_config_of(text: str, source: str = PROVIDERS) -> ProviderConfig:
    """A provider config from YAML or JSON; raises MisuseError `provider_config_invalid`. No message repeats a secret."""
    config = declared(text, ProviderConfig, "provider_config_invalid", source)
    wrong = _layer_faults(provider_layer(config, "tenant"))
    if wrong:
        raise MisuseError("provider_config_invalid", f"{source}: {'; '.join(wrong)}")
    return config


def provider_layer(config: ProviderConfig, name: LayerName) -> Layer:
    return Layer.of(name, msgspec.to_builtins(config))


def policy_layer(policy: Policy, name: LayerName) -> Layer:
    return Layer.of(name, policy.settings)


def insertions_of(in_force: InForce) -> tuple[Insertion, ...]:
    """The nodes of a policy, each with the version that asks for it. Two policies may call theirs alike."""
    whose = "fleet" if in_force.name == FLEET else "tenant"
    return tuple(
        msgspec.structs.replace(one, id=f"{whose}-{one.id}", source=in_force.ref)
        for one in in_force.policy.nodes
    )


def _settings_faults(policy: Policy) -> list[str]:
    foreign = sorted(set(policy.settings) - {"budgets", "targets", "policies"})
    if foreign:
        return [f"settings are budgets, targets and policies, not {', '.join(foreign)}"]
    return _layer_faults(policy_layer(policy, "tenant"))


def _layer_faults(layer: Layer) -> list[str]:
    found = check_layer(layer)
    return [f"{one.path}: {one.message}" for one in found if one.severity is Severity.ERROR]


def _node_faults(policy: Policy, points: Points) -> list[str]:
    nodes = nodes_for_insertions(policy.nodes, points)
    wrong = [problem.message for problem in nodes.errors]
    names = [one.id for one in policy.nodes]
    wrong += [f"there are two nodes '{name}'" for name in sorted(set(names)) if names.count(name) > 1]
    if not wrong:
        wrong += [fault for one in policy.nodes for fault in faults(one, nodes.catalog)]
    return wrong


def _word_faults(policy: Policy) -> list[str]:
    wrong = []
    if policy.quota.action not in ("reject", "defer"):
        wrong.append(f"a quota's action is reject or defer, not {policy.quota.action!r}")
    if min(policy.quota.turns_per_minute, policy.quota.tokens_per_minute) < 0:
        wrong.append("a quota is 0 or more")
    wrong += [
        f"a rule for {rule.modality} names at most {PROVIDERS_MAX} candidates, each once"
        for rule in policy.providers
        if len(rule.providers) > PROVIDERS_MAX or len(set(rule.providers)) != len(rule.providers)
    ]
    actions = policy.allowed_adaptive_actions or ()
    if len(set(actions)) != len(actions):
        wrong.append("an adaptive action is named twice")
    return wrong
