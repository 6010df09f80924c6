"""Another pipeline for a recording: a file, compiled as `rspp run` compiles it, with the nodes beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec

from rspp.cli.problems import text_of
from rspp.contract.words import RecordingLevel
from rspp.host.discovery import discover
from rspp.kernel.hosting import NodeFactory
from rspp.spec import Layer, Severity, load
from rspp.spec.graph import GraphDefinition, Role


def compiled(
    path: Path, level: RecordingLevel, layers: Sequence[Layer] = ()
) -> tuple[GraphDefinition, Mapping[str, NodeFactory]]:
    """The graph, as if it were recorded at this level, and its own nodes; what is wrong with the file is told."""
    text = text_of(path)
    found = discover(text, file=str(path), search_path=(path.resolve().parent,))
    lowest = Layer.of("environment", {"policies": {"recording_policy": {"level": level.value}}})
    loaded = load(text, file=str(path), layers=(lowest, *layers), catalog=found.catalog)
    problems = [one for one in found.added_to(loaded.problems) if one.severity is Severity.ERROR]
    if loaded.graph is None or problems:
        raise click.ClickException(
            "\n".join(str(problem) for problem in problems) or f"{path} does not compile"
        )
    return loaded.graph, found.nodes


def bound(graph: GraphDefinition, providers: Mapping[str, str]) -> GraphDefinition:
    """The graph with these providers instead of its own."""
    known = {node.modality or node.type for node in graph.nodes if node.role is Role.CALL}
    for modality in providers:
        if modality not in known:
            raise click.UsageError(
                f"--provider {modality}=...: the pipeline has no node for that; it has {', '.join(sorted(known))}"
            )
    return msgspec.structs.replace(
        graph, providers={**graph.providers, **{modality: (name,) for modality, name in providers.items()}}
    )
