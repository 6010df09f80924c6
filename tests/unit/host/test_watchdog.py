"""A loop that does not breathe is noticed, its blocker is named, and a sync node's step is broken and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rspp.host.meters import Histogram
from rspp.host.watchdog import (
    RAISES_MAX,
    Blame,
    Metered,
    NodeBlocked,
    NodeBlockedExit,
    Running,
    Watchdog,
    _raise_in,
)

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

DEADLINE_S = 20.0
# Small, so that the tests are quick; large against the pauses of a busy machine where a false blame would fail one.
BLOCKED_MS, BREAK_MS, LOOK_MS = 60, 120, 5


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


@contextlib.contextmanager
def watched(running: Running, **settings: Any) -> Iterator[Watchdog]:
    told: dict[str, Any] = {"blocked_ms": BLOCKED_MS, "break_ms": BREAK_MS, "look_ms": LOOK_MS} | settings
    dog = Watchdog(running, **told)
    dog.start()
    try:
        yield dog
    finally:
        dog.stop()


async def blamed(dog: Watchdog, count: int = 1) -> list[Blame]:
    while len(dog.blames) < count:  # noqa: ASYNC110 - the watchdog is another thread
        await asyncio.sleep(0.001)
    return list(dog.blames)


def ctx(turn: str | None = "t1") -> Any:
    return SimpleNamespace(scope=SimpleNamespace(turn_id=turn))


def metered(
    hook: Callable[[], object], running: Running, node_id: str = "n1", **settings: Any
) -> Callable[[], Any]:
    node = SimpleNamespace(on_event=lambda ctx, port, event: hook())
    told: dict[str, Any] = {"slow_ms": 10_000, "slow": lambda *_: None} | settings
    wrapped = Metered(node, node_id, running=running, **told)
    return lambda: wrapped.on_event(ctx(), "in", None)


def as_the_kernel(step: Callable[[], object]) -> str | None:
    """The kernel's supervision of a hook."""
    try:
        step()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as there
        return type(error).__name__
    return None


def busy(seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        pass


def forever() -> None:
    while True:
        pass


async def settle(dog: Watchdog) -> None:
    """Let the loop breathe, so that the next stall is one of its own."""
    before = dog.breath_ns.count
    while dog.breath_ns.count < before + 2:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


# ---- noticing and naming --------------------------------------------------------------------------------------------


def test_who_blocks_the_loop_is_blamed_by_session_with_a_stack_of_names() -> None:
    async def main() -> None:
        heard: list[tuple[Blame, int]] = []
        running = Running()
        with watched(running, on_blocked=lambda one: heard.append((one, threading.get_ident()))) as dog:
            await settle(dog)
            running.enter("s1", "pump")
            busy(0.25)
            running.leave()
            (blame,) = await blamed(dog)
        assert (blame.session_id, blame.node_id, blame.what) == ("s1", None, "pump")
        assert blame.blocked_ms >= 150
        assert 0 < blame.stood_ms <= blame.blocked_ms
        assert "busy" in blame.stack[0]
        assert any("test_watchdog.py" in line for line in blame.stack)
        assert len(blame.stack) <= 12
        assert not any(line.startswith("/") for line in blame.stack)
        assert heard == [(blame, threading.get_ident())]

    run(main)


def test_a_stall_in_code_that_marks_nothing_is_named_by_its_task() -> None:
    async def main() -> None:
        running = Running()
        with watched(running) as dog:
            await settle(dog)

            async def blocks() -> None:
                await asyncio.sleep(0)
                busy(0.2)

            await asyncio.create_task(blocks(), name="s9/stt/local")
            (blame,) = await blamed(dog)
        assert (blame.session_id, blame.what) == (None, "task s9/stt/local")

    run(main)


def test_many_short_steps_are_a_stall_of_which_each_had_a_small_part() -> None:
    async def main() -> None:
        running = Running()
        with watched(running) as dog:
            await settle(dog)
            for number in range(50):
                running.enter(f"s{number}", "pump")
                busy(0.005)
                running.leave()
            (blame,) = await blamed(dog)
        assert blame.stood_ms < blame.blocked_ms / 2

    run(main)


def test_a_loop_that_breathes_is_not_blamed_although_its_marks_never_rest() -> None:
    async def main() -> None:
        running = Running()
        with watched(running, blocked_ms=2000, break_ms=2000) as dog:
            ends = time.monotonic() + 0.2
            while time.monotonic() < ends:
                running.enter("s1", "pump")
                running.leave()
                await asyncio.sleep(0)
            await settle(dog)
            assert not dog.blames
            assert dog.breath_ns.count >= 2

    run(main)


def test_a_watchdog_that_is_stopped_leaves_no_thread_and_may_outlive_the_loop() -> None:
    dog = Watchdog(Running(), look_ms=1)

    async def main() -> None:
        dog.start()

    asyncio.run(main())
    thread = dog._thread
    assert thread is not None
    thread.join(DEADLINE_S)  # the loop is closed: it ends by itself
    assert not thread.is_alive()
    dog.stop()
    dog.stop()


# ---- breaking -------------------------------------------------------------------------------------------------------


def recurse_forever() -> None:
    while True:
        try:
            recurse()
        except RecursionError:
            continue


def recurse() -> None:
    recurse()


@pytest.mark.parametrize("hook", [forever, recurse_forever])
@pytest.mark.usefixtures("uncollected")
def test_a_node_that_never_ends_is_broken_and_the_loop_lives(hook: Callable[[], None]) -> None:
    async def main() -> None:
        running = Running()
        with watched(running) as dog:
            await settle(dog)
            running.enter("s1", "pump")
            failed = as_the_kernel(metered(hook, running))
            running.leave()
            assert failed in {"NodeBlocked", "NodeBlockedExit"}
            (blame,) = await blamed(dog)
        assert (blame.session_id, blame.node_id) == ("s1", "n1")
        assert blame.raised >= 1
        assert blame.blocked_ms >= BREAK_MS
        assert running.node_step == 0

    run(main)


def test_a_node_that_swallows_it_once_is_struck_again() -> None:
    async def main() -> None:
        swallowed: list[str] = []

        def stubborn() -> None:
            try:
                forever()
            except Exception as error:  # noqa: BLE001 - that is the point
                swallowed.append(type(error).__name__)
            forever()

        running = Running()
        with watched(running) as dog:
            await settle(dog)
            assert as_the_kernel(metered(stubborn, running)) == "NodeBlocked"
            assert swallowed == ["NodeBlocked"]
            (blame,) = await blamed(dog)
            assert blame.raised == 2

    run(main)


def test_a_node_that_swallows_every_exception_is_broken_by_an_exit() -> None:
    async def main() -> None:
        swallowed = []

        def stubborn() -> None:
            while True:
                try:
                    forever()
                except Exception as error:  # noqa: BLE001 - that is the point
                    swallowed.append(type(error).__name__)

        running = Running()
        with watched(running) as dog:
            await settle(dog)
            assert as_the_kernel(metered(stubborn, running)) == "NodeBlockedExit"
            assert swallowed == ["NodeBlocked", "NodeBlocked"]

    run(main)


def test_a_node_that_swallows_everything_is_struck_no_more_than_so_often() -> None:
    async def main() -> None:
        caught: list[BaseException] = []

        def deaf() -> None:
            ends = time.monotonic() + DEADLINE_S / 2
            while time.monotonic() < ends:
                try:
                    busy(ends - time.monotonic())
                except BaseException as error:  # noqa: BLE001 - that is the point
                    caught.append(error)
                    if len(caught) == RAISES_MAX:
                        ends = time.monotonic() + 0.1

        running = Running()
        with watched(running, blocked_ms=20, break_ms=30) as dog:
            await settle(dog)
            assert as_the_kernel(metered(deaf, running)) is None
            (blame,) = await blamed(dog)
        assert len(caught) == blame.raised == RAISES_MAX

    run(main)


def test_a_sleep_is_not_interrupted_but_its_node_fails_when_it_returns() -> None:
    async def main() -> None:
        went_on: list[int] = []

        def sleeps() -> None:
            time.sleep(0.4)
            went_on.append(1)

        running = Running()
        with watched(running, break_ms=60) as dog:
            await settle(dog)
            assert as_the_kernel(metered(sleeps, running)) == "NodeBlocked"
            (blame,) = await blamed(dog)
        assert went_on == []
        assert blame.blocked_ms >= 300
        assert "sleeps" in blame.stack[0]

    run(main)


def test_a_node_that_sleeps_and_swallows_is_broken_as_well() -> None:
    async def main() -> None:
        def polls() -> None:
            while True:
                with contextlib.suppress(Exception):
                    time.sleep(0.05)

        running = Running()
        with watched(running) as dog:
            await settle(dog)
            assert as_the_kernel(metered(polls, running)) == "NodeBlockedExit"

    run(main)


def test_what_is_not_a_nodes_step_is_never_broken() -> None:
    async def main() -> None:
        running = Running()
        with watched(running, break_ms=60) as dog:
            await settle(dog)
            running.enter("s1", "pump")
            busy(0.3)
            running.leave()
            (blame,) = await blamed(dog)
            assert blame.raised == 0

    run(main)


def test_what_was_raised_too_late_is_taken_back_before_the_step_is_left() -> None:
    """The narrowest interleaving: the strike is under way in the very moment in which the step ends."""
    running = Running()
    ident = threading.get_ident()
    struck = 0

    def ends_as_it_is_struck() -> None:
        with running.lock:  # as the watchdog does; what is raised strikes at the thread's next call
            running.armed = True
            _raise_in(ident, NodeBlocked)

    for _ in range(100):
        struck += as_the_kernel(metered(ends_as_it_is_struck, running)) is not None
        assert not running.lock.locked()
    assert as_the_kernel(metered(lambda: None, running)) is None
    assert not running.armed
    assert struck == 100


def test_a_strike_that_lands_while_the_step_is_left_goes_no_further() -> None:
    running = Running()
    ident = threading.get_ident()
    entered = 0

    class Raising:
        """A lock in whose first taking the watchdog is quicker."""

        def __enter__(self) -> None:
            nonlocal entered
            entered += 1
            if entered == 1:
                _raise_in(ident, NodeBlocked)
                sum(range(10))

        def __exit__(self, *_: object) -> None: ...

    running.lock = Raising()  # type: ignore[assignment]
    running.armed = True
    running.disarm()
    assert (running.armed, entered) == (False, 2)


@pytest.mark.slow
@pytest.mark.usefixtures("uncollected")
def test_it_strikes_inside_the_step_or_not_at_all_however_narrow_the_race() -> None:
    """Steps that end just when they are struck, by the thousand; the loop outside of them must never be hit."""
    running = Running()
    struck = outside = 0
    stop = threading.Event()
    dog = Watchdog(running)
    dog._ident = threading.get_ident()

    def strike() -> None:
        while not stop.is_set():
            step = running.node_step
            if step:
                dog._struck = -1
                dog._strike(step, time.monotonic_ns())

    thread = threading.Thread(target=strike)
    step = metered(lambda: sum(range(50)), running)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # the threads change places between any two instructions
    thread.start()
    ends = time.monotonic() + 3
    while time.monotonic() < ends:
        try:
            struck += as_the_kernel(step) is not None
            sum(range(50))
        except (NodeBlocked, NodeBlockedExit):
            outside += 1
    stop.set()
    thread.join()
    sys.setswitchinterval(interval)
    assert (outside, running.lock.locked()) == (0, False)
    assert struck > 0


# ---- the meter of a node --------------------------------------------------------------------------------------------


class Node:
    """A node with some hooks, and something of its own."""

    colour = "blue"

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_start(self, ctx: Any) -> None:
        self.calls.append(("start",))

    def on_event(self, ctx: Any, port: str, event: Any) -> None:
        self.calls.append((port, event))
        if event == "raise":
            raise ZeroDivisionError


def test_a_metered_node_has_its_own_hooks_and_no_others() -> None:
    node = Node()
    wrapped = Metered(node, "n1", running=Running(), slow_ms=10, slow=lambda *_: None)
    wrapped.on_start(ctx())
    wrapped.on_event(ctx(), "in", 7)
    assert node.calls == [("start",), ("in", 7)]
    assert not hasattr(wrapped, "on_cancel")
    assert not hasattr(wrapped, "on_stop")
    assert wrapped.colour == "blue"
    assert wrapped.on_event is wrapped.on_event


def test_what_a_node_raises_passes_and_its_mark_goes() -> None:
    running = Running()
    wrapped = Metered(Node(), "n1", running=running, slow_ms=10, slow=lambda *_: None)
    with pytest.raises(ZeroDivisionError):
        wrapped.on_event(ctx(), "in", "raise")
    assert running.node_step == 0


def told_of(spans_ms: list[tuple[str | None, int]], slow_ms: int) -> list[tuple[str, int, int]]:
    """What the meter reports of steps of these lengths in these turns."""
    told: list[tuple[str, int, int]] = []
    clock = iter([at for _, ms in spans_ms for at in (0, ms * 1_000_000)])
    histogram = Histogram()
    wrapped = Metered(
        Node(),
        "n1",
        running=Running(),
        slow_ms=slow_ms,
        slow=lambda *one: told.append(one),
        steps=histogram,
        now=lambda: next(clock),
    )
    for turn, _ in spans_ms:
        wrapped.on_event(ctx(turn), "in", None)
    assert histogram.count == len(spans_ms)
    return told


def test_a_slow_step_is_told_with_what_its_turn_has_cost_so_far() -> None:
    assert told_of([("t1", 3), ("t1", 25), ("t1", 3)], slow_ms=20) == [("n1", 25, 28)]


def test_small_steps_that_add_up_are_told_each_time_they_make_another_slow_one() -> None:
    assert told_of([("t1", 9)] * 7, slow_ms=20) == [("n1", 9, 27), ("n1", 9, 54)]


def test_each_turn_begins_at_nothing_and_steps_outside_turns_do_not_add_up() -> None:
    assert told_of([("t1", 15), ("t2", 15), ("t2", 6)], slow_ms=20) == [("n1", 6, 21)]
    assert told_of([(None, 15)] * 9, slow_ms=20) == []
    assert told_of([(None, 30)], slow_ms=20) == [("n1", 30, 0)]
