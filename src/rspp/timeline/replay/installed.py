"""The sync nodes that a recording needs, found as a host finds them: ours, of installed packages, of named places.

A node that waits is a call to the kernel: what it said is recorded, and it is not needed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.host.discovery import GROUP, discover_for, importing
from rspp.kernel.hosting import NodeFactory
from rspp.nodes import factories
from rspp.spec.declaration import NodeDeclaration
from rspp.spec.graph import GraphDefinition, Role

HERE: Final = (Path(),)


def nodes_for(graph: GraphDefinition, places: Sequence[str] = ()) -> Mapping[str, NodeFactory]:
    """What makes each sync node of this graph; raises MisuseError, which names the first that cannot be had."""
    ours = factories()
    wanted = [node for node in graph.nodes if node.role is Role.SYNC and node.type not in ours]
    if not wanted:
        return ours
    folders = [Path(place) for place in places if Path(place).is_dir()]
    path = [*folders, *HERE]
    for node in wanted:
        if "@" not in node.type:
            raise MisuseError(
                "node_type_unknown", f"{node.id} is a {node.type!r}, which this version has not"
            )
    offered = [point for place in places if not Path(place).is_dir() for point in _offers(place, path)]
    found = discover_for(
        msgspec.structs.replace(graph, nodes=tuple(wanted)),
        search_path=path,
        installed=lambda: (*entry_points(group=GROUP), *offered),
    )
    return {**ours, **found.nodes}


def _offers(module_name: str, path: Sequence[Path]) -> list[EntryPoint]:
    """The node classes of a module, as if a package offered them."""
    try:
        with importing([str(folder) for folder in path]):
            module = import_module(module_name)
    except Exception as error:  # a module of somebody's may raise anything when it is imported; it is told
        why = f"{type(error).__name__}: {error}"[:200]
        raise MisuseError("node_import_failed", f"--nodes {module_name} cannot be imported: {why}") from error
    offers: list[EntryPoint] = []
    for name, found in vars(module).items():
        declaration = getattr(found, "declaration", None) if isinstance(found, type) else None
        if isinstance(declaration, NodeDeclaration):
            offers.append(EntryPoint(declaration.name, f"{module_name}:{name}", GROUP))
    return offers
