"""`rspp control pipelines`."""

from __future__ import annotations

from shlex import quote
from typing import Any

import click

from rspp.cli.control.noun import noun, show_fields


def _published(answer: Any) -> None:
    """What was published, and what the checker found to say about it."""
    one = answer["published"]
    click.echo(f"{one['pipeline']}@{one['version']} is published, sha256 {one['sha256']}")
    for warning in answer["warnings"]:
        click.echo(warning)
    which = f"{quote(one['pipeline'])} --version {quote(one['version'])}"
    click.echo(
        f"next: rspp control rollout begin {which} --reason ...    where nothing of it is served yet, else"
    )
    click.echo(f"      rspp control rollout canary {which} --percent 10 --reason ...")


def _text(answer: Any) -> None:
    show_fields(answer["published"])
    click.echo()
    click.echo(answer["text"], nl=not answer["text"].endswith("\n"))


command = noun(
    "pipelines",
    "Versions of pipelines: published once, checked before, never changed after.",
    columns={"versions": ("version", "author", "created_at_ms", "sha256", "release")},
    shows={"publish": _published, "show": _text},
)
