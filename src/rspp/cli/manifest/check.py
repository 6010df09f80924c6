"""`rspp manifest check`: a validator is run, and its verdict is kept for the step's report of validation."""

from __future__ import annotations

import click

from rspp.cli.manifest.answers import answered
from rspp.cli.manifest.place import EPILOG, Place, opened, writes
from rspp.cli.manifest.running import command_argument, limit_option, run_under
from rspp.cli.output import Status


@click.command("check", epilog=EPILOG)
@click.argument("key")
@click.option("--note", default="", metavar="SENTENCE", help="What is to be known of it.")
@limit_option
@command_argument
@writes
def command(place: Place, key: str, note: str, limit_s: float | None, command: tuple[str, ...]) -> None:
    """Run a validator's command. Exit status 0 is its pass, everything else its fail.

    \b
    Examples:
        rspp manifest check KEY:VAL.LINT -- rspp lint pipeline.yaml
        rspp manifest check KEY:VAL.TESTS --limit 600 -- pytest -q tests
        rspp manifest check KEY:VAL.WORDS -- grep -q Good greeting.txt

    What it wrote and how it ended are kept as with `rspp manifest engine --run`. `rspp manifest report` then writes the step's
    VAL_REPORT from the checks that were really run; a verdict cannot be typed. Run again, the newer verdict holds.
    """
    if not command:
        raise click.UsageError("Say what is run: rspp manifest check KEY -- COMMAND.")
    manifest = opened(place)
    done = run_under(manifest, key, command, limit_s=limit_s, validator=True, note=note)
    verdict = "pass" if done.ran.good else "fail"
    answered(place, manifest, f"check {key}: {verdict}, {done.ran.sentence()}", run=done, verdict=verdict)
    if not done.ran.good:
        raise SystemExit(Status.PROBLEM)
