"""The harness runs a node as a kernel and a host do, in virtual time, and says clearly what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
import pytest

from rspp.contract.event import Audio, Event, Text
from rspp.contract.words import CancelMode, CancelReason, EventKind
from rspp.host.node import AsyncNode, Node
from rspp.host.ports import LiveCall
from rspp.kernel.hosting import Context
from rspp.kernel.state import StateClass
from rspp.spec.catalog import Config
from rspp.spec.declaration import NodeDeclaration, NodeKind
from rspp.spec.graph import Lifetime
from rspp.testing.harness import NodeFailedError, NodeHarness

TEXT = (EventKind.TEXT,)


class Marks(Config, frozen=True):
    marks: int = 1


class Shout(Node):
    declaration = NodeDeclaration(
        name="shout", version="v1", inputs={"text": TEXT}, outputs={"text": TEXT}, config=Marks
    )

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        assert isinstance(event.payload, Text)
        if event.payload.text == "stop":
            raise KeyError("stop is no word to shout")
        ctx.metric("shouted", ctx.random.real())
        heard = ctx.get(StateClass.TURN, "heard")
        ctx.put(StateClass.TURN, "heard", (heard if isinstance(heard, int) else 0) + 1)
        ctx.emit("text", Text(event.payload.text.upper() + "!" * self.config.marks))

    def on_cancel(self, ctx: Context, reason: CancelReason) -> None:
        self.cancelled = reason

    def on_barge_in(self, ctx: Context) -> None:
        ctx.note("interrupted")


class Slow(AsyncNode):
    """Answers a word after half a second, with its letters one by one."""

    declaration = NodeDeclaration(
        name="slow", version="v1", inputs={"text": TEXT}, outputs={"text": TEXT}, kind=NodeKind.ASYNC
    )

    async def run(self, call: LiveCall) -> None:
        assert call.request.event is not None
        said = call.request.event.payload
        assert isinstance(said, Text)
        if said.text == "never":
            await asyncio.Event().wait()
        if said.text == "stubborn":
            try:
                await asyncio.sleep(0.5)
            except asyncio.CancelledError:
                await asyncio.sleep(10)
        if said.text == "broken":
            raise ValueError("no such word")
        if said.text == "wrong port":
            await call.produce(Text("x"), port="elsewhere")
        await asyncio.sleep(0.5)
        for index, letter in enumerate(said.text):
            if call.stopping:
                return
            await call.produce(Text(letter, 0, index))
            await asyncio.sleep(0.1)


class Counter(AsyncNode):
    declaration = NodeDeclaration(
        name="counter",
        version="v1",
        inputs={"audio": (EventKind.AUDIO,)},
        outputs={"text": TEXT},
        kind=NodeKind.ASYNC,
        lifetime=Lifetime.SESSION,
    )

    async def run(self, call: LiveCall) -> None:
        call.accepted()
        frames = 0
        async for item in call.feed():
            if isinstance(item, Event):
                frames += isinstance(item.payload, Audio)
            elif not item.last:
                await call.produce(Text(str(frames), final=True))


def test_a_sync_node_is_fed_and_looked_at() -> None:
    node = NodeHarness(Shout, config={"marks": 2})
    node.text("hello").text("there")
    assert node.texts == ["HELLO!!", "THERE!!"]
    assert [type(payload) for payload in node.outputs("text")] == [Text, Text]
    assert 0 < node.slowest_ms < 1_000


def test_a_harness_reads_its_node_by_name() -> None:
    node = NodeHarness("rspp.nodes:Segmenter", as_type="segmenter")
    node.text("This is a sentence. And").expect("This is a sentence.").text("", final=True).expect("And")
    with pytest.raises(LookupError, match="no package offers a node 'nothing-of-the-kind'"):
        NodeHarness("nothing-of-the-kind")


def test_a_setting_that_is_not_there_is_refused_as_in_a_spec() -> None:
    with pytest.raises(msgspec.ValidationError, match="volume"):
        NodeHarness(Shout, config={"volume": 3})


def test_what_a_node_raises_comes_out_where_it_raised() -> None:
    node = NodeHarness(Shout)
    with pytest.raises(
        NodeFailedError, match=r"on_event of the node raised KeyError: 'stop is no word"
    ) as failed:
        node.text("stop")
    assert isinstance(failed.value.__cause__, KeyError)
    assert node.text("go on").texts == ["GO ON!"]


def test_an_output_on_a_port_that_was_not_declared_names_the_ports() -> None:
    node = NodeHarness(Shout, outputs={"voice": (EventKind.AUDIO,)})
    with pytest.raises(
        NodeFailedError, match=r"output_port_refused:text:text; its outputs are voice \(audio\)"
    ):
        node.text("hello")


def test_a_difference_is_shown_line_by_line() -> None:
    node = NodeHarness(Shout).text("hello")
    with pytest.raises(AssertionError, match=r"0: != expected 'HELLO', got 'HELLO!'"):
        node.expect("HELLO")
    with pytest.raises(AssertionError, match=r"1: != expected 'MORE', got nothing"):
        node.expect("HELLO!", "MORE")


def test_draws_are_the_same_in_every_run_and_others_in_the_next_turn() -> None:
    def draw(seed: int) -> list[float]:
        node = NodeHarness(Shout, seed=seed)
        first = node.text("a").metrics["shouted"]
        return [first, node.new_turn().text("a").metrics["shouted"]]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert draw(1)[0] != draw(1)[1]


def test_turn_state_is_gone_with_its_turn() -> None:
    class Counts:
        def __init__(self, config: Mapping[str, object]) -> None: ...

        def on_event(self, ctx: Context, port: str, event: Event) -> None:
            before = ctx.get(StateClass.TURN, "n")
            now = (before if isinstance(before, int) else 0) + 1
            ctx.put(StateClass.TURN, "n", now)
            ctx.emit("text", Text(str(now)))

    node = NodeHarness(Counts).text("a").text("b").new_turn().text("c")
    assert node.texts == ["1", "2", "1"]


def test_an_interruption_reaches_both_hooks() -> None:
    made: list[Shout] = []

    def factory(config: Mapping[str, object]) -> Shout:
        made.append(Shout(Marks()))
        return made[-1]

    node = NodeHarness(factory).barge_in()
    assert node.notes == ["interrupted"]
    assert made[0].cancelled is CancelReason.BARGE_IN


def test_an_async_node_answers_in_virtual_time() -> None:
    with NodeHarness(Slow) as node:
        node.text("hi")
        assert node.texts == []
        assert node.running
        node.advance(499)
        assert node.texts == []
        node.advance(2)
        assert node.texts == ["h"]
        node.advance(300)
        assert node.texts == ["h", "i"]
        assert node.now_ms == pytest.approx(801, abs=0.1)


@pytest.mark.parametrize("mode", CancelMode)
def test_an_async_node_is_cancelled_and_gives_no_more(mode: CancelMode) -> None:
    with NodeHarness(Slow) as node:
        node.text("hello").advance(550).cancel(mode=mode)
        assert not node.running
        assert node.advance(2_000).texts == ["h"]


def test_an_async_node_that_swallows_its_cancel_is_named() -> None:
    with NodeHarness(Slow) as node:
        node.text("stubborn").advance(10)
        with pytest.raises(NodeFailedError, match="does it catch CancelledError"):
            node.barge_in()


def test_an_async_node_that_gives_nothing_has_timed_out() -> None:
    with NodeHarness(Slow) as node:
        node.text("never").advance(999)
        with pytest.raises(NodeFailedError, match="gave nothing for 1000 ms"):
            node.advance(2)


def test_what_an_async_node_raises_comes_out() -> None:
    with NodeHarness(Slow) as node:
        with pytest.raises(NodeFailedError, match="ValueError: no such word") as failed:
            node.text("broken")
        assert isinstance(failed.value.__cause__, ValueError)
        with pytest.raises(NodeFailedError, match="gave a Text on 'elsewhere'"):
            node.text("wrong port")


def test_an_async_node_of_the_session_is_fed_all_along() -> None:
    with NodeHarness(Counter) as node:
        node.audio(200).finalise().audio(bytes(640)).finalise()
        assert node.texts == ["10", "11"]
        assert node.running
        assert not node.end().running


def test_a_task_that_an_async_node_leaves_behind_is_told() -> None:
    left: list[asyncio.Task[None]] = []

    class Leaks(Slow):
        async def run(self, call: LiveCall) -> None:
            left.append(asyncio.get_running_loop().create_task(asyncio.sleep(1_000)))

    node = NodeHarness(Leaks).text("x")
    with pytest.raises(NodeFailedError, match="left 1 tasks"):
        node.close()
