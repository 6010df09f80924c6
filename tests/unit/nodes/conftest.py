"""A node on its own: events go in, payloads come out, through the same host as in a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from rspp.contract.event import Event, Payload, Scope, Signal, Text
from rspp.contract.words import CancelReason, EventKind, PayloadClass
from rspp.kernel.hosting import Failed, Hosted
from rspp.kernel.state import State
from rspp.nodes import factories
from rspp.spec.catalog import DEFAULT
from rspp.spec.graph import NodeDefinition, Port, Role


class Bench:
    """One hosted node."""

    def __init__(self, kind: str, config: Mapping[str, object]) -> None:
        declared = DEFAULT.types[kind]
        every = tuple(EventKind)
        outputs = declared.outputs or (Port(name="out", kinds=every),)
        definition = NodeDefinition(
            id="node",
            type=kind,
            version="v1",
            role=Role.SYNC,
            scope="turn",
            outputs=outputs,
            config=dict(config),
        )
        self.hosted = Hosted(definition, factories()[kind](config), State(1), 100)
        self.sequence = 0
        self.hosted.start(0, self.scope())

    def scope(self, turn: str | None = "turn-1") -> Scope:
        return Scope(session_id="s", tenant_id="t", pipeline_version="v1", epoch=1, turn_id=turn)

    def give(self, payload: Payload, turn: str = "turn-1") -> list[Payload]:
        self.sequence += 1
        kind = EventKind.CONTROL if isinstance(payload, Signal) else EventKind.TEXT
        event = Event(self.scope(turn), kind, self.sequence, 0, payload, PayloadClass.METADATA)
        result = self.hosted.step(0, event.scope, "text", event)
        assert not isinstance(result, Failed), result
        return [output.payload for output in result]

    def say(
        self, text: str, *, final: bool = False, turn: str = "turn-1", role: str = "assistant"
    ) -> list[str]:
        given = self.give(Text(text, final=final, role=role), turn)
        return [payload.text for payload in given if isinstance(payload, Text)]

    def cancel(self) -> None:
        assert self.hosted.cancel(0, self.scope(), CancelReason.BARGE_IN) == []


MakeNode = Callable[..., Bench]


@pytest.fixture
def node() -> MakeNode:
    return lambda kind, **config: Bench(kind, config)
