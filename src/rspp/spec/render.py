"""A compiled graph drawn as text or as Mermaid: the same graph always gives the same drawing.

Edges read `node.port -> node.port`, with what flows and what the edge does when it is full. The SVG drawing is in `svg`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rspp.spec.graph import Condition, EdgeDefinition, GraphDefinition, NodeDefinition, Role

MERMAID_SHAPES: Final = {
    Role.SOURCE: ("([", "])"),
    Role.SINK: ("([", "])"),
    Role.SYNC: ("[", "]"),
    Role.CALL: ("[[", "]]"),
    Role.MERGE: ("{{", "}}"),
    Role.SELECT: ("{", "}"),
}


def text(graph: GraphDefinition) -> str:
    """A tree from each source on; a node that was drawn before is only named again."""
    ticks = f"{len(graph.nodes)} nodes, {len(graph.edges)} edges"
    lines = [
        f"{graph.pipeline} {graph.version}  ({graph.profile}, {ticks})",
        f"fingerprint {graph.fingerprint}",
        f"turn input  {'.'.join(graph.turn_input)}",
    ]
    drawn: set[str] = set()
    fed = {edge.target for edge in graph.edges} | {node.fallback for node in graph.nodes}
    for node in graph.nodes:
        if node.id not in fed:
            lines += ["", *_branch(graph, node, "", drawn)]
    if graph.providers:
        lines += ["", "providers"]
        lines += [f"  {modality}: {', '.join(ids)}" for modality, ids in graph.providers.items()]
    if kinds := {name: own["use"] for name, own in graph.provider_settings.items() if "use" in own}:
        lines += ["", "provider kinds", *(f"  {name}: {kind}" for name, kind in kinds.items())]
    return "\n".join(lines) + "\n"


def _branch(graph: GraphDefinition, node: NodeDefinition, indent: str, drawn: set[str]) -> Iterator[str]:
    yield indent + describe(node)
    drawn.add(node.id)
    nodes = {one.id: one for one in graph.nodes}
    outgoing = [edge for edge in graph.edges if edge.source == node.id]
    for index, edge in enumerate(outgoing):
        last = index == len(outgoing) - 1 and node.fallback is None
        branch, stem = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield f"{indent}{branch}{describe_edge(edge)}"
        if edge.target not in drawn and nodes[edge.target].role is not Role.SINK:
            yield from _branch(graph, nodes[edge.target], indent + stem, drawn)
    if node.fallback is not None:
        yield f"{indent}└─ on failure -> {node.fallback}"
        if node.fallback not in drawn:
            yield from _branch(graph, nodes[node.fallback], indent + "   ", drawn)


def describe(node: NodeDefinition) -> str:
    kind = node.type if node.id != node.type else node.role.value
    return f"{node.id}  [{kind}, {node.scope}, {node.version}]"


def describe_edge(edge: EdgeDefinition) -> str:
    kinds = "+".join(edge.kinds)
    side = f" {edge.buffer.drop_side}" if edge.buffer.drop_side else ""
    condition = f" when {describe_condition(edge.when)}" if edge.when else ""
    bounds = f"{edge.buffer.strategy}{side}, {edge.buffer.max_queue_items} items"
    return f".{edge.source_port} -> {edge.target}.{edge.target_port}  ({kinds}; {bounds}){condition}"


def describe_condition(condition: Condition) -> str:
    signs = {"eq": "=", "ne": "≠", "lt": "<", "le": "≤", "gt": ">", "ge": "≥", "in": "in"}
    value = ", ".join(condition.value) if isinstance(condition.value, tuple) else str(condition.value)
    return f"{condition.attribute} {signs[condition.op]} {value}"


def mermaid(graph: GraphDefinition) -> str:
    """A flowchart for Markdown pages; turn-scoped nodes stand in a box of their own."""
    names = {node.id: f"n{index}" for index, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for scope in ("session", "turn"):
        members = [node for node in graph.nodes if node.scope == scope]
        if members:
            lines.append(f'  subgraph {scope}["{scope} scope"]')
            for node in members:
                left, right = MERMAID_SHAPES[node.role]
                lines.append(
                    f'    {names[node.id]}{left}"{_quoted(node.id)}<br/>{_quoted(node.type)}"{right}'
                )
            lines.append("  end")
    for edge in graph.edges:
        condition = f"<br/>{_quoted(describe_condition(edge.when))}" if edge.when else ""
        label = f"{'+'.join(edge.kinds)}{condition}"
        lines.append(f'  {names[edge.source]} -->|"{label}"| {names[edge.target]}')
    lines += [
        f'  {names[node.id]} -.->|"on failure"| {names[node.fallback]}'
        for node in graph.nodes
        if node.fallback is not None
    ]
    return "\n".join(lines) + "\n"


def _quoted(words: str) -> str:
    """Mermaid reads HTML inside quotes."""
    return words.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
