"""Later layers win, every value says which layer it came from, and a layer's faults are told by its name."""

from __future__ import annotations

import pytest

from rspp.spec import Layer, check_layer, load
from rspp.spec.normalise import LAYER_ORDER

SPEC = """pipeline: p
version: v1
template: voice
providers: {stt: stt-spec, llm: llm-a, tts: tts-a}
budgets: {turn_budget_ms: 2100}
"""
LAYERS = {
    name: Layer.of(name, {"budgets": {"turn_budget_ms": ms}, "providers": {"stt": [f"stt-{name}"]}})
    for name, ms in zip(LAYER_ORDER, (2200, 2300, 2400), strict=True)
}


@pytest.mark.proves("F-080")
def test_layers_peel_off_one_by_one_and_the_highest_left_wins() -> None:
    names = list(LAYER_ORDER)
    expected = {0: (2100, "explicit", "stt-spec")}
    expected |= {n + 1: (2200 + 100 * n, f"layer/{names[n]}", f"stt-{names[n]}") for n in range(3)}
    for count in (3, 2, 1, 0):
        # Given in the wrong order on purpose: the order of precedence is fixed.
        loaded = load(SPEC, layers=[LAYERS[name] for name in reversed(names[:count])])
        assert loaded.graph is not None
        milliseconds, origin, provider = expected[count]
        assert loaded.graph.budgets.turn_budget_ms == milliseconds
        assert loaded.graph.providers["stt"] == (provider,)
        assert loaded.graph.defaulting_source["budgets.turn_budget_ms"] == origin
        assert loaded.graph.defaulting_source["providers.stt"] == origin
    bare = load(SPEC.replace("budgets: {turn_budget_ms: 2100}\n", ""))
    assert bare.graph is not None
    assert bare.graph.budgets.turn_budget_ms == 2000
    assert bare.graph.defaulting_source["budgets.turn_budget_ms"] == "execution_profile/simple/v1"


@pytest.mark.proves("F-080")
@pytest.mark.parametrize("name", LAYER_ORDER)
def test_an_unknown_key_in_a_layer_is_an_error_that_names_the_layer(name: str) -> None:
    layer = Layer(name, "budgets:\n  turn_budgit_ms: 1\n", f"{name}.yaml")  # type: ignore[arg-type]
    (problem,) = load(SPEC, layers=[layer]).problems
    assert (problem.code, problem.file, problem.line) == ("unknown_key", f"{name}.yaml", 2)
    assert f"the {name} layer" in problem.message


@pytest.mark.proves("F-080")
def test_an_unknown_key_in_the_lowest_layer_the_spec_itself_is_an_error_too() -> None:
    assert [p.code for p in load(SPEC.replace("turn_budget_ms", "turn_budgit_ms")).problems] == [
        "unknown_key"
    ]


def test_a_layer_that_contradicts_the_spec_is_blamed_itself() -> None:
    layer = Layer("tenant", "policies:\n  turn_taking:\n    silence_ms_min: 5000\n", "acme.yaml")
    (problem,) = load(SPEC, layers=[layer]).problems
    assert (problem.code, problem.file, problem.line) == ("settings_disagree", "acme.yaml", 3)


def test_a_faulty_value_leaves_the_lower_layers_value_in_force() -> None:
    loaded = load(SPEC, layers=[Layer.of("session", {"budgets": {"turn_budget_ms": 0}})])
    assert loaded.graph is None
    assert loaded.normalised is not None
    assert loaded.normalised.budgets.turn_budget_ms == 2100


def test_a_layer_can_be_checked_before_there_is_a_pipeline() -> None:
    assert check_layer(Layer("tenant", "policies: {overlap: queue}\n")) == ()
    (problem,) = check_layer(Layer("tenant", "policies: {overlap: maybe}\n"))
    assert problem.code == "unknown_word"


def test_the_short_form_of_unknown_events_is_the_policy() -> None:
    loaded = load(SPEC + "unknown_event_action: drop\n")
    assert loaded.graph is not None
    assert loaded.graph.policies.unknown_events == "drop"
    assert loaded.graph.defaulting_source["policies.unknown_events"] == "explicit"
