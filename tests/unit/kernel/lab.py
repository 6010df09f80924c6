"""A pipeline around a question: nodes that write down what they see, fed by hand, stalled by hand.

    lab = Lab("  - {from: split, to: [left, right]}", split="in out", left="in", right="in")
    lab.feed("split", 1, 2, 3)
    assert lab.seen("left") == [1, 2, 3]

Beside what a test asks for there is always a recogniser and a model, because a pipeline has turns. Events are handed to
nodes past the kernel's inputs, so nobody who only sees those can judge: the rig's onlooker is told to hold its peace.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rspp.contract.event import Audio, Event, Payload, Sync, Text
from rspp.contract.words import EventKind, PayloadClass
from rspp.kernel.graph import EdgeRun
from rspp.kernel.hosting import Context
from rspp.spec import compile_text
from rspp.testing.rig import Rig

FRAME_OF = """pipeline: lab
version: v1
nodes:
  caller: {{type: transport.in, version: v1}}
  stt: {{type: stt, version: v1}}
  llm: {{type: llm, version: v1}}
  speaker: {{type: transport.out, version: v1}}
{nodes}
edges:
  - {{from: caller.audio, to: stt}}
  - {{from: stt.final, to: llm}}
  - {{from: llm, to: speaker.text}}
{edges}
providers: {{stt: a, llm: [b, b2], tts: c}}
{more}
"""


class Probe:
    """Writes down what it sees and passes it on; told to, it raises or resets instead."""

    def __init__(self, name: str, log: list[tuple[str, str, int]], fails: set[str]) -> None:
        self.name, self.log, self.fails = name, log, fails
        self.since_start = 0

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        if self.name in self.fails:
            raise RuntimeError("told to")
        self.since_start += 1
        number = int(event.payload.text) if isinstance(event.payload, Text) else event.sequence
        self.log.append((self.name, port, number))
        ctx.emit("out", event.payload)

    def on_cancel(self, ctx: Context, reason: object) -> None:
        self.log.append((self.name, "cancel", 0))


class Ending(Probe):
    """A probe with nothing below it."""

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        super().on_event(ctx, port, event)
        ctx.take()


class Lab(Rig):
    """A rig whose graph a test writes: each node by its ports ("in out", "turn" for its scope) and its edges as YAML."""

    def __init__(
        self, edges: str, more: str = "", extra: Mapping[str, str] | None = None, **nodes: str
    ) -> None:
        self.log: list[tuple[str, str, int]] = []
        self.fails: set[str] = set()
        written = [_node(name, ports) for name, ports in nodes.items()]
        written += [f"  {name}: {text}" for name, text in (extra or {}).items()]
        text = FRAME_OF.format(nodes="\n".join(written), edges=edges, more=more)
        super().__init__(compile_text(text), {"custom": self._make}, judged=False)
        self.connect()

    def _make(self, config: Mapping[str, Any]) -> Probe:
        kind = Probe if config["gives"] else Ending
        return kind(str(config["name"]), self.log, self.fails)

    # ---- feeding -------------------------------------------------------------------------------------------------

    def event(self, number: int, payload: Payload | None = None, **fields: Any) -> Event:
        desk = self.kernel.desk
        desk.now = self.now
        scope = self.kernel.turns.current.scope if self.kernel.turns.current else desk.scope
        kind = EventKind.AUDIO if isinstance(payload, Audio) else EventKind.TEXT
        made = desk.event(kind, payload or Text(str(number), segment=number), PayloadClass.TEXT_RAW, scope)
        sync = fields.pop("sync_id", None)
        changes = {"sync": Sync(sync_id=sync)} if sync else {}
        return msgspec.structs.replace(made, **changes, **fields)

    def feed(self, name: str, *numbers: int, **fields: Any) -> None:
        """Hand events to a node, as if an edge had brought them."""
        for number in numbers:
            self.hand(name, self.event(number, **fields))

    def hand(self, name: str, event: Event) -> None:
        graph = self.kernel.graph
        node = graph.nodes[name]
        edge = node.inbound[0] if node.inbound else next(iter(graph.edges.values()))
        assert node.taker is not None
        node.taker.take(node, edge, event)
        self._collect()

    def push(self, name: str, event: Event, port: str = "out") -> None:
        """Let a node give an event."""
        self.kernel.graph.push(self.kernel.graph.nodes[name], port, event)
        self._collect()

    # ---- stalling ------------------------------------------------------------------------------------------------

    def stall(self, name: str) -> None:
        self.kernel.graph.nodes[name].open = False

    def resume(self, name: str) -> None:
        node = self.kernel.graph.nodes[name]
        node.open = True
        self.kernel.desk.now = self.now
        self.kernel.graph.pump(node)
        self._collect()

    # ---- looking -------------------------------------------------------------------------------------------------

    def edge(self, name: str) -> EdgeRun:
        """The one edge whose id begins so."""
        (found,) = [edge for edge in self.kernel.graph.edges.values() if edge.id.startswith(name)]
        return found

    def seen(self, name: str) -> list[int]:
        return [number for who, port, number in self.log if who == name and port != "cancel"]


def _node(name: str, ports: str) -> str:
    takes = [f"{port}: [text, audio]" for port in ports.split() if port not in ("out", "turn")]
    scope = "scope: turn, " if "turn" in ports.split() else ""
    gives = "out: [text, audio]" if "out" in ports.split() else ""
    outputs = f"outputs: {{{gives}}}, " if gives else ""
    return (
        f"  {name}: {{type: custom, version: v1, implementation: lab, inputs: {{{', '.join(takes)}}}, "
        f"{outputs}{scope}config: {{name: {name}, gives: {str(bool(gives)).lower()}}}}}"
    )
