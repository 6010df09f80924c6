"""Rows are sorted, labelled and complete; each filter gives exactly what it names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import pytest

from rspp.contract.signals import SIGNALS
from rspp.contract.words import RecordingLevel
from rspp.kernel.inputs import AudioReceived, CallProduced, SpeechScored
from rspp.nodes import factories
from rspp.timeline.records import Gap
from rspp.timeline.story import told
from rspp.timeline.view.rows import CONTROL, DATA, FOLD_NS, TELEMETRY, Filter, Row, rows
from rspp.timeline.view.seen import see
from tests.unit.timeline.calls import replayed, simulated


@cache
def made() -> tuple[Row, ...]:
    return tuple(see(simulated(7, 3, "all"), factories()).rows)


def test_rows_are_in_the_order_of_time_and_numbered() -> None:
    found = made()
    assert [row.row for row in found] == list(range(1, len(found) + 1))
    assert all(before.time_ms <= after.time_ms for before, after in pairwise(found))
    assert {row.lane for row in found} == {CONTROL, DATA, TELEMETRY}


def test_every_effect_and_every_input_is_in_exactly_one_row() -> None:
    recording = simulated(7, 3, "all")
    found = rows(recording, told(recording))
    assert sum(row.count for row in found if row.direction == "in") == len(recording.inputs)
    frames = sum(run.frames for run in recording.runs)
    out = [row for row in found if row.direction == "out"]
    assert sum(row.count for row in out) == len(recording.items) + frames
    assert [row.name for row in out if row.kind == "signal"] == [
        item.name for item in recording.items if item.what == "signal"
    ]


def test_a_fold_is_of_one_kind_and_no_longer_than_a_second() -> None:
    recording = simulated(7, 0)
    found = [row for row in rows(recording, told(recording)) if row.kind == "audio_received"]
    assert len(found) > 10
    assert all(row.duration_ms < FOLD_NS / 1e6 for row in found)
    frames = [at for at, one in recording.inputs.values() if isinstance(one, AudioReceived)]
    assert sum(row.count for row in found) == len(frames)
    scores = [one.probability for _, one in recording.inputs.values() if isinstance(one, SpeechScored)]
    assert f"{max(scores):.2f}" in "".join(row.what for row in made() if row.kind == "speech_scored")


def test_what_belongs_to_a_node_says_so() -> None:
    recording = simulated(7, 3, "all")
    calls = {one.facts["call"]: one.facts["node"] for one in recording.items if one.what == "invoke"}
    produced = {
        step: calls[one.call_id]
        for step, (_, one) in recording.inputs.items()
        if isinstance(one, CallProduced)
    }
    labelled = {row.step: row.node for row in made() if row.kind == "call_produced"}
    assert labelled
    assert all(produced[step] == node for step, node in labelled.items())
    assert {row.node for row in made() if row.kind == "audio_received"} == {"caller"}
    assert {row.node for row in made() if row.kind == "send" and row.name == "audio"} == {"speaker"}


def test_sent_texts_are_shown_when_the_kernel_ran_again_and_only_then() -> None:
    recording = simulated(7, 0)
    again = [
        row.text for row in see(recording, factories()).rows if row.kind == "send" and row.name == "text"
    ]
    expected = [one.text for one in replayed(recording).said]
    assert again == expected
    assert {row.text for row in see(recording).rows if row.kind == "send"} == {None}


EXPECTED: dict[str, tuple[Filter, Callable[[Row], bool]]] = {
    "kind": (Filter(kinds=frozenset({"invoke", "signal"})), lambda row: row.kind in ("invoke", "signal")),
    "node": (Filter(nodes=frozenset({"llm"})), lambda row: row.node == "llm"),
    "lane": (Filter(lanes=frozenset({TELEMETRY})), lambda row: row.lane == TELEMETRY),
    "turn": (Filter(turns=frozenset({"s3/turn-2"})), lambda row: row.turn == "s3/turn-2"),
    "signal": (
        Filter(signals=frozenset({"turn_open", "close"})),
        lambda row: row.kind == "signal" and row.name in ("turn_open", "close"),
    ),
    "from": (Filter(from_ms=20_000), lambda row: row.time_ms + row.duration_ms >= 20_000),
    "to": (Filter(to_ms=20_000), lambda row: row.time_ms <= 20_000),
    "all at once": (
        Filter(
            nodes=frozenset({"tts"}),
            lanes=frozenset({CONTROL}),
            turns=frozenset({"s3/turn-2"}),
            from_ms=1_000,
        ),
        lambda row: (row.node, row.lane, row.turn) == ("tts", CONTROL, "s3/turn-2"),
    ),
    "nothing": (Filter(), lambda row: True),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_filter_gives_exactly_what_it_names(name: str) -> None:
    wanted, expected = EXPECTED[name]
    found = [row for row in made() if wanted.matches(row)]
    assert found
    assert found == [row for row in made() if expected(row)]
    assert (len(found) == len(made())) is (name == "nothing")


def test_signals_are_in_the_registry_and_transitions_belong_to_their_turn() -> None:
    assert {row.name for row in made() if row.kind == "signal"} <= set(SIGNALS)
    turns = {row.turn for row in made() if row.what.startswith("turn Active to Terminal")}
    assert turns == {"s3/turn-1", "s3/turn-2", "s3/turn-3"}


def test_at_the_lowest_level_there_are_only_control_rows() -> None:
    recording = simulated(7, 0, level=RecordingLevel.L0)
    found = see(recording, factories())
    assert {row.lane for row in found.rows} == {CONTROL}
    assert found.head.not_replayed == "the recording has no inputs"


def test_a_gap_is_a_row_at_its_time_or_where_its_input_would_be() -> None:
    recording = simulated(7, 0)
    at, _ = recording.inputs[100]
    recording.gaps += [
        Gap(step=101, at=at, reason="no_room", records=3),
        Gap(step=101, at=-1, reason="part_missing:2"),
    ]
    gaps = [row for row in rows(recording, told(recording)) if row.kind == "gap"]
    assert [row.name for row in gaps] == ["no_room", "part_missing:2"]
    assert {row.time_ms for row in gaps} == {at / 1e6}
