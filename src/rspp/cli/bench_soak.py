"""`rspp bench soak`: callers come and go by the thousand, most with something wrong; nothing of them may be left."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import click

from rspp.cli.bench_churn import AT_ONCE, Churn, Churned
from rspp.cli.output import Status, emit_json, print_table
from rspp.testing.clock import run_virtual

# What the interpreter's allocator may still take a session, after the first half: a leak of one object is more.
SLOPE_BYTES_MAX = 200.0
# Fewer sessions than this are the warm-up itself.
SESSIONS_FOR_SLOPE = 4_000


def faults(churned: Churned) -> list[str]:
    """What is left that should be gone; empty when the soak was clean."""
    found = [
        f"{name}: {getattr(churned.after, name)} at the end, {getattr(churned.before, name)} before"
        for name in churned.after.__struct_fields__
        if getattr(churned.after, name) != getattr(churned.before, name)
    ]
    found += [f"task that would not end: {name}" for name in churned.tasks_leaked]
    if churned.sessions >= SESSIONS_FOR_SLOPE and churned.rss_slope_bytes > SLOPE_BYTES_MAX:
        found.append(f"memory grows by {churned.rss_slope_bytes:g} bytes a session")
    return found


def soak(sessions: int, seed: int, at_once: int) -> Churned:
    """One soak in virtual time. What is broken on purpose is not logged: it is counted in `blamed`."""
    log = logging.getLogger("rspp")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory() as folder:

            async def main() -> Churned:
                return await Churn(sessions, seed, Path(folder), at_once).run()

            return run_virtual(main())
    finally:
        log.setLevel(before)


@click.command(
    name="soak",
    epilog="Exit status: 0 nothing is left, 1 something is, 2 the command was used wrongly.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--sessions",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Opened and closed, in all.",
)
@click.option(
    "--at-once", type=click.IntRange(1, 500), default=AT_ONCE, show_default=True, help="Alive at a time."
)
@click.option(
    "--seed", default=1, show_default=True, help="Chooses who does what, and what is wrong with whom."
)
@click.pass_context
def command(context: click.Context, as_json: bool, sessions: int, at_once: int, seed: int) -> None:
    """Open and close thousands of sessions on a real host in virtual time, with faults on, and count what is left.

    Callers hang up, are cut off and come back or do not, flood, interrupt; lines and sessions break; providers fail, hang,
    raise, say nonsense, or do not stop when told. Then sessions, tasks, timers, waiting inputs and open files must be what they
    were, and memory flat over the second half.

    \b
    Examples:
        rspp bench soak
        rspp bench soak --json --sessions 2000 --seed 7
    """
    churned = soak(sessions, seed, at_once)
    wrong = faults(churned)
    if as_json:
        emit_json(churned)
    else:
        print_table(("what", "here"), rows(churned), numbers=("here",))
    for line in wrong:
        click.echo(line, err=True)
    context.exit(Status.PROBLEM if wrong else Status.OK)


def rows(churned: Churned) -> list[tuple[object, ...]]:
    """The result as a table for people."""
    return [
        ("sessions", churned.sessions),
        ("seconds of their time", churned.virtual_s),
        ("turns", churned.turns),
        *((f"  ended: {reason}", count) for reason, count in churned.ends.items()),
        *((f"  blamed: {name}", count) for name, count in churned.blamed.items()),
        (
            "sessions, tasks, timers left",
            f"{churned.after.sessions}, {churned.after.tasks}, {churned.after.timers}",
        ),
        ("memory a session, second half, bytes", churned.rss_slope_bytes),
    ]
