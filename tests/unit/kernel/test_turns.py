"""The truth table of a turn, case by case, with its outputs in their order; and which of two endings wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rspp.contract.decisions import DecisionOutcome
from rspp.contract.event import NS_PER_MS, Text
from rspp.contract.transitions import Transition
from rspp.contract.words import AbortReason, CancelReason, CancelScope, TurnState
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.spec import voice_template
from rspp.testing.rig import Rig, snapshot

OUTPUTS = (
    *("turn_open_proposed", "admit", "reject", "defer", "stale_epoch_reject", "deauthorized_drain"),
    *("turn_open", "commit", "abort", "close"),
)


def idle(**request: Any) -> Rig:
    rig = Rig(**request)
    rig.connect()
    rig.forget()
    return rig


def talking(*, stores_evidence: bool = True, **policies: Any) -> Rig:
    rig = Rig(voice_template(**policies), stores_evidence=stores_evidence)
    rig.connect()
    rig.type("what time is it")
    rig.forget()
    return rig


def decided(rig: Rig) -> list[str]:
    """Every decision as `kind phase scope reason`, in order."""
    return [
        f"{e.entry.outcome_kind.value} {e.entry.phase.value} {e.entry.scope.value} {e.entry.reason}"
        for e in rig.of(fx.Record)
        if isinstance(e.entry, DecisionOutcome)
    ]


def states(rig: Rig) -> list[str]:
    """The states that turns went through, in order."""
    return [
        f"{e.entry.from_state}>{e.entry.to_state}"
        for e in rig.of(fx.Record)
        if isinstance(e.entry, Transition) and e.entry.machine == "turn"
    ]


def store(rig: Rig, *, ok: bool = True) -> None:
    """The recorder answers the last question."""
    rig.give(i.EvidenceStored(rig.of(fx.StoreEvidence)[-1].record_id, ok, None if ok else "disk_full"))


# ---- T1 to T5: before it is open ------------------------------------------------------------------------------------


def test_t1_and_t5_an_admitted_intent_opens_after_its_admit_record_and_its_plan() -> None:
    rig = idle()
    rig.type("hello")
    assert rig.names(*OUTPUTS) == ["turn_open_proposed", "admit", "turn_open"]
    assert decided(rig) == ["admit pre_turn turn admission_capacity_allow"]
    assert states(rig) == ["Idle>Opening", "Opening>Active"]
    assert rig.names("plan_resolved", "determinism_marked", "turn_open") == [
        "plan_resolved",
        "determinism_marked",
        "turn_open",
    ]


@pytest.mark.parametrize(
    ("request_changes", "policies", "name", "reason"),
    [
        ({"snapshot": None}, {}, "defer", "snapshot_invalid_or_missing"),
        ({"snapshot": snapshot(compatible=False)}, {}, "defer", "snapshot_invalid_or_missing"),
        ({"snapshot": None}, {"bad_snapshot": "reject"}, "reject", "snapshot_invalid_or_missing"),
        ({"snapshot": snapshot(capacity="defer")}, {}, "defer", "admission_capacity_defer"),
        ({"snapshot": snapshot(capacity="reject")}, {}, "reject", "admission_capacity_reject"),
    ],
)
def test_t2_without_a_view_or_room_the_intent_is_deferred_or_refused_and_idle_again(
    request_changes: dict[str, Any], policies: dict[str, Any], name: str, reason: str
) -> None:
    rig = Rig(voice_template(**policies), **request_changes)
    rig.connect()
    rig.forget()
    rig.type("hello")
    assert rig.names(*OUTPUTS) == ["turn_open_proposed", name]
    assert decided(rig) == [f"{name} pre_turn session {reason}"]
    assert states(rig) == ["Idle>Opening", "Opening>Idle"]
    assert rig.kernel.turns.idle_state is TurnState.IDLE


def test_t2_a_view_that_has_grown_too_old_is_no_view() -> None:
    rig = idle()
    rig.advance(60_001)
    rig.type("hello")
    assert decided(rig) == ["defer pre_turn session snapshot_invalid_or_missing"]


def test_t3_an_epoch_that_is_not_the_sessions_is_refused_before_authorisation_is_asked() -> None:
    rig = idle()
    rig.kernel.authority.epoch = 8
    rig.kernel.authority.revoke(8)
    rig.type("hello", epoch=8)
    assert rig.names(*OUTPUTS) == ["turn_open_proposed", "stale_epoch_reject"]
    assert decided(rig) == ["stale_epoch_reject pre_turn session authority_epoch_mismatch"]
    assert states(rig) == ["Idle>Opening", "Opening>Idle"]


def test_t4_an_intent_without_authority_is_drained() -> None:
    rig = idle()
    rig.kernel.authority.revoke(7)
    rig.type("hello")
    assert rig.names(*OUTPUTS) == ["turn_open_proposed", "deauthorized_drain"]
    assert decided(rig) == ["deauthorized_drain pre_turn session authority_revoked_before_open"]
    assert states(rig) == ["Idle>Opening", "Opening>Idle"]


def test_the_gates_stand_in_their_order() -> None:
    """Everything is wrong at once; what is mended first is what is complained of first."""
    rig = idle(snapshot=snapshot(compatible=False, capacity="reject"))
    rig.kernel.authority.epoch = 8
    rig.kernel.authority.revoke(8)
    reasons = []
    mends: tuple[Callable[[], None], ...] = (
        lambda: rig.give(i.SnapshotPublished(snapshot(2, capacity="reject"))),
        lambda: rig.give(i.SnapshotPublished(snapshot(3))),
        lambda: setattr(rig.kernel.authority, "epoch", 7),
    )
    for mend in mends:
        rig.type("hello")
        reasons.append(decided(rig)[-1].split()[-1])
        rig.kernel.turns.deferred = None
        mend()
    rig.type("hello")
    reasons.append(decided(rig)[-1].split()[-1])
    assert reasons == [
        "snapshot_invalid_or_missing",
        "admission_capacity_reject",
        "authority_epoch_mismatch",
        "authority_revoked_before_open",
    ]


@pytest.mark.parametrize(("configured", "name"), [("defer", "defer"), ("reject", "reject")])
def test_t5a_a_plan_that_cannot_be_built_defers_or_refuses(configured: str, name: str) -> None:
    from tests.unit.kernel.test_planner import blocks

    broken = blocks(provider_bindings={"llm": ()})
    rig = Rig(voice_template(bad_snapshot=configured), snapshot=snapshot(overrides=broken))
    rig.connect()
    rig.forget()
    rig.type("hello")
    assert rig.names(*OUTPUTS) == ["turn_open_proposed", name]
    assert decided(rig) == [f"{name} pre_turn session plan_materialization_failed"]


def test_a_refused_intent_never_has_a_terminal_and_builds_no_plan() -> None:
    rig = Rig(snapshot=None)
    rig.connect()
    rig.type("hello")
    rig.control("cancel", scope=CancelScope.TURN)
    rig.give(i.LeaseChanged("revoked", 7))
    rig.advance(60_000)
    assert rig.names("turn_open", "plan_resolved", "commit", "abort", "close") == []
    assert rig.of(fx.StoreEvidence) == []


def test_a_deferred_intent_is_tried_again_a_bounded_number_of_times_and_then_refused() -> None:
    rig = idle(snapshot=None)
    rig.type("hello")
    rig.advance(10_000)
    assert rig.names("defer", "reject", "turn_open") == ["defer"] * 4 + ["reject"]
    assert rig.at("defer") == [0, 500, 1_000, 1_500]


def test_a_deferred_intent_opens_as_soon_as_the_view_is_there() -> None:
    rig = idle(snapshot=None)
    rig.type("hello")
    rig.advance(100)
    rig.give(i.SnapshotPublished(snapshot(1)))
    assert rig.names(*OUTPUTS) == ["turn_open_proposed", "defer", "admit", "turn_open"]
    assert rig.at("turn_open") == [100]
    rig.advance(5_000)
    assert len(rig.signals("turn_open")) == 1


# ---- T6 to T10: how it ends -----------------------------------------------------------------------------------------


def test_t6_a_turn_commits_when_all_was_made_and_its_evidence_is_stored() -> None:
    rig = talking(stores_evidence=False)
    rig.answer("It is ten.", ms=20)
    assert rig.names("commit", "close") == [], "not before the recorder has said so"
    store(rig)
    assert rig.names(*OUTPUTS) == ["commit", "close"]
    assert states(rig) == ["Active>Terminal", "Terminal>Closed"]
    order = [
        type(effect).__name__
        for _, effect in rig.effects
        if isinstance(effect, (fx.StoreEvidence, fx.StoreClose))
    ]
    assert order == ["StoreEvidence", "StoreClose"]


def test_t7_an_accepted_cancel_aborts() -> None:
    rig = talking()
    rig.control("cancel", scope=CancelScope.TURN)
    assert rig.names("cancel", *OUTPUTS) == ["cancel", "abort", "close"]
    assert rig.signals("abort")[0].reason == "cancelled"


def test_t8_withdrawn_authority_drains_then_aborts() -> None:
    rig = talking()
    rig.give(i.LeaseChanged("revoked", 7))
    assert rig.names(*OUTPUTS) == ["deauthorized_drain", "abort", "close"]
    assert rig.signals("abort")[0].reason == "authority_loss"
    assert decided(rig) == ["deauthorized_drain active_turn turn authority_revoked_in_turn"]


@pytest.mark.parametrize("how", ["refused", "never"])
def test_t9_without_stored_evidence_nothing_commits(how: str) -> None:
    rig = talking(stores_evidence=False)
    rig.answer("It is ten.", ms=20)
    if how == "refused":
        store(rig, ok=False)
    else:
        rig.advance(49)
        assert rig.names("abort") == []
        rig.advance(1)
    assert rig.names("evidence_append_failed", *OUTPUTS) == ["evidence_append_failed", "abort", "close"]
    assert rig.signals("abort")[0].reason == "recording_evidence_unavailable"
    last = rig.of(fx.StoreEvidence)[-1]
    assert last.evidence.terminal_reason is AbortReason.RECORDING_EVIDENCE_UNAVAILABLE, (
        "from the reserved space"
    )
    assert rig.of(fx.StoreClose)[-1].record_id == last.record_id


def test_t9_a_late_a_repeated_and_a_foreign_answer_of_the_recorder_change_nothing() -> None:
    rig = talking(stores_evidence=False)
    rig.answer("It is ten.", ms=20)
    asked = rig.of(fx.StoreEvidence)[-1].record_id
    rig.give(i.EvidenceStored("or02/somebody/else"))
    assert rig.names("commit", "abort") == []
    rig.advance(50)
    for ok in (True, False, True):
        rig.give(i.EvidenceStored(asked, ok))
    assert rig.names("commit", "abort", "close") == ["abort", "close"]


# ---- T11, T12 and what is said while a turn is open -----------------------------------------------------------------


def test_t11_a_closed_turn_never_opens_again_whatever_comes_late() -> None:
    rig = talking()
    call = rig.invocations["llm"]
    rig.control("cancel", scope=CancelScope.TURN)
    rig.forget()
    late: list[i.Input] = [
        i.CallProduced(call.call_id, call.attempt, 0, Text("late")),
        i.CallFinished(call.call_id, call.attempt),
        i.DeliveryReported("started", "s1/turn-1"),
        i.DeliveryReported("accepted", "s1/turn-99"),
    ]
    for received in late:
        rig.give(received)
    rig.control("cancel", scope=CancelScope.TURN)
    assert rig.names(*OUTPUTS) == []
    assert rig.names("late_output_dropped", "output_refused", "late_event_decided") == [
        "late_output_dropped",
        "output_refused",
        "output_refused",
        "late_event_decided",
    ]
    assert rig.kernel.turns.closed[-1].state is TurnState.CLOSED


def test_t12_a_stale_event_is_refused_at_its_scheduling_point_and_changes_nothing() -> None:
    rig = talking()
    rig.control("cancel", scope=CancelScope.TURN, epoch=6)
    assert rig.names(*OUTPUTS) == ["stale_epoch_reject"]
    assert decided(rig) == ["stale_epoch_reject scheduling_point edge_enqueue authority_epoch_mismatch"]
    assert states(rig) == []
    rig.answer("It is ten.")
    rig.advance(1_000)
    assert rig.names("commit", "abort") == ["commit"]


def test_a_second_cancel_of_one_turn_has_no_second_effect() -> None:
    rig = talking(stores_evidence=False)
    for _ in range(3):
        rig.control("cancel", scope=CancelScope.TURN)
    assert len(rig.signals("cancel")) == 1
    assert rig.kernel.turns.cancel(CancelScope.TURN, CancelReason.TIMEOUT)
    store(rig)
    assert not rig.kernel.turns.cancel(CancelScope.TURN, CancelReason.TIMEOUT)


@pytest.mark.parametrize(
    ("policy", "expected", "opened"),
    [
        ("preempt", ["preempt"], ["abort", "close", "turn_open"]),
        ("queue", ["queue"], []),
        ("refuse", ["refuse"], []),
    ],
)
def test_an_intent_beside_an_open_turn_goes_by_the_sessions_policy(
    policy: str, expected: list[str], opened: list[str]
) -> None:
    rig = talking(overlap=policy)
    rig.type("wait, another thing")
    assert [signal.reason for signal in rig.signals("overlap_decided")] == expected
    assert rig.names("turn_open", "commit", "abort", "close") == opened


def test_a_queued_intent_opens_when_the_turn_has_closed_and_a_full_queue_refuses() -> None:
    rig = talking(overlap="queue", limits={"queued_intents_max": 1})
    rig.type("second")
    rig.type("third")
    assert [s.reason for s in rig.signals("overlap_decided")] == ["queue", "refuse"]
    rig.answer("First.")
    rig.advance(1_000)
    assert rig.names("commit", "turn_open") == ["commit"], "its sound is not over before the client says so"
    rig.give(i.DeliveryReported("completed", "s1/turn-1", heard_ms=400))
    assert rig.names("commit", "turn_open") == ["commit", "turn_open"]
    assert rig.kernel.turns.current is not None
    assert rig.kernel.turns.current.intent.text == "second"


def test_a_draining_session_opens_nothing_that_waited() -> None:
    rig = talking(overlap="queue")
    rig.type("second")
    rig.give(i.CloseRequested("shutdown"))
    rig.answer("First.")
    rig.advance(20_000)
    assert rig.names("commit", "turn_open") == ["commit"]


@pytest.mark.parametrize(
    "act",
    [
        lambda rig: rig.give(i.LeaseChanged("revoked", 7)),
        lambda rig: rig.control("cancel", scope=CancelScope.TURN),
        lambda rig: rig.give(i.CloseRequested("now", drain=False)),
    ],
)
def test_nothing_of_a_turn_leaves_after_its_ending_was_decided(act: Callable[[Rig], None]) -> None:
    rig = talking(stores_evidence=False)
    rig.tokens("A long answer. ")
    rig.speech(2_000, finish=False)
    act(rig)
    at = rig.now
    rig.advance(3_000)
    assert [e for e in rig.sent_audio() if e.at > at] == []
    assert at + 3_000 * NS_PER_MS == rig.now
