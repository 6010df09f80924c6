"""A PipelineSpec goes in as text and comes out as a graph that the kernel can run, or as every reason why it cannot.

    text -> source (tree with lines) -> model (typed) -> normalise (settings with origins)
         -> assemble (modules and fan-out written out) -> insert (what a policy adds) -> wiring (ports, kinds, order) -> lint -> compile

Nothing here reads a file, a clock or the environment: texts are handed in by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from rspp.spec import lint, source
from rspp.spec.assemble import assemble
from rspp.spec.catalog import DEFAULT, Catalog
from rspp.spec.compile import compile_graph, edge_of, turn_input_of
from rspp.spec.graph import GraphDefinition
from rspp.spec.insert import Insertion, insert
from rspp.spec.model import PipelineSpec, pipeline_of
from rspp.spec.normalise import Layer, NormalisedSpec, normalise
from rspp.spec.problem import Findings, Problem, Severity, SpecError, in_order
from rspp.spec.wiring import wire

__all__ = [
    "DEFAULT",
    "Catalog",
    "GraphDefinition",
    "Insertion",
    "Layer",
    "Loaded",
    "PipelineSpec",
    "Problem",
    "Severity",
    "SpecError",
    "check_layer",
    "compile_text",
    "load",
    "voice_template",
]

DEFAULT_PROVIDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "stt": ("stt-a", "stt-b"),
    "llm": ("llm-a", "llm-b"),
    "tts": ("tts-a", "tts-b"),
}


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a text came to. `graph` is there exactly when no problem is an error."""

    spec: PipelineSpec | None
    normalised: NormalisedSpec | None
    graph: GraphDefinition | None
    problems: tuple[Problem, ...]
    comments: tuple[source.Comment, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)


def load(
    text: str,
    *,
    file: str = "<spec>",
    layers: Iterable[Layer] = (),
    catalog: Catalog = DEFAULT,
    insertions: Iterable[Insertion] = (),
) -> Loaded:
    """Read, check and compile a spec, gathering all problems of it, of its layers and of what a policy puts into it."""
    read = source.read(text, file)
    findings = read.findings
    spec = pipeline_of(read)
    if spec is None:
        return Loaded(
            spec=None,
            normalised=None,
            graph=None,
            problems=in_order(findings.problems),
            comments=read.comments,
        )
    normalised = normalise(spec, findings, layers)
    assembly = assemble(spec, _written(read, "nodes"), catalog, findings)
    assembly = insert(assembly, tuple(insertions), catalog, findings)
    wiring = wire(assembly, catalog, read, findings)
    whole = lint.is_whole(findings.problems)
    facts = lint.Facts(
        normalised=normalised,
        assembly=assembly,
        wiring=wiring,
        whole=whole,
        written_providers=frozenset(_written(read, "providers")),
    )
    lint.check(facts, findings)
    turn_input = turn_input_of(assembly, wiring, findings) if whole else None
    edges = tuple(edge_of(link, wiring, findings) for link in wiring.links)
    every = (findings, *normalised.layer_findings)
    graph = None
    if turn_input is not None and not any(found.failed for found in every):
        graph = compile_graph(normalised, wiring, edges, turn_input)
    problems = in_order(problem for found in every for problem in found.problems)
    return Loaded(spec=spec, normalised=normalised, graph=graph, problems=problems, comments=read.comments)


def check_layer(layer: Layer) -> tuple[Problem, ...]:
    """What is wrong with a layer by itself, before any pipeline is under it."""
    nothing = Findings("<profile>")
    bare = PipelineSpec(pipeline="unnamed", version="v1")
    normalised = normalise(bare, nothing, (layer,))
    lint.check_settings(normalised)
    every = (nothing, *normalised.layer_findings)
    return in_order(problem for found in every for problem in found.problems)


def compile_text(
    text: str, *, file: str = "<spec>", layers: Iterable[Layer] = (), catalog: Catalog = DEFAULT
) -> GraphDefinition:
    """The graph of a spec; raises `SpecError` with every problem when there is none."""
    loaded = load(text, file=file, layers=layers, catalog=catalog)
    if loaded.graph is None:
        raise SpecError(loaded.errors)
    return loaded.graph


def voice_template(
    providers: Mapping[str, Iterable[str]] | None = None, **overrides: object
) -> GraphDefinition:
    """The built-in voice pipeline, for simulators, benchmarks and tests.

    Overrides are sections of the policies, or `budgets`: `voice_template(turn_taking={"onset_ms": 40})`.
    """
    budgets = overrides.pop("budgets", {})
    text = msgspec.json.encode(
        {
            "pipeline": "voice",
            "version": "v1",
            "template": "voice",
            "providers": {key: list(ids) for key, ids in (providers or DEFAULT_PROVIDERS).items()},
            "budgets": budgets,
            "policies": overrides,
        }
    ).decode()
    return compile_text(text, file="<voice template>")


def _written(read: source.Source, field: str) -> Mapping[str, object]:
    """The keys of a top-level mapping as the text has them, whether or not their values could be read."""
    node = read.root.entries.get(field) if read.root is not None else None
    return node.entries if isinstance(node, source.Mapping) else {}
