"""A compiled graph as one SVG: columns by depth from the caller, lines that never run through a box.

Colours are mid-tones that read on a light and on a dark page; text takes the page's own colour. There is no script,
no font and no outside reference, so the drawing can be put into any page.
"""

from __future__ import annotations

from html import escape
from typing import Final

import msgspec

from rspp.contract.words import EventKind
from rspp.spec.graph import EdgeDefinition, GraphDefinition, NodeDefinition, Role
from rspp.spec.render import describe_condition

BOX_WIDTH: Final = 132
BOX_HEIGHT: Final = 46
GAP_X: Final = 108
GAP_Y: Final = 34
MARGIN: Final = 28
HEAD: Final = 40

ROLE_COLOURS: Final = {
    Role.SOURCE: "#5b8def",
    Role.SINK: "#5b8def",
    Role.CALL: "#c9792b",
    Role.SYNC: "#4c9f70",
    Role.MERGE: "#9a6fc9",
    Role.SELECT: "#9a6fc9",
}
KIND_COLOURS: Final = {
    EventKind.AUDIO: "#c9792b",
    EventKind.TEXT: "#4c9f70",
    EventKind.CONTROL: "#c2556b",
}
PLAIN: Final = "#808890"


class Cell(msgspec.Struct, frozen=True):
    """A slot of the grid: a node, or None where a long line passes through a column."""

    column: int
    row: int

    @property
    def x(self) -> int:
        return MARGIN + self.column * (BOX_WIDTH + GAP_X)

    @property
    def y(self) -> int:
        return HEAD + MARGIN + self.row * (BOX_HEIGHT + GAP_Y)

    @property
    def middle(self) -> int:
        return self.y + BOX_HEIGHT // 2


class Layout(msgspec.Struct, frozen=True):
    """Where each node is, and through which cells each drawn line passes."""

    nodes: dict[str, Cell]
    passages: dict[str, list[Cell]]
    columns: int
    rows: int


def svg(graph: GraphDefinition) -> str:
    layout = lay_out(graph)
    width = 2 * MARGIN + layout.columns * BOX_WIDTH + (layout.columns - 1) * GAP_X
    height = HEAD + 2 * MARGIN + layout.rows * BOX_HEIGHT + (layout.rows - 1) * GAP_Y
    title = f"{graph.pipeline} {graph.version}"
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-label="{escape(title, quote=True)}" fill="currentColor" color="{PLAIN}"'
        ' font-family="system-ui, sans-serif" font-size="12">'
    )
    profile = f"{escape(graph.profile)} · {graph.fingerprint[:12]}"
    parts = [
        opening,
        f'<text x="{MARGIN}" y="{MARGIN}" font-size="16" font-weight="600">{escape(title)}</text>',
        f'<text x="{MARGIN}" y="{MARGIN + 18}" font-size="11">{profile}</text>',
    ]
    parts += [_line(edge, layout) for edge in graph.edges]
    parts += [_fallback(node, layout) for node in graph.nodes if node.fallback is not None]
    parts += [_box(node, layout.nodes[node.id]) for node in graph.nodes]
    return "\n".join([*parts, "</svg>"]) + "\n"


def lay_out(graph: GraphDefinition) -> Layout:
    """Columns by longest way from a source; inside a column, by the mean row of what feeds a node."""
    depth = _depths(graph)
    columns = max(depth.values(), default=0) + 1
    taken: list[int] = [0] * columns
    nodes: dict[str, Cell] = {}
    passages: dict[str, list[Cell]] = {}
    arriving: dict[str, list[int]] = {node.id: [] for node in graph.nodes}
    for column in range(columns):
        # A slot is wanted by each node of the column and by each line that passes through it.
        wanted: list[tuple[float, bool, int, str]] = [
            (_mean(arriving[node.id]), False, index, node.id)
            for index, node in enumerate(graph.nodes)
            if depth[node.id] == column
        ]
        wanted += [
            (float(passages.get(edge.id, [nodes[edge.source]])[-1].row), True, index, edge.id)
            for index, edge in enumerate(graph.edges)
            if depth[edge.source] < column < depth[edge.target]
        ]
        for row, (_, passing, _, name) in enumerate(sorted(wanted)):
            if passing:
                passages.setdefault(name, []).append(Cell(column, row))
            else:
                nodes[name] = Cell(column, row)
        taken[column] = len(wanted)
        for edge in graph.edges:
            if depth[edge.source] == column:
                arriving[edge.target].append(nodes[edge.source].row)
    return Layout(nodes, passages, columns, max(taken, default=1))


def _depths(graph: GraphDefinition) -> dict[str, int]:
    depth: dict[str, int] = {}
    for node in graph.nodes:
        before = [depth[edge.source] + 1 for edge in graph.edges if edge.target == node.id]
        before += [
            depth[other.id] + 1 for other in graph.nodes if other.fallback == node.id and other.id in depth
        ]
        depth[node.id] = max(before, default=0)
    # Sinks stand at the right-hand end, wherever they are fed from.
    for node in graph.nodes:
        if node.role is Role.SINK:
            depth[node.id] = max(depth.values())
    return depth


def _mean(rows: list[int]) -> float:
    return sum(rows) / len(rows) if rows else 0.0


def _box(node: NodeDefinition, cell: Cell) -> str:
    colour = ROLE_COLOURS[node.role]
    radius = 23 if node.role in (Role.SOURCE, Role.SINK) else 6
    dash = ' stroke-dasharray="5 3"' if node.scope == "turn" else ""
    x, y, centre = cell.x, cell.y, cell.x + BOX_WIDTH // 2
    return (
        f"<g><title>{escape(node.id)}: {escape(node.type)} {escape(node.version)}, {node.scope} scope</title>"
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="{radius}" fill="{colour}"'
        f' fill-opacity="0.14" stroke="{colour}" stroke-width="1.5"{dash}/>'
        f'<text x="{centre}" y="{y + 20}" text-anchor="middle" font-weight="600">{escape(_short(node.id, 19))}</text>'
        f'<text x="{centre}" y="{y + 36}" text-anchor="middle" font-size="10">{escape(_short(node.type, 22))}</text></g>'
    )


def _line(edge: EdgeDefinition, layout: Layout) -> str:
    source, target = layout.nodes[edge.source], layout.nodes[edge.target]
    colour = KIND_COLOURS.get(edge.kinds[0], PLAIN) if edge.kinds else PLAIN
    cells = [source, *layout.passages.get(edge.id, []), target]
    label = (
        f"{edge.source_port}" if edge.when is None else f"{edge.source_port}: {describe_condition(edge.when)}"
    )
    tip = f"{edge.id}: {'+'.join(edge.kinds)}, {edge.buffer.strategy}, {edge.buffer.max_queue_items} items"
    middle_x = source.x + BOX_WIDTH + GAP_X // 2
    middle_y = (source.middle + cells[1].middle) // 2 - 4
    return (
        f'<g><title>{escape(tip)}</title><path d="{_path(cells)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        f"{_head(target, colour)}"
        f'<text x="{middle_x}" y="{middle_y}" text-anchor="middle" font-size="10">{escape(_short(label, 20))}</text></g>'
    )


def _fallback(node: NodeDefinition, layout: Layout) -> str:
    source, target = layout.nodes[node.id], layout.nodes[str(node.fallback)]
    return (
        f"<g><title>{escape(node.id)} falls back to {escape(str(node.fallback))}</title>"
        f'<path d="{_path([source, target])}" fill="none" stroke="{PLAIN}" stroke-width="1.2"'
        f' stroke-dasharray="3 4"/>{_head(target, PLAIN)}</g>'
    )


def _path(cells: list[Cell]) -> str:
    """A curve through the gaps between columns; across a column it runs level, in a slot that is its own."""
    first = cells[0]
    path = f"M{first.x + BOX_WIDTH} {first.middle}"
    x, y = first.x + BOX_WIDTH, first.middle
    for cell in cells[1:]:
        half = (cell.x - x) // 2
        path += f" C{x + half} {y} {cell.x - half} {cell.middle} {cell.x} {cell.middle}"
        x, y = cell.x, cell.middle
        if cell is not cells[-1]:
            x += BOX_WIDTH
            path += f" L{x} {y}"
    return path


def _head(target: Cell, colour: str) -> str:
    x, y = target.x, target.middle
    return f'<path d="M{x} {y} l-8 -4 v8 z" fill="{colour}"/>'


def _short(words: str, limit: int) -> str:
    return words if len(words) <= limit else f"{words[: limit - 1]}…"
