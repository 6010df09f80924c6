"""The seven gates over recordings of a real host: what passes, what fails, and by which name."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest

from rspp.contract.evidence import TurnEvidence
from rspp.contract.words import AbortReason, ConnectionState, RecordingLevel
from rspp.kernel.inputs import ConnectionChanged
from rspp.kernel.trace import Item
from rspp.sim.mutants import MUTANTS, planted
from rspp.timeline import records as r
from rspp.timeline.gates.report import Thresholds, gate, percentile
from tests.unit.timeline.gates.load import (
    MADE_AT_MS,
    START_MS,
    Listener,
    Load,
    amended,
    failed,
    first_at,
    gate_of,
    judged,
    load,
    questions,
    read,
    spoiled,
    usual,
    violations,
    voices,
)

LATENCIES = (1, 2, 3, 7)


# ---- what passes -------------------------------------------------------------------------------------------------------


def test_a_load_in_which_all_is_well_passes_every_gate() -> None:
    report = judged(usual())
    assert failed(report) == []
    assert [one.number for one in report.gates] == [1, 2, 3, 4, 5, 6, 7]
    assert [gate_of(report, number).samples for number in (1, 2, 3, 5, 6, 7)] == [6, 5, 1, 6, 6, 6]
    assert report.passed
    assert report.made_wall_ms == MADE_AT_MS


def first_sent(data: bytes) -> dict[str | None, int]:
    recording = read(data)
    found: dict[str | None, int] = {}
    sent = [(item.at, item.turn) for item in recording.items if item.what == "send"]
    for when, turn in sorted(sent + [(run.at, run.turn) for run in recording.runs], key=lambda one: one[0]):
        found.setdefault(turn, when)
    return found


def test_the_figures_are_those_of_the_raw_events() -> None:
    opens, outputs, heard = [], [], []
    for data in usual():
        proposed = [item.at for item in read(data).items if item.name == "turn_open_proposed"]
        opened, played, cancelled = (
            first_at(data, "turn_open"),
            first_at(data, "playback_started"),
            first_at(data, "cancel"),
        )
        sent = first_sent(data)
        opens += [when - before for when, before in zip(opened.values(), proposed, strict=True)]
        outputs += [sent[turn] - when for turn, when in opened.items() if turn not in cancelled]
        heard += [
            played[turn] - max(one for one in voices(data) if one < when) for turn, when in opened.items()
        ]
    report = judged(usual())
    for number, share, spans in ((1, 0.95, opens), (2, 0.95, outputs), (7, 0.95, heard), (7, 0.5, heard)):
        rank = -int(-len(spans) * share // 1)
        assert gate_of(report, number).values[f"p{share * 100:.0f}_ms"] == sorted(spans)[rank - 1] / 1e6


def test_the_same_recording_twice_counts_once() -> None:
    assert judged([*usual(), *usual()]).gates == judged(usual()).gates
    assert len(judged([*usual(), usual()[0]]).subjects) == 3


def test_the_order_of_the_recordings_changes_nothing() -> None:
    shuffled = list(usual())
    random.Random(4).shuffle(shuffled)
    assert judged(shuffled).digest == judged(usual()).digest
    assert [one.values for one in judged(shuffled).gates] == [one.values for one in judged(usual()).gates]


# ---- nothing is not fast -----------------------------------------------------------------------------------------------


def test_without_a_sample_every_gate_fails() -> None:
    report = judged([])
    assert failed(report) == [1, 2, 3, 4, 5, 6, 7]
    assert all(one.violations[0].anchor == "samples" for one in report.gates)
    assert all(value is None for number in LATENCIES for value in gate_of(report, number).values.values())


def test_without_a_cancellation_nothing_is_known_of_fences() -> None:
    async def calm(made: Load) -> None:
        await made.call().ask()

    report = judged(load(calm))
    assert failed(report) == [3, 4]
    assert gate_of(report, 3).violations[0].what.endswith("no cancellation was accepted")
    assert gate_of(report, 4).violations[0].what.endswith("in these recordings")


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (19, 19), (20, 19), (21, 20), (100, 95), (101, 96)])
def test_a_percentile_is_the_nearest_rank(count: int, rank: int) -> None:
    values = list(range(1, count + 1))
    random.Random(count).shuffle(values)
    assert percentile(values, 0.95) == rank


def test_the_median_of_two_is_the_first_and_of_nothing_is_nothing() -> None:
    assert percentile([9, 4], 0.5) == 4
    assert percentile([], 0.5) is None


def test_a_figure_at_its_limit_passes_and_one_above_it_does_not() -> None:
    for value, passes in ((120.0, True), (120.000001, False)):
        assert gate(1, "n", "f", {"p95_ms": value}, {"p95_ms": 120.0}, 1, []).passed is passes


# ---- anchors -------------------------------------------------------------------------------------------------------------

ANCHORS = {
    1: ("turn_open_proposed_at", "turn_open_at"),
    2: ("turn_open_at", "first_output_at"),
    3: ("cancel_accepted_at", "cancel_fence_at"),
    7: ("audio_input_ingress_at", "playback_started_at"),
}


def turn_for(number: int) -> str:
    return "s-3/turn-1" if number == 3 else "s-1/turn-2"


@pytest.mark.parametrize("number", LATENCIES)
@pytest.mark.parametrize("which", [0, 1])
def test_an_anchor_that_is_missing_fails_its_gate_by_its_name(number: int, which: int) -> None:
    name = ANCHORS[number][which]
    changed = [amended(one, turn_for(number), **{name: None}) for one in usual()]
    if name == "playback_started_at":  # where the timeline has it, it is not missing
        changed = [spoiled(one, without_signal(name.removesuffix("_at"), turn_for(7))) for one in changed]
    assert (turn_for(number), name) in violations(changed, number)
    assert judged(changed).gates == judged(changed).gates


@pytest.mark.parametrize("number", LATENCIES)
def test_a_span_below_zero_fails_its_gate(number: int) -> None:
    first, then = ANCHORS[number]
    turned = [amended(one, turn_for(number), **{first: lambda at: at + 9_000_000_000}) for one in usual()]
    assert (turn_for(number), then) in violations(turned, number)


@pytest.mark.parametrize(("number", "more_ms"), [(1, 200), (2, 1_400), (3, 300), (7, 1_300)])
def test_time_that_is_added_fails_the_gate_by_its_figure(number: int, more_ms: int) -> None:
    first = ANCHORS[number][0]
    later = [
        amended(one, **{first: lambda at: None if at is None else at - more_ms * 1_000_000})
        for one in usual()
    ]
    found = gate_of(judged(later), number)
    assert not found.passed
    figure, limit = found.values["p95_ms"], found.thresholds["p95_ms"]
    assert figure is not None
    assert figure > limit


def test_evidence_that_contradicts_the_timeline_is_found() -> None:
    moved = [amended(one, "s-1/turn-1", turn_open_at=lambda at: at + 1_000_000) for one in usual()]
    assert ("s-1/turn-1", "turn_open_at") in violations(moved, 1)
    moved = [amended(one, "s-1/turn-1", first_output_at=lambda at: at - 1_000_000) for one in usual()]
    assert ("s-1/turn-1", "first_output_at") in violations(moved, 2)
    moved = [amended(one, "s-1/turn-1", playback_started_at=lambda at: at - 1_000_000) for one in usual()]
    assert ("s-1/turn-1", "playback_started_at") in violations(moved, 7)
    moved = [amended(one, "s-1/turn-1", turn_open_proposed_at=lambda at: at - 1_000_000) for one in usual()]
    assert violations(moved, 1) == [("s-1/turn-1", "turn_open_proposed_at")]
    moved = [amended(one, "s-1/turn-1", audio_input_ingress_at=lambda at: at + 1_000_000) for one in usual()]
    assert violations(moved, 7) == [("s-1/turn-1", "audio_input_ingress_at")]


def test_evidence_that_is_not_the_record_that_the_kernel_gave_away_fails_gate_5() -> None:
    changed = [
        amended(one, "s-1/turn-1", audio_input_ingress_at=lambda at: at + 20_000_000) for one in usual()
    ]
    assert violations(changed, 5) == [("s-1/turn-1", "evidence")]


def test_a_playback_that_only_the_evidence_knows_of_is_none() -> None:
    silent = [spoiled(one, without_signal("playback_started", "s-1/turn-2")) for one in usual()]
    assert violations(silent, 7) == [("s-1/turn-2", "playback_started_at")]


def test_a_fence_that_only_the_evidence_knows_of_is_none() -> None:
    made_up = [
        amended(one, "s-1/turn-1", cancel_accepted_at=5_000_000_000, cancel_fence_at=5_000_000_000)
        for one in usual()
    ]
    assert violations(made_up, 3) == [("s-1/turn-1", "cancel_fence_at")]


def test_what_leaves_behind_a_fence_fails_gate_3_however_soon_the_fence_was() -> None:
    fenced = next(one.cancel_fence_at for one in read(usual()[2]).evidence.values() if one.cancel_fence_at)

    def leak(record: r.AnyRecord) -> r.AnyRecord:
        if not isinstance(record, r.Trace):
            return record
        runs = [
            msgspec.structs.replace(run, last_at=fenced + 40_000_000) if run.turn == "s-3/turn-1" else run
            for run in record.runs
        ]
        return msgspec.structs.replace(record, runs=runs)

    leaking = [*usual()[:2], spoiled(usual()[2], leak)]
    found = gate_of(judged(leaking), 3)
    assert [(one.turn, one.what) for one in found.violations] == [
        ("s-3/turn-1", "not in force: output of this turn left 40 ms after it")
    ]


def test_a_playback_that_began_after_the_evidence_was_made_is_taken_from_the_timeline() -> None:
    late = [amended(one, playback_started_at=None) for one in usual()]
    assert gate_of(judged(late), 7).values == gate_of(judged(usual()), 7).values


def test_a_transport_that_reports_no_playback_fails_gate_7_by_name() -> None:
    async def deaf(made: Load) -> None:
        assert made.stage is not None
        caller = made.stage.call()
        await caller.speak(300)
        await caller.until("close")

    (found,) = gate_of(judged(load(deaf)), 7).violations[:1]
    assert (found.anchor, found.what) == (
        "playback_started_at",
        "missing: this transport reports no playback",
    )


# ---- the happy path --------------------------------------------------------------------------------------------------


def test_a_turn_that_was_given_up_for_being_late_is_not_excused() -> None:
    late = [
        amended(
            one,
            "s-1/turn-1",
            terminal_outcome="abort",
            terminal_reason=AbortReason.BUDGET_EXHAUSTED,
            first_output_at=None,
        )
        for one in usual()
    ]
    assert ("s-1/turn-1", "first_output_at") in violations(late, 2)


@pytest.mark.parametrize("reason", [AbortReason.AUTHORITY_LOSS, AbortReason.TRANSPORT_DISCONNECT_OR_STALL])
def test_a_turn_that_failed_for_something_else_is_not_on_the_happy_path(reason: AbortReason) -> None:
    other = [
        amended(one, "s-1/turn-1", terminal_outcome="abort", terminal_reason=reason, first_output_at=None)
        for one in usual()
    ]
    assert violations(other, 2) == []
    assert gate_of(judged(other), 2).samples == gate_of(judged(usual()), 2).samples - 1


async def line_lost(made: Load) -> None:
    """The line goes down while the caller is answered; nothing can be sent, and the turn's time runs out."""
    caller = made.call()
    await caller.speak(300)
    while not caller.signals("turn_open"):
        await caller.frames(20)
    caller.give(ConnectionChanged(ConnectionState.DISCONNECTED))
    await asyncio.sleep(4)


def test_a_turn_whose_line_was_gone_says_nothing_of_speed_and_the_rest_of_it_is_still_judged() -> None:
    lost = load(line_lost)
    (evidence,) = read(lost[0]).evidence.values()
    assert evidence.terminal_outcome == "abort"
    report = judged([*usual(), *lost])
    assert failed(report) == []
    assert gate_of(report, 2).samples == 5
    assert gate_of(report, 5).samples == gate_of(report, 6).samples == 7


# ---- terminals -------------------------------------------------------------------------------------------------------


def without_signal(name: str, turn: str) -> Any:
    return with_items(lambda items: [i for i in items if (i.name, i.turn) != (name, turn)])


def with_items(change: Any) -> Any:
    def spoil(record: r.AnyRecord) -> r.AnyRecord:
        return (
            msgspec.structs.replace(record, items=change(record.items))
            if isinstance(record, r.Trace)
            else record
        )

    return spoil


def twice(name: str, turn: str) -> Any:
    def double(items: list[Item]) -> list[Item]:
        return [one for item in items for one in [item] * (1 + ((item.name, item.turn) == (name, turn)))]

    return with_items(double)


@pytest.mark.parametrize("name", ["commit", "close", "turn_open"])
@pytest.mark.parametrize("how", [without_signal, twice])
def test_every_turn_is_opened_ended_and_closed_exactly_once(name: str, how: Any) -> None:
    turn = "s-2/turn-1"
    spoilt = [spoiled(one, how(name, turn)) for one in usual()]
    assert (turn, {"commit": "terminal"}.get(name, name)) in violations(spoilt, 6)
    found = gate_of(judged(spoilt), 6)
    assert found.values["share"] == pytest.approx(5 / 6)


def test_a_close_before_its_terminal_is_found() -> None:
    def swap(items: list[Item]) -> list[Item]:
        ends = [
            n
            for n, item in enumerate(items)
            if item.turn == "s-1/turn-1" and item.name in ("commit", "close")
        ]
        if len(ends) == 2:
            items[ends[0]], items[ends[1]] = items[ends[1]], items[ends[0]]
        return items

    spoilt = [spoiled(one, with_items(swap)) for one in usual()]
    assert ("s-1/turn-1", "close") in violations(spoilt, 6)


def test_evidence_of_another_ending_than_the_timelines_is_found() -> None:
    other = [
        amended(one, "s-1/turn-1", terminal_outcome="abort", terminal_reason=AbortReason.POLICY_TERMINATED)
        for one in usual()
    ]
    assert ("s-1/turn-1", "terminal_outcome") in violations(other, 6)


@pytest.mark.parametrize("name", ["second_terminal", "never_closes"])
def test_a_kernel_whose_guard_is_off_fails_gate_6(name: str) -> None:
    mutant = next(one for one in MUTANTS if one.name == name)

    async def one_turn(made: Load) -> None:
        caller = made.call()
        await caller.speak(300)
        await caller.frames(3_000)

    with planted(mutant):
        found = gate_of(judged(load(one_turn)), 6)
    assert not found.passed
    assert found.values["share"] == 0


# ---- evidence --------------------------------------------------------------------------------------------------------


def test_a_turn_without_evidence_fails_gates_1_5_and_7_and_nothing_is_made_up() -> None:
    def drop(record: r.AnyRecord) -> r.AnyRecord | None:
        return None if isinstance(record, r.Evidence) and record.evidence.turn_id == "s-1/turn-1" else record

    report = judged([spoiled(one, drop) for one in usual()])
    assert failed(report) == [1, 5, 7]
    assert gate_of(report, 5).values["share"] == pytest.approx(5 / 6)


def test_the_record_that_the_close_is_of_is_the_one_that_counts() -> None:
    def other(record: r.AnyRecord) -> r.AnyRecord:
        renamed = isinstance(record, r.Evidence) and record.evidence.turn_id == "s-1/turn-1"
        return msgspec.structs.replace(record, record_id="or02/other/1") if renamed else record

    assert ("s-1/turn-1", "evidence") in violations([spoiled(one, other) for one in usual()], 5)


def test_every_field_of_the_evidence_is_looked_at() -> None:
    fields = TurnEvidence.__struct_fields__
    assert len(fields) > 30  # those that are due are removed one by one in the feature's own proof


# ---- what a recording may lack -----------------------------------------------------------------------------------------


def test_at_level_l0_outputs_are_not_seen_and_gate_4_says_so() -> None:
    report = judged(load(questions, level=RecordingLevel.L0))
    assert failed(report) == [4]
    assert "outputs" in [one.anchor for one in gate_of(report, 4).violations]


def test_a_torn_recording_fails_for_the_turn_that_it_breaks_off_in() -> None:
    data = usual()[0]
    ends = [n for n, record in enumerate(r.unframe(data).records) if isinstance(record, r.Close)]
    cut = b"".join(r.frame(one) for one in r.unframe(data).records[: ends[-1] - 2]) + b"\x00\x00"
    report = judged([cut, *usual()[1:]])
    assert 5 in failed(report)
    assert {one.turn for one in gate_of(report, 5).violations} == {"s-1/turn-2"}


# ---- limits ------------------------------------------------------------------------------------------------------------


def test_other_limits_are_shown_beside_the_contracts() -> None:
    report = judged(usual(), thresholds=Thresholds(end_to_end_p95_ms=5_000, open_decision_p95_ms=50))
    assert {(one.name, one.here, one.contract, one.looser) for one in report.differs} == {
        ("end_to_end_p95_ms", 5_000, 2_000, True),
        ("open_decision_p95_ms", 50, 120, False),
    }
    assert gate_of(judged(usual(), thresholds=Thresholds(end_to_end_p95_ms=1)), 7).passed is False


def test_a_slow_client_is_seen_from_end_to_end() -> None:
    async def slow(made: Load) -> None:
        caller = made.call()
        caller.start_ms = START_MS + 1_500
        assert isinstance(caller, Listener)
        await caller.ask()

    found = gate_of(judged(load(slow)), 7)
    assert found.values["p50_ms"] == 850 + 1_500
    assert not found.passed
