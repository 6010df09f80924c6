"""Which nodes a spec or a policy may name here: RSPP's own, and those that an installed package offers. Nothing else is imported.

A file runs with the modules that lie beside it; a published spec has nothing beside it and runs on machines of which nobody
knows what else is installed there. So a class may be named only as a package offers it, under the entry point group
`rspp.nodes`: by its name, or as exactly the `module:Class` of an entry point. What is not offered is a problem with a line.

One process is different: that of a developer, for this machine alone, which was started with a file. What is published there
runs nowhere else, so the modules beside that file may be named as well (`Beside`), and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

import msgspec

from rspp.host.discovery import GROUP, discover
from rspp.spec import DEFAULT, Catalog, Insertion, Problem, Severity
from rspp.spec import source as texts
from rspp.spec.catalog import CUSTOM_TYPE
from rspp.spec.model import NodeSpec, pipeline_of
from rspp.spec.problem import Path as SpecPath
from rspp.spec.problem import in_order

Points = Callable[[], Sequence[EntryPoint]]

HINT: Final = (
    f"Install the package of the node where the control plane runs, with an entry point in '{GROUP}'; "
    "to try it on this machine, `rspp run FILE --listen --control` without --keys takes the modules beside FILE"
)


class Nodes(msgspec.Struct, frozen=True):
    """The types that a text may use, and what is wrong with those that it names."""

    catalog: Catalog
    problems: tuple[Problem, ...] = ()

    def added_to(self, problems: Sequence[Problem]) -> tuple[Problem, ...]:
        """With a compiler's problems, less those that follow only from a node that is not there."""
        lost = [problem.path.rpartition(".")[0] for problem in self.problems]
        kept = [one for one in problems if not any(one.path in (at, f"{at}.type") for at in lost)]
        return in_order([*self.problems, *kept])

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(one for one in self.problems if one.severity is Severity.ERROR)


def offered() -> Sequence[EntryPoint]:
    return tuple(entry_points(group=GROUP))


class Beside(msgspec.Struct, frozen=True):
    """`Points` of a developer's process: what is installed, and the modules that lie in one folder."""

    folder: Path

    def __call__(self) -> Sequence[EntryPoint]:
        return offered()

    def has(self, reference: str) -> bool:
        """Does the module of this `module:Class` lie there? Any other would be somebody's who did not ask to be imported."""
        top = reference.partition(":")[0].partition(".")[0]
        return PathFinder.find_spec(top, [str(self.folder)]) is not None


def search_path_of(points: Points) -> tuple[Path, ...]:
    """Where modules are looked for first."""
    return (points.folder,) if isinstance(points, Beside) else ()


def nodes_for(text: str, file: str, points: Points = offered, catalog: Catalog = DEFAULT) -> Nodes:
    """The nodes of a spec."""
    read = texts.read(text, file)
    spec = pipeline_of(read)
    if spec is None:
        return Nodes(catalog)
    values = {point.value for point in points()}
    beside = points if isinstance(points, Beside) else None
    findings = read.findings
    before = len(findings.problems)
    for path, node in _all_of(spec.nodes, {name: one.nodes for name, one in spec.subgraphs.items()}):
        named = _not_installed(node, values)
        if named is not None and not (beside and beside.has(named)):
            place = " and lies not beside the pipeline's file" if beside else ""
            message = f"the class '{named}' is offered by no installed package{place}"
            findings.error("node_not_installed", (*path, "implementation"), message, HINT)
    foreign = in_order(findings.problems[before:])
    if foreign:
        return Nodes(catalog, foreign)
    found = discover(text, file=file, search_path=search_path_of(points), catalog=catalog, installed=points)
    return Nodes(found.catalog, found.problems)


def nodes_for_insertions(
    insertions: Sequence[Insertion], points: Points = offered, catalog: Catalog = DEFAULT
) -> Nodes:
    """The nodes of a policy, found as those of a spec with these nodes would be."""
    custom = {
        one.id: {"type": one.type, "version": one.version, "implementation": one.implementation}
        for one in insertions
        if one.type not in catalog.types or one.type == CUSTOM_TYPE
    }
    if not custom:
        return Nodes(catalog)
    plain = {
        name: {field: value for field, value in node.items() if value is not None}
        for name, node in custom.items()
    }
    text = msgspec.json.encode({"pipeline": "policy", "version": "v1", "nodes": plain}).decode()
    return nodes_for(text, "<policy>", points, catalog)


def _all_of(
    nodes: dict[str, NodeSpec], modules: dict[str, dict[str, NodeSpec]]
) -> Iterator[tuple[SpecPath, NodeSpec]]:
    for name, node in nodes.items():
        yield ("nodes", name), node
    for module, inside in modules.items():
        for name, node in inside.items():
            yield ("subgraphs", module, "nodes", name), node


def _not_installed(node: NodeSpec, values: set[str]) -> str | None:
    """The `module:Class` that it names and no package offers."""
    named = node.implementation
    return named if named is not None and ":" in named and named not in values else None
