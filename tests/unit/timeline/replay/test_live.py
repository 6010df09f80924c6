"""The recorded caller calls again: real host, real providers; what is not live says what was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec
import pytest

from rspp.adapters.transports.loopback import LoopClock
from rspp.cli.compose import installed, registry_of
from rspp.contract.errors import MisuseError
from rspp.contract.event import Text
from rspp.host.registry import Registry
from rspp.kernel.inputs import CallProduced
from rspp.nodes import factories
from rspp.spec.graph import GraphDefinition, Policies
from rspp.testing import scripted
from rspp.testing.clock import VirtualLoop
from rspp.timeline.recording import Recording
from rspp.timeline.replay.exact import ExactRun
from rspp.timeline.replay.live import Lived, LiveReplay
from rspp.timeline.replay.modes import Mode, Outputs
from tests.unit.timeline.calls import simulated

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

LIVE = Mode(outputs=Outputs.LIVE)
REGISTRY = Registry(
    providers=scripted.providers(),
    nodes=factories(),
    defaults={"vad": "scripted-vad", "end_of_turn": "scripted-end-of-turn"},
)


def bound(graph: GraphDefinition, **providers: str) -> GraphDefinition:
    names = {modality: (name,) for modality, name in providers.items()}
    return msgspec.structs.replace(graph, providers={**graph.providers, **names})


def lived(
    recording: Recording, live: Iterable[str] | None = None, settings: dict[str, object] | None = None
) -> Lived:
    graph = bound(recording.head.graph, llm="scripted-llm", tts="scripted-tts")
    if settings:
        graph = msgspec.structs.replace(graph, provider_settings={"scripted-llm": settings})

    async def main() -> Lived:
        clock = LoopClock(asyncio.get_running_loop())
        return await LiveReplay(recording, graph, REGISTRY, LIVE, clock, live=live).run()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def words(recording: Recording, node: str) -> list[str]:
    calls = {item.facts["call"] for item in recording.items if item.what == "invoke" and item.name == node}
    return [
        one.payload.text
        for _, one in recording.inputs.values()
        if isinstance(one, CallProduced) and one.call_id in calls and isinstance(one.payload, Text)
    ]


def test_the_model_answers_anew_what_the_caller_said_then() -> None:
    recording = simulated()
    result = lived(recording)
    questions = [one.text for one in result.story.heard if one.final]
    assert questions == [text for text in questions if text in words(recording, "stt")]
    assert len(questions) == 3
    assert [one.text for one in result.story.said if one.role == "assistant"] == [
        f"You said: {question}" for question in questions
    ]
    assert result.called == {"llm": 3, "tts": 3}
    assert words(result.recording, "stt") == words(recording, "stt")
    assert words(result.recording, "llm") != words(recording, "llm")
    assert (result.story.mode, result.story.decisions) == ("live_providers", "replay_decisions")


def test_what_came_of_it_is_a_recording_that_replays() -> None:
    result = lived(simulated())
    run = ExactRun(result.recording, factories(), Mode(outputs=Outputs.RE_SIMULATE))
    while run.step() is not None:
        pass
    assert run.comparison.count == 0
    assert result.recording.head.origin == "replay"


def test_what_is_not_live_is_played_and_never_called() -> None:
    recording = simulated()
    result = lived(recording, ["tts"])
    assert set(result.called) == {"tts"}
    assert result.called["tts"] >= 3
    assert "scripted-llm" in result.played
    said = words(result.recording, "llm")
    # Where the voice is slower now than then, the caller's next question comes into the answer.
    assert said
    assert set(said) <= set(words(recording, "llm"))


def test_a_provider_that_fails_fails_its_turn_and_the_call_goes_on() -> None:
    result = lived(simulated(), settings={"faults": {"fail_times": -1, "fail_retryable": False}})
    names = [item.name for item in result.story.items if item.what == "signal"]
    assert "provider_error" in names
    assert "abort" in names


def test_who_would_have_to_hear_what_was_not_kept_is_refused() -> None:
    with pytest.raises(MisuseError, match=r"replay_sound_missing.*stt"):
        lived(simulated(), ["stt", "llm"])


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.usefixtures("models")
def test_real_local_models_answer_a_recorded_caller() -> None:
    """A first question, had again: its words are recorded, what answers them is a model of this machine."""
    recording = until_the_first_answer(simulated())
    graph = bound(recording.head.graph, llm="local-smollm2", tts="local-hibari")
    config = {"system": "Answer in one short sentence.", "tokens_max": 12, "temperature": 0}
    nodes = tuple(
        msgspec.structs.replace(node, config={**node.config, **config}) if node.id == "llm" else node
        for node in graph.nodes
    )
    graph = msgspec.structs.replace(
        graph,
        nodes=nodes,
        policies=patient(graph),
        budgets=msgspec.structs.replace(graph.budgets, turn_budget_ms=9_000),
    )
    registry = registry_of(installed())

    async def main() -> Lived:
        clock = LoopClock(asyncio.get_running_loop())
        return await LiveReplay(recording, graph, registry, LIVE, clock, patience_s=9).run()

    result = asyncio.run(main())
    assert result.called["llm"] == 1
    said = " ".join(one.text for one in result.story.said if one.role == "assistant")
    assert said.strip()
    assert said not in " ".join(words(recording, "llm"))
    sent = [item for item in result.story.items if item.what == "signal" and item.name == "commit"]
    assert sent
    assert sum(run.samples for run in result.story.runs) > 8_000


def patient(graph: GraphDefinition) -> Policies:
    """A model on a busy processor answers late rather than never."""
    calls = msgspec.structs.replace(graph.policies.calls, provider_timeout_ms=9_000, progress_ms_max=9_000)
    return msgspec.structs.replace(graph.policies, calls=calls)


def until_the_first_answer(recording: Recording) -> Recording:
    """What there is of it until a moment after the first turn has opened."""
    opened = next(item.step for item in recording.items if item.name == "turn_open")
    last = next(mark.through for mark in recording.marks if mark.through > opened)
    recording.inputs = {step: one for step, one in recording.inputs.items() if step <= last}
    recording.items = [item for item in recording.items if item.step <= last]
    recording.marks = [mark for mark in recording.marks if mark.through <= last]
    recording.end = None
    return recording
