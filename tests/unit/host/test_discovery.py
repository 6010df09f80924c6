"""A custom node is found by what a spec says of it, at the version it pins, and whatever is wrong with it has a line."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import MisuseError
from rspp.contract.event import Event, Scope, Text, flatten
from rspp.contract.rules import check_envelope, check_event
from rspp.contract.words import EventKind, PayloadClass
from rspp.host.discovery import GROUP, Discovered, digest_of, discover, discover_for
from rspp.host.registry import Registry
from rspp.kernel.effects import Announce
from rspp.kernel.hosting import Failed, Hosted
from rspp.kernel.state import State
from rspp.spec import Loaded, load
from rspp.spec.graph import GraphDefinition
from rspp.testing.rig import Rig

SPEC = """pipeline: p
version: v1
nodes:
  caller: {{type: transport.in, version: v1}}
  stt: {{type: stt, version: v1}}
  llm: {{type: llm, version: v1}}
  mine: {{{mine}}}
  tts: {{type: tts, version: v1}}
  speaker: {{type: transport.out, version: v1}}
edges:
  - {{from: caller.audio, to: stt}}
  - {{from: stt.final, to: llm}}
  - {{from: llm, to: mine}}
  - {{from: mine, to: tts}}
  - {{from: tts, to: speaker.audio}}
providers: {{stt: a, llm: b, tts: c}}
"""
NODE = """
import msgspec
import rspp

class Settings(rspp.Config, frozen=True):
    mark: str = "!"

class Tag(rspp.Node):
    declaration = rspp.NodeDeclaration(
        name="tag", version="{version}", config=Settings,
        inputs={{"text": (rspp.EventKind.TEXT,)}}, outputs={{"text": (rspp.EventKind.TEXT,)}},
    )
    def on_event(self, ctx, port, event):
        ctx.emit("text", rspp.Text("{version}" + event.payload.text + self.config.mark))
"""


@pytest.fixture(autouse=True)
def nothing_stays_imported() -> Iterator[None]:
    before = set(sys.modules)
    path = list(sys.path)
    yield
    assert sys.path == path, "the search path is lent, not kept"
    for name in set(sys.modules) - before:
        del sys.modules[name]


def offers(folder: Path) -> Any:
    return lambda: [
        point
        for one in distributions(path=[str(folder)])
        for point in one.entry_points
        if point.group == GROUP
    ]


def looked_for(folder: Path, mine: str, installed: Any = tuple) -> tuple[Discovered, Loaded]:
    text = SPEC.format(mine=mine)
    found = discover(text, file="p.yaml", search_path=[folder], installed=installed)
    return found, load(text, file="p.yaml", catalog=found.catalog)


def graph_of(folder: Path, mine: str, installed: Any = tuple) -> tuple[GraphDefinition, Discovered]:
    found, loaded = looked_for(folder, mine, installed)
    assert loaded.graph is not None, [*map(str, found.problems), *map(str, loaded.problems)]
    return loaded.graph, found


def said(graph: GraphDefinition, found: Discovered, text: str = "hello") -> str:
    """What the node makes of a text, in the kernel's own hosting."""
    node = next(node for node in graph.nodes if node.id == "mine")
    hosted = Hosted(node, found.nodes[node.type](node.config), State(1), 100)
    scope = Scope(session_id="s", tenant_id="t", pipeline_version="v1", epoch=1)
    assert hosted.start(0, scope) == []
    event = Event(scope, EventKind.TEXT, 1, 0, Text(text), PayloadClass.TEXT_RAW)
    outputs = hosted.step(0, scope, "text", event)
    assert not isinstance(outputs, Failed), outputs
    (output,) = outputs
    assert isinstance(output.payload, Text)
    return output.payload.text


def test_a_class_beside_the_pipeline_is_found_with_its_ports_and_settings(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(NODE.format(version="v1"))
    graph, found = graph_of(
        tmp_path, "type: custom, version: v1, implementation: 'own:Tag', config: {mark: '?'}"
    )
    node = next(node for node in graph.nodes if node.id == "mine")
    assert (node.type, node.version, node.scope) == ("own:Tag@v1", "v1", "turn")
    assert said(graph, found) == "v1hello?"
    registry = found.registry(Registry())
    assert set(registry.nodes) == {"own:Tag@v1"}


def test_a_recorded_graph_finds_its_nodes_again(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(NODE.format(version="v1"))
    graph, found = graph_of(tmp_path, "type: custom, version: v1, implementation: 'own:Tag'")
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(graph), type=GraphDefinition)
    assert said(graph, discover_for(again, search_path=[tmp_path], installed=tuple)) == said(graph, found)


def test_an_unknown_setting_and_a_wrong_one_are_refused_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(NODE.format(version="v1"))
    for config, code, path in (
        ("{colour: red}", "unknown_key", "nodes.mine.config.colour"),
        ("{mark: 3}", "wrong_type", "nodes.mine.config.mark"),
    ):
        _, loaded = looked_for(
            tmp_path, f"type: custom, version: v1, implementation: 'own:Tag', config: {config}"
        )
        assert [(p.code, p.path, p.line) for p in loaded.problems] == [(code, path, 7)]


def test_a_spec_may_repeat_the_declaration_but_not_contradict_it(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(NODE.format(version="v1"))
    same = "type: custom, version: v1, implementation: 'own:Tag', role: sync, inputs: {text: [text]}, outputs: {text: [text]}"
    graph_of(tmp_path, same)
    other = "type: custom, version: v1, implementation: 'own:Tag', role: call, inputs: {text: [audio]}"
    _, loaded = looked_for(tmp_path, other)
    assert {(p.code, p.path) for p in loaded.errors} == {
        ("declaration_disagrees", "nodes.mine.role"),
        ("declaration_disagrees", "nodes.mine.inputs"),
    }


BAD = {
    "no_class": ("x = 1", "node_class_missing", "has no class 'Tag'"),
    "no_declaration": ("class Tag: pass", "node_declaration_invalid", "no `declaration`"),
    "raises": ("raise RuntimeError('as it loads')", "node_import_failed", "as it loads"),
    "exits": ("import sys; sys.exit(3)", "node_import_failed", "SystemExit"),
    "is_no_python": ("class", "node_import_failed", "SyntaxError"),
    "needs_more": ("import nothing_like_this", "node_import_failed", "needs the module 'nothing_like_this'"),
    "no_ports": (
        NODE.format(version="v1").split("inputs=")[0].replace("config=Settings,", ")") + "\n    on_event = print\n",
        "node_declaration_invalid",
        "no ports",
    ),
    "signals": (
        NODE.format(version="v1").replace('outputs={"text": (rspp.EventKind.TEXT,)}', 'outputs={"c": (rspp.EventKind.CONTROL,)}'),
        "node_declaration_invalid",
        "only the kernel emits signals",
    ),
    "lax_config": (
        NODE.format(version="v1").replace("rspp.Config, frozen=True", "msgspec.Struct"),
        "node_declaration_invalid",
        "unknown fields",
    ),
    "odd_config": (
        NODE.format(version="v1").replace('mark: str = "!"', "mark: list[str] = []"),
        "node_declaration_invalid",
        "'mark'",
    ),
    "coroutine": (
        NODE.format(version="v1").replace("def on_event", "async def on_event"),
        "node_declaration_invalid",
        "must not be a coroutine",
    ),
    "no_hook": (
        NODE.format(version="v1").replace("name=", "kind='async', name=").replace("(rspp.Node)", ""),
        "node_declaration_invalid",
        "no `run`",
    ),
    "bad_version": (NODE.format(version="one two"), "node_declaration_invalid", "version"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_class_that_is_none_of_a_node_is_refused_with_its_line_and_nothing_else_is_said(
    tmp_path: Path, name: str
) -> None:
    source, code, words = BAD[name]
    (tmp_path / f"bad_{name}.py").write_text(source)
    found, loaded = looked_for(tmp_path, f"type: custom, version: v1, implementation: 'bad_{name}:Tag'")
    (problem,) = found.added_to(loaded.problems)
    assert (problem.code, problem.path, problem.line) == (code, "nodes.mine.implementation", 7)
    assert words in problem.message


def test_what_is_not_there_is_a_name_that_nobody_offers(tmp_path: Path) -> None:
    for mine, path in (
        ("type: custom, version: v1, implementation: 'no.such:Tag'", "nodes.mine.implementation"),
        ("type: acme-tag, version: v1", "nodes.mine.type"),
    ):
        found, loaded = looked_for(tmp_path, mine)
        (problem,) = found.added_to(loaded.problems)
        assert (problem.code, problem.path) == ("node_unknown", path)
        # Where a spec is only read, the package may be somewhere else: the compiler's own word stands.
        assert [p.code for p in found.elsewhere().added_to(loaded.problems)] != ["node_unknown"]


def test_a_version_is_due_and_must_be_the_one_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(NODE.format(version="v1"))
    for version, words in (
        ("", "pins its version"),
        ("version: v2,", "version v2 is pinned, installed is v1"),
    ):
        found, _ = looked_for(tmp_path, f"type: custom, {version} implementation: 'own:Tag'")
        (problem,) = found.problems
        assert problem.code == "node_version_missing"
        assert words in problem.message


def test_a_pinned_hash_refuses_a_source_that_has_changed(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(NODE.format(version="v1"))
    _, found = graph_of(tmp_path, "type: custom, version: v1, implementation: 'own:Tag'")
    digest = digest_of(found.nodes["own:Tag@v1"].cls)  # type: ignore[attr-defined]
    pinned = f"type: custom, version: v1+{digest[:12]}, implementation: 'own:Tag'"
    graph, found = graph_of(tmp_path, pinned)
    assert said(graph, found) == "v1hello!"
    own.write_text(own.read_text() + "# another line\n")
    found, _ = looked_for(tmp_path, pinned)
    assert [(p.code, p.path) for p in found.problems] == [("node_hash_changed", "nodes.mine.version")]
    with pytest.raises(MisuseError) as refused:
        discover_for(graph, search_path=[tmp_path], installed=tuple)
    assert refused.value.code == "node_hash_changed"
    found, _ = looked_for(tmp_path, "type: custom, version: v1+ab, implementation: 'own:Tag'")
    assert [p.code for p in found.problems] == ["node_hash_changed"], "two letters pin nothing"


def test_a_module_of_the_same_name_from_elsewhere_is_not_taken_for_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.py").write_text(NODE.format(version="v1"))
    graph_of(tmp_path / "one", "type: custom, version: v1, implementation: 'own:Tag'")
    found, _ = looked_for(tmp_path / "two", "type: custom, version: v1, implementation: 'own:Tag'")
    assert [p.code for p in found.problems] == ["node_module_shadowed"]


def wheel(folder: Path, version: str) -> Path:
    """A package of one node, as an outsider would publish it."""
    name = f"acme_tag_{version}"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", NODE.format(version=version))
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/entry_points.txt", f"[{GROUP}]\nacme-tag@{version} = {name}:Tag\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def install(wheel_path: Path, folder: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "install", "--offline", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run(
        [*command, "--python", sys.executable, str(wheel_path)],
        check=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "UV_NO_CACHE": "1"},
    )


@pytest.mark.proves("F-121")
def test_wheels_stand_side_by_side_and_a_pipeline_runs_the_version_that_it_pins(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(wheel(tmp_path, "v1"), site)
    graph, found = graph_of(site, "type: acme-tag, version: v1", offers(site))
    before = said(graph, found)
    install(wheel(tmp_path, "v2"), site)
    graph, found = graph_of(site, "type: acme-tag, version: v1", offers(site))
    assert said(graph, found) == before == "v1hello!"
    repinned, found = graph_of(site, "type: acme-tag, version: v2", offers(site))
    assert said(repinned, found) == "v2hello!"
    assert repinned.fingerprint != graph.fingerprint
    found, _ = looked_for(site, "type: acme-tag, version: v3", offers(site))
    (problem,) = found.problems
    assert problem.code == "node_version_missing"
    assert "v1, v2" in problem.message
    source = site / "acme_tag_v1.py"
    digest = digest_of(sys.modules["acme_tag_v1"].Tag)
    pinned = f"type: acme-tag, version: v1+{digest[:16]}"
    graph_of(site, pinned, offers(site))
    source.write_text(source.read_text().replace('"!"', '"?"'))
    found, _ = looked_for(site, pinned, offers(site))
    assert [p.code for p in found.problems] == ["node_hash_changed"]


def test_two_packages_that_offer_one_name_are_told_apart_by_nobody(tmp_path: Path) -> None:
    points: Sequence[EntryPoint] = [EntryPoint("twin", f"{place}:Tag", GROUP) for place in ("a", "b")]
    found, _ = looked_for(tmp_path, "type: twin, version: v1", lambda: points)
    assert [p.code for p in found.problems] == ["node_ambiguous"]


def test_an_async_node_becomes_a_call_of_the_lifetime_that_it_declares(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(
        "import rspp\n"
        "class Ask(rspp.AsyncNode):\n"
        "    declaration = rspp.NodeDeclaration(name='ask', version='v1', kind='async',\n"
        "        inputs={'text': (rspp.EventKind.TEXT,)}, outputs={'text': (rspp.EventKind.TEXT,)})\n"
        "    async def run(self, call):\n"
        "        await call.produce(rspp.Text('x'))\n"
    )
    graph, found = graph_of(tmp_path, "type: custom, version: v1, implementation: 'waits:Ask'")
    node = next(node for node in graph.nodes if node.id == "mine")
    assert (node.role, node.lifetime, node.scope) == ("call", "event", "turn")
    assert (set(found.nodes), set(found.async_nodes)) == (set(), {"waits:Ask@v1"})
    assert Registry(async_nodes=found.async_nodes).bindings(graph) == {"a": "a", "b": "b", "c": "c"}


def test_a_spec_without_custom_nodes_imports_nothing(tmp_path: Path) -> None:
    found, _ = looked_for(tmp_path, "type: text_filter, version: v1")
    assert (found.nodes, found.async_nodes, found.problems) == ({}, {}, ())
    assert discover("nonsense: [", search_path=[tmp_path]).problems == ()


def test_the_names_of_the_sdk_are_there_and_importing_rspp_loads_none_of_them() -> None:
    import rspp

    for name in rspp.__all__:
        assert getattr(rspp, name) is not None
    with pytest.raises(AttributeError):
        rspp.Nothing  # noqa: B018
    code = "import sys, rspp; print(sum(name.startswith('rspp') for name in sys.modules), 'msgspec' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["1", "False"]


SAYS_WRONG = "        ctx.emit('nowhere', rspp.Text('x'))\n"


@pytest.mark.proves("F-011")
def test_a_wheel_of_an_outsider_runs_in_a_call_and_what_it_emits_is_valid_or_refused(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(wheel(tmp_path, "v1"), site)
    graph, found = graph_of(site, "type: acme-tag, version: v1", offers(site))
    rig = Rig(graph, found.nodes)
    rig.connect()
    rig.type("hello")
    rig.tokens("one")
    asked = rig.invocations["tts"].event
    assert asked is not None
    assert asked.payload == Text("v1one!")
    for event in (asked, *(effect.event for effect in rig.of(Announce))):
        assert check_event(event) == []
        assert check_envelope(flatten(event, 0)) == []
    assert rig.names("node_failed", "error_raised") == []

    found, _ = looked_for(site, "type: acme-unheard-of, version: v1", offers(site))
    assert [p.code for p in found.problems] == ["node_unknown"]
    assert "acme-tag" in found.problems[0].message

    source = site / "acme_tag_v1.py"
    source.write_text(source.read_text() + SAYS_WRONG)
    del sys.modules["acme_tag_v1"]
    graph, found = graph_of(site, "type: acme-tag, version: v1", offers(site))
    rig = Rig(graph, found.nodes)
    rig.connect()
    rig.type("hello")
    rig.tokens("one")
    assert [s.reason for s in rig.signals("node_failed")] == ["output_port_refused:nowhere:text"]
    assert "tts" not in rig.invocations
