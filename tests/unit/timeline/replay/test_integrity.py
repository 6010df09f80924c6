"""A plan or evidence that is not what it was, or not enough, is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rspp.contract.evidence import TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan
from rspp.kernel.determinism import seed_of
from rspp.kernel.planner import plan_hash
from rspp.timeline.replay.integrity import problems_of
from tests.unit.timeline.calls import simulated, simulated_bytes
from tests.unit.timeline.replay.altered import read, replace, with_evidence, with_plans


def codes(data: bytes) -> set[str]:
    return {problem.code for problem in problems_of(read(data))}


@pytest.mark.parametrize("faults", ["none", "all"])
def test_what_was_really_recorded_is_whole(faults: str) -> None:
    for session in range(4):
        recording = simulated(3, session, faults)
        assert problems_of(recording) == []
        for plan in recording.plans.values():
            assert plan.provider_bindings
            assert plan_hash(plan) == plan.plan_hash
            assert all(
                getattr(plan.snapshot_provenance, field)
                for field in plan.snapshot_provenance.__struct_fields__
            )


TAMPERINGS: dict[str, Callable[[ResolvedTurnPlan], ResolvedTurnPlan | None]] = {
    "another provider": lambda plan: replace(plan, provider_bindings={"llm": ("mine",)}),
    "another budget": lambda plan: replace(plan, budgets=replace(plan.budgets, turn_budget_ms=1)),
    "another policy": lambda plan: replace(plan, policies={**plan.policies, "calls": {}}),
    "another hash": lambda plan: replace(plan, plan_hash="0" * 64),
    "another seed": lambda plan: replace(plan, determinism=replace(plan.determinism, seed=1)),
    "a whole other plan": lambda plan: _rehashed(replace(plan, provider_timeout_ms=1)),
}


def _rehashed(plan: ResolvedTurnPlan) -> ResolvedTurnPlan:
    """As a forger would do it: with a hash and a seed that fit."""
    digest = plan_hash(plan)
    seed = seed_of(digest, plan.authority_epoch)
    return replace(plan, plan_hash=digest, determinism=replace(plan.determinism, seed=seed))


@pytest.mark.parametrize("how", TAMPERINGS)
def test_a_tampered_plan_is_known(how: str) -> None:
    assert "plan_tampered" in codes(with_plans(simulated_bytes(), TAMPERINGS[how]))


def test_a_plan_that_is_gone_is_missed() -> None:
    assert codes(with_plans(simulated_bytes(), lambda plan: None)) == {"plan_missing"}


def test_a_snapshot_that_is_not_named_is_missed_in_plan_and_evidence() -> None:
    data = simulated_bytes()
    assert codes(with_evidence(data, lambda one: replace(one, snapshot_provenance=None))) == {
        "snapshot_missing"
    }

    def blank(plan: ResolvedTurnPlan) -> ResolvedTurnPlan:
        provenance = replace(plan.snapshot_provenance, policy_resolution_snapshot="")
        return _rehashed(replace(plan, snapshot_provenance=provenance))

    assert "snapshot_missing" in codes(with_plans(data, blank))


STRIPPED: dict[str, Callable[[TurnEvidence], TurnEvidence]] = {
    "seed": lambda one: replace(one, determinism_seed=None),
    "merge rule": lambda one: replace(one, merge_rule_id=""),
    "merge rule version": lambda one: replace(one, merge_rule_version=""),
    "ordering markers": lambda one: replace(one, ordering_markers=()),
    "an ordering marker twice": lambda one: replace(one, ordering_markers=("event_id", "event_id")),
    "one nondeterministic input": lambda one: replace(
        one, nondeterministic_inputs=one.nondeterministic_inputs[1:]
    ),
    "one nondeterministic input twice": lambda one: replace(
        one, nondeterministic_inputs=one.nondeterministic_inputs + one.nondeterministic_inputs[:1]
    ),
}


@pytest.mark.parametrize("what", STRIPPED)
def test_an_incomplete_determinism_context_is_named(what: str) -> None:
    assert codes(with_evidence(simulated_bytes(), STRIPPED[what])) == {"determinism_context_incomplete"}


def test_every_call_of_a_turn_is_one_listed_nondeterministic_input() -> None:
    recording = simulated()
    for evidence in recording.evidence.values():
        listed = [one.input_key for one in evidence.nondeterministic_inputs]
        assert sorted(listed) == sorted(
            outcome.provider_invocation_id for outcome in evidence.invocation_outcomes
        )
        assert len(set(listed)) == len(listed) > 0
