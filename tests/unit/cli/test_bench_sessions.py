"""`rspp bench sessions`: the search finds the edge, what was not served does not count, and real runs measure real frames."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from rspp.cli import bench, bench_sessions
from rspp.cli.bench_load import Measured, Order
from rspp.cli.bench_machine import Lateness
from rspp.cli.bench_sessions import GOAL_RSS_BYTES, MODULES, RunFailed, figures, holds, run_child, search

RUN = Measured(
    sessions=100,
    lateness_ms_p99=3.0,
    lateness_in_ms_p99=2.0,
    lateness_out_ms_p99=3.0,
    cpu_us_per_frame=15.0,
    harness_cpu_us_per_frame=1.0,
    cpu_share=0.2,
    rss_bytes_per_session=90_000,
    frames=10_000,
    frames_due=10_000,
    sessions_alive=100,
)


def core(most: int, noise: tuple[int, ...] = ()) -> tuple[list[int], bench_sessions.Measure]:
    """A core that carries so many; runs whose turn it is are late for no reason of theirs."""
    sizes: list[int] = []

    def measure(size: int) -> Measured:
        sizes.append(size)
        late = size > most or len(sizes) in noise
        share = min(1.0, 0.8 * size / most)
        return replace(
            RUN,
            sessions=size,
            sessions_alive=size,
            cpu_share=share,
            lateness_ms_p99=50.0 if late else 3.0,
        )

    return sizes, measure


@pytest.mark.parametrize("most", [20, 60, 300, 520, 1_500])
def test_the_search_comes_close_to_what_the_core_carries_and_never_above(most: int) -> None:
    _, measure = core(most)
    found = figures(search(measure)).sessions_per_core
    assert found <= most
    assert found > 0.6 * most or most < 100


def test_the_search_takes_few_runs() -> None:
    sizes, measure = core(500)
    search(measure)
    assert len(sizes) <= 2 * bench_sessions.SIZES_MAX


def test_a_run_that_was_late_on_an_idle_core_is_run_again_and_a_busy_one_is_not() -> None:
    sizes, measure = core(500, noise=(1,))
    runs = search(measure)
    assert sizes[:2] == [150, 150]
    assert holds(runs[0])
    sizes, measure = core(100)
    search(measure)
    assert sizes.count(150) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"sessions_alive": 99},
        {"frames": 9_000},
        {"lateness_out_ms_p99": None},
        {"lateness_ms_p99": 20.0},
    ],
)
def test_a_run_in_which_not_everybody_was_served_in_time_does_not_hold(wrong: dict[str, object]) -> None:
    assert holds(RUN)
    assert not holds(replace(RUN, **wrong))


def test_where_nothing_holds_no_session_is_carried() -> None:
    found = figures([replace(RUN, lateness_ms_p99=90.0)])
    assert (found.sessions_per_core, found.lateness_ms_p99) == (0, 90.0)


def test_lateness_is_counted_in_tenths_of_a_millisecond_rounded_up_and_early_is_not_late() -> None:
    lateness = Lateness()
    assert lateness.quantile_ms(0.99) is None
    for number in range(100):
        lateness.add(number * 1_000_000)
    lateness.add(-5)
    assert lateness.quantile_ms(0.5) == 49.1
    assert lateness.quantile_ms(0.99) == 98.1
    lateness.add(10_000_000_000)
    assert lateness.quantile_ms(1.0) == 2_000.0


def test_a_run_that_fails_is_an_error_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunFailed, match="no_such_module"):
        run_child("rspp.cli.no_such_module", Order(sessions=2))


def test_the_command_prints_a_table_for_people_and_json_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_sessions, "run_child", lambda _, order: replace(RUN, sessions=order.sessions))
    table = CliRunner().invoke(bench.command, ["sessions", "--sessions", "100"]).output
    assert "sessions a core" in table
    printed = json.loads(
        CliRunner().invoke(bench.command, ["sessions", "--json", "--sessions", "100"]).output
    )
    wanted = {"sessions_per_core", "lateness_ms_p99", "cpu_us_per_frame", "rss_bytes_per_session"}
    assert wanted <= set(printed["in_process"])
    assert wanted <= set(printed["websocket"])


@pytest.mark.slow
@pytest.mark.parametrize("way", sorted(MODULES))
def test_a_few_real_sessions_are_all_served_and_their_frames_cost_microseconds(way: str) -> None:
    run = run_child(MODULES[way], Order(sessions=10, seconds=1.0, spread_s=0.2))
    assert run.sessions_alive == 10
    assert run.frames > 0.8 * run.frames_due > 0
    assert 0 < run.cpu_us_per_frame < 1_000
    assert run.harness_cpu_us_per_frame > 0
    assert 0 < run.rss_bytes_per_session < 10 * GOAL_RSS_BYTES
