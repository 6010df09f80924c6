"""Ports are joined only when they agree, kinds flow through open nodes, and the order never depends on the writing."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec

from rspp.contract.words import EventKind
from rspp.spec import DEFAULT, compile_text, load, voice_template
from rspp.spec.catalog import TEXT, Config, NodeType, ports
from rspp.spec.graph import Role

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_nodes_stand_after_what_feeds_them_with_ties_by_id() -> None:
    graph = voice_template()
    order = [node.id for node in graph.nodes]
    assert order == ["caller", "end_of_turn", "stt", "llm", "segmenter", "tts", "speaker", "vad"]
    assert all(order.index(edge.source) < order.index(edge.target) for edge in graph.edges)


def test_the_order_in_which_nodes_are_written_changes_nothing() -> None:
    text = (EXAMPLES / "select-merge.yaml").read_text(encoding="utf-8")
    expected = compile_text(text).fingerprint
    spec = load(text).spec
    assert spec is not None
    plain = msgspec.to_builtins(spec)
    for seed in range(10):
        names = list(plain["nodes"])
        random.Random(seed).shuffle(names)
        shuffled = {**plain, "nodes": {name: plain["nodes"][name] for name in names}}
        assert compile_text(msgspec.json.encode(shuffled).decode()).fingerprint == expected


def test_the_inputs_of_a_merge_stand_in_the_order_of_their_edges() -> None:
    graph = compile_text((EXAMPLES / "select-merge.yaml").read_text(encoding="utf-8"))
    merge = next(node for node in graph.nodes if node.role is Role.MERGE)
    assert [port.name for port in merge.inputs] == ["speech", "keys"]
    assert merge.inputs[0].kinds == (EventKind.TEXT,)


def test_a_port_may_be_left_out_where_there_is_only_one() -> None:
    graph = compile_text((EXAMPLES / "select-merge.yaml").read_text(encoding="utf-8"))
    assert "digits.text->utterance.keys" in [edge.id for edge in graph.edges]


def test_a_catalogue_is_a_value_and_taking_more_types_changes_no_other() -> None:
    class Shout(Config, frozen=True):
        marks: int = 1

    kind = NodeType(
        name="shout",
        summary="Louder.",
        role=Role.SYNC,
        scope=None,
        inputs=ports(text=TEXT),
        outputs=ports(text=TEXT),
        config=Shout,
    )
    text = (
        (EXAMPLES.parent / "tests/specs/good/tool.yaml")
        .read_text(encoding="utf-8")
        .replace("type: tee", "type: shout")
    )
    assert compile_text(text, catalog=DEFAULT.with_types(kind)).nodes
    assert [p.code for p in load(text).errors] == ["unknown_type"]


def test_a_turn_scoped_source_makes_what_it_feeds_turn_scoped() -> None:
    text = (EXAMPLES.parent / "tests/specs/good/aliases.yaml").read_text(encoding="utf-8")
    scopes = {node.id: node.scope for node in compile_text(text).nodes}
    assert scopes["either"] == "turn"
    assert scopes["stt"] == "session"
