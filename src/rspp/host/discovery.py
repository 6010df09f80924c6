"""The custom nodes that a spec or a graph asks for are found, checked against their pinned version, and handed over.

Two ways to name one: `type: NAME` for a class that a package offers under the entry point group `rspp.nodes` (several
versions stand side by side as `NAME@v1`, `NAME@v2`), and `type: custom` with `implementation: module:Class`. Either
pins the `version`; `v1+1f2e3d4c` pins the source as well, by the beginning of its hash. Nothing is imported but what is
asked for, nothing is remembered, and a node that cannot be had is a problem with a line, not an exception.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.host.registry import AsyncNodeFactory, Registry
from rspp.kernel.hosting import NodeFactory
from rspp.spec import source
from rspp.spec.catalog import CUSTOM_TYPE, DEFAULT, SUBGRAPH_TYPE, Catalog, NodeType
from rspp.spec.declaration import NodeDeclaration, NodeKind, faults, type_of
from rspp.spec.graph import GraphDefinition
from rspp.spec.model import NodeSpec, PipelineSpec, pipeline_of
from rspp.spec.problem import Path as SpecPath
from rspp.spec.problem import Problem, in_order

GROUP: Final = "rspp.nodes"
# A package of more source than this is not a node's.
SOURCE_FILES_MAX: Final = 2_000
SOURCE_BYTES_MAX: Final = 32 << 20
DIGEST_CHARACTERS_MIN: Final = 8


class NodeClass(msgspec.Struct, frozen=True):
    """A node's class, and how to find it again from another process. Called with settings it makes an instance."""

    reference: str
    cls: type
    declaration: NodeDeclaration

    def __call__(self, config: Mapping[str, object]) -> object:
        return self.cls(msgspec.convert(dict(config), self.declaration.config))


class Discovered(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; `problems` says of each node that was not why, with its line."""

    catalog: Catalog
    nodes: Mapping[str, NodeFactory]
    async_nodes: Mapping[str, AsyncNodeFactory]
    problems: tuple[Problem, ...] = ()

    def registry(self, base: Registry) -> Registry:
        """A registry that has these nodes as well."""
        return msgspec.structs.replace(
            base,
            nodes={**base.nodes, **self.nodes},
            async_nodes={**base.async_nodes, **self.async_nodes},
        )

    def elsewhere(self) -> Discovered:
        """As where a spec is only read: a node that is not installed here may be where it runs."""
        here = tuple(problem for problem in self.problems if problem.code != "node_unknown")
        return msgspec.structs.replace(self, problems=here)

    def added_to(self, problems: Sequence[Problem]) -> tuple[Problem, ...]:
        """With a compiler's problems, less those that follow only from a node that was not found."""
        lost = [problem.path.rpartition(".")[0] for problem in self.problems]
        kept = [one for one in problems if not any(one.path in (at, f"{at}.type") for at in lost)]
        return in_order([*self.problems, *kept])


class Wanted(msgspec.Struct, frozen=True):
    """One custom node, as it is asked for; `key` is its name in graphs and registries."""

    name: str | None
    implementation: str | None
    version: str | None

    @property
    def key(self) -> str:
        return f"{self.implementation or self.name}@{self.version}"


class Missing(MisuseError):  # noqa: N818 - it is told as a problem, not as a mistake
    """A node that cannot be had."""


def discover(
    text: str,
    *,
    file: str = "<spec>",
    search_path: Sequence[Path] = (),
    catalog: Catalog = DEFAULT,
    installed: Callable[[], Sequence[EntryPoint]] | None = None,
) -> Discovered:
    """Every custom node that a spec names. `search_path` is where modules are looked for before anywhere else."""
    read = source.read(text, file)
    spec = pipeline_of(read)
    findings = read.findings
    before = len(findings.problems)  # those are the spec's own, and told by whoever compiles it
    found: dict[str, NodeClass] = {}
    finder = _Finder(search_path, installed or _installed)
    for path, node in _custom(spec, catalog) if spec else ():
        wanted = _wanted(node)
        try:
            found[wanted.key] = finder.find(wanted)
        except Missing as error:
            field = "implementation" if wanted.implementation else "type"
            findings.error(error.code, (*path, error.path or field), error.message)
    return _discovered(found, catalog, in_order(findings.problems[before:]))


def discover_for(
    graph: GraphDefinition,
    *,
    search_path: Sequence[Path] = (),
    catalog: Catalog = DEFAULT,
    installed: Callable[[], Sequence[EntryPoint]] | None = None,
) -> Discovered:
    """Every custom node that a compiled graph names; raises `MisuseError` for the first that cannot be had."""
    finder = _Finder(search_path, installed or _installed)
    found: dict[str, NodeClass] = {}
    for node in graph.nodes:
        name, at, version = node.type.partition("@")
        if at and node.type not in found:
            named = ":" not in name
            found[node.type] = finder.find(Wanted(name if named else None, None if named else name, version))
    return _discovered(found, catalog, ())


def _discovered(
    found: Mapping[str, NodeClass], catalog: Catalog, problems: tuple[Problem, ...]
) -> Discovered:
    nodes: dict[str, NodeFactory] = {}
    async_nodes: dict[str, AsyncNodeFactory] = {}
    types: list[NodeType] = []
    for key, node in found.items():
        types.append(type_of(node.declaration, key))
        if node.declaration.kind == NodeKind.ASYNC:
            async_nodes[key] = node  # type: ignore[assignment]  # the class was checked: it makes an AsyncNode
        else:
            nodes[key] = node  # type: ignore[assignment]  # likewise a SyncNode
    return Discovered(
        catalog=catalog.with_types(*types), nodes=nodes, async_nodes=async_nodes, problems=problems
    )


def _custom(spec: PipelineSpec, catalog: Catalog) -> Iterator[tuple[SpecPath, NodeSpec]]:
    places: list[tuple[SpecPath, Mapping[str, NodeSpec]]] = [(("nodes",), spec.nodes)]
    places += [(("subgraphs", name, "nodes"), module.nodes) for name, module in spec.subgraphs.items()]
    for path, nodes in places:
        for name, node in nodes.items():
            own = node.type == CUSTOM_TYPE and node.implementation is not None
            if own or node.type not in {*catalog.types, SUBGRAPH_TYPE}:
                yield (*path, name), node


def _wanted(node: NodeSpec) -> Wanted:
    if node.type != CUSTOM_TYPE:
        return Wanted(node.type, None, node.version)
    named = node.implementation is not None and ":" not in node.implementation
    # An entry point may be written as an implementation too; its key is then what the spec's compiler looks for.
    return Wanted(node.implementation if named else None, node.implementation, node.version)


def _installed() -> Sequence[EntryPoint]:
    return tuple(entry_points(group=GROUP))


class _Finder:
    """Finds classes; each module is looked for in the search path first."""

    def __init__(self, search_path: Sequence[Path], installed: Callable[[], Sequence[EntryPoint]]) -> None:
        self._search_path = [str(path) for path in search_path]
        self._installed = installed

    def find(self, wanted: Wanted) -> NodeClass:
        """The class that is wanted, checked; raises `Missing`."""
        if wanted.name is not None:
            node = self._by_name(wanted.name, wanted.version)
        else:
            assert wanted.implementation is not None
            node = self._load(wanted.implementation)
        _hold_to_version(node, wanted, self._versions(wanted.name))
        return node

    def _by_name(self, name: str, version: str | None) -> NodeClass:
        """A pinned version that is offered under its own name wins over the plain name."""
        wanted = _base(version)
        points = self._installed()
        for exact in ([f"{name}@{wanted}"] if wanted else []) + [name]:
            offers = [point for point in points if point.name == exact]
            if len({point.value for point in offers}) > 1:
                places = ", ".join(sorted(point.value for point in offers))
                raise Missing("node_ambiguous", f"more than one package offers the node '{exact}': {places}")
            if offers:
                return self._load(offers[0].value)
        versions = self._versions(name)
        if versions:
            raise Missing(
                "node_version_missing",
                f"the node '{name}' is not installed as {version or 'no version'}; there is {', '.join(versions)}",
                "version",
            )
        known = sorted({point.name.partition("@")[0] for point in points})
        raise Missing(
            "node_unknown",
            f"no installed package offers a node '{name[:64]}' under '{GROUP}'; there are: {', '.join(known) or 'none'}",
        )

    def _versions(self, name: str | None) -> list[str]:
        if name is None:
            return []
        names = [point.name for point in self._installed()]
        return sorted(one.partition("@")[2] for one in names if one.startswith(f"{name}@"))

    def _load(self, reference: str) -> NodeClass:
        module_name, _, attribute = reference.partition(":")
        if not attribute or not module_name:
            raise Missing("node_unknown", f"'{reference}' does not have the form module:Class")
        with importing(self._search_path):
            module = self._import(module_name, reference)
        cls: object = module
        for step in attribute.split("."):
            cls = getattr(cls, step, None)
        if not isinstance(cls, type):
            raise Missing("node_class_missing", f"the module '{module_name}' has no class '{attribute}'")
        return NodeClass(reference, cls, _declared(cls, reference))

    def _import(self, module_name: str, reference: str) -> object:
        self._refuse_shadow(module_name.partition(".")[0])
        try:
            return import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise Missing(
                    "node_import_failed", f"'{reference}' needs the module '{error.name}'"
                ) from error
            raise Missing("node_unknown", f"there is no module '{module_name}' here") from error
        except (Exception, SystemExit) as error:  # whatever a stranger's module does while it loads
            why = f"{type(error).__name__}: {error}"[:200]
            raise Missing("node_import_failed", f"'{reference}' cannot be imported: {why}") from error

    def _refuse_shadow(self, top: str) -> None:
        """A module of the same name from elsewhere would be taken for the one beside the spec, silently."""
        loaded = sys.modules.get(top)
        spec = PathFinder.find_spec(top, self._search_path) if self._search_path and loaded else None
        origin = getattr(loaded, "__file__", None)
        if spec and spec.origin and origin and Path(spec.origin).resolve() != Path(origin).resolve():
            raise Missing(
                "node_module_shadowed", f"a module '{top}' from another place is loaded already; rename one"
            )


@contextmanager
def importing(search_path: Sequence[str]) -> Iterator[None]:
    """For as long as this lasts, modules are looked for there first."""
    before = list(sys.path)
    sys.path[:0] = search_path
    try:
        yield
    finally:
        sys.path[:] = before


def _declared(cls: type, reference: str) -> NodeDeclaration:
    """The declaration of a class, if class and declaration are sound."""
    declaration = getattr(cls, "declaration", None)
    if not isinstance(declaration, NodeDeclaration):
        raise Missing(
            "node_declaration_invalid", f"'{reference}' has no `declaration`, an rspp.NodeDeclaration"
        )
    wrong = next(iter(faults(declaration)), None)
    if wrong is None:
        is_async = declaration.kind == NodeKind.ASYNC
        hook = getattr(cls, "run" if is_async else "on_event", None)
        if not callable(hook):
            wrong = f"the class has no `{'run' if is_async else 'on_event'}`"
        elif is_async is not inspect.iscoroutinefunction(hook):
            wrong = "`run` is not a coroutine function" if is_async else "`on_event` must not be a coroutine"
    if wrong is not None:
        raise Missing("node_declaration_invalid", f"the declaration of '{reference}' is wrong: {wrong}")
    return declaration


def _hold_to_version(node: NodeClass, wanted: Wanted, others: Sequence[str]) -> None:
    here = node.declaration.version
    if wanted.version is None:
        raise Missing(
            "node_version_missing", f"a custom node pins its version; installed is {here}", "version"
        )
    base, plus, digest = wanted.version.partition("+")
    if base != here:
        known = ", ".join(sorted({here, *others}))
        raise Missing("node_version_missing", f"version {base} is pinned, installed is {known}", "version")
    if plus and (len(digest) < DIGEST_CHARACTERS_MIN or not digest_of(node.cls).startswith(digest.lower())):
        raise Missing(
            "node_hash_changed",
            f"the source is not the one that is pinned: it is {here}+{digest_of(node.cls)[:16]}",
            "version",
        )


def _base(version: str | None) -> str | None:
    return None if version is None else version.partition("+")[0]


def digest_of(cls: type) -> str:
    """SHA-256 over the Python source that a class comes with: its module, or the whole of its package."""
    module = sys.modules[cls.__module__]
    top = sys.modules[cls.__module__.partition(".")[0]]
    packaged = hasattr(top, "__path__")
    origin = getattr(top if packaged else module, "__file__", None)
    if origin is None:
        raise Missing("node_hash_changed", f"the source of '{cls.__module__}' cannot be read", "version")
    root = Path(origin).parent
    files = sorted(root.rglob("*.py")) if packaged else [Path(origin)]
    if len(files) > SOURCE_FILES_MAX or sum(file.stat().st_size for file in files) > SOURCE_BYTES_MAX:
        raise Missing(
            "node_hash_changed", f"the package of '{cls.__module__}' is too large to be pinned", "version"
        )
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
