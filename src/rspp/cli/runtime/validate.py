"""`rspp runtime state-journal-validate`: the whole journal is read again, and each fault named by record and field."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

from rspp.cli.output import Status, emit_json, print_table
from rspp.cli.runtime.looking import command_of, on_store, place_of, store_options

COLUMNS: Final = ("sequence", "field", "code", "message", "place")
WORDS: Final = """Read the whole journal again: schema, sequence, uniqueness, bounds, secrets, and what the surfaces declare.

\b
Examples:
    rspp runtime state-journal-validate
    rspp runtime state-journal-validate --store nats://127.0.0.1:4222 --json

It is a problem if any record, or any page, is not as it must be.
"""


def run(as_json: bool, **given: Any) -> None:
    found = on_store(place_of(given).store, lambda journal: journal.validate())
    if as_json:
        emit_json({**msgspec.to_builtins(found), "sound": found.sound})
    else:
        said = "sound" if found.sound else f"{found.problems_count} problems"
        click.echo(f"{found.records} records, whole from {found.oldest} to {found.last}: {said}")
        if found.problems:
            rows = [
                [one.sequence or "", one.field, one.code, one.message, one.place] for one in found.problems
            ]
            print_table(COLUMNS, rows, numbers=("sequence",))
    if not found.sound:
        raise SystemExit(Status.PROBLEM)


command: Final = command_of("state-journal-validate", run, WORDS, store_options())
