"""A policy is read to the letter, holds for whom it says, and what two of them bound is bound by the tighter."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import msgspec
import pytest

from rspp.contract.errors import MisuseError, PeerFault
from rspp.contract.words import AdaptiveAction
from rspp.control.config.plugins import Plugins, PolicyAnswer, PolicyRequest, PolicySight
from rspp.control.config.policy import InForce, Policy, insertions_of, policy_of, provider_config_of
from rspp.control.config.resolve import Resolved, Signals, request_of, resolve
from rspp.kernel.planner import build
from rspp.kernel.snapshot import PolicyBlocks, Quota, Snapshot
from rspp.spec import compile_text
from rspp.spec.graph import GraphDefinition
from tests.unit.control.published import points_of, spec_text

GRAPH = compile_text(spec_text())
PLAIN = Signals(health={"llm-a": "healthy"}, price={"llm-a": 30, "llm-b": 10, "llm-c": 90})


def in_force(name: str, **tree: object) -> InForce:
    return InForce(name=name, version="v1", policy=policy_of(json.dumps(tree or {"facts": {}})))


def resolved(
    *policies: InForce,
    graph: GraphDefinition = GRAPH,
    region: str = "eu-1",
    tenant: str = "acme",
    signals: Signals = PLAIN,
    plugins: Plugins | None = None,
) -> Resolved:
    request = request_of(graph, tenant, region, policies)
    return resolve(graph, request, policies, signals, plugins or Plugins(tuple))


def llm_of(found: Resolved) -> tuple[str, ...]:
    return (found.overrides.provider_bindings if found.overrides else GRAPH.providers)["llm"]


def rule(*providers: str, **more: object) -> dict[str, object]:
    return {"modality": "llm", "providers": list(providers), **more}


# ---- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"provider": []}, "unknown field `provider`"),
        ({"providers": [rule()]}, "length >= 1"),
        ({"providers": [rule("a", "a")]}, "each once"),
        ({"providers": [rule(*"abcdef")]}, "at most 5"),
        ({"settings": {"providers": {"llm": "x"}}}, "not providers"),
        ({"settings": {"budgets": {"turn_budget_ms": 0}}}, "turn_budget_ms"),
        ({"settings": {"policies": {"degrade_on": ["smell"]}}}, "smell"),
        ({"blocks": {"voice": {"budgets": {}}}}, "missing required field"),
        ({"quota": {"turns_per_minute": -1}}, "0 or more"),
        ({"quota": {"action": "scream"}}, "reject or defer"),
        ({"allowed_adaptive_actions": ["retry", "retry"]}, "named twice"),
        ({"allowed_adaptive_actions": ["improvise"]}, "improvise"),
        ({"nodes": [{"id": "x", "at": "after stt", "type": "text_filter"}]}, "may not be put 'after stt'"),
        ({"nodes": [{"id": "x", "at": "after llm", "type": "unheard"}]}, "unheard"),
        (
            {
                "nodes": [
                    {
                        "id": "x",
                        "at": "after llm",
                        "type": "custom",
                        "version": "v1",
                        "implementation": "os:system",
                    }
                ]
            },
            "offered by no installed package",
        ),
        (
            {
                "nodes": [
                    {"id": "x", "at": "after llm", "type": "text_filter"},
                    {"id": "x", "at": "before llm", "type": "text_filter"},
                ]
            },
            "two nodes 'x'",
        ),
        ({"on_plugin_failure": "hope"}, "hope"),
        ({"nodes": [{"id": "x/y", "at": "after llm", "type": "text_filter"}]}, "has the form"),
    ],
)
def test_what_is_no_policy_is_refused_with_what_is_wrong(tree: dict[str, object], words: str) -> None:
    with pytest.raises(MisuseError) as caught:
        policy_of(json.dumps(tree), "policy/acme@v1")
    assert caught.value.code == "policy_invalid"
    assert words in caught.value.message


def test_the_policy_that_the_documentation_shows_is_one() -> None:
    page = (Path(__file__).parents[4] / "docs/control-plane.md").read_text(encoding="utf-8")
    policy, config = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert policy_of(policy).nodes
    assert provider_config_of(config).provider_settings


@pytest.mark.parametrize("text", ["", "- x", "a: [", "{", "x" * 300_000, "a: &a [*a]"])
def test_hostile_text_is_refused_and_breaks_nothing(text: str) -> None:
    for read in (policy_of, provider_config_of):
        with pytest.raises(MisuseError):
            read(text)


def test_a_provider_config_names_where_secrets_are_and_never_holds_one() -> None:
    config = provider_config_of(
        json.dumps(
            {
                "providers": {"llm": ["house"]},
                "provider_settings": {"house": {"use": "openai-llm", "api_key": "env://KEY"}},
            }
        )
    )
    assert config.provider_settings["house"]["api_key"] == "env://KEY"
    secret = "sk-do-not-tell"
    for settings in (
        {"api_key": secret},
        {"base_url": f"https://me:{secret}@host"},
        {"deep": {"token": [secret]}},
    ):
        with pytest.raises(MisuseError) as caught:
            provider_config_of(json.dumps({"provider_settings": {"house": settings}}))
        assert caught.value.code == "provider_config_invalid"
        assert secret not in str(caught.value)


# ---- which provider serves whom -----------------------------------------------------------------------------------


def test_without_a_policy_the_pipelines_own_candidates_hold_and_nothing_is_overridden() -> None:
    found = resolved()
    assert (found.overrides, found.ref) == (None, "policy/none")
    assert resolved(in_force("*")).overrides is None


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({}, True),
        ({"tenants": ["acme"]}, True),
        ({"tenants": ["other"]}, False),
        ({"regions": ["eu-1", "eu-2"]}, True),
        ({"regions": ["us-1"]}, False),
        ({"pipelines": ["voice"]}, True),
        ({"pipelines": ["desk"]}, False),
        ({"languages": ["de"]}, True),
        ({"languages": ["de-AT"]}, True),
        ({"languages": ["de-CH"]}, False),
        ({"languages": ["d"]}, False),
        ({"tiers": ["gold"]}, True),
        ({"tiers": ["basic"]}, False),
        ({"tenants": ["acme"], "regions": ["us-1"]}, False),
    ],
)
def test_a_rule_holds_for_whom_it_says(when: dict[str, object], holds: bool) -> None:
    tree = json.loads(spec_text())
    del tree["template"]
    speaking = {"type": "stt", "version": "v1", "config": {"language": "de-AT"}}
    tree["nodes"] = {
        **{name: {"type": name, "version": "v1"} for name in ("vad", "llm", "segmenter", "tts")},
        "caller": {"type": "transport.in", "version": "v1"},
        "speaker": {"type": "transport.out", "version": "v1"},
        "stt": speaking,
    }
    tree["edges"] = [
        {"from": "caller.audio", "to": ["vad.audio", "stt.audio"]},
        {"from": "stt.final", "to": "llm.text"},
        {"from": "llm.text", "to": "segmenter.text"},
        {"from": "segmenter.text", "to": "tts.text"},
        {"from": "tts.audio", "to": "speaker.audio"},
    ]
    graph = compile_text(json.dumps(tree))
    policy = in_force("acme", tier="gold", providers=[rule("llm-c", "llm-a", when=when)])
    assert llm_of(resolved(policy, graph=graph)) == (("llm-c", "llm-a") if holds else GRAPH.providers["llm"])


def test_the_first_rule_that_holds_and_leaves_anybody_decides_the_tenants_before_the_fleets() -> None:
    fleet = in_force("*", providers=[rule("llm-a")])
    assert llm_of(resolved(fleet)) == ("llm-a",)
    assert llm_of(resolved(fleet, in_force("acme", providers=[rule("llm-b")]))) == ("llm-b",)
    assert llm_of(resolved(fleet, in_force("acme", providers=[rule("unheard-of")]))) == ("llm-a",)
    strict = in_force("acme", providers=[rule("unheard-of", otherwise="refuse")])
    assert llm_of(resolved(fleet, strict)) == ()


def test_what_costs_too_much_is_left_out() -> None:
    policy = in_force("acme", providers=[rule("llm-c", "llm-a", "llm-b", price_max=50)])
    assert llm_of(resolved(policy)) == ("llm-a", "llm-b")
    unknown = Signals()
    assert llm_of(resolved(policy, signals=unknown)) == ("llm-c", "llm-a", "llm-b")


@pytest.mark.parametrize(
    ("order", "first", "why"),
    [
        ("health_price", "llm-b", "health_price_rank"),
        ("health", "llm-a", "health_price_rank"),
        ("declared", "llm-a", "signals_missing_declared_order"),
    ],
)
def test_health_then_price_then_the_declared_order_decide_and_a_policy_may_want_less(
    order: str, first: str, why: str
) -> None:
    signals = Signals(health={"llm-a": "healthy", "llm-b": "healthy", "llm-c": "healthy"}, price=PLAIN.price)
    found = resolved(in_force("acme", order=order), signals=signals)
    plan = build(GRAPH, snapshot_of(found), "t1", "v1", 1, frozenset(), {})
    assert plan.provider_bindings["llm"][0] == first  # type: ignore[union-attr]
    assert plan.defaulting_source["provider_bindings.llm"] == why  # type: ignore[union-attr]


def snapshot_of(found: Resolved) -> Snapshot:
    from rspp.host.snapshots import ALONE

    return Snapshot(
        version=1,
        taken_at=0,
        provenance=ALONE,
        health=dict(found.signals.health),
        price=dict(found.signals.price),
        circuits_open=found.signals.circuits_open,
        overrides=found.overrides,
    )


# ---- blocks, bounds ------------------------------------------------------------------------------------------------


def blocks(**more: object) -> dict[str, object]:
    whole = PolicyBlocks(
        budgets=msgspec.structs.replace(GRAPH.budgets, turn_budget_ms=1_234),
        provider_bindings=dict(GRAPH.providers),
        edge_buffer_policies={},
        node_execution_policies={},
        flow_control=GRAPH.flow_control,
        recording_policy=GRAPH.recording_policy,
    )
    tree: dict[str, object] = msgspec.to_builtins(whole, str_keys=True)
    return {**tree, **more}


def test_the_six_blocks_hold_together_and_a_rule_chooses_among_theirs() -> None:
    policy = in_force("acme", blocks={"voice": blocks()}, providers=[rule("llm-c")])
    found = resolved(policy).overrides
    assert found is not None
    assert found.budgets.turn_budget_ms == 1_234
    assert found.provider_bindings["llm"] == ("llm-c",)
    assert found.flow_control == GRAPH.flow_control
    assert resolved(in_force("acme", blocks={"other": blocks()})).overrides is None


@pytest.mark.parametrize(
    "missing",
    [
        "budgets",
        "provider_bindings",
        "edge_buffer_policies",
        "node_execution_policies",
        "flow_control",
        "recording_policy",
    ],
)
def test_five_blocks_of_six_are_refused(missing: str) -> None:
    tree = blocks()
    del tree[missing]
    with pytest.raises(MisuseError, match=f"missing required field `{missing}`"):
        policy_of(json.dumps({"blocks": {"voice": tree}}))


@pytest.mark.parametrize(
    "more",
    [
        {"node_execution_policies": {"nobody": {"concurrency_limit": 1}}},
        {"provider_bindings": {"llm": ["unheard-of"], "stt": ["stt-a"], "tts": ["tts-a"]}},
        {"provider_bindings": {"llm": ["llm-a"]}},
    ],
)
def test_blocks_of_another_shape_hold_in_no_part(more: dict[str, object]) -> None:
    with pytest.raises(PeerFault) as caught:
        resolved(in_force("acme", blocks={"voice": blocks(**more)}))
    assert caught.value.code == "policy_unfit"


def test_a_rule_alone_leaves_the_other_five_blocks_as_the_graph_has_them() -> None:
    found = resolved(in_force("acme", providers=[rule("llm-b")])).overrides
    assert found is not None
    assert found.budgets == GRAPH.budgets
    assert found.edge_buffer_policies == {edge.id: edge.buffer for edge in GRAPH.edges}
    assert found.allowed_adaptive_actions == GRAPH.allowed_adaptive_actions


def test_quotas_and_actions_are_the_tighter_of_both() -> None:
    fleet = in_force(
        "*",
        quota={"turns_per_minute": 10, "tokens_per_minute": 500},
        allowed_adaptive_actions=["retry", "fallback"],
    )
    own = in_force(
        "acme",
        quota={"turns_per_minute": 30, "tokens_per_minute": 100, "action": "defer"},
        allowed_adaptive_actions=["fallback", "degrade"],
    )
    found = resolved(fleet, own)
    assert found.quota == Quota(turns_per_minute=10, tokens_per_minute=100, action="reject")
    assert found.overrides is not None
    assert found.overrides.allowed_adaptive_actions == (AdaptiveAction.FALLBACK,)
    assert resolved(own).quota.action == "defer"


def test_what_a_policy_puts_in_names_its_version_and_whose_it_is() -> None:
    node = {"id": "redact", "at": "after llm", "type": "text_filter"}
    (fleet,) = insertions_of(in_force("*", nodes=[node]))
    (own,) = insertions_of(in_force("acme", nodes=[node]))
    assert (fleet.id, fleet.source) == ("fleet-redact", "policy/*@v1")
    assert (own.id, own.source) == ("tenant-redact", "policy/acme@v1")


# ---- plugins ------------------------------------------------------------------------------------------------------


def cheapest(request: PolicyRequest, sight: PolicySight) -> PolicyAnswer:
    names = sight.providers["llm"]
    best = min(names, key=lambda name: sight.price.get(name, 0))
    return PolicyAnswer(providers={"llm": (best,)}, facts={"plugin": f"{request.tenant_id}:{request.region}"})


def denies(request: PolicyRequest, sight: PolicySight) -> PolicyAnswer:
    del request, sight
    return PolicyAnswer(deny="the tenant has not paid")


def raises(request: PolicyRequest, sight: PolicySight) -> PolicyAnswer:
    raise ZeroDivisionError(f"{request} {sight}")


def smuggles(request: PolicyRequest, sight: PolicySight) -> PolicyAnswer:
    del request, sight
    return PolicyAnswer(providers={"llm": ("not-allowed",)})


def lies(request: PolicyRequest, sight: PolicySight) -> object:
    del request, sight
    return {"providers": {}}


def mistypes(request: PolicyRequest, sight: PolicySight) -> PolicyAnswer:
    del request, sight
    return PolicyAnswer(facts={"x": object()})  # type: ignore[dict-item]


def nothing(request: PolicyRequest, sight: PolicySight) -> None:
    del request, sight


no_function = 7


def plugins(*names: str) -> Plugins:
    def offered() -> Sequence[EntryPoint]:
        return points_of(**{name: f"{__name__}:{name}" for name in names})()

    return Plugins(offered)


def test_a_plugin_chooses_among_what_the_policies_left() -> None:
    policy = in_force("acme", plugin="cheapest", providers=[rule("llm-a", "llm-c")])
    found = resolved(policy, plugins=plugins("cheapest"))
    assert llm_of(found) == ("llm-a",)
    assert found.facts == {"plugin": "acme:eu-1"}
    assert (
        resolved(in_force("acme", plugin="denies"), plugins=plugins("denies")).denied
        == "the tenant has not paid"
    )
    assert resolved(in_force("acme", plugin="nothing"), plugins=plugins("nothing")).overrides is None


@pytest.mark.parametrize(
    "name", ["raises", "smuggles", "lies", "mistypes", "no_function", "missing", "absent"]
)
def test_a_plugin_that_fails_has_the_outcome_that_its_policy_declares(name: str) -> None:
    there = plugins(*([] if name == "absent" else [name]))
    with pytest.raises(PeerFault) as caught:
        resolved(in_force("acme", plugin=name), plugins=there)
    assert caught.value.code == "policy_plugin_failed"
    lenient = in_force("acme", plugin=name, on_plugin_failure="ignore", providers=[rule("llm-b")])
    found = resolved(lenient, plugins=there)
    assert llm_of(found) == ("llm-b",)
    assert f"{name!r}" in found.problems[0]


def test_two_packages_that_offer_one_plugin_are_none() -> None:
    def offered() -> Sequence[EntryPoint]:
        return [*points_of(cheapest=f"{__name__}:cheapest")(), *points_of(cheapest=f"{__name__}:denies")()]

    with pytest.raises(PeerFault, match="more than one package"):
        resolved(in_force("acme", plugin="cheapest"), plugins=Plugins(offered))


def test_equal_in_is_equal_out() -> None:
    policy = in_force("acme", providers=[rule("llm-c", "llm-a")], facts={"a": 1})
    assert resolved(policy) == resolved(policy)
    assert msgspec.json.encode(Policy()) == b"{}"
