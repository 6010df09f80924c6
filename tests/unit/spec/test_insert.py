"""A policy's node stands in the way of all text at its point, in whatever pipeline; and nowhere else."""

from __future__ import annotations

import json

import msgspec
import pytest

from rspp.contract.words import EventKind
from rspp.spec import Insertion, Loaded, load
from rspp.spec.graph import GraphDefinition
from rspp.spec.insert import POINTS

VOICE = json.dumps(
    {
        "pipeline": "voice",
        "version": "v1",
        "template": "voice",
        "providers": {"stt": "a", "llm": "b", "tts": "c"},
    }
)
# Two models, of which one stands in for the other; one answer goes past the segmenter.
TWO = """
pipeline: two
version: v1
providers: {stt: a, llm: b, tts: c}
nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  stt: {type: stt, version: v1}
  large: {type: llm, version: v1, fallback: small}
  small: {type: llm, version: v1}
  cut: {type: segmenter, version: v1}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: [vad.audio, stt.audio]}
  - {from: stt.final, to: [large.text, small.text]}
  - {from: large.text, to: cut.text, buffer: {max_queue_items: 7, watermarks: {queue_items: {high: 6, low: 2}}}}
  - {from: small.text, to: [cut.text, speaker.text]}
  - {from: cut.text, to: tts.text}
  - {from: tts.audio, to: speaker.audio}
"""
MODULE = """
pipeline: module
version: v1
providers: {stt: a, llm: b, tts: c}
subgraphs:
  policy:
    version: v1
    nodes: {llm: {type: llm, version: v1}}
    inputs: {text: llm.text}
    outputs: {text: llm.text}
nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  stt: {type: stt, version: v1}
  policy: {type: subgraph, use: policy@v1}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: [vad.audio, stt.audio]}
  - {from: stt.final, to: policy.text}
  - {from: policy.text, to: tts.text}
  - {from: tts.audio, to: speaker.audio}
"""


def redact(at: str = "after llm", **more: object) -> Insertion:
    plain = {"id": "redact", "at": at, "type": "text_filter", "config": {"personal": ["card"]}, **more}
    return msgspec.convert(plain, Insertion)


def graph_of(text: str, *insertions: Insertion) -> GraphDefinition:
    loaded = load(text, insertions=insertions)
    assert loaded.graph is not None, [str(one) for one in loaded.problems]
    return loaded.graph


def edges(graph: GraphDefinition) -> set[str]:
    return {edge.id for edge in graph.edges}


def codes(loaded: Loaded) -> list[str]:
    assert loaded.graph is None
    return [one.code for one in loaded.errors]


def test_after_the_model_all_that_it_says_goes_through_the_node() -> None:
    graph = graph_of(VOICE, redact())
    gone = edges(graph_of(VOICE)) - edges(graph)
    assert gone == {"llm.text->segmenter.text"}
    assert edges(graph) - edges(graph_of(VOICE)) == {
        "llm.text->policy/redact/llm.text",
        "policy/redact/llm.text->segmenter.text",
    }
    node = next(one for one in graph.nodes if one.id == "policy/redact/llm")
    assert (node.type, node.scope) == ("text_filter", "turn")
    assert node.config["personal"] == ["card"]
    assert graph.turn_input == ("stt", "final")


def test_before_the_model_what_the_caller_said_goes_through_it_and_still_opens_the_turn() -> None:
    graph = graph_of(VOICE, redact("before llm"))
    assert "stt.final->policy/redact/llm.text" in edges(graph)
    assert "stt.final->llm.text" not in edges(graph)
    assert graph.turn_input == ("stt", "final")


def test_before_the_voice_captions_stay_as_they_were() -> None:
    graph = graph_of(VOICE, redact("before tts"))
    assert "segmenter.text->policy/redact/tts.text" in edges(graph)
    assert "segmenter.text->speaker.text" in edges(graph)
    assert "segmenter.text->tts.text" not in edges(graph)


@pytest.mark.parametrize("at", POINTS)
def test_no_text_passes_by_the_node_whatever_the_pipeline_is(at: str) -> None:
    side, _, kind = at.partition(" ")
    for text in (VOICE, TWO, MODULE):
        graph = graph_of(text, redact(at))
        types = {node.id: node.type for node in graph.nodes}
        inserted = {node for node in types if node.startswith("policy/redact/")}
        assert inserted
        for edge in graph.edges:
            end, other = (edge.target, edge.source) if side == "before" else (edge.source, edge.target)
            if types[end] == kind and EventKind.TEXT in edge.kinds:
                assert other in inserted


def test_each_model_gets_a_node_of_its_own_and_edges_keep_their_bounds() -> None:
    graph = graph_of(TWO, redact())
    assert {"policy/redact/large.text->cut.text", "policy/redact/small.text->cut.text"} <= edges(graph)
    kept = next(edge for edge in graph.edges if edge.id == "policy/redact/large.text->cut.text")
    assert kept.buffer.max_queue_items == 7


def test_two_policies_at_one_point_both_stand_in_the_way() -> None:
    graph = graph_of(VOICE, redact(), redact(id="more"))
    assert {
        "llm.text->policy/more/llm.text",
        "policy/more/llm.text->policy/redact/llm.text",
        "policy/redact/llm.text->segmenter.text",
    } <= edges(graph)


def test_a_graph_with_a_node_more_has_another_fingerprint_and_without_insertions_none_changes() -> None:
    assert graph_of(VOICE, redact()).fingerprint != graph_of(VOICE).fingerprint
    assert graph_of(VOICE) == load(VOICE).graph


@pytest.mark.parametrize(
    ("insertion", "code"),
    [
        (redact("after stt"), "insertion_forbidden"),
        (redact("before transport.out"), "insertion_forbidden"),
        (redact("after vad"), "insertion_forbidden"),
        (redact("llm"), "insertion_forbidden"),
        (redact(type="vad", config={}), "insertion_forbidden"),
        (redact(type="merge", config={}), "insertion_forbidden"),
        (redact(type="tts", config={}), "insertion_forbidden"),
        (redact(type="stt", config={}), "insertion_forbidden"),
        (redact(type="subgraph", config={}), "unknown_type"),
        (redact(type="nothing"), "unknown_type"),
        (redact(config={"personnel": ["card"]}), "insertion_config"),
        (redact(config={"action": "whisper"}), "insertion_config"),
    ],
)
def test_a_node_that_may_not_stand_there_is_refused(insertion: Insertion, code: str) -> None:
    assert codes(load(VOICE, insertions=[insertion])) == [code]


def test_a_node_is_refused_where_there_is_one_of_its_name() -> None:
    assert "insertion_refused" in codes(load(VOICE, insertions=[redact(), redact()]))


def test_a_required_node_refuses_a_pipeline_without_its_point_and_another_is_left_out() -> None:
    text = (
        TWO.replace("type: llm", "type: text_filter").replace(", llm: b", "").replace(", fallback: small", "")
    )
    text = text.replace("edges:", "turn_input: large.text\nedges:")
    assert edges(graph_of(text, redact())) == edges(graph_of(text))
    assert codes(load(text, insertions=[redact(required=True)])) == ["insertion_point_missing"]
