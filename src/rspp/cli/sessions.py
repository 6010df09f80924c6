"""`rspp sessions`: the recorded sessions, newest first."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any, Final

import click

from rspp.cli.output import Status, emit_json, print_table
from rspp.cli.recordings import Where, in_library, is_data_folder, where_options
from rspp.contract.words import RecordingLevel
from rspp.timeline.catalogue import Catalogued
from rspp.timeline.library import Filter, Found, Library, Page

SPAN: Final = re.compile(r"(\d+)([smhd])")
MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
SHOWN: Final = 50
NOTHING: Final = "no sessions are recorded in {}. Every call of `rspp run`, `rspp dev` and `rspp demo` is; for example: rspp demo"
COLUMNS: Final = (
    "session",
    "tenant",
    "pipeline",
    "began",
    "length",
    "turns",
    "ended",
    "level",
    "kB",
    "state",
)


class Since(click.ParamType[int]):
    """A span back from now (90s, 15m, 2h, 7d) or a date: as milliseconds of wall time."""

    name = "span|date"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value)
        span = SPAN.fullmatch(text)
        if span is not None:
            return time.time_ns() // 1_000_000 - int(span[1]) * MS[span[2]]
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is neither a span like 15m, 2h or 7d nor a date like 2026-05-31", param, ctx)
        return int((when if when.tzinfo else when.astimezone()).timestamp() * 1_000)


@click.command(epilog="Exit status: 0 listed, 1 the store cannot be read, 2 the command was used wrongly.")
@where_options
@click.option("--pipeline", help="Only of this pipeline.")
@click.option("--since", type=Since(), help="Only begun since then: 15m, 2h, 7d, or a date.")
@click.option("--level", type=click.Choice([*RecordingLevel]), help="Only recorded from this level on.")
@click.option("--running/--ended", default=None, help="Only those that go on, or that are over.")
@click.option(
    "--count", type=click.IntRange(1, 1_000), default=SHOWN, show_default=True, help="At most so many."
)
@click.option("--skip", type=click.IntRange(0), default=0, help="Without the first so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    context: click.Context,
    where: Where,
    pipeline: str | None,
    since: int | None,
    level: str | None,
    running: bool | None,
    count: int,
    skip: int,
    as_json: bool,
) -> None:
    """List recorded sessions, newest first: of the store, and those that run or are not exported yet.

    What `began` with can be given to every other command, or enough of its beginning, or `last` for the newest.

    \b
    Examples:
        rspp sessions --since 2h
        rspp sessions --tenant acme --json
        rspp timeline last
    """
    wanted = Filter(
        tenant=where.tenant,
        pipeline=pipeline,
        since_wall_ms=since,
        level=RecordingLevel(level) if level else None,
        running=running,
    )

    async def listed(library: Library) -> Page:
        return await library.sessions(wanted, count=count, skip=skip)

    page = in_library(where, listed) if is_data_folder(where.data) else Page(sessions=[], total=0)
    if as_json:
        emit_json({"total": page.total, "sessions": [facts(one) for one in page.sessions]})
    elif page.sessions:
        _show(page, skip)
    elif wanted != Filter() and is_data_folder(where.data):
        click.echo(f"no session in {where.data} is like that; rspp sessions, without options, lists all")
    else:
        click.echo(NOTHING.format(where.data))
    context.exit(Status.OK)


def facts(found: Found) -> dict[str, Any]:
    """One session, for programs."""
    entry = found.entry
    return {
        "session": entry.name,
        "session_id": entry.session_id,
        "tenant": entry.tenant_id,
        "run": entry.run,
        "pipeline": entry.pipeline,
        "version": entry.version,
        "origin": entry.origin,
        "sampled": entry.sampled,
        "policy_id": entry.policy_id,
        "level": entry.level,
        "levels": level_path(entry),
        "opened_wall_ms": entry.opened_wall_ms,
        "ended_wall_ms": entry.ended_wall_ms,
        "end_reason": entry.end_reason,
        "turns": entry.turns,
        "gaps": entry.gaps,
        "bytes": size(found),
        "parts": len(entry.parts),
        "parts_local": len(found.local),
        "damaged": entry.damaged,
        "given_up": entry.given_up,
        "dropped": entry.dropped,
        **entry.markers,
    }


def level_path(entry: Catalogued) -> list[str]:
    return [entry.level.value, *(change.level.value for change in entry.levels)]


def size(found: Found) -> int:
    return found.entry.size + sum(segment.size for segment in found.local)


def _show(page: Page, skip: int) -> None:
    print_table(COLUMNS, [_row(found) for found in page.sessions], numbers=("length", "turns", "kB"))
    left = page.total - skip - len(page.sessions)
    if left > 0:
        click.echo(f"{left} more: --skip {skip + len(page.sessions)}")


def _row(found: Found) -> list[object]:
    entry = found.entry
    began = datetime.fromtimestamp(entry.opened_wall_ms / 1_000, UTC).astimezone()
    length = None if entry.ended_wall_ms is None else (entry.ended_wall_ms - entry.opened_wall_ms) / 1_000
    return [
        entry.name,
        entry.tenant_id,
        f"{entry.pipeline}@{entry.version}",
        began.strftime("%Y-%m-%d %H:%M:%S"),
        "" if length is None else f"{length:.1f} s",
        entry.turns,
        entry.end_reason or "",
        " > ".join(level_path(entry)),
        f"{size(found) / 1_000:.0f}",
        _state(found),
    ]


def _state(found: Found) -> str:
    entry = found.entry
    said = []
    if entry.running:
        said.append("runs, or was cut off")
    elif found.local or not entry.complete:
        said.append("not all exported")
    said += [f"without {name}" for name in sorted(entry.dropped)]
    if entry.gaps or entry.damaged or entry.given_up:
        said.append("has gaps")
    return ", ".join(said) or "complete"
