"""A report carries a release only if it is whole, as the contract has it, and of today."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rspp.timeline.gates.report import (
    AGE_MS_MAX,
    AHEAD_MS_MAX,
    GateReport,
    Thresholds,
    check_fresh,
    sealed,
    unfit,
)
from tests.unit.timeline.gates.load import MADE_AT_MS, gate_of, judged, usual


def report() -> GateReport:
    return judged(usual())


@pytest.mark.parametrize("age_ms", [0, AGE_MS_MAX, -AHEAD_MS_MAX])
def test_a_report_of_these_24_hours_is_fresh(age_ms: int) -> None:
    assert check_fresh(report(), MADE_AT_MS + age_ms) == []
    assert unfit(report(), MADE_AT_MS + age_ms) == []


def test_an_older_report_and_one_of_the_future_are_not() -> None:
    assert "24.0 hours old" in check_fresh(report(), MADE_AT_MS + AGE_MS_MAX + 1)[0]
    assert "in the future" in check_fresh(report(), MADE_AT_MS - AHEAD_MS_MAX - 1)[0]


def test_a_report_with_a_gate_left_out_or_judged_twice_is_unfit() -> None:
    made = report()
    for gates in (made.gates[1:], [*made.gates, made.gates[0]]):
        other = sealed(msgspec.structs.replace(made, gates=gates))
        assert unfit(other, MADE_AT_MS) == ["not every gate was judged, each once"]


def test_a_failed_gate_is_named_and_looser_limits_are_unfit() -> None:
    assert "gate 3, cancel fence, failed" in unfit(judged(usual()[:1]), MADE_AT_MS)
    looser = judged(usual(), thresholds=Thresholds(end_to_end_p95_ms=9_000))
    says = ["end_to_end_p95_ms is 9000, looser than the contract's 2000"]
    assert unfit(looser, MADE_AT_MS) == says
    # The limits speak for themselves, whatever the report says of how they differ.
    assert unfit(sealed(msgspec.structs.replace(looser, differs=[])), MADE_AT_MS) == says
    assert unfit(judged(usual(), thresholds=Thresholds(end_to_end_p95_ms=1_900)), MADE_AT_MS) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"made_wall_ms": MADE_AT_MS + 1},
        {"passed": True, "gates": []},
        {"subjects": []},
        {"thresholds": Thresholds(open_decision_p95_ms=119)},
        {"seal": ""},
    ],
)
def test_a_report_that_somebody_changed_is_unfit(changes: dict[str, Any]) -> None:
    changed = msgspec.structs.replace(report(), **changes)
    assert "the report was changed after it was made" in unfit(changed, MADE_AT_MS)


def test_a_report_of_another_format_is_unfit_whatever_else_it_says() -> None:
    other = sealed(msgspec.structs.replace(report(), format="rspp-gates-v9"))
    assert unfit(other, MADE_AT_MS) == [
        "the report is of format 'rspp-gates-v9', only 'rspp-gates-v1' is known here"
    ]


def test_a_gate_of_time_names_its_slowest_turns() -> None:
    gate = gate_of(report(), 7)
    spans = [one.ms for one in gate.slowest]
    assert spans == sorted(spans, reverse=True)
    assert spans[0] == gate.values["p95_ms"]  # of six turns the p95 is the largest
    assert all(one.turn.startswith(f"{one.session}/") for one in gate.slowest)


def test_a_report_reads_back_as_it_was_written() -> None:
    made = report()
    again = msgspec.json.decode(msgspec.json.encode(made), type=GateReport)
    assert again == made
    assert unfit(again, MADE_AT_MS) == []


def test_other_contents_have_another_digest() -> None:
    assert judged(usual()).digest == judged(usual()).digest
    assert judged(usual()[:2]).digest != judged(usual()).digest
