"""`rspp bench sessions`: how many conversations one core carries, in this process and over real WebSockets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Final

import click
import msgspec

from rspp.cli import bench_machine as machine
from rspp.cli.bench_load import Measured, Order
from rspp.cli.output import emit_json, print_table

LATENESS_MS_MAX: Final = 20.0
GOALS: Final = {"in_process": 500, "websocket": 250}
GOAL_RSS_BYTES: Final = 100_000
MODULES: Final = {"in_process": "rspp.cli.bench_load", "websocket": "rspp.cli.bench_socket"}
# The search: a first look at so few, then from what their CPU promises, in steps of a seventh, and one halving.
LOOK_SESSIONS: Final = 150
SHARE_OF_CORE: Final = 0.8
STEP: Final = 1.15
SESSIONS_MAX: Final = 5_000
SIZES_MAX: Final = 5
BUSY_SHARE: Final = 0.9
RUN_SECONDS_SLACK: Final = 90


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One way of talking to the host, at the largest number of sessions that held."""

    sessions_per_core: int
    lateness_ms_p99: float | None
    lateness_in_ms_p99: float | None
    lateness_out_ms_p99: float | None
    cpu_us_per_frame: float | None
    harness_cpu_us_per_frame: float | None
    cpu_share: float | None
    rss_bytes_per_session: int | None
    runs: list[Measured]


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Both ways, and on what."""

    in_process: Figures
    websocket: Figures
    loop: str
    seconds: float
    lateness_ms_max: float = LATENESS_MS_MAX


class RunFailed(click.ClickException):
    """A measuring process ended without a measurement."""


Measure = Callable[[int], Measured]


def run_child(module: str, order: Order) -> Measured:
    """One measurement, in a process of its own: it wants a core and a heap to itself."""
    encoded = msgspec.json.encode(order).decode()
    words = [sys.executable, "-m", module, encoded]
    try:
        done = subprocess.run(  # noqa: S603 - this program's own module
            words, check=False, capture_output=True, timeout=order.seconds + RUN_SECONDS_SLACK
        )
    except subprocess.TimeoutExpired as late:
        raise RunFailed(f"{module} with {order.sessions} sessions did not end") from late
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise RunFailed(f"{module} with {order.sessions} sessions failed: {said[-1]}")
    return msgspec.json.decode(done.stdout, type=Measured)


def holds(run: Measured) -> bool:
    """Was everybody served in time?"""
    return run.whole and run.lateness_ms_p99 < LATENESS_MS_MAX


def search(measure: Measure, look: int = LOOK_SESSIONS) -> list[Measured]:
    """Find the largest size that holds, to within half a step, in a few sizes; the run that counts of each is returned."""

    def attempt(size: int) -> Measured:
        run = measure(size)
        if holds(run) or run.cpu_share > BUSY_SHARE:
            return run
        # Late on a core that was not busy: a neighbour of ours was in the way, or it will be late again.
        return min(run, measure(size), key=lambda one: (not holds(one), one.lateness_ms_p99))

    runs = [attempt(look)]
    promised = min(SESSIONS_MAX, max(1, int(SHARE_OF_CORE * look / max(runs[0].cpu_share, 0.01))))
    good, bad = (look, None) if holds(runs[0]) else (0, look)
    size = promised if good else _next(good, bad)
    while len(runs) < SIZES_MAX and size not in (good, bad):
        runs.append(attempt(size))
        if holds(runs[-1]):
            good = max(good, size)
        else:
            bad = min(bad or size, size)
        size = _next(good, bad)
    return runs


def _next(good: int, bad: int | None) -> int:
    """Up by a step while everything holds, down while nothing does; between the two, halve."""
    if bad is None:
        return min(SESSIONS_MAX, int(good * STEP))
    if not good or good * STEP * STEP < bad:
        return max(1, int(bad / STEP))
    return (good + bad) // 2


def figures(runs: list[Measured]) -> Figures:
    """The largest run that held; nothing holds where none did."""
    best = max(filter(holds, runs), key=lambda run: run.sessions, default=None)
    shown = best or min(runs, key=lambda run: run.sessions)
    return Figures(
        sessions_per_core=best.sessions if best else 0,
        lateness_ms_p99=shown.lateness_ms_p99,
        lateness_in_ms_p99=shown.lateness_in_ms_p99,
        lateness_out_ms_p99=shown.lateness_out_ms_p99,
        cpu_us_per_frame=shown.cpu_us_per_frame,
        harness_cpu_us_per_frame=shown.harness_cpu_us_per_frame,
        cpu_share=shown.cpu_share,
        rss_bytes_per_session=shown.rss_bytes_per_session,
        runs=runs,
    )


@click.command(
    name="sessions",
    epilog="Exit status: 0 measured, whatever the numbers are, 1 a run failed, 2 the command was used wrongly.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--sessions", type=click.IntRange(min=2, max=SESSIONS_MAX), help="Measure this size only.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.5),
    default=3.0,
    show_default=True,
    help="How long each run measures.",
)
def command(as_json: bool, sessions: int | None, seconds: float) -> None:
    """Measure the most sessions that one core carries with p99 frame lateness under 20 ms.

    Every caller sends a 20 ms frame every 20 ms and hears an answer without end, so frames go out as often; providers are
    scripted. A frame is late by what lies between when it was due and when the kernel took it, or when it came out at
    the caller. In process the callers' cost is part of the figure, and `harness_cpu_us_per_frame` says what they
    cost alone; over WebSockets they are another process on another core.

    \b
    Examples:
        rspp bench sessions
        rspp bench sessions --json --sessions 300 --seconds 10
    """
    core = machine.cores()[0]

    def figures_of(way: str) -> Figures:
        def measure(size: int) -> Measured:
            return run_child(MODULES[way], Order(sessions=size, seconds=seconds, core=core))

        return figures([measure(sessions)] if sessions else search(measure))

    result = Capacity(
        in_process=figures_of("in_process"),
        websocket=figures_of("websocket"),
        loop=machine.loop_name(),
        seconds=seconds,
    )
    if as_json:
        emit_json(result)
    else:
        print_table(
            ("what", "in process", "websocket", "unit", "goal"),
            rows(result),
            numbers=("in process", "websocket"),
        )


def rows(result: Capacity) -> list[tuple[object, ...]]:
    """The result as a table for people."""
    inside, outside = result.in_process, result.websocket
    return [
        ("sessions a core", inside.sessions_per_core, outside.sessions_per_core, "", "500 and 250"),
        *(
            (name, getattr(inside, key), getattr(outside, key), unit, goal)
            for name, key, unit, goal in (
                ("frame lateness, p99", "lateness_ms_p99", "ms", f"{LATENESS_MS_MAX:g}"),
                ("  inward", "lateness_in_ms_p99", "ms", ""),
                ("  outward", "lateness_out_ms_p99", "ms", ""),
                ("CPU a frame", "cpu_us_per_frame", "us", ""),
                ("  the callers alone", "harness_cpu_us_per_frame", "us", ""),
                ("share of the core", "cpu_share", "", ""),
                ("memory a session", "rss_bytes_per_session", "bytes", f"{GOAL_RSS_BYTES}"),
            )
        ),
    ]
