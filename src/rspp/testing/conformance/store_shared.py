"""What a store must do that several processes have at once, or one after the other: `StoreTarget.another` opens it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from rspp.host.ports import Entry, Store
from rspp.testing.conformance.checks import CheckFailedError, require
from rspp.testing.conformance.store_bench import Row, StoreTarget, an_int, read_log, until, watching

SHARERS: Final = 4
ROUNDS: Final = 10


@asynccontextmanager
async def _others(target: StoreTarget, count: int = 1) -> AsyncIterator[list[Store]]:
    if target.another is None:
        raise CheckFailedError("a target that is shared says how it is opened again")
    stores = [target.another() for _ in range(count)]
    try:
        yield stores
    finally:
        await asyncio.gather(*(store.close() for store in stores))


async def _one_wins(target: StoreTarget) -> None:
    """Whoever counts a key up, in whichever process, wins as often as it rises."""
    async with _others(target, SHARERS) as stores:

        async def count_up(store: Store) -> list[int]:
            won: list[int] = []
            while len(won) < ROUNDS:
                found = await store.get("b", "k")
                value, expect = (int(found.value), found.revision) if found else (0, 0)
                revision = await store.put("b", "k", str(value + 1).encode(), expect=expect)
                won += [] if revision is None else [revision]
            return won

        revisions = [one for won in await asyncio.gather(*map(count_up, stores)) for one in won]
    found = await target.store.get("b", "k")
    require(len(set(revisions)) == len(revisions), "two winners were given one revision")
    wanted = Entry("k", str(SHARERS * ROUNDS).encode(), max(revisions))
    require(found == wanted, f"{len(revisions)} won, and the key is {found!r}")


async def _appends(target: StoreTarget) -> None:
    """What several append at once is all kept, and read alike by everyone."""
    async with _others(target, SHARERS) as stores:
        calls = [
            store.append("log", f"{n} {i}".encode()) for i in range(ROUNDS) for n, store in enumerate(stores)
        ]
        numbers = await asyncio.gather(*calls)
        require(len(set(numbers)) == SHARERS * ROUNDS, "two records were given one number")
        logs = [await read_log(store, "log") for store in stores]
        require(all(log == logs[0] for log in logs), "two who read a log read different ones")
        require([number for number, _ in logs[0]] == sorted(numbers), "records were lost")


async def _sees(target: StoreTarget) -> None:
    """What one was told is done, every other sees at once; and whoever watches is told."""
    async with _others(target) as (other,), watching(other, "b", "") as seen:
        for number in range(ROUNDS):
            value = str(number).encode()
            revision = an_int(await target.store.put("b", "k", value))
            require(await other.get("b", "k") == Entry("k", value, revision), "another reads an older value")
        await until(target, seen, "k", str(ROUNDS - 1).encode())
        await target.store.delete("b", "k")
        require(await other.get("b", "k") is None, "another reads what is deleted")
        require(await other.keys("b") == [], "another lists what is deleted")


async def _outlives(target: StoreTarget) -> None:
    """Closed and opened again, everything is there, and no number is given again."""
    store = target.store
    revision = an_int(await store.put("b", "k", b"1"))
    gone = an_int(await store.put("b", "gone", b"1"))
    await store.delete("b", "gone")
    number = await store.append("log", b"1")
    trimmed = await store.append("trimmed", b"1")
    await store.trim("trimmed", trimmed)
    large = bytes(range(256)) * 2_000
    await store.put_blob("n", large)
    await store.close()
    async with _others(target) as (other,):
        require(await other.get("b", "k") == Entry("k", b"1", revision), "a key did not outlive its process")
        require(await read_log(other, "log") == [(number, b"1")], "a record did not outlive its process")
        require(await other.get_blob("n") == large, "a blob did not outlive its process")
        again = an_int(await other.put("b", "gone", b"2", expect=0))
        require(again > gone, f"a deleted key came back with revision {again}; it had {gone}")
        require(await other.append("trimmed", b"2") > trimmed, "a number was given again")


ROWS: Final[Sequence[Row]] = [
    ("shared", "lets one of many processes win", _one_wins),
    ("shared", "keeps what many processes append", _appends),
    ("shared", "is seen by others when it is done", _sees),
    ("shared", "outlives who wrote it", _outlives),
]
