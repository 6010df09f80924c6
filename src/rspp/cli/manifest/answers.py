"""What a verb answers after it: one sentence and the next command for a person, the whole state for a program."""

from __future__ import annotations

from typing import Any

import click

from rspp.cli.manifest.advice import next_commands
from rspp.cli.manifest.place import Place
from rspp.cli.output import emit_json, visible
from rspp.manifest.checking import Validated
from rspp.manifest.manifest import Manifest
from rspp.manifest.refused import Missing
from rspp.manifest.rules import state_of


def standing(place: Place, manifest: Manifest, found: Validated | None = None) -> dict[str, Any]:
    """What every `--json` of a verb holds. `found`: what was found wrong, where that was looked for already."""
    document = manifest.document
    state = state_of(document)
    missing: tuple[Missing, ...] = ()
    if state == "running":
        missing = found.missing if found is not None else manifest.missing()
    return {
        "document": document,
        "state": state,
        "missing": missing,
        "next": next_commands(document, state, place, missing),
    }


def answered(place: Place, manifest: Manifest, sentence: str, **more: Any) -> None:
    """The sentence, and what is due next."""
    told = standing(place, manifest)
    if place.as_json:
        emit_json({**told, **more})
        return
    click.echo(visible(sentence))
    if told["next"]:
        click.echo(visible(f"next: {told['next'][0]}"))
