"""However much is asked for at once, and by however many, the loop is never kept for longer than one small piece takes."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path

import pytest

from rspp.contract.surface import Row
from rspp.server.graphql.turns import LOT, Turns
from tests.unit.server.given_console import ConsoleWorld, console

ENTRY = "surface aggregateId tenant state level reason message sinceMs over facts"
ROWS = 10_000


def plant(made: ConsoleWorld, count: int) -> None:
    made.engine.snapshots.kept["sessions"] = [
        Row(
            aggregate_id=f"s-{n}", state="running", tenant_id=f"t{n % 10}", facts={"turns": n, "owner": "w-1"}
        )
        for n in range(count)
    ]


def test_of_all_who_want_a_turn_one_gets_it_in_a_round_of_the_loop() -> None:
    async def main() -> None:
        turns, took, rounds = Turns(), 0, 0

        async def works() -> None:
            nonlocal took
            for _ in range(5):
                await turns.take()
                took += 1

        at_work = [asyncio.create_task(works()) for _ in range(20)]
        while not all(one.done() for one in at_work):
            before = took
            await asyncio.sleep(0)
            rounds += 1
            assert took - before <= 1
        assert took == 100
        assert rounds > 100

    asyncio.run(main())


def test_a_long_list_is_whole_in_order_and_made_in_lots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0
    take = Turns.take

    async def counted(self: Turns) -> None:
        nonlocal taken
        taken += 1
        await take(self)

    monkeypatch.setattr(Turns, "take", counted)

    async def main() -> None:
        async with console(tmp_path) as made:
            plant(made, 1_000)
            page = await made.data(
                "fay", f'{{ rows(surface: "sessions", first: 1000) {{ items {{ {ENTRY} }} }} }}'
            )
            items = page["rows"]["items"]
            places = sorted((one["tenant"], one["aggregateId"]) for one in items)
            assert [(one["tenant"], one["aggregateId"]) for one in items] == places
            assert len({one["aggregateId"] for one in items}) == 1_000
            assert taken >= 1_000 / LOT

    asyncio.run(main())


@pytest.mark.slow
def test_the_dearest_questions_over_ten_thousand_rows_do_not_keep_the_loop(tmp_path: Path) -> None:
    """Measured in this thread's own time, so that a busy machine says nothing else."""
    dearest = [
        "{" + " ".join(f'a{n}: rows(surface: "sessions", first: 1000) {{ items {{ {ENTRY} }} }}' for n in range(7)) + "}",
        "{" + " ".join(f'a{n}: rows(surface: "sessions", first: 1, text: "none") {{ total }}' for n in range(20)) + "}",
        "{" + " ".join(f'a{n}: row(surface: "sessions", aggregateId: "none") {{ state }}' for n in range(20)) + "}",
        "{" + " ".join(f"a{n}: load {{ sessions }}" for n in range(20)) + "}",
    ]  # fmt: skip

    async def main() -> None:
        async with console(tmp_path) as made:
            plant(made, ROWS)
            gc.collect()
            gc.disable()  # what all other tests have left lying about is not measured
            asked = [asyncio.create_task(made.ask("fay", query)) for query in dearest]
            longest, whole = 0.0, time.thread_time()
            while not all(one.done() for one in asked):
                began = time.thread_time()
                await asyncio.sleep(0)
                longest = max(longest, time.thread_time() - began)
            whole = time.thread_time() - whole
            for one in asked:
                assert "errors" not in await one
            assert longest < whole / 8, (longest, whole)

    try:
        asyncio.run(main())
    finally:
        gc.enable()
