"""What a node is told besides its events, what a call may not give, and how a node in its own process is run as a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from rspp.contract.event import Event, Text
from rspp.contract.words import CancelReason
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.hosting import Context
from rspp.spec import compile_text
from rspp.testing.rig import Rig

SPEC = """
pipeline: desk
version: v1
nodes:
  caller: {{type: transport.in, version: v1}}
  stt: {{type: stt, version: v1}}
  llm: {{type: llm, version: v1}}
  mine: {{{mine}}}
  tts: {{type: tts, version: v1}}
  speaker: {{type: transport.out, version: v1}}
edges:
  - {{from: caller.audio, to: stt}}
  - {{from: stt.final, to: llm}}
  - {{from: llm, to: mine}}
  - {{from: mine, to: [tts, speaker.text]}}
  - {{from: tts, to: speaker.audio}}
providers: {{stt: a, llm: b, tts: c, {more}}}
policies: {{allowed_adaptive_actions: [retry, degrade], turn_taking: {{speculation: {speculation}}}}}
"""
CUSTOM = "type: custom, version: v1, implementation: 'a:B', inputs: {in: [text]}, outputs: {out: [text]}"


class Listening:
    """Writes down every hook; a word makes a hook fail or say something that it may not."""

    def __init__(self, log: list[str], does: str) -> None:
        self.log, self.does = log, does

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        self.log.append("event")

    def on_cancel(self, ctx: Context, reason: CancelReason) -> None:
        self.log.append(f"cancel {reason}")

    def on_barge_in(self, ctx: Context) -> None:
        self.log.append(f"barge_in {ctx.turn_id}")
        if self.does == "raise":
            raise ValueError("in the hook")
        if self.does == "speak":
            ctx.emit("out", Text("I am not finished!", role="assistant"))
        ctx.metric("interrupted", 1)

    def on_budget_exhausted(self, ctx: Context, outcome: str) -> None:
        self.log.append(f"exhausted {outcome}")


def listening(does: str = "", mine: str = CUSTOM) -> tuple[Rig, list[str]]:
    log: list[str] = []

    def made(config: Mapping[str, Any]) -> Listening:
        return Listening(log, does)

    rig = Rig(compile_text(SPEC.format(mine=mine, more="", speculation="false")), {"custom": made})
    rig.connect()
    rig.type("hello")
    rig.tokens("one")
    return rig, log


def test_a_node_hears_of_a_barge_in_before_its_turn_is_cancelled() -> None:
    rig, log = listening()
    rig.control("barge_in")
    assert log == ["event", "barge_in s1/turn-1", "cancel barge_in"]


def test_what_it_says_in_that_hook_goes_nowhere_and_what_it_raises_is_its_own_failure() -> None:
    rig, _ = listening("speak")
    rig.control("barge_in")
    assert rig.sent_text() == []
    rig, _ = listening("raise")
    rig.control("barge_in")
    assert [(s.reason, (s.detail or {})["hook"]) for s in rig.signals("node_failed")] == [
        ("ValueError", "on_barge_in")
    ]


@pytest.mark.parametrize(
    ("mine", "outcome"), [(f"{CUSTOM}, on_failure: degrade", "degrade"), (CUSTOM, "terminate")]
)
def test_a_node_over_its_budget_is_told_what_follows(mine: str, outcome: str) -> None:
    rig, log = listening(mine=mine)
    rig.give(i.NodeMeasured("mine", 10_000))
    assert log[1] == f"exhausted {outcome}"
    rig.give(i.NodeMeasured("mine", 1))
    assert [word for word in log if word.startswith("exhausted")] == [log[1]]


# ---- what a call gives ----------------------------------------------------------------------------------------------


def calling(mine: str, more: str = "", speculation: bool = False) -> Rig:
    text = SPEC.format(mine=mine, more=more, speculation=str(speculation).lower())
    # A guess is begun past the kernel's inputs, and the onlooker only sees those.
    rig = Rig(compile_text(text), judged=not speculation)
    rig.connect()
    return rig


@pytest.mark.parametrize("port", ["nowhere", "in", ""])
def test_a_call_that_gives_something_on_a_port_that_it_has_not_has_failed(port: str) -> None:
    rig = calling(f"{CUSTOM}, role: call, on_failure: degrade")
    rig.type("hello")
    rig.tokens("one")
    rig.chunk("mine", Text("lost"), port=port)
    errors = [(s.detail or {})["cause"] for s in rig.signals("provider_error")]
    assert errors[0] == "output_port_refused"
    assert rig.sent_text() == []


def test_a_call_that_names_its_port_rightly_is_heard() -> None:
    rig = calling(f"{CUSTOM}, role: call")
    rig.type("hello")
    rig.tokens("one")
    rig.chunk("mine", Text("said.", role="assistant"), port="out")
    assert rig.names("provider_error") == []
    assert rig.invocations["tts"].event is not None


# ---- tools and guesses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("effects", "asked_early"), [("true", False), ("false", True)])
def test_a_tool_with_effects_is_not_called_on_a_guess_but_once_it_is_confirmed(
    effects: str, asked_early: bool
) -> None:
    tool = f"type: tool, version: v1, config: {{tool: book, has_effects: {effects}}}"
    rig = calling(tool, "external: d", speculation=True)
    rig.kernel.turns.intend("a guess", speculative=True)
    rig._collect()
    rig.tokens("Book it.")
    assert ("mine" in rig.invocations) is asked_early
    rig.kernel.turns.confirm()
    rig._collect()
    assert rig.invocations["mine"].modality == "external"
    assert rig.invocations["mine"].config["has_effects"] is (effects == "true")


# ---- a sync node in a process of its own ----------------------------------------------------------------------------

ISOLATED = "type: segmenter, version: v1, isolate: process, limits: {memory_mb: 96, cpu_ms: 200}"


def test_an_isolated_node_is_asked_event_by_event_to_the_very_end_of_the_text() -> None:
    rig = calling(ISOLATED)
    rig.type("hello")
    rig.tokens("One. T", "wo")
    for _ in range(3):
        asked = rig.invocations["mine"]
        assert (asked.modality, asked.provider) == ("isolated", "isolated")
        assert asked.config["limits"] == {"memory_mb": 96, "cpu_ms": 200}
        assert asked.event is not None
        payload = asked.event.payload
        assert isinstance(payload, Text)
        if payload.text == "One. T":
            rig.chunk("mine", Text("One.", final=True, role="assistant"), port="text")
        rig.finish("mine")
        if payload.text == "wo":
            rig.finish("llm")
        if payload.final:
            break
    else:
        pytest.fail("the end of the text never came to the node")
    spoken = [call.event for call in rig.of(fx.Invoke) if call.modality == "tts"]
    assert [event.payload.text for event in spoken if event is not None] == ["One."]  # type: ignore[union-attr]
    rig.speech(100)
    rig.advance(2_000)
    assert rig.sent_text() == ["One."], "an end of a text is the node's to say"
    assert rig.names("commit", "abort") == ["commit"]


def test_an_isolated_node_that_fails_ends_its_turn_and_no_other() -> None:
    rig = calling(ISOLATED)
    rig.type("hello")
    rig.tokens("One.")
    rig.fail("mine")
    rig.advance(1_000)
    assert rig.names("commit", "abort") == ["abort"]
    rig.type("again")
    rig.tokens("Two.")
    asked = rig.invocations["mine"].event
    assert asked is not None
    assert isinstance(asked.payload, Text)
    assert asked.payload.text == "Two."
