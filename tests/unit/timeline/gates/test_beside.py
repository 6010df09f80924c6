"""What is measured beside the gates: what a replay tells, redaction, and the pipeline's own target."""

from __future__ import annotations

import msgspec
import pytest

from rspp.contract.words import RecordingLevel
from rspp.kernel.trace import Item
from rspp.nodes import factories
from rspp.spec.graph import Targets
from rspp.timeline import records as r
from rspp.timeline.gates.judge import sides
from rspp.timeline.gates.targets import SAMPLES_MIN, judge
from tests.unit.timeline.gates.load import amended, judged, load, questions, spoiled, usual

MS = 1_000_000
TARGETS = Targets(end_to_end_p95_ms=1_000, alert_ratio=1.0, alert_window_turns=40)


def test_a_replay_finds_everything_in_its_recorded_order() -> None:
    found = sides(judged(usual(), replays=factories()))
    assert found["replay_order_mismatch_count"].value == 0
    assert found["replay_order_mismatch_count"].samples > 100
    plan = found["resolved_turn_plan_build_ms"]
    assert plan.samples == 6
    assert plan.value is not None
    assert plan.value > 0
    assert found["redaction_coverage"].value == 100


def test_what_is_in_another_order_is_counted_and_fails_the_report() -> None:
    def swap(record: r.AnyRecord) -> r.AnyRecord:
        if not isinstance(record, r.Trace) or len(record.items) < 4:
            return record
        items: list[Item] = [*record.items]
        items[1], items[2] = items[2], items[1]
        return msgspec.structs.replace(record, items=items)

    report = judged([spoiled(usual()[0], swap), *usual()[1:]], replays=factories())
    assert sides(report)["replay_order_mismatch_count"].value
    assert not report.passed


def test_a_timeline_whose_times_were_changed_does_not_come_again() -> None:
    def sooner(record: r.AnyRecord) -> r.AnyRecord:
        if not isinstance(record, r.Trace):
            return record
        items = [
            msgspec.structs.replace(one, at=one.at - MS) if one.name == "playback_started" else one
            for one in record.items
        ]
        return msgspec.structs.replace(record, items=items)

    report = judged([spoiled(usual()[0], sooner), *usual()[1:]], replays=factories())
    found = sides(report)
    assert found["replay_order_mismatch_count"].value == 0
    assert found["replay_difference_count"].value == 2
    assert not found["replay_difference_count"].passed
    assert not report.passed
    assert sides(judged(usual(), replays=factories()))["replay_difference_count"].value == 0


def test_what_broke_off_is_compared_as_far_as_what_came_of_it_was_written() -> None:
    data = usual()[0]
    kept: list[r.AnyRecord] = []
    for record in r.unframe(data).records:
        if isinstance(record, r.Trace) and sum(isinstance(one, r.Trace) for one in kept) == 3:
            break
        kept.append(record)
    assert isinstance(kept[-1], r.Inputs | r.Steps | r.Words | r.Plan | r.PlanLike)  # without its trace
    side = judged([b"".join(map(r.frame, kept))], replays=factories()).side[0]
    assert (side.name, side.value, side.passed) == ("replay_order_mismatch_count", 0, True)
    assert side.samples > 0


def test_what_cannot_be_had_is_named() -> None:
    found = sides(judged(usual()))
    assert found["replay_order_mismatch_count"].missing == "not replayed"
    assert found["control_preempt_delay_ms"].missing
    low = sides(judged(load(questions, level=RecordingLevel.L0), replays=factories()))
    assert "no inputs are recorded" in low["replay_order_mismatch_count"].missing
    unknown = sides(judged(usual(), replays={}))
    assert "no node type" in unknown["replay_order_mismatch_count"].missing
    assert unknown["resolved_turn_plan_build_ms"].value is None


def test_a_payload_class_without_a_decision_lowers_the_coverage() -> None:
    report = judged([amended(one, "s-1/turn-1", redaction_decisions=()) for one in usual()])
    value = sides(report)["redaction_coverage"].value
    assert value == pytest.approx(100 * 15 / 18)
    assert not report.passed


# ---- targets -----------------------------------------------------------------------------------------------------------


def spans(*values_ms: int) -> list[tuple[float, int]]:
    return [(float(number), value * MS) for number, value in enumerate(values_ms)]


def test_an_alert_is_raised_once_when_the_p95_rises_above_and_again_after_it_fell() -> None:
    quick, slow = [900] * 40, [1_500] * 6
    found, alerts = judge("p", TARGETS, spans(*quick, *slow, *quick, *slow))
    assert [alert.at_ms for alert in alerts] == [42.0, 88.0]
    assert alerts[0].value == 1_500
    assert alerts[0].limit == 1_000
    assert not found.met


def test_at_the_limit_nobody_is_told() -> None:
    found, alerts = judge("p", TARGETS, spans(*[1_000] * 60))
    assert alerts == []
    assert found.met
    assert found.p95_ms == 1_000


def test_the_ratio_moves_the_alert_and_not_the_target() -> None:
    eager = msgspec.structs.replace(TARGETS, alert_ratio=0.8)
    found, alerts = judge("p", eager, spans(*[900] * 60))
    assert found.met
    assert [alert.limit for alert in alerts] == [800.0]


def test_a_few_slow_turns_at_the_beginning_are_no_alert_yet() -> None:
    assert judge("p", TARGETS, spans(*[5_000] * (SAMPLES_MIN - 1)))[1] == []
    assert len(judge("p", TARGETS, spans(*[5_000] * SAMPLES_MIN))[1]) == 1


def test_without_a_turn_the_target_is_not_met() -> None:
    found, alerts = judge("p", TARGETS, [])
    assert (found.met, found.p95_ms, alerts) == (False, None, [])
