"""The contract's gate: which divergences fail, and which do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from rspp.contract.errors import MisuseError
from rspp.timeline.declared import BYTES_MAX
from rspp.timeline.diff import Divergence, DivergenceClass, Tolerance
from rspp.timeline.diff.expected import Expectations, Expected, judge, read

TOLERANCE = Tolerance(timing_ms=15)


def one(kind: DivergenceClass, scope: str = "turn:s/turn-1", diff_ms: float | None = None) -> Divergence:
    return Divergence(number=1, kind=kind, scope=scope, message="differs", diff_ms=diff_ms)


def fails(divergence: Divergence, *expected: Expected, ignore: tuple[str, ...] = ()) -> list[str]:
    verdict = judge([divergence], 1, Expectations(expected, ignore), TOLERANCE)
    return [failure.why for failure in verdict.failures]


@pytest.mark.parametrize(
    "kind", [DivergenceClass.PLAN, DivergenceClass.OUTCOME, DivergenceClass.PROVIDER_CHOICE]
)
def test_plan_outcome_and_provider_choice_fail_unless_expected(kind: DivergenceClass) -> None:
    assert fails(one(kind)) == ["not expected"]
    assert fails(one(kind), Expected(kind, "turn:s/turn-1")) == []
    assert fails(one(kind), Expected(kind, "turn:*")) == []
    assert len(fails(one(kind), Expected(kind, "turn:s/turn-2"))) == 2


def test_ordering_fails_unless_expected_and_approved() -> None:
    ordering = one(DivergenceClass.ORDERING)
    assert fails(ordering) == ["not expected"]
    assert fails(ordering, Expected(ordering.kind, "turn:*")) == ["expected, but not approved"]
    assert fails(ordering, Expected(ordering.kind, "turn:*", approved=True)) == []


def test_timing_fails_above_the_tolerance_or_without_a_difference() -> None:
    assert fails(one(DivergenceClass.TIMING, diff_ms=14.9)) == []
    assert fails(one(DivergenceClass.TIMING, diff_ms=15.1)) != []
    assert fails(one(DivergenceClass.TIMING)) != []
    assert fails(one(DivergenceClass.TIMING, diff_ms=99), Expected("TIMING_DIVERGENCE", "*")) != []


@pytest.mark.parametrize("scope", ["invocation_latency_final:llm", "invocation_latency_total:llm"])
def test_a_limit_on_a_calls_latency_is_never_excused(scope: str) -> None:
    assert fails(one(DivergenceClass.TIMING, scope, 1.0), Expected("TIMING_DIVERGENCE", "*")) != []


def test_authority_always_fails() -> None:
    authority = one(DivergenceClass.AUTHORITY)
    assert fails(authority, Expected(authority.kind, "*", approved=True)) == ["authority must never differ"]
    assert fails(authority, ignore=(authority.kind,)) == ["authority must never differ"]


def test_what_was_expected_and_did_not_come_fails_and_so_does_a_class_that_nobody_knows() -> None:
    verdict = judge([], 0, Expectations((Expected("PLAN_DIVERGENCE", "*"), Expected("MOOD", "*"))), TOLERANCE)
    assert [failure.why for failure in verdict.failures] == [
        "was expected, and did not come",
        "no class is called this",
    ]


def test_what_was_only_counted_fails() -> None:
    assert judge([], 3, Expectations(), TOLERANCE).failures[0].why == "3 more, which were only counted"


def test_a_file_may_be_yaml_or_json(tmp_path: Path) -> None:
    yaml, json = tmp_path / "a.yaml", tmp_path / "a.json"
    yaml.write_text("divergences:\n  - class: PLAN_DIVERGENCE\n    scope: 'turn:*'\n")
    json.write_text('{"divergences": [{"class": "PLAN_DIVERGENCE", "scope": "turn:*"}]}')
    assert read(yaml) == read(json) == Expectations((Expected("PLAN_DIVERGENCE", "turn:*"),))
    (tmp_path / "empty.yaml").write_text("")
    assert read(tmp_path / "empty.yaml") == Expectations()


@pytest.mark.parametrize(
    "text",
    [
        "divergences: 3",
        "divergences: [{class: X}]",
        "other: []",
        "a: [",
        "!!python/object/apply:os.system ['true']",
        "divergences: [{class: X, scope: y, approved: 'yes'}]",
        "\x00",
        " " * (BYTES_MAX + 1),
    ],
)
def test_a_file_that_means_nothing_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(MisuseError, match=r"bad\.yaml"):
        read(path)
    with pytest.raises(MisuseError):
        read(tmp_path / "none.yaml")
