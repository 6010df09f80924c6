"""Logs and blobs: what a store keeps until somebody says that it may go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from rspp.testing.conformance.checks import require
from rspp.testing.conformance.store_bench import Row, StoreTarget, read_log

APPENDED_AT_ONCE: Final = 24
RECORDS: Final = 200


async def _numbers(target: StoreTarget) -> None:
    store = target.store
    require(await read_log(store, "log") == [], "a log that nobody wrote has records")
    given = [(await store.append("log", str(n).encode()), str(n).encode()) for n in range(RECORDS)]
    numbers = [number for number, _ in given]
    require(
        numbers == sorted(set(numbers)) and numbers[0] > 0, "the numbers of a log do not rise from above 0"
    )
    require(await read_log(store, "log") == given, "a log is not read as it was written")
    middle = numbers[RECORDS // 2]
    require(
        await read_log(store, "log", middle) == given[RECORDS // 2 + 1 :],
        f"read after {middle} is not what follows it",
    )
    require(await read_log(store, "log", numbers[-1]) == [], "after the last record there is one more")
    require(await read_log(store, "other") == [], "a record of one log is in another")


async def _appends_at_once(target: StoreTarget) -> None:
    """What is appended at once is all kept, each under its own number."""
    records = [str(n).encode() for n in range(APPENDED_AT_ONCE)]
    numbers = await asyncio.gather(*(target.store.append("log", record) for record in records))
    require(len(set(numbers)) == APPENDED_AT_ONCE, "appended at once, two records were given one number")
    found = dict(await read_log(target.store, "log"))
    require(
        found == dict(zip(numbers, records, strict=True)), "appended at once, records were lost or swapped"
    )


async def _trims(target: StoreTarget) -> None:
    """The oldest go, up to the number and with it; what stays keeps its number, and nothing is given twice."""
    store = target.store
    await store.trim("log", 10)
    given = [(await store.append("log", str(n).encode()), str(n).encode()) for n in range(RECORDS)]
    await store.append("other", b"untouched")
    middle = RECORDS // 2
    for through in (0, given[middle][0], given[middle][0], given[3][0]):
        await store.trim("log", through)
        wanted = given[middle + 1 :] if through else given
        require(
            await read_log(store, "log") == wanted, f"trimmed to {through}, the log is not what follows it"
        )
    tail = await read_log(store, "log", given[middle + 5][0])
    require(tail == given[middle + 6 :], "in a trimmed log, reading goes on from another place")
    early = await read_log(store, "log", given[3][0])
    require(
        early == given[middle + 1 :], "asked for what is trimmed, a log does not begin with its first record"
    )
    require(len(await read_log(store, "other")) == 1, "trimming a log took records of another")


async def _numbers_past_trim(target: StoreTarget) -> None:
    store = target.store
    last = 0
    for round_ in range(3):
        number = await store.append("log", b"x")
        require(number > last, f"after a trim, number {number} was given again; {last} was given before")
        last = number
        await store.trim("log", last if round_ else last + 1_000)
        require(await read_log(store, "log") == [], "a log that was trimmed to its end has records")


async def _blobs(target: StoreTarget) -> None:
    store = target.store
    require(await store.get_blob("none") is None, "a blob that was never put is there")
    for data in (b"", bytes(range(256)) * 4_096, b"short"):
        await store.put_blob("name", data)
        require(await store.get_blob("name") == data, f"a blob of {len(data)} bytes came back changed")


async def _blob_replaced_whole(target: StoreTarget) -> None:
    """Who reads while a blob is put again gets one that was put, from its first byte to its last."""
    store = target.store
    versions = [bytes([letter]) * size for letter, size in ((1, 300_000), (2, 9), (3, 500_000), (4, 70_000))]
    await store.put_blob("name", versions[0])
    for version in versions[1:] * 3:
        read, _, again = await asyncio.gather(
            store.get_blob("name"), store.put_blob("name", version), store.get_blob("name")
        )
        for found in (read, again):
            require(found in versions, f"a blob of {len(found or b'')} bytes was read that nobody put")
        require(await store.get_blob("name") == version, "a blob that was put again has another's bytes")


async def _blobs_listed(target: StoreTarget) -> None:
    store = target.store
    require(await store.blobs() == [], "a store that nobody wrote has blobs")
    names = ("a/2", "a/1", "ab", "b/1", "a/Ü", "a%", "a_", "a/\U0010ffff", "a/\ud7ff", "a0")
    for name in names:
        await store.put_blob(name, b"x")
    await store.put_blob("ab", b"again")
    await store.put("b", "a/key", b"no blob")
    for prefix in ("", "a/", "a", "a%", "a_", "a/\U0010ffff", "a/\ud7ff", "z"):
        wanted = sorted(name for name in names if name.startswith(prefix))
        found = await store.blobs(prefix)
        require(found == wanted, f"blobs under {prefix!r} are {wanted}, not {found}")


async def _blobs_deleted(target: StoreTarget) -> None:
    store = target.store
    await store.put_blob("gone", b"1")
    await store.put_blob("stays", b"2")
    await store.delete_blob("gone")
    await store.delete_blob("gone")
    await store.delete_blob("never was")
    require(await store.get_blob("gone") is None, "a deleted blob is still read")
    require(await store.blobs() == ["stays"], "a deleted blob is listed, or another is gone")
    require(await store.get_blob("stays") == b"2", "deleting a blob took another's bytes")
    await store.put_blob("gone", b"3")
    require(await store.get_blob("gone") == b"3", "a deleted blob cannot be put again")


ROWS: Final[Sequence[Row]] = [
    ("log", "numbers and keeps records", _numbers),
    ("log", "keeps what is appended at once", _appends_at_once),
    ("log", "forgets the oldest, and nothing else", _trims),
    ("log", "gives no number again past a trim", _numbers_past_trim),
    ("blobs", "keeps blobs", _blobs),
    ("blobs", "replaces a blob whole", _blob_replaced_whole),
    ("blobs", "lists blobs in order, letter by letter", _blobs_listed),
    ("blobs", "deletes blobs, and again", _blobs_deleted),
]
