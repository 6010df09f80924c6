"""`rspp manifest`: where a run of work stands, and the proof of what was really executed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from rspp.cli.main import Entry, LazyGroup

EPILOG: Final = (
    "Exit status: 0 done; 1 it was refused, or a problem was found; 2 the command was used wrongly."
)
ROOM: Final = "rspp.cli.manifest"

COMMANDS: Final[Mapping[str, Entry]] = {
    "init": Entry(f"{ROOM}.init:command", "Begin a session of work: the blank manifest."),
    "show": Entry(f"{ROOM}.show:command", "Where it stands, what is missing for PASS, what to do next."),
    "validate": Entry(f"{ROOM}.validate:command", "Check the file, its trace and its proofs."),
    "step": Entry(f"{ROOM}.step:command", "Begin the next step."),
    "route": Entry(f"{ROOM}.route:command", "Say what the step must do, and what it must not touch."),
    "role": Entry(f"{ROOM}.ledgers:role", "Say what became of a role."),
    "engine": Entry(f"{ROOM}.engine:command", "Say what became of an engine; run it and keep the proof."),
    "check": Entry(f"{ROOM}.check:command", "Run a validator, and keep its verdict for the report."),
    "report": Entry(f"{ROOM}.report:command", "Write VAL_REPORT from the checks that were run."),
    "output": Entry(f"{ROOM}.ledgers:output", "Say which file an output is."),
    "result": Entry(f"{ROOM}.result:command", "End the step: pass, fail or stop-gap."),
    "resume": Entry(f"{ROOM}.resume:command", "What it takes to go on; meet a requirement; mend."),
    "trace": Entry(f"{ROOM}.trace:command", "Every update: when, who, what; check the chain."),
}


@click.group(cls=LazyGroup, entries=COMMANDS, epilog=EPILOG)
def command() -> None:
    """Where a run of work stands, and the proof of what was really executed.

    One file says which step runs, what it must do, what was done, and what it takes to go on. A step ends in PASS only with its
    proofs: every role, engine and validator that it requires has run, every output is there, and a report of validation says pass.

    \b
    A whole step:
        rspp manifest init --session greeting
        rspp manifest step begin --goal "The greeting is polite"
        rspp manifest route --engine KEY:ENG.BUILD --validator KEY:VAL.WORDS --output GREETING
        rspp manifest engine KEY:ENG.BUILD --run -- sh -c "echo Good morning > greeting.txt"
        rspp manifest output GREETING --ref greeting.txt
        rspp manifest check KEY:VAL.WORDS -- grep -q Good greeting.txt
        rspp manifest report
        rspp manifest result pass --next-goal "The greeting knows the hour"
        rspp manifest show
    """
