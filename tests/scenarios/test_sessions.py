"""Whole sessions: how they live and end, what happens before a turn, and that each one keeps to itself."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rspp.contract.decisions import DecisionOutcome
from rspp.contract.event import NS_PER_MS, Text
from rspp.contract.transitions import Transition
from rspp.contract.words import AbortReason, CancelScope, ConnectionState, OutcomeClass, SessionState
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.lifecycle import SESSION, SessionTrigger, TurnTrigger
from rspp.spec import compile_text, voice_template
from rspp.testing.rig import Rig, replayed, snapshot

# ---- the session's life --------------------------------------------------------------------------------------------


@pytest.mark.proves("F-138")
def test_in_any_order_of_steps_only_the_legal_ones_happen_and_the_others_change_nothing() -> None:
    """A thousand random walks over every trigger, reconnects and load among them."""
    chance = random.Random(138)
    refused = tried = 0
    for _ in range(200):
        rig = Rig(judged=False)
        if chance.random() < 0.8:
            rig.connect()
        if chance.random() < 0.5:
            rig.type("hello")
        for _ in range(12):
            if chance.random() < 0.3:
                rig.give(i.ConnectionChanged(chance.choice(list(ConnectionState))))
                rig.voice(40)
            before = rig.kernel.connection.state
            trigger = chance.choice([t for t in SessionTrigger if t is not SessionTrigger.BREACH])
            after = SESSION.get((before, trigger))
            timers, line = dict(rig.kernel.desk.timers), rig.kernel.connection.line
            rig.forget()
            moved = rig.kernel.connection.move(trigger)
            rig._collect()
            tried += 1
            assert moved is (after is not None)
            if after is None:
                refused += 1
                (mark,) = rig.signals()
                assert (mark.signal, mark.reason) == ("transition_refused", "session_transition_refused")
                assert (rig.kernel.desk.timers, rig.kernel.connection.line) == (timers, line)
            assert rig.kernel.connection.state is (after or before)
    assert 0 < refused < tried


@pytest.mark.proves("F-138")
def test_a_session_lives_through_its_states_and_a_second_end_is_nothing() -> None:
    rig = Rig()
    rig.connect()
    rig.give(i.CloseRequested("done"))
    rig.advance(20_000)
    moves = [
        r.entry for r in rig.of(fx.Record) if isinstance(r.entry, Transition) and r.entry.machine == "session"
    ]
    assert [(m.from_state, m.to_state) for m in moves] == [
        ("CONNECTING", "ACTIVE"),
        ("ACTIVE", "DRAINING"),
        ("DRAINING", "ENDED"),
    ]
    rig.forget()
    rig.give(i.CloseRequested("again"))
    rig.give(i.ConnectionChanged(ConnectionState.CONNECTED))
    rig.type("hello?")
    rig.advance(60_000)
    assert (rig.effects, rig.kernel.connection.state) == ([], SessionState.ENDED)


def test_a_reconnect_inside_the_deadline_keeps_the_session_and_one_outside_ends_it() -> None:
    for away_ms, alive in ((29_000, True), (31_000, False)):
        rig = Rig()
        rig.connect()
        rig.give(i.ConnectionChanged(ConnectionState.DISCONNECTED))
        rig.advance(away_ms)
        rig.give(i.ConnectionChanged(ConnectionState.CONNECTED))
        assert (not rig.kernel.ended) is alive


# ---- before a turn -------------------------------------------------------------------------------------------------


@pytest.mark.proves("F-141")
@pytest.mark.parametrize(
    ("capacity", "outcome"), [("allow", "admit"), ("reject", "reject"), ("defer", "defer")]
)
def test_an_intent_is_admitted_rejected_or_deferred_before_it_is_a_turn(capacity: str, outcome: str) -> None:
    rig = Rig(snapshot=snapshot(capacity=capacity))
    rig.connect()
    rig.type("hello")
    decided = [r.entry for r in rig.of(fx.Record) if isinstance(r.entry, DecisionOutcome)]
    assert [(d.outcome_kind.value, d.phase.value) for d in decided] == [(outcome, "pre_turn")]
    assert rig.names("admit", "reject", "defer") == [outcome]
    admitted = outcome == "admit"
    assert (rig.kernel.turns.current is not None) is admitted
    if admitted:
        return
    for trigger in (TurnTrigger.ABORT, TurnTrigger.COMMIT, TurnTrigger.CLOSE):
        rig.kernel.turns._move_idle(trigger)
    rig.kernel.turns.settle()
    rig.control("cancel", scope=CancelScope.TURN)
    rig.give(i.EvidenceStored("or02/s1/turn-1/1"))
    rig._collect()
    assert rig.names("abort", "commit", "close") == []
    assert [s.reason for s in rig.signals("transition_refused")] == ["turn_transition_refused"] * 3
    assert rig.of(fx.StoreEvidence) == []


def test_a_deferred_intent_is_tried_again_and_given_up_after_its_tries() -> None:
    rig = Rig(snapshot=snapshot(capacity="defer"))
    rig.connect()
    rig.type("hello")
    rig.advance(10_000)
    assert rig.names("defer", "reject") == ["defer"] * 4 + ["reject"]


def test_a_deferred_intent_opens_when_the_capacity_is_there() -> None:
    rig = Rig(snapshot=snapshot(capacity="defer"))
    rig.connect()
    rig.type("hello")
    rig.give(i.SnapshotPublished(snapshot(version=2)))
    assert rig.names("defer", "admit", "turn_open") == ["defer", "admit", "turn_open"]


# ---- arbitration ---------------------------------------------------------------------------------------------------


def clash(policy: str, late: str = "drop") -> tuple[list[Any], str]:
    """A barge-in, late output of the old turn, and a cancel and an exhausted budget at the same instant."""
    rig = Rig(voice_template(overlap=policy, late_events=late))
    rig.connect()
    rig.say("tell me everything")
    rig.tokens("It is a long")
    old = rig.invocations["llm"]
    rig.type("stop, something else")
    rig.give(i.CallProduced(old.call_id, 1, 7, Text(" story", role="assistant")))
    budget = rig.graph.budgets.turn_budget_ms
    rig.advance(budget - 1)
    rig.now += NS_PER_MS  # the budget's deadline and the cancel come at one instant
    rig.control("cancel", scope=CancelScope.TURN)
    rig.advance(2_000)
    decided = [
        (s.signal, s.reason)
        for s in rig.signals("overlap_decided", "cancel", "abort", "commit", "close", "late_output_dropped")
    ]
    plans = [r.entry for r in rig.of(fx.Record) if type(r.entry).__name__ == "ResolvedTurnPlan"]
    assert replayed(rig) == [effect for _, effect in rig.effects], "replayed, it goes the same way"
    return decided, plans[0].plan_hash  # type: ignore[union-attr]


@pytest.mark.proves("F-140")
@pytest.mark.parametrize("policy", ["preempt", "queue", "refuse"])
def test_clashing_intents_and_endings_are_settled_the_same_way_fifty_times(policy: str) -> None:
    first = clash(policy)
    assert ("late_output_dropped" in dict(first[0])) is (policy == "preempt")
    assert all(clash(policy) == first for _ in range(49))


@pytest.mark.proves("F-140")
def test_another_policy_is_another_plan_and_another_outcome() -> None:
    runs = {policy: clash(policy) for policy in ("preempt", "queue", "refuse")}
    assert len({plan for _, plan in runs.values()}) == 3
    assert {policy: run[0][0] for policy, run in runs.items()} == {
        "preempt": ("overlap_decided", "preempt"),
        "queue": ("overlap_decided", "queue"),
        "refuse": ("overlap_decided", "refuse"),
    }
    assert clash("queue", late="diagnose")[1] != runs["queue"][1]


def test_a_cancel_at_the_instant_of_an_exhausted_budget_owns_the_ending() -> None:
    rig = Rig()
    rig.connect()
    rig.type("hello")
    rig.kernel.turns.condition(AbortReason.BUDGET_EXHAUSTED)
    rig.control("cancel", scope=CancelScope.TURN)
    assert [s.reason for s in rig.signals("abort")] == ["cancelled"]


# ---- fallbacks -----------------------------------------------------------------------------------------------------

FALLBACK = """pipeline: p
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1, budget: {per_event_ms: 500}, on_failure: fallback, fallback: small}
  small: {type: llm, version: v1, config: {model: small}}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: stt}
  - {from: stt.final, to: llm}
  - {from: llm, to: speaker.text}
  - {from: small, to: speaker.text}
providers: {stt: a, llm: b}
"""


@pytest.mark.proves("F-007")
@pytest.mark.parametrize("fault", ["timeout", "error", None])
def test_a_node_that_hangs_or_fails_is_replaced_by_its_fallback_and_a_healthy_one_never(
    fault: str | None,
) -> None:
    rig = Rig(compile_text(FALLBACK))
    rig.connect()
    rig.type("what time is it")
    if fault == "timeout":
        rig.advance(500)
    elif fault == "error":
        rig.fail("llm", OutcomeClass.BLOCKED)
    else:
        rig.chunk("llm", Text("It is ten.", role="assistant"))
        rig.finish("llm")
    assert [s.reason for s in rig.signals("fallback_activated")] == ([fault] if fault else [])
    assert ("small" in rig.invocations) is (fault is not None)
    if fault:
        rig.chunk("small", Text("Ten.", role="assistant"))
        rig.finish("small")
    assert [words for words in rig.sent_text() if words] == (["Ten."] if fault else ["It is ten."])
    assert rig.names("commit", "abort") == ["commit"]


# ---- side by side --------------------------------------------------------------------------------------------------


def spoken(rig: Rig, canary: str) -> None:
    rig.connect()
    rig.say(f"my word is {canary}")
    rig.answer("It is ten.", ms=200)
    rig.advance(300)


@pytest.mark.proves("F-016")
def test_sessions_on_different_versions_run_side_by_side_each_as_if_alone() -> None:
    one = voice_template()
    two = voice_template(turn_taking={"silence_ms_min": 320}, overlap="queue")
    about: dict[str, dict[str, Any]] = {
        "s-one": {"graph": one, "pipeline_version": "v1", "canary": "albatross"},
        "s-two": {"graph": two, "pipeline_version": "v2", "canary": "bittern"},
    }

    def fresh(name: str) -> Rig:
        what = about[name]
        return Rig(
            what["graph"], session_id=name, tenant_id=f"t-{name}", pipeline_version=what["pipeline_version"]
        )

    alone = {}
    for name, what in about.items():
        rig = fresh(name)
        spoken(rig, what["canary"])
        alone[name] = rig
    # Now both at once, one input of each in turn.
    beside = {name: fresh(name) for name in about}
    longest = max(len(rig.inputs) for rig in alone.values())
    for step in range(longest):
        for name, rig in beside.items():
            if step < len(alone[name].inputs):
                at, received = alone[name].inputs[step]
                if isinstance(received, i.Woken):
                    rig.kernel.wake(at)
                else:
                    rig.kernel.receive(at, received)
                rig.effects += [(at, effect) for effect in rig.kernel.drain()]
    for name, rig in beside.items():
        assert rig.effects == alone[name].effects
        other = next(n for n in about if n != name)
        timeline = repr(rig.effects)
        assert about[name]["canary"] in timeline
        for trace in (other, f"t-{other}", about[other]["canary"]):
            assert trace not in timeline
        versions = {e.event.scope.pipeline_version for e in rig.of(fx.Announce)}
        assert versions == {about[name]["pipeline_version"]}
