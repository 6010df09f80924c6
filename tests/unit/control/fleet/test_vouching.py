"""A provider for which somebody vouches: what was seen of it is forgotten, and the fleet hears so at once."""

from __future__ import annotations

import asyncio

from rspp.control.fleet.provider_board import ProviderBoard
from rspp.control.fleet.provider_health import ProviderState
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore
from tests.unit.control.fleet.test_provider_health import Worker, heard


def test_nothing_is_known_of_it_until_it_is_called_again_and_then_only_that_counts() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        board, worker = ProviderBoard(store, clock), Worker(store, clock)
        worker.calls("timeout", 20)
        worker.reporter.circuits.changed("s1", "p", "opened")
        await worker.reporter.look()
        await heard(store, board)
        assert board.fleet(clock.now())["p"].state is ProviderState.UNHEALTHY
        await worker.reporter.vouch("p")
        await heard(store, board)
        word = board.fleet(clock.now())["p"]
        assert (word.state, word.calls, word.circuit_open) == (ProviderState.UNKNOWN, 0, False)
        assert worker.reporter.circuits.providers == []
        worker.calls("success", 6)
        clock.advance(500)
        await worker.reporter.look()
        await heard(store, board)
        word = board.fleet(clock.now())["p"]
        assert (word.state, word.calls, word.failures) == (ProviderState.HEALTHY, 6, 0)

    asyncio.run(main())


def test_one_that_fails_again_is_unhealthy_again() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        board, worker = ProviderBoard(store, clock), Worker(store, clock)
        worker.calls("timeout", 20)
        await worker.reporter.look()
        await worker.reporter.vouch("p")
        worker.calls("timeout", 5)
        clock.advance(500)
        await worker.reporter.look()
        await heard(store, board)
        word = board.fleet(clock.now())["p"]
        assert (word.state, word.calls) == (ProviderState.UNHEALTHY, 5)

    asyncio.run(main())


def test_one_that_nobody_has_heard_of_changes_nothing() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        worker = Worker(store, clock)
        await worker.reporter.vouch("nobody")
        assert await store.keys("health") == []

    asyncio.run(main())
