"""Sync nodes on the graph: outputs in the same step, failures that stay with their node, budgets judged afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from rspp.contract.event import Event, Text
from rspp.contract.words import CancelScope, SessionState
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.hosting import Context
from rspp.kernel.snapshot import Durable
from rspp.kernel.state import StateClass
from rspp.spec import compile_text
from rspp.testing.rig import Rig

SPEC = """
pipeline: desk
version: v1
nodes:
  caller: {{type: transport.in, version: v1}}
  stt: {{type: stt, version: v1}}
  llm: {{type: llm, version: v1}}
  mine: {{type: custom, version: v1, implementation: 'a:B', config: {{mark: mine}}, inputs: {{in: [text]}}, outputs: {{out: [text]}}{mine}}}
  plain: {{type: custom, version: v1, implementation: 'a:C', config: {{mark: plain}}, inputs: {{in: [text]}}, outputs: {{out: [text]}}}}
  tts: {{type: tts, version: v1}}
  speaker: {{type: transport.out, version: v1}}
edges:
  - {{from: caller.audio, to: stt}}
  - {{from: stt.final, to: llm}}
  - {{from: llm, to: mine}}
  - {{from: llm, to: plain, when: {{attribute: never, op: eq, value: yes}}}}
  - {{from: mine, to: [tts, speaker.text]}}
  - {{from: plain, to: [tts, speaker.text]}}
  - {{from: tts, to: speaker.audio}}
turn_input: stt.final
providers: {{stt: a, llm: b, tts: c}}
policies: {{allowed_adaptive_actions: [{actions}]}}
"""


class Tagging:
    """Passes text on under its own mark; a word can make it fail."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        assert isinstance(event.payload, Text)
        if "poison" in event.payload.text and self.mark == "mine":
            raise ValueError("the payload is not repeated here: " + event.payload.text)
        if event.payload.text:
            ctx.emit("out", Text(f"{self.mark}:{event.payload.text}", role="assistant"))


def working(mine: str = "", actions: str = "retry, degrade, fallback") -> Rig:
    graph = compile_text(SPEC.format(mine=mine, actions=actions))
    rig = Rig(
        graph, {node.type: lambda config: Tagging(str(config["mark"])) for node in graph.nodes if node.config}
    )
    rig.connect()
    rig.type("hello")
    return rig


def spoken(rig: Rig) -> list[str]:
    asked = [call.event for call in rig.of(fx.Invoke) if call.modality == "tts" and call.attempt == 1]
    return [event.payload.text for event in asked if event is not None and isinstance(event.payload, Text)]


def finish(rig: Rig) -> None:
    rig.finish("llm")
    while rig.kernel.turn() is not None and rig.kernel.work.book.turn_busy("s1/turn-1"):
        rig.speech(20)
    rig.advance(1_000)


def test_an_output_goes_on_in_the_very_step_that_made_it() -> None:
    rig = working()
    rig.tokens("one")
    assert spoken(rig) == ["mine:one"]


# ---- failures -------------------------------------------------------------------------------------------------------


def test_a_poisoned_event_goes_to_the_dead_letters_with_its_cause_and_the_turn_goes_on() -> None:
    """The dead-letter half of F-132."""
    rig = working(", on_failure: dead_letter")
    rig.tokens("one", "poison", "two")
    (letter,) = rig.of(fx.DeadLetter)
    assert (letter.node_id, letter.cause) == ("mine", "ValueError")
    assert letter.event.payload.text == "poison"  # type: ignore[union-attr]
    assert rig.names("dead_lettered") == ["dead_lettered"]
    finish(rig)
    assert spoken(rig) == ["mine:one", "mine:two"]
    assert rig.names("commit", "abort") == ["commit"]


def test_an_error_that_a_fallback_recovers_leaves_no_dead_letter() -> None:
    rig = working(", fallback: plain")
    rig.tokens("one", "poison", "two")
    assert rig.of(fx.DeadLetter) == []
    finish(rig)
    assert spoken(rig) == ["mine:one", "plain:poison", "mine:two"]
    assert [s.detail for s in rig.signals("fallback_activated")] == [{"to": "plain"}]


@pytest.mark.parametrize(
    ("policy", "ending"), [(", on_failure: terminate", "abort"), (", on_failure: degrade", "commit")]
)
def test_without_a_fallback_the_turn_ends_or_the_session_is_degraded_as_declared(
    policy: str, ending: str
) -> None:
    rig = working(policy)
    rig.tokens("one", "poison")
    if ending == "commit":
        finish(rig)
    rig.advance(1_000)
    assert rig.names("commit", "abort") == [ending]
    lost = [(s.detail or {})["capability"] for s in rig.signals("degraded") if s.reason != "cancel_forced"]
    assert lost == (["mine"] if ending == "commit" else [])
    assert rig.kernel.connection.state is SessionState.ACTIVE


def test_the_words_of_what_a_node_raised_are_nowhere() -> None:
    rig = working(", on_failure: dead_letter")
    rig.tokens("poison and a secret")
    said = "".join(str(effect.event.payload) for effect in rig.of(fx.Announce))
    assert "secret" not in said
    assert rig.signals("node_failed")[0].reason == "ValueError"


def test_nine_sessions_do_not_notice_that_a_tenth_has_a_crashing_node() -> None:
    """The in-process half of F-134; a process that dies and a segmentation fault are the host's."""

    def one(words: str) -> Rig:
        rig = working(", on_failure: terminate")
        rig.tokens(words)
        if rig.kernel.turn() is not None:
            finish(rig)
        return rig

    rigs = [one("poison" if n == 4 else "fine") for n in range(10)]
    assert [rig.names("commit", "abort") for rig in rigs].count(["abort"]) == 1
    quiet = [[effect for _, effect in rig.effects] for n, rig in enumerate(rigs) if n != 4]
    assert all(effects == quiet[0] for effects in quiet)


def test_a_worker_that_died_is_that_nodes_failure_and_an_unknown_one_is_nobodys() -> None:
    rig = working(", on_failure: terminate")
    rig.give(i.NodeRaised("nobody", "Killed"))
    assert rig.names("node_failed") == []
    rig.give(i.NodeRaised("mine", "Killed"))
    assert [s.reason for s in rig.signals("abort")] == ["node_timeout_or_failure"]


def test_a_cancelled_turns_nodes_are_told_and_acknowledge() -> None:
    rig = working()
    rig.control("cancel", scope=CancelScope.TURN)
    assert {event.node_id for event in rig.events("cancel_acknowledged")} >= {"mine", "plain"}


def test_an_ended_session_stops_each_node_once() -> None:
    rig = working()
    rig.give(i.CloseRequested("bye", drain=False))
    rig.advance(1_000)
    assert sorted(effect.node_id for effect in rig.of(fx.StopNode)) == ["mine", "plain"]


# ---- budgets --------------------------------------------------------------------------------------------------------

EVENT, TURN = ", budget: {per_event_ms: 50}", ", budget: {per_turn_ms: 200}"


@pytest.mark.proves("F-045")
@pytest.mark.parametrize(("budget", "elapsed", "turn"), [(EVENT, 49, 49), (TURN, 10, 199)])
def test_work_just_under_its_limit_raises_and_changes_nothing(budget: str, elapsed: int, turn: int) -> None:
    rig = working(budget + ", fallback: plain")
    rig.tokens("one")
    rig.give(i.NodeMeasured("mine", elapsed, turn))
    rig.tokens("two")
    finish(rig)
    assert rig.names("budget_warning", "budget_exhausted", "fallback", "degrade") == []
    assert spoken(rig) == ["mine:one", "mine:two"]


@pytest.mark.proves("F-045")
@pytest.mark.parametrize(("budget", "elapsed", "turn", "limit"), [(EVENT, 50, 50, 50), (TURN, 10, 200, 200)])
def test_an_overrun_raises_its_timeout_and_what_follows_goes_to_the_fallback(
    budget: str, elapsed: int, turn: int, limit: int
) -> None:
    rig = working(budget + ", fallback: plain")
    rig.tokens("one")
    rig.give(i.NodeMeasured("mine", elapsed, turn))
    rig.tokens("two")
    finish(rig)
    assert rig.names("budget_warning", "budget_exhausted", "fallback", "fallback_activated") == [
        "budget_warning",
        "budget_exhausted",
        "fallback",
        "fallback_activated",
    ]
    exhausted = rig.signals("budget_exhausted")[0]
    assert (exhausted.reason, exhausted.detail) == ("node", {"spent_ms": limit, "limit_ms": limit})
    assert spoken(rig) == ["mine:one", "plain:two"]
    assert rig.names("commit", "abort") == ["commit"]


@pytest.mark.proves("F-045")
@pytest.mark.parametrize(("budget", "elapsed", "turn"), [(EVENT, 50, 50), (TURN, 10, 200)])
def test_an_overrun_of_a_node_that_may_degrade_degrades(budget: str, elapsed: int, turn: int) -> None:
    rig = working(budget + ", on_failure: degrade")
    rig.tokens("one")
    rig.give(i.NodeMeasured("mine", elapsed, turn))
    finish(rig)
    assert rig.names("budget_exhausted", "degrade", "degraded") == ["budget_exhausted", "degrade", "degraded"]
    assert rig.names("commit", "abort") == ["commit"]


@pytest.mark.proves("F-045")
def test_an_overrun_with_nothing_left_to_do_ends_the_turn_by_name() -> None:
    rig = working(EVENT)
    rig.give(i.NodeMeasured("mine", 50, 50))
    assert [s.reason for s in rig.signals("abort")] == ["node_timeout_or_failure"]


def test_the_profiles_default_is_soft_it_speaks_and_kills_nothing() -> None:
    rig = working()
    rig.give(i.NodeMeasured("mine", 800))
    assert rig.names("budget_exhausted", "abort") == ["budget_exhausted"]


def test_a_measure_of_an_unknown_node_says_nothing() -> None:
    rig = working()
    rig.give(i.NodeMeasured("nobody", 1 << 40, 1 << 40))
    assert rig.names("budget_exhausted", "abort") == []


class Counting:
    """Counts what it passes, for longer than the process lives."""

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        known = ctx.get(StateClass.DURABLE, "count")
        ctx.put(StateClass.DURABLE, "count", (known if isinstance(known, int) else 0) + 1)


def counting(**request: Any) -> Rig:
    graph = compile_text(SPEC.format(mine="", actions="retry"))
    rig = Rig(graph, {node.type: lambda config: Counting() for node in graph.nodes if node.config}, **request)
    rig.connect()
    rig.type("hello")
    rig.tokens("one", "two")
    return rig


def test_what_a_node_makes_durable_is_saved_and_comes_back_to_its_successor() -> None:
    first = counting()
    saved = [one for one in first.of(fx.SaveState) if one.key == "mine/count"]
    assert [(one.value, one.epoch) for one in saved] == [(1, 7), (2, 7)]
    assert saved[0].revision < saved[1].revision
    state = Durable(revision=saved[-1].revision, values={one.key: one.value for one in saved})
    second = counting(resume=state, epoch=8)
    assert [one.value for one in second.of(fx.SaveState) if one.key == "mine/count"] == [3, 4]


def test_a_value_that_no_store_could_keep_is_that_nodes_failure() -> None:
    class Wild:
        def on_event(self, ctx: Context, port: str, event: Event) -> None:
            ctx.put(StateClass.DURABLE, "lock", object())

    graph = compile_text(SPEC.format(mine="", actions="retry"))
    rig = Rig(graph, {node.type: lambda config: Wild() for node in graph.nodes if node.config})
    rig.connect()
    rig.type("hello")
    rig.tokens("one")
    assert [signal.reason for signal in rig.signals("node_failed")] == ["TypeError"]
    assert not [one for one in rig.of(fx.SaveState) if "/" in one.key]
