"""The suite of sync nodes passes those of RSPP, and each way of breaking a node's word is caught by the checks about it."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from rspp.contract.event import Audio, Event, Text
from rspp.contract.words import CancelReason, EventKind
from rspp.host.node import Node
from rspp.kernel.hosting import Context
from rspp.nodes import factories
from rspp.spec.catalog import Config
from rspp.spec.declaration import NodeDeclaration
from rspp.testing.conformance import Report, run_suite
from rspp.testing.conformance import node as suite
from rspp.testing.conformance.node import Feed, NodeTarget
from rspp.testing.conformance.node_bench import digest_of, two_turns
from rspp.testing.conformance.profiles import MANDATORY, certify

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

DECLARED = NodeDeclaration(
    name="shout",
    version="v1",
    inputs={"text": (EventKind.TEXT,)},
    outputs={"text": (EventKind.TEXT,), "audio": (EventKind.AUDIO,)},
)


class Shout(Node):
    """Keeps its word; each of those below breaks it in one place."""

    declaration: ClassVar[NodeDeclaration] = DECLARED

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        if isinstance(event.payload, Text):
            self.say(ctx, event.payload)

    def say(self, ctx: Context, text: Text) -> None:
        ctx.emit("text", msgspec.structs.replace(text, text=text.text.upper()))


# These two run thousands of events: a test that is not about them leaves them out.
LONG = ("keeps nothing of the turns that are over", "is no slower late in a long turn")


def report_of(node: Any, *, long: bool = False, **changes: Any) -> Report:
    checks = suite.conformance(lambda: NodeTarget(node=node, **changes))
    return run_suite([check for check in checks if long or check.name not in LONG], "node")


def failed(node: Any, *, long: bool = False, **changes: Any) -> set[str]:
    return set(report_of(node, long=long, **changes).failed())


# ---- what keeps its word --------------------------------------------------------------------------------------------


def test_a_plain_node_is_certified_and_every_category_has_a_check_that_passed() -> None:
    report = report_of(Shout, long=True)
    assert report.failed() == [], report.reasons()
    assert set(report.categories) == set(MANDATORY["node"])
    assert certify(report).certified


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name if name == "segmenter" else pytest.param(name, marks=pytest.mark.long)
        for name in sorted(factories())
    ],
)
def test_the_nodes_that_come_with_rspp_are_certified(name: str) -> None:
    report = report_of(factories()[name], as_type=name, long=True)
    assert certify(report).certified, report.reasons()


def test_a_node_that_was_cancelled_may_forget_by_itself() -> None:
    """One that holds a turn's text back until its end, and lets go of it when the turn is cancelled."""

    class Holds(Shout):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.held = ""

        def say(self, ctx: Context, text: Text) -> None:
            self.held += text.text
            if text.final:
                ctx.emit("text", Text(self.held, segment=text.segment, final=True))
                self.held = ""

        def on_cancel(self, ctx: Context, reason: CancelReason) -> None:
            self.held = ""

    assert failed(Holds) == set()

    class Remembers(Holds):
        def on_cancel(self, ctx: Context, reason: CancelReason) -> None: ...

    assert "says nothing of a cancelled turn" in failed(Remembers)


# ---- a fault planted in each category -------------------------------------------------------------------------------


def test_lifecycle_a_wrong_declaration_is_caught() -> None:
    class Nameless(Shout):
        declaration = msgspec.structs.replace(DECLARED, name="1 2")

    assert failed(Nameless) == {"declares what it is"}


def test_lifecycle_an_end_that_raises_is_caught() -> None:
    class Dies(Shout):
        def on_stop(self, ctx: Context) -> None:
            raise RuntimeError("it is over")

    assert "starts and stops, used or not" in failed(Dies)


def test_lifecycle_a_setting_that_it_does_not_have_must_be_refused() -> None:
    class Loose(msgspec.Struct):
        pass

    class TakesAll(Shout):
        declaration = msgspec.structs.replace(DECLARED, config=Loose)

    assert failed(TakesAll) == {"declares what it is", "refuses settings that it does not have"}


@pytest.mark.parametrize("leaves", ["a thread", "an open file"])
def test_lifecycle_what_is_left_behind_is_caught(leaves: str, tmp_path: Path) -> None:
    stop = threading.Event()
    held: list[Any] = []

    class Leaves(Shout):
        def on_start(self, ctx: Context) -> None:
            if leaves == "a thread":
                held.append(threading.Thread(target=stop.wait, daemon=True))
                held[-1].start()
            else:
                held.append((tmp_path / "log").open("a"))

    try:
        assert "leaves nothing behind" in failed(Leaves)
    finally:
        stop.set()
        for one in held:
            one.join() if leaves == "a thread" else one.close()


def test_output_a_node_that_gives_nothing_proves_nothing() -> None:
    class Silent(Shout):
        def say(self, ctx: Context, text: Text) -> None: ...

    assert failed(Silent) == {
        "gives something for what it takes",
        "takes every end of its turn, and serves the next",
    }
    script = [Feed("text", Text("open sesame", final=True))]

    class Picky(Shout):
        def say(self, ctx: Context, text: Text) -> None:
            if "sesame" in text.text:
                super().say(ctx, text)

    assert "gives something for what it takes" in failed(Picky)
    assert failed(Picky, script=script) == set()


def test_output_a_strange_port_and_a_broken_payload_are_caught() -> None:
    class Strays(Shout):
        def say(self, ctx: Context, text: Text) -> None:
            ctx.emit("side", text)

    class Lies(Shout):
        def say(self, ctx: Context, text: Text) -> None:
            ctx.emit("audio", Audio(b"\0\0", 999, 0))

    assert "gives whole payloads on its own ports" in failed(Strays)
    assert failed(Lies) == {"gives whole payloads on its own ports"}


def test_determinism_memory_of_the_process_chance_and_a_clock_are_caught() -> None:
    counted: list[int] = []

    class Counts(Shout):
        def say(self, ctx: Context, text: Text) -> None:
            counted.append(1)
            ctx.emit("text", Text(str(len(counted)), segment=text.segment))

    class Draws(Shout):
        def say(self, ctx: Context, text: Text) -> None:
            ctx.emit("text", Text(str(random.random()), segment=text.segment))

    class Clocked(Shout):
        def say(self, ctx: Context, text: Text) -> None:
            ctx.emit("text", Text(str(int(time.time() * 50)), segment=text.segment))

    assert {"gives the same for the same input", "keeps its instances apart"} <= failed(Counts)
    assert "draws no chance of its own" in failed(Draws)
    assert "asks no clock" in failed(Clocked)


def test_determinism_the_turns_own_chance_and_time_are_no_fault() -> None:
    class Lawful(Shout):
        def say(self, ctx: Context, text: Text) -> None:
            ctx.emit("text", Text(f"{ctx.now} {ctx.random.below(1_000)}", segment=text.segment))

    assert failed(Lawful) == set()


def test_determinism_another_answer_in_another_process_is_caught() -> None:
    async def same() -> str:
        return digest_of(two_turns(NodeTarget(node=Shout)))

    async def other() -> str:
        return digest_of([b"something else"])

    assert failed(Shout, elsewhere=same) == set()
    assert failed(Shout, elsewhere=other) == {"gives the same in another process"}


def test_cancellation_a_hook_that_raises_or_waits_is_caught() -> None:
    class Raises(Shout):
        def on_barge_in(self, ctx: Context) -> None:
            raise ValueError("not now")

    class Waits(Shout):
        def on_cancel(self, ctx: Context, reason: CancelReason) -> None:
            if reason is CancelReason.BARGE_IN:
                time.sleep(0.03)

    assert "takes every end of its turn, and serves the next" in failed(Raises)
    assert failed(Waits) == {"is cancelled at once"}


def test_cancellation_a_node_that_is_dead_after_a_cancel_is_caught() -> None:
    class Sulks(Shout):
        sulking = False

        def on_cancel(self, ctx: Context, reason: CancelReason) -> None:
            self.sulking = True

        def say(self, ctx: Context, text: Text) -> None:
            if not self.sulking:
                super().say(ctx, text)

    assert "takes every end of its turn, and serves the next" in failed(Sulks)


def test_isolation_what_instances_share_is_caught() -> None:
    class Shares(Shout):
        said: ClassVar[dict[str, int]] = {}

        def on_start(self, ctx: Context) -> None:
            self.said["count"] = 0

        def say(self, ctx: Context, text: Text) -> None:
            self.said["count"] += 1
            ctx.emit("text", Text(str(self.said["count"]), segment=text.segment))

    assert failed(Shares) == {"keeps its instances apart"}


@pytest.mark.slow
@pytest.mark.long
def test_isolation_a_step_that_waits_or_works_too_long_is_caught() -> None:
    class Sleeps(Shout):
        def say(self, ctx: Context, text: Text) -> None:
            time.sleep(0.001)
            super().say(ctx, text)

    class Works(Shout):
        def say(self, ctx: Context, text: Text) -> None:
            if text.role == "user":
                until = time.perf_counter() + 0.03
                while time.perf_counter() < until:
                    pass
            super().say(ctx, text)

    caught = report_of(Sleeps, script=[Feed("text", Text("hello", final=True))])
    assert caught.failed() == ["reaches for nothing outside its context"]
    assert "time.sleep" in caught.reasons() or "it waited" in caught.reasons()
    assert "never keeps the step waiting" in failed(Works, script=[Feed("text", Text("hello", role="user"))])


@pytest.mark.slow
def test_isolation_a_file_that_is_opened_in_the_step_is_caught(tmp_path: Path) -> None:
    class Writes(Shout):
        def say(self, ctx: Context, text: Text) -> None:
            (tmp_path / "said").write_text(text.text[:10], errors="replace")
            super().say(ctx, text)

    report = report_of(Writes)
    assert report.failed() == ["reaches for nothing outside its context"]
    assert "inside the step it did open" in report.reasons()


def test_bounds_what_raises_at_odd_input_is_caught() -> None:
    class Divides(Shout):
        def say(self, ctx: Context, text: Text) -> None:
            assert 1 / len(text.text)
            super().say(ctx, text)

    class Floods(Shout):
        def say(self, ctx: Context, text: Text) -> None:
            for number, word in enumerate(text.text.split(". ")):
                ctx.emit("text", Text(word, segment=1_000 * text.segment + number))

    assert failed(Divides) == {"survives whatever its ports may bring"}
    report = report_of(Floods)
    assert report.failed() == ["survives whatever its ports may bring"]
    assert "at most 64 events a step" in report.reasons()


def test_bounds_what_grows_with_every_turn_is_caught() -> None:
    class Keeps(Shout):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.turns: list[str] = []

        def on_cancel(self, ctx: Context, reason: CancelReason) -> None:
            self.turns.append(f"{len(self.turns)} " * 100)

    assert failed(Keeps, long=True) == {"keeps nothing of the turns that are over"}


@pytest.mark.slow
def test_bounds_what_is_filled_once_is_no_growth_however_late() -> None:
    class Fills(Shout):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.cancelled, self.table = 0, b""

        def on_cancel(self, ctx: Context, reason: CancelReason) -> None:
            self.cancelled += 1
            self.table = self.table or (bytes(20_000) if self.cancelled == 20 else b"")

    assert failed(Fills, long=True) == set()


@pytest.mark.slow
@pytest.mark.long
def test_bounds_what_gets_slower_in_a_long_turn_is_caught() -> None:
    class Rereads(Shout):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.heard: list[str] = []
            self.turn: str | None = None

        def on_event(self, ctx: Context, port: str, event: Event) -> None:
            if ctx.turn_id != self.turn:
                self.turn, self.heard = ctx.turn_id, []
            super().on_event(ctx, port, event)

        def say(self, ctx: Context, text: Text) -> None:
            self.heard.append(text.text)
            said = sum(len(one) for one in self.heard)
            ctx.emit("text", Text(str(said), segment=text.segment))

    script = [Feed("text", Text(f"word {number}", segment=number)) for number in range(10)]
    assert failed(Rereads, script=script, long=True) == {"is no slower late in a long turn"}


def test_a_node_without_a_declaration_is_refused_by_its_checks() -> None:
    class Undeclared:
        def __init__(self, config: Any) -> None: ...
        def on_event(self, ctx: Context, port: str, event: Event) -> None: ...

    report = report_of(Undeclared)
    assert not certify(report).certified
    assert "declares what it is" in report.failed()


def test_settings_reach_the_node() -> None:
    class Marks(Config, frozen=True):
        marks: int

    class Marked(Shout):
        declaration = msgspec.structs.replace(DECLARED, config=Marks)

        def say(self, ctx: Context, text: Text) -> None:
            ctx.emit("text", msgspec.structs.replace(text, text=text.text + "!" * self.config.marks))

    assert failed(Marked, config={"marks": 2}) == set()
    assert failed(Marked) != set()


def test_the_checks_can_be_run_in_any_loop() -> None:
    async def main() -> None:
        for check in suite.conformance(lambda: NodeTarget(node=Shout)):
            if check.category == "output":
                await check.run()

    asyncio.run(main())
