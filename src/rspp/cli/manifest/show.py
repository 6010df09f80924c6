"""`rspp manifest show`: where the work stands, on one page."""

from __future__ import annotations

import click

from rspp.cli.manifest.answers import standing
from rspp.cli.manifest.page import page
from rspp.cli.manifest.place import EPILOG, Place, opened, reads
from rspp.cli.output import emit_json


@click.command("show", epilog=EPILOG)
@reads
def command(place: Place) -> None:
    """Where it stands: the step, its ledgers, what is missing for PASS, and the command that is due next.

    \b
    Examples:
        rspp manifest show
        rspp manifest show --file work/RUNTIME_MANIFEST.yaml
        rspp manifest show --json

    With --json: `document` (the file), `state` (blank, running, waiting, stopped, failed, done), `missing` (while a step runs,
    what PASS lacks: code, what, fix), `next` (the commands that are due) and `sound`: false where `rspp manifest validate` finds
    something wrong, so that what is shown is not to be believed.
    """
    manifest = opened(place)
    found = manifest.validate()
    told = standing(place, manifest, found)
    if place.as_json:
        emit_json({**told, "sound": found.ok})
        return
    page(told["document"], told["state"], told["missing"], told["next"])
    if not found.ok:
        click.echo(
            "\nnot to be believed: the file, its trace and its proofs do not agree; `rspp manifest validate` says where",
            err=True,
        )
