"""A recording under another graph: the same graph does the same, another one differs where it is another."""

from __future__ import annotations

import msgspec
import pytest

from rspp.contract.errors import MisuseError
from rspp.kernel.flags import CURRENT
from rspp.nodes import factories
from rspp.spec.graph import GraphDefinition, NodeDefinition
from rspp.timeline.diff import DivergenceClass, compare
from rspp.timeline.recording import Recording
from rspp.timeline.replay.adaptive import MISSING, AdaptiveRun
from rspp.timeline.replay.exact import ExactRun
from rspp.timeline.replay.modes import Decisions, Mode, Outputs
from rspp.timeline.story import Story
from tests.unit.timeline.calls import simulated, simulated_bytes
from tests.unit.timeline.replay.altered import read

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

ANEW = Mode(outputs=Outputs.RE_SIMULATE, decisions=Decisions.RECOMPUTE)
replace = msgspec.structs.replace


def again(recording: Recording, graph: GraphDefinition | None = None, mode: Mode = ANEW) -> AdaptiveRun:
    run = AdaptiveRun(recording, graph or recording.head.graph, factories(), mode)
    while run.step() is not None:
        pass
    return run


def recorded(recording: Recording) -> Story:
    run = ExactRun(recording, factories(), Mode(outputs=Outputs.RE_SIMULATE))
    while run.step() is not None:
        pass
    return run.story("recorded", rest=False)


def with_node(graph: GraphDefinition, node_id: str, **changes: object) -> GraphDefinition:
    def change(node: NodeDefinition) -> NodeDefinition:
        return replace(node, **changes) if node.id == node_id else node

    return replace(graph, nodes=tuple(map(change, graph.nodes)))


def node_of(graph: GraphDefinition, node_id: str) -> NodeDefinition:
    return next(node for node in graph.nodes if node.id == node_id)


@pytest.mark.parametrize("faults", ["none", "all"])
@pytest.mark.parametrize("session", range(5))
def test_the_recorded_graph_does_what_was_recorded_to_the_byte(session: int, faults: str) -> None:
    recording = simulated(5, session, faults)
    run = again(recording)
    assert recording.end is not None
    assert run.digest() == recording.end.digest
    assert run.missing == []
    report = compare(recorded(recording), run.story())
    assert report.total == 0
    assert (run.story().mode, run.story().decisions) == ("re_simulate_nodes", "recompute_decisions")


def test_an_altered_node_is_where_the_difference_is() -> None:
    recording = simulated()
    graph = recording.head.graph
    warmer = {**node_of(graph, "llm").config, "temperature": 0.5}
    run = again(recording, with_node(graph, "llm", config=warmer))
    report = compare(recorded(recording), run.story())
    assert report.total
    first = report.divergences[0]
    assert (first.kind, first.scope) == (DivergenceClass.PLAN, "trace")
    assert "nodes[llm].config.temperature" in first.message
    assert all("llm" in one.message for one in report.divergences)
    assert run.missing == []


def test_a_graph_without_a_recorded_inputs_node_is_refused_by_its_name() -> None:
    recording = simulated()
    graph = recording.head.graph
    for lost in ("stt", "llm", "vad"):
        kept = replace(graph, nodes=tuple(node for node in graph.nodes if node.id != lost))
        with pytest.raises(MisuseError, match=rf"replay_node_missing.*'{lost}'"):
            AdaptiveRun(recording, kept, factories(), ANEW)


def test_a_node_of_another_name_and_the_same_modality_takes_the_outputs() -> None:
    recording = simulated()
    graph = recording.head.graph
    nodes = tuple(replace(node, id="brain") if node.id == "llm" else node for node in graph.nodes)

    def renamed(node: str) -> str:
        return "brain" if node == "llm" else node

    edges = tuple(
        replace(edge, source=renamed(edge.source), target=renamed(edge.target)) for edge in graph.edges
    )
    node_id, port = graph.turn_input
    run = again(recording, replace(graph, nodes=nodes, edges=edges, turn_input=(renamed(node_id), port)))
    assert run.missing == []
    assert [one.text for one in run.story().said] == [one.text for one in recorded(recording).said]


def test_a_call_for_which_nothing_was_recorded_fails_by_that_name() -> None:
    recording = simulated()
    graph = recording.head.graph
    shorter = {**node_of(graph, "segmenter").config, "characters_max": 16, "characters_min": 4}
    run = again(recording, with_node(graph, "segmenter", config=shorter))
    assert {one.node for one in run.missing} == {"tts"}
    causes = {
        item.facts["detail"]["cause"]
        for item in run.story().items
        if item.what == "signal" and item.name == "provider_error"
    }
    assert MISSING in causes
    assert run.kernel.ended


def test_recomputed_decisions_are_todays_and_replayed_ones_the_recordings() -> None:
    recording = simulated()
    old = replace(recording.head.request, flags=())
    recording.head = replace(recording.head, request=old)
    run = again(recording)
    assert run.kernel.desk.flags == frozenset(CURRENT)
    kept = AdaptiveRun(recording, recording.head.graph, factories(), Mode(outputs=Outputs.RE_SIMULATE))
    assert kept.kernel.desk.flags == frozenset()


def test_a_recording_that_breaks_off_is_replayed_to_there() -> None:
    data = simulated_bytes()
    recording = read(data[: len(data) // 2])
    run = again(recording)
    assert run.digest()
    last = recording.inputs[run.reach.through][0]
    assert all(item.at <= last for item in run.story().items)
    report = compare(recorded(recording), run.story())
    assert [one for one in report.divergences if one.kind is not DivergenceClass.TIMING] == []
