"""Modules are taken by pin, their insides are their own, and no spec can write itself out without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from rspp.spec import DEFAULT, Catalog, GraphDefinition, compile_text, load
from rspp.spec.model import NodeSpec, SubgraphSpec

PIPELINE = """pipeline: {name}
version: v1
nodes:
  caller: {{type: transport.in, version: v1}}
  stt: {{type: stt, version: v1}}
  llm: {{type: llm, version: v1}}
  tidy: {{type: subgraph, use: tidy@{pin}}}
  tts: {{type: tts, version: v1}}
  speaker: {{type: transport.out, version: v1}}
edges:
  - {{from: caller.audio, to: stt}}
  - {{from: stt.final, to: llm}}
  - {{from: llm, to: tidy.text}}
  - {{from: tidy.text, to: tts}}
  - {{from: tts, to: speaker.audio}}
providers: {{stt: a, llm: b, tts: c}}
"""


def module(version: str, markdown: str) -> SubgraphSpec:
    inner = NodeSpec(type="text_filter", version="v1", config={"markdown": markdown})
    return SubgraphSpec(
        version=version,
        nodes={"filter": inner},
        inputs={"text": "filter.text"},
        outputs={"text": "filter.text"},
    )


def published(*versions: tuple[str, str]) -> Catalog:
    return DEFAULT.with_modules(
        {f"tidy@{version}": module(version, markdown) for version, markdown in versions}
    )


def graph(name: str, pin: str, catalog: Catalog) -> GraphDefinition:
    return compile_text(PIPELINE.format(name=name, pin=pin), catalog=catalog)


def test_a_new_module_version_reaches_only_the_pipeline_that_pins_it() -> None:
    first = published(("v1", "keep"))
    both = published(("v1", "keep"), ("v2", "strip"))
    before = [graph(name, "v1", first).fingerprint for name in ("one", "two")]
    assert [graph(name, "v1", both).fingerprint for name in ("one", "two")] == before
    one, two = graph("one", "v1", both), graph("two", "v2", both)
    assert one.fingerprint == before[0]
    assert two.fingerprint != before[1]
    assert next(n for n in two.nodes if n.id == "tidy/filter").config["markdown"] == "strip"


def test_a_missing_module_and_a_recursive_one_are_errors() -> None:
    missing = load(PIPELINE.format(name="p", pin="v9"), catalog=published(("v1", "keep")))
    assert [p.code for p in missing.errors] == ["module_missing"]
    assert "Did you mean 'tidy@v1'" in str(missing.errors[0])
    loop = SubgraphSpec(
        version="v1",
        nodes={"again": NodeSpec(type="subgraph", use="tidy@v1")},
        inputs={"text": "again.text"},
        outputs={"text": "again.text"},
    )
    recursive = load(PIPELINE.format(name="p", pin="v1"), catalog=DEFAULT.with_modules({"tidy@v1": loop}))
    assert "module_recursive" in [p.code for p in recursive.errors]
    assert recursive.graph is None


def test_the_inside_of_a_module_cannot_be_named_from_outside() -> None:
    text = PIPELINE.format(name="p", pin="v1").replace("to: tidy.text", "to: tidy/filter.text")
    assert "bad_name" in [p.code for p in load(text, catalog=published(("v1", "keep"))).errors]


@pytest.mark.slow
@pytest.mark.long
def test_modules_that_multiply_are_cut_off_at_the_limit() -> None:
    leaf = NodeSpec(type="text_filter", version="v1")
    modules = {"m0@v1": SubgraphSpec(version="v1", nodes={f"n{i}": leaf for i in range(10)})}
    for depth in range(1, 7):
        inner = {f"n{i}": NodeSpec(type="subgraph", use=f"m{depth - 1}@v1") for i in range(10)}
        modules[f"m{depth}@v1"] = SubgraphSpec(version="v1", nodes=inner)
    text = "pipeline: p\nversion: v1\nnodes: {x: {type: subgraph, use: m6@v1}}\n"
    problems = load(text, catalog=DEFAULT.with_modules(modules)).errors
    assert [p.code for p in problems] == ["too_large"]


def test_a_fallback_inside_a_module_is_the_modules_own() -> None:
    path = Path(__file__).parents[2] / "specs" / "good" / "nested-modules.yaml"
    loaded = load(path.read_text(encoding="utf-8"))
    assert loaded.graph is not None
    nodes = {node.id: node for node in loaded.graph.nodes}
    assert nodes["answer/llm"].fallback == "answer/small"
    assert "answer/tidy/strip" in nodes
