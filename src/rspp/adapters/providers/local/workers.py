"""A few threads that all sessions share: fair, bounded, and nobody waits for them longer than was promised.

Each job waits in one of two lines, urgent ones first, each line in order of arrival; a session that has only one job at
a time out therefore gets its turn in turn. A job that runs cannot be stopped from here: who gives up on it lets go
of its result, and the thread counts as taken until it is free.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rspp.contract.words import OutcomeClass
from rspp.host.ports import ProviderError

T = TypeVar("T")


class Workers:
    """Runs jobs in at most `threads` threads; at most `waiting_max` wait, for at most `queue_ms_max` each."""

    def __init__(self, name: str, *, threads: int, waiting_max: int, queue_ms_max: int) -> None:
        self.name = name
        self.waiting_max = waiting_max
        self.queue_ms_max = queue_ms_max
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._urgent: deque[asyncio.Future[None]] = deque()  # bounded: by waiting_max, in `_enter`
        self._others: deque[asyncio.Future[None]] = deque()  # bounded: likewise

    @property
    def waiting(self) -> int:
        return len(self._urgent) + len(self._others)

    async def run(self, job: Callable[[], T], *, urgent: bool = False) -> T:
        """The job's result. Too many waiting, or too long a wait, is an overload that may be tried again."""
        await self._enter(urgent)
        loop = asyncio.get_running_loop()
        try:
            running = self._pool.submit(job)
        except RuntimeError as error:
            self._leave()
            raise ProviderError(
                OutcomeClass.INFRASTRUCTURE_FAILURE, "provider_closed", f"{self.name} is closed"
            ) from error
        result: asyncio.Future[T] = asyncio.wrap_future(running, loop=loop)
        result.add_done_callback(self._done)
        return await asyncio.shield(result)

    async def close(self) -> None:
        """Nobody else may enter; returns when the last thread is free."""
        for line in (self._urgent, self._others):
            while line:
                waiter = line.popleft()
                if not waiter.done():
                    waiter.set_exception(self._overload("provider_closed"))
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)

    async def _enter(self, urgent: bool) -> None:
        if self._free > 0 and not self.waiting:
            self._free -= 1
            return
        if self.waiting >= self.waiting_max:
            raise self._overload("provider_overload")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._urgent if urgent else self._others
        line.append(waiter)
        try:
            await asyncio.wait_for(waiter, self.queue_ms_max / 1_000)
        except TimeoutError:
            self._forget(line, waiter)
            raise self._overload("provider_overload") from None
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._leave()  # its turn came in the very moment in which it gave up
            self._forget(line, waiter)
            raise

    def _leave(self) -> None:
        """Give the thread to the next who still waits."""
        for line in (self._urgent, self._others):
            while line:
                waiter = line.popleft()
                if not waiter.done():
                    waiter.set_result(None)
                    return
        self._free += 1

    def _done(self, result: asyncio.Future[T]) -> None:
        if not result.cancelled():
            result.exception()  # seen, also when nobody waits for it any more
        self._leave()

    def _overload(self, reason: str) -> ProviderError:
        return ProviderError(
            OutcomeClass.OVERLOAD,
            reason,
            f"{self.name} has no free thread; {self.waiting} wait",
            retryable=True,
            retry_after_ms=self.queue_ms_max,
        )

    @staticmethod
    def _forget(line: deque[asyncio.Future[None]], waiter: asyncio.Future[None]) -> None:
        if waiter in line:
            line.remove(waiter)
