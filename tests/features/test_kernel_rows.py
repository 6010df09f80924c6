"""Rows of the kernel that need a whole host: what a session is built of, and the turns that it hears."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rspp.contract.event import Event
from rspp.host.ports import Refused
from rspp.kernel.hosting import Context
from rspp.kernel.state import StateClass
from rspp.media.wav import read_wav, write_wav
from tests.features.play import PROBED, events_of, play, sound_of, with_node
from tests.unit.host.stage import LOUD, QUIET, Caller, Stage, graph_of, on_stage

# ---- F-002: a version becomes a running session ----------------------------------------------------------------------

PLAIN_NODES = {"caller", "vad", "end_of_turn", "stt", "llm", "probe", "tts", "speaker"}
PLAIN_EDGES = {
    ("caller.audio", "vad.audio"),
    ("caller.audio", "end_of_turn.audio"),
    ("caller.audio", "stt.audio"),
    ("stt.final", "llm.text"),
    ("llm.text", "probe.text"),
    ("llm.text", "speaker.text"),
    ("probe.text", "tts.text"),
    ("tts.audio", "speaker.audio"),
}
SHORTER = (
    PROBED.replace("version: v1\nnodes", "version: v2\nnodes")
    .replace("  probe: {type: text_filter, version: v1}\n", "")
    .replace("[probe.text, speaker.text]", "[tts.text, speaker.text]")
    .replace("  - {from: probe.text, to: tts.text}\n", "")
)


def built(caller: Caller) -> tuple[set[str], set[tuple[str, str]]]:
    """The nodes and edges that really run in a caller's session."""
    assert caller.seat is not None
    graph = caller.seat.kernel.graph
    wires = {
        (f"{edge.source}.{edge.source_port}", f"{edge.target}.{edge.target_port}")
        for edge in (run.definition for run in graph.edges.values())
    }
    return set(graph.nodes), wires


@pytest.mark.proves("F-002")
def test_a_session_is_built_of_the_nodes_and_edges_of_its_version_and_running_is_its_first_event() -> None:
    async def scene(stage: Stage) -> None:
        first, second = stage.call(pipeline_version="v1"), stage.call(pipeline_version="v2")
        await asyncio.gather(first.frames(100), second.frames(100))
        assert built(first) == (PLAIN_NODES, PLAIN_EDGES)
        shorter = {edge for edge in PLAIN_EDGES if not any("probe" in end for end in edge)}
        assert built(second) == (PLAIN_NODES - {"probe"}, shorter | {("llm.text", "tts.text")})
        for caller, version in ((first, "v1"), (second, "v2")):
            _, event = caller.events[0]
            assert caller.names()[0] == "session_started"
            started = caller.signals("session_started")
            assert [signal.detail["state"] for signal in started if signal.detail] == ["RUNNING"]
            assert event.scope.pipeline_version == version

    on_stage(scene, graph_of(base=PROBED), graph_of(base=SHORTER))


@pytest.mark.proves("F-002")
def test_a_version_that_nobody_published_is_refused_and_leaves_no_session_behind() -> None:
    async def scene(stage: Stage) -> None:
        before = {task.get_name() for task in asyncio.all_tasks()}
        with pytest.raises(Refused) as refused:
            stage.call(pipeline_version="v3")
        assert refused.value.code == "pipeline_unknown"
        await asyncio.sleep(1)
        assert stage.host.sessions == {}
        assert len(stage.host.timer) == 0
        assert {task.get_name() for task in asyncio.all_tasks()} == before

    on_stage(scene, graph_of(base=PROBED), graph_of(base=SHORTER))


# ---- F-014: utterances become turns ----------------------------------------------------------------------------------


class Tracker:
    """A node that marks its turn's state, and its session's, and writes down what it found marked before."""

    def __init__(self, found: list[tuple[str | None, object, object]]) -> None:
        self.found = found

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        self.found.append((ctx.turn_id, ctx.get(StateClass.TURN, "dirt"), ctx.get(StateClass.HOT, "dirt")))
        ctx.put(StateClass.TURN, "dirt", ctx.turn_id)
        ctx.put(StateClass.HOT, "dirt", ctx.turn_id)
        ctx.emit("text", event.payload)


@pytest.mark.proves("F-014")
def test_four_utterances_give_four_numbered_pairs_and_a_node_is_clean_at_each_start(tmp_path: Path) -> None:
    write_wav(tmp_path / "four.wav", sound_of(*([(600, LOUD), (4_000, QUIET)] * 4)))
    found: list[tuple[str | None, Any, Any]] = []

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await play(caller, read_wav(tmp_path / "four.wav"))
        marks = events_of(caller, "turn_open", "close")
        assert [signal.signal for _, _, signal in marks] == ["turn_open", "close"] * 4
        assert [signal.detail and signal.detail["ordinal"] for _, _, signal in marks] == [
            1,
            1,
            2,
            2,
            3,
            3,
            4,
            4,
        ]
        turns = [event.scope.turn_id for _, event, _ in marks]
        assert turns[::2] == turns[1::2]
        assert len(set(turns)) == 4
        assert None not in turns
        for number, turn in enumerate(turns[::2]):
            first, *others = [one for one in found if one[0] == turn]
            assert first[1] is None  # clean
            # It could have seen dirt: within the turn there is some, and the session's own is there from turn to turn.
            assert others
            assert {turn_dirt for _, turn_dirt, _ in others} == {turn}
            assert first[2] == (turns[2 * number - 1] if number else None)

    on_stage(scene, graph_of(base=PROBED), registry=with_node(lambda config: Tracker(found)))


@pytest.mark.proves("F-014")
def test_silence_alone_opens_no_turn(tmp_path: Path) -> None:
    write_wav(tmp_path / "silence.wav", sound_of((15_000, QUIET)))

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await play(caller, read_wav(tmp_path / "silence.wav"))
        assert events_of(caller, "turn_open_proposed", "turn_open", "close", "speech_started") == []
        assert caller.audio() == []

    on_stage(scene, graph_of(base=PROBED))
