"""`rspp manifest trace`: every update, in order; the chain of digests that binds them."""

from __future__ import annotations

import time
from hashlib import sha256
from itertools import islice
from typing import Final

import click
import msgspec

from rspp.cli.manifest.place import EPILOG, Place, opened, reads
from rspp.cli.output import Status, emit_json, print_table, visible
from rspp.manifest.faults import Fault
from rspp.manifest.manifest import Manifest
from rspp.manifest.trace import Line

# No faster than a person reads.
EVERY_S: Final = 0.5
DIGITS: Final = 12
COLUMNS: Final = ("line", "at", "who", "what", "about", "wrote", "digest", "after")


@click.command("trace", epilog=EPILOG)
@click.option("--verify", is_flag=True, help="Check the chain only: ends with 1 at the first fault.")
@click.option("--follow", is_flag=True, help="Show more as it comes; with --json a line each.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="The newest so many lines; else all of them."
)
@reads
def command(place: Place, verify: bool, follow: bool, limit: int | None) -> None:
    """Every update that was ever said: when, by whom, what it was, which sections it wrote, and the digests that bind it.

    \b
    Examples:
        rspp manifest trace
        rspp manifest trace --limit 5 --json
        rspp manifest trace --verify
        rspp manifest trace --follow

    The trace stands beside the manifest, one JSON document a line. `digest` is the line's own, `after` that of the line before it:
    a line that was changed, left out or put in breaks the chain, and --verify says where.
    """
    if verify and (follow or limit is not None):
        raise click.UsageError("--verify reads the whole trace and shows no lines: say it alone.")
    manifest = opened(place)
    if verify:
        _verify(place, manifest)
        return
    seen = _show(place, manifest, limit, follow)
    try:
        while follow:
            time.sleep(EVERY_S)
            for line in islice(manifest.trace(), seen, None):
                _one(line, place.as_json)
                seen += 1
    except KeyboardInterrupt:
        return


def _verify(place: Place, manifest: Manifest) -> None:
    faults = [fault for fault in manifest.validate().faults if fault.file != manifest.path.name]
    lines = 0 if faults else sum(1 for _ in manifest.trace())
    if not lines and not faults:
        faults.append(_no_line(manifest.path.name))
    if place.as_json:
        emit_json({"ok": not faults, "faults": faults, "lines": lines})
    else:
        for fault in faults:
            click.echo(visible(str(fault)))
        if not faults:
            click.echo(f"{lines} {'line' if lines == 1 else 'lines'}, each bound to the one before")
    if faults:
        raise SystemExit(Status.PROBLEM)


def _no_line(name: str) -> Fault:
    """An empty chain has no broken link, and proves nothing."""
    return Fault(
        code="manifest_trace_missing",
        message="it has no line of a trace: nothing in it is proven",
        fix="Bring the trace back from a copy; where nothing was done yet, `rspp manifest init` begins it",
        file=name,
    )


def _show(place: Place, manifest: Manifest, limit: int | None, follow: bool) -> int:
    """The lines so far; how many there are."""
    lines = list(manifest.trace())
    shown = lines[-limit:] if limit is not None else lines
    if place.as_json and follow:
        for line in shown:
            _one(line, as_json=True)
    elif place.as_json:
        emit_json({"lines": shown, "count": len(lines)})
    else:
        print_table(COLUMNS, [_row(line) for line in shown], numbers=("line",))
    return len(lines)


def _one(line: Line, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(line, order="sorted"))
    else:
        click.echo(visible("  ".join(_row(line))))


def _row(line: Line) -> tuple[str, ...]:
    wrote = " ".join(line.wrote)
    # As the next line has it.
    digest = sha256(msgspec.json.encode(line)).hexdigest()
    return (
        str(line.n),
        str(line.at),
        line.by,
        line.what,
        _about(line),
        wrote,
        digest[:DIGITS],
        line.prev[:DIGITS],
    )


def _about(line: Line) -> str:
    """What tells one update of its kind from another."""
    says = line.says
    for key in ("session", "goal", "role", "key", "output", "requirement"):
        if says.get(key):
            status = f" {says['status']}" if says.get("status") else ""
            return f"{says[key]}{status}"
    return str(says.get("status", ""))
