"""`rspp manifest role` and `rspp manifest output`: what a person says was done, each with the files that show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rspp.cli.manifest.answers import answered
from rspp.cli.manifest.place import EPILOG, Place, opened, step_seen, writes
from rspp.manifest.document import Ran
from rspp.manifest.manifest import Manifest
from rspp.manifest.updates import OutputTold, RoleTold

FILE = click.Path(path_type=Path)


def status_options(run: Any) -> Any:
    """--ran, --skipped, --failed; exactly one is meant, see `one_status`."""
    words = {Ran.RAN: "It was done.", Ran.SKIPPED: "It was left out.", Ran.FAILED: "It did not work."}
    for status in reversed(Ran):
        run = click.option(f"--{status.value}", is_flag=True, help=words[status])(run)
    return run


def one_status(ran: bool, skipped: bool, failed: bool) -> Ran:
    said = [
        status
        for status, given in zip((Ran.RAN, Ran.SKIPPED, Ran.FAILED), (ran, skipped, failed), strict=True)
        if given
    ]
    if len(said) != 1:
        raise click.UsageError("Say what became of it: one of --ran, --skipped, --failed.")
    return said[0]


def refs_of(manifest: Manifest, files: tuple[Path, ...]) -> tuple[str, ...]:
    """Files as they are named here, as the manifest refers to them: with their digest."""
    return tuple(manifest.ref(Path.cwd() / one) for one in files)


@click.command("role", epilog=EPILOG)
@click.argument("name")
@status_options
@click.option("--output", "outputs", type=FILE, multiple=True, help="A file it made; once for each.")
@click.option("--note", default="", metavar="SENTENCE", help="What is to be known of it.")
@writes
def role(
    place: Place, name: str, ran: bool, skipped: bool, failed: bool, outputs: tuple[Path, ...], note: str
) -> None:
    """Say what became of a role in the step that runs.

    \b
    Examples:
        rspp manifest role SPC --ran --output brief.md
        rspp manifest role QA --skipped --note "nothing that a listener could hear has changed"
        rspp manifest role VAL --failed --note "the report names three faults"

    A file is recorded with its SHA-256. Said again, the newer word holds; the trace keeps both.
    """
    status = one_status(ran, skipped, failed)
    manifest = opened(place)
    step = step_seen(manifest)
    refs = refs_of(manifest, outputs)
    manifest.say(RoleTold(role=name, status=status, outputs=refs, notes=note), step=step)
    answered(place, manifest, f"role {name}: {status.value}")


@click.command("output", epilog=EPILOG)
@click.argument("name")
@click.option("--ref", type=FILE, help="Its file. Without one it is expected, and not there yet.")
@click.option("--source", default="", metavar="ROLE", help="Who made it.")
@writes
def output(place: Place, name: str, ref: Path | None, source: str) -> None:
    """Say which file an output of the step is; its SHA-256 is recorded, and has to be the same when the step passes.

    \b
    Examples:
        rspp manifest output PACK_OUTPUT --ref dist/pack.tar --source PACK
        rspp manifest output BRIEF_TOKEN --source SPC
        rspp manifest output VAL_REPORT --ref report.json --source VAL

    Files lie below the manifest's folder, or below the project's that --root names. A VAL_REPORT that another tool wrote is
    JSON: {"schema": "rspp-val-report-v1", "session": ..., "step": ..., "verdict": "pass", "checks": [{"key": ..., "verdict":
    "pass"}]}. `rspp manifest report` writes one from the checks that it has run itself.
    """
    manifest = opened(place)
    step = step_seen(manifest)
    told = manifest.ref(Path.cwd() / ref) if ref is not None else ""
    manifest.say(OutputTold(output=name, ref=told, source=source), step=step)
    answered(place, manifest, f"output {name}: {told or 'expected, not there yet'}")
