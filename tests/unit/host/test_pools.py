"""A pool refuses and never waits, gives back every place exactly once, and is fair if it is told to be."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from rspp.contract.codes import CODES
from rspp.contract.errors import LimitReached, MisuseError, PeerFault
from rspp.host.meters import Meters
from rspp.host.pools import Fair, Fifo, Pool, PoolStrategy, Work

DEADLINE_S = 10.0


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


class Gate:
    """Work that waits until it is let go, and says that it has begun."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, answer: object = None) -> object:
        self.begun.release()
        assert self.open.wait(DEADLINE_S)
        return answer

    async def entered(self, times: int = 1) -> None:
        for _ in range(times):
            await asyncio.to_thread(self.begun.acquire)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - what another thread does has no event to wait for
        await asyncio.sleep(0.001)


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(LimitReached) as caught:
        call()
    assert caught.value.code in CODES
    return caught.value.code


def balanced(pool: Pool) -> bool:
    now = pool.counts()
    return now.submitted == now.completed + now.dropped + now.in_flight + now.depth


def test_work_runs_on_a_thread_and_its_result_and_its_error_come_back() -> None:
    async def main() -> None:
        pool = Pool("p", workers=2)
        assert await pool.submit("a", threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await pool.submit("a", lambda: 1 // 0)
        assert await pool.drain(1000)
        assert pool.counts().completed == 2

    run(main)


def test_when_full_it_refuses_at_once_and_says_so_and_opens_again_with_room() -> None:
    async def main() -> None:
        states: list[str] = []
        pool, gate = Pool("p", workers=1, capacity=3, on_state=states.append), Gate()
        given = [pool.submit("a", gate, number) for number in range(4)]
        assert code_of(lambda: pool.submit("a", gate)) == "execution_pool_saturated"
        assert code_of(lambda: pool.submit("b", gate)) == "execution_pool_saturated"
        assert states == []  # never from inside submit
        await gate.entered()
        assert (pool.counts().in_flight, pool.counts().depth, pool.counts().rejected) == (1, 3, 2)
        gate.open.set()
        assert await asyncio.gather(*given) == [0, 1, 2, 3]
        assert states == ["saturated", "open"]
        assert await pool.drain(1000)
        assert states == ["saturated", "open", "closed"]

    run(main)


def test_what_is_refused_does_not_depend_on_how_fast_the_threads_are() -> None:
    async def main() -> None:
        for _ in range(20):
            pool = Pool("p", workers=2, capacity=8)
            refused = 0
            for _ in range(100):
                try:
                    pool.submit("a", int)
                except LimitReached:
                    refused += 1
            assert refused == 90
            assert await pool.drain(1000)

    run(main)


def test_a_key_has_no_more_than_its_share_and_others_are_not_refused() -> None:
    async def main() -> None:
        pool, gate = Pool("p", workers=2, per_key_max=2), Gate()
        first = [pool.submit("a", gate), pool.submit("a", gate)]
        assert code_of(lambda: pool.submit("a", gate)) == "node_concurrency_limited"
        other = pool.submit("b", gate)
        gate.open.set()
        await asyncio.gather(*first, other)
        await pool.submit("a", gate)
        assert pool.counts().rejected_by_concurrency == pool.counts().rejected == 1
        await pool.drain(1000)

    run(main)


def fails() -> None:
    raise ValueError("no")


def recurses() -> None:
    recurses()


def exits() -> None:
    sys.exit(3)


def cancels() -> None:
    raise asyncio.CancelledError


def stops() -> None:
    raise StopIteration


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("work", "error"),
    [
        (fails, ValueError),
        (recurses, RecursionError),
        (exits, PeerFault),
        (cancels, PeerFault),
        (stops, PeerFault),
    ],
)
def test_whatever_work_raises_its_place_and_key_come_back_and_the_thread_lives(
    work: Callable[[], None], error: type[Exception]
) -> None:
    async def main() -> None:
        pool = Pool("p", workers=1, capacity=1, per_key_max=1)
        for _ in range(5):
            with pytest.raises(error):
                await pool.submit("a", work)
        assert await pool.submit("a", int) == 0
        assert balanced(pool)
        assert (pool.counts().in_flight, pool.counts().depth, pool._keys) == (0, 0, {})
        assert await pool.drain(1000)

    run(main)


def test_what_is_cancelled_while_it_waits_never_runs_and_gives_back_its_place() -> None:
    async def main() -> None:
        ran: list[int] = []
        pool, gate = Pool("p", workers=1, capacity=2, per_key_max=1), Gate()
        blocking = pool.submit("x", gate)
        await gate.entered()
        waiting = [pool.submit("a", ran.append, 1), pool.submit("b", ran.append, 2)]
        for one in waiting:
            one.cancel()
        await until(lambda: pool.counts().dropped == 2)
        again = pool.submit("a", ran.append, 3)
        gate.open.set()
        await asyncio.gather(blocking, again)
        assert ran == [3]
        assert balanced(pool)
        await pool.drain(1000)

    run(main)


def test_what_is_cancelled_while_it_runs_keeps_its_key_until_it_really_ends() -> None:
    async def main() -> None:
        pool, gate = Pool("p", workers=1, per_key_max=1), Gate()
        running = pool.submit("a", gate)
        await gate.entered()
        running.cancel()
        await asyncio.sleep(0)
        assert code_of(lambda: pool.submit("a", gate)) == "node_concurrency_limited"
        assert pool.counts().abandoned == 1
        gate.open.set()
        await until(lambda: pool.counts().in_flight == 0)
        assert await pool.submit("a", int) == 0
        await pool.drain(1000)

    run(main)


def test_past_its_deadline_waiting_work_is_not_run_and_running_work_is_not_waited_for() -> None:
    async def main() -> None:
        ran: list[int] = []
        pool, gate = Pool("p", workers=1), Gate()
        hanging = pool.submit("a", gate, deadline_ms=20)
        waiting = pool.submit("b", ran.append, 1, deadline_ms=20)
        for one in (hanging, waiting):
            with pytest.raises(LimitReached) as caught:
                await one
            assert caught.value.code == "execution_pool_deadline"
        assert (pool.counts().abandoned, pool.counts().dropped) == (1, 1)
        gate.open.set()
        await pool.submit("c", int)
        assert ran == []
        assert balanced(pool)
        await pool.drain(1000)

    run(main)


def test_a_drain_finishes_what_there_is_takes_nothing_new_and_leaves_no_thread() -> None:
    async def main() -> None:
        pool, gate = Pool("p", workers=2), Gate()
        given = [pool.submit("a", gate, number) for number in range(5)]
        await gate.entered(2)
        draining = asyncio.ensure_future(pool.drain(5000))
        await asyncio.sleep(0)
        assert code_of(lambda: pool.submit("a", gate)) == "execution_pool_closed"
        gate.open.set()
        assert await draining
        assert [one.result() for one in given] == [0, 1, 2, 3, 4]
        assert not any(thread.is_alive() for thread in pool._threads)
        assert await pool.drain(10)  # a second time

    run(main)


def test_a_drain_ends_within_its_deadline_although_work_hangs() -> None:
    async def main() -> None:
        pool, gate = Pool("p", workers=1), Gate()
        given = [pool.submit("a", gate), pool.submit("a", gate)]
        await gate.entered()
        begun = time.monotonic()
        assert not await pool.drain(50)
        assert time.monotonic() - begun < 2
        for one in given:
            with pytest.raises(LimitReached, match="execution_pool_closed"):
                await one
        gate.open.set()
        await until(lambda: not pool._threads[0].is_alive())
        assert balanced(pool)

    run(main)


def test_a_pool_that_never_worked_is_drained_at_once() -> None:
    async def main() -> None:
        pool = Pool("p", workers=1)
        assert await pool.drain(0)
        assert code_of(lambda: pool.submit("a", int)) == "execution_pool_closed"

    run(main)


def test_work_that_ends_after_the_loop_is_gone_harms_nobody() -> None:
    gate = Gate()

    async def main() -> Pool:
        pool = Pool("p", workers=1)
        pool.submit("a", gate).cancel()
        pool.submit("a", gate)
        await gate.entered()
        return pool

    pool = asyncio.run(main())
    gate.open.set()
    pool._threads[0].join(DEADLINE_S)
    assert not pool._threads[0].is_alive()


def test_ten_thousand_submissions_are_each_done_once_or_refused() -> None:
    async def main() -> None:
        done: Counter[int] = Counter()
        pool = Pool("p", workers=4, capacity=32, per_key_max=16, strategy=Fair())
        refused, open_ones = 0, []
        for number in range(10_000):
            try:
                one = pool.submit(f"k{number % 5}", done.update, [number])
            except LimitReached:
                refused += 1
                await asyncio.sleep(0)
                continue
            open_ones.append(one)
            if number % 7 == 0:
                one.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)
        assert await pool.drain(5000)
        now = pool.counts()
        assert now.submitted + now.rejected == 10_000
        assert now.rejected == refused
        assert now.completed + now.dropped == now.submitted
        assert set(done.values()) == {1}
        assert sum(done.values()) == now.completed
        assert pool._keys == {}

    run(main)


def test_many_results_that_are_ready_together_wake_the_loop_once() -> None:
    async def main() -> None:
        pool = Pool("p", workers=1, capacity=64)
        await pool.submit("a", int)
        told = 0
        loop = asyncio.get_running_loop()
        tell = loop.call_soon_threadsafe

        def counted(callback: Callable[..., object], *args: Any, **named: Any) -> asyncio.Handle:
            nonlocal told
            told += 1
            return tell(callback, *args, **named)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign,assignment]
        given = [pool.submit("a", int) for _ in range(60)]
        while len(pool._done) < 60:
            time.sleep(0.001)  # noqa: ASYNC251 - the loop is kept busy on purpose
        assert told == 1
        await asyncio.gather(*given)
        await pool.drain(1000)

    run(main)


def test_queue_time_and_run_time_are_told_apart() -> None:
    async def main() -> None:
        meters = Meters()
        pool = Pool("p", workers=1, meters=meters)
        await asyncio.gather(*(pool.submit("a", time.sleep, 0.03) for _ in range(3)))
        await pool.drain(1000)
        told = {one.name: one.summary for one in meters.read().histograms}
        run_ns, queue_ns = told["pool_run_ns"], told["pool_queue_ns"]
        assert run_ns.p50 is not None
        assert run_ns.p50 >= 30_000_000
        assert queue_ns.largest is not None
        assert queue_ns.largest >= 60_000_000  # the third waited for two
        counters = {one.name: one.value for one in meters.read().counters}
        assert counters["pool_completed_total"] == 3

    run(main)


def test_a_pool_belongs_to_one_loop() -> None:
    pool = Pool("p", workers=1)

    async def once() -> None:
        await pool.submit("a", int)

    asyncio.run(once())
    with pytest.raises(MisuseError, match="execution_pool_other_loop"):
        asyncio.run(once())
    pool._stopping = True
    with pool._lock:
        pool._ready.notify_all()


@pytest.mark.parametrize(("workers", "capacity", "per_key"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_a_pool_without_a_worker_or_a_place_is_refused(workers: int, capacity: int, per_key: int) -> None:
    with pytest.raises(MisuseError):
        Pool("p", workers=workers, capacity=capacity, per_key_max=per_key)


# ---- strategies -----------------------------------------------------------------------------------------------------


def order(strategy: PoolStrategy, keys: str) -> str:
    put(strategy, keys)
    return "".join(work.key for work in iter(strategy.take, None))


def put(strategy: PoolStrategy, keys: str) -> list[Work]:
    future: Any = None
    made = [Work(number, key, int, (), future) for number, key in enumerate(keys)]
    for work in made:
        strategy.put(work)
    return made


def test_fifo_serves_in_the_order_of_coming() -> None:
    assert order(Fifo(), "aaabca") == "aaabca"


def test_fair_serves_one_of_each_key_a_round_and_a_hog_waits_for_its_turn() -> None:
    assert order(Fair(), "aaaaaabbc") == "abcabaaaa"


def test_fair_gives_a_heavier_key_as_many_a_round_as_it_weighs() -> None:
    assert order(Fair({"a": 3, "b": 1}), "aaaaabbb") == "aaabaabb"


def test_a_key_that_left_the_round_does_not_come_back_with_saved_credit() -> None:
    fair = Fair({"a": 3})
    assert order(fair, "ab") == "ab"
    assert order(fair, "bbaaaa") == "baaaba"


@pytest.mark.parametrize("strategy", [Fifo, Fair])
def test_what_is_discarded_is_not_served_and_the_rest_keeps_its_order(
    strategy: type[Fifo | Fair],
) -> None:
    served = strategy()
    made = put(served, "abcabc")
    for index in (0, 3, 1):
        served.discard(made[index])
    assert [work.number for work in iter(served.take, None)] == [2, 4, 5] or strategy is Fair
    made = put(served, "abab")
    assert served.take() is made[0]
    served.discard(made[2])
    assert [work.number for work in iter(served.take, None)] == [1, 3]


def test_under_a_hog_the_neighbour_waits_for_a_round_with_fair_and_for_the_queue_with_fifo() -> None:
    async def place_of_the_neighbour(strategy: PoolStrategy) -> int:
        served: list[str] = []
        pool, gate = Pool("p", workers=1, strategy=strategy), Gate()
        first = pool.submit("gate", gate)
        await gate.entered()
        given = [pool.submit("hog", served.append, "hog") for _ in range(50)]
        given.append(pool.submit("neighbour", served.append, "neighbour"))
        gate.open.set()
        await asyncio.gather(first, *given)
        await pool.drain(1000)
        return served.index("neighbour")

    async def main() -> None:
        assert await place_of_the_neighbour(Fair()) <= 1
        assert await place_of_the_neighbour(Fifo()) == 50

    run(main)


def test_a_key_of_no_weight_is_refused_because_it_would_starve() -> None:
    with pytest.raises(MisuseError):
        Fair({"a": 0})
