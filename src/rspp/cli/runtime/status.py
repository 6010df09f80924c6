"""`rspp runtime state-journal-status`: how far the journal is, how large, and how others hear of each surface's changes."""

from __future__ import annotations

from typing import Any, Final

import click

from rspp.cli.output import Status, emit_json, print_table
from rspp.cli.runtime.looking import command_of, looking_options, on_server, on_store, place_of
from rspp.ops.journal.journal import Journal

COLUMNS: Final = ("surface", "records", "last", "declared", "coverage", "watched", "uncovered", "why")
NUMBERS: Final = ("records", "last", "watched", "uncovered")
QUERY: Final = """{ journalStatus { writable problem records oldest last bytes
  surfaces { surface declared coverage records lastSequence watched uncovered why } } }"""
UNKNOWN: Final = "a server that has been looking knows; ask it with --server"
WORDS: Final = """How far the journal is, how large, and how others hear of each surface's changes.

\b
Examples:
    rspp runtime state-journal-status
    rspp runtime state-journal-status --server http://127.0.0.1:8700 --json

Of a store it tells what the journal holds. A server tells as well what its watch saw and the journal was not told: `uncovered`.
It is a problem if the journal cannot be written, or a change was not told to it.
"""


def run(as_json: bool, **given: Any) -> None:
    place = place_of(given)
    said = (
        on_server(place.whom, QUERY)["journal_status"]
        if place.is_server
        else on_store(place.store, _of_store)
    )
    if as_json:
        emit_json(said)
    else:
        _show(said)
    if said["writable"] is False or any(one["uncovered"] for one in said["surfaces"]):
        raise SystemExit(Status.PROBLEM)


async def _of_store(journal: Journal) -> dict[str, Any]:
    status = await journal.status()
    return {
        "writable": None,  # looking writes nothing
        "problem": "",
        "records": status.records,
        "oldest": status.oldest,
        "last": status.last,
        "bytes": status.bytes,
        "pages": status.pages,
        "kept": status.kept,
        "forgotten": status.forgotten,
        "surfaces": [
            {
                "surface": one.surface,
                "declared": _declared(journal, one.surface),
                "coverage": None,
                "records": one.records,
                "last_sequence": one.last_sequence,
                "watched": None,
                "uncovered": None,
                "why": UNKNOWN,
            }
            for one in status.surfaces
        ],
    }


def _declared(journal: Journal, name: str) -> str:
    surface = journal.surfaces.get(name)
    return "" if surface is None else surface.coverage.value


def _show(said: dict[str, Any]) -> None:
    click.echo(
        f"{said['records']} records in {said['bytes']} bytes; nothing is missing from {said['oldest']} to {said['last']}"
    )
    if said.get("kept"):
        click.echo(
            f"{said['kept']} older ones are kept, the newest of their aggregates; {said['forgotten']} had no room"
        )
    if said["writable"] is False:
        click.echo(f"it cannot be written: {said['problem']}")
    print_table(
        COLUMNS,
        [
            [one[name] for name in ("surface", "records", "last_sequence", *COLUMNS[3:7])]
            + ["" if one["why"] == UNKNOWN else one["why"]]
            for one in said["surfaces"]
        ],
        numbers=NUMBERS,
    )
    if any(one["why"] == UNKNOWN for one in said["surfaces"]):
        click.echo(f"what was watched and what was not told: {UNKNOWN}")


command: Final = command_of("state-journal-status", run, WORDS, looking_options())
