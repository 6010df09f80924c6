"""Metrics and debug remarks in a session's own stream: as many as were asked for, and nothing else is different with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest

from rspp.contract.event import Event, Note, Sample
from rspp.contract.words import EventKind, InBand
from rspp.host.host import HostSettings
from rspp.host.registry import Registry
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.desk import TELEMETRY_FROM
from rspp.kernel.hosting import OUTPUTS_PER_STEP_MAX
from rspp.nodes import factories
from tests.unit.host.stage import Stage, graph_of, on_stage, registry_of


class Seen:
    """Everything that each session's kernel asked for."""

    def __init__(self) -> None:
        self.effects: dict[str, list[tuple[int, fx.Effect]]] = {}

    def __call__(self, request: Any, graph: Any) -> Any:
        kept = self.effects.setdefault(request.session_id, [])

        class Watcher:
            awaits = None

            def took(self, at: int, received: i.Input) -> None: ...
            def did(self, at: int, effects: Sequence[fx.Effect]) -> None:
                kept.extend((at, effect) for effect in effects)

            def closed(self) -> None: ...

        return Watcher()

    def telemetry(self, kind: EventKind, session: str) -> list[Event]:
        found = [e.event for _, e in self.effects[session] if isinstance(e, fx.Observe)]
        return [event for event in found if event.kind is kind]

    def rest(self, session: str) -> list[tuple[int, fx.Effect]]:
        return [(at, effect) for at, effect in self.effects[session] if not isinstance(effect, fx.Observe)]


class Chatty:
    """A sync node that measures and remarks, as often as it is told to."""

    times = 3

    def __init__(self, config: Any) -> None:
        self.inner = factories()["segmenter"](config)

    def on_event(self, ctx: Any, port: str, event: Any) -> None:
        for number in range(self.times):
            ctx.metric("own", number)
            ctx.note(f"remark {number}")
        self.inner.on_event(ctx, port, event)


class Flooding(Chatty):
    """As much as a node may say in one step."""

    times = OUTPUTS_PER_STEP_MAX // 2 - 8


def registry(node: type) -> Registry:
    return Registry(providers=registry_of().providers, nodes={**factories(), "segmenter": node})


def played(settings: HostSettings, node: type = Chatty, debug: str = "") -> Seen:
    """Two calls side by side, each of two turns; `debug` is switched on for that session after its first."""
    seen = Seen()

    async def scene(stage: Stage) -> None:
        callers = [stage.call("t1", session_id="one"), stage.call("t2", session_id="two")]
        for number in range(2):
            for caller in callers:
                await caller.speak()
                for _ in range(400):
                    if len(caller.signals("close")) > number:
                        break
                    await caller.frames(20)
            if debug:
                assert stage.host.ingest(debug, i.DebugSwitched(True))

    with patch(
        "rspp.host.host.secrets.token_hex", lambda size: "ab" * size
    ):  # so that two runs can be compared whole
        on_stage(scene, registry=registry(node), settings=settings, watches=[seen])
    return seen


@pytest.mark.proves("F-026")
def test_with_metrics_on_each_node_and_edge_says_its_latency_and_depth_under_its_own_name() -> None:
    seen = played(HostSettings(metrics=InBand.ALL))
    graph = graph_of()
    said: dict[tuple[str, str | None, str | None], float] = {}
    for event in seen.telemetry(EventKind.METRICS, "one"):
        assert isinstance(event.payload, Sample)
        said[event.payload.name, event.node_id, event.edge_id] = event.payload.value
        assert event.scope.session_id == "one"
    for edge in graph.edges:
        assert ("edge_latency_ms", None, edge.id) in said
        assert ("edge_queue_depth", None, edge.id) in said
    working = [node.id for node in graph.nodes if node.role.value in ("sync", "call")]
    for node in working:
        assert ("node_queue_depth", node, None) in said
    assert {"vad", "stt", "segmenter", "llm", "tts"} <= set(working)
    for node in working:
        assert ("node_latency_ms", node, None) in said
    # What waits for the caller to listen waits on the last edge, and is counted there.
    speaking = next(e.id for e in graph.edges if e.target == "speaker" and "audio" in e.id)
    assert said["edge_latency_ms", None, speaking] > 0
    assert said["edge_queue_depth", None, speaking] >= 1
    assert said["node_latency_ms", "llm", None] > 0
    assert ("own", "segmenter", None) in said


@pytest.mark.proves("F-026")
def test_with_metrics_off_there_are_none_and_by_default_only_a_turns_own() -> None:
    off = played(HostSettings(metrics=InBand.OFF))
    assert off.telemetry(EventKind.METRICS, "one") == []
    usual = played(HostSettings())
    names = {
        e.payload.name for e in usual.telemetry(EventKind.METRICS, "one") if isinstance(e.payload, Sample)
    }
    assert names == {"turn_first_output_ms", "own"}
    # Nothing else differs, to the last number.
    assert off.rest("one") == usual.rest("one")


@pytest.mark.proves("F-026")
def test_a_flood_of_metrics_moves_no_data_and_no_control() -> None:
    quiet, flooded = (
        played(HostSettings(metrics=InBand.OFF), Flooding),
        played(HostSettings(metrics=InBand.ALL), Flooding),
    )
    told = flooded.telemetry(EventKind.METRICS, "one")
    assert len(told) > 200
    assert [(at, effect) for at, effect in flooded.rest("one")] == [
        (at, effect) for at, effect in quiet.rest("one")
    ]


@pytest.mark.proves("F-027")
def test_debug_is_off_until_a_session_is_switched_and_changes_nothing_but_that_it_is_there() -> None:
    plain, debugged = played(HostSettings()), played(HostSettings(), debug="one")
    for session in ("one", "two"):
        assert plain.telemetry(EventKind.DEBUG, session) == []
    remarks = [
        e.payload.message for e in debugged.telemetry(EventKind.DEBUG, "one") if isinstance(e.payload, Note)
    ]
    # The node's own, and the runtime's of its calls and of the turn.
    assert {"remark 0", "remark 1", "remark 2"} <= set(remarks)
    assert any("of scripted-llm: success" in one for one in remarks)
    assert any("commit" in one for one in remarks)
    assert all(one.scope.session_id == "one" for one in debugged.telemetry(EventKind.DEBUG, "one"))
    assert debugged.telemetry(EventKind.DEBUG, "two") == []
    for session in ("one", "two"):
        assert debugged.rest(session) == plain.rest(session)
        assert [at for at, _ in debugged.rest(session)] == [at for at, _ in plain.rest(session)]
    assert debugged.telemetry(EventKind.METRICS, "two") == plain.telemetry(EventKind.METRICS, "two")


def test_telemetry_has_numbers_of_its_own_which_rise_and_are_nobody_elses() -> None:
    seen = played(HostSettings(metrics=InBand.ALL, debug=True))
    numbers = [e.event.sequence for _, e in seen.effects["one"] if isinstance(e, fx.Observe)]
    assert numbers == sorted(set(numbers))
    assert min(numbers) > TELEMETRY_FROM
    others = [e.event.sequence for _, e in seen.rest("one") if isinstance(e, fx.Announce | fx.Send)]
    assert max(others) < TELEMETRY_FROM


def test_without_the_flag_telemetry_takes_the_numbers_of_everything_else_as_it_did() -> None:
    flags = (1, 2, 3, 4, 5, 6)
    before = played(HostSettings(flags=flags))
    numbers = [e.event.sequence for _, e in before.effects["one"] if isinstance(e, fx.Observe)]
    assert numbers
    assert max(numbers) < TELEMETRY_FROM
