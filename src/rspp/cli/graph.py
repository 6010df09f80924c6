"""`rspp graph`: what a spec compiles to, as a tree, as Mermaid or as a drawing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from rspp.cli.output import Status, write_text
from rspp.cli.problems import show, text_of
from rspp.cli.validate import read_layers
from rspp.spec import load
from rspp.spec.render import mermaid, text
from rspp.spec.svg import svg

FORMATS: Final = {"text": text, "mermaid": mermaid, "svg": svg}


@click.command(epilog="Exit status: 0 drawn, 1 the spec has errors, 2 the command was used wrongly.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="text", show_default=True)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write here instead of printing."
)
@click.option(
    "--layer", "layers", multiple=True, metavar="NAME=FILE", help="Lay env, tenant or session over it."
)
@click.pass_context
def command(context: click.Context, file: Path, form: str, out: Path | None, layers: tuple[str, ...]) -> None:
    """Show what a spec compiles to: modules and fan-out written out, every queue decided.

    \b
    Examples:
        rspp graph pipeline.yaml
        rspp graph pipeline.yaml --format svg --out pipeline.svg
    """
    loaded = load(text_of(file), file=str(file), layers=read_layers(layers))
    if loaded.graph is None:
        show(loaded.problems)
        context.exit(Status.PROBLEM)
    drawing = FORMATS[form](loaded.graph)
    if out is None:
        click.echo(drawing, nl=False)
    else:
        write_text(out, drawing)
        click.echo(f"{out} written")
