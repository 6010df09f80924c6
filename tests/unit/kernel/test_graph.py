"""Events cross the graph in order, once, along every edge that wants them; what a branch does stays with that branch."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rspp.contract.event import Text
from rspp.contract.words import CancelScope
from rspp.kernel.inputs import FactChanged
from rspp.spec import load
from tests.unit.kernel.lab import FRAME_OF, Lab

SPLIT = "  - {from: stt.final, to: split}\n"


def two_ways(left: str = "", right: str = "") -> Lab:
    edges = f"{SPLIT}  - {{from: split, to: left{left}}}\n  - {{from: split, to: right{right}}}"
    return Lab(edges, split="in out", left="in", right="in")


# ---- fan-out -------------------------------------------------------------------------------------------------------


@pytest.mark.proves("F-004")
@pytest.mark.parametrize("count", [1, 1_000])
def test_both_ways_of_a_split_see_the_same_events_in_the_same_order(count: int) -> None:
    lab = two_ways()
    lab.feed("split", *range(count))
    assert lab.seen("left") == lab.seen("right") == list(range(count))


@pytest.mark.proves("F-004")
def test_a_stalled_way_keeps_what_its_own_policy_says_and_the_other_still_gets_all() -> None:
    lab = two_ways(left=", buffer: {strategy: drop, drop_side: oldest, max_queue_items: 8}")
    lab.stall("left")
    lab.feed("split", *range(1_000))
    assert lab.seen("left") == []
    assert lab.seen("right") == list(range(1_000))
    lab.resume("left")
    assert lab.seen("left") == list(range(992, 1_000))
    lost = sum(s.detail["count"] for s in lab.signals("drop_notice") if s.detail)  # type: ignore[misc]
    assert lost == 992


def test_a_blocked_way_holds_its_producer_back_and_lets_it_go_on_in_order() -> None:
    lab = two_ways(left=", buffer: {strategy: block, max_queue_items: 2, max_block_time_ms: 100}")
    lab.stall("left")
    lab.feed("split", 1, 2, 3)
    assert lab.kernel.graph.nodes["split"].blocked
    lab.resume("left")
    assert lab.seen("left") == [1, 2, 3]
    assert not lab.kernel.graph.nodes["split"].blocked


# ---- merging -------------------------------------------------------------------------------------------------------


def merging(order: str) -> Lab:
    return Lab(
        "  - {from: stt.final, to: [one, two]}\n  - {from: one, to: join.a}\n"
        "  - {from: two, to: join.b}\n  - {from: join, to: end}",
        extra={"join": f"{{type: merge, version: v1, merge: {{order: {order}, window_ms: 40}}}}"},
        one="in out",
        two="in out",
        end="in",
    )


def told_at(lab: Lab, number: int, at_ms: int) -> Any:
    return lab.event(number, Text(str(number), segment=number, attributes={"at_ms": at_ms}))


@pytest.mark.proves("F-005")
@pytest.mark.parametrize(
    ("order", "expected"),
    [("timestamp", [10, 20, 11, 21, 12, 22]), ("source_priority", [10, 11, 12, 20, 21, 22])],
)
def test_two_sources_are_merged_the_same_way_whatever_arrives_first(order: str, expected: list[int]) -> None:
    """Three events of each source at equal times (the tie goes to the earlier input), in a hundred shuffles."""
    chance = random.Random(5)
    for _ in range(100):
        lab = merging(order)
        arrivals = [(name, base + n, n) for n in range(3) for name, base in (("one", 10), ("two", 20))]
        chance.shuffle(arrivals)
        for name, number, at_ms in arrivals:
            lab.push(name, told_at(lab, number, at_ms))
            lab.advance(chance.choice([0, 1, 5]))
        lab.advance(40)
        assert lab.seen("end") == expected


@pytest.mark.proves("F-005")
def test_a_merge_order_that_nobody_knows_is_a_lint_error() -> None:
    text = FRAME_OF.format(
        nodes="  join: {type: merge, version: v1, merge: {order: loudest}}",
        edges="  - {from: stt.final, to: join.a}",
        more="",
    )
    assert any("loudest" in problem.message or "order" in str(problem) for problem in load(text).errors)


# ---- selecting -----------------------------------------------------------------------------------------------------


def selecting() -> Lab:
    choice = (
        "{type: select, version: v1, select: {candidates: ["
        "{input: a, when: {attribute: health, op: eq, value: good}},"
        "{input: b, when: {attribute: language, op: eq, value: de}}]}}"
    )
    return Lab(
        "  - {from: stt.final, to: [one, two]}\n  - {from: one, to: ears.a}\n"
        "  - {from: two, to: ears.b}\n  - {from: ears, to: end}",
        extra={"ears": choice},
        one="in out",
        two="in out",
        end="in",
    )


@pytest.mark.proves("F-006")
def test_a_select_hears_one_source_at_a_time_and_says_so_at_each_switch() -> None:
    lab = selecting()

    def heard(*facts: tuple[str, str]) -> list[int]:
        for name, value in facts:
            lab.give(FactChanged(name, value))
        lab.log.clear()
        lab.push("one", lab.event(1))
        lab.push("two", lab.event(2))
        return lab.seen("end")

    assert heard() == []  # nobody qualifies yet
    assert heard(("health", "good")) == [1]
    assert heard(("language", "de")) == [1]  # both qualify: the first candidate, and no switch
    assert heard(("health", "bad")) == [2]
    assert heard(("language", "en")) == []
    switches = [(s.reason, (s.detail or {}).get("to")) for s in lab.signals("select_switched")]
    assert switches == [
        ("condition_changed", "a"),
        ("condition_changed", "b"),
        ("no_candidate_qualifies", None),
    ]


# ---- conditional edges ---------------------------------------------------------------------------------------------


def routing(absent: str) -> Lab:
    condition = "when: {{attribute: confidence, op: {}, value: 0.5, absent: {}}}"
    return Lab(
        f"{SPLIT}  - {{from: split, to: high, {condition.format('ge', absent)}}}\n"
        f"  - {{from: split, to: low, {condition.format('lt', 'skip')}}}",
        split="in out",
        high="in",
        low="in",
    )


@pytest.mark.proves("F-018")
def test_a_threshold_sends_each_event_one_way_and_records_each_decision_once() -> None:
    lab = routing("skip")
    for number, confidence in enumerate([0.4, 0.5, 0.6]):
        lab.hand("split", lab.event(number, Text(str(number), segment=number, confidence=confidence)))
    assert (lab.seen("low"), lab.seen("high")) == ([0], [1, 2])
    taken = [event.edge_id for event in lab.events("route_chosen")]
    assert taken == ["split.out->low.in", "split.out->high.in", "split.out->high.in"]


@pytest.mark.proves("F-018")
@pytest.mark.parametrize(
    ("absent", "goes_high", "records"),
    [
        ("take", True, ["route_chosen"]),
        ("skip", False, ["route_chosen"]),
        ("error", False, ["error_raised", "route_chosen"]),
    ],
)
def test_an_absent_attribute_takes_the_declared_way_and_is_never_lost_in_silence(
    absent: str, goes_high: bool, records: list[str]
) -> None:
    lab = routing(absent)
    lab.forget()
    lab.feed("split", 1)
    assert lab.seen("high") == ([1] if goes_high else [])
    assert lab.seen("low") == []
    assert lab.names() == records
    if not goes_high:
        assert lab.signals("route_chosen")[0].reason == "not_taken"


# ---- cancelling ----------------------------------------------------------------------------------------------------


def in_a_turn() -> Lab:
    """Split and join inside a turn, beside a branch of the session that no turn owns."""
    lab = Lab(
        "  - {from: stt.final, to: split}\n  - {from: split, to: [left, right]}\n"
        "  - {from: left, to: join.a}\n"
        "  - {from: right, to: join.b}\n"
        "  - {from: join, to: end}\n  - {from: stt.partial, to: aside}",
        extra={"join": "{type: merge, version: v1}"},
        split="in out turn",
        left="in out turn",
        right="in out turn",
        end="in turn",
        aside="in",
    )
    lab.type("0")
    return lab


@pytest.mark.proves("F-034")
def test_a_cancelled_turn_reaches_every_node_below_its_source_and_spares_the_rest() -> None:
    lab, other = in_a_turn(), in_a_turn()
    for one in (lab, other):
        one.partial("1")
    lab.log.clear()
    lab.control("cancel", scope=CancelScope.TURN)
    acknowledged = {event.node_id for event in lab.events("cancel_acknowledged")}
    assert acknowledged == {"split", "left", "right", "end"}
    assert {event.scope.turn_id for event in lab.events("cancel_acknowledged")} == {"s1/turn-1"}
    lab.partial("2")
    assert lab.seen("aside") == [2]
    other.feed("split", 3)
    assert other.seen("end") == [0, 0, 3, 3]
    assert other.names("cancel") == []


@pytest.mark.proves("F-038")
def test_what_was_queued_when_a_turn_was_cancelled_is_gone_and_never_seen_in_the_next() -> None:
    lab = in_a_turn()
    for name in ("left", "right", "end"):
        lab.stall(name)
    lab.feed("split", *range(900, 930))
    held = lab.event(931)
    lab.log.clear()
    lab.control("cancel", scope=CancelScope.TURN)
    edges = [edge for edge in lab.kernel.graph.edges.values() if edge.turn_scoped]
    assert [len(edge.queue.items) + len(edge.queue.parked) for edge in edges] == [0] * len(edges)
    lab.type("1")
    lab.hand("split", held)  # what was still in somebody's hand comes too late
    assert lab.seen("end") == [1, 1]
    assert "cancel_fence_applied" in {signal.reason for signal in lab.signals("drop_notice")}


@pytest.mark.proves("F-038")
def test_an_edge_told_to_drain_hands_over_what_it_holds_and_still_nothing_leaks() -> None:
    lab = Lab(
        f"{SPLIT}  - {{from: split, to: left, on_cancel: drain}}\n  - {{from: left, to: end}}",
        split="in out turn",
        left="in out turn",
        end="in turn",
    )
    lab.type("0")
    lab.stall("left")
    lab.feed("split", 901, 902)
    lab.log.clear()
    lab.control("cancel", scope=CancelScope.TURN)
    assert lab.seen("left") == [901, 902]
    assert lab.seen("end") == []
    assert len(lab.edge("split.out->left").queue.items) == 0
    lab.type("1")
    assert lab.seen("end") == [1]


def test_cancelling_one_node_silences_its_own_output_only() -> None:
    lab = two_ways()
    lab.stall("left")
    lab.feed("split", 1, 2)
    graph = lab.kernel.graph
    graph.fence_node(graph.nodes["split"], lab.kernel.desk.fences.raise_floor(CancelScope.NODE, "split"))
    lab.resume("left")
    lab.feed("split", 3)
    assert (lab.seen("left"), lab.seen("right")) == ([3], [1, 2, 3])


def test_a_node_that_raises_harms_nobody_else() -> None:
    lab = two_ways()
    lab.fails.add("left")
    lab.feed("split", 1, 2)
    assert lab.seen("right") == [1, 2]
    assert [event.node_id for event in lab.events("node_failed")] == ["left", "left"]


def test_only_the_edges_to_the_caller_are_patient() -> None:
    lab = two_ways()
    edges = lab.kernel.graph.edges.values()
    assert {edge.target.id for edge in edges if edge.queue.patient} == {"speaker"}
    assert not any(edge.queue.patient for edge in edges if edge.target.id != "speaker")
