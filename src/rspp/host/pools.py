"""A named pool of worker threads that refuses rather than waits, and gives back each place exactly once.

              submit                      a worker is free                 fn returned or raised
    (loop) -----------> waiting (strategy) ---------------> running (thread) ---------------> delivered (loop)
              |               | cancelled, overdue, closed: never run, its place given back at once
              refused: closed, full, or the key has as many as it may

At most `capacity` pieces wait while `workers` run; one more is refused, whatever the threads happen to be doing, so
what is refused depends on what was asked and not on timing. What is cancelled or overdue while it runs keeps its place
and its key until it really ends: a thread cannot be stopped, and a limit that forgets what still runs is none. The
strategy says which piece is next. Results come to the loop in batches: one wake-up for all that are ready.

Everything but `_work` and `_run` belongs to the loop's thread; `_lock` guards what both sides touch.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar, cast

import msgspec

from rspp.contract.errors import LimitReached, MisuseError, PeerFault
from rspp.host.meters import Meters

CAPACITY: Final = 64
# Saturated until a quarter is free again: each change is an input of every session.
OPEN_AGAIN: Final = 0.75

Result = TypeVar("Result")


# ---- which piece is next --------------------------------------------------------------------------------------------


class Work:
    """One piece of work. A strategy may look at its `key` and its `number`, which rises with each submission."""

    __slots__ = (
        "args",
        "ended_at",
        "error",
        "fn",
        "future",
        "key",
        "number",
        "result",
        "started_at",
        "submitted_at",
        "timer",
        "waiting",
    )

    def __init__(
        self,
        number: int,
        key: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        future: asyncio.Future[Any],
    ) -> None:
        self.number = number
        self.key = key
        self.fn = fn
        self.args = args
        self.future = future
        self.waiting = True
        self.submitted_at = self.started_at = self.ended_at = 0
        self.result: Any = None
        self.error: Exception | None = None
        self.timer: asyncio.TimerHandle | None = None


class PoolStrategy(Protocol):
    """The order of what waits. Called under the pool's lock, so it neither waits nor calls back.

    Each piece that was put is either taken once or discarded once. `take` gives None only when nothing waits. The same
    calls give the same order.
    """

    def put(self, work: Work) -> None: ...
    def take(self) -> Work | None: ...
    def discard(self, work: Work) -> None: ...


class Fifo:
    """First come, first served."""

    def __init__(self) -> None:
        self._waiting: deque[Work] = deque()  # bounded: by the pool's capacity

    def put(self, work: Work) -> None:
        self._waiting.append(work)

    def take(self) -> Work | None:
        return self._waiting.popleft() if self._waiting else None

    def discard(self, work: Work) -> None:
        self._waiting.remove(work)


class Fair:
    """Deficit round robin by key: each key with work gets as many pieces a round as it weighs (1 unless told)."""

    def __init__(self, weights: Mapping[str, int] | None = None) -> None:
        self._weights = dict(weights or {})
        if any(weight < 1 for weight in self._weights.values()):
            raise MisuseError(
                "value_invalid", "a key weighs at least 1: with less it would starve", "weights"
            )
        self._round: OrderedDict[str, deque[Work]] = OrderedDict()
        self._credit = 0  # what the first key of the round may still take

    def put(self, work: Work) -> None:
        waiting = self._round.get(work.key)
        if waiting is None:
            waiting = self._round[work.key] = deque()  # bounded: by the pool's capacity
        waiting.append(work)

    def take(self) -> Work | None:
        if not self._round:
            return None
        key, waiting = next(iter(self._round.items()))
        if self._credit == 0:
            self._credit = self._weights.get(key, 1)
        work = waiting.popleft()
        self._credit -= 1
        if not waiting:
            self._leave(key)
        elif self._credit == 0:
            self._round.move_to_end(key)
        return work

    def discard(self, work: Work) -> None:
        waiting = self._round[work.key]
        waiting.remove(work)
        if not waiting:
            if next(iter(self._round)) == work.key:
                self._leave(work.key)
            else:
                del self._round[work.key]

    def _leave(self, first: str) -> None:
        # What a key did not use up it does not keep: it would come back with a burst.
        del self._round[first]
        self._credit = 0


# ---- the pool -------------------------------------------------------------------------------------------------------


class PoolCounts(msgspec.Struct, frozen=True, gc=False):
    """submitted = completed + dropped + in_flight + depth. `abandoned` still run, but nobody waits for them."""

    submitted: int
    completed: int
    dropped: int
    rejected: int
    rejected_by_concurrency: int
    in_flight: int
    depth: int
    abandoned: int


class Pool:
    """Runs functions on its threads. `submit` and `drain` are called on the loop's thread; threads start with the first
    submission. `on_state` hears open, saturated and closed, from the loop and never from inside `submit`.
    """

    def __init__(
        self,
        name: str,
        *,
        workers: int,
        capacity: int = CAPACITY,
        per_key_max: int = 0,
        strategy: PoolStrategy | None = None,
        on_state: Callable[[str], None] | None = None,
        meters: Meters | None = None,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if workers < 1 or capacity < 1 or per_key_max < 0:
            raise MisuseError(
                "value_invalid", "a pool has a worker, a place to wait, and no negative limit", name
            )
        self.name = name
        self.state = "open"
        self._workers, self._capacity, self._per_key_max = workers, capacity, per_key_max
        self._strategy: PoolStrategy = strategy or Fifo()
        self._on_state = on_state
        self._now = now
        meters = meters or Meters()
        self._submitted = meters.counter("pool_submitted_total", pool=name)
        self._completed = meters.counter("pool_completed_total", pool=name)
        self._dropped = meters.counter("pool_dropped_total", pool=name)
        self._rejected = meters.counter("pool_rejected_total", pool=name)
        self._rejected_by_key = meters.counter("pool_rejected_by_concurrency_total", pool=name)
        self.queue_ns = meters.histogram("pool_queue_ns", pool=name)
        self.run_ns = meters.histogram("pool_run_ns", pool=name)
        meters.gauge("pool_depth", lambda: self._waiting, pool=name)
        meters.gauge("pool_in_flight", lambda: len(self._open) - self._waiting, pool=name)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: list[threading.Thread] = []
        self._open: dict[int, Work] = {}  # submitted, and not yet delivered or dropped
        self._keys: dict[str, int] = {}
        self._draining = False
        self._settled, self._left = asyncio.Event(), asyncio.Event()  # nothing is open; no thread is left
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._waiting = 0
        self._done: list[Work] = []  # bounded: by what is open
        self._waking = False
        self._stopping = False
        self._alive = workers

    # ---- on the loop -------------------------------------------------------------------------------------------------

    def submit(
        self, key: str, fn: Callable[..., Result], *args: Any, deadline_ms: int | None = None
    ) -> asyncio.Future[Result]:
        """Run `fn(*args)` on a thread; raises `LimitReached` when there is no place, and never waits.

        The future fails with what `fn` raised, or with `execution_pool_deadline` when `deadline_ms` passed first:
        what waited until then is not run at all, and what runs goes on with nobody listening.
        """
        loop = self._bound_loop()
        self._admit(key)
        self._submitted.value += 1
        work = Work(self._submitted.value, key, fn, args, loop.create_future())
        work.submitted_at = self._now()
        self._open[work.number] = work
        self._keys[key] = self._keys.get(key, 0) + 1
        if deadline_ms is not None:
            work.timer = loop.call_later(deadline_ms / 1000, self._overdue, work)
        work.future.add_done_callback(lambda _: self._unwanted(work))
        with self._lock:
            self._strategy.put(work)
            self._waiting += 1
            self._ready.notify()
        if len(self._open) >= self._capacity + self._workers:
            self._become("saturated")
        return cast("asyncio.Future[Result]", work.future)

    async def drain(self, deadline_ms: int) -> bool:
        """Take no new work, finish what there is, and end the threads; True if all of it was done in time.

        Ends within the deadline whatever the work does: what still waits then is not run, and what still runs is
        given up, its thread with it. Both fail with `execution_pool_closed`.
        """
        self._become("closed")
        if self._loop is None:
            return True
        loop = self._bound_loop()
        ends_at = loop.time() + deadline_ms / 1000
        self._draining = True
        self._tell_settled()
        in_time = await within(self._settled, ends_at - loop.time())
        self._give_up()
        with self._lock:
            self._stopping = True
            self._ready.notify_all()
        # An idle thread is gone at once; one that hangs is a daemon, and the process may end without it.
        if await within(self._left, ends_at - loop.time()):
            for thread in self._threads:
                thread.join()
        return in_time

    def counts(self) -> PoolCounts:
        waiting = self._waiting
        return PoolCounts(
            submitted=self._submitted.value,
            completed=self._completed.value,
            dropped=self._dropped.value,
            rejected=self._rejected.value,
            rejected_by_concurrency=self._rejected_by_key.value,
            in_flight=len(self._open) - waiting,
            depth=waiting,
            abandoned=sum(1 for work in self._open.values() if work.future.done() and not work.waiting),
        )

    def _bound_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            for number in range(self._workers):
                thread = threading.Thread(target=self._work, name=f"{self.name}-{number}", daemon=True)
                self._threads.append(thread)
                thread.start()
        elif loop is not self._loop:
            raise MisuseError(
                "execution_pool_other_loop", f"the pool {self.name} belongs to another event loop"
            )
        return loop

    def _admit(self, key: str) -> None:
        if self.state == "closed":
            self._rejected.value += 1
            raise LimitReached("execution_pool_closed", f"the pool {self.name} takes no more work")
        if len(self._open) >= self._capacity + self._workers:
            self._rejected.value += 1
            raise LimitReached(
                "execution_pool_saturated",
                f"{self._capacity} pieces wait in the pool {self.name} and {self._workers} run",
            )
        if self._per_key_max and self._keys.get(key, 0) >= self._per_key_max:
            self._rejected.value += 1
            self._rejected_by_key.value += 1
            raise LimitReached(
                "node_concurrency_limited",
                f"{key!r} has its {self._per_key_max} pieces in the pool {self.name} already",
            )

    def _overdue(self, work: Work) -> None:
        if not work.future.done():
            work.future.set_exception(
                LimitReached("execution_pool_deadline", f"not done in time by the pool {self.name}")
            )
            self._unwanted(work)

    def _unwanted(self, work: Work) -> None:
        """Nobody waits for it any more: what is still in the queue leaves it."""
        if work.number not in self._open:
            return
        with self._lock:
            dropped = work.waiting
            if dropped:
                work.waiting = False
                self._strategy.discard(work)
                self._waiting -= 1
        if dropped:
            self._dropped.value += 1
            self._release(work)

    def _deliver(self) -> None:
        with self._lock:
            done, self._done = self._done, []
            self._waking = False
        for work in done:
            if not work.started_at:  # cancelled in the very moment in which a thread took it
                self._dropped.value += 1
                self._release(work)
                continue
            self._completed.value += 1
            self.queue_ns.record(work.started_at - work.submitted_at)
            self.run_ns.record(work.ended_at - work.started_at)
            self._release(work)
            if work.future.done():
                continue
            if work.error is not None:
                work.future.set_exception(work.error)
            else:
                work.future.set_result(work.result)

    def _release(self, work: Work) -> None:
        """Give back the place and the key, once."""
        del self._open[work.number]
        if work.timer is not None:
            work.timer.cancel()
        left = self._keys[work.key] - 1
        if left:
            self._keys[work.key] = left
        else:
            del self._keys[work.key]
        if self.state == "saturated" and len(self._open) <= OPEN_AGAIN * (self._capacity + self._workers):
            self._become("open")
        self._tell_settled()

    def _tell_settled(self) -> None:
        if self._draining and not self._open:
            self._settled.set()

    def _give_up(self) -> None:
        for work in list(self._open.values()):
            if not work.future.done():
                work.future.set_exception(
                    LimitReached("execution_pool_closed", f"the pool {self.name} closed before it was done")
                )
            self._unwanted(work)

    def _become(self, state: str) -> None:
        if self.state in (state, "closed"):
            return
        self.state = state
        if self._on_state is not None:
            asyncio.get_running_loop().call_soon(self._on_state, state)

    # ---- on the threads ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._lock:
                while (work := self._strategy.take()) is None:
                    if self._stopping:
                        self._leave()
                        return
                    self._ready.wait()
                work.waiting = False
                self._waiting -= 1
            if not work.future.done():
                self._run(work)
            with self._lock:
                self._done.append(work)
                asleep, self._waking = not self._waking, True
            if asleep and not self._tell(self._deliver):
                return

    def _run(self, work: Work) -> None:
        work.started_at = self._now()
        try:
            work.result = work.fn(*work.args)
        except StopIteration as error:
            work.error = _as_fault(error)  # a future refuses to carry one
        except Exception as error:  # noqa: BLE001 - supervised: it belongs to whoever awaits the future
            work.error = error
        except BaseException as error:  # noqa: BLE001 - supervised: an exit of the work is no exit of the process
            work.error = _as_fault(error)
        work.ended_at = self._now()

    def _leave(self) -> None:
        self._alive -= 1
        if self._alive == 0:
            self._tell(self._left.set)

    def _tell(self, callback: Callable[[], None]) -> bool:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop is closed, and nobody waits for anything
            return False
        return True


def _as_fault(error: BaseException) -> PeerFault:
    return PeerFault("execution_pool_work_failed", f"the work ended with {type(error).__name__}")


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Whether it was set in time."""
    try:
        await asyncio.wait_for(event.wait(), max(seconds, 0))
    except TimeoutError:
        return event.is_set()
    return True
