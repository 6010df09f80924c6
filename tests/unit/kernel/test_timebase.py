"""Three clocks, one anchor: every time can be told on each, and none goes backwards."""

from __future__ import annotations

import pytest

from rspp.contract.event import NS_PER_MS
from rspp.kernel import inputs as i
from rspp.kernel.snapshot import ClockAnchor
from rspp.kernel.timebase import Observation, Timebase
from rspp.testing.rig import Rig

SECOND = 1_000 * NS_PER_MS


def timebase() -> Timebase:
    return Timebase(ClockAnchor(monotonic=SECOND, wall=100 * SECOND, sample_index=16_000), max_skew_ms=50)


def test_wall_and_media_are_projected_from_the_anchor() -> None:
    base = timebase()
    assert base.wall(2 * SECOND) == 101 * SECOND
    assert base.sample(2 * SECOND) == 32_000
    assert base.sample(SECOND) == 16_000
    assert base.wall_offset == 99 * SECOND


@pytest.mark.parametrize("skew_ms", [-50, 0, 50])
def test_a_skew_up_to_the_bound_leaves_the_anchor_where_it_is(skew_ms: int) -> None:
    base = timebase()
    seen = base.observe(2 * SECOND, 101 * SECOND + skew_ms * NS_PER_MS, 32_000)
    assert seen == Observation(abs(skew_ms), 0, rebased=False)
    assert base.rebases == 0


def test_a_larger_skew_of_either_clock_moves_the_anchor_and_says_so() -> None:
    base = timebase()
    assert base.observe(2 * SECOND, 101 * SECOND + 51 * NS_PER_MS, 32_000) == Observation(51, 0, rebased=True)
    assert base.wall(2 * SECOND) == 101 * SECOND + 51 * NS_PER_MS
    again = base.observe(3 * SECOND, base.wall(3 * SECOND), 48_000 + 16 * 60)
    assert (again.skew_ms, again.mapping_error_ms, again.rebased) == (60, 60, True)
    assert base.rebases == 2


@pytest.mark.parametrize(
    ("now", "wall", "sample"),
    [
        (0, 200 * SECOND, 64_000),
        (2 * SECOND, 50 * SECOND, 32_000),
        (2 * SECOND, 200 * SECOND, 0),
    ],
)
def test_an_anchor_never_moves_backwards_on_any_clock(now: int, wall: int, sample: int) -> None:
    base = timebase()
    before = base.anchor
    seen = base.observe(now, wall, sample)
    assert (seen.rebased, seen.refused) == (False, "clock_went_backwards")
    assert base.anchor == before


def test_a_rebase_is_announced_with_its_skew_and_cuts_the_stream() -> None:
    rig = Rig()
    rig.connect()
    rig.advance(1_000)
    rig.give(
        i.ClockObserved(wall=rig.kernel.desk.timebase.wall(rig.now) + 80 * NS_PER_MS, sample_index=16_000)
    )
    assert rig.names("clock_rebased", "discontinuity") == ["clock_rebased", "discontinuity"]
    assert rig.signals("clock_rebased")[0].detail == {"skew_ms": 80}
    sync = rig.events("discontinuity")[0].sync
    assert sync is not None
    assert (sync.domain, sync.discontinuity_id) == ("caller.audio", "clock-1")


def test_a_clock_that_goes_backwards_is_said_and_not_believed() -> None:
    rig = Rig()
    rig.connect()
    rig.advance(1_000)
    rig.give(i.ClockObserved(wall=0, sample_index=0))
    assert rig.signals("clock_rebased")[0].reason == "clock_went_backwards"
    assert rig.names("discontinuity") == []
