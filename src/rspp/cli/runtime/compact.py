"""`rspp runtime state-journal-compact`: forget what the journal need not keep, now."""

from __future__ import annotations

from typing import Any, Final

import click

from rspp.cli.output import emit_json
from rspp.cli.runtime.looking import command_of, on_store, place_of, store_options

WORDS: Final = """Forget what the journal need not keep. Numbers stay as they are; it may be stopped at any time, and others may write.

\b
Examples:
    rspp runtime state-journal-compact
    rspp runtime state-journal-compact --data .rspp --json

Whoever writes the journal does this by itself when it is due. What is kept: all of a window, and before it the newest record of
each thing that a surface holds, up to a bound.
"""


def run(as_json: bool, **given: Any) -> None:
    done = on_store(place_of(given).store, lambda journal: journal.compact())
    if as_json:
        emit_json(done)
        return
    click.echo(
        f"{done.records_removed} records on {done.pages_removed} pages forgotten; "
        f"nothing is missing after {done.compacted_through}; {done.records_kept} older ones are kept"
    )


command: Final = command_of("state-journal-compact", run, WORDS, store_options())
