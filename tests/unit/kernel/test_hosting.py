"""A sync node sees only its context, runs between start and stop, and harms nobody."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from rspp.contract.event import Audio, Event, Fault, Note, Payload, Sample, Scope, Signal, Text
from rspp.contract.words import CancelReason, EventKind, PayloadClass
from rspp.kernel.hosting import OUTPUTS_PER_STEP_MAX, Context, Failed, Hosted, Output
from rspp.kernel.state import State, StateClass
from rspp.spec.graph import NodeDefinition, Port, Role

SCOPE = Scope(session_id="s", tenant_id="t", pipeline_version="v", epoch=7)
IN_TURN = Scope(session_id="s", tenant_id="t", pipeline_version="v", epoch=7, turn_id="s/turn-1")
DEFINITION = NodeDefinition(
    id="n",
    type="custom",
    version="v1",
    role=Role.SYNC,
    scope="turn",
    inputs=(Port(name="in", kinds=(EventKind.TEXT,)),),
    outputs=(Port(name="out", kinds=(EventKind.TEXT,)), Port(name="bad", kinds=(EventKind.ERROR,))),
)


def word(text: str = "hello", scope: Scope = IN_TURN) -> Event:
    return Event(scope, EventKind.TEXT, 1, 0, Text(text), PayloadClass.TEXT_RAW)


class Doing:
    """A node that does what it is told at every hook, and remembers which hooks ran."""

    def __init__(self, act: Callable[[Context], None] = lambda ctx: None) -> None:
        self.act = act
        self.hooks: list[str] = []

    def on_start(self, ctx: Context) -> None:
        self.hooks.append("start")

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        self.hooks.append(port)
        self.act(ctx)

    def on_cancel(self, ctx: Context, reason: CancelReason) -> None:
        self.hooks.append(f"cancel:{reason.value}:{ctx.cancelled}")
        self.act(ctx)

    def on_stop(self, ctx: Context) -> None:
        self.hooks.append("stop")


def hosted(
    act: Callable[[Context], None] = lambda ctx: None, *, started: bool = True
) -> tuple[Hosted, Doing, State]:
    node, state = Doing(act), State(7)
    state.open_turn("s/turn-1")
    made = Hosted(DEFINITION, node, state, 800)
    if started:
        made.start(0, SCOPE)
    return made, node, state


def stepped(act: Callable[[Context], None]) -> list[Output] | Failed:
    return hosted(act)[0].step(5, IN_TURN, "in", word())


def test_a_node_is_started_and_stopped_once() -> None:
    made, node, _ = hosted()
    made.start(1, SCOPE)
    made.stop(2, SCOPE)
    made.stop(3, SCOPE)
    assert node.hooks == ["start", "stop"]


def test_an_event_before_the_start_or_after_the_stop_is_refused_by_name() -> None:
    made, node, _ = hosted(started=False)
    refused = Failed("n", "on_event", "event_outside_start_and_stop")
    assert made.step(0, IN_TURN, "in", word()) == refused
    made.stop(0, SCOPE)
    assert node.hooks == [], "what never started is not stopped"
    made.start(0, SCOPE)
    made.stop(1, SCOPE)
    assert made.step(2, IN_TURN, "in", word()) == refused


def test_outputs_come_back_in_order_with_their_ports() -> None:
    def act(ctx: Context) -> None:
        ctx.emit("out", Text("a"))
        ctx.emit("bad", Fault("word_unknown", "no"))
        ctx.metric("seen", 1)
        ctx.note("remark")

    assert stepped(act) == [
        Output("out", Text("a")),
        Output("bad", Fault("word_unknown", "no")),
        Output("", Sample("seen", 1)),
        Output("", Note("remark")),
    ]


@pytest.mark.parametrize(
    ("port", "payload", "why"),
    [
        ("nowhere", Text("a"), "output_port_refused:nowhere:text"),
        ("out", Audio(b"", 1, 0), "output_port_refused:out:audio"),
        ("", Text("a"), "output_port_refused::text"),
        ("out", Signal("turn_open", "n"), "payload_of_unknown_kind"),
    ],
)
def test_an_output_that_was_not_declared_fails_the_node_and_nothing_leaves(
    port: str, payload: Payload, why: str
) -> None:
    assert stepped(lambda ctx: ctx.emit(port, payload)) == Failed("n", "on_event", why)


def test_a_node_that_floods_its_step_has_failed_and_nothing_of_it_is_left_over() -> None:
    def flood(ctx: Context) -> None:
        for _ in range(OUTPUTS_PER_STEP_MAX + 1):
            ctx.emit("out", Text("a"))

    made, node, _ = hosted(flood)
    assert made.step(0, IN_TURN, "in", word()) == Failed("n", "on_event", "RuntimeError")
    node.act = lambda ctx: None
    assert made.step(1, IN_TURN, "in", word()) == []


def recurse(ctx: Context) -> None:
    recurse(ctx)


def leave(ctx: Context) -> None:
    sys.exit(3)


def divide(ctx: Context) -> None:
    ctx.now = 1 // 0


@pytest.mark.parametrize(
    ("act", "error"), [(recurse, "RecursionError"), (leave, "SystemExit"), (divide, "ZeroDivisionError")]
)
def test_whatever_a_node_raises_is_its_own_failure_and_its_words_are_not_kept(
    act: Callable[[Context], None], error: str
) -> None:
    assert stepped(act) == Failed("n", "on_event", error)


def test_a_cancelled_node_sees_why_and_has_nothing_more_to_say() -> None:
    made, node, _ = hosted(lambda ctx: ctx.emit("out", Text("too late")))
    assert made.cancel(0, IN_TURN, CancelReason.BARGE_IN) == []
    assert node.hooks[-1] == "cancel:barge_in:True"
    assert not made.context.cancelled


def test_a_node_whose_cancel_hook_fails_is_a_failure_of_that_hook() -> None:
    made, _, _ = hosted(divide)
    assert made.cancel(0, IN_TURN, CancelReason.TIMEOUT) == Failed("n", "on_cancel", "ZeroDivisionError")


def test_a_node_without_a_hook_is_not_asked() -> None:
    class Bare:
        def on_event(self, ctx: Context, port: str, event: Event) -> None: ...

    made = Hosted(DEFINITION, Bare(), State(7), 800)
    assert made.start(0, SCOPE) == []
    assert made.cancel(0, SCOPE, CancelReason.TIMEOUT) == []
    made.stop(0, SCOPE)


def test_a_node_knows_time_budget_and_identity_from_its_context_alone() -> None:
    seen: list[object] = []
    made, _, _ = hosted(
        lambda ctx: seen.extend((ctx.now, ctx.budget_ms, ctx.session_id, ctx.turn_id, ctx.node_id))
    )
    made.step(5, IN_TURN, "in", word())
    assert seen == [5, 800, "s", "s/turn-1", "n"]


def test_equal_seeds_draw_equally_for_one_node_and_differently_for_another() -> None:
    def draws(seed: int) -> list[int]:
        drawn: list[int] = []
        made, _, _ = hosted(lambda ctx: drawn.append(ctx.random.integer()))
        made.reseed(seed)
        made.step(0, IN_TURN, "in", word())
        made.step(0, IN_TURN, "in", word())
        return drawn

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_a_nodes_state_is_its_own_and_a_turns_is_reached_in_its_turn_only() -> None:
    made, _, state = hosted(lambda ctx: ctx.put(StateClass.TURN, "k", 1))
    assert made.step(0, IN_TURN, "in", word()) == []
    assert state.get(StateClass.TURN, "n/k", "s/turn-1") == 1
    outside = made.step(0, SCOPE, "in", word(scope=SCOPE))
    assert outside == Failed("n", "on_event", "MisuseError")
