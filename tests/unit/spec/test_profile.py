"""Every number has a row, every row a reason, and the contract's numbers are the contract's."""

from __future__ import annotations

from msgspec import inspect

from rspp.contract.plan import Budgets
from rspp.spec import load, voice_template
from rspp.spec.edge_profile import EDGE_DEFAULTS
from rspp.spec.graph import Targets
from rspp.spec.model import PolicySettings
from rspp.spec.profile import ROWS, SOURCE
from rspp.spec.reference import leaves_of


def test_every_setting_of_the_graph_has_a_row_and_every_row_a_setting() -> None:
    settings = dict(leaves_of(inspect.type_info(Budgets), "budgets"))
    settings |= dict(leaves_of(inspect.type_info(Targets), "targets"))
    settings |= dict(leaves_of(inspect.type_info(PolicySettings), "policies"))
    assert set(settings) == set(ROWS)


def test_every_row_says_why() -> None:
    assert all(row.reason.endswith(".") or row.reason.endswith(":") for row in ROWS.values())
    assert all(row.reason.endswith(".") for row in EDGE_DEFAULTS.values())


def test_the_default_of_every_row_is_within_its_own_bounds() -> None:
    for row in ROWS.values():
        if row.least is not None and row.most is not None:
            assert isinstance(row.value, (int, float))
            assert row.least <= row.value <= row.most, row.path


def test_the_marks_of_every_edge_class_are_below_its_limit() -> None:
    assert all(row.low < row.high < row.max_queue_items for row in EDGE_DEFAULTS.values())


def test_the_contracts_numbers_stand() -> None:
    graph = voice_template()
    budgets = graph.budgets
    assert (budgets.turn_budget_ms, budgets.node_budget_ms_default) == (2000, 800)
    assert (budgets.path_budget_ms_default, budgets.edge_budget_ms_default) == (1800, 250)
    assert (graph.policies.calls.provider_timeout_ms, graph.policies.calls.cancel_grace_ms) == (1000, 75)
    assert graph.policies.calls.attempts_per_provider_max == 2


def test_with_no_knobs_turned_every_derived_field_names_the_profile() -> None:
    graph = voice_template()
    own = {path for path, source in graph.defaulting_source.items() if source != SOURCE}
    # What is explicit in the voice template: providers, node versions, and the strategy of the captions' edge.
    assert all(
        path.startswith("providers.") or path.endswith(".version") or ".buffer." in path for path in own
    ), own


def test_the_bare_name_is_an_alias_and_another_profile_is_the_same_error_each_time() -> None:
    text = "pipeline: p\nversion: v1\nprofile: {}\ntemplate: voice\nproviders: {{stt: a, llm: b, tts: c}}\n"
    graph = load(text.format("simple")).graph
    assert graph is not None
    assert graph.profile == "simple/v1"
    for name in ("balanced", "aggressive", "simple/v9", "Simple"):
        assert [p.code for p in load(text.format(name)).errors] == ["profile_unsupported"]
