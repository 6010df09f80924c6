"""Requests of many sessions go through one model in one step, and none waits longer for its neighbours than it may.

    submit --> queue --(the thread is free)--> a batch --> infer --> callbacks, on the loop's thread
                 | too old, or past its deadline: fails and is not computed
                 | cancelled: leaves

Whatever is queued when the thread is free is the next batch: under load batches grow by themselves, and an idle model
serves at once. A window above 0 waits that long for company, but a request whose deadline leaves no time for that goes
at once, with whoever is there; and a batch is kept as small as its tightest deadline needs, by what batches of each size took
before. A request that breaks the model is found by trying its batch again one by one, so its neighbours are served.

A callback is called once, on the loop's thread, never from inside `submit`; after `cancel` it is not called. Everything
but `_work` and what that calls belongs to the loop's thread; `_lock` guards what both sides touch.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from rspp.contract.errors import MisuseError
from rspp.contract.event import NS_PER_MS
from rspp.contract.words import OutcomeClass
from rspp.host.meters import Meters
from rspp.host.pools import within
from rspp.host.ports import Inference, ProviderError

NS_PER_S: Final = 1_000_000_000
NEVER: Final = 1 << 62

Request = TypeVar("Request")
Result = TypeVar("Result")


class BatchTimes:
    """How long a batch of each size is expected to take. A size that was never seen is taken for the next smaller one."""

    __slots__ = ("_ns",)

    def __init__(self, batch_max: int) -> None:
        self._ns = [0] * (batch_max + 1)

    def expected(self, size: int) -> int:
        while size and not self._ns[size]:
            size -= 1
        return self._ns[size]

    def record(self, size: int, ns: int) -> None:
        known = self._ns[size]
        self._ns[size] = max(1, known + (ns - known) // 4) if known else max(1, ns)

    def doubt(self, size: int) -> None:
        """Forget some of it: a size that is avoided for one slow run would never be measured again."""
        self._ns[size] -= self._ns[size] // 16


class Ticket(Generic[Request, Result]):
    """One request on its way; `cancel` takes it back."""

    __slots__ = (
        "_batcher",
        "arrived_at",
        "callback",
        "deadline_at",
        "expires_at",
        "number",
        "outcome",
        "request",
        "taken_at",
    )

    def __init__(
        self,
        batcher: Batcher[Request, Result],
        number: int,
        request: Request,
        callback: Callable[[Result | ProviderError], None],
    ) -> None:
        self._batcher = batcher
        self.number = number
        self.request = request
        self.callback: Callable[[Result | ProviderError], None] | None = callback
        self.arrived_at = self.expires_at = self.taken_at = 0
        self.deadline_at: int | None = None
        self.outcome: Result | ProviderError | None = None

    def cancel(self) -> None:
        """The callback is not called any more; what was not begun is not computed."""
        self._batcher.cancel(self)


class Batcher(Generic[Request, Result]):
    """One model, one thread, one bounded queue. `submit`, `cancel` and `close` are called on the loop's thread.

    At most `capacity` requests wait beside the batch that is computed; one more is told `inference_queue_full`.
    """

    def __init__(
        self,
        name: str,
        inference: Inference[Request, Result],
        *,
        batch_max: int,
        queue_ms_max: int,
        capacity: int,
        window_ms: float = 0,
        meters: Meters | None = None,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if batch_max < 1 or capacity < 1 or queue_ms_max < 1 or window_ms < 0:
            raise MisuseError("value_invalid", "a batch, its queue and the wait in it are at least 1", name)
        self.name = name
        self._inference = inference
        self._batch_max, self._open_max = batch_max, capacity + batch_max
        self._queue_ns_max, self._window_ns = queue_ms_max * NS_PER_MS, int(window_ms * NS_PER_MS)
        self._now = now
        self._numbers = 0
        self._open: dict[int, Ticket[Request, Result]] = {}  # submitted, and not yet answered
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self._closed = False
        self._ended = asyncio.Event()
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._queue: deque[Ticket[Request, Result]] = deque()  # bounded: by what is open
        self._tight = 0  # how many in the queue have a deadline of their own
        self._begin_at = NEVER
        self._done: list[Ticket[Request, Result]] = []  # bounded: by what is open
        self._computed: list[
            tuple[int, int]
        ] = []  # size and time of each batch not yet told; bounded likewise
        self._waking = self._stopping = False
        self._times = BatchTimes(batch_max)
        meters = meters or Meters()
        self.queue_ns = meters.histogram("inference_queue_ns", model=name)
        self.compute_ns = meters.histogram("inference_compute_ns", model=name)
        self.batch_size = meters.histogram("inference_batch_size", model=name)
        self.requests = meters.counter("inference_requests_total", model=name)
        self.refused = meters.counter("inference_refused_total", model=name)
        self.expired = meters.counter("inference_expired_total", model=name)
        self.failed = meters.counter("inference_failed_total", model=name)
        meters.gauge("inference_queue_depth", lambda: len(self._queue), model=name)

    # ---- on the loop -------------------------------------------------------------------------------------------------

    def submit(
        self,
        request: Request,
        callback: Callable[[Result | ProviderError], None],
        *,
        deadline_at: int | None = None,
    ) -> Ticket[Request, Result]:
        """Ask for a result, or for a `ProviderError`; a result after `deadline_at` would be of no use."""
        loop = self._bound_loop()
        self._numbers += 1
        self.requests.value += 1
        ticket = Ticket(self, self._numbers, request, callback)
        ticket.arrived_at = now = self._now()
        if self._closed or len(self._open) >= self._open_max:
            self.refused.value += 1
            ticket.outcome = self._closing() if self._closed else self._full()
            loop.call_soon(_answer, ticket)
            return ticket
        ticket.deadline_at = deadline_at
        ticket.expires_at = min(now + self._queue_ns_max, NEVER if deadline_at is None else deadline_at)
        self._open[ticket.number] = ticket
        self._enqueue(ticket)
        if ticket.expires_at < self._timer_at:
            self._wake_at(ticket.expires_at, now)
        return ticket

    def cancel(self, ticket: Ticket[Request, Result]) -> None:
        ticket.callback = None
        if ticket.number not in self._open:
            return
        with self._lock:
            waiting = not ticket.taken_at and ticket.outcome is None
            if waiting:
                self._queue.remove(ticket)
                self._tight -= ticket.deadline_at is not None
        if waiting:
            del self._open[ticket.number]

    async def close(self, deadline_ms: int) -> bool:
        """Answer everything that waits with `inference_closed`, let the batch in work finish, end the thread.

        True if the thread ended in time. One that hangs in its model is given up: what it held is answered as well.
        """
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            waiting = list(self._queue)
            self._queue.clear()
            self._stopping = True
            self._ready.notify()
        self._fail(waiting)
        in_time = self._thread is None or await within(self._ended, deadline_ms / 1000)
        if in_time and self._thread is not None:
            self._thread.join()
        self._fail(list(self._open.values()))
        return in_time

    def _bound_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._thread = threading.Thread(target=self._work, name=f"inference-{self.name}", daemon=True)
            self._thread.start()
        elif loop is not self._loop:
            raise MisuseError(
                "execution_pool_other_loop", f"the model {self.name} belongs to another event loop"
            )
        return loop

    def _enqueue(self, ticket: Ticket[Request, Result]) -> None:
        with self._lock:
            self._queue.append(ticket)
            self._tight += ticket.deadline_at is not None
            begin_at = self._begin_of(ticket)
            full = len(self._queue) == self._batch_max
            if begin_at < self._begin_at or full:
                self._begin_at = ticket.arrived_at if full else begin_at
                self._ready.notify()

    def _wake_at(self, at: int, now: int) -> None:
        """The one timer: a thread that hangs in its model cannot tell that what waits has grown too old."""
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - now, 0) / NS_PER_S, self._expire)

    def _expire(self) -> None:
        now = self._now()
        self._timer, self._timer_at = None, NEVER
        with self._lock:
            old = self._take_expired(now)
            following = min((ticket.expires_at for ticket in self._queue), default=None)
        for ticket in old:
            self._settle(ticket)
        if following is not None and following < self._timer_at and not self._closed:
            self._wake_at(following, now)

    def _deliver(self) -> None:
        with self._lock:
            done, self._done = self._done, []
            computed, self._computed = self._computed, []
            self._waking = False
        for size, ns in computed:
            self.batch_size.record(size)
            self.compute_ns.record(ns)
        for ticket in done:
            self._settle(ticket)

    def _settle(self, ticket: Ticket[Request, Result]) -> None:
        if self._open.pop(ticket.number, None) is None:
            return  # answered already, by a close that did not wait for it
        if ticket.taken_at:
            self.queue_ns.record(ticket.taken_at - ticket.arrived_at)
        if isinstance(ticket.outcome, ProviderError):
            counter = self.expired if ticket.outcome.outcome is OutcomeClass.TIMEOUT else self.failed
            counter.value += 1
        try:
            _answer(ticket)
        except Exception as error:  # noqa: BLE001 - supervised: one callback's fault is not its neighbours'
            assert self._loop is not None
            self._loop.call_exception_handler(
                {"message": f"a callback of the model {self.name} raised", "exception": error}
            )

    def _fail(self, tickets: Sequence[Ticket[Request, Result]]) -> None:
        for ticket in tickets:
            ticket.outcome = self._closing()
            self._settle(ticket)

    # ---- on the thread -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            if batch:
                self._compute(batch)
        self._tell(self._ended.set)

    def _next(self) -> list[Ticket[Request, Result]] | None:
        """Wait for a batch; None when it is time to end."""
        with self._lock:
            while not self._stopping:
                wait_ns = self._begin_at - self._now() if self._queue else NEVER
                if wait_ns <= 0:
                    return self._take(self._now())
                self._ready.wait(wait_ns / NS_PER_S if self._queue else None)
        return None

    def _take(self, now: int) -> list[Ticket[Request, Result]]:
        """The next batch, the most urgent first; what is too old is answered and not computed."""
        old = self._take_expired(now)
        if self._tight:
            # Without deadlines of their own the order of coming is the order of expiry.
            self._queue = deque(sorted(self._queue, key=_expiry))  # bounded: by what it was before
        size = self._size(now)
        batch = [self._queue.popleft() for _ in range(size)]
        for ticket in batch:
            ticket.taken_at = now
            self._tight -= ticket.deadline_at is not None
        self._begin_at = min(map(self._begin_of, self._queue), default=NEVER)
        if len(self._queue) >= self._batch_max:
            self._begin_at = now
        if old:
            self._done += old
            self._wake()
        return batch

    def _size(self, now: int) -> int:
        """As many as there are, as few as the tightest deadline that can still be kept needs."""
        size = min(len(self._queue), self._batch_max)
        if not self._tight:
            return size
        alone = now + self._times.expected(1)
        # One that is late whatever is done slows nobody down; the order is by expiry, so the first left is the tightest.
        tightest = next((t.deadline_at for t in self._queue if (t.deadline_at or 0) >= alone), None)
        while size > 1 and tightest is not None and now + self._times.expected(size) > tightest:
            self._times.doubt(size)
            size -= 1
        return size

    def _take_expired(self, now: int) -> list[Ticket[Request, Result]]:
        if not any(ticket.expires_at <= now for ticket in self._queue):
            return []
        old = [ticket for ticket in self._queue if ticket.expires_at <= now]
        self._queue = deque(t for t in self._queue if t.expires_at > now)  # bounded: by what it was before
        self._tight -= sum(ticket.deadline_at is not None for ticket in old)
        for ticket in old:
            ticket.outcome = self._too_old()
        return old

    def _begin_of(self, ticket: Ticket[Request, Result]) -> int:
        """When a batch with this request begins at the latest: after the window, or at once if it has no time for it.

        The time for it: the window, and as much again or a whole batch's time, whichever is more.
        """
        window = self._window_ns
        due = ticket.arrived_at + window + max(window, self._times.expected(self._batch_max))
        hurried = ticket.deadline_at is not None and ticket.deadline_at < due
        return ticket.arrived_at if hurried else ticket.arrived_at + window

    def _compute(self, batch: list[Ticket[Request, Result]]) -> None:
        try:
            self._infer(batch)
        except BaseException as error:  # noqa: BLE001 - supervised: a model's fault costs its batch, not the thread
            if len(batch) == 1:
                batch[0].outcome = self._broken(error)
                self._answer(batch)
                return
            for ticket in batch:
                if ticket.deadline_at is not None and ticket.deadline_at <= self._now():
                    ticket.outcome = self._too_old()
                    self._answer([ticket])
                elif ticket.callback is not None and not self._stopping:
                    self._compute([ticket])
                else:
                    ticket.outcome = self._closing()
                    self._answer([ticket])

    def _infer(self, batch: list[Ticket[Request, Result]]) -> None:
        began = self._now()
        results = self._inference.infer([ticket.request for ticket in batch])
        took = self._now() - began
        count = len(results) if hasattr(results, "__len__") else -1
        if count != len(batch):
            for ticket in batch:
                ticket.outcome = self._miscounted(count, len(batch))
        else:
            for ticket, result in zip(batch, results, strict=True):
                ticket.outcome = result
        self._answer(batch, took)

    def _answer(self, tickets: list[Ticket[Request, Result]], took: int | None = None) -> None:
        with self._lock:
            self._done += tickets
            if took is not None:
                self._times.record(len(tickets), took)
                self._computed.append((len(tickets), took))
            self._wake()

    def _wake(self) -> None:
        if not self._waking:
            self._waking = True
            self._tell(self._deliver)

    def _tell(self, callback: Callable[[], None]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop is closed, and nobody waits for an answer
            self._stopping = True

    # ---- what can go wrong -------------------------------------------------------------------------------------------

    def _full(self) -> ProviderError:
        return ProviderError(
            OutcomeClass.OVERLOAD, "inference_queue_full", f"{self.name} has no place left", retryable=True
        )

    def _too_old(self) -> ProviderError:
        return ProviderError(
            OutcomeClass.TIMEOUT,
            "inference_queue_deadline",
            f"waited too long for {self.name}",
            retryable=True,
        )

    def _closing(self) -> ProviderError:
        return ProviderError(
            OutcomeClass.INFRASTRUCTURE_FAILURE, "inference_closed", f"{self.name} is shut down"
        )

    def _broken(self, error: BaseException) -> ProviderError:
        # The name of the error only: its text may quote the request.
        return ProviderError(
            OutcomeClass.INFRASTRUCTURE_FAILURE,
            "inference_failed",
            f"{self.name} raised {type(error).__name__}",
            retryable=True,
        )

    def _miscounted(self, results: int, requests: int) -> ProviderError:
        given = "something that has no length" if results < 0 else f"{results} results"
        return ProviderError(
            OutcomeClass.INFRASTRUCTURE_FAILURE,
            "inference_result_count",
            f"{self.name} gave {given} for {requests} requests",
        )


def _answer(ticket: Ticket[Request, Result]) -> None:
    callback, ticket.callback = ticket.callback, None
    if callback is not None:
        callback(ticket.outcome)  # type: ignore[arg-type]  # set before anything is answered


def _expiry(ticket: Ticket[Request, Result]) -> int:
    return ticket.expires_at
