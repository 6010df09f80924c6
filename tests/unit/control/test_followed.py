"""A copy of a bucket is as new as the last that was heard, whatever came late, twice or not at all."""

from __future__ import annotations

import asyncio

from rspp.contract.errors import PeerFault
from rspp.control.followed import Followed
from rspp.host.ports import Entry
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore
from tests.unit.control.ruled import until


def decode(_key: str, data: bytes) -> str:
    if data == b"bad":
        raise PeerFault("store_record_unusable", "bad")
    return data.decode()


def age_of(copy: Followed[str]) -> int | None:
    return copy.age_ms


def test_what_comes_late_or_twice_changes_nothing_and_what_cannot_be_read_is_left_out() -> None:
    async def main() -> None:
        store = MemoryStore()
        copy = Followed(store, "b", decode, ManualClock())
        for entry in (Entry("k", b"new", 5), Entry("k", b"old", 4), Entry("k", b"again", 5)):
            copy.take(entry)
        assert copy.records == {"k": "new"}
        copy.take(Entry("k", b"bad", 6))
        assert copy.records == {}
        copy.take(Entry("k", b"mended", 7))
        assert copy.records == {"k": "mended"}

    asyncio.run(main())


def test_a_deletion_is_seen_by_the_next_whole_reading_and_the_age_is_that_of_its_beginning() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        copy = Followed(store, "b", decode, clock)
        assert age_of(copy) is None
        await store.put("b", "k", b"v")
        await store.put("b", "l", b"w")
        await copy.load()
        await store.delete("b", "k")
        clock.advance(70)
        assert (copy.records, age_of(copy)) == ({"k": "v", "l": "w"}, 70)
        await copy.load()
        assert (copy.records, age_of(copy)) == ({"l": "w"}, 0)
        await store.put("b", "k", b"back")
        await copy.load()
        assert copy.records == {"k": "back", "l": "w"}

    asyncio.run(main())


class Away(MemoryStore):
    """A store that cannot be reached for a while."""

    away = True

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        if self.away:
            raise PeerFault("store_unreachable", "gone")
        return await super().keys(bucket, prefix)


def test_while_the_store_is_away_the_copy_grows_older_and_then_goes_on() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = Away(clock)
        await store.put("b", "k", b"v")
        copy = Followed(store, "b", decode, clock, reload_ms=1)
        running = asyncio.create_task(copy.run())
        await asyncio.sleep(0)
        assert copy.records == {}
        store.away = False
        await until(lambda: copy.records == {"k": "v"})
        await store.put("b", "k", b"w")
        await until(lambda: copy.records == {"k": "w"})
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())
