"""The owner of a surface never waits for the journal and never fails by it; what could not be told is counted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rspp.contract.errors import PeerFault
from rspp.ops.journal import writer as writing
from rspp.ops.journal.bounds import PAGE_RECORDS_MAX
from rspp.ops.journal.writer import UNDECLARED, Writer
from rspp.testing.store import MemoryStore
from tests.unit.ops.journal.made import Unsteady, all_of, change, changes, journal


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "RETRY_MS", 1)
    monkeypatch.setattr(writing, "RETRY_MS_MAX", 5)


async def running(writer: Writer) -> asyncio.Task[None]:
    return asyncio.ensure_future(writer.run())


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def test_what_is_told_is_written_in_order_and_in_batches() -> None:
    async def main() -> None:
        store = MemoryStore()
        made = journal(store)
        writer = Writer(made)
        for one in changes(0, 200):
            writer.tell(one)
        assert writer.waiting == 200
        task = await running(writer)
        assert await writer.flush(5_000)
        page = await made.page(limit=1_000)
        assert [one.event_id for one in page.records] == [f"e{n}" for n in range(200)]
        assert (writer.written, writer.waiting, writer.problem, writer.lost) == (200, 0, "", {})
        assert await writer.flush(0)
        await ended(task)

    asyncio.run(main())


def test_a_full_queue_counts_what_it_cannot_take_by_surface() -> None:
    async def main() -> None:
        writer = Writer(journal(), queue_changes_max=3)
        for one in changes(0, 5):
            writer.tell(one)
        writer.tell(change("s", surface="sessions"))
        writer.tell(change("x", surface="nobody's own word"))
        assert (writer.waiting, writer.lost) == (3, {"workers": 2, "sessions": 1, UNDECLARED: 1})
        assert await writer.flush(10) is False

    asyncio.run(main())


def test_while_nothing_can_be_written_it_says_why_and_then_goes_on_without_a_loss() -> None:
    async def main() -> None:
        store, broken = MemoryStore(), [True]
        made = journal(Unsteady(store, lambda _key: "failed" if broken[0] else None))  # type: ignore[arg-type]
        writer = Writer(made)
        task = await running(writer)
        for one in changes(0, 100):
            writer.tell(one)
        assert await writer.flush(30) is False
        assert writer.problem == "store_unreachable: the store does not answer"
        broken[0] = False
        assert await writer.flush(5_000)
        assert (writer.problem, writer.lost) == ("", {})
        assert await all_of(journal(store)) == list(range(1, 101))
        await ended(task)

    asyncio.run(main())


def test_writes_of_unknown_outcome_are_one_record_each() -> None:
    async def main() -> None:
        store, calls = MemoryStore(), [0]

        def plan(_key: str) -> str | None:
            calls[0] += 1
            return (None, "unknown", "failed")[calls[0] % 3]

        writer = Writer(journal(Unsteady(store, plan)))  # type: ignore[arg-type]
        task = await running(writer)
        for number in range(300):
            writer.tell(change(f"e{number}"))
            if number % 7 == 0:
                await asyncio.sleep(0)
        assert await writer.flush(10_000)
        page = await journal(store).page(limit=1_000)
        assert [one.event_id for one in page.records] == [f"e{n}" for n in range(300)]
        await ended(task)

    asyncio.run(main())


def test_one_that_cannot_be_recorded_is_lost_alone() -> None:
    async def main() -> None:
        store = MemoryStore()
        writer = Writer(journal(store))
        broken: Any = {"metadata": {"a": 1}.items()}  # what is no map at all
        for one in (change("a"), change("b", surface="runtime_health"), change("c", **broken), change("d")):
            writer.tell(one)
        writer.tell("not a change")  # type: ignore[arg-type]
        task = await running(writer)
        assert await writer.flush(5_000)
        assert [one.event_id for one in (await journal(store).page()).records] == ["a", "d"]
        assert writer.lost == {"runtime_health": 1, "workers": 1, UNDECLARED: 1}
        assert writer.problem == ""
        assert writer.refused != ""
        await ended(task)

    asyncio.run(main())


def test_a_fault_of_our_own_that_passes_loses_nothing_and_one_that_stays_loses_what_it_is_of() -> None:
    async def main() -> None:
        made = journal()
        writer, append, left, tried = Writer(made), made.append, 3, 0

        async def faulty(lot: list[Any]) -> Any:
            nonlocal left, tried
            tried += 1
            if left > 0 or any(one.event_id == "e7" for one in lot):
                left -= 1
                raise MemoryError
            return await append(lot)

        made.append = faulty  # type: ignore[method-assign, assignment]
        for one in changes(0, 20):
            writer.tell(one)
        task = await running(writer)
        assert await writer.flush(5_000)
        page = await made.page(limit=100)
        assert [one.event_id for one in page.records] == [f"e{n}" for n in range(20) if n != 7]
        assert (sum(writer.lost.values()), writer.problem, writer.refused) == (1, "", "MemoryError")
        assert tried < 60
        await ended(task)

    asyncio.run(main())


def test_what_cannot_be_recorded_is_lost_once_however_often_the_others_are_tried() -> None:
    async def main() -> None:
        store, failures = MemoryStore(), [5]

        def plan(_key: str) -> str | None:
            failures[0] -= 1
            return "failed" if failures[0] >= 0 else None

        writer = Writer(journal(Unsteady(store, plan)))  # type: ignore[arg-type]
        for one in (change("a"), change("b", surface="runtime_health"), change("c")):
            writer.tell(one)
        task = await running(writer)
        assert await writer.flush(5_000)
        assert failures[0] < 0
        assert (writer.written, writer.waiting, writer.lost) == (2, 0, {"runtime_health": 1})
        assert [one.event_id for one in (await journal(store).page()).records] == ["a", "c"]
        await ended(task)

    asyncio.run(main())


@pytest.mark.parametrize("error", [PeerFault("payload_too_large", "1 MiB"), ValueError("our own fault")])
def test_a_compaction_that_fails_keeps_nobody_from_writing_and_is_not_tried_all_the_time(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        store = MemoryStore()
        made = journal(store)
        tried, again = [0], asyncio.Event()

        async def compact() -> None:
            tried[0] += 1
            if tried[0] == 2:
                again.set()
            raise error

        monkeypatch.setattr(made, "compact", compact)
        writer = Writer(made)
        task = await running(writer)
        for first in range(0, 8 * PAGE_RECORDS_MAX, 64):
            for one in changes(first, 64):
                writer.tell(one)
            assert await writer.flush(10_000)
        assert made.is_over_bound()
        assert tried == [1]
        assert (writer.written, writer.problem) == (8 * PAGE_RECORDS_MAX, "")
        writer._tidy_at = 0  # later
        writer.tell(change("later"))
        assert await writer.flush(5_000)
        await asyncio.wait_for(again.wait(), 5)
        await ended(task)

    asyncio.run(main())


def test_whoever_writes_keeps_the_journal_within_its_bound() -> None:
    async def main() -> None:
        store = MemoryStore()
        made = journal(store)
        writer = Writer(made)
        task = await running(writer)
        for one in changes(0, 20 * PAGE_RECORDS_MAX):
            writer.tell(one)
        assert await writer.flush(10_000)
        status = await made.status()
        assert status.last == 20 * PAGE_RECORDS_MAX
        assert status.records <= 256 + 3 * PAGE_RECORDS_MAX + 5
        assert (await made.validate()).problems == ()
        await ended(task)

    asyncio.run(main())
