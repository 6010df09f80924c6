"""A plan is resolved once, frozen, hashed and explained: equal inputs, equal hash."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rspp.contract.plan import ResolvedTurnPlan
from rspp.contract.words import AdaptiveAction, RecordingLevel
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.determinism import seed_of
from rspp.kernel.planner import NOT_HASHED, PlanFailure, build, order_candidates, plan_hash
from rspp.kernel.snapshot import PolicyBlocks, Snapshot
from rspp.spec import voice_template
from rspp.spec.graph import GraphDefinition
from rspp.testing.rig import PROVENANCE, Rig, snapshot

GRAPH = voice_template()


def planned(graph: GraphDefinition = GRAPH, view: Snapshot | None = None, **changes: Any) -> ResolvedTurnPlan:
    made = attempt(graph, view, **changes)
    assert isinstance(made, ResolvedTurnPlan)
    return made


def attempt(
    graph: GraphDefinition = GRAPH, view: Snapshot | None = None, **changes: Any
) -> ResolvedTurnPlan | PlanFailure:
    given: dict[str, Any] = {
        "turn_id": "s1/turn-1",
        "pipeline_version": "v1",
        "epoch": 7,
        "open_circuits": frozenset(),
        "capabilities": {},
        **changes,
    }
    return build(graph, view or snapshot(), **given)


def blocks(**changes: Any) -> PolicyBlocks:
    whole = PolicyBlocks(
        budgets=msgspec.structs.replace(GRAPH.budgets, turn_budget_ms=1_234),
        provider_bindings={"stt": ("stt-z",), "llm": ("llm-z",), "tts": ("tts-z",)},
        edge_buffer_policies={GRAPH.edges[0].id: GRAPH.edges[-1].buffer},
        node_execution_policies={"llm": msgspec.structs.replace(GRAPH.nodes[0].policy, concurrency_limit=3)},
        flow_control=GRAPH.flow_control,
        recording_policy=msgspec.structs.replace(GRAPH.recording_policy, level=RecordingLevel.L1),
    )
    return msgspec.structs.replace(whole, **changes)


# ---- the hash -------------------------------------------------------------------------------------------------------


def test_equal_inputs_give_an_equal_plan_hash_and_seed() -> None:
    first, second = planned(), planned(voice_template(), snapshot())
    assert first == second
    assert len(first.plan_hash) == 64
    assert plan_hash(first) == first.plan_hash
    assert first.determinism.seed == seed_of(first.plan_hash, 7)


@pytest.mark.parametrize(
    "other",
    [
        lambda: planned(turn_id="s1/turn-2"),
        lambda: planned(epoch=8),
        lambda: planned(pipeline_version="v2"),
        lambda: planned(
            view=snapshot(provenance=msgspec.structs.replace(PROVENANCE, routing_view_snapshot="r/2"))
        ),
        lambda: planned(view=snapshot(health={"llm-a": "unhealthy"})),
        lambda: planned(view=snapshot(overrides=blocks())),
        lambda: planned(open_circuits=frozenset({"tts-a"})),
        lambda: planned(capabilities={"transport": ("playback_reports",)}),
        lambda: planned(voice_template(budgets={"turn_budget_ms": 1_999})),
        lambda: planned(voice_template(calls={"provider_timeout_ms": 999})),
        lambda: planned(voice_template(overlap="queue")),
        lambda: planned(voice_template(allowed_adaptive_actions=["retry"])),
    ],
)
def test_whatever_the_turn_is_judged_by_moves_the_hash(other: Any) -> None:
    assert other().plan_hash != planned().plan_hash


def test_the_hash_covers_every_field_but_its_own_name_and_what_derives_from_it() -> None:
    plan = planned()
    for name in ResolvedTurnPlan.__struct_fields__:
        if name in NOT_HASHED:
            continue
        value = getattr(plan, name)
        tampered = (
            f"{value}!" if isinstance(value, str) else value + 1 if isinstance(value, int) else "tampered"
        )
        assert plan_hash(msgspec.structs.replace(plan, **{name: tampered})) != plan.plan_hash, name


def test_a_plan_that_was_written_and_read_again_still_has_its_hash() -> None:
    plan = planned()
    for encode, decode in (
        (msgspec.json.encode, msgspec.json.decode),
        (msgspec.msgpack.encode, msgspec.msgpack.decode),
    ):
        again = decode(encode(plan), type=ResolvedTurnPlan)
        assert plan_hash(again) == plan.plan_hash


# ---- where each field came from -------------------------------------------------------------------------------------


def test_every_derived_field_of_a_plan_without_knobs_names_the_profile() -> None:
    """The plan's part of F-078."""
    source = planned().defaulting_source
    assert set(source.values()) >= {"execution_profile/simple/v1"}
    for path in (
        "budgets.turn_budget_ms",
        "policies.calls.provider_timeout_ms",
        "policies.calls.cancel_grace_ms",
    ):
        assert source[path] == "execution_profile/simple/v1"
    assert all(source.values())


@pytest.mark.parametrize(
    "bound", ["max_queue_items", "max_queue_ms", "max_queue_bytes", "max_latency_contribution_ms"]
)
def test_a_plan_says_of_each_bound_of_each_edge_whether_spec_or_profile_set_it(bound: str) -> None:
    """The plan's part of F-143."""
    source = planned().defaulting_source
    for edge in GRAPH.edges:
        assert source[f"edges.{edge.id}.buffer.{bound}"].startswith("execution_profile")
        assert edge.buffer.defaulting_source[bound] == "execution_profile/simple/v1"


def test_a_knob_of_the_spec_is_named_as_such() -> None:
    source = planned(voice_template(budgets={"turn_budget_ms": 1_500})).defaulting_source
    assert source["budgets.turn_budget_ms"] == "explicit"
    assert source["budgets.node_budget_ms_default"] == "execution_profile/simple/v1"


def test_the_order_of_candidates_says_why_it_is_what_it_is() -> None:
    assert planned().defaulting_source["provider_bindings.llm"] == "signals_missing_declared_order"
    healthy = planned(view=snapshot(health={"llm-b": "healthy"}))
    assert healthy.provider_bindings["llm"] == ("llm-b", "llm-a")
    assert healthy.defaulting_source["provider_bindings.llm"] == "health_price_rank"


# ---- candidates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "circuits", "expected"),
    [
        (snapshot(), frozenset(), ("a", "b", "c")),
        (snapshot(health={"a": "unhealthy", "c": "healthy"}), frozenset(), ("c", "b", "a")),
        (snapshot(price={"a": 9, "b": 1, "c": 5}), frozenset(), ("b", "c", "a")),
        (snapshot(health={"a": "healthy"}, price={"a": 9, "b": 1}), frozenset(), ("a", "c", "b")),
        (snapshot(health={"a": "on fire", "b": "unknown"}), frozenset(), ("a", "b", "c")),
        (snapshot(), frozenset({"a"}), ("b", "c")),
        (snapshot(circuits_open=("b",)), frozenset({"a"}), ("c",)),
        (snapshot(circuits_open=("b", "c")), frozenset({"a"}), ("a", "b", "c")),
    ],
)
def test_candidates_go_by_health_then_price_then_rank_without_open_circuits(
    view: Snapshot, circuits: frozenset[str], expected: tuple[str, ...]
) -> None:
    assert order_candidates(("a", "b", "c"), view, circuits)[0] == expected


def test_more_than_five_candidates_are_never_bound() -> None:
    assert len(order_candidates(tuple("abcdefgh"), snapshot(), frozenset())[0]) == 5


# ---- overrides ------------------------------------------------------------------------------------------------------


def test_the_six_policy_blocks_take_effect_together_and_name_their_snapshot() -> None:
    plan = planned(view=snapshot(overrides=blocks()))
    assert plan.budgets.turn_budget_ms == 1_234
    assert plan.provider_bindings == {"stt": ("stt-z",), "llm": ("llm-z",), "tts": ("tts-z",)}
    assert plan.edge_buffer_policies[GRAPH.edges[0].id] == GRAPH.edges[-1].buffer
    assert plan.node_execution_policies["llm"].concurrency_limit == 3
    assert plan.recording_policy.level is RecordingLevel.L1
    assert plan.allowed_adaptive_actions == GRAPH.allowed_adaptive_actions
    assert plan.defaulting_source["policy_blocks"] == PROVENANCE.policy_resolution_snapshot
    actions = planned(view=snapshot(overrides=blocks(allowed_adaptive_actions=(AdaptiveAction.RETRY,))))
    assert actions.allowed_adaptive_actions == (AdaptiveAction.RETRY,)


@pytest.mark.parametrize(
    "name",
    [
        "budgets",
        "provider_bindings",
        "edge_buffer_policies",
        "node_execution_policies",
        "flow_control",
        "recording_policy",
    ],
)
def test_without_any_one_of_the_six_blocks_there_is_no_override_at_all(name: str) -> None:
    written = msgspec.to_builtins(blocks())
    del written[name]
    with pytest.raises(msgspec.ValidationError, match=name):
        msgspec.convert(written, PolicyBlocks)


def test_a_plan_that_cannot_be_built_says_why() -> None:
    unknown = attempt(
        view=snapshot(overrides=blocks(edge_buffer_policies={"no->edge": GRAPH.edges[0].buffer}))
    )
    assert isinstance(unknown, PlanFailure)
    assert (unknown.reason, unknown.detail) == (
        "plan_materialization_failed",
        "override of unknown edge no->edge",
    )
    nobody = blocks(provider_bindings={"llm": ()})
    failed = attempt(view=snapshot(overrides=nobody))
    assert isinstance(failed, PlanFailure)
    assert failed.detail == "no provider for llm"
    assert isinstance(attempt(view=snapshot(overrides=nobody), degraded=("llm",)), ResolvedTurnPlan)


# ---- in a session ---------------------------------------------------------------------------------------------------


def plans(rig: Rig) -> list[ResolvedTurnPlan]:
    return [effect.entry for effect in rig.of(fx.Record) if isinstance(effect.entry, ResolvedTurnPlan)]


def test_a_view_that_changes_in_a_turn_leaves_its_plan_and_binds_the_next_one() -> None:
    rig = Rig()
    rig.connect()
    rig.type("one")
    turn = rig.kernel.turns.current
    assert turn is not None
    frozen = turn.plan
    rig.give(i.SnapshotPublished(snapshot(2, health={"llm-b": "healthy"}, overrides=None)))
    assert turn.plan is frozen
    assert frozen.provider_bindings["llm"] == ("llm-a", "llm-b")
    rig.answer("Done.")
    rig.advance(1_000)
    rig.type("two")
    assert rig.invocations["llm"].provider == "llm-b"
    first, second = plans(rig)
    assert first == frozen
    assert first.plan_hash != second.plan_hash


def test_a_turns_plan_is_stored_whole_before_the_turn_opens_and_its_hash_recomputes() -> None:
    """The storing half of F-149; that a replay resolves from it is the replay's to show."""
    rig = Rig()
    rig.connect()
    rig.type("hello")
    (plan,) = plans(rig)
    assert plan_hash(plan) == plan.plan_hash
    assert all(msgspec.structs.asdict(plan.snapshot_provenance).values())
    kinds = [effect for _, effect in rig.effects]
    record = next(n for n, e in enumerate(kinds) if isinstance(e, fx.Record) and e.entry is plan)
    opened = next(
        n for n, e in enumerate(kinds) if isinstance(e, fx.Announce) and e.event is rig.events("turn_open")[0]
    )
    assert record < opened
    assert (rig.signals("plan_resolved")[0].detail or {})["plan_hash"] == plan.plan_hash


def test_an_overridden_concurrency_limit_is_the_one_that_counts() -> None:
    rig = Rig(snapshot=snapshot(overrides=blocks()))
    rig.connect()
    rig.kernel.admission.in_flight["llm"] = 3
    rig.type("hello")
    assert [signal.reason for signal in rig.signals("shed", "abort")] == ["node_concurrency_limited"] * 2
