"""An edge's queue never grows past a bound, and accounts for every item it was given."""

from __future__ import annotations

import random

import pytest

from rspp.contract.event import Audio, Event, Text
from rspp.contract.words import BufferStrategy, DropSide, SyncPolicy
from rspp.kernel.buffers import FENCED_CALLS_MAX, PARKED_MAX, Crossed, Cut, Dropped, EdgeQueue, settled
from tests.unit.kernel.given import MS, audio, marks, policy, sync_drop, text

BLOCK, DROP = BufferStrategy.BLOCK, BufferStrategy.DROP
MERGE, SAMPLE, LATEST = BufferStrategy.MERGE, BufferStrategy.SAMPLE, BufferStrategy.LATEST_ONLY


def queue(strategy: BufferStrategy = BLOCK, **changes: object) -> EdgeQueue:
    return EdgeQueue("a->b", policy(strategy, **changes))


def numbers(edge: EdgeQueue) -> list[int]:
    return [item.sequence for item in edge.items]


def losses(edge: EdgeQueue) -> list[tuple[str, int, int]]:
    return [(n.reason, n.first, n.last) for n in edge.notices if isinstance(n, Dropped)]


def polled(edge: EdgeQueue, now: int = 0) -> list[int]:
    out = []
    while (event := edge.poll(now)) is not None:
        out.append(event.sequence)
    return out


# ---- strategies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "side", "survivors"),
    [
        (DROP, DropSide.OLDEST, [7, 8, 9, 10]),
        (DROP, DropSide.NEWEST, [1, 2, 3, 4]),
        (LATEST, None, [7, 8, 9, 10]),
        # Of what arrives at a full queue every other item is let in, in the place of the oldest.
        (SAMPLE, None, [4, 6, 8, 10]),
    ],
)
def test_a_full_queue_keeps_what_its_strategy_says_and_counts_the_rest(
    strategy: BufferStrategy, side: DropSide | None, survivors: list[int]
) -> None:
    edge = queue(strategy, drop_side=side)
    for number in range(1, 11):
        assert edge.offer(0, text(number))
    assert numbers(edge) == survivors
    lost = sorted(first for _, first, _ in losses(edge))
    assert lost == sorted(set(range(1, 11)) - set(survivors))
    assert edge.dropped == len(lost) == 6
    assert {reason for reason, _, _ in losses(edge)} == {"queue_items_exceeded"}


def test_a_full_merging_queue_folds_neighbours_into_one_with_their_lineage() -> None:
    edge = queue(MERGE, max_queue_items=2)
    for number in range(1, 5):
        edge.offer(0, audio(number))
    assert len(edge.items) == 2
    last = edge.items[-1]
    assert isinstance(last.payload, Audio)
    assert (last.payload.samples, len(last.payload.data)) == (960, 1920)
    assert last.merge is not None
    assert last.merge.event_ids == tuple(audio(number).event_id for number in (2, 3, 4))
    assert (edge.merged, edge.dropped) == (2, 0)


def test_pieces_of_an_answer_are_joined_and_revisions_of_a_transcript_replaced() -> None:
    spoken = queue(MERGE, max_queue_items=1)
    heard = queue(MERGE, max_queue_items=1)
    for number, words in enumerate(["It is", " ten."], start=1):
        spoken.offer(0, text(number, words, segment=0, role="assistant"))
        heard.offer(0, text(number, words, segment=0, role="user"))
    assert isinstance(spoken.items[0].payload, Text)
    assert isinstance(heard.items[0].payload, Text)
    assert spoken.items[0].payload.text == "It is ten."
    assert heard.items[0].payload.text == " ten."


def test_what_does_not_fold_makes_room_instead() -> None:
    edge = queue(MERGE, max_queue_items=1)
    edge.offer(0, audio(1))
    edge.offer(0, text(2))
    assert numbers(edge) == [2]
    edge.offer(0, audio(3))
    edge.offer(0, audio(4, rate=8_000))
    assert numbers(edge) == [4]
    assert losses(edge) == [("queue_items_exceeded", n, n) for n in (1, 2, 3)]


def test_a_merge_never_grows_past_the_byte_bound() -> None:
    edge = queue(MERGE, max_queue_items=1, max_queue_bytes=1_000)
    edge.offer(0, audio(1))
    edge.offer(0, audio(2))
    assert edge.bytes == 640
    assert numbers(edge) == [2]


def test_finals_and_ends_outlive_every_strategy_as_long_as_anything_else_can_go() -> None:
    for strategy in (DROP, SAMPLE):
        for side in DropSide:
            edge = queue(strategy, drop_side=side)
            edge.offer(0, text(1, "the end", final=True))
            for number in range(2, 9):
                edge.offer(0, text(number))
            edge.offer(0, text(9, final=True))
            assert {1, 9} <= set(numbers(edge))
    assert settled(audio(1, end=True))


def test_a_queue_of_nothing_but_finals_still_keeps_its_bound() -> None:
    edge = queue(DROP, drop_side=DropSide.NEWEST)
    for number in range(1, 8):
        edge.offer(0, text(number, final=True))
    assert numbers(edge) == [4, 5, 6, 7]
    assert edge.dropped == 3


# ---- bounds, each alone --------------------------------------------------------------------------------------------


def test_the_time_bound_drops_what_has_waited_that_long() -> None:
    edge = queue(DROP, drop_side=DropSide.OLDEST, max_queue_ms=100)
    edge.offer(0, text(1))
    edge.offer(99 * MS, text(2, at_ms=99))
    assert numbers(edge) == [1, 2]
    edge.offer(100 * MS, text(3, at_ms=100))
    assert numbers(edge) == [2, 3]
    assert losses(edge) == [("queue_ms_exceeded", 1, 1)]


def test_the_byte_bound_drops_until_the_new_item_fits_and_refuses_what_never_fits() -> None:
    edge = queue(DROP, drop_side=DropSide.OLDEST, max_queue_bytes=1_500)
    for number in (1, 2):
        edge.offer(0, audio(number))
    edge.offer(0, audio(3, ms=40))
    assert numbers(edge) == [3]
    assert edge.bytes == 1_280
    edge.offer(0, audio(4, ms=1_000))
    assert (numbers(edge), edge.bytes) == ([], 0)
    assert losses(edge)[-1] == ("queue_bytes_exceeded", 4, 4)


def test_the_latency_bound_lets_go_of_what_is_too_late_but_never_of_a_final() -> None:
    edge = queue(max_latency_contribution_ms=50)
    edge.offer(0, text(1))
    edge.offer(0, text(2, final=True))
    edge.offer(40 * MS, text(3, at_ms=40))
    assert polled(edge, 51 * MS) == [2, 3]
    assert losses(edge) == [("latency_contribution_exceeded", 1, 1)]


def test_a_patient_queue_keeps_what_waits_however_long_and_is_bounded_by_items_and_bytes() -> None:
    edge = EdgeQueue(
        "a->b",
        policy(DROP, drop_side=DropSide.OLDEST, max_queue_ms=100, max_latency_contribution_ms=50),
        patient=True,
    )
    for number in range(1, 5):
        edge.offer(number * 10_000 * MS, text(number, at_ms=number * 10_000))
    assert numbers(edge) == [1, 2, 3, 4]
    edge.offer(50_000 * MS, text(5, at_ms=50_000))
    assert losses(edge) == [("queue_items_exceeded", 1, 1)]
    assert polled(edge, 90_000 * MS) == [2, 3, 4, 5]


@pytest.mark.parametrize("strategy", list(BufferStrategy))
def test_no_load_takes_a_queue_past_its_bounds_and_every_item_is_accounted_for(
    strategy: BufferStrategy,
) -> None:
    chance = random.Random(strategy.value)
    side = DropSide.OLDEST if strategy is DROP else None
    edge = queue(strategy, drop_side=side, max_queue_bytes=2_000, watermarks=marks(3, 1))
    taken = 0
    for number in range(1, 2_001):
        if chance.random() < 0.3:
            taken += edge.poll(number * MS) is not None
        event = text(number, at_ms=number) if chance.random() < 0.5 else audio(number, at_ms=number)
        edge.offer(number * MS, event)
        edge.shed_blocked(number * MS)
        assert len(edge.items) <= 4
        assert 0 <= edge.bytes <= 2_000
    waiting = len(edge.items) + len(edge.parked)
    assert taken + waiting + edge.dropped + edge.merged == 2_000
    assert sum(n.count for n in edge.notices if isinstance(n, Dropped)) == edge.dropped
    assert edge.depth_max <= 4


# ---- blocking ------------------------------------------------------------------------------------------------------


def test_a_blocked_producer_waits_at_most_its_time_and_then_its_outputs_are_shed() -> None:
    edge = queue(max_block_time_ms=100)
    for number in range(1, 5):
        assert edge.offer(0, text(number))
    assert not edge.offer(10 * MS, text(5, at_ms=10))
    assert not edge.offer(50 * MS, text(6, at_ms=50))
    assert edge.wake_at() == 110 * MS
    assert not edge.shed_blocked(109 * MS)
    assert edge.shed_blocked(110 * MS)
    assert losses(edge) == [("max_block_time_exceeded", 5, 5), ("max_block_time_exceeded", 6, 6)]
    assert (edge.wake_at(), numbers(edge)) == (None, [1, 2, 3, 4])


def test_a_consumer_that_takes_in_time_lets_the_blocked_outputs_in_and_in_order() -> None:
    edge = queue()
    for number in range(1, 7):
        edge.offer(0, text(number))
    assert edge.blocked_since == 0
    assert polled(edge, MS) == [1, 2, 3, 4, 5, 6]
    assert edge.wake_at() is None
    assert edge.dropped == 0


def test_behind_a_gate_that_counts_room_alone_lets_nothing_in() -> None:
    edge = queue()
    edge.gated = True
    for number in range(1, 7):
        edge.offer(0, text(number))
    assert polled(edge) == [1, 2, 3, 4]
    assert len(edge.parked) == 2
    assert edge.readmit(0, limit=1) == 1
    assert polled(edge) == [5]


def test_nothing_overtakes_what_waits_with_a_blocked_producer() -> None:
    edge = queue(max_queue_items=8, max_queue_bytes=700)
    edge.offer(0, audio(1))
    assert not edge.offer(0, audio(2))
    assert not edge.offer(0, text(3))  # small enough to fit, but it is younger
    assert polled(edge) == [1, 2, 3]


def test_a_producer_that_never_stops_is_parked_up_to_a_bound() -> None:
    edge = queue()
    for number in range(1, 200):
        edge.offer(0, text(number))
    assert len(edge.parked) == PARKED_MAX
    assert edge.dropped == 199 - 4 - PARKED_MAX


# ---- cadence -------------------------------------------------------------------------------------------------------


def test_partials_are_thinned_to_their_cadence_and_a_final_does_not_wait_for_it() -> None:
    edge = queue(LATEST, coalesce_ms=200)
    released: list[tuple[int, bool]] = []
    for number in range(100):
        edge.offer(number * 10 * MS, text(number + 1, segment=0, at_ms=number * 10))
        if (event := edge.poll(number * 10 * MS)) is not None:
            released.append((event.sequence, False))
    assert len(released) == 5
    edge.offer(995 * MS, text(101, "all of it", segment=0, final=True, at_ms=995))
    event = edge.poll(995 * MS)
    assert event is not None
    assert isinstance(event.payload, Text)
    assert (event.payload.text, event.payload.final) == ("all of it", True)
    assert edge.dropped == 0


def test_partials_of_different_segments_are_not_merged_into_each_other() -> None:
    edge = queue(LATEST, coalesce_ms=200)
    edge.offer(0, text(1, segment=1))
    edge.offer(0, text(2, segment=2))
    edge.offer(0, text(3, segment=2))
    assert numbers(edge) == [1, 3]


# ---- watermarks ----------------------------------------------------------------------------------------------------


def test_a_saturation_episode_is_told_once_up_and_once_down_however_the_depth_hovers() -> None:
    edge = queue(max_queue_items=10, watermarks=marks(4, 2))
    number = 0
    for _ in range(4):
        edge.offer(0, text(number := number + 1))
    for _ in range(20):  # around the high mark: between 3 and 4
        edge.poll(0)
        edge.offer(0, text(number := number + 1))
    edge.poll(0)
    edge.poll(0)
    assert edge.notices == [Crossed(True, "queue_items_high", 4), Crossed(False, "low", 2)]


def test_a_mark_in_time_rises_by_the_oldest_item() -> None:
    edge = queue(max_queue_items=10, watermarks=policy().watermarks)
    edge.adopt(policy(watermarks=marks_ms(100, 20)))
    edge.offer(0, text(1))
    edge.offer(100 * MS, text(2, at_ms=100))
    assert edge.notices == [Crossed(True, "queue_ms_high", 2)]
    assert polled(edge, 110 * MS) == [1, 2]
    assert edge.notices[-1] == Crossed(False, "low", 1)


def marks_ms(high: int, low: int) -> object:
    from rspp.contract.plan import Watermark, Watermarks

    return Watermarks(queue_ms=Watermark(high=high, low=low))


# ---- synchronised groups -------------------------------------------------------------------------------------------


def test_one_lost_member_takes_its_whole_group_and_no_other_with_it() -> None:
    edge = queue(DROP, drop_side=DropSide.OLDEST, sync_drop=sync_drop(SyncPolicy.ATOMIC_DROP))
    for number, group in enumerate(["a", "b", "a", "b", "b"], start=1):
        edge.offer(0, text(number, sync_id=group))
    edge.offer(0, text(6, sync_id="a"))  # arrives when its group is already lost
    assert numbers(edge) == [2, 4, 5]
    assert losses(edge) == [("sync_atomic_drop", n, n) for n in (1, 3, 6)]


def test_a_cut_stream_gets_a_fresh_discontinuity_for_each_drop() -> None:
    how = sync_drop(SyncPolicy.DROP_WITH_DISCONTINUITY, sync_domain="av")
    edge = queue(DROP, drop_side=DropSide.OLDEST, max_queue_items=1, sync_drop=how)
    for number in (1, 2, 3):
        edge.offer(0, text(number, sync_id="a"))
    assert [n for n in edge.notices if isinstance(n, Cut)] == [Cut("av", "a->b#1"), Cut("av", "a->b#2")]
    assert isinstance(edge.notices[0], Dropped)
    assert edge.notices[0].reason == "sync_drop_with_discontinuity"


# ---- fences --------------------------------------------------------------------------------------------------------


def fenced() -> EdgeQueue:
    edge = queue(watermarks=marks(3, 1))
    for number in range(1, 7):
        edge.offer(0, text(number))
    edge.notices.clear()
    return edge


def test_a_fence_empties_the_queue_and_accounts_for_what_it_silenced_parked_items_too() -> None:
    edge = fenced()
    assert edge.fence(2) == 6
    assert edge.notices == [
        Dropped("cancel_fence_applied", 1, 6, 6),
        Crossed(False, "cancel_fence_applied", 0),
    ]
    assert (len(edge.items), len(edge.parked), edge.bytes, edge.stale) == (0, 0, 0, 6)
    assert edge.poll(0) is None


def test_what_was_born_before_the_fence_does_not_enter_after_it_and_what_is_born_after_does() -> None:
    edge = fenced()
    edge.fence(2)
    assert edge.offer(0, text(7, generation=1))
    assert len(edge.items) == 0
    assert edge.offer(0, text(8, generation=2))
    assert polled(edge) == [8]


def test_a_fence_costs_the_same_however_much_it_silences_and_the_rest_is_freed_bit_by_bit() -> None:
    edge = queue(max_queue_items=3_000)
    for number in range(1, 3_001):
        edge.offer(0, text(number))
    items = edge.items
    edge.fence(2)
    assert len(items) == 3_000  # set aside, untouched
    for number in range(3_001, 3_801):
        edge.offer(0, text(number, generation=2))
        edge.poll(0)
    assert len(items) == 0


def test_a_fenced_call_loses_its_items_and_its_siblings_keep_theirs() -> None:
    edge = queue()
    for number in range(1, 5):
        edge.offer(0, text(number, invocation_id="bad" if number % 2 else "good"))
    edge.fence_call("bad")
    assert polled(edge) == [2, 4]
    assert [n.first for n in edge.notices if isinstance(n, Dropped)] == [1, 3]
    for number in range(FENCED_CALLS_MAX + 10):
        edge.fence_call(f"call-{number}")
    assert len(edge.fenced_calls) == FENCED_CALLS_MAX


def test_giving_up_a_queue_hands_over_what_is_wanted_whatever_the_cadence() -> None:
    edge = queue(LATEST, coalesce_ms=1_000)
    edge.offer(0, text(1))
    assert edge.poll(0) is not None
    edge.offer(MS, text(2))
    edge.offer(MS, text(3, invocation_id="bad"))
    edge.fence_call("bad")
    given: list[Event] = edge.empty()
    assert [event.sequence for event in given] == [2]
    assert (len(edge.items), edge.bytes) == (0, 0)


def test_the_producer_that_a_patient_queue_blocks_waits_as_patiently() -> None:
    edge = EdgeQueue("a->b", policy(BLOCK, max_block_time_ms=100), patient=True)
    for number in range(1, 7):
        edge.offer(0, text(number))
    assert edge.wake_at() is None
    assert not edge.shed_blocked(10_000 * MS)
    assert polled(edge, 10_000 * MS) == [1, 2, 3, 4, 5, 6]
