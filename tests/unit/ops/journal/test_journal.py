"""The journal is gapless, unique and whole, whatever happens between two calls of the store."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.contract.errors import MisuseError, PeerFault
from rspp.host.ports import Entry, Store
from rspp.ops.journal.bounds import BATCH_RECORDS_MAX, PAGE_BYTES_MAX, PAGE_RECORDS_MAX
from rspp.ops.journal.following import Compacted
from rspp.ops.journal.pages import BUCKET, TAIL, batches, encode, first_page, written
from rspp.ops.journal.record import drafted
from rspp.testing.store import MemoryStore
from tests.unit.ops.journal.made import (
    SURFACES,
    Counted,
    Unsteady,
    all_of,
    change,
    changes,
    deleted,
    everything,
    filled,
    journal,
)
from tests.unit.ops.journal.planted import PLANTED

PAGES = 6


def test_numbers_begin_at_one_and_go_on_in_another_process() -> None:
    async def main() -> None:
        store = MemoryStore()
        first, second = journal(store), journal(store)
        assert [one.sequence for one in await first.append(changes(0, 3))] == [1, 2, 3]
        assert [one.sequence for one in await second.append(changes(3, 2))] == [4, 5]
        assert [one.sequence for one in await first.append(changes(5, 1))] == [6]
        assert await all_of(second) == [1, 2, 3, 4, 5, 6]

    asyncio.run(main())


def test_the_same_event_is_one_record_also_for_another_process_and_within_a_batch() -> None:
    async def main() -> None:
        store = MemoryStore()
        made = await filled(store, 2)
        again = await journal(store).append([*changes(0, 2), change("new"), change("new"), *changes(256, 1)])
        assert [one.sequence for one in again] == [1, 2, 258, 258, 257]
        assert again[0].event_id == "e0"
        assert await all_of(made) == list(range(1, 259))

    asyncio.run(main())


def test_nothing_is_written_where_one_of_the_changes_means_nothing() -> None:
    async def main() -> None:
        store = MemoryStore()
        with pytest.raises(MisuseError) as caught:
            await journal(store).append([change("a"), change("b", surface="runtime_health")])
        assert caught.value.code == "surface_derived"
        assert await everything(store) == b""

    asyncio.run(main())


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(1, BATCH_RECORDS_MAX), max_size=20), wide=st.booleans())
def test_pages_hold_batches_whole_and_in_order(sizes: list[int], wide: bool) -> None:
    text = {f"k{n}": "wide and long " * 30 for n in range(7)} if wide else {}
    draft = drafted(change("e", metadata=text), SURFACES)
    tail, pages, number = first_page("b", 0), [], 0
    for size in sizes:
        for batch in batches([msgspec.structs.replace(draft, event_id=f"e{n}") for n in range(size)]):
            step = written(tail, batch)
            assert [one.sequence for one in step.records] == list(range(number + 1, number + len(batch) + 1))
            assert step.tail.records[-len(batch) :] == step.records
            pages += [] if step.sealed is None else [step.sealed]
            tail, number = step.tail, number + len(batch)
    for index, page in enumerate([*pages, tail]):
        assert page.index == index
        assert [one.sequence for one in page.records] == list(range(page.first, page.next))
        assert len(page.records) <= PAGE_RECORDS_MAX
        assert len(encode(page)) <= PAGE_BYTES_MAX
    assert [one.sequence for page in [*pages, tail] for one in page.records] == list(range(1, number + 1))


def test_writers_that_race_lose_no_record_and_share_no_number() -> None:
    async def main() -> None:
        store = MemoryStore()
        journals = [journal(store) for _ in range(5)]
        done = await asyncio.gather(
            *(
                one.append(changes(100 * at + 7 * turn, 7))
                for turn in range(6)
                for at, one in enumerate(journals)
            )
        )
        told = [record.sequence for batch in done for record in batch]
        assert sorted(told) == list(range(1, 5 * 6 * 7 + 1))
        assert (await journals[0].validate()).problems == ()

    asyncio.run(main())


@pytest.mark.parametrize("how", ["unknown", "failed"])
@pytest.mark.parametrize("calm", [0, 1, 2, 3, 4])
def test_a_write_of_unknown_outcome_is_looked_up_and_is_one_record(how: str, calm: int) -> None:
    async def main() -> None:
        store, plan = MemoryStore(), Counted(calm, how)
        made = journal(Unsteady(store, plan))  # type: ignore[arg-type]
        for first in range(0, 256, 64):
            batch = changes(first, 64)
            try:
                await made.append(batch)
            except PeerFault:
                # Only what is known not to be there is given up, or what nobody can know: a page that was being put aside.
                await made.append(batch)
        assert plan.happened
        assert await all_of(made) == list(range(1, 257))
        assert (await made.validate()).problems == ()

    asyncio.run(main())


def test_a_page_that_is_put_aside_late_is_the_one_that_was_there() -> None:
    """A writer that hangs between the full page and the next tail does not undo what others wrote meanwhile."""

    async def main(before: int) -> None:
        store, gate, waits = MemoryStore(), asyncio.Event(), asyncio.Event()

        class Late(Unsteady):
            async def _done(self, key: str, call: Any) -> Any:
                if key.startswith("pages/"):
                    waits.set()
                    await gate.wait()
                return await call()

        slow, quick = journal(Late(store, None)), journal(store)  # type: ignore[arg-type]
        for first in range(0, before, 64):
            await quick.append(changes(first, min(64, before - first)))
        task = asyncio.ensure_future(slow.append(changes(1_000, 60)))
        waiting = asyncio.ensure_future(waits.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        for turn in range(8):
            await quick.append(changes(2_000 + 50 * turn, 50 if turn else 3))
        gate.set()
        await task
        waiting.cancel()
        assert (await quick.validate()).problems == ()
        assert len(await all_of(journal(store))) == before + 60 + 3 + 7 * 50

    for before in (1, 60, 65, 100, 128):
        asyncio.run(main(before))


def test_an_append_that_was_cancelled_on_the_way_does_not_confuse_the_next() -> None:
    async def main() -> None:
        class Slow(Unsteady):
            async def _done(self, key: str, call: Any) -> Any:
                done = await call()
                await asyncio.sleep(0)
                return done

        made = journal(Slow(MemoryStore(), None))  # type: ignore[arg-type]
        await made.append(changes(0, 2))
        for turns in range(1, 8):
            task = asyncio.ensure_future(made.append(changes(10 * turns, 3)))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await made.append(changes(10 * turns, 3))
        assert await all_of(made) == list(range(1, 24))

    asyncio.run(main())


# ---- pages ---------------------------------------------------------------------------------------------------------


def test_a_page_says_where_to_go_on_and_where_the_end_is() -> None:
    async def main() -> None:
        made = await filled(MemoryStore(), 2)
        page = await made.page(after=100, limit=60)
        assert [page.records[0].sequence, page.records[-1].sequence, page.next, page.last] == [
            101,
            160,
            160,
            257,
        ]
        assert (page.compacted, page.oldest) == (False, 1)
        last = await made.page(after=257)
        assert (last.records, last.next, last.compacted) == ((), 257, False)

    asyncio.run(main())


def test_records_of_one_surface_are_found_among_the_others() -> None:
    async def main() -> None:
        made = await filled(MemoryStore(), 2)
        await made.append([change("s1", "s-1", "sessions")])
        page = await made.page(surface="sessions", limit=10)
        assert [one.event_id for one in page.records] == ["s1"]
        assert page.next == page.last == 258
        with pytest.raises(MisuseError):
            await made.page(surface="nobody")

    asyncio.run(main())


@pytest.mark.parametrize(("after", "limit"), [(-1, 1), (0, 0), (0, 1_001), (0, -5)])
def test_a_page_that_cannot_be_is_refused(after: int, limit: int) -> None:
    with pytest.raises(MisuseError) as caught:
        asyncio.run(journal().page(after=after, limit=limit))
    assert caught.value.code == "page_invalid"


def test_a_journal_that_is_not_there_is_empty() -> None:
    async def main() -> None:
        made = journal()
        page, status = await made.page(), await made.status()
        assert (page.records, page.last, page.compacted, page.oldest) == ((), 0, False, 1)
        assert (status.records, status.last, status.bytes) == (0, 0, 0)
        assert (await made.page(after=7)).compacted
        assert (await made.validate()).sound

    asyncio.run(main())


def test_the_status_counts_by_surface() -> None:
    async def main() -> None:
        store = MemoryStore()
        made = await filled(store, 1)
        await made.append([change("s1", "s-1", "sessions")])
        status = await journal(store).status()
        found = {one.surface: (one.records, one.last_sequence) for one in status.surfaces}
        assert found == {
            "workers": (129, 129),
            "sessions": (1, 130),
            "leases": (0, 0),
            "runtime_health": (0, 0),
        }
        assert (status.records, status.oldest, status.last, status.pages) == (130, 1, 130, 2)
        assert status.bytes == sum(
            [len(entry.value) for key in await store.keys(BUCKET) if (entry := await store.get(BUCKET, key))]
        )

    asyncio.run(main())


# ---- following -------------------------------------------------------------------------------------------------------


def test_who_follows_gets_each_record_once_and_in_order() -> None:
    async def main() -> None:
        store = MemoryStore()
        made = await filled(store, 2)
        seen: list[int] = []

        async def follow() -> None:
            async for record in journal(store).follow(100):
                seen.append(record.sequence)
                if record.sequence == 700:
                    return

        task = asyncio.ensure_future(follow())
        for first in range(300, 300 + 443, 11):
            await made.append(changes(first, min(11, 743 - first)))
            if first % 3 == 0:
                await asyncio.sleep(0)
        await asyncio.wait_for(task, 10)
        assert seen == list(range(101, 701))

    asyncio.run(main())


def test_who_follows_over_a_deletion_is_told() -> None:
    async def main() -> None:
        store = MemoryStore()
        made = await filled(store, 1)
        following = made.follow(128)
        assert (await anext(following)).sequence == 129
        await deleted(store)
        await made.append([change("new")])
        with pytest.raises(Compacted):
            await asyncio.wait_for(anext(following), 10)
        with pytest.raises(Compacted):
            await asyncio.wait_for(anext(made.follow(500)), 10)

    asyncio.run(main())


def test_who_follows_is_told_when_what_is_to_be_read_is_taken_away_meanwhile() -> None:
    """Also with nothing behind them: they do not ask for it for ever."""

    async def main(anew: bool) -> None:
        store = MemoryStore()
        await filled(store, 3)

        class Taken(Unsteady):
            asked = 0

            async def get(self, bucket: str, key: str) -> Entry | None:
                self.asked += 1
                if self.asked == 1:
                    await deleted(store)
                    if anew:
                        await journal(store).append([change("new")])
                assert self.asked < 100, "it asks and asks"
                return await super().get(bucket, key)

        with pytest.raises(Compacted):
            await anext(journal(Taken(store, None)).follow(1 if anew else 0))  # type: ignore[arg-type]

    asyncio.run(main(anew=False))
    asyncio.run(main(anew=True))


def test_a_page_of_another_version_is_not_added_to() -> None:
    async def main() -> None:
        store = MemoryStore()
        await journal(store).append([change("a")])
        entry = await store.get(BUCKET, TAIL)
        assert entry is not None
        newer = msgspec.msgpack.decode(entry.value) | {"format": 2}
        await store.put(BUCKET, TAIL, msgspec.msgpack.encode(newer))
        with pytest.raises(PeerFault) as caught:
            await journal(store).append([change("b")])
        assert caught.value.code == "journal_unreadable"
        left = await store.get(BUCKET, TAIL)
        assert left is not None
        assert msgspec.msgpack.decode(left.value) == newer

    asyncio.run(main())


# ---- the disk --------------------------------------------------------------------------------------------------------


def test_no_planted_secret_reaches_the_disk(tmp_path: Path) -> None:
    """Every key and value is read, and the file and its log as they lie there."""

    async def main() -> bytes:
        store: Store = SqliteStore(tmp_path / "journal.db")
        made = journal(store)
        for place, planted in enumerate(PLANTED):
            await made.append([change(f"m{place}", metadata=planted.metadata)])
        validation = await made.validate()
        assert (validation.records, validation.problems) == (len(PLANTED), ())
        values = await everything(store)
        files.extend(path.read_bytes() for path in tmp_path.glob("journal.db*"))  # noqa: ASYNC240 - while it is open
        await store.close()
        return values

    files: list[bytes] = []
    disk = b"".join([asyncio.run(main()), *files])
    assert b"[redacted]" in disk
    assert [one.name for one in PLANTED if one.secret.encode() in disk] == []
