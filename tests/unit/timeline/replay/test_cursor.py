"""A replay pauses anywhere and goes on there, in any process; a cursor that is not of it is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rspp.contract.errors import MisuseError
from rspp.kernel.trace import Item
from rspp.nodes import factories
from rspp.timeline.recording import Recording
from rspp.timeline.replay.cursor import Place, ReplayCursor, Steps, read, resume, written
from rspp.timeline.replay.exact import ExactRun
from rspp.timeline.replay.modes import Mode, Outputs
from rspp.timeline.replay.playback import PlaybackRun
from rspp.timeline.replay.stops import Stop, after, at_signal, until
from tests.unit.timeline.calls import simulated

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

EXACTLY = Mode(outputs=Outputs.RE_SIMULATE)
PLAYBACK = Mode(outputs=Outputs.PLAYBACK)


def begun(recording: Recording, mode: Mode = EXACTLY) -> Steps:
    if mode == PLAYBACK:
        return PlaybackRun(recording, mode)
    return ExactRun(recording, factories(), mode)


def go(run: Steps, place: Place, stop: Stop | None = None) -> list[Item]:
    items: list[Item] = []
    while (taken := run.step()) is not None:
        place.passed(taken)
        items += taken.items
        if stop is not None and stop(taken):
            break
    return items


def paused(recording: Recording, stop: Stop, mode: Mode = EXACTLY) -> tuple[list[Item], ReplayCursor]:
    run = begun(recording, mode)
    place = Place(run)
    items = go(run, place, stop)
    return items, read(written(place.cursor()))


@pytest.mark.parametrize("mode", [EXACTLY, PLAYBACK], ids=["re-simulate", "playback"])
@pytest.mark.parametrize("steps", [1, 2, 333, 1_000])
def test_a_pause_changes_nothing(steps: int, mode: Mode) -> None:
    recording = simulated()
    whole = go(run := begun(recording, mode), Place(run))
    first, cursor = paused(recording, after(steps), mode)
    second = begun(recording, mode)
    resume(second, cursor)
    place = Place(second)
    place.resumed(cursor)
    assert place.cursor() == cursor
    assert first + go(second, place) == whole
    if isinstance(second, ExactRun):
        assert second.comparison.count == 0
        assert second.comparison.digest_replayed == second.comparison.digest_recorded


def test_a_cursor_names_the_last_event_before_it() -> None:
    recording = simulated()
    items, cursor = paused(recording, until("signal:turn_open", recording))
    last = max((item for item in items if item.seq is not None), key=lambda item: item.seq or 0)
    assert cursor.runtime_sequence == last.seq
    assert cursor.session_id == recording.session_id
    assert cursor.event_id is not None
    assert cursor.event_id.endswith(f"{last.seq:06d}")
    assert cursor.lane is not None
    assert (cursor.mode, cursor.decisions) == ("re_simulate_nodes", "replay_decisions")


def test_it_stops_at_a_turn_an_event_a_time_and_a_signal() -> None:
    recording = simulated()
    signals = [item for item in recording.items if item.what == "signal"]
    opened = [item for item in signals if item.name == "turn_open"]
    _, cursor = paused(recording, until("turn:2", recording))
    assert cursor.step == opened[1].step
    _, cursor = paused(recording, until(f"turn:{opened[0].turn}", recording))
    assert cursor.step == opened[0].step
    _, cursor = paused(recording, until(f"event:{opened[1].seq}", recording))
    assert cursor.step == opened[1].step
    _, cursor = paused(recording, until("time:12.5s", recording))
    assert cursor.at >= recording.began_at + 12_500_000_000
    assert cursor.at - recording.began_at < 12_600_000_000
    _, same = paused(recording, until("time:12500ms", recording))
    assert same == cursor
    _, cursor = paused(recording, at_signal(["commit", "abort"]))
    assert cursor.step == next(one.step for one in signals if one.name in ("commit", "abort"))


@pytest.mark.parametrize("what", ["", "turn", "turn:", "event:x", "time:soon", "time:nan", "time:inf", "8"])
def test_a_stop_that_makes_no_sense_is_refused(what: str) -> None:
    with pytest.raises(MisuseError, match="replay_stop_malformed"):
        until(what, simulated())


def test_a_signal_that_does_not_exist_is_refused() -> None:
    with pytest.raises(MisuseError, match="signal_unknown"):
        at_signal(["bargein"])


def test_a_cursor_of_another_recording_is_refused() -> None:
    _, cursor = paused(simulated(), after(5))
    with pytest.raises(MisuseError, match="cursor_other_recording"):
        resume(begun(simulated(7, 1)), cursor)
    changed = simulated()
    changed.items.pop()
    with pytest.raises(MisuseError, match="cursor_other_recording"):
        resume(begun(changed), cursor)


def test_a_cursor_past_the_end_or_of_another_mode_or_digest_is_refused() -> None:
    recording = simulated()
    _, cursor = paused(recording, after(5))
    last = recording.end.steps if recording.end else 0
    for step in (last + 1, 1 << 60, -1):
        with pytest.raises(MisuseError, match="cursor_past_end"):
            resume(begun(recording), msgspec.structs.replace(cursor, step=step))
    with pytest.raises(MisuseError, match="cursor_digest_mismatch"):
        resume(begun(recording), msgspec.structs.replace(cursor, step=400))
    with pytest.raises(MisuseError, match="cursor_digest_mismatch"):
        resume(begun(recording), msgspec.structs.replace(cursor, digest="0" * 64))
    with pytest.raises(MisuseError, match="replay_mode_mismatch"):
        resume(begun(recording, PLAYBACK), cursor)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[", b"\xff\xfe", b"[" * 100_000, b'{"format": "rspp-cursor-v9"}', b"null"]
)
def test_what_is_no_cursor_is_refused(data: bytes) -> None:
    with pytest.raises(MisuseError, match="cursor_malformed"):
        read(data)


def test_a_cursor_of_a_later_format_is_refused(tmp_path: Path) -> None:
    _, cursor = paused(simulated(), after(5))
    later = written(msgspec.structs.replace(cursor, format="rspp-cursor-v2"))
    with pytest.raises(MisuseError, match="cursor_malformed"):
        read(later)
