"""What is forgotten is what may be, wherever compaction stops; a journal that is deleted whole begins anew, in one place."""

from __future__ import annotations

import asyncio
import copy
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import PeerFault
from rspp.host.ports import Entry
from rspp.ops.journal.bounds import KEPT_ASKED_PAGES, PAGE_RECORDS_MAX, WINDOW
from rspp.ops.journal.following import Compacted
from rspp.ops.journal.pages import BUCKET, KEPT, TAIL
from rspp.testing.store import MemoryStore
from tests.unit.ops.journal.made import (
    SMALL,
    Counted,
    StoppedError,
    Unsteady,
    all_of,
    change,
    changes,
    deleted,
    filled,
    journal,
)

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

PAGES = 6
# Of what is kept, beside its records.
BESIDE_BYTES = 256


@pytest.fixture(scope="module")
def full() -> MemoryStore:
    """A store with a journal that may be compacted, to be copied."""
    store = MemoryStore()
    asyncio.run(filled(store, PAGES))
    return store


def test_compaction_keeps_the_window_and_the_newest_record_of_each_aggregate() -> None:
    async def main() -> None:
        store = MemoryStore()
        made = journal(store)
        await made.append([change("once", "w-once"), change("twice", "w-twice"), change("later", "w-later")])
        await made.append([change("twice-2", "w-twice")])
        for first in range(0, PAGES * PAGE_RECORDS_MAX, 64):
            await made.append(changes(first, 64))
        await made.append([change("later-2", "w-later")])
        done = await made.compact()
        status = await made.status()
        assert done.compacted_through == status.oldest - 1 > 0
        assert status.last - status.oldest + 1 >= 256
        kept = [one.event_id for one in (await made.page()).records if one.sequence < status.oldest]
        assert kept == ["once", "twice-2"]
        assert (await made.validate()).problems == ()
        assert await journal(store).append(changes(PAGES * PAGE_RECORDS_MAX - 1, 1))  # still known after it
        assert (await made.status()).last == status.last
        assert (await journal(store).append([change("once", "w-once")]))[0].sequence == 1

    asyncio.run(main())


def test_what_is_young_is_kept_up_to_a_bound() -> None:
    async def main() -> None:
        store = MemoryStore()
        made = await filled(store, PAGES, occurred_wall_ms=1_700_000_000_000 + 24 * 3_600_000)
        assert (
            await made.compact()
        ).compacted_through == 2 * PAGE_RECORDS_MAX  # records_max of them are left
        assert (await made.status()).oldest == 2 * PAGE_RECORDS_MAX + 1

    asyncio.run(main())


def test_endless_aggregates_are_forgotten_oldest_first() -> None:
    async def main() -> None:
        store = MemoryStore()
        made = journal(store)
        for first in range(0, 10 * PAGE_RECORDS_MAX, 64):
            await made.append([change(f"s{n}", f"s-{n}", "sessions") for n in range(first, first + 64)])
        done = await made.compact()
        page = await made.page(limit=40)
        assert (done.records_kept, done.forgotten) == (40, done.compacted_through - 40)
        assert [one.sequence for one in page.records] == list(
            range(done.compacted_through - 39, done.compacted_through + 1)
        )
        assert (await made.validate()).sound

    asyncio.run(main())


def test_what_two_tenants_call_alike_is_kept_for_both() -> None:
    async def main() -> None:
        store = MemoryStore()
        made = journal(store)
        for tenant in ("acme", "bolt"):
            await made.append([change(tenant, "call-1", "sessions", metadata={"tenant": tenant})])
        for first in range(0, PAGES * PAGE_RECORDS_MAX, 64):
            await made.append(changes(first, 64))
        done = await made.compact()
        assert done.compacted_through > 2
        page = await made.page(surface="sessions")
        assert [one.metadata["tenant"] for one in page.records] == ["acme", "bolt"]

    asyncio.run(main())


def test_what_is_kept_fits_into_one_value_of_any_store() -> None:
    """A server of JetStream takes messages of 1 MiB, unless it was told otherwise."""

    async def main() -> None:
        store = MemoryStore()
        small = msgspec.structs.replace(SMALL, kept_records_max=4_096, kept_bytes_max=100_000)
        made = journal(store, window=small)
        for first in range(0, 6 * PAGE_RECORDS_MAX, 32):
            wide = {"note": "wide and long " * 36}
            await made.append(
                [change(f"s{n}", f"s-{n}", "sessions", metadata=wide) for n in range(first, first + 32)]
            )
        done = await made.compact()
        kept = await store.get(BUCKET, KEPT)
        assert kept is not None
        assert 99_000 < len(kept.value) <= 100_000 + BESIDE_BYTES
        assert (await made.page(limit=1)).records[
            0
        ].sequence == done.compacted_through - done.records_kept + 1
        assert done.forgotten > 0

    asyncio.run(main())
    assert WINDOW.kept_bytes_max + BESIDE_BYTES <= 1024 * 1024 - 4_096


def test_who_asks_for_what_was_compacted_is_told_so_and_where_to_begin(full: MemoryStore) -> None:
    async def main() -> None:
        made = journal(copy.deepcopy(full))
        reader = made
        await made.compact()
        oldest = (await made.status()).oldest
        assert (await reader.page(after=5)).compacted
        assert (await reader.page(after=oldest - 1)).compacted is False
        assert (await reader.page(after=oldest - 2)).oldest == oldest
        with pytest.raises(Compacted) as caught:
            await anext(made.follow(3))
        assert (caught.value.oldest, caught.value.last) == (oldest, PAGES * PAGE_RECORDS_MAX + 1)

    asyncio.run(main())


def test_who_follows_from_behind_the_end_hears_from_where_on_it_is_whole(full: MemoryStore) -> None:
    async def main() -> None:
        store = copy.deepcopy(full)
        await journal(store).compact()
        status = await journal(store).status()
        assert status.oldest > 1
        with pytest.raises(Compacted) as caught:
            await anext(journal(store).follow(10_000))
        assert (caught.value.oldest, caught.value.last) == (status.oldest, status.last)

    asyncio.run(main())


def test_a_reader_that_knew_the_old_pages_is_told_too(full: MemoryStore) -> None:
    async def main() -> None:
        store = copy.deepcopy(full)
        made = journal(store)
        reader = journal(store)
        assert (await reader.page(limit=1)).compacted is False
        await made.compact()
        page = await reader.page(after=5, limit=1_000)
        assert page.compacted
        assert page.records[-1].sequence == page.last
        assert (await reader.status()) == (await made.status())

    asyncio.run(main())


@pytest.mark.parametrize("how", ["before", "after", "failed", "unknown"])
def test_compaction_may_stop_at_any_change_and_the_next_one_finishes(how: str, full: MemoryStore) -> None:
    async def main(calm: int) -> None:
        store, reference = copy.deepcopy(full), copy.deepcopy(full)
        with suppress(StoppedError, PeerFault):
            await journal(Unsteady(store, Counted(calm, how))).compact()  # type: ignore[arg-type]
        last = PAGES * PAGE_RECORDS_MAX + 1
        assert (await journal(store).status()).last == last
        assert (await all_of(journal(store)))[-256:] == list(range(last - 255, last + 1))
        await journal(store).compact()
        await journal(reference).compact()
        assert await all_of(journal(store)) == await all_of(journal(reference))
        assert len(await store.keys(BUCKET)) == len(await reference.keys(BUCKET))
        if calm % 3 == 0:
            assert (await journal(store).validate()).problems == ()

    for calm in range(7):
        asyncio.run(main(calm))


def test_two_that_compact_at_once_lose_nothing(full: MemoryStore) -> None:
    async def main() -> None:
        store, reference = copy.deepcopy(full), copy.deepcopy(full)
        await asyncio.gather(*(journal(store).compact() for _ in range(4)))
        await journal(reference).compact()
        assert await all_of(journal(store)) == await all_of(journal(reference))

    asyncio.run(main())


# ---- deletion --------------------------------------------------------------------------------------------------------


def test_after_a_deletion_whoever_knew_the_last_number_goes_on_behind_it() -> None:
    async def main() -> None:
        store = MemoryStore()
        made = await filled(store, 2)
        await deleted(store)
        assert (await made.page(after=10)).compacted
        assert (await made.append([change("new")]))[0].sequence == 258
        status = await made.status()
        assert (status.records, status.oldest, status.last) == (1, 258, 258)
        assert (await made.page(after=10)).compacted
        assert (await made.validate()).problems == ()
        fresh = journal(store)
        assert (await fresh.append(changes(0, 1)))[0].sequence == 259

    asyncio.run(main())


def test_after_a_deletion_and_a_new_beginning_by_another_readers_are_told() -> None:
    async def main() -> None:
        store = MemoryStore()
        made = await filled(store, 2)
        await deleted(store)
        assert (await journal(store).append([change("new")]))[0].sequence == 1
        page = await made.page(after=200)
        assert (page.compacted, [one.event_id for one in page.records]) == (True, ["new"])
        assert (await made.append([change("newer")]))[0].sequence == 2
        assert (await made.append([change("e0")]))[0].sequence == 3  # what was deleted is not known any more
        assert (await made.validate()).problems == ()

    asyncio.run(main())


def test_who_cannot_read_the_journal_that_began_anew_writes_nothing_twice() -> None:
    async def main() -> None:
        store, failing = MemoryStore(), [False]

        class Failing(Unsteady):
            async def get(self, bucket: str, key: str) -> Entry | None:
                if key == KEPT and failing[0]:
                    failing[0] = False
                    raise PeerFault("store_unreachable", "for a moment")
                return await super().get(bucket, key)

        await filled(store, 2)
        made = journal(Failing(store, lambda _key: None))  # type: ignore[arg-type]
        assert (await made.status()).last == 257
        await deleted(store)
        await journal(store).append([change("new")])
        failing[0] = True
        with pytest.raises(PeerFault):
            await made.append([change("newer")])
        assert [one.sequence for one in await made.append([change("newer")])] == [2]
        assert await all_of(journal(store)) == [1, 2]
        assert (await journal(store).validate()).problems == ()

    asyncio.run(main())


def test_a_store_that_is_set_back_under_a_running_process_gets_no_record_twice() -> None:
    async def main() -> None:
        class Moved(Unsteady):
            def set_back(self, store: MemoryStore) -> None:
                self._store = store

        store = MemoryStore()
        await filled(store, 1)
        backup = copy.deepcopy(store)
        moving = Moved(store, lambda _key: None)
        made = journal(moving)  # type: ignore[arg-type]
        for first in range(1_000, 1_400, 50):
            await made.append(changes(first, 50))
        moving.set_back(backup)
        done = await asyncio.wait_for(made.append(changes(5_000, 10)), 5)
        assert [one.sequence for one in done] == list(range(130, 140))
        assert await all_of(made) == list(range(1, 140))
        assert (await journal(backup).validate()).problems == ()

    asyncio.run(main())


@pytest.mark.slow
def test_a_deletion_at_any_moment_of_writing_leaves_one_journal_that_is_sound() -> None:
    async def main(moment: int) -> None:
        store = MemoryStore()
        first, second = await filled(store, 1), journal(store)
        await second.status()
        count = 0

        def plan(_key: str) -> str | None:
            nonlocal count
            count += 1
            return None

        class Deleting(Unsteady):
            async def _done(self, key: str, call: Any) -> Any:
                plan(key)
                if count == moment:
                    await deleted(store)
                return await call()

        unsteady = journal(Deleting(store, plan))  # type: ignore[arg-type]
        for turn in range(6):
            await unsteady.append(changes(1_000 + 64 * turn, 64))
            await first.append(changes(5_000 + turn, 1))
            await second.append(changes(6_000 + turn, 1))
        validation = await journal(store).validate()
        assert validation.problems == ()
        assert await all_of(journal(store)) == list(range(validation.oldest, validation.last + 1))
        await first.compact()
        assert len({key.split("/")[1] for key in await store.keys(BUCKET, "pages/")}) <= 1

    for moment in range(1, 9):
        asyncio.run(main(moment))


@pytest.mark.parametrize("key", [TAIL, KEPT])
def test_one_key_that_is_gone_or_spoilt_is_named_and_the_rest_is_read(key: str, full: MemoryStore) -> None:
    async def main() -> None:
        store = copy.deepcopy(full)
        await journal(store).compact()
        await store.delete(BUCKET, key)
        validation = await journal(store).validate()
        assert validation.sound is (key == TAIL)
        made = journal(store)
        assert (await made.append([change("new")]))[0].event_id == "new"
        await store.put(BUCKET, key, b"\xc1 no page")
        assert next(one.code for one in (await made.validate()).problems) == "page_unreadable"

    asyncio.run(main())


def test_a_deletion_at_any_moment_of_compaction_leaves_the_new_journal_alone(full: MemoryStore) -> None:
    async def main(moment: int) -> None:
        store, count = copy.deepcopy(full), 0
        fresh = journal(store)

        class Deleting(Unsteady):
            async def _done(self, key: str, call: Any) -> Any:
                nonlocal count
                count += 1
                if count == moment:
                    await deleted(store)
                    for first in range(0, 400, 50):
                        await fresh.append(changes(9_000 + first, 50))
                return await call()

        await journal(Deleting(store, None)).compact()  # type: ignore[arg-type]
        assert (await journal(store).validate()).problems == ()
        if count >= moment:
            assert await all_of(journal(store)) == list(range(1, 401))
            await fresh.compact()
            assert (await journal(store).validate()).problems == ()
            assert (await all_of(journal(store)))[-256:] == list(range(145, 401))

    for moment in (1, 2, 3, 5):
        asyncio.run(main(moment))


def test_what_a_younger_journal_has_kept_is_not_replaced_by_who_still_compacts_the_old_one(
    full: MemoryStore,
) -> None:
    async def main(moment: int) -> None:
        store, asked = copy.deepcopy(full), 0
        fresh = journal(store)

        class Swapping(Unsteady):
            async def get(self, bucket: str, key: str) -> Entry | None:
                nonlocal asked
                asked += key == KEPT
                if key == KEPT and asked == moment:
                    await deleted(store)
                    for first in range(0, 640, 64):
                        await fresh.append(changes(9_000 + first, 64, things=600))
                    await fresh.compact()
                return await super().get(bucket, key)

        stale = journal(Swapping(store, None))  # type: ignore[arg-type]
        await stale.compact()
        assert asked >= moment
        whole = await all_of(journal(store))
        assert len(whole) < 640
        assert whole == await all_of(fresh)
        status = await journal(store).status()
        assert (status.kept, status.last) == (40, 640)
        assert (await journal(store).validate()).problems == ()

    for moment in (1, 2, 3):
        asyncio.run(main(moment))


def test_who_only_reads_forgets_what_others_have_compacted() -> None:
    async def main() -> None:
        store = MemoryStore()
        writer, reader = journal(store), journal(store)
        for first in range(0, 40 * PAGE_RECORDS_MAX, 64):
            await writer.append(changes(first, 64))
            if writer.is_over_bound():
                await writer.compact()
            await reader.status()
        known = sum(1 for _ in reader._shelf.index.sheets)
        assert known <= 256 // PAGE_RECORDS_MAX + 2 * KEPT_ASKED_PAGES

    asyncio.run(main())
