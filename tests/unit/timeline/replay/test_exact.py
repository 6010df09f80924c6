"""An exact replay equals its recording, and says where it does not, to the item."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from rspp.contract.errors import MisuseError
from rspp.contract.event import Text
from rspp.contract.words import RecordingLevel
from rspp.kernel.inputs import CallProduced
from rspp.kernel.trace import Item
from rspp.nodes import factories
from rspp.timeline import records as r
from rspp.timeline.recording import Recording
from rspp.timeline.replay.exact import WHOLE, ExactRun, reach
from rspp.timeline.replay.modes import Mode, Outputs
from tests.unit.timeline.calls import simulated, simulated_bytes
from tests.unit.timeline.replay.altered import changed, nth_item, read, replace, with_items

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

EXACTLY = Mode(outputs=Outputs.RE_SIMULATE)


def run(recording: Recording) -> ExactRun:
    replay = ExactRun(recording, factories(), EXACTLY)
    while replay.step() is not None:
        pass
    return replay


@pytest.mark.parametrize("faults", ["none", "all"])
@pytest.mark.parametrize("session", range(4))
def test_a_recording_is_replayed_without_a_difference(session: int, faults: str) -> None:
    recording = simulated(7, session, faults)
    replay = run(recording)
    assert replay.comparison.differences == []
    assert recording.end is not None
    assert replay.comparison.digest_replayed == recording.end.digest == replay.comparison.digest_recorded
    assert replay.reach.why == WHOLE
    story = replay.story()
    assert story.items == recording.items
    assert story.evidence == recording.evidence
    assert (story.mode, story.decisions) == ("re_simulate_nodes", "replay_decisions")


def test_an_item_that_was_deleted_is_found_where_it_stood() -> None:
    data = simulated_bytes()
    number, gone = nth_item(data, "signal", "turn_open", 1)
    replay = run(read(with_items(data, lambda one: None if one == gone else one)))
    first = replay.comparison.first
    assert first is not None
    assert replay.comparison.count == 1
    assert (first.position.step, first.position.item) == (gone.step, number)
    assert first.kind == "OUTCOME_DIVERGENCE"
    assert first.expected is None
    assert first.got is not None
    assert first.got["name"] == "turn_open"


def test_an_item_that_was_altered_is_found_with_what_was_there() -> None:
    data = simulated_bytes()
    number, one = nth_item(data, "signal", "close", 0)
    other = replace(one, facts={**one.facts, "reason": "forged"})
    first = run(read(with_items(data, lambda item: other if item == one else item))).comparison.first
    assert first is not None
    assert first.position.item == number
    assert first.position.time_ms == (one.at - read(data).began_at) / 1e6
    assert first.expected is not None
    assert first.expected["facts"]["reason"] == "forged"
    assert "reason" in first.message


@pytest.mark.parametrize(
    ("what", "name", "change", "kind"),
    [
        ("record", "plan", {"plan_hash": "0" * 64}, "PLAN_DIVERGENCE"),
        ("invoke", "llm", {"provider": "another"}, "PROVIDER_CHOICE_DIVERGENCE"),
        ("signal", "turn_open", {"reason": "why_not"}, "OUTCOME_DIVERGENCE"),
    ],
)
def test_what_differs_has_the_contracts_class(
    what: str, name: str, change: dict[str, object], kind: str
) -> None:
    data = simulated_bytes()
    _, one = nth_item(data, what, name)
    other = replace(one, facts={**one.facts, **change})
    first = run(read(with_items(data, lambda item: other if item == one else item))).comparison.first
    assert first is not None
    assert first.kind == kind


def test_another_time_is_a_timing_divergence_with_its_size_and_another_epoch_one_of_authority() -> None:
    data = simulated_bytes()
    _, one = nth_item(data, "signal", "turn_open")
    late = with_items(data, lambda item: replace(item, at=item.at + 30_000_000) if item == one else item)
    first = run(read(late)).comparison.first
    assert first is not None
    assert (first.kind, first.diff_ms) == ("TIMING_DIVERGENCE", 30.0)
    moved = with_items(data, lambda item: replace(item, epoch=99) if item == one else item)
    first = run(read(moved)).comparison.first
    assert first is not None
    assert first.kind == "AUTHORITY_DIVERGENCE"


def test_two_items_that_changed_places_are_one_ordering_divergence() -> None:
    data = simulated_bytes()
    items = read(data).items
    at = next(n for n, (a, b) in enumerate(pairwise(items)) if a.step == b.step and a.name != b.name)
    a, b = items[at], items[at + 1]
    replay = run(read(with_items(data, lambda item: b if item == a else a if item == b else item)))
    assert [one.kind for one in replay.comparison.differences] == ["ORDERING_DIVERGENCE"]
    assert replay.comparison.first is not None
    assert replay.comparison.first.position.item == at


def said_by_the_model(recording: Recording) -> tuple[int, str]:
    """The first text of an answer: its input, and the words."""
    answers = {item.facts["call"] for item in recording.items if item.what == "invoke" and item.name == "llm"}
    return next(
        (step, one.payload.text)
        for step, (_, one) in recording.inputs.items()
        if isinstance(one, CallProduced) and one.call_id in answers and isinstance(one.payload, Text)
    )


def uncaptured() -> Recording:
    """A recording as a live one is, whose nodes run again."""
    return read(changed(simulated_bytes(), lambda record: None if isinstance(record, r.Steps) else record))


def with_text(recording: Recording, step: int, text: str) -> Recording:
    at, one = recording.inputs[step]
    assert isinstance(one, CallProduced)
    recording.inputs[step] = (at, replace(one, payload=replace(one.payload, text=text)))
    return recording


def test_a_recorded_input_that_was_altered_makes_the_replay_differ_at_its_step_or_soon_after() -> None:
    recording = uncaptured()
    assert run(uncaptured()).comparison.count == 0
    step, text = said_by_the_model(recording)
    first = run(with_text(recording, step, text + " and much more of it")).comparison.first
    assert first is not None
    assert step <= first.position.step < step + 64


def test_words_that_were_exchanged_for_others_of_the_same_shape_are_found_between_two_marks() -> None:
    recording = uncaptured()
    assert run(uncaptured()).comparison.count == 0
    step, text = said_by_the_model(recording)
    replay = run(with_text(recording, step, "".join("x" if one.islower() else one for one in text)))
    assert replay.comparison.digest_recorded == replay.comparison.digest_replayed
    assert replay.comparison.count == 1
    assert replay.comparison.first is not None
    assert "other words" in replay.comparison.first.message
    assert abs(replay.comparison.first.position.step - step) <= 64


def test_an_input_that_was_deleted_is_missed_even_if_nothing_followed_from_it() -> None:
    data = simulated_bytes()

    second = [record for record in r.unframe(data).records if isinstance(record, r.Inputs)][1]
    lost = second.first + len(second.entries) - 1

    def shorter(record: r.AnyRecord) -> r.AnyRecord:
        return replace(record, entries=record.entries[:-1]) if record == second else record

    replay = run(read(changed(data, shorter)))
    assert replay.reach.fault
    last = replay.comparison.differences[-1]
    assert last.position.step == lost
    assert f"input {lost} is missing" in last.message


def test_frames_that_were_sent_otherwise_are_found_though_no_item_shows_them() -> None:
    data = simulated_bytes()

    recording = read(data)
    number = next(n for n, one in enumerate(recording.runs) if n and not one.sample_index)
    run_of = recording.runs[number]  # a turn's first: what goes on from a batch before has no time of its own
    recording.runs[number] = replace(run_of, at=run_of.at + 40_000_000)
    before = max(mark.through for mark in recording.marks if mark.through < run_of.step)
    recording.marks = [
        replace(mark, digest="0" * 64) if mark.through > before else mark for mark in recording.marks
    ]
    first = run(recording).comparison.first
    assert first is not None
    assert "frames" in first.message
    assert before < first.position.step <= run_of.step


def _with_run(**changes: object) -> Recording:
    """A recording whose last run of frames is another one, and whose digests no replay can have."""
    recording = read(simulated_bytes())
    number = max(n for n, one in enumerate(recording.runs) if not one.sample_index)
    run_of = recording.runs[number]
    recording.runs[number] = replace(run_of, **changes)
    recording.marks = [
        replace(mark, digest="0" * 64) if mark.through >= run_of.step else mark for mark in recording.marks
    ]
    return recording


def test_frames_of_another_epoch_are_a_divergence_of_authority() -> None:
    first = run(_with_run(epoch=99)).comparison.first
    assert first is not None
    assert (first.kind, first.expected and first.expected["epoch"]) == ("AUTHORITY_DIVERGENCE", 99)


def test_a_time_that_is_tolerated_excuses_no_frame() -> None:
    recording = _with_run(frames=3)
    place = next(n for n, one in enumerate(recording.items) if one.step > 5)
    moved = recording.items[place]
    recording.items[place] = replace(moved, step=moved.step - 1, at=moved.at - 1_000_000)
    comparison = run(recording).comparison
    assert comparison.tolerated
    assert comparison.first is not None
    assert "frames" in comparison.first.message


def test_what_a_redactor_replaced_in_a_detail_is_no_difference() -> None:
    data = simulated_bytes(7, 1, "all")
    recording = read(data)
    one = next(
        item
        for item in recording.items
        if any(isinstance(v, str) and v.isalpha() for v in item.facts.get("detail", {}).values())
    )
    name, value = next((k, v) for k, v in one.facts["detail"].items() if isinstance(v, str) and v.isalpha())
    stand_in = replace(one, facts={**one.facts, "detail": {**one.facts["detail"], name: "q" * len(value)}})
    if value.islower():
        altered = with_items(data, lambda item: stand_in if item == one else item)
        assert run(read(altered)).comparison.count == 0
    forged = replace(one, facts={**one.facts, "detail": {**one.facts["detail"], name: value + "longer"}})
    altered = with_items(data, lambda item: forged if item == one else item)
    assert run(read(altered)).comparison.count == 1


def test_a_recording_without_inputs_is_refused() -> None:
    recording = simulated(level=RecordingLevel.L0)
    with pytest.raises(MisuseError, match="replay_inputs_missing"):
        ExactRun(recording, factories(), EXACTLY)


def test_a_torn_recording_is_replayed_to_its_last_mark_and_the_rest_is_not_invented() -> None:
    data = simulated_bytes()
    torn = r.unframe(data[: len(data) * 2 // 3])
    assert torn.torn
    recording = read(data[: len(data) * 2 // 3])
    replay = run(recording)
    assert replay.comparison.count == 0
    assert "torn" in replay.reach.why
    assert replay.last == recording.marks[-1].through
    assert replay.comparison.digest_replayed == recording.marks[-1].digest


def test_after_a_gap_the_recording_itself_is_told() -> None:
    data = simulated_bytes()
    recording = read(data)
    marks = [mark.through for mark in recording.marks]
    cut = marks[len(marks) // 2]

    def lose(record: r.AnyRecord) -> r.AnyRecord | None:
        if isinstance(record, r.Inputs) and record.first > cut:
            return r.Gap(step=record.first, at=record.at, reason="no_room", records=1)
        if isinstance(record, r.Trace) and record.through > cut:
            return replace(record, digest=None, words=None)
        return replace(record, digest=None) if isinstance(record, r.End) else record

    replay = run(read(changed(data, lose)))
    assert replay.last == cut
    assert "gap" in replay.reach.why
    assert replay.comparison.count == 0
    story = replay.story()
    assert len(story.items) == len(recording.items)
    assert story.evidence == recording.evidence
    assert story.stamps == recording.stamps


def test_how_far_a_recording_goes_is_said() -> None:
    assert reach(simulated()).why == WHOLE
    assert reach(simulated(level=RecordingLevel.L0)).through == 0


def test_a_time_inside_the_tolerance_is_counted_and_one_beyond_it_is_listed() -> None:
    data = simulated_bytes(7, 2, "all")
    _, one = nth_item(data, "signal", "turn_open")
    for late_ms in (0, 14, 16, 200):
        comparison = run(read(with_items(data, later(one, late_ms)))).comparison
        found = [(one.kind, one.diff_ms) for one in comparison.differences]
        assert found == ([("TIMING_DIVERGENCE", float(late_ms))] if late_ms > 15 else [])
        assert comparison.tolerated == (late_ms == 14)


def later(wanted: Item, late_ms: int) -> Callable[[Item], Item]:
    return lambda item: replace(item, at=item.at + late_ms * 1_000_000) if item == wanted else item
