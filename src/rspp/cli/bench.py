"""`rspp bench`: what the kernel and the host cost on this machine, against what they may cost."""

from __future__ import annotations

from typing import Final

import click

from rspp.cli import bench_control, bench_gates, bench_interrupt, bench_record, bench_sessions, bench_soak
from rspp.cli.bench_measure import Result, measure
from rspp.cli.output import emit_json, print_table

# What architecture.md promises; a machine that is slower than the one it was written on may be above.
GOAL_US_PER_FRAME: Final = 12.0
GOAL_CANCEL_RATIO: Final = 2.0


@click.group()
def command() -> None:
    """Measure the kernel and the host on this machine."""


command.add_command(bench_sessions.command)
command.add_command(bench_interrupt.command)
command.add_command(bench_gates.command)
command.add_command(bench_record.command)
command.add_command(bench_control.command)
command.add_command(bench_soak.command)


@command.command(epilog="Exit status: 0 measured, whatever the numbers are, 2 the command was used wrongly.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--frames",
    type=click.IntRange(min=10),
    default=5_000,
    show_default=True,
    help="Frames of 20 ms, each way.",
)
def kernel(as_json: bool, frames: int) -> None:
    """Measure CPU per audio frame, CPU per cancellation, and bytes per session.

    A frame goes through the built-in voice graph with every check of the kernel on; no provider works. Inbound: one
    frame, its speech score, the deadline asked for. Outbound: one chunk of a turn that is being spoken, paced, with a
    playback report every fifth.

    \b
    Examples:
        rspp bench kernel
        rspp bench kernel --json --frames 20000
    """
    result = measure(frames)
    if as_json:
        emit_json(result)
    else:
        print_table(("what", "here", "unit", "goal"), rows(result), numbers=("here", "goal"))


def rows(result: Result) -> list[tuple[str, object, str, str]]:
    """The result as a table for people."""
    return [
        ("CPU a frame", result.us_per_frame, "us", f"{GOAL_US_PER_FRAME:g}"),
        ("  into the graph", result.us_per_frame_in, "us", ""),
        ("  out to the caller", result.us_per_frame_out, "us", ""),
        ("  with the invariants' checkers", result.us_per_frame_with_checkers, "us", ""),
        ("cancel, 10 events queued", result.cancel_us_10_queued, "us", ""),
        ("cancel, 10,000 events queued", result.cancel_us_10000_queued, "us", ""),
        ("  ratio of the two", result.cancel_ratio, "", f"{GOAL_CANCEL_RATIO:g}"),
        ("a session, idle", result.bytes_per_session_idle, "bytes", ""),
        ("a session, in a turn", result.bytes_per_session_in_turn, "bytes", ""),
    ]
