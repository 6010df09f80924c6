"""A playback tells what was recorded, each thing with its mode, and runs nothing."""

from __future__ import annotations

import pytest

from rspp.contract.errors import MisuseError
from rspp.contract.event import Text
from rspp.contract.words import RecordingLevel
from rspp.kernel.inputs import CallProduced
from rspp.kernel.session import SessionKernel
from rspp.timeline.recording import Recording
from rspp.timeline.replay.modes import Mode, Outputs
from rspp.timeline.replay.playback import PlaybackRun
from tests.unit.timeline.calls import simulated

PLAYBACK = Mode(outputs=Outputs.PLAYBACK)


def played(recording: Recording) -> PlaybackRun:
    run = PlaybackRun(recording, PLAYBACK)
    while run.step() is not None:
        pass
    return run


def test_everything_that_a_model_said_is_told_in_order_and_stamped() -> None:
    recording = simulated()
    said = [
        one.payload.text
        for _, one in recording.inputs.values()
        if isinstance(one, CallProduced) and isinstance(one.payload, Text)
    ]
    run = played(recording)
    told = [one for one in run.outputs if one.source == "provider" and one.what == "text"]
    assert [one.text for one in told] == said
    assert [one.step for one in run.outputs] == sorted(one.step for one in run.outputs)
    assert {(one.mode, one.decisions) for one in run.outputs} == {
        ("playback_recorded_provider_outputs", "replay_decisions")
    }
    assert sum(one.samples or 0 for one in run.outputs if one.source == "sent") == sum(
        one.samples for one in recording.runs
    )
    story = run.story()
    assert (story.mode, story.decisions) == ("playback_recorded_provider_outputs", "replay_decisions")
    assert story.items == recording.items


def test_no_kernel_is_made_and_no_step_of_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = simulated()

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a playback made a kernel")

    monkeypatch.setattr(SessionKernel, "__init__", refused)
    assert played(recording).outputs


def test_what_was_withheld_is_told_as_withheld() -> None:
    recording = simulated()
    step = next(
        step
        for step, (_, one) in recording.inputs.items()
        if isinstance(one, CallProduced) and isinstance(one.payload, Text)
    )
    recording.withheld_texts.add(step)
    withheld = [one for one in played(recording).outputs if one.source == "provider" and one.withheld]
    assert [one.step for one in withheld if one.what == "text"] == [step]


def test_without_recorded_outputs_it_is_refused_and_decisions_can_be_walked_by_that_name() -> None:
    recording = simulated(level=RecordingLevel.L0)
    with pytest.raises(MisuseError, match="replay_outputs_missing"):
        PlaybackRun(recording, PLAYBACK)
    run = PlaybackRun(recording, PLAYBACK, decisions_only=True)
    items = []
    while (taken := run.step()) is not None:
        items += taken.items
    assert items == recording.items
    assert run.outputs == []
