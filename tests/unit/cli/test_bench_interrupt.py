"""`rspp bench interrupt`: what it measures is there, its quantiles are right, and its bounds here are coarse."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from rspp.cli import bench, bench_interrupt
from rspp.cli.bench_interrupt import GOAL_FENCE_MS, GOAL_SILENCE_MS, quantile_ms, result_of, run_callers
from rspp.cli.bench_interrupt_callers import Interrupted, Order, framed
from rspp.cli.bench_talk import LOUD, QUIET

MS = 1_000_000
ORDER = Order(load=3, interruptions=2, cancels=2, detector="scripted-vad", core=0)
SEEN = Interrupted(
    silence_ns=[100 * MS, 120 * MS],
    pause_ns=[90 * MS, 95 * MS],
    detector_ns=[40 * MS, -1],
    cancel_ns=[MS],
    cancel_silence_ns=[MS, 2 * MS],
    missed=1,
    speech="tone",
    load_heard_share=1.0,
)


def test_quantiles_are_nearest_rank_and_of_nothing_there_are_none() -> None:
    spans = [number * MS for number in range(1, 101)]
    assert quantile_ms(spans, 0.95) == 95
    assert quantile_ms(spans[:1], 0.99) == 1
    assert quantile_ms([], 0.5) is None
    assert quantile_ms([-1, 7 * MS], 0.5) == 7


def test_what_was_missed_is_told_and_not_counted_as_silence() -> None:
    result = result_of(SEEN, ORDER)
    assert (result.interruptions, result.interruptions_missed) == (2, 1)
    assert (result.cancels, result.cancels_missed) == (1, 1)
    assert result.detector_ms_p95 == 40


def test_an_interruption_begins_with_the_first_loud_frame() -> None:
    assert framed(QUIET * 3 + LOUD * 2 + QUIET) == [LOUD, LOUD, QUIET]


def test_the_command_names_the_detector_it_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_interrupt, "run_callers", lambda _: SEEN)
    monkeypatch.setattr(bench_interrupt, "default_detector", lambda: "energy-vad")
    assert "energy-vad, tone" in CliRunner().invoke(bench.command, ["interrupt"]).output
    words = ["interrupt", "--json", "--detector", "scripted-vad", "--load", "7"]
    printed = json.loads(CliRunner().invoke(bench.command, words).output)
    assert (printed["detector"], printed["load"]) == ("scripted-vad", 7)
    assert printed["speech_to_silence_ms_p95"] == 120


@pytest.mark.long
@pytest.mark.slow
def test_speech_and_cancels_really_silence_an_answer_over_real_sockets() -> None:
    result = result_of(run_callers(ORDER), ORDER)
    assert result.interruptions >= 4
    assert result.cancels >= 4
    assert result.speech_to_silence_ms_p95 is not None
    assert result.cancel_to_fence_ms_p99 is not None
    # The scripted detector hears the first loud frame: the last frame of the answer may have come before it.
    assert 0 <= result.speech_to_silence_ms_p95 < 10 * GOAL_SILENCE_MS
    assert 0 < result.cancel_to_fence_ms_p99 < 10 * GOAL_FENCE_MS
