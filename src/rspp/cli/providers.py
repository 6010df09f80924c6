"""`rspp providers`: what can serve a pipeline here, what is ready, and how to get what is not."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

import click

from rspp.cli.compose import DEFAULTS, LOCAL, OURS, READY, Installed, Kind, installed
from rspp.cli.output import Status, emit_json, print_table
from rspp.contract.errors import MisuseError
from rspp.host.discovery import GROUP as NODE_GROUP
from rspp.nodes import factories

ORDER: Final = ("vad", "end_of_turn", "stt", "llm", "tts", "external")


@click.command(
    epilog="Exit status: 0 listed, 1 an installed package is broken, 2 the command was used wrongly."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--modality", type=click.Choice(ORDER), help="Only these.")
@click.pass_context
def command(context: click.Context, as_json: bool, modality: str | None) -> None:
    """List the kinds of providers and nodes that are installed, by modality.

    A spec names a kind under `providers`, or a name of its own whose `provider_settings` say `use: KIND`. Other packages
    offer kinds under the entry point group `rspp.providers` and nodes under `rspp.nodes`.

    \b
    Examples:
        rspp providers
        rspp providers --modality stt --json
    """
    here = installed()
    kinds = [kind for kind in in_order(here.kinds) if modality in (None, kind.modality)]
    rows = [{**row(kind, here), "default": is_default(kind, here)} for kind in kinds]
    nodes = node_sources()
    if as_json:
        emit_json({"providers": rows, "nodes": nodes, "problems": here.problems})
    else:
        print_table(
            ("for", "kind", "state", "what it is", "from"),
            [
                (
                    r["modality"],
                    f"{r['name']}{' *' if r['default'] else ''}",
                    r["state"],
                    r["summary"],
                    r["source"],
                )
                for r in rows
            ],
        )
        click.echo("\n* taken where a pipeline names none")
        if modality is None:
            print_table(("node", "from"), sorted(nodes.items()), title="\nnodes")
    for problem in here.problems:
        click.echo(f"problem: {problem}", err=True)
    context.exit(Status.PROBLEM if here.problems else Status.OK)


def in_order(kinds: tuple[Kind, ...]) -> list[Kind]:
    """As a call uses them: ears, head, mouth."""
    return sorted(
        kinds, key=lambda kind: (ORDER.index(kind.modality) if kind.modality in ORDER else 99, kind.name)
    )


def row(kind: Kind, here: Installed) -> dict[str, object]:
    return {
        "name": kind.name,
        "modality": kind.modality,
        "summary": kind.summary,
        "source": "rspp" if kind.source in OURS else kind.source,
        "ready": kind.state == READY and not needs(kind, here),
        "state": needs(kind, here) or kind.state,
    }


def needs(kind: Kind, here: Installed) -> str:
    """What must be set before such a provider can be made; empty if nothing must."""
    if kind.source == LOCAL:
        return ""
    try:
        here.table[kind.name].factory(kind.name, {})
    except MisuseError as error:
        return f"needs provider_settings: {error.message}"
    return ""


def is_default(kind: Kind, here: Installed) -> bool:
    names = DEFAULTS.get(kind.modality, ())
    return kind.name == next((name for name in names if here.state(name) == READY), "")


def node_sources() -> Mapping[str, str]:
    """Node type -> who offers it."""
    offered = {point.name: point.value for point in entry_points(group=NODE_GROUP)}
    return {**offered, **dict.fromkeys(factories(), "rspp")}
