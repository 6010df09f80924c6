"""A consumer that stalls: every edge stays within what its pipeline says, loses only that, and accounts for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rspp.contract.event import Audio, Text
from rspp.contract.words import CancelScope, Lane
from rspp.kernel import effects as fx
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import AudioReceived, ControlReceived, CreditGranted
from rspp.kernel.lanes import Outbox
from rspp.spec import load, voice_template
from rspp.testing.rig import FRAME, Rig
from tests.unit.kernel.lab import FRAME_OF, Lab

CLEAR_OF_TIME = "max_queue_ms: 60000, max_latency_contribution_ms: 60000"


def one_edge(buffer: str, more: str = "") -> Lab:
    """source -> sink over one edge of this buffer."""
    return Lab(
        f"  - {{from: stt.final, to: source}}\n  - {{from: source, to: sink, buffer: {{{buffer}}}{more}}}",
        source="in out",
        sink="in",
    )


def edge_of(lab: Lab) -> Any:
    return lab.edge("source.out->sink")


def refused(buffer: str) -> bool:
    text = FRAME_OF.format(
        nodes="  tail: {type: tee, version: v1}",
        edges=f"  - {{from: stt.final, to: tail.in, buffer: {{{buffer}}}}}\n  - {{from: tail, to: speaker.text}}",
        more="",
    )
    return bool(load(text).errors)


def lost(lab: Lab) -> list[int]:
    """The runtime sequences that drop notices cover."""
    spans = [signal.seq_range for signal in lab.signals("drop_notice")]
    return [n for span in spans if span for n in range(span.start, span.end + 1)]


# ---- capacity and strategies ---------------------------------------------------------------------------------------


@pytest.mark.proves("F-043", "F-044")
@pytest.mark.parametrize(
    ("buffer", "survivors"),
    [
        ("strategy: drop, drop_side: oldest", list(range(92, 100))),
        ("strategy: drop, drop_side: newest", list(range(8))),
        ("strategy: block, max_block_time_ms: 50", list(range(8))),
        ("strategy: latest_only", list(range(92, 100))),
    ],
)
def test_ten_times_its_capacity_leaves_a_queue_at_its_capacity_and_each_loss_is_counted(
    buffer: str, survivors: list[int]
) -> None:
    lab = one_edge(f"{buffer}, max_queue_items: 8, {CLEAR_OF_TIME}")
    queue = edge_of(lab).queue
    lab.stall("sink")
    for number in range(100):
        lab.push("source", lab.event(number))
        assert len(queue.items) <= 8
    lab.advance(60)
    assert queue.depth_max == 8
    assert (queue.dropped, len(lost(lab))) == (92, 92)
    lab.resume("sink")
    assert lab.seen("sink") == survivors


@pytest.mark.proves("F-044")
def test_a_merging_edge_loses_nothing_and_counts_what_it_merged() -> None:
    lab = one_edge(f"strategy: merge, max_queue_items: 2, {CLEAR_OF_TIME}")
    lab.stall("sink")
    for number in range(10):
        lab.push("source", lab.event(number, Audio(FRAME, 320, number * 320)))
    queue = edge_of(lab).queue
    assert (len(queue.items), queue.merged, queue.dropped) == (2, 8, 0)
    assert sum(item.payload.samples for item in queue.items) == 10 * 320


@pytest.mark.proves("F-043", "F-044", "F-143")
@pytest.mark.parametrize(
    "buffer",
    [
        "max_queue_items: 0",
        "max_queue_items: -1",
        "max_queue_bytes: -1",
        "max_queue_ms: -5",
        "strategy: magic",
    ],
)
def test_a_capacity_that_is_none_and_a_strategy_that_is_unknown_are_refused(buffer: str) -> None:
    assert refused(buffer)
    assert not refused("max_queue_items: 8")


@pytest.mark.proves("F-053")
def test_partials_are_thinned_to_their_cadence_and_the_final_comes_whole_and_at_once() -> None:
    def run(buffer: str, final_at: int) -> tuple[list[int], list[int]]:
        lab = one_edge(buffer)
        for number in range(100):
            lab.push("source", lab.event(number, Text(str(number), segment=0, final=number == final_at)))
            lab.advance(10)
        lab.advance(300)
        return lab.seen("sink"), [n for n in lab.seen("sink") if n == final_at]

    everything, final = run("strategy: block, max_block_time_ms: 50", 99)
    assert len(everything) == 100
    thinned, thinned_final = run("strategy: latest_only, coalesce_ms: 200", 99)
    assert 5 <= len(thinned) <= 7
    assert thinned_final == final == [99]
    # A final in the middle of a window neither waits for its end nor is it merged into what follows.
    _, mid_window = run("strategy: latest_only, coalesce_ms: 200", 33)
    assert mid_window == [33]


# ---- bounds --------------------------------------------------------------------------------------------------------


@pytest.mark.proves("F-143")
@pytest.mark.parametrize(
    ("bound", "reason"),
    [
        ("max_queue_items: 3", "queue_items_exceeded"),
        ("max_queue_bytes: 60", "queue_bytes_exceeded"),
        ("max_queue_ms: 50", "queue_ms_exceeded"),
        ("max_latency_contribution_ms: 50", "latency_contribution_exceeded"),
    ],
)
def test_each_bound_acts_alone_and_the_plan_says_who_set_it(bound: str, reason: str) -> None:
    name = bound.split(":", maxsplit=1)[0]
    wide = {
        "max_queue_items": 1_000,
        "max_queue_bytes": 1_000_000,
        "max_queue_ms": 60_000,
        "max_latency_contribution_ms": 60_000,
    }
    del wide[name]
    others = "".join(f", {key}: {value}" for key, value in wide.items() if key != "max_queue_bytes")
    lab = one_edge(f"strategy: drop, drop_side: oldest, {bound}{others}")
    lab.stall("sink")
    for number in range(6):
        lab.push("source", lab.event(number))
        lab.advance(20)
    lab.resume("sink")
    assert {signal.reason for signal in lab.signals("drop_notice")} == {reason}
    lab.type("1")
    plan = lab.kernel.turns.current
    assert plan is not None
    sources = plan.plan.edge_buffer_policies[edge_of(lab).id].defaulting_source
    assert sources[name] == "explicit"
    if name != "max_queue_bytes":
        assert sources["max_queue_bytes"] == "execution_profile/simple/v1"


@pytest.mark.proves("F-148")
def test_no_producer_waits_longer_than_its_cap_and_the_same_events_are_shed_each_time() -> None:
    def run() -> tuple[list[int], list[int], list[int]]:
        lab = one_edge(f"strategy: block, max_queue_items: 4, max_block_time_ms: 100, {CLEAR_OF_TIME}")
        lab.stall("sink")
        waits = []
        for number in range(20):
            began = lab.now
            lab.feed("source", number)
            while lab.kernel.graph.nodes["source"].blocked:
                lab.advance(1)
            waits.append((lab.now - began) // 1_000_000)
        lab.resume("sink")
        return waits, lost(lab), lab.seen("sink")

    waits, shed, seen = run()
    assert max(waits) == 100
    assert seen == [0, 1, 2, 3]
    assert len(shed) == 16
    assert run() == (waits, shed, seen)
    assert refused("strategy: block, max_block_time_ms: 0")
    wrong = "tests/specs/wrong/buffer-block-without-cap.yaml"
    assert load((Path(__file__).parents[2] / wrong).read_text(encoding="utf-8")).errors


# ---- marks and flow ------------------------------------------------------------------------------------------------


def test_a_saturated_edge_says_so_once_stops_its_producer_and_lets_it_go_once() -> None:
    lab = one_edge(
        f"strategy: block, max_block_time_ms: 50, max_queue_items: 10, {CLEAR_OF_TIME}, "
        "watermarks: {queue_items: {high: 6, low: 2}}"
    )
    lab.stall("sink")
    for number in range(8):
        lab.push("source", lab.event(number))
    lab.resume("sink")
    told = [(s.signal, s.target_lane) for s in lab.signals("watermark", "flow_xoff", "flow_xon")]
    lane = Lane.DATA
    assert told == [("watermark", lane), ("flow_xoff", lane), ("watermark", lane), ("flow_xon", lane)]


def credited(mode: str) -> Lab:
    return one_edge(
        f"strategy: block, max_block_time_ms: 60000, max_queue_items: 16, {CLEAR_OF_TIME}, "
        "watermarks: {queue_items: {high: 3, low: 1}}",
        f", flow: {mode}, credits: 4",
    )


@pytest.mark.proves("F-145")
def test_a_signal_edge_says_xoff_when_full_and_xon_when_it_has_room() -> None:
    lab = one_edge(
        f"strategy: block, max_block_time_ms: 60000, max_queue_items: 16, {CLEAR_OF_TIME}, "
        "watermarks: {queue_items: {high: 3, low: 1}}",
        ", flow: signal",
    )
    lab.stall("sink")
    for number in range(5):
        lab.push("source", lab.event(number))
    assert lab.names("flow_xoff", "flow_xon") == ["flow_xoff"]
    lab.resume("sink")
    assert lab.names("flow_xoff", "flow_xon") == ["flow_xoff", "flow_xon"]
    assert lab.names("credit_grant") == []


@pytest.mark.proves("F-145")
def test_without_a_credit_nothing_is_delivered_until_one_is_granted() -> None:
    lab = credited("credit")
    lab.stall("sink")
    for number in range(8):
        lab.push("source", lab.event(number))
    queue = edge_of(lab).queue
    assert (len(queue.items), len(queue.parked)) == (4, 4)
    lab.give(CreditGranted(edge_of(lab).id, 2))
    assert (len(queue.items), len(queue.parked)) == (6, 2)
    lab.resume("sink")
    assert lab.seen("sink") == list(range(8))
    assert lab.names("flow_xoff", "flow_xon") == []
    assert (
        edge_of(lab).gate.room(0) + edge_of(lab).gate.owed == 6
    )  # four at first, two granted, none invented


@pytest.mark.proves("F-145")
def test_a_hybrid_edge_waits_for_both_its_credits_and_its_xon() -> None:
    lab = credited("hybrid")
    lab.stall("sink")
    for number in range(6):
        lab.push("source", lab.event(number))
    queue = edge_of(lab).queue
    assert (len(queue.items), len(queue.parked)) == (3, 3)  # xoff at three, though a credit is left
    lab.give(CreditGranted(edge_of(lab).id, 5))
    assert len(queue.items) == 3  # credits alone do not open it
    lab.resume("sink")
    assert lab.seen("sink") == list(range(6))
    for number in range(6, 9):
        lab.push("source", lab.event(number))
    assert lab.seen("sink") == list(range(9))


def test_a_cancelled_turn_gives_its_edges_their_credits_back() -> None:
    lab = Lab(
        "  - {from: stt.final, to: source}\n"
        "  - {from: source, to: sink, flow: credit, credits: 2, buffer: {max_queue_items: 8}}",
        source="in out turn",
        sink="in turn",
    )
    for _ in range(5):
        lab.type("1")
        lab.stall("sink")
        lab.feed("source", 2, 3)
        lab.control("cancel", scope=CancelScope.TURN)
        assert edge_of(lab).gate.lets(0)
        assert edge_of(lab).gate.room(0) + edge_of(lab).gate.owed == 2


# ---- synchronised groups -------------------------------------------------------------------------------------------


@pytest.mark.proves("F-146")
@pytest.mark.parametrize("how", ["atomic_drop", "drop_with_discontinuity, sync_domain: av"])
def test_a_drop_takes_its_group_or_marks_the_cut_and_other_groups_stay_whole(how: str) -> None:
    lab = one_edge(
        f"strategy: drop, drop_side: oldest, max_queue_items: 6, {CLEAR_OF_TIME}, "
        f"sync_drop: {{policy: {how}, group_by: sync_id}}"
    )
    lab.stall("sink")
    for number, group in enumerate("ababbbb"):  # the seventh item pushes the first one out
        lab.push("source", lab.event(number, sync_id=group))
    lab.resume("sink")
    reasons = [signal.reason for signal in lab.signals("drop_notice")]
    cuts = lab.events("discontinuity")
    if how == "atomic_drop":
        assert lab.seen("sink") == [1, 3, 4, 5, 6]
        assert (reasons, cuts) == (["sync_atomic_drop"] * 2, [])
    else:
        assert lab.seen("sink") == [1, 2, 3, 4, 5, 6]
        assert reasons == ["sync_drop_with_discontinuity"]
        assert [cut.sync.domain for cut in cuts if cut.sync] == ["av"]


# ---- lanes ---------------------------------------------------------------------------------------------------------


class Fifo(Outbox):
    """The wrong scheduler: whatever came first goes first."""

    def __init__(self, bounds: Any) -> None:
        super().__init__(bounds)
        self.line: list[Effect] = []

    def control(self, effect: Effect) -> None:
        self.line.append(effect)

    def data(self, effect: Effect) -> bool:
        self.line.append(effect)
        return True

    def telemetry(self, effect: Effect) -> bool:
        self.line.append(effect)
        return True

    def drain(self) -> list[Effect]:
        line, self.line = self.line, []
        return line


def saturated_then_cancelled(outbox: Callable[[Any], Outbox]) -> tuple[list[str], int]:
    """Every lane full in one batch, then a cancel: the lanes as they leave, and when the cancel was seen."""
    rig = Rig(voice_template())
    rig.connect()
    rig.type("hello")
    kernel, limits = rig.kernel, rig.graph.policies.limits.lane_items_max
    kernel.desk.outbox = outbox(limits)
    for number in range(limits[Lane.TELEMETRY] * 2):
        kernel.desk.observe("load", number, "")
    for index in range(limits[Lane.DATA] * 2):
        kernel.receive(rig.now, _frame(index))
    kernel.receive(rig.now, ControlReceived("cancel", 99, scope=CancelScope.TURN))
    lanes: list[str] = []
    for effect in kernel.drain():
        lane = fx.LANE_OF_EFFECT.get(type(effect), Lane.CONTROL)
        lanes.append(lane.value)
    return lanes, rig.now


def _frame(index: int) -> Any:
    return AudioReceived(Audio(FRAME, 320, index * 320), index)


def in_lane_order(lanes: list[str]) -> bool:
    rank = {Lane.CONTROL.value: 0, Lane.DATA.value: 1, Lane.TELEMETRY.value: 2}
    return [rank[lane] for lane in lanes] == sorted(rank[lane] for lane in lanes)


@pytest.mark.proves("F-142")
def test_with_every_lane_full_control_leaves_first_and_a_fifo_would_be_noticed() -> None:
    lanes, _ = saturated_then_cancelled(Outbox)
    assert set(lanes) == {lane.value for lane in Lane}
    assert in_lane_order(lanes)
    assert lanes.count(Lane.DATA.value) <= 128
    assert lanes.count(Lane.TELEMETRY.value) <= 256
    fifo, _ = saturated_then_cancelled(Fifo)
    assert not in_lane_order(fifo)
