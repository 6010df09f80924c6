"""The name of a graph says all that it was compiled from, so any process can compile it again, years and policies later.

    graph/front-desk@v3                                     the spec alone
    graph/front-desk@v3+policy/%2A@v1+providers/acme@v4     under the fleet's policy v1 and acme's provider config v4

Only what changes the graph is in its name: a policy that works through snapshots alone leaves it as it is.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

import msgspec

from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.contract.words import RecordingLevel
from rspp.control.config.documents import Document
from rspp.control.config.nodes import Points, nodes_for, nodes_for_insertions, offered
from rspp.control.config.policy import (
    FLEET,
    PROVIDERS,
    InForce,
    insertions_of,
    policy_layer,
    policy_of,
    provider_config_of,
    provider_layer,
)
from rspp.control.config.rollouts import SPEC
from rspp.control.names import encoded
from rspp.spec import DEFAULT, Insertion, Layer, load
from rspp.spec.graph import GraphDefinition
from rspp.spec.insert import PREFIX
from rspp.spec.normalise import LayerName
from rspp.spec.recording_level import level_layer, states_level

# Compiled graphs that are kept: pipelines times tenants with settings of their own; the one least used goes first.
GRAPHS_MAX: Final = 512
PARTS_MAX: Final = 8
_REF: Final = re.compile(r"graph/([^/@]+)@([^/@]+?)((?:\+(?:policy|providers)/[^/@+]+@[^/@]+?)*)")
_PART: Final = re.compile(r"\+(policy|providers)/([^/@+]+)@([^/@]+?)(?=\+(?:policy|providers)/|$)")

# A kind, a name and a version.
Source = tuple[str, str, str]
Find = Callable[[str, str, str], Document | None]


class GraphRef(msgspec.Struct, frozen=True):
    """What a graph is compiled from, in the order in which it is laid over the spec."""

    pipeline: str
    version: str
    over: tuple[Source, ...] = ()

    def __str__(self) -> str:
        over = "".join(f"+{kind}/{encoded(name)}@{version}" for kind, name, version in self.over)
        return f"graph/{self.pipeline}@{self.version}{over}"


def graph_ref_of(text: str) -> GraphRef:
    """Read the name of a graph; raises PeerFault `pipeline_unknown` for what is none."""
    found = _REF.fullmatch(text)
    if found is None:
        raise PeerFault("pipeline_unknown", f"{text[:80]!r} names no graph")
    over = tuple((kind, unquote(name), version) for kind, name, version in _PART.findall(found[3]))
    if len(over) > PARTS_MAX:
        raise PeerFault("pipeline_unknown", f"a graph is made of at most {PARTS_MAX} documents")
    return GraphRef(found[1], found[2], over)


def compile_ref(
    ref: GraphRef, find: Find, points: Points = offered, unstated_level: RecordingLevel | None = None
) -> GraphDefinition:
    """The graph of that name; raises PeerFault if a document is not there, or they make no graph together.

    `unstated_level` is the recording level of one that states none, whatever it is made of.
    """
    spec = _want(find, (SPEC, ref.pipeline, ref.version))
    layers: list[Layer] = []
    insertions: list[Insertion] = []
    try:
        for kind, name, version in ref.over:
            text = _want(find, (kind, name, version)).text
            layer: LayerName = "environment" if name == FLEET else "tenant"
            if kind == PROVIDERS:
                layers.append(provider_layer(provider_config_of(text), layer))
                continue
            policy = policy_of(text, f"{kind}/{name}@{version}", points)
            layers.append(policy_layer(policy, layer))
            insertions += insertions_of(InForce(name=name, version=version, policy=policy))
    except MisuseError as error:
        raise PeerFault("graph_unusable", f"{ref}: {error.message}") from error
    nodes = nodes_for(spec.text, str(ref), points, nodes_for_insertions(insertions, points, DEFAULT).catalog)
    loaded = load(spec.text, file=str(ref), layers=layers, catalog=nodes.catalog, insertions=insertions)
    if unstated_level is not None and loaded.graph is not None and not states_level(loaded.graph):
        layers = [level_layer("environment", unstated_level), *layers]
        loaded = load(spec.text, file=str(ref), layers=layers, catalog=nodes.catalog, insertions=insertions)
    if loaded.graph is None or nodes.errors:
        problems = nodes.errors or loaded.errors
        raise PeerFault("graph_unusable", "; ".join(map(str, problems[:5])))
    return _named(loaded.graph, ref, insertions)


def _named(graph: GraphDefinition, ref: GraphRef, insertions: list[Insertion]) -> GraphDefinition:
    """Under its whole name, and with the policy that asked for each node that was put in."""
    sources = dict(graph.defaulting_source)
    for node in graph.nodes:
        for one in insertions:
            if node.id.startswith(f"{PREFIX}{one.id}/"):
                sources[f"nodes.{node.id}"] = one.source
    return msgspec.structs.replace(graph, ref=str(ref), defaulting_source=sources)


def inserted_nodes(graph: GraphDefinition) -> dict[str, str]:
    """The nodes that policies put into a graph, each with the policy and version that asked for it."""
    sources = graph.defaulting_source
    return {node.id: sources[where] for node in graph.nodes if (where := f"nodes.{node.id}") in sources}


def _want(find: Find, source: Source) -> Document:
    document = find(*source)
    if document is None:
        kind, name, version = source
        raise PeerFault("document_missing", f"there is no {kind}/{name}@{version}")
    return document


class Graphs:
    """The graphs that were asked for, compiled once each."""

    def __init__(
        self, find: Find, points: Points = offered, unstated_level: RecordingLevel | None = None
    ) -> None:
        self._find = find
        self._points = points
        self._unstated_level = unstated_level
        self._kept: OrderedDict[str, GraphDefinition] = OrderedDict()  # bounded: GRAPHS_MAX

    def get(self, ref: str) -> GraphDefinition:
        known = self._kept.get(ref)
        if known is not None:
            self._kept.move_to_end(ref)
            return known
        return self._keep(ref, self._compiled(ref))

    def has(self, ref: str) -> bool:
        return ref in self._kept

    async def warm(self, ref: str) -> None:
        """Compile it before anybody asks, beside the loop; raises as `get` does."""
        if ref not in self._kept:
            self._keep(ref, await asyncio.to_thread(self._compiled, ref))

    def _compiled(self, ref: str) -> GraphDefinition:
        return compile_ref(graph_ref_of(ref), self._find, self._points, self._unstated_level)

    def renew(self) -> list[GraphDefinition]:
        """All of them anew, because the modules of their nodes were changed. One that cannot be had any more stays as it was:
        sessions may run on it.
        """
        made: list[GraphDefinition] = []
        for ref in list(self._kept):
            try:
                self._kept[ref] = self._compiled(ref)
            except RsppError:
                continue
            made.append(self._kept[ref])
        return made

    def _keep(self, ref: str, graph: GraphDefinition) -> GraphDefinition:
        kept = self._kept.setdefault(ref, graph)
        while len(self._kept) > GRAPHS_MAX:
            self._kept.popitem(last=False)
        return kept
