"""`rspp manifest engine`: what became of an engine; with --run it is run here, and what it wrote is the proof."""

from __future__ import annotations

from pathlib import Path

import click

from rspp.cli.manifest.answers import answered
from rspp.cli.manifest.ledgers import FILE, one_status, refs_of, status_options
from rspp.cli.manifest.place import EPILOG, Place, opened, step_seen, writes
from rspp.cli.manifest.running import command_argument, limit_option, run_under
from rspp.cli.output import Status
from rspp.manifest.document import Ran
from rspp.manifest.updates import EngineTold


@click.command("engine", epilog=EPILOG)
@click.argument("key")
@status_options
@click.option("--run", "run", is_flag=True, help="Run the command behind --, and record how it ended.")
@click.option("--output", "outputs", type=FILE, multiple=True, help="A file it made; once for each.")
@click.option("--note", default="", metavar="SENTENCE", help="What is to be known of it.")
@limit_option
@command_argument
@writes
def command(
    place: Place,
    key: str,
    ran: bool,
    skipped: bool,
    failed: bool,
    run: bool,
    outputs: tuple[Path, ...],
    note: str,
    limit_s: float | None,
    command: tuple[str, ...],
) -> None:
    """Say what became of an engine in the step that runs; or run it here, so that nobody has to say it.

    \b
    Examples:
        rspp manifest engine KEY:ENG.TESTS --run -- pytest -q
        rspp manifest engine KEY:ENG.BUILD --run --output dist/app.tar -- make dist
        rspp manifest engine KEY:ENG.LISTEN --ran --output notes.md --note "three people have listened"
        rspp manifest engine KEY:ENG.LOAD --skipped --note "no machine for it today"

    With --run the exit status decides: 0 is `ran`, everything else is `failed`, and this command ends with 1. What the command
    wrote is shown and kept in proof/SESSION/STEP/ beside the manifest, with its SHA-256 in the ledger. It runs unattended: it
    can ask nothing, whatever it leaves running is ended with it, and nobody else writes to the manifest meanwhile.
    """
    if not run:
        if command:
            raise click.UsageError("A command stands behind --run only: say --run -- COMMAND.")
        if limit_s is not None:
            raise click.UsageError("--limit is for --run: there is nothing to wait for.")
        _told(place, key, one_status(ran, skipped, failed), outputs, note)
        return
    if ran or skipped or failed:
        raise click.UsageError(
            "With --run the exit status says what became of it: leave --ran and its kin out."
        )
    if not command:
        raise click.UsageError("Say what is run: --run -- COMMAND.")
    manifest = opened(place)
    done = run_under(manifest, key, command, limit_s=limit_s, validator=False, files=outputs, note=note)
    answered(place, manifest, f"engine {key}: {done.ran.sentence()}", run=done)
    if not done.ran.good:
        raise SystemExit(Status.PROBLEM)


def _told(place: Place, key: str, status: Ran, files: tuple[Path, ...], note: str) -> None:
    manifest = opened(place)
    step = step_seen(manifest)
    outputs = refs_of(manifest, files)
    manifest.say(EngineTold(key=key, status=status, outputs=outputs, notes=note), step=step)
    answered(place, manifest, f"engine {key}: {status.value}")
