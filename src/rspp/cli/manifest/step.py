"""`rspp manifest step begin`: the next step, by the signal or by the last result's token."""

from __future__ import annotations

import click

from rspp.cli.manifest.answers import answered
from rspp.cli.manifest.place import EPILOG, Place, opened, step_seen, writes
from rspp.manifest.updates import StepBegun


@click.group("step", epilog=EPILOG)
def command() -> None:
    """The step that runs. One at a time.

    \b
    Example:
        rspp manifest step begin --goal "The greeting is polite"
    """


@command.command("begin", epilog=EPILOG)
@click.option("--goal", required=True, metavar="SENTENCE", help="What holds when the step has passed.")
@click.option("--signal", default="", metavar="WORD", help="The go-ahead: go, or the word of USER_SIGNAL.")
@click.option("--token", default="", metavar="T", help="RESUME_TOKEN of the last result, in its place.")
@click.option("--active-folder", "folder", default="", metavar="NAME", help="The folder that is worked in.")
@click.option("--active-file", "active", default="", metavar="NAME", help="The file, likewise.")
@click.option("--id", "step", default="", metavar="ID", help="What the step is called; else the next number.")
@writes
def begin(place: Place, goal: str, signal: str, token: str, folder: str, active: str, step: str) -> None:
    """Begin the next step. The ledgers of the one before are emptied; its trace stays.

    \b
    Examples:
        rspp manifest step begin --goal "The greeting is polite"
        rspp manifest step begin --goal "The greeting knows the hour" --signal go
        rspp manifest step begin --goal "The greeting knows the hour" --token TOKEN --id step-2

    The first step of a session needs neither signal nor token. Every other one needs the signal, or the token of the last
    result, which is good once; without both, a signal that an operator gave in the console is looked for. After FAIL and
    STOP_GAP every requirement must have been met first: see `rspp manifest resume`.
    """
    if signal and token:
        raise click.UsageError("The signal or the token: say one of them.")
    manifest = opened(place)
    update = StepBegun(goal=goal, signal=signal, token=token, folder=folder, file=active, step=step)
    document = manifest.say(update, step=step_seen(manifest))
    answered(place, manifest, f"step {document.CURRENT_STEP.STEP_ID} runs: {goal}")
