"""Under pressure the recording level falls one step at a time, and rises only between turns."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from rspp.contract.event import NS_PER_MS
from rspp.contract.evidence import missing_fields
from rspp.contract.words import CancelScope
from rspp.contract.words import RecordingLevel as L
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.levels import Change, RecordingLevels
from rspp.spec import voice_template
from rspp.testing.rig import Rig, replayed

T = voice_template().policies.recording
PERMITTED = msgspec.structs.replace(T, upgrades_permitted=True)


def ms(value: int) -> int:
    return value * NS_PER_MS


def test_a_full_queue_lowers_the_level_once_it_has_been_full_for_the_whole_hold() -> None:
    levels = RecordingLevels(L.L2, T)
    assert levels.pressed(ms(0), 0.80, 0) is None
    assert levels.pressed(ms(499), 0.80, 0) is None
    assert levels.pressed(ms(500), 0.80, 0) == Change(L.L2, L.L1, "queue_fill")


def test_a_queue_just_below_its_mark_lowers_nothing_and_ends_the_hold() -> None:
    levels = RecordingLevels(L.L2, T)
    levels.pressed(ms(0), 0.9, 0)
    assert levels.pressed(ms(400), 0.799, 0) is None
    assert levels.pressed(ms(600), 0.9, 0) is None
    assert levels.pressed(ms(1_099), 0.9, 0) is None
    assert levels.pressed(ms(1_100), 0.9, 0) == Change(L.L2, L.L1, "queue_fill")


@pytest.mark.parametrize(("level", "mark"), [(L.L2, 2_000), (L.L1, 5_000)])
def test_an_export_lag_lowers_the_level_at_its_mark_and_not_below(level: L, mark: int) -> None:
    below = {L.L2: L.L1, L.L1: L.L0}[level]
    levels = RecordingLevels(level, T)
    assert levels.pressed(0, 0.0, mark - 1) is None
    assert levels.pressed(0, 0.0, mark) == Change(level, below, "export_lag")


def test_the_worst_pressure_passes_through_every_level() -> None:
    levels = RecordingLevels(L.L2, T)
    path = [levels.pressed(ms(n), 1.0, 1 << 30) for n in range(4)]
    assert path == [Change(L.L2, L.L1, "export_lag"), Change(L.L1, L.L0, "export_lag"), None, None]


def test_each_fall_by_fill_has_to_be_earned_by_a_hold_of_its_own() -> None:
    levels = RecordingLevels(L.L2, T)
    changes = [(at, change) for at in range(0, 1_600, 100) if (change := levels.pressed(ms(at), 0.95, 0))]
    assert changes == [(500, Change(L.L2, L.L1, "queue_fill")), (1_100, Change(L.L1, L.L0, "queue_fill"))]


def test_the_second_fall_has_the_higher_mark() -> None:
    levels = RecordingLevels(L.L1, T)
    assert all(levels.pressed(ms(at), 0.89, 4_999) is None for at in range(0, 5_000, 100))


def test_the_lowest_level_does_not_fall() -> None:
    assert RecordingLevels(L.L0, T).pressed(0, 1.0, 1 << 30) is None


def test_the_level_rises_at_a_turns_end_after_a_whole_calm_window_and_one_step_a_time() -> None:
    levels = RecordingLevels(L.L2, PERMITTED)
    levels.pressed(0, 1.0, 1 << 30)
    levels.pressed(0, 1.0, 1 << 30)
    levels.pressed(ms(1_000), 0.0, 0)
    window = T.stability_window_ms
    assert levels.pressed(ms(1_000 + window), 0.0, 0) is None, "pressure alone never raises it"
    assert levels.turn_boundary(ms(999 + window)) is None
    assert levels.turn_boundary(ms(1_000 + window)) == Change(L.L0, L.L1, "recovered")
    assert levels.turn_boundary(ms(1_000 + window)) is None
    assert levels.turn_boundary(ms(1_000 + 2 * window)) == Change(L.L1, L.L2, "recovered")
    assert levels.turn_boundary(ms(1_000 + 9 * window)) is None, "never above where it began"


def test_a_stir_begins_the_calm_window_anew() -> None:
    levels = RecordingLevels(L.L2, PERMITTED)
    levels.pressed(0, 0.0, 2_000)
    levels.pressed(ms(1), 0.0, 0)
    levels.pressed(ms(20_000), 0.5, 0)
    levels.pressed(ms(20_001), 0.0, 0)
    assert levels.turn_boundary(ms(30_001)) is None
    assert levels.turn_boundary(ms(50_001)) == Change(L.L1, L.L2, "recovered")


def test_without_a_policy_that_permits_it_the_level_stays_down() -> None:
    levels = RecordingLevels(L.L2, T)
    levels.pressed(0, 0.0, 2_000)
    levels.pressed(ms(1), 0.0, 0)
    assert levels.turn_boundary(ms(1 << 20)) is None


def pressed_session(lags: tuple[int, ...]) -> Rig:
    rig = Rig(voice_template(recording_policy={"level": "L2"}))
    rig.connect()
    rig.type("hello")
    for lag in lags:
        rig.give(i.RecorderPressed(0.0, lag))
        rig.advance(10)
    rig.tokens("It is ten. ")
    rig.control("cancel", scope=CancelScope.TURN)
    rig.advance(1_000)
    return rig


def test_twenty_pressed_sessions_take_the_same_path_lose_no_evidence_and_replay_alike() -> None:
    """The deciding half of F-176: its gauges, logs and alert belong to the exporter."""
    paths = set()
    for _ in range(20):
        rig = pressed_session((1_999, 2_000, 4_999, 5_000, 1 << 30))
        steps = rig.signals("recording_level_downgraded")
        paths.add(
            tuple((s.detail or {})["old"] for s in steps) + tuple((s.detail or {})["new"] for s in steps)
        )
        assert {"policy_id", "old", "new", "trigger_class"} <= set(steps[0].detail or {})
        for stored, closed in zip(rig.of(fx.StoreEvidence), rig.of(fx.StoreClose), strict=True):
            assert missing_fields(stored.evidence, closed.stamp) == ()
        assert rig.names("abort", "close") == ["abort", "close"]
    assert paths == {("L2", "L1", "L1", "L0")}
    rig = pressed_session((9_000, 9_000))
    assert replayed(rig) == [effect for _, effect in rig.effects]


def test_no_order_of_pressures_ever_skips_a_level() -> None:
    for pressures in itertools.product([(0.0, 0), (0.85, 0), (0.95, 2_500), (1.0, 9_000)], repeat=4):
        levels = RecordingLevels(L.L2, T)
        for n, (fill, lag) in enumerate(pressures):
            change = levels.pressed(ms(n * 600), fill, lag)
            assert change is None or (change.old, change.new) in ((L.L2, L.L1), (L.L1, L.L0))
