"""The sync nodes that a recording needs, as the commands ask for them: `--nodes FOLDER|MODULE`, and errors that say the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from rspp.contract.errors import RsppError
from rspp.kernel.hosting import NodeFactory
from rspp.spec.graph import GraphDefinition
from rspp.timeline.replay import installed

Command = TypeVar("Command", bound=Callable[..., Any])


def nodes_option(command: Command) -> Command:
    """`--nodes FOLDER|MODULE`, any number of times."""
    return click.option(
        "--nodes",
        "node_places",
        multiple=True,
        metavar="FOLDER|MODULE",
        help="Where the recording's own nodes are: a folder of modules, or a module. Again for more.",
    )(command)


def nodes_for(graph: GraphDefinition, places: Sequence[str] = ()) -> Mapping[str, NodeFactory]:
    """What makes each sync node of this graph; a click error names the first that cannot be had."""
    try:
        return installed.nodes_for(graph, places)
    except RsppError as error:
        raise click.ClickException(
            f"{error}; say with --nodes FOLDER or --nodes MODULE where the recording's own nodes are"
        ) from error
