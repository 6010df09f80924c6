"""A session whose nodes cannot be made or started is none, its caller is told so, and nothing of it stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from rspp.contract.codes import CODES
from rspp.host.ports import Refused
from rspp.host.registry import Registry
from tests.unit.host.stage import Stage, graph_of, on_stage, registry_of


class Unmade:
    def __init__(self, config: object) -> None:
        raise ValueError("no such file: /etc/secret")


class Unstarted:
    def __init__(self, config: object) -> None: ...

    def on_start(self, ctx: Any) -> None:
        raise ValueError("no such file: /etc/secret")

    def on_event(self, ctx: Any, port: str, event: Any) -> None:
        ctx.emit("text", event.payload)


def with_segmenter(kind: Callable[..., Any]) -> Registry:
    registry = registry_of()
    return msgspec.structs.replace(registry, nodes={**registry.nodes, "segmenter": kind})


def test_a_caller_whose_nodes_cannot_be_made_is_refused_without_the_words_of_the_error() -> None:
    async def scene(stage: Stage) -> None:
        with pytest.raises(Refused) as refused:
            stage.call()
        assert refused.value.code == "session_not_made"
        assert refused.value.code in CODES
        assert "ValueError" in str(refused.value)
        assert "secret" not in str(refused.value)
        assert stage.host.sessions == {}
        assert stage.host.refused == 1
        assert stage.host.blamed == {"session:ValueError": 1}

    on_stage(scene, registry=with_segmenter(Unmade))


def test_a_session_whose_node_does_not_start_is_closed() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.frames(100)
        assert [signal.reason for signal in caller.signals("node_failed")] == ["ValueError"]
        assert caller.seat is not None
        assert caller.seat.end_reason == "node_start_failed"
        assert caller.closed

    on_stage(scene, registry=with_segmenter(Unstarted))


TOLERANT = """
pipeline: tolerant
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  end_of_turn: {type: end_of_turn, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1}
  segmenter: {type: segmenter, version: v1, on_failure: degrade}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: [vad.audio, end_of_turn.audio, stt.audio]}
  - {from: stt.final, to: llm.text}
  - {from: llm.text, to: segmenter.text}
  - {from: segmenter.text, to: tts.text}
  - {from: tts.audio, to: speaker.audio}
turn_input: stt.final
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
"""


def test_where_the_pipeline_can_do_without_the_node_the_session_goes_on() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.frames(100)
        assert caller.names().count("node_failed") == caller.names().count("degraded") == 1
        assert caller.seat is not None
        assert not caller.seat.ended

    on_stage(scene, graph_of(base=TOLERANT), registry=with_segmenter(Unstarted))


def test_how_each_call_ended_is_counted_by_modality_provider_and_outcome() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        counted = {
            tuple(value for _, value in reading.labels): reading.value
            for reading in stage.host.meters.read().counters
            if reading.name == "provider_invocations_total"
        }
        assert counted["llm", "success", "scripted-llm"] >= 1
        assert counted["tts", "success", "scripted-tts"] >= 1
        ended = caller.names().count("call_ended")
        assert sum(counted.values()) == ended >= 2

    on_stage(scene)
