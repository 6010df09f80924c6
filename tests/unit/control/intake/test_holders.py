"""The slot document: who gets in with the next write, whose entry is whose, and what broken clocks may do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspp.contract.errors import LimitReached, PeerFault
from rspp.control.intake.holders import (
    EMPTY,
    HOLDERS_MAX,
    RETRY_MS_MAX,
    SKEW_MINUTES,
    Ask,
    Hold,
    Holders,
    Mine,
    Pace,
    Round,
    bytes_of,
    draw,
    holders_of,
    in_turn,
    is_done,
    settle,
)
from rspp.control.intake.quotas import MINUTE_MS, Action, Limit, TenantLimits


def limits(sessions: int = 0, per_minute: int = 0, action: Action = Action.REJECT) -> TenantLimits:
    return TenantLimits(
        sessions=Limit(most=sessions, action=action),
        sessions_per_minute=Limit(most=per_minute, action=action),
    )


def asked(
    before: Holders,
    asks: int | Sequence[Ask],
    allowed: TenantLimits,
    *,
    held: int = 0,
    wall_ms: int = 0,
    gone: tuple[str, ...] = (),
    me: str = "me",
    unstarted: int = 0,
) -> Round:
    wanted = [Ask("t")] * asks if isinstance(asks, int) else asks
    mine = Mine(member=me, held=held, write=1, unstarted=unstarted)
    return settle(before, mine, wanted, allowed, wall_ms, gone)


def test_exactly_as_many_get_in_as_there_is_room() -> None:
    before = Holders(holders={"other": Hold(60, 5), "me": Hold(10, 0)})
    plan = asked(before, 2_000, limits(100), held=10)
    assert plan.granted == 30
    assert sum(not verdict.refuses for verdict in plan.verdicts) == 30
    assert plan.after.count() == 100
    assert plan.after.holders == {"other": Hold(60, 5), "me": Hold(40, 1)}
    assert asked(plan.after, 1, limits(100), held=40).granted == 0


def test_the_document_says_what_is_held_and_not_what_it_said_of_us_before() -> None:
    """A write that was done although it failed is put right by the next one."""
    before = Holders(holders={"me": Hold(99, 7)})
    plan = asked(before, 5, limits(10), held=2)
    assert plan.after.holders == {"me": Hold(7, 1)}


def test_nothing_to_say_is_no_write() -> None:
    before = Holders(holders={"me": Hold(3, 0), "other": Hold(7, 0)})
    assert not asked(before, 4, limits(10), held=3).changes
    assert asked(before, 4, limits(11), held=3).changes
    assert asked(before, 0, limits(10), held=2).changes
    assert asked(before, 0, limits(10), held=3, gone=("other",)).changes
    assert asked(before, 0, limits(10), held=3, unstarted=1).changes
    assert not asked(EMPTY, 0, limits(10)).changes


def test_who_is_gone_holds_nothing_and_whose_sessions_were_taken_over_may_be_too_many() -> None:
    before = Holders(holders={"dead": Hold(60, 1), "me": Hold(40, 0)})
    plan = asked(before, 100, limits(100), held=40, gone=("dead",))
    assert plan.granted == 60
    assert "dead" not in plan.after.holders
    moved = asked(plan.after, [Ask("t", 60, forced=True), Ask("t")], limits(100), held=100)
    assert [verdict.refuses for verdict in moved.verdicts] == [False, True]
    assert moved.after.count() == 160


def test_groups_are_served_in_turn() -> None:
    asks = [Ask("greedy")] * 50 + [Ask("b")] * 2 + [Ask("c")] * 1
    plan = asked(EMPTY, asks, limits(6))
    inside = [ask.group for ask, verdict in zip(asks, plan.verdicts, strict=True) if not verdict.refuses]
    assert sorted(inside) == ["b", "b", "c", "greedy", "greedy", "greedy"]
    assert list(in_turn(["a", "a", "b"])) == [0, 2, 1]
    assert list(in_turn([])) == []


def test_one_who_asks_for_more_than_is_left_does_not_keep_out_one_who_fits() -> None:
    plan = asked(EMPTY, [Ask("a", 5), Ask("b", 2)], limits(3))
    assert [verdict.refuses for verdict in plan.verdicts] == [True, False]


def test_a_rate_counts_what_began_and_not_what_was_refused_or_never_began() -> None:
    first = asked(EMPTY, 15, limits(per_minute=10), wall_ms=1_000)
    assert first.granted == 10
    assert all(verdict.window_ms == 59_000 for verdict in first.verdicts if verdict.refuses)
    assert asked(first.after, 5, limits(per_minute=10), held=10, wall_ms=59_999).granted == 0
    undone = asked(first.after, 5, limits(per_minute=10), held=8, wall_ms=59_999, unstarted=2)
    assert undone.granted == 2
    assert asked(first.after, 15, limits(per_minute=10), held=10, wall_ms=MINUTE_MS).granted == 10


def test_taking_over_begins_nothing() -> None:
    plan = asked(EMPTY, [Ask("t", 5, forced=True)], limits(per_minute=2))
    assert plan.granted == 5
    assert plan.after.starts == 0


def test_degraded_callers_get_in_and_are_known() -> None:
    plan = asked(EMPTY, 3, limits(2, action=Action.DEGRADE))
    assert plan.granted == 3
    assert [verdict.degraded for verdict in plan.verdicts] == [False, False, True]


def test_a_clock_that_is_behind_counts_with_the_others_minute() -> None:
    full = Holders(minute=100, starts=10)
    behind = asked(full, 1, limits(per_minute=10), wall_ms=(100 - SKEW_MINUTES) * MINUTE_MS)
    assert behind.granted == 0


def test_a_clock_from_far_ahead_shuts_nobody_out_for_longer_than_its_minute() -> None:
    broken = asked(EMPTY, 10, limits(per_minute=10), wall_ms=10**9 * MINUTE_MS)
    now = asked(broken.after, 1, limits(per_minute=10), wall_ms=100 * MINUTE_MS)
    assert now.granted == 0  # what was counted stays
    assert now.after.minute == 100 or not now.changes
    later = asked(Holders(minute=100, starts=10), 1, limits(per_minute=10), wall_ms=101 * MINUTE_MS)
    assert later.granted == 1


@pytest.mark.parametrize("wall_ms", [0, 10**15, 5])
def test_how_many_are_held_at_a_time_knows_of_no_clock(wall_ms: int) -> None:
    before = Holders(holders={"other": Hold(99, 1)}, minute=77)
    assert asked(before, 5, limits(100), wall_ms=wall_ms).granted == 1


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[]", b'{"holders": {"a": [-1, 0]}}', b'{"holders": {"a": 3}}', b'{"more": 1}', b'{"starts": -4}', b"\xff"],
)  # fmt: skip
def test_what_is_no_slot_document_lets_nobody_in(value: bytes) -> None:
    with pytest.raises(PeerFault) as caught:
        holders_of(value)
    assert caught.value.code == "slots_damaged"


def test_a_document_is_the_same_after_it_was_written_and_read_and_has_a_bound() -> None:
    document = Holders(holders={"a": Hold(3, 9)}, minute=4, starts=5, freed=6)
    assert holders_of(bytes_of(document)) == document
    crowd = Holders(holders={f"m{number}": Hold(1, 1) for number in range(HOLDERS_MAX)})
    assert len(bytes_of(crowd)) < 200_000
    with pytest.raises(LimitReached):
        asked(crowd, 1, limits())
    assert is_done(document, "a", 9)
    assert not is_done(document, "a", 8)
    assert not is_done(document, "b", 9)


@settings(max_examples=200, deadline=None)
@given(
    others=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 40)),
    held=st.integers(0, 40),
    counts=st.lists(st.integers(1, 5), max_size=30),
    most=st.integers(1, 60),
)
def test_nobody_gets_in_above_the_limit_and_nobody_is_refused_below_it(
    others: dict[str, int], held: int, counts: list[int], most: int
) -> None:
    before = Holders(holders={name: Hold(count, 1) for name, count in others.items()})
    there = sum(others.values()) + held
    plan = asked(before, [Ask("t", count) for count in counts], limits(most), held=held)
    assert plan.after.count() == there + plan.granted
    assert plan.granted == 0 or plan.after.count() <= most
    left = most - plan.after.count()
    for count, verdict in zip(counts, plan.verdicts, strict=True):
        assert not verdict.refuses or count > left


def test_those_who_are_refused_come_back_one_after_the_other() -> None:
    """1,900 refused at once: within a minute and a quarter, and never a crowd in one second."""
    pace = Pace()
    pace.saw(0, 0, 100)
    waits = [pace.retry_ms(f"session-{number}", 100) for number in range(1_900)]
    assert min(waits) >= 375
    assert max(waits) <= RETRY_MS_MAX * 1.25
    seconds = [wait // 1_000 for wait in waits]
    assert max(seconds.count(second) for second in set(seconds)) < 150


def test_where_slots_become_free_faster_one_is_told_to_come_sooner() -> None:
    def after(freed_per_s: int) -> int:
        pace = Pace()
        for second in range(10):
            pace.saw(second * 10**9, second * freed_per_s, 10)
        return [pace.retry_ms("same", 10) for _ in range(50)][-1]

    assert after(50) < after(5) < after(1)


def test_the_pace_forgets_a_document_that_began_anew_and_a_queue_that_has_come_and_gone() -> None:
    pace = Pace()
    pace.saw(0, 1_000, 60)
    pace.saw(2 * 10**9, 1_100, 60)
    assert pace.per_s(60) == 50.0
    pace.saw(3 * 10**9, 0, 60)
    assert pace.per_s(60) == 50.0
    for _ in range(1_000):
        pace.retry_ms("x", 60)
    late = pace.retry_ms("x", 60)
    pace.saw(60 * 10**9, 50 * 57, 60)
    assert pace.retry_ms("x", 60) < late


def test_a_draw_is_always_the_same() -> None:
    assert draw("session-1") == draw("session-1") != draw("session-2")
    assert all(0 <= draw(str(number)) < 1 for number in range(1_000))
