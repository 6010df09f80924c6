"""`rspp lint`: every fault of every file, each with its line, its field and its remedy."""

from __future__ import annotations

from pathlib import Path

import click

from rspp.cli.output import emit_json
from rspp.cli.problems import show, status, summary, text_of
from rspp.host.discovery import discover
from rspp.spec import Layer, Problem, check_layer, load


@click.command(
    epilog="Exit status: 0 nothing found, 1 errors (with --strict: or warnings), 2 the command was used wrongly."
)
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--strict", is_flag=True, help="Warnings fail too.")
@click.option(
    "--layer", "as_layers", is_flag=True, help="The files are layers of policies, not whole pipelines."
)
@click.option("--json", "as_json", is_flag=True, help="Print the problems as one JSON document.")
@click.pass_context
def command(
    context: click.Context, files: tuple[Path, ...], strict: bool, as_layers: bool, as_json: bool
) -> None:
    """Check pipeline specs, all faults at once.

    Each fault is a line `file:line:column: severity[code] field: what is wrong. What to do.`

    \b
    A whole pipeline can be this short:
        pipeline: front-desk
        version: v1
        template: voice
        providers: {stt: stt-deepgram, llm: llm-anthropic, tts: tts-elevenlabs}

    \b
    Examples:
        rspp lint pipeline.yaml
        rspp lint --strict examples/*.yaml
        rspp lint --layer tenants/acme.yaml
    """
    problems = [problem for path in files for problem in problems_of(path, as_layer=as_layers)]
    if as_json:
        emit_json({"files": [str(path) for path in files], "strict": strict, "problems": problems})
    else:
        show(problems)
        click.echo(summary(problems, len(files)))
    context.exit(status(problems, strict=strict))


def problems_of(path: Path, *, as_layer: bool = False) -> tuple[Problem, ...]:
    """What is wrong with one file."""
    if as_layer:
        return check_layer(Layer("tenant", text_of(path), str(path)))
    text = text_of(path)
    found = discover(text, file=str(path), search_path=[path.resolve().parent])
    return found.elsewhere().added_to(load(text, file=str(path), catalog=found.catalog).problems)
