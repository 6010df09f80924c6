"""One session's recorder: what it writes at each level, where levels change, and what it says of what it lost."""

from __future__ import annotations

import tracemalloc
from typing import TypeVar

import pytest
from msgspec.structs import replace

from rspp.contract.errors import InvariantBreach
from rspp.contract.event import Audio, Signal
from rspp.contract.evidence import CloseStamp
from rspp.contract.words import ConnectionState, RecordingLevel
from rspp.host.ports import Stepped
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.testing.rig import Rig, open_request
from rspp.timeline import records as r
from rspp.timeline.ports import Everything, Kept
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.session import BATCH_INPUTS, SessionRecorder
from tests.unit.timeline.spooling import Told, evidence, graph_at

L0, L1, L2 = RecordingLevel.L0, RecordingLevel.L1, RecordingLevel.L2
NS = 20_000_000


class Picky:
    """An append whose room, and whose answers, a test decides."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.room = self.reserve = True
        self.why: str | None = None
        self.closed = 0

    def append(self, data: bytes, *, reserved: bool = False, kept: Kept | None = None) -> bool:
        if not (self.reserve if reserved else self.room):
            return False
        if self.why is None:
            self.data.append(data)
        if kept is not None:
            kept(self.why)
        return True

    def close(self) -> None:
        self.closed += 1

    def records(self) -> list[r.AnyRecord]:
        return r.unframe(b"".join(self.data)).records

    def recording(self) -> Recording:
        return assemble([r.unframe(b"".join(self.data))])


def recorder_at(level: RecordingLevel, ceiling: RecordingLevel = L2) -> tuple[SessionRecorder, Picky]:
    append = Picky()
    made = SessionRecorder(append, Everything(), wall_ms=lambda: 1, ceiling=ceiling)
    made.opened(open_request(), graph_at(level))
    return made, append


def frame(recorder: SessionRecorder, number: int) -> None:
    recorder.took(number * NS, i.AudioReceived(Audio(bytes([number % 256]) * 640, 320, number * 320), number))
    recorder.did(number * NS, [fx.EndFeed("call", last=False)])


def changed(recorder: SessionRecorder, number: int, old: RecordingLevel, new: RecordingLevel) -> None:
    """The kernel lowers or raises the level, in answer to input `number`."""
    rig = Rig()
    rig.give(i.ConnectionChanged(ConnectionState.CONNECTED))
    one = next(effect for _, effect in rig.effects if isinstance(effect, fx.Announce))
    signal = Signal(
        f"recording_level_{'downgraded' if new.value < old.value else 'restored'}",
        "recorder",
        reason="queue_fill",
        detail={"old": old.value, "new": new.value, "trigger_class": "queue_fill", "policy_id": "p"},
    )
    recorder.took(number * NS, i.RecorderPressed(0.9, 0))
    recorder.did(number * NS, [fx.Announce(replace(one.event, payload=signal))])


T = TypeVar("T", bound=r.Record)


def of(append: Picky, kind: type[T]) -> list[T]:
    return [one for one in append.records() if isinstance(one, kind)]


# ---- levels --------------------------------------------------------------------------------------------------------


def test_at_l0_there_is_evidence_and_control_and_nothing_of_inputs() -> None:
    recorder, append = recorder_at(L0)
    for number in range(300):
        frame(recorder, number)
    assert recorder.evidence("r1", evidence(1)) == "later"
    recorder.closed()
    assert {type(one).__name__ for one in append.records()} == {"Head", "Evidence", "End"}
    end = of(append, r.End)[0]
    assert (end.steps, end.digest) == (300, None)


def test_at_l1_inputs_are_here_without_their_sound_and_at_l2_with_it() -> None:
    for level, heard in ((L1, 0), (L2, 300)):
        recorder, append = recorder_at(level)
        for number in range(300):
            frame(recorder, number)
        recorder.closed()
        recording = append.recording()
        assert recording.whole
        assert len(recording.inputs) == 300
        sounds = [one.audio.data for _, one in recording.input_list() if isinstance(one, i.AudioReceived)]
        assert sum(any(data) for data in sounds) == (heard and 300 - len(range(0, 300, 256)))
        assert {len(data) for data in sounds} == {640}


def test_a_change_of_level_takes_effect_at_the_very_next_input() -> None:
    recorder, append = recorder_at(L2)
    for number in range(5):
        frame(recorder, number)
    changed(recorder, 5, L2, L1)
    for number in range(6, 9):
        frame(recorder, number)
    changed(recorder, 9, L1, L0)
    for number in range(10, 14):
        frame(recorder, number)
    changed(recorder, 14, L0, L1)
    for number in range(15, 18):
        frame(recorder, number)
    recorder.closed()
    recording = append.recording()
    assert [(one.step, one.old, one.new) for one in recording.levels] == [
        (7, L2, L1),
        (11, L1, L0),
        (16, L0, L1),
    ]
    assert sorted(recording.inputs) == [*range(1, 11), *range(16, 19)], (
        "at L0 none, and not one too few beside it"
    )
    assert recording.without_sound == {*range(7, 10), *range(16, 19)}
    assert recording.complete_through == 10
    assert not recording.whole
    assert recording.end is not None
    assert recording.end.digest is None, "no sum can be over what is not here"


def test_a_level_that_is_skipped_is_a_defect_and_is_not_obeyed() -> None:
    recorder, _ = recorder_at(L2)
    with pytest.raises(InvariantBreach, match="recording_level_skipped"):
        changed(recorder, 1, L2, L0)
    assert recorder.level is L2


def test_a_tenants_ceiling_is_kept_whatever_the_kernel_announces() -> None:
    recorder, append = recorder_at(L2, ceiling=L1)
    assert recorder.level is L1
    changed(recorder, 1, L2, L1)
    assert recorder.level is L1
    changed(recorder, 2, L1, L0)
    changed(recorder, 3, L0, L1)
    changed(recorder, 4, L1, L2)
    recorder.closed()
    assert [(one.old, one.new) for one in of(append, r.Level)] == [(L1, L0), (L0, L1)]


def test_nodes_steps_are_numbered_on_through_levels_that_keep_none_of_them() -> None:
    recorder, append = recorder_at(L1)
    failed = Stepped("n", "on_event", error="ValueError")
    recorder.took(1, i.Woken())
    recorder.stepped(failed)
    changed(recorder, 1, L1, L0)
    recorder.flush()
    recorder.stepped(failed)
    changed(recorder, 2, L0, L1)
    recorder.flush()
    recorder.took(3, i.Woken())
    recorder.stepped(failed)
    recorder.closed()
    assert sorted(append.recording().nodes["n"]) == [1, 3]


# ---- evidence --------------------------------------------------------------------------------------------------------


def test_evidence_that_is_given_twice_stands_there_once() -> None:
    recorder, append = recorder_at(L1)
    told = Told()
    recorder.attach(told)
    assert recorder.evidence("r1", evidence(1)) == "later"
    assert recorder.evidence("r1", evidence(2)) is None
    assert [one.evidence.turn_id for one in of(append, r.Evidence)] == ["turn-1"]
    assert told.stored == {"r1": None}


def test_evidence_for_which_there_is_no_room_is_refused_at_once_and_may_be_given_again() -> None:
    recorder, append = recorder_at(L1)
    append.reserve = False
    assert recorder.evidence("r1", evidence(1)) == "recorder_full"
    append.reserve = True
    assert recorder.evidence("r1", evidence(1)) == "later"
    assert len(of(append, r.Evidence)) == 1


def test_evidence_stands_behind_every_input_that_came_before_it() -> None:
    recorder, append = recorder_at(L1)
    for number in range(3):
        frame(recorder, number)
    recorder.evidence("r1", evidence(1))
    kinds = [type(one).__name__ for one in append.records()]
    assert kinds.index("Inputs") < kinds.index("Evidence")


def test_a_turn_is_counted_with_what_is_missing_of_it() -> None:
    recorder, _ = recorder_at(L1)
    recorder.evidence("r1", evidence(1))
    recorder.closed_turn("r1", CloseStamp(session_id="s1", turn_id="turn-1", turn_close_at=5))
    recorder.closed_turn("r2", CloseStamp(session_id="s1", turn_id="turn-2", turn_close_at=6))
    meters = recorder._meters
    assert meters.or02_turns_total == 2
    assert meters.or02_required_field_missing_total > 1, (
        "the sample leaves fields out, and r2 has no evidence at all"
    )
    assert meters.alerts() == ("or02_required_field_missing_total_gt_0",)


# ---- what is lost ------------------------------------------------------------------------------------------------------


def test_what_found_no_room_is_said_as_soon_as_there_is_some_and_the_session_is_told_once_a_turn() -> None:
    recorder, append = recorder_at(L1)
    told = Told()
    recorder.attach(told)
    append.room = False
    for number in range(3):
        frame(recorder, number)
        recorder.flush()
    assert told.pressures == [i.RecorderPressed(1.0, 0)]
    assert not of(append, r.Gap), "saying so would take the room of evidence"
    recorder.closed_turn("r1", CloseStamp(session_id="s1", turn_id="turn-1", turn_close_at=5))
    frame(recorder, 3)
    recorder.flush()
    assert len(told.pressures) == 2
    append.room = True
    for number in range(4, 6):
        frame(recorder, number)
        recorder.flush()
    recorder.closed()
    assert [(one.step, one.reason) for one in of(append, r.Gap)] == [(1, "no_room")]
    recording = append.recording()
    assert sorted(recording.inputs) == [5, 6]
    assert recording.end is not None
    assert recording.end.lost == of(append, r.Gap)[0].records > 0
    assert recording.end.digest is None


def test_a_gap_that_nothing_follows_is_said_at_the_end() -> None:
    recorder, append = recorder_at(L1)
    append.room = False
    frame(recorder, 0)
    recorder.closed()
    assert [one.step for one in append.recording().gaps] == [1]


def test_after_a_disk_failed_the_head_is_written_again_for_it_may_be_what_was_lost() -> None:
    append = Picky()
    append.why = "disk_full"
    recorder = SessionRecorder(append, Everything(), wall_ms=lambda: 1)
    told = Told()
    recorder.attach(told)
    recorder.opened(open_request(), graph_at(L1))
    frame(recorder, 0)
    assert recorder.evidence("r1", evidence(1)) == "later"
    assert told.stored == {"r1": "disk_full"}
    append.why = None
    frame(recorder, 1)
    assert recorder.evidence("r2", evidence(2)) == "later"
    recorder.closed()
    recording = append.recording()
    assert (list(recording.evidence), sorted(recording.inputs)) == (["r2"], [2])
    assert [(gap.step, gap.reason) for gap in recording.gaps] == [(1, "disk_full")]


class Late(Picky):
    """An append that answers when the test says so, as the disk does."""

    def __init__(self) -> None:
        super().__init__()
        self.owed: list[tuple[bytes, Kept | None]] = []

    def append(self, data: bytes, *, reserved: bool = False, kept: Kept | None = None) -> bool:
        self.owed.append((data, kept))
        return True

    def answer(self, why: str | None) -> None:
        """The first that is owed."""
        data, kept = self.owed.pop(0)
        if why is None:
            self.data.append(data)
        if kept is not None:
            kept(why)


def test_evidence_whose_head_was_lost_in_front_of_it_counts_when_the_head_is_there() -> None:
    append = Late()
    recorder = SessionRecorder(append, Everything(), wall_ms=lambda: 1)
    told = Told()
    recorder.attach(told)
    recorder.opened(open_request(), graph_at(L1))
    assert recorder.evidence("r1", evidence(1)) == "later"
    append.answer("disk_full")  # the head
    append.answer(None)  # the evidence
    assert told.stored == {}
    append.answer(None)  # the head again
    assert told.stored == {"r1": None}
    assert list(append.recording().evidence) == ["r1"]


def test_evidence_whose_head_cannot_be_written_again_is_refused() -> None:
    append = Late()
    recorder = SessionRecorder(append, Everything(), wall_ms=lambda: 1)
    told = Told()
    recorder.attach(told)
    recorder.opened(open_request(), graph_at(L1))
    assert recorder.evidence("r1", evidence(1)) == "later"
    for why in ("disk_full", None, "disk_full"):
        append.answer(why)
    assert told.stored == {"r1": "disk_full"}


# ---- life ----------------------------------------------------------------------------------------------------------------


def test_a_recorder_that_was_never_opened_writes_nothing_and_refuses_evidence() -> None:
    append = Picky()
    recorder = SessionRecorder(append, Everything(), wall_ms=lambda: 1)
    frame(recorder, 0)
    assert recorder.evidence("r1", evidence(1)) == "recorder_closed"
    recorder.closed_turn("r1", CloseStamp(session_id="s1", turn_id="turn-1", turn_close_at=5))
    recorder.flush()
    recorder.pulse(1.0, 10_000)
    recorder.closed()
    assert append.data == []
    assert append.closed == 1


def test_it_ends_once_and_takes_nothing_after_its_end() -> None:
    recorder, append = recorder_at(L1)
    frame(recorder, 0)
    recorder.closed()
    before = list(append.data)
    recorder.closed()
    for number in range(1, 1_000):
        frame(recorder, number)
    recorder.flush()
    assert append.data == before
    assert append.closed == 1
    assert len(recorder._batch) <= BATCH_INPUTS


def test_what_lies_there_for_a_second_is_handed_on_by_the_pulse_and_nothing_is_by_an_idle_one() -> None:
    recorder, append = recorder_at(L1)
    frame(recorder, 0)
    for _ in range(5):
        recorder.pulse(0.0, 0)
    assert len(of(append, r.Inputs)) == 1
    count = len(append.data)
    for _ in range(100):
        recorder.pulse(0.0, 0)
    assert len(append.data) == count


@pytest.mark.parametrize("level", [L0, L1])
def test_a_long_session_holds_no_more_memory_than_a_short_one(
    level: RecordingLevel, caplog: pytest.LogCaptureFixture
) -> None:
    """Some minutes' frames stand for a day's: what grew with them would show."""
    caplog.set_level("CRITICAL", "rspp.recorder")  # the log of a test is kept in memory, too

    class Nowhere(Picky):
        def append(self, data: bytes, *, reserved: bool = False, kept: Kept | None = None) -> bool:
            if kept is not None:
                kept(None)
            return True

    recorder = SessionRecorder(Nowhere(), Everything(), wall_ms=lambda: 1)
    recorder.opened(open_request(), graph_at(level))
    stamp = CloseStamp(session_id="s1", turn_id="turn-1", turn_close_at=5)
    made = evidence(1)

    def minutes(first: int, count: int) -> None:
        for number in range(first * 300, (first + count) * 300):
            frame(recorder, number)
            recorder.stepped(Stepped("n", "on_event"))
            if number % 10 == 0:
                recorder.evidence(f"r{number}", made)
                recorder.closed_turn(f"r{number}", stamp)

    minutes(0, 5)
    recorder.flush()
    tracemalloc.start()
    minutes(5, 1)
    recorder.flush()
    before, _ = tracemalloc.get_traced_memory()
    minutes(6, 40)
    recorder.flush()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 20_000
