"""`rspp bench record` measures a call that was really held and really recorded."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from rspp.cli import bench_record
from rspp.cli.bench_record import cost, measure, rows
from rspp.cli.bench_record_call import hold
from rspp.contract.event import Text
from rspp.contract.words import RecordingLevel
from rspp.kernel.inputs import AudioReceived, CallProduced, SpeechScored

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


def test_the_call_is_two_fifths_each_and_scores_come_every_32_ms() -> None:
    held, heard = hold(20)
    frames = sum(isinstance(one, AudioReceived) for _, one in held.inputs)
    scores = sum(isinstance(one, SpeechScored) for _, one in held.inputs)
    partials = sum(isinstance(one, CallProduced) and isinstance(one.payload, Text) for _, one in held.inputs)
    assert frames == 1_000
    assert scores == 1_000 * 320 // 512
    assert 0.3 < heard / frames < 0.5
    assert partials > 10
    assert held.turns == 2


def test_each_level_writes_more_than_the_one_below() -> None:
    held, _ = hold(20)
    sizes = [cost(held, level, 2)[1] for level in (RecordingLevel.L0, RecordingLevel.L1, RecordingLevel.L2)]
    assert 0 < sizes[0] < sizes[1] < sizes[2]
    assert cost(held, None, 1)[1] == 0


@pytest.mark.slow
def test_the_document_says_what_each_level_adds_to_the_kernels_own_cost() -> None:
    found = CliRunner().invoke(
        bench_record.command, ["--json", "--seconds", "20", "--sessions", "4", "--rounds", "2"]
    )
    assert found.exit_code == 0, found.output
    document = json.loads(found.output)
    assert set(document["levels"]) == {"L0", "L1", "L2"}
    kernel = document["kernel_us_per_frame"]
    for level in document["levels"].values():
        assert level["ratio"] == pytest.approx(level["us_per_frame"] / kernel, abs=0.01)
        # Ten times what it costs on an idle machine: coarse, and still a bound.
        assert 0 < level["us_per_frame"] < 150
        assert level["bytes_per_hour"] > 100_000


def test_the_table_has_a_line_for_each_number() -> None:
    assert len(rows(measure(20, 1, 1))) == 10
