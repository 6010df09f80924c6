"""`rspp runtime health`: how everything is, what causes it; once, or again whenever it has changed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import click

from rspp.cli.control.asking import Whom
from rspp.cli.output import Status, emit_json, print_table
from rspp.cli.runtime.looking import looking_options, whom_of_here
from rspp.cli.runtime.seeing import health
from rspp.contract.surface import Level

EPILOG: Final = (
    "Exit status: 0 it is well, or there are only notices; 1 something is degraded or failed, or nobody can tell; "
    "2 the command was used wrongly."
)
WELL: Final = (Level.OK.value, Level.NOTICE.value)
EVERY_S: Final = 2.0
LOOK_MS_MAX: Final = 300_000
COLUMNS: Final = ("level", "surface", "what", "tenant", "since", "reason", "message")
HELP: Final = """How everything is, and what causes it: each surface, and each thing that is not well, the worst first.

\b
Examples:
    rspp runtime health
    rspp runtime health --json
    rspp runtime health --store sqlite://$PWD/control.db --look-ms 16000

Asked of a server, it is what that has seen all along. Of a store it is one look: a worker that has just died is only found
by looking for longer than it may be silent (--look-ms).
"""


def look_option() -> click.Option:
    return click.Option(
        ["--look-ms"],
        type=click.IntRange(0, LOOK_MS_MAX),
        default=0,
        help="Of a store: look for so long before answering.",
    )


def run(as_json: bool, watch: bool, look_ms: int, **given: Any) -> None:
    whom = whom_of_here(given)
    said = health(whom, look_ms)
    _show(said, as_json)
    if watch:
        said = _watched(whom, look_ms, said, as_json)
    if said["stale"] or said["level"] not in WELL:
        raise SystemExit(Status.PROBLEM)


def _watched(whom: Whom, look_ms: int, said: Any, as_json: bool) -> Any:
    """Show it again whenever it is another than before, until somebody stops it; how it was in the end."""
    try:
        while True:
            time.sleep(EVERY_S)
            now = health(whom, look_ms)
            if _what(now) != _what(said):
                _show(now, as_json)
            said = now
    except KeyboardInterrupt:
        return said


def _what(said: Mapping[str, Any]) -> Any:
    """What is seen of it but when it was looked at."""
    return {name: value for name, value in said.items() if name not in ("as_of_ms", "sequence")}


def _show(said: Any, as_json: bool) -> None:
    if as_json:
        emit_json(said)
        return
    stale = "; it may be old: the store could not be read lately" if said["stale"] else ""
    at = clock(said["as_of_ms"])
    click.echo(f"{said['level']} at {at}, journal {said['sequence']}{stale}")
    ill = [one for one in said["surfaces"] if one["level"] != Level.OK.value]
    for one in ill:
        click.echo(
            f"  {one['surface']}: {one['level']}, {len(one['reasons']) + one['more']} of {one['rows']}"
        )
    if said["reasons"]:
        click.echo()
        print_table(COLUMNS, [_row(one) for one in said["reasons"]])
    if said["more"]:
        click.echo(f"and {said['more']} more")


def _row(one: Mapping[str, Any]) -> list[str]:
    return [
        one["level"],
        one["surface"],
        one["aggregate_id"],
        one["tenant_id"] or "",
        clock(one["since_ms"]),
        one["code"],
        one["message"],
    ]


def clock(at_ms: int) -> str:
    return "" if not at_ms else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


command = click.Command(
    "health",
    callback=run,
    help=HELP,
    short_help="How everything is, and what causes it.",
    epilog=EPILOG,
    params=[
        click.Option(["--watch"], is_flag=True, help="Show it again whenever it has changed."),
        look_option(),
        *looking_options(),
    ],
)
