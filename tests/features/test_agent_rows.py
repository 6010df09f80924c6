"""The row of what the platform is not: an agent is made of nodes, and the kernel has no word for its parts."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from rspp.host.discovery import discover
from rspp.spec import compile_text
from rspp.spec.graph import Role
from tests.features.play import typed
from tests.unit.host.stage import Stage, on_stage, registry_of

KERNEL = Path(__file__).parents[2] / "src" / "rspp" / "kernel"

# The types of agent frameworks and voice SDKs, as words of a name in capitals and lower case.
AGENTS = re.compile(
    r"Agent|Planner|Planning|Goal|Thought|Memory|Memories|Retriev|Embedding|Vector|Knowledge|Tool|Skill|Prompt|Chain|Chat|Assistant"
)


def agent_types(source: str) -> list[str]:
    """Every type that a text declares under the name of a part of an agent: classes, aliases, type variables."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [
                target.id for target in targets if isinstance(target, ast.Name) and not target.id.isupper()
            ]
    return [name for name in names if AGENTS.search(name)]


@pytest.mark.proves("NF-020")
def test_the_kernel_declares_no_planner_no_memory_and_no_tool() -> None:
    files = sorted(KERNEL.rglob("*.py"))
    assert len(files) > 40
    found = {path.name: types for path in files if (types := agent_types(path.read_text(encoding="utf-8")))}
    assert found == {}


@pytest.mark.proves("NF-020")
@pytest.mark.parametrize(
    "planted", ["class GoalPlanner: ...", "class Memory(dict): ...", "ToolCall = dict[str, str]"]
)
def test_the_scan_finds_one_that_is_added(planted: str) -> None:
    session = (KERNEL / "session.py").read_text(encoding="utf-8")
    assert agent_types(session) == []
    assert len(agent_types(f"{session}\n\n{planted}\n")) == 1


NODES = '''
import msgspec
import rspp

TEXT = {"text": (rspp.EventKind.TEXT,)}


class Ears(rspp.AsyncNode):
    """Hears nobody: this caller writes."""

    declaration = rspp.NodeDeclaration(
        name="ears", version="v1", kind=rspp.NodeKind.ASYNC, lifetime=rspp.Lifetime.SESSION,
        inputs={"audio": (rspp.EventKind.AUDIO,)}, outputs=TEXT,
    )

    async def run(self, call):
        async for _ in call.feed():
            pass


class Planner(rspp.Node):
    """Decides what is to be looked up."""

    declaration = rspp.NodeDeclaration(name="planner", version="v1", inputs=TEXT, outputs=TEXT, scope="turn")

    def on_event(self, ctx, port, event):
        ctx.emit("text", rspp.Text(f"look up {event.payload.text}", final=True))


class Tool(rspp.AsyncNode):
    """Looks it up."""

    declaration = rspp.NodeDeclaration(
        name="tool", version="v1", kind=rspp.NodeKind.ASYNC, inputs=TEXT, outputs=TEXT,
    )

    async def run(self, call):
        what = call.request.event.payload.text.removeprefix("look up ")
        await call.produce(rspp.Text({"capital": "Paris", "river": "Seine"}[what], final=True))


class Memory(rspp.Node):
    """Knows what was found before."""

    declaration = rspp.NodeDeclaration(name="memory", version="v1", inputs=TEXT, outputs=TEXT, scope="turn")

    def on_event(self, ctx, port, event):
        if not event.payload.text:
            return
        known = (ctx.get(rspp.StateClass.HOT, "known") or ()) + (event.payload.text,)
        ctx.put(rspp.StateClass.HOT, "known", known)
        ctx.emit("text", rspp.Text(" and ".join(known) + ".", role="assistant"))
'''
AGENT = """
pipeline: agent
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  ears: {type: custom, version: v1, implementation: "acme_agent:Ears"}
  planner: {type: custom, version: v1, implementation: "acme_agent:Planner"}
  tool: {type: custom, version: v1, implementation: "acme_agent:Tool"}
  memory: {type: custom, version: v1, implementation: "acme_agent:Memory"}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: ears.audio}
  - {from: ears.text, to: planner.text}
  - {from: planner.text, to: tool.text}
  - {from: tool.text, to: memory.text}
  - {from: memory.text, to: speaker.text}
turn_input: ears.text
"""


@pytest.mark.proves("NF-020")
def test_an_agent_made_only_of_nodes_of_ones_own_plans_looks_up_and_remembers(tmp_path: Path) -> None:
    (tmp_path / "acme_agent.py").write_text(NODES, encoding="utf-8")
    found = discover(AGENT, search_path=[tmp_path])
    assert found.problems == ()
    graph = compile_text(AGENT, catalog=found.catalog)
    inside = [node for node in graph.nodes if node.role not in (Role.SOURCE, Role.SINK)]
    assert {node.type.partition(":")[0] for node in inside} == {"acme_agent"}

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        for question, ends in (("capital", 1), ("river", 2)):
            await caller.frames(100)
            typed(caller, question)
            for _ in range(100):
                if caller.names().count("commit") < ends:
                    await caller.frames(20)
        assert [text for text in caller.texts() if text] == ["Paris.", "Paris and Seine."]
        assert caller.names().count("commit") == 2

    on_stage(scene, graph, registry=found.registry(registry_of()))
    sys.modules.pop("acme_agent", None)
