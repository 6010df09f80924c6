"""What every PoolStrategy must do: give each piece of work once, none that was discarded, and let no key starve.

checks = pool_strategy.conformance(MyStrategy)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from rspp.host.pools import CAPACITY, PoolStrategy, Work
from rspp.testing.conformance.checks import Check, require

# So many pieces of others may be taken before one that waits.
WAIT_MAX: Final = CAPACITY * CAPACITY


Make = Callable[[], PoolStrategy]
Body = Callable[[Make], Awaitable[None]]


def conformance(make: Make) -> list[Check]:
    """The suite."""
    return [Check(category, name, _bound(body, make)) for category, name, body in ROWS]


def _bound(body: Body, make: Make) -> Callable[[], Awaitable[None]]:
    return lambda: body(make)


def work(number: int, key: str) -> Work:
    """A piece that would do nothing."""
    return Work(number, key, int, (), asyncio.get_running_loop().create_future())


def _all(strategy: PoolStrategy) -> list[Work]:
    """Everything that it gives until it says that nothing waits."""
    taken: list[Work] = []
    while (piece := strategy.take()) is not None:
        taken.append(piece)
        require(len(taken) <= 10 * CAPACITY, "it gives more than was put")
    return taken


async def _gives_each_once(make: Make) -> None:
    strategy = make()
    require(strategy.take() is None, "before anything was put it gives something")
    for turn in range(3):
        put = [work(turn * CAPACITY + number, f"k{number * number % 7}") for number in range(CAPACITY)]
        for piece in put:
            strategy.put(piece)
        taken = _all(strategy)
        numbers = sorted(piece.number for piece in taken)
        require(numbers == [piece.number for piece in put], "what it gives is not what was put, each once")
        require(strategy.take() is None, "when nothing waits it gives something")


async def _gives_while_filled(make: Make) -> None:
    """Put and taken in turn, it gives something whenever something waits."""
    strategy = make()
    waiting: set[int] = set()
    for number in range(10 * CAPACITY):
        strategy.put(work(number, f"k{number % 5}"))
        waiting.add(number)
        for _ in range(number % 3):
            piece = strategy.take()
            require(
                (piece is None) == (not waiting),
                "it says that nothing waits when something does, or the reverse",
            )
            if piece is not None:
                require(piece.number in waiting, "it gives a piece twice")
                waiting.discard(piece.number)
        if len(waiting) > CAPACITY // 2:
            waiting.difference_update(piece.number for piece in _all(strategy))
            require(not waiting, "it kept a piece back")


async def _discards(make: Make) -> None:
    """What was discarded is not given, wherever it stood; the rest is."""
    for gone in ((0,), (CAPACITY - 1,), (1, 3, 5), tuple(range(0, CAPACITY, 2)), tuple(range(CAPACITY))):
        strategy = make()
        put = [work(number, f"k{number % 3}") for number in range(CAPACITY)]
        for piece in put:
            strategy.put(piece)
        first = strategy.take()
        discarded = [piece for piece in put if piece.number in gone and piece is not first]
        for piece in discarded:
            strategy.discard(piece)
        taken = sorted(piece.number for piece in _all(strategy))
        wrong = [piece.number for piece in discarded if piece.number in taken]
        require(not wrong, f"it gives what was discarded: {wrong[:5]}")
        wanted = [piece.number for piece in put if piece not in discarded and piece is not first]
        require(taken == wanted, "when others were discarded, it lost or repeated what was left")


async def _nobody_starves(make: Make) -> None:
    """The pieces of quiet keys are given, however many of a loud one come after them."""
    strategy = make()
    quiet = [work(0, "first"), work(CAPACITY // 2, "last")]
    strategy.put(quiet[0])
    for number in range(1, CAPACITY // 2):
        strategy.put(work(number, "loud"))
    strategy.put(quiet[1])
    for number in range(WAIT_MAX):
        piece = strategy.take()
        if piece in quiet:
            quiet.remove(piece)
        if not quiet:
            return
        strategy.put(work(CAPACITY + number, "loud"))
    require(False, f"a piece was still waiting when {WAIT_MAX} that came later were taken")


async def _repeatable(make: Make) -> None:
    def run() -> list[int]:
        strategy = make()
        put = [work(number, f"k{number * 3 % 5}") for number in range(CAPACITY)]
        order = []
        for at, piece in enumerate(put):
            strategy.put(piece)
            if at % 4 == 3 and (taken := strategy.take()) is not None:
                order.append(taken.number)
        return order + [piece.number for piece in _all(strategy)]

    first = run()
    require(all(run() == first for _ in range(3)), "the same calls gave another order")


ROWS: Final[Sequence[tuple[str, str, Body]]] = [
    ("order", "gives each piece once, and then nothing", _gives_each_once),
    ("order", "gives something whenever something waits", _gives_while_filled),
    ("order", "does the same for the same calls", _repeatable),
    ("removal", "does not give what was discarded", _discards),
    ("fairness", "lets no key starve", _nobody_starves),
]
