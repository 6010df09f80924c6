"""A batch answers each request to its own caller, in time or not at all, and one bad request harms no other."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from rspp.contract.codes import CODES
from rspp.contract.errors import MisuseError
from rspp.contract.event import NS_PER_MS
from rspp.contract.words import OutcomeClass
from rspp.host.batching import Batcher, BatchTimes, Ticket
from rspp.host.meters import Meters
from rspp.host.ports import ProviderError

DEADLINE_S = 10.0


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


class Doubler:
    """A model that doubles, remembers its batches and, if told so, waits to be let go."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        if not held:
            self.open.set()

    def infer(self, batch: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(batch))
        self.begun.release()
        assert self.open.wait(DEADLINE_S)
        return [2 * one for one in batch]

    async def entered(self) -> None:
        await asyncio.to_thread(self.begun.acquire)


class Asker:
    """Submits, and keeps what each callback was given, by request."""

    def __init__(self, batcher: Batcher[int, int]) -> None:
        self.batcher = batcher
        self.answers: dict[int, list[int | ProviderError]] = {}
        self.threads: set[int] = set()
        self._asked = 0
        self._changed = asyncio.Event()

    def ask(self, request: int, deadline_at: int | None = None) -> Ticket[int, int]:
        self._asked += 1

        def answered(answer: int | ProviderError) -> None:
            self.answers.setdefault(request, []).append(answer)
            self.threads.add(threading.get_ident())
            self._changed.set()

        return self.batcher.submit(request, answered, deadline_at=deadline_at)

    async def all_of(self, count: int | None = None) -> None:
        wanted = self._asked if count is None else count
        while sum(map(len, self.answers.values())) < wanted:
            self._changed.clear()
            await self._changed.wait()

    def reason(self, request: int) -> str:
        (answer,) = self.answers[request]
        assert isinstance(answer, ProviderError)
        assert answer.reason in CODES
        return answer.reason


def batcher(model: Any, **settings: Any) -> Batcher[int, int]:
    told: dict[str, Any] = {"batch_max": 8, "queue_ms_max": 5000, "capacity": 64} | settings
    return Batcher("m", model, **told)


def test_each_answer_goes_to_its_own_caller_on_the_loops_thread() -> None:
    async def main() -> None:
        asker = Asker(batcher(Doubler()))
        for number in range(50):
            asker.ask(number)
        assert asker.answers == {}  # never from inside submit
        await asker.all_of()
        assert asker.answers == {number: [2 * number] for number in range(50)}
        assert asker.threads == {threading.get_ident()}
        assert await asker.batcher.close(1000)

    run(main)


def test_what_waits_while_the_model_works_is_the_next_batch_and_never_above_its_bound() -> None:
    async def main() -> None:
        model = Doubler(held=True)
        asker = Asker(batcher(model, batch_max=4))
        asker.ask(0)
        await model.entered()
        for number in range(1, 11):
            asker.ask(number)
        model.open.set()
        await asker.all_of()
        assert model.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
        await asker.batcher.close(1000)

    run(main)


def test_without_a_window_an_idle_model_serves_at_once() -> None:
    async def main() -> None:
        model = Doubler()
        asker = Asker(batcher(model, window_ms=0))
        for number in range(3):
            asker.ask(number)
            await asker.all_of()
        assert model.batches == [[0], [1], [2]]
        await asker.batcher.close(1000)

    run(main)


def test_a_window_gathers_company_and_a_full_batch_does_not_wait_for_it() -> None:
    async def main() -> None:
        model = Doubler()
        asker = Asker(batcher(model, window_ms=60_000, queue_ms_max=120_000, batch_max=4))
        for number in range(4):
            asker.ask(number)
            await asyncio.sleep(0.002)
        await asker.all_of()
        assert model.batches == [[0, 1, 2, 3]]
        await asker.batcher.close(1000)

    run(main)


def test_a_window_that_ends_sends_what_has_come() -> None:
    async def main() -> None:
        model = Doubler()
        asker = Asker(batcher(model, window_ms=30))
        for number in range(3):
            asker.ask(number)
        await asker.all_of()
        assert model.batches == [[0, 1, 2]]
        await asker.batcher.close(1000)

    run(main)


def test_a_request_with_a_tight_deadline_does_not_wait_for_the_window() -> None:
    async def main() -> None:
        model = Doubler()
        asker = Asker(batcher(model, window_ms=60_000, queue_ms_max=120_000))
        asker.ask(1)
        asker.ask(2, deadline_at=time.monotonic_ns() + 500 * NS_PER_MS)
        await asker.all_of()
        assert asker.answers == {1: [2], 2: [4]}
        assert model.batches == [[2, 1]]
        await asker.batcher.close(1000)

    run(main)


def test_a_request_that_has_time_for_the_window_waits_for_it() -> None:
    async def main() -> None:
        model = Doubler()
        asker = Asker(batcher(model, window_ms=40))
        asker.ask(1, deadline_at=time.monotonic_ns() + 4000 * NS_PER_MS)
        await asyncio.sleep(0.005)
        asker.ask(2)
        await asker.all_of()
        assert model.batches == [[1, 2]]
        await asker.batcher.close(1000)

    run(main)


def test_a_tight_request_goes_first_and_in_a_batch_small_enough_for_it() -> None:
    async def main() -> None:
        model = Doubler(held=True)
        shared = batcher(model, batch_max=8)
        for size, ms in ((1, 5), (2, 10), (4, 20), (8, 2000)):
            shared._times.record(size, ms * NS_PER_MS)
        asker = Asker(shared)
        asker.ask(0)
        await model.entered()
        for number in range(1, 9):
            asker.ask(number)
        asker.ask(9, deadline_at=time.monotonic_ns() + 1500 * NS_PER_MS)
        model.open.set()
        await asker.all_of()
        assert model.batches[1][0] == 9
        assert 4 <= len(model.batches[1]) < 8
        assert asker.answers == {number: [2 * number] for number in range(10)}
        await shared.close(1000)

    run(main)


def test_a_request_past_its_deadline_or_its_time_in_the_queue_is_not_computed_even_while_the_model_hangs() -> (
    None
):
    async def main() -> None:
        model = Doubler(held=True)
        asker = Asker(batcher(model, queue_ms_max=40))
        asker.ask(0)
        await model.entered()
        asker.ask(1)
        asker.ask(2, deadline_at=time.monotonic_ns() + 5 * NS_PER_MS)
        asker.ask(3, deadline_at=0)
        await asker.all_of(3)  # the model is still at it
        assert [asker.reason(number) for number in (1, 2, 3)] == ["inference_queue_deadline"] * 3
        (late,) = asker.answers[1]
        assert isinstance(late, ProviderError)
        assert late.outcome is OutcomeClass.TIMEOUT
        model.open.set()
        await asker.all_of()
        assert model.batches == [[0]]
        assert asker.batcher.expired.value == 3
        await asker.batcher.close(1000)

    run(main)


def test_over_capacity_the_answer_is_overload_and_the_rest_is_served() -> None:
    async def main() -> None:
        model = Doubler(held=True)
        asker = Asker(batcher(model, batch_max=1, capacity=3))
        for number in range(6):
            asker.ask(number)
        await asker.all_of(2)
        assert [asker.reason(number) for number in (4, 5)] == ["inference_queue_full"] * 2
        (full,) = asker.answers[4]
        assert isinstance(full, ProviderError)
        assert (full.outcome, full.retryable) == (OutcomeClass.OVERLOAD, True)
        model.open.set()
        await asker.all_of()
        assert asker.answers[3] == [6]
        assert asker.batcher.refused.value == 2
        await asker.batcher.close(1000)

    run(main)


class Poisoned(Doubler):
    """Raises whenever 13 is in the batch."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(held=True)
        self.error = error

    def infer(self, batch: Sequence[int]) -> Sequence[int]:
        doubled = super().infer(batch)
        if 13 in batch:
            raise self.error
        return doubled


@pytest.mark.parametrize("error", [ValueError("secret"), SystemExit(1), RecursionError(), MemoryError()])
def test_a_poisoned_request_fails_alone_and_its_error_quotes_nothing(error: BaseException) -> None:
    async def main() -> None:
        model = Poisoned(error)
        asker = Asker(batcher(model))
        asker.ask(0)
        await model.entered()
        for number in (12, 13, 14):
            asker.ask(number)
        model.open.set()
        await asker.all_of()
        assert model.batches == [[0], [12, 13, 14], [12], [13], [14]]
        assert asker.answers[12] == [24]
        assert asker.answers[14] == [28]
        assert asker.reason(13) == "inference_failed"
        assert "secret" not in str(asker.answers[13][0])
        assert type(error).__name__ in str(asker.answers[13][0])
        asker.ask(15)  # the thread lives
        await asker.all_of()
        assert asker.answers[15] == [30]
        await asker.batcher.close(1000)

    run(main)


class Miscounting:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def infer(self, batch: Sequence[int]) -> Sequence[int]:
        answer: Sequence[int] = self.answer
        return answer


@pytest.mark.parametrize("answer", [[], [1, 2, 3], None, 7])
def test_a_model_that_gives_a_wrong_number_of_results_fails_its_batch_rather_than_guess(answer: Any) -> None:
    async def main() -> None:
        asker = Asker(batcher(Miscounting(answer), window_ms=20))
        asker.ask(1)
        asker.ask(2)
        await asker.all_of()
        assert [asker.reason(number) for number in (1, 2)] == ["inference_result_count"] * 2
        await asker.batcher.close(1000)

    run(main)


def test_what_is_cancelled_is_not_computed_if_it_waits_and_not_told_if_it_runs() -> None:
    async def main() -> None:
        model = Doubler(held=True)
        asker = Asker(batcher(model, batch_max=1, capacity=2))
        running = asker.ask(0)
        await model.entered()
        waiting = asker.ask(1)
        for ticket in (running, waiting, waiting):
            ticket.cancel()
        asker.ask(2)
        asker.ask(3)  # there is room for it
        model.open.set()
        await asker.all_of(2)
        assert model.batches == [[0], [2], [3]]
        assert set(asker.answers) == {2, 3}
        running.cancel()
        assert await asker.batcher.close(1000)

    run(main)


def test_cancelling_what_has_just_expired_is_nothing() -> None:
    async def main() -> None:
        model = Doubler(held=True)
        shared = batcher(model, queue_ms_max=10_000)
        asker = Asker(shared)
        asker.ask(0)
        await model.entered()
        ticket = asker.ask(1, deadline_at=time.monotonic_ns() + 20 * NS_PER_MS)
        time.sleep(0.03)  # noqa: ASYNC251 - the loop must not see it first
        model.open.set()
        while len(shared._done) < 2:
            time.sleep(0.001)  # noqa: ASYNC251
        ticket.cancel()
        await asker.all_of(1)
        assert asker.answers == {0: [0]}
        assert await shared.close(1000)
        assert shared._open == {}

    run(main)


def test_a_callback_that_raises_is_reported_and_the_others_are_called() -> None:
    async def main() -> None:
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: reports.append(told))
        asker = Asker(batcher(Doubler(), window_ms=20))

        def raises(answer: object) -> None:
            raise ZeroDivisionError

        asker.batcher.submit(1, raises)
        asker.ask(2)
        await asker.all_of()
        assert asker.answers == {2: [4]}
        assert isinstance(reports[0]["exception"], ZeroDivisionError)
        await asker.batcher.close(1000)

    run(main)


def test_close_answers_what_waits_finishes_what_runs_and_ends_the_thread() -> None:
    async def main() -> None:
        model = Doubler(held=True)
        asker = Asker(batcher(model, batch_max=1))
        asker.ask(0)
        await model.entered()
        asker.ask(1)
        closing = asyncio.ensure_future(asker.batcher.close(5000))
        await asker.all_of(1)
        assert asker.reason(1) == "inference_closed"
        model.open.set()
        assert await closing
        assert asker.answers[0] == [0]
        asker.ask(2)
        await asker.all_of()
        assert asker.reason(2) == "inference_closed"
        thread = asker.batcher._thread
        assert thread is not None
        assert not thread.is_alive()

    run(main)


def test_close_ends_within_its_deadline_although_the_model_hangs() -> None:
    async def main() -> None:
        model = Doubler(held=True)
        asker = Asker(batcher(model))
        asker.ask(0)
        await model.entered()
        assert not await asker.batcher.close(30)
        assert asker.reason(0) == "inference_closed"
        model.open.set()
        thread = asker.batcher._thread
        assert thread is not None
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0)
        assert len(asker.answers[0]) == 1

    run(main)


def test_one_that_was_never_used_closes_at_once() -> None:
    async def main() -> None:
        assert await batcher(Doubler()).close(0)

    run(main)


def test_queue_time_and_compute_time_are_told_apart() -> None:
    async def main() -> None:
        class Slow(Doubler):
            def infer(self, batch: Sequence[int]) -> Sequence[int]:
                time.sleep(0.03)
                return super().infer(batch)

        meters = Meters()
        asker = Asker(batcher(Slow(), batch_max=1, meters=meters))
        asker.ask(0)
        asker.ask(1)
        await asker.all_of()
        told = {one.name: one.summary for one in meters.read().histograms}
        compute, queue = told["inference_compute_ns"], told["inference_queue_ns"]
        assert compute.count == 2
        assert compute.p50 is not None
        assert compute.p50 >= 30 * NS_PER_MS
        assert queue.largest is not None
        assert queue.largest >= 30 * NS_PER_MS
        assert told["inference_batch_size"].largest == 1
        await asker.batcher.close(1000)

    run(main)


def test_ten_thousand_requests_are_each_answered_once() -> None:
    async def main() -> None:
        model = Doubler()
        asker = Asker(batcher(model, batch_max=32, capacity=256))
        for number in range(10_000):
            asker.ask(number)
            if number % 200 == 0:
                await asyncio.sleep(0)
        await asker.all_of()
        assert len(asker.answers) == 10_000
        assert {len(one) for one in asker.answers.values()} == {1}
        served = [number for number, (answer,) in asker.answers.items() if answer == 2 * number]
        assert len(served) + asker.batcher.refused.value == 10_000
        assert len(model.batches) < len(served)
        assert await asker.batcher.close(1000)

    run(main)


def test_a_size_that_was_slow_once_is_tried_again_in_the_end() -> None:
    times = BatchTimes(4)
    times.record(1, 10)
    times.record(4, 10_000)
    assert [times.expected(size) for size in range(5)] == [0, 10, 10, 10, 10_000]
    for _ in range(100):
        times.doubt(4)
    assert times.expected(4) < 100


@pytest.mark.parametrize("wrong", [{"batch_max": 0}, {"capacity": 0}, {"queue_ms_max": 0}, {"window_ms": -1}])
def test_bounds_of_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(MisuseError):
        batcher(Doubler(), **wrong)
