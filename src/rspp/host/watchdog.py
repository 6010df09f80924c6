"""A blocked loop is noticed from outside, blamed by name, and, where it is a node's step, broken.

    loop's thread                                the watchdog's thread, every `look_ms`
    -------------                                --------------------------------------
    running.enter("s1", "pump")                  asks the loop to say that it breathes, and looks at the marks
      metered step: node_step = 7                no breath for blocked_ms: whose mark has stood longest? take its stack
        (the node loops for ever)                node_step 7 for break_ms: raise NodeBlocked in the loop's thread
      <- NodeBlocked                             a node that swallows it gets it again, then as an exit, then no more
      node_step = 0; disarm                      the loop breathes: tell on_blocked, with how long it was
    running.leave()

That the exception can never strike outside the step: the watchdog first says that it is about to (`armed`), then looks
whether the step still stands, then raises; a step that ends first clears its mark, then looks at `armed`. Whichever way
the two interleave, one sees the other, and under the lock what was raised too late is taken back. What strikes in the
last lines of the step itself is that step's: the kernel takes it for the node's failure.

A node that is struck inside the context that the kernel gave it (`ctx.put`, say) leaves that call half done: the node
has failed, and its session may be stopped for it, but no other.

What it cannot do: end a call into C that does not return (`time.sleep`, a driver); the exception waits until it does.
And a C call that keeps the interpreter to itself silences the watchdog as well: such a stall is told by its length
alone. A node that must be killed whatever it does belongs into a worker process (`isolate: process`).
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import PurePath
from types import FrameType
from typing import Any, Final, TypeVar

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.host.meters import Histogram, Meters

Made = TypeVar("Made")
STACK_MAX: Final = 12
BLAMES_MAX: Final = 64
# A node that catches everything: it gets an exit, which `except Exception` lets through, and in the end is let be.
EXIT_AFTER: Final = 2
RAISES_MAX: Final = 10


class NodeBlocked(Exception):  # noqa: N818 - it says what the node is
    """Raised in a sync node that has run for longer than any may."""


class NodeBlockedExit(SystemExit):
    """The same, for a node that swallowed the first ones; the kernel contains it like any other."""


class Blame(msgspec.Struct, frozen=True, kw_only=True):
    """Who kept the loop from breathing for `blocked_ms`, and for how much of it (`stood_ms`) it was seen to run: little
    means that it was one of many. The stack names functions and lines, never values.

    `node_id` is set if a sync node's step was running. `raised` is how often it was struck. `late_ms` is how much later
    than it meant to the watchdog itself looked: where that is much, the machine was short of CPU, not the session at
    fault.
    """

    session_id: str | None
    node_id: str | None
    what: str
    blocked_ms: int
    stood_ms: int
    stack: tuple[str, ...]
    raised: int = 0
    late_ms: int = 0


class Running:
    """What runs on the loop's thread at this moment, as plain stores: marking costs next to nothing."""

    __slots__ = (
        "armed",
        "began_ns",
        "lock",
        "node_id",
        "node_step",
        "nodes_ns",
        "session_id",
        "step",
        "steps",
        "what",
    )

    def __init__(self) -> None:
        self.session_id: str | None = None
        self.what: str | None = None
        self.step = 0  # rises with each `enter`
        self.node_id: str | None = None
        self.node_step = 0  # the number of the sync node's step that runs, 0 for none
        self.steps = 0
        self.began_ns = 0  # when the kernel's last step began
        self.nodes_ns = 0  # what steps of sync nodes have taken, all together
        self.armed = False  # the watchdog is about to strike, or has struck
        self.lock = threading.Lock()

    def enter(self, session_id: str | None, what: str) -> None:
        self.session_id = session_id
        self.step += 1
        self.what = what

    def leave(self) -> None:
        self.what = None

    def disarm(self) -> None:
        """Take back what was raised and has not struck. Called by the loop's thread after the mark is gone."""
        while True:
            try:
                with self.lock:
                    _raise_in(threading.get_ident(), None)
                    self.armed = False
            except (
                NodeBlocked,
                NodeBlockedExit,
            ):  # it strikes here: one more round, for there is only ever one
                continue
            return


def marked(running: Running, node_id: str, make: Callable[..., Made], *arguments: object) -> Made:
    """Run a node's code that is none of its hooks, with the mark that lets the watchdog strike it."""
    running.node_id = node_id
    running.steps = number = running.steps + 1
    running.node_step = number
    try:
        return make(*arguments)
    finally:
        running.node_step = 0  # first of all, as in `Metered`
        if running.armed:
            running.disarm()


class Metered:
    """A sync node as it is, with each of its hooks marked and timed. It has the hooks that the node has, and no others.

    `slow(node_id, elapsed_ms, turn_ms)` hears of a step that took `slow_ms` or more, and of each further `slow_ms` that
    a turn's steps add up to. It is called inside the kernel's step: it may note an input, not hand it in.
    """

    def __init__(
        self,
        instance: object,
        node_id: str,
        *,
        running: Running,
        slow_ms: int,
        slow: Callable[[str, int, int], None],
        steps: Histogram | None = None,
        now: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._instance = instance
        self._node_id = node_id
        self._running = running
        self._slow_ns, self._slow = slow_ms * NS_PER_MS, slow
        self._steps = steps
        self._now = now
        self._turn: str | None = None
        self._turn_ns = self._untold_ns = 0

    def __getattr__(self, name: str) -> Any:
        """Whatever the node has; a hook is wrapped the first time it is asked for, and found at once from then on."""
        found = getattr(self._instance, name)
        if name.startswith("on_") and callable(found):
            found = self._metered(found)
            setattr(self, name, found)
        return found

    def _metered(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        running, node_id, now, took = self._running, self._node_id, self._now, self._took

        def step(ctx: Any, *arguments: Any) -> Any:
            running.node_id = node_id
            running.steps = number = running.steps + 1
            began = now()
            running.node_step = number
            try:
                return hook(ctx, *arguments)
            finally:
                # First the mark, with nothing before it that could be interrupted: from here on nobody strikes.
                running.node_step = 0
                if running.armed:
                    running.disarm()
                took(ctx, now() - began)

        return step

    def _took(self, ctx: Any, elapsed: int) -> None:
        self._running.nodes_ns += elapsed
        if self._steps is not None:
            self._steps.record(elapsed)
        scope = ctx.scope
        turn = None if scope is None else scope.turn_id
        if turn is None or turn != self._turn:
            self._turn, self._turn_ns, self._untold_ns = turn, 0, 0
        self._turn_ns += elapsed
        self._untold_ns += elapsed
        if self._untold_ns >= self._slow_ns:
            self._untold_ns = 0
            turn_ms = 0 if turn is None else self._turn_ns // NS_PER_MS
            self._slow(self._node_id, elapsed // NS_PER_MS, turn_ms)


class _Stall:
    """One time that the loop did not breathe: the mark that stood longest in it."""

    __slots__ = ("late_ns", "mark", "node_id", "session_id", "stack", "stood_ns", "what")

    def __init__(self) -> None:
        self.session_id: str | None = None
        self.node_id: str | None = None
        self.what = "unseen: a call that kept the interpreter to itself, or no CPU for this process"
        self.stack: tuple[str, ...] = ()
        self.mark: tuple[int, int] | None = None
        self.stood_ns = -1
        self.late_ns = 0


class Watchdog:
    """Looks after one loop, from a thread of its own. `start` and `stop` are called on the loop's thread.

    `on_blocked` hears of each stall once, on the loop's thread, when it is over. `blames` keeps the last 64.
    """

    def __init__(
        self,
        running: Running,
        *,
        on_blocked: Callable[[Blame], None] | None = None,
        blocked_ms: int = 100,
        break_ms: int = 1000,
        look_ms: int = 20,
        meters: Meters | None = None,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._running = running
        self._on_blocked = on_blocked
        self._blocked_ns, self._break_ns = blocked_ms * NS_PER_MS, break_ms * NS_PER_MS
        self._look_ns = look_ms * NS_PER_MS
        self._now = now
        self.blames: deque[Blame] = deque(maxlen=BLAMES_MAX)
        # How long the loop took to answer: its lateness, seen from outside.
        self.breath_ns = (meters or Meters()).histogram("loop_breath_ns")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ident = 0
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._asked_at = self._answered_at = 0
        self._mark, self._mark_since = (0, 0), 0
        self._struck_at = self._struck = self._landings = 0
        self._landed = True

    def start(self) -> None:
        self._loop, self._ident = asyncio.get_running_loop(), threading.get_ident()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; it is at most in the middle of a look."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # ---- on the loop -------------------------------------------------------------------------------------------------

    def _breathe(self) -> None:
        now = self._now()
        self.breath_ns.record(now - self._asked_at)
        self._answered_at = now

    def _tell(self, blame: Blame) -> None:
        self.blames.append(blame)
        if self._on_blocked is not None:
            self._on_blocked(blame)

    # ---- on the watchdog's thread ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        looked_at = self._now()
        stall: _Stall | None = None
        while not self._stopping.wait(self._look_ns / 1e9):
            now = self._now()
            late, looked_at = now - looked_at - self._look_ns, now
            mark = (self._running.step, self._running.node_step)
            if mark != self._mark:
                self._mark, self._mark_since = mark, now
            if not self._asked_at or self._answered_at:
                if self._asked_at and not self._breathed(stall):
                    return
                stall = None
                if not self._ask(now):
                    return
                continue
            if now - self._asked_at >= self._blocked_ns:
                stall = stall or _Stall()
                stall.late_ns = max(stall.late_ns, late)
                self._look(stall, now)

    def _ask(self, now: int) -> bool:
        self._answered_at, self._asked_at = 0, now
        self._mark_since = now
        return self._call(self._breathe)

    def _breathed(self, stall: _Stall | None) -> bool:
        took = self._answered_at - self._asked_at
        if took < self._blocked_ns:
            return True
        stall = stall or _Stall()
        blame = Blame(
            session_id=stall.session_id,
            node_id=stall.node_id,
            what=stall.what,
            blocked_ms=took // NS_PER_MS,
            stood_ms=max(stall.stood_ns, 0) // NS_PER_MS,
            stack=stall.stack,
            raised=self._landings if stall.mark and stall.mark[1] == self._struck else 0,
            late_ms=stall.late_ns // NS_PER_MS,
        )
        return self._call(self._tell, blame)

    def _look(self, stall: _Stall, now: int) -> None:
        """Keep the mark that has stood longest, and strike if it is a node's step that has stood too long."""
        stood = now - self._mark_since
        if stood > stall.stood_ns and (stall.mark == self._mark or self._blame(stall)):
            stall.stood_ns = stood
        if self._mark[1] and stood >= self._break_ns:
            self._strike(self._mark[1], now)

    def _blame(self, stall: _Stall) -> bool:
        """Name who runs; False if it has changed while we looked."""
        running, (_, step) = self._running, self._mark
        what, session_id, node_id = running.what, running.session_id, running.node_id
        stack, task = _stack(self._ident), self._task_name()
        if (running.step, running.node_step) != self._mark:
            return False
        stall.mark, stall.stack = self._mark, stack
        stall.node_id = node_id if step else None
        stall.session_id = session_id if what is not None else None
        # Code that marks nothing, a provider's coroutine, say, is named by its task.
        stall.what = what or task
        return True

    def _task_name(self) -> str:
        assert self._loop is not None
        try:
            task = asyncio.current_task(self._loop)
        except RuntimeError:
            task = None
        return f"task {task.get_name()}" if task is not None else "a callback of the loop"

    def _strike(self, step: int, now: int) -> None:
        if step != self._struck:
            self._struck, self._landings, self._landed = step, 0, True
        elif now - self._struck_at < (2 * self._look_ns if self._landed else self._break_ns):
            return  # it still unwinds, or has not returned from the call that it was struck in
        if self._landings >= RAISES_MAX:
            return
        kind = NodeBlocked if self._landings < EXIT_AFTER else NodeBlockedExit
        running = self._running
        with running.lock:
            running.armed = True
            if running.node_step == step:
                self._struck_at, self._landed = now, False
                _raise_in(self._ident, type(kind.__name__, (kind,), {"__init__": lambda _: self._land()}))

    def _land(self) -> None:
        """An exception that was raised has struck: it is made in that moment, on the loop's thread."""
        self._landings += 1
        self._landed = True

    def _call(self, callback: Callable[..., None], *arguments: Any) -> bool:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: nobody is left to look after
            return False
        return True


def _raise_in(ident: int, kind: type[BaseException] | None) -> None:
    """Have `kind` raised in that thread as soon as it runs Python; None takes back what was not raised yet."""
    target = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), target)


def _stack(ident: int) -> tuple[str, ...]:
    """The innermost functions of that thread, the innermost first: file, line and name, nothing of what they hold."""
    frame: FrameType | None = sys._current_frames().get(ident)
    lines: list[str] = []
    while frame is not None and len(lines) < STACK_MAX:
        path = "/".join(PurePath(frame.f_code.co_filename).parts[-2:])
        lines.append(f"{path}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return tuple(lines)
