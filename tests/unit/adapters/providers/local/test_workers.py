"""Threads that sessions share: bounded, fair, urgent first, and given back whatever happens."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from rspp.adapters.providers.local.workers import Workers
from rspp.contract.words import OutcomeClass
from rspp.host.ports import ProviderError


class Gate:
    """A job that waits until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.go.wait(10)
        return "done"

    async def until_began(self) -> None:
        assert await asyncio.to_thread(self.began.wait, 10)


def workers(threads: int = 1, waiting_max: int = 4, queue_ms_max: int = 10_000) -> Workers:
    return Workers("test", threads=threads, waiting_max=waiting_max, queue_ms_max=queue_ms_max)


async def until_waiting(pool: Workers, count: int) -> None:
    async with asyncio.timeout(5):
        while pool.waiting < count:  # noqa: ASYNC110 - the line has no event, and needs none
            await asyncio.sleep(0)


def test_urgent_jobs_go_first_and_each_line_keeps_its_order() -> None:
    async def main() -> list[str]:
        pool, gate = workers(), Gate()
        order: list[str] = []
        first = asyncio.create_task(pool.run(gate))
        jobs: list[asyncio.Task[None]] = []
        await gate.until_began()
        for number, (name, urgent) in enumerate([("a", False), ("b", False), ("C", True), ("D", True)]):
            jobs.append(asyncio.create_task(pool.run(partial(order.append, name), urgent=urgent)))
            await until_waiting(pool, number + 1)
        gate.go.set()
        await asyncio.gather(first, *jobs)
        await pool.close()
        return order

    assert asyncio.run(main()) == ["C", "D", "a", "b"]


def test_one_too_many_is_an_overload_that_may_be_tried_again() -> None:
    async def main() -> ProviderError:
        pool, gate = workers(waiting_max=1), Gate()
        first = asyncio.create_task(pool.run(gate))
        await gate.until_began()
        second = asyncio.create_task(pool.run(lambda: None))
        await until_waiting(pool, 1)
        with pytest.raises(ProviderError) as caught:
            await pool.run(lambda: None)
        gate.go.set()
        await asyncio.gather(first, second)
        await pool.close()
        return caught.value

    error = asyncio.run(main())
    assert (error.outcome, error.reason, error.retryable) == (
        OutcomeClass.OVERLOAD,
        "provider_overload",
        True,
    )


def test_who_waits_too_long_is_told_and_leaves_the_line() -> None:
    async def main() -> int:
        pool, gate = workers(queue_ms_max=10), Gate()
        first = asyncio.create_task(pool.run(gate))
        await gate.until_began()
        with pytest.raises(ProviderError, match="no free thread"):
            await pool.run(lambda: None)
        waiting = pool.waiting
        gate.go.set()
        assert await first == "done"
        assert await pool.run(lambda: 7) == 7
        await pool.close()
        return waiting

    assert asyncio.run(main()) == 0


def test_a_job_that_was_given_up_holds_its_thread_until_it_is_done() -> None:
    async def main() -> None:
        pool, gate = workers(queue_ms_max=20), Gate()
        job = asyncio.create_task(pool.run(gate))
        await gate.until_began()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        with pytest.raises(ProviderError):
            await pool.run(lambda: None)
        gate.go.set()
        pool.queue_ms_max = 10_000
        assert await pool.run(lambda: 1) == 1
        await pool.close()

    asyncio.run(main())


def test_who_gives_up_in_line_leaves_no_gap() -> None:
    async def main() -> None:
        pool, gate = workers(), Gate()
        first = asyncio.create_task(pool.run(gate))
        await gate.until_began()
        second = asyncio.create_task(pool.run(lambda: 2))
        third = asyncio.create_task(pool.run(lambda: 3))
        await until_waiting(pool, 2)
        second.cancel()
        gate.go.set()
        assert (await first, await third) == ("done", 3)
        assert pool.waiting == 0
        await pool.close()

    asyncio.run(main())


def test_what_a_job_raises_comes_to_who_asked_and_the_thread_is_free_again() -> None:
    async def main() -> None:
        pool = workers()
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)
        assert await pool.run(lambda: 1) == 1
        await pool.close()

    asyncio.run(main())


def test_after_the_close_nobody_enters() -> None:
    async def main() -> None:
        pool = workers()
        await pool.close()
        with pytest.raises(ProviderError, match="closed") as caught:
            await pool.run(lambda: 1)
        assert caught.value.reason == "provider_closed"

    asyncio.run(main())
