"""When to start again, who takes the next call, what a probe answers, what a scrape reads: decided without a process."""

from __future__ import annotations

import msgspec
import pytest

from rspp.control.supervisor.accepting import AHEAD_MAX, who_accepts
from rspp.control.supervisor.crashes import NS_PER_MS, Crashes, CrashRule
from rspp.control.supervisor.exposition import Exposition
from rspp.control.supervisor.health import Seen, live, ready
from rspp.control.supervisor.words import State
from rspp.host.meters import Meters

READY = State(ready=True, capacity=10)


def seen(name: str, state: State | None = READY, *, silent_ms: int = 0, starting: bool = False) -> Seen:
    return Seen(name=name, pid=1, starting=starting, silent_ms=silent_ms, state=state)


# ---- crashes ---------------------------------------------------------------------------------------------------------


def test_each_crash_doubles_the_wait_up_to_its_bound_until_the_budget_is_spent() -> None:
    rule, crashes, waits = CrashRule(wait_ms_min=100, wait_ms_max=500, crashes_max=4), Crashes(), []
    for number in range(5):
        crashes = crashes.after(rule, number * NS_PER_MS)
        waits.append(crashes.wait_ms(rule))
    assert waits == [100, 200, 400, 500, None]


def test_crashes_are_forgiven_when_they_are_older_than_the_window_and_few_are_kept() -> None:
    rule, crashes = CrashRule(window_ms=1_000, crashes_max=2), Crashes()
    for at_ms in range(0, 100_000, 400):
        crashes = crashes.after(rule, at_ms * NS_PER_MS)
        assert len(crashes.at) <= 3
    late = crashes.after(rule, 200_000 * NS_PER_MS)
    assert late.wait_ms(rule) == rule.wait_ms_min
    assert Crashes().wait_ms(rule) == 0


# ---- who takes calls ---------------------------------------------------------------------------------------------------


def state(sessions: int, **more: object) -> State:
    return State(**{"ready": True, "capacity": 10, "sessions": sessions, **more})  # type: ignore[arg-type]


def test_the_least_busy_take_the_next_calls() -> None:
    states = {"a": state(0), "b": state(AHEAD_MAX), "c": state(AHEAD_MAX + 1)}
    assert who_accepts(states) == {"a", "b"}


@pytest.mark.parametrize("other", [state(10), state(0, ready=False), state(0, draining=True, ready=False)])
def test_who_is_full_not_ready_or_draining_leaves_calls_to_the_others(other: State) -> None:
    assert who_accepts({"a": state(9), "b": other}) == {"a"}


def test_where_nobody_has_room_all_answer_so_that_a_caller_hears_why_but_nobody_who_drains() -> None:
    assert who_accepts({"a": state(10), "b": state(0, ready=False), "c": state(0, draining=True)}) == {
        "a",
        "b",
    }
    assert who_accepts({}) == frozenset()


# ---- probes --------------------------------------------------------------------------------------------------------------


def test_one_that_lives_is_enough_to_be_alive_and_one_that_is_ready_to_be_ready() -> None:
    workers = {"a": seen("a", silent_ms=9_000), "b": seen("b")}
    assert live(workers, 2_000).ok
    assert ready(workers, 2_000, stopping=False).ok
    assert live(workers, 2_000).reasons == ("a: no sign of its loop for 9000 ms",)
    assert not live({"a": workers["a"]}, 2_000).ok


def test_who_starts_is_alive_and_not_ready_however_long_it_is_silent() -> None:
    workers = {"a": seen("a", None, silent_ms=60_000, starting=True)}
    assert live(workers, 2_000).ok
    found = ready(workers, 2_000, stopping=False)
    assert (found.ok, found.reasons, found.status) == (False, ("a: starting",), 503)


def test_a_reason_costs_readiness_and_is_told_and_stopping_is_one() -> None:
    failing = State(ready=False, reasons=("store_unreachable", "provider:x"), capacity=10)
    found = ready({"a": seen("a", failing)}, 2_000, stopping=False)
    assert (found.ok, found.reasons) == (False, ("a: store_unreachable", "a: provider:x"))
    assert live({"a": seen("a", failing)}, 2_000).ok
    assert not ready({"a": seen("a")}, 2_000, stopping=True).ok


# ---- metrics -------------------------------------------------------------------------------------------------------------


def test_meters_are_written_as_prometheus_reads_them_each_name_once() -> None:
    meters = Meters()
    meters.counter("calls_total", provider='a"b\\c\nd').add(3)
    meters.histogram("step_ns").record(2_000_000)
    meters.gauge("pool_depth", lambda: 2.0, pool="x")
    meters.gauge("pool_depth", lambda: 3.5, pool="y")
    exposition = Exposition()
    exposition.take("w0", meters.read())
    exposition.take("w1", meters.read())
    lines = exposition.body.decode().splitlines()
    assert 'rspp_calls_total{worker="w0",provider="a\\"b\\\\c\\nd"} 3' in lines
    assert 'rspp_step_seconds_sum{worker="w1"} 0.002' in lines
    assert 'rspp_step_seconds_count{worker="w1"} 1' in lines
    assert 'rspp_worker_queue_depth{worker="w0"} 5.5' in lines
    kinds = [line for line in lines if line.startswith("# TYPE")]
    assert len(kinds) == len(set(kinds)) == 4


def test_of_a_worker_that_says_nothing_there_is_no_figure_that_would_say_that_it_idles() -> None:
    exposition = Exposition()
    exposition.seen([seen("a", None, starting=True)])
    text = exposition.body.decode()
    assert 'rspp_worker_ready{worker="a"} 0' in text
    assert "worker_load" not in text
    assert "worker_sessions" not in text


def test_a_histogram_of_a_worker_of_another_version_spoils_no_page() -> None:
    """While processes are replaced, those of before and after answer one supervisor."""
    meters = Meters()
    meters.histogram("control_preempt_delay_ms").record(1_500_000)
    (ours,) = meters.read().histograms
    theirs = msgspec.structs.replace(ours, up_to=ours.up_to[:-1])
    page = Exposition()
    page.take("a", meters.read())
    page.take("b", msgspec.structs.replace(meters.read(), histograms=(theirs,)))
    lines = page.body.decode().splitlines()
    of_a = [line for line in lines if 'worker="a"' in line and "preempt" in line]
    of_b = [line for line in lines if 'worker="b"' in line and "preempt" in line]
    assert len(of_a) == len(ours.up_to) + 3
    assert 'rspp_control_preempt_delay_ms_bucket{worker="a",le="1"} 0' in of_a
    assert 'rspp_control_preempt_delay_ms_bucket{worker="a",le="2"} 1' in of_a
    assert of_b == [
        'rspp_control_preempt_delay_ms_bucket{worker="b",le="+Inf"} 1',
        'rspp_control_preempt_delay_ms_sum{worker="b"} 1.5',
        'rspp_control_preempt_delay_ms_count{worker="b"} 1',
    ]
