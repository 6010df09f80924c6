"""`rspp validate`: a spec together with its layers, and what every setting came to."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
import msgspec

from rspp.cli.output import emit_json, print_table
from rspp.cli.problems import show, status, summary, text_of
from rspp.spec import Layer, Loaded, Problem, load
from rspp.spec.normalise import LayerName

LAYER_NAMES: Final[dict[str, LayerName]] = {
    "env": "environment",
    "environment": "environment",
    "tenant": "tenant",
    "session": "session",
}


@click.command(
    epilog="Exit status: 0 nothing found, 1 errors (with --strict: or warnings), 2 the command was used wrongly."
)
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--strict/--relaxed", default=False, help="Whether warnings fail too; relaxed unless said.")
@click.option(
    "--layer", "layers", multiple=True, metavar="NAME=FILE", help="Lay env, tenant or session over it."
)
@click.option("--show-resolved", is_flag=True, help="Print every setting with its value and its origin.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    context: click.Context,
    files: tuple[Path, ...],
    strict: bool,
    layers: tuple[str, ...],
    show_resolved: bool,
    as_json: bool,
) -> None:
    """Check specs as they will run: under their profile and with layers over them.

    Settings are laid over each other in this order, the later one winning: the profile's defaults, the spec, the
    environment, the tenant, the session. --show-resolved says for each setting which of them it came from.

    \b
    Examples:
        rspp validate pipeline.yaml --strict
        rspp validate pipeline.yaml --layer env=prod.yaml --layer tenant=acme.yaml --show-resolved
    """
    over = read_layers(layers)
    loaded = {path: load(text_of(path), file=str(path), layers=over) for path in files}
    problems = [problem for one in loaded.values() for problem in one.problems]
    if as_json:
        _print_json(loaded, problems, show_resolved=show_resolved)
    else:
        show(problems)
        if show_resolved:
            for path, one in loaded.items():
                _print_resolved(path, one)
        click.echo(summary(problems, len(files)))
    context.exit(status(problems, strict=strict))


def read_layers(given: tuple[str, ...]) -> tuple[Layer, ...]:
    """The layers named on the command line, each at most once."""
    found: dict[LayerName, Layer] = {}
    for argument in given:
        word, _, file = argument.partition("=")
        name = LAYER_NAMES.get(word)
        if name is None or not file:
            raise click.UsageError(f"--layer takes env=FILE, tenant=FILE or session=FILE, not {argument!r}")
        if name in found:
            raise click.UsageError(f"the {name} layer is given twice")
        if not Path(file).is_file():
            raise click.UsageError(f"the {name} layer's file does not exist: {file}")
        found[name] = Layer(name, text_of(Path(file)), file)
    return tuple(found.values())


def resolved_rows(loaded: Loaded) -> list[dict[str, object]]:
    """Every setting, and for a graph every edge and node, with where its value came from."""
    if loaded.normalised is None:
        return []
    settings = loaded.normalised.settings
    return [
        {"path": path, "value": msgspec.to_builtins(settings[path].value), "origin": settings[path].origin}
        for path in sorted(settings)
    ]


def _print_resolved(path: Path, loaded: Loaded) -> None:
    rows = [(row["path"], _brief(row["value"]), row["origin"]) for row in resolved_rows(loaded)]
    print_table(("setting", "value", "origin"), rows, title=str(path))
    if loaded.graph is not None:
        edges = [
            (
                edge.id,
                f"{edge.buffer.strategy}, {edge.buffer.max_queue_items} items",
                edge.buffer.defaulting_source["edge"],
            )
            for edge in loaded.graph.edges
        ]
        print_table(("edge", "queue", "origin"), edges)
        click.echo(f"fingerprint {loaded.graph.fingerprint}")


def _brief(value: object) -> str:
    """As a spec would say it; what is empty says so instead of leaving a hole."""
    if isinstance(value, (list, tuple)):
        return ", ".join(_brief(item) for item in value) or "(empty)"
    if isinstance(value, bool):
        return str(value).lower()
    return "(none)" if value is None else str(value) or "(empty)"


def _print_json(loaded: dict[Path, Loaded], problems: list[Problem], *, show_resolved: bool) -> None:
    files = []
    for path, one in loaded.items():
        entry: dict[str, object] = {
            "file": str(path),
            "fingerprint": one.graph.fingerprint if one.graph else None,
        }
        if show_resolved:
            entry["resolved"] = resolved_rows(one)
            entry["sources"] = one.graph.defaulting_source if one.graph else {}
        files.append(entry)
    emit_json({"files": files, "problems": problems})
