"""Writes, deletions, expiries and lost answers of two processes, in any order: told, or shown as uncovered, and never cried for nothing."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from rspp.contract.errors import PeerFault
from rspp.control.authority.members import MemberState
from rspp.control.names import key
from rspp.ops.journal.journal import Journal
from rspp.ops.journal.writer import Writer
from rspp.ops.journalled import Journalled
from rspp.testing.clock import run_virtual
from tests.unit.ops.test_engine import ALL, Given
from tests.unit.ops.test_snapshots import worker

WHERE = "members", key("w1")
# After these somebody may truly have missed something.
ODD = frozenset({"past", "past_delete", "lost"})
WHAT = ("put", "put", "expires", "delete", "past", "past_delete", "lost")


async def done(given: Given, stores: list[Journalled], draw: random.Random) -> str:
    """One of the things that happen; which it was."""
    store, what = draw.choice(stores), draw.choice(WHAT)
    value = worker(state=draw.choice([MemberState.UP, MemberState.DRAINING]), beat=draw.randrange(9))
    if what == "put":
        await store.put(*value)
    elif what == "expires":
        await store.put(*value, ttl_ms=draw.choice([200, 2_000]))
    elif what == "delete":
        await store.delete(*WHERE)
    elif what == "past":
        await given.bare.put(*value)
    elif what == "past_delete":
        await given.bare.delete(*WHERE)
    else:
        given.faulty.lose = draw.choice(["before", "after"])
        with suppress(PeerFault):
            await store.put(*value)
        given.faulty.lose = ""
    return what


async def judge(given: Given, happened: list[object]) -> None:
    entry = await given.bare.get(*WHERE)
    rows = given.engine.snapshots.rows("workers")
    assert bool(rows) is (entry is not None), happened
    page = await given.engine.journal.page(limit=1_000)
    told = [(int(one.metadata["revision"]), str(one.metadata["row"])) for one in page.records]
    # The record of a deletion has the revision of what was deleted.
    _, last = max(told, key=lambda one: (one[0], not one[1]), default=(0, ""))
    read = ALL.named("workers").row
    assert read is not None
    row = None if entry is None else read(entry.key, entry.value)
    uncovered = given.uncovered.get("workers", 0)
    assert uncovered or last == ("" if row is None else row.digest()), (happened, told)
    assert not uncovered or ODD.intersection(map(str, happened)), (happened, told)


@pytest.mark.slow
def test_whatever_happens_in_whatever_order_is_told_or_shown_as_uncovered() -> None:
    async def main(seed: int) -> None:
        draw, given = random.Random(seed), Given()
        second = Writer(Journal(given.faulty, ALL, given.clock))
        other = Journalled(given.faulty, ALL, second, source="two", wall_ms=given.clock.wall_ms)
        await given.engine.load()
        running = [given.engine.run(), given.writer.run(), second.run()]
        tasks = [asyncio.ensure_future(one) for one in running]
        await asyncio.sleep(0.3)
        happened: list[object] = [seed]
        for _ in range(draw.randrange(3, 8)):
            happened.append(await done(given, [given.store, other], draw))
            happened.append(draw.choice([0, 0, 0.05, 0.3, 1.5, 4]))
            if happened[-1]:
                await asyncio.sleep(float(str(happened[-1])))
        await asyncio.sleep(70)
        await judge(given, happened)
        for one in tasks:
            one.cancel()
        await asyncio.wait(tasks)
        await given.bare.close()

    for seed in range(30):
        run_virtual(main(seed))
