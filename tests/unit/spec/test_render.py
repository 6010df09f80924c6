"""A drawing names every node and edge, is the same each time, and puts no line through a box."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from rspp.spec import GraphDefinition, compile_text, voice_template
from rspp.spec.render import mermaid, text
from rspp.spec.svg import lay_out, svg

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "examples").glob("*.yaml")) + sorted((ROOT / "tests/specs/good").glob("*.yaml"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def graph(request: pytest.FixtureRequest) -> GraphDefinition:
    return compile_text(request.param.read_text(encoding="utf-8"))


def test_the_text_names_every_node_and_every_edge(graph: GraphDefinition) -> None:
    drawing = text(graph)
    for node in graph.nodes:
        assert node.id in drawing
    for edge in graph.edges:
        assert f".{edge.source_port} -> {edge.target}.{edge.target_port}" in drawing


def test_mermaid_has_a_line_for_every_edge(graph: GraphDefinition) -> None:
    assert mermaid(graph).count(" -->|") == len(graph.edges)


def test_the_drawing_is_sound_xml_with_a_box_for_every_node(graph: GraphDefinition) -> None:
    root = ET.fromstring(svg(graph))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{space}rect")) == len(graph.nodes)
    assert not root.findall(f".//{space}script")


def test_no_two_things_share_a_cell(graph: GraphDefinition) -> None:
    layout = lay_out(graph)
    cells = [*layout.nodes.values(), *(cell for way in layout.passages.values() for cell in way)]
    assert len(cells) == len({(cell.column, cell.row) for cell in cells})


def test_what_people_wrote_cannot_break_out_of_a_drawing() -> None:
    graph = compile_text(
        (ROOT / "examples/voice-full.yaml")
        .read_text(encoding="utf-8")
        .replace("attribute: confidence", 'attribute: "<script>\\"&"')
    )
    assert "<script>" not in svg(graph)
    ET.fromstring(svg(graph))
    assert "<script>" not in mermaid(graph)


def test_the_same_graph_draws_the_same() -> None:
    assert svg(voice_template()) == svg(voice_template())
