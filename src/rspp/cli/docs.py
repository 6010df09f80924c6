"""`rspp docs`: the reference pages, written from the code or compared with it."""

from __future__ import annotations

from pathlib import Path

import click

from rspp.cli.output import Status, write_text
from rspp.spec.reference import pages


@click.command(
    epilog="Exit status: 0 written or up to date, 1 stale with --check, 2 the command was used wrongly."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/reference"),
    show_default=True,
    help="Directory of the reference; the profile's page is written beside it.",
)
@click.option("--check", is_flag=True, help="Write nothing; fail if a page is not what the code says.")
@click.pass_context
def command(context: click.Context, out: Path, check: bool) -> None:
    """Write the reference (specs, policies, node types, events, signals, codes) and the page of profile simple/v1.

    \b
    Examples:
        rspp docs
        rspp docs --check
    """
    wanted = {place(out, name): text for name, text in pages().items()}
    stale = sorted(path for path, text in wanted.items() if not is_current(path, text))
    if check:
        for path in stale:
            click.echo(f"{path} is stale: run `rspp docs --out {out}`")
        if not stale:
            click.echo(f"{len(wanted)} pages are up to date")
        context.exit(Status.PROBLEM if stale else Status.OK)
    for path in stale:
        write_text(path, wanted[path])
    click.echo(f"{len(wanted)} pages, {len(stale)} written")


def place(out: Path, name: str) -> Path:
    """`reference/x` goes into the output directory, everything else beside it."""
    inside = name.removeprefix("reference/")
    return out / inside if inside != name else out.parent / name


def is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
