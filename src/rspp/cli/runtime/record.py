"""`rspp runtime state-journal-record`: say that a surface has changed, where its owner could not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from secrets import token_hex
from typing import Any, Final

import click
import msgspec

from rspp.cli.output import emit_json
from rspp.cli.runtime.looking import command_of, on_store, place_of, store_options
from rspp.ops.changes import Change
from rspp.ops.journal.journal import Journal
from rspp.ops.journal.record import SEVERITIES
from rspp.timeline.access import os_user

WORDS: Final = """Record that a surface has changed: its readers ask it anew. It changes nothing but the journal.

\b
Examples:
    rspp runtime state-journal-record --surface runtime_work_session --change-type heartbeat
    rspp runtime state-journal-record --surface workers --change-type repaired --aggregate-id w-1 --metadata ticket=OPS-12
    rspp runtime state-journal-record --surface policies --change-type imported --event-id import-2026-11-21 --json

The same event id again is the same record. Metadata is cut to its bounds and loses its secrets before it is written.
"""


def run(
    surface: str,
    change_type: str,
    aggregate_id: str,
    severity: str,
    metadata: Sequence[str],
    event_id: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    place = place_of(given)
    change = Change(
        event_id=event_id or token_hex(16),
        surface=surface,
        change_type=change_type,
        aggregate_id=aggregate_id,
        source=os_user(),
        occurred_wall_ms=time.time_ns() // 1_000_000,
        severity=severity,
        metadata=dict(map(_pair, metadata)),
        **given,
    )

    async def work(journal: Journal) -> Any:
        (record,) = await journal.append([change])
        return msgspec.to_builtins(record)

    record = on_store(place.store, work)
    if as_json:
        emit_json(record)
    else:
        click.echo(
            f"{record['sequence']}: {record['surface']} {record['change_type']}, event {record['event_id']}"
        )


def _pair(text: str) -> tuple[str, Any]:
    """`attempt=3` is a number, `done=true` a switch, anything else a text."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.UsageError("--metadata is NAME=VALUE; give it once for each.")
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return name, value
    return name, found if isinstance(found, bool | int | float) else value


command: Final = command_of(
    "state-journal-record",
    run,
    WORDS,
    [
        click.Option(
            ["--surface"], required=True, help="Which one has changed; `state-surfaces` lists them."
        ),
        click.Option(["--change-type"], required=True, help="A word: created, changed, heartbeat, ..."),
        click.Option(["--aggregate-id"], default="", help="Which of its things has changed."),
        click.Option(["--severity"], type=click.Choice(SEVERITIES), default="info", show_default=True),
        click.Option(
            ["--metadata"], multiple=True, metavar="NAME=VALUE", help="What else is to be known of it."
        ),
        click.Option(["--event-id"], help="Makes it one record, however often it is said; else drawn."),
        click.Option(["--correlation-id"], help="What it belongs to."),
        click.Option(["--causation-id"], help="The event that caused it."),
        click.Option(["--artifact-ref"], help="Where more about it lies."),
        *store_options(),
    ],
)
