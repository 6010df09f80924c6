"""Everything that is installed, put together as one registry, and a pipeline file made ready to run on it.

The tables of RSPP's own providers come first, then those of other packages: entry points of the group `rspp.providers`, each
a function that gives name -> `ProviderKind`. Nodes come from RSPP, from entry points of `rspp.nodes`, and from the modules
beside the pipeline's file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Final

import msgspec

from rspp.adapters.providers.local import readiness as local_readiness
from rspp.cli.problems import text_of
from rspp.contract.errors import MisuseError
from rspp.contract.words import RecordingLevel
from rspp.host.discovery import discover
from rspp.host.isolation import isolation
from rspp.host.registry import ProviderKind, Registry
from rspp.host.secrets import Secrets
from rspp.nodes import factories
from rspp.spec import Layer, Problem, Severity, load
from rspp.spec.graph import GraphDefinition, Role
from rspp.spec.recording_level import level_layer, states_level

GROUP: Final = "rspp.providers"
LOCAL: Final = "rspp.adapters.providers.local"
# Modules of ours that have a table of kinds, and how it is had: those that need keys get them where logs are scrubbed of them.
OPENAI: Final = "rspp.adapters.providers.openai_compatible"
TOOLS: Final = "rspp.nodes.tool"
OURS: Final[Mapping[str, Callable[[ModuleType, Secrets], Mapping[str, object]]]] = MappingProxyType(
    {
        LOCAL: lambda module, _: module.providers(),
        OPENAI: lambda module, secrets: module.providers(secrets.resolve),
        TOOLS: lambda module, secrets: module.tools(secret=secrets.resolve),
        "rspp.testing.scripted": lambda module, _: module.providers(),
    }
)
READY: Final = "ready"
# For a modality that a pipeline names no provider for: the first that is ready.
DEFAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "vad": ("local-silero", "energy-vad"),
    "end_of_turn": ("local-smart-turn", "silence"),
}


class Kind(msgspec.Struct, frozen=True):
    """One kind of provider that is installed, and whether it could be used now."""

    name: str
    modality: str
    source: str
    summary: str
    state: str  # ready, or what is missing and how to get it


class Installed(msgspec.Struct, frozen=True):
    """All kinds that there are; `problems` says of each package whose kinds could not be read why."""

    table: Mapping[str, ProviderKind]
    kinds: tuple[Kind, ...]
    problems: tuple[str, ...] = ()

    def state(self, name: str) -> str:
        return next((kind.state for kind in self.kinds if kind.name == name), "not installed")


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """What a file came to. There is a graph and a registry exactly when no problem is an error."""

    path: Path
    graph: GraphDefinition | None
    registry: Registry | None
    problems: tuple[Problem, ...]


def installed(
    points: Callable[[], Iterable[EntryPoint]] | None = None, secrets: Secrets | None = None
) -> Installed:
    """Look at what is there. A package that is broken costs its own kinds and is told."""
    secrets = secrets or Secrets()
    table: dict[str, ProviderKind] = {}
    kinds: list[Kind] = []
    problems: list[str] = []

    def take(source: str, offered: Mapping[str, object]) -> None:
        for name, entry in offered.items():
            # An entry is a kind, or a fact about one that has it.
            kind = entry if isinstance(entry, ProviderKind) else getattr(entry, "kind", None)
            if not isinstance(kind, ProviderKind):
                problems.append(f"{source}: {name} is no ProviderKind")
            elif name in table:
                problems.append(f"{source}: there is a {name} already")
            else:
                table[name] = kind
                state = local_readiness(name) if source == LOCAL else READY
                kinds.append(Kind(name, kind.modality, source, kind.summary, state))

    for module_name, kinds_of in OURS.items():
        try:
            take(module_name, kinds_of(import_module(module_name), secrets))
        except ModuleNotFoundError as error:
            problems.append(f"{module_name} needs {error.name}, which is not installed")
    for point in points() if points else entry_points(group=GROUP):
        try:
            take(point.value, point.load()())
        except Exception as error:  # noqa: BLE001 - a stranger's package must not cost the rest; it is told by name
            problems.append(f"{point.value} cannot be loaded: {type(error).__name__}: {error}"[:300])
    return Installed(table, tuple(kinds), tuple(problems))


def registry_of(here: Installed) -> Registry:
    """What a host is given."""
    defaults = {
        modality: next((name for name in names if here.state(name) == READY), names[-1])
        for modality, names in DEFAULTS.items()
    }
    return Registry(providers=here.table, nodes=factories(), defaults=defaults)


def pipeline_of(
    path: Path,
    here: Installed,
    layers: Iterable[Layer] = (),
    *,
    level: RecordingLevel | None = None,
    unstated_level: RecordingLevel | None = None,
) -> Pipeline:
    """Read, check and compile a pipeline file, with the custom nodes that it names.

    `level` is the recording level in force, whoever says otherwise; `unstated_level` that of a pipeline that neither states
    one itself nor has a layer that does.
    """
    text = text_of(path)
    found = discover(text, file=str(path), search_path=(path.resolve().parent,))
    if level is not None:
        layers = (*layers, level_layer("session", level))
    loaded = load(text, file=str(path), layers=layers, catalog=found.catalog)
    if unstated_level is not None and loaded.graph is not None and not states_level(loaded.graph):
        lowest = level_layer("environment", unstated_level)
        loaded = load(text, file=str(path), layers=(lowest, *layers), catalog=found.catalog)
    problems = found.added_to(loaded.problems)
    graph = loaded.graph
    if graph is None or any(problem.severity is Severity.ERROR for problem in problems):
        return Pipeline(path=path, graph=None, registry=None, problems=problems)
    registry = found.registry(registry_of(here))
    isolated = isolation(registry.nodes, (path.resolve().parent,))
    registry = msgspec.structs.replace(registry, providers={**registry.providers, **isolated})
    return Pipeline(path=path, graph=graph, registry=registry, problems=problems)


def missing(pipeline: Pipeline, here: Installed) -> tuple[str, list[str]]:
    """What keeps a pipeline from running here, in one line, empty if nothing does; and what it goes without.

    A kind that does not exist is wrong whoever else could serve, and raises `MisuseError`.
    """
    graph, registry = pipeline.graph, pipeline.registry
    assert graph is not None
    assert registry is not None
    modalities: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        if node.role is Role.CALL and node.type not in registry.async_nodes:
            modality = node.modality or node.type
            modalities[modality] = graph.providers.get(modality) or (
                registry.defaults.get(modality, modality),
            )
    blocking: list[str] = []
    without: list[str] = []
    for modality, names in modalities.items():
        states = {name: _state(graph, registry, name, modality, here) for name in names}
        lacking = [f"{name}: {state}" for name, state in states.items() if state != READY]
        (blocking if len(lacking) == len(names) else without).extend(lacking)
    return "; ".join(blocking), without


def _state(graph: GraphDefinition, registry: Registry, name: str, modality: str, here: Installed) -> str:
    kind = str(graph.provider_settings.get(name, {}).get("use", name))
    if kind not in here.table and kind in registry.providers:
        return READY  # ours, for the nodes of this very pipeline
    if kind not in here.table:
        known = ", ".join(sorted(one.name for one in here.kinds if one.modality == modality)) or "none"
        raise MisuseError(
            "provider_unknown",
            f"there is no provider {kind!r} for {modality}; installed: {known}. `rspp providers` shows all.",
        )
    return here.state(kind)
