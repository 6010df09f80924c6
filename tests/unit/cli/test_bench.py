"""`rspp bench`: it measures what it says; its bounds here are coarse, because test machines are shared."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from rspp.cli import bench, bench_measure
from rspp.cli.bench_measure import Result, measure
from rspp.spec import voice_template

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


@pytest.fixture(scope="module")
def result() -> Result:
    return measure(frames=40, kernels=3, queued=300, rounds=1)


def test_a_frame_costs_microseconds(result: Result) -> None:
    for cost in (result.us_per_frame, result.us_per_frame_in, result.us_per_frame_out):
        assert 0 < cost < 10 * bench.GOAL_US_PER_FRAME
    assert result.us_per_frame_with_checkers > 0


def test_a_cancellation_does_not_grow_with_what_is_queued(result: Result) -> None:
    assert result.cancel_ratio < 10 * bench.GOAL_CANCEL_RATIO


def test_a_session_weighs_kilobytes_and_more_in_a_turn(result: Result) -> None:
    assert 1_000 < result.bytes_per_session_idle < result.bytes_per_session_in_turn < 1_000_000


def test_the_command_prints_a_table_for_people_and_json_for_programs(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "measure", lambda frames: result)
    table = CliRunner().invoke(bench.command, ["kernel"]).output
    assert "CPU a frame" in table
    printed = json.loads(CliRunner().invoke(bench.command, ["kernel", "--json"]).output)
    assert set(printed) == set(Result.__struct_fields__)


def test_a_script_that_the_kernel_does_not_follow_is_an_error_not_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench_measure, "run_out", lambda *_: 1)
    with pytest.raises(RuntimeError, match="do not agree"):
        bench_measure.frame_costs(voice_template(), 100)


def test_opening_sessions_under_one_authority_is_measured_and_leaves_nothing_behind() -> None:
    result = CliRunner().invoke(bench.command, ["control", "--store", "sqlite", "--opens", "16", "--json"])
    assert result.exit_code == 0, result.output
    [figures] = json.loads(result.stdout)
    assert figures["store"] == "sqlite"
    assert 0 < figures["open"]["p50_ms"] <= figures["open"]["p99_ms"]
    assert (figures["slots_left_over"], figures["leases_left_over"]) == (0, 0)
