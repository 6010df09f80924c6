"""Time that runs faster, and time that is skipped."""

from __future__ import annotations

import asyncio
import time

from rspp.adapters.transports.loopback import LoopClock, PacedLoop


def test_at_a_speed_timers_and_clock_run_alike() -> None:
    async def main() -> tuple[float, float]:
        clock, really = LoopClock(asyncio.get_running_loop()), time.monotonic()
        before = clock.now()
        await asyncio.sleep(1.0)
        return (clock.now() - before) / 1e9, time.monotonic() - really

    with asyncio.Runner(loop_factory=lambda: PacedLoop(20)) as runner:
        passed, really = runner.run(main())
    assert 1.0 <= passed < 4.0
    assert really < 0.5


def test_idle_time_is_skipped_only_when_nobody_owes_an_answer() -> None:
    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PacedLoop)
        really = time.monotonic()
        loop.skip_when(lambda: True)
        await asyncio.sleep(60)
        skipped = time.monotonic() - really
        loop.skip_when(lambda: False)
        really = time.monotonic()
        await asyncio.sleep(0.1)
        return skipped, time.monotonic() - really

    with asyncio.Runner(loop_factory=lambda: PacedLoop(None)) as runner:
        skipped, waited = runner.run(main())
    assert skipped < 1
    assert waited >= 0.09


def test_a_thread_that_answers_is_waited_for() -> None:
    """Nothing is skipped at first: models are being loaded, and the loop cannot see that."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        before = loop.time()
        async with asyncio.timeout(5):
            await loop.run_in_executor(None, time.sleep, 0.1)
        return loop.time() - before

    with asyncio.Runner(loop_factory=lambda: PacedLoop(None)) as runner:
        assert 0.09 <= runner.run(main()) < 2
