"""`rspp release`: a pipeline released step by step under a manifest; stopped or killed anywhere, it goes on from there.

settings     what a release is to do, fixed when it begins
steps        its steps, in order, and what each must leave behind
progress     how far it has come, read from the trace (pure)
gaps         why it may stand still, and what lets it go on
driving      one step: begin or take up, engine, validator, result
going        step after step; waiting, giving up
resuming     what was lacking has been met

checks       lint, compile, replay, gates
consent      approval of others        publishing   once, on fresh proofs
rolling      canary, promote, back     rollouts     what is to be done with a rollout (pure)
observing    looking at sessions       watching     whether they fare well (pure)
changing     a change is asked for once, and found again
finishing    the last report           matching     ledgers against the audit log (pure)
plane        whom it asks              work         its manifest and its folder
"""

from __future__ import annotations

from typing import Final

import click

from rspp.cli.main import Entry, LazyGroup

ROOM: Final = "rspp.cli.release.commands"
EPILOG: Final = (
    "Exit status: 0 done, or stopped where it was asked to; 1 it stands still or was refused; 2 used wrongly."
)
COMMANDS: Final = {
    "run": Entry(f"{ROOM}:run", "Begin a release, and take it as far as it goes."),
    "resume": Entry(f"{ROOM}:resume", "Go on where it stands; what passed is not done again."),
    "status": Entry(f"{ROOM}:status", "Where it stands, what it lacks, what to do next."),
    "abort": Entry(f"{ROOM}:abort", "Give it up: lead new sessions back."),
}


@click.group(cls=LazyGroup, entries=COMMANDS, epilog=EPILOG)
def command() -> None:
    """Release a pipeline: lint, compile, replay, gates, approval, publish, canary, observe, promote.

    Each step stands in a manifest under DATA/releases/PIPELINE/VERSION, with the proof of what was really done.

    \b
    Example:
        export RSPP_CONTROL=https://control.example RSPP_TOKEN="$(cat token)"
        rspp release run front-desk.yaml --corpus corpus --recordings load --tenants acme
        rspp release status front-desk
        rspp release resume front-desk
    """


__all__ = ["command"]
