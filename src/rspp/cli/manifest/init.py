"""`rspp manifest init`: a session of work begins with the blank manifest."""

from __future__ import annotations

import click

from rspp.cli.manifest.answers import answered
from rspp.cli.manifest.place import EPILOG, Place, teller_of, writes
from rspp.cli.output import visible
from rspp.manifest.document import Owner
from rspp.manifest.manifest import Manifest


@click.command("init", epilog=EPILOG)
@click.option("--session", required=True, metavar="NAME", help="What the session is called; no spaces.")
@click.option(
    "--owner",
    type=click.Choice([one.value for one in Owner]),
    default=Owner.USER.value,
    show_default=True,
    help="Whose work it is.",
)
@click.option("--mode", default="REPO", show_default=True, help="What is worked on.")
@writes
def command(place: Place, session: str, owner: str, mode: str) -> None:
    """Begin a session of work: write the blank manifest, and the first line of its trace beside it.

    \b
    Examples:
        rspp manifest init --session greeting
        rspp manifest init --session release-12 --owner TEAM --file work/RUNTIME_MANIFEST.yaml
        rspp manifest init --session notes --file NOTES.md

    A manifest that is there is never written over. A name that ends with .md makes a Markdown file that holds the same YAML.
    """
    place.file.parent.mkdir(parents=True, exist_ok=True)
    manifest = Manifest.create(
        place.file,
        session,
        root=place.root,
        owner=Owner(owner),
        mode=mode,
        tells=teller_of(place),
        lock_wait_s=place.wait_s,
    )
    answered(place, manifest, f"session {visible(session)} begins in {place.file}")
