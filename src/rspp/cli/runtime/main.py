"""`rspp runtime`: what the runtime's state is, what changed in it, is it healthy, what can an operator do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from rspp.cli.main import Entry, LazyGroup

EPILOG: Final = "Exit status: 0 all is well, 1 a problem was found, 2 the command was used wrongly."
ROOM: Final = "rspp.cli.runtime"

COMMANDS: Final[Mapping[str, Entry]] = {
    "health": Entry(f"{ROOM}.health:command", "How everything is, and what causes it."),
    "actions": Entry(f"{ROOM}.actions:command", "What can be done now, with the exact call; do it."),
    "state-surfaces": Entry(
        f"{ROOM}.surfaces:command", "Every surface of state: whose, where, how it is read."
    ),
    "state-journal": Entry(f"{ROOM}.journal:command", "What has changed, in order; follow it."),
    "state-journal-status": Entry(
        f"{ROOM}.status:command", "How far the journal is, how large, and what is missing in it."
    ),
    "state-journal-record": Entry(f"{ROOM}.record:command", "Record that a surface has changed."),
    "state-journal-validate": Entry(f"{ROOM}.validate:command", "Read the whole journal again and check it."),
    "state-journal-compact": Entry(f"{ROOM}.compact:command", "Forget what the journal need not keep."),
}


@click.group(cls=LazyGroup, entries=COMMANDS, epilog=EPILOG)
def command() -> None:
    """What the runtime's state is, what changed in it, is it healthy, what can be done.

    \b
    On this machine, beside `rspp run --control`:
        rspp runtime state-surfaces
        rspp runtime state-journal --follow
        rspp runtime health
    """
