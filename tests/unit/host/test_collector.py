"""Cyclic garbage goes when nobody waits, and at the latest at its bound, however busy the host is."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rspp.contract.errors import MisuseError
from rspp.host.collector import MIDDLE, OLD, Collector
from rspp.host.meters import Meters

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

DEADLINE_S = 30.0


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


@contextmanager
def collecting(**settings: Any) -> Iterator[Collector]:
    collector = Collector(**settings)
    collector.start()
    try:
        yield collector
    finally:
        collector.stop()


class Knot:
    """Garbage that only the cyclic collector finds."""

    def __init__(self) -> None:
        self.me = self


def old_knot() -> weakref.ref[Knot]:
    """Garbage that has outlived the young collections."""
    knot = Knot()
    gc.collect(0)
    gc.collect(1)
    return weakref.ref(knot)


def let_middle_ones_pass(collector: Collector, count: int) -> None:
    while collector.deferred < count:
        gc.collect(1)


def test_under_load_without_one_idle_moment_old_garbage_stays_under_its_bound() -> None:
    async def main() -> None:
        with collecting(deferred_max=5) as collector:
            collector.freeze_after_warmup()
            alive: weakref.WeakSet[Knot] = weakref.WeakSet()
            most = made = 0
            kept: list[Knot] = []
            while collector.forced.value < 3:
                for _ in range(200):
                    # Live long enough to become old, and garbage then.
                    kept.append(Knot())
                    alive.add(kept[-1])
                made += 200
                if len(kept) > 8000:
                    del kept[:4000]
                most = max(most, len(alive))
                await asyncio.sleep(0)
            assert made > 50_000
            # The bound: five middle collections of 7,000 net allocations of two containers each, and what is kept.
            assert most < 12_000 + 2 * 5 * 7_000
            assert collector.pause_ns[OLD].count >= 3

    run(main)


def test_a_step_that_never_returns_to_the_loop_cannot_fill_the_memory() -> None:
    async def main() -> None:
        with collecting(deferred_max=3) as collector:
            collector.freeze_after_warmup()
            before = collector.pause_ns[OLD].count
            kept: list[Knot] = []
            for _ in range(300_000):  # not one await
                kept.append(Knot())
                if len(kept) > 8000:
                    del kept[:4000]
            assert collector.pause_ns[OLD].count > before
            assert collector.forced.value == 0

    run(main)


def test_in_an_idle_moment_that_is_long_enough_all_garbage_goes() -> None:
    async def main() -> None:
        with collecting() as collector:
            gone = old_knot()
            let_middle_ones_pass(collector, 3)
            assert gone() is not None
            assert collector.idle(60_000_000_000) > 0
            assert gone() is None
            assert collector.deferred == 0

    run(main)


def test_a_pause_that_does_not_fit_is_not_begun() -> None:
    async def main() -> None:
        with collecting() as collector:
            gc.collect()
            gone = old_knot()
            let_middle_ones_pass(collector, 3)
            assert collector.expected_ns(OLD) > 0
            assert collector.idle(1) == 0
            assert gone() is not None

    run(main)


def test_a_short_idle_moment_takes_a_middle_collection_instead() -> None:
    async def main() -> None:
        with collecting() as collector:
            collector._pauses[OLD].extend([10**12] * 3)
            collector._pauses[MIDDLE].clear()
            let_middle_ones_pass(collector, 3)
            knots = [Knot() for _ in range(100)]
            gone = weakref.ref(knots[0])
            del knots
            for _ in range(3):
                gc.collect(0)
            before = collector.pause_ns[MIDDLE].count
            collector._pauses[MIDDLE].clear()
            assert collector.idle(60_000_000) > 0
            assert collector.pause_ns[MIDDLE].count == before + 1
            assert gone() is None

    run(main)


def test_where_there_is_nothing_worth_it_an_idle_moment_is_left_alone() -> None:
    async def main() -> None:
        with collecting() as collector:
            gc.collect()
            assert collector.idle(10**12) == 0

    run(main)


def test_one_long_pause_does_not_frighten_it_for_ever() -> None:
    collector = Collector()
    for pause in (100, 110, 10**12, 120):
        collector._pauses[OLD].append(pause)
    assert collector.expected_ns(OLD) == 120


def test_what_lives_after_warm_up_is_not_looked_at_again() -> None:
    async def main() -> None:
        ballast = [[number] for number in range(200_000)]
        with collecting() as collector:
            gc.collect()
            whole = collector.expected_ns(OLD)
            collector.freeze_after_warmup()
            assert gc.get_freeze_count() > len(ballast)
            for _ in range(3):
                gc.collect()
            assert collector.expected_ns(OLD) < whole / 3
        assert gc.get_freeze_count() == 0

    run(main)


def test_garbage_of_a_worker_thread_asks_the_loop_for_its_collection() -> None:
    async def main() -> None:
        with collecting(deferred_max=2) as collector:
            gc.collect()

            def work() -> None:
                for _ in range(3):
                    gc.collect(1)

            await asyncio.to_thread(work)
            while not collector.forced.value:  # noqa: ASYNC110 - it comes on the loop's next turn
                await asyncio.sleep(0)
            assert collector.deferred < 2
            assert threading.current_thread() is threading.main_thread()

    run(main)


def test_every_pause_is_a_metric_whoever_caused_it() -> None:
    async def main() -> None:
        meters = Meters()
        with collecting(meters=meters):
            gc.collect()
            old_knot()
            gc.collect()
        told = {one.labels: one.summary for one in meters.read().histograms}
        assert told[(("generation", "2"),)].count >= 2
        assert (told[(("generation", "2"),)].largest or 0) > 0
        assert next(one.value for one in meters.read().counters if one.name == "gc_collected_total") >= 1

    run(main)


def test_it_leaves_the_interpreter_as_it_was_and_there_is_only_one() -> None:
    before, callbacks = gc.get_threshold(), list(gc.callbacks)

    async def main() -> None:
        with collecting() as collector:
            assert gc.get_threshold() != before
            with pytest.raises(MisuseError, match="collector_already_running"):
                Collector().start()
            collector.stop()
            collector.stop()
            Collector().stop()

    run(main)
    assert gc.get_threshold() == before
    assert gc.callbacks == callbacks


def test_a_bound_of_nothing_is_refused() -> None:
    with pytest.raises(MisuseError):
        Collector(deferred_max=0)
