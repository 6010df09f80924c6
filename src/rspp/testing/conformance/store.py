"""What every Store must do: keep, compare and swap, forget in time, tell of changes, number its logs.

    checks = store.conformance(lambda: StoreTarget(make=lambda: SqliteStore(path)))

`make` gives a fresh, empty store for each check; a store that is shared is emptied, or given buckets of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec

from rspp.host.ports import Entry, Store
from rspp.testing.conformance.checks import Check, CheckFailedError, require

RACERS: Final = 24
RECORDS: Final = 200


async def _sleep(ms: float) -> None:
    await asyncio.sleep(ms / 1000)


class StoreTarget(msgspec.Struct, kw_only=True):
    """A store, how time passes for it, and how patient to be. `ttl_ms` is a time to live that it can keep."""

    store: Store
    pass_ms: Callable[[float], Awaitable[None]] = _sleep
    ttl_ms: int = 200
    answer_ms_max: float = 5_000


Body = Callable[[StoreTarget], Awaitable[None]]
Row = tuple[str, str, Body]


def conformance(make: Callable[[], StoreTarget]) -> list[Check]:
    """The suite."""
    return [Check(category, name, _bound(body, make)) for category, name, body in ROWS]


def _bound(body: Body, make: Callable[[], StoreTarget]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        target = make()
        try:
            await body(target)
        finally:
            await target.store.close()

    return run


# ---- keys -----------------------------------------------------------------------------------------------------------


async def _keeps(target: StoreTarget) -> None:
    store = target.store
    require(await store.get("b", "k") is None, "a key that was never put has a value")
    for value in (b"one", b"", bytes(range(256)) * 64):
        revision = await store.put("b", "k", value)
        found = await store.get("b", "k")
        require(
            found == Entry("k", value, _int(revision)), f"put {value[:8]!r} as {revision}, got {found!r:.80}"
        )


async def _buckets_apart(target: StoreTarget) -> None:
    store = target.store
    await store.put("one", "k", b"1")
    require(await store.get("other", "k") is None, "a key of one bucket is in another")
    await store.put("other", "k", b"2")
    await store.delete("one", "k")
    found = await store.get("other", "k")
    require(found is not None and found.value == b"2", "deleting a key took that of another bucket")


async def _deletes(target: StoreTarget) -> None:
    store = target.store
    await store.put("b", "k", b"1")
    await store.delete("b", "k")
    await store.delete("b", "k")
    require(await store.get("b", "k") is None, "a deleted key still has its value")
    require(await store.keys("b") == [], "a deleted key is still listed")


async def _lists(target: StoreTarget) -> None:
    store = target.store
    names = ("a/1", "a/2", "ab", "b/1", "a/Ü", "a%", "a_")
    for name in names:
        await store.put("b", name, b"x")
    for prefix in ("", "a/", "a", "a%", "a_", "z"):
        wanted = sorted(name for name in names if name.startswith(prefix))
        found = await store.keys("b", prefix)
        require(sorted(found) == wanted, f"keys under {prefix!r} are {wanted}, not {found}")


# ---- revisions ------------------------------------------------------------------------------------------------------


async def _rises(target: StoreTarget) -> None:
    revisions = [_int(await target.store.put("b", "k", b"same")) for _ in range(20)]
    require(revisions[0] > 0, "the first revision is not above 0, which means: only create")
    require(revisions == sorted(set(revisions)), f"revisions of one key do not rise: {revisions}")


async def _rises_past_delete(target: StoreTarget) -> None:
    store = target.store
    last = 0
    for _ in range(3):
        revision = _int(await store.put("b", "k", b"1"))
        require(revision > last, f"after a delete the key has revision {revision}; it had {last}")
        last = revision
        await store.delete("b", "k")


async def _rises_past_expiry(target: StoreTarget) -> None:
    store = target.store
    first = _int(await store.put("b", "k", b"1", ttl_ms=target.ttl_ms))
    await target.pass_ms(target.ttl_ms * 2)
    second = _int(await store.put("b", "k", b"2", expect=0))
    require(second > first, f"an expired key came back with revision {second}; it had {first}")


async def _swaps(target: StoreTarget) -> None:
    store = target.store
    require(await store.put("b", "k", b"0", expect=5) is None, "a key that is not there was replaced")
    first = _int(await store.put("b", "k", b"1", expect=0))
    require(await store.put("b", "k", b"x", expect=0) is None, "a key that is there was created again")
    second = _int(await store.put("b", "k", b"2", expect=first))
    require(await store.put("b", "k", b"x", expect=first) is None, "a revision that is gone was replaced")
    found = await store.get("b", "k")
    require(found == Entry("k", b"2", second), f"a lost race changed the value to {found!r}")
    await store.delete("b", "k")
    require(await store.put("b", "k", b"x", expect=second) is None, "a deleted revision was replaced")
    require(await store.put("b", "k", b"3", expect=0) is not None, "a deleted key could not be created")


async def _one_wins(target: StoreTarget) -> None:
    """Of many who replace the same revision at once, one does."""
    store = target.store
    revision = _int(await store.put("b", "k", b"start"))
    for _ in range(5):
        racers = [store.put("b", "k", str(n).encode(), expect=revision) for n in range(RACERS)]
        won = {n: r for n, r in enumerate(await asyncio.gather(*racers)) if r is not None}
        require(len(won) == 1, f"{len(won)} of {RACERS} won a race that one can win")
        winner, revision = next(iter(won.items()))
        found = await store.get("b", "k")
        require(found == Entry("k", str(winner).encode(), revision), f"{winner} won, and {found!r} is kept")


# ---- time to live ---------------------------------------------------------------------------------------------------


async def _expires(target: StoreTarget) -> None:
    store = target.store
    await store.put("b", "short", b"1", ttl_ms=target.ttl_ms)
    await store.put("b", "long", b"2")
    require(await store.get("b", "short") is not None, "a key is gone before its time")
    await target.pass_ms(target.ttl_ms * 2)
    require(await store.get("b", "short") is None, f"a key lives past its {target.ttl_ms} ms")
    require(await store.keys("b") == ["long"], "a key past its time is listed, or one without is gone")
    require(
        await store.put("b", "short", b"3", expect=0) is not None, "a key past its time cannot be created"
    )


async def _renews(target: StoreTarget) -> None:
    """The time to live is that of the last put: a lease that is renewed stays."""
    store = target.store
    revision = _int(await store.put("b", "k", b"1", ttl_ms=target.ttl_ms))
    for _ in range(3):
        await target.pass_ms(target.ttl_ms * 0.6)
        renewed = await store.put("b", "k", b"1", expect=revision, ttl_ms=target.ttl_ms)
        require(renewed is not None, "a key that was renewed in time is gone")
        revision = _int(renewed)
    await store.put("b", "k", b"1")
    await target.pass_ms(target.ttl_ms * 2)
    require(await store.get("b", "k") is not None, "put without a time to live, the key expired")


# ---- watching -------------------------------------------------------------------------------------------------------


async def _watches(target: StoreTarget) -> None:
    """A watcher is told what is there and what changes, of its prefix alone, and of each key in order."""
    store = target.store
    await store.put("b", "a/1", b"old")
    await store.put("b", "a/1", b"there")
    await store.put("b", "c", b"other prefix")
    await store.put("other", "a/1", b"other bucket")
    async with _watching(store, "b", "a/") as seen:
        await _until(target, seen, "a/1", b"there")
        for number in range(20):
            await store.put("b", f"a/{number % 3}", str(number).encode())
        for number in (17, 18, 19):
            await _until(target, seen, f"a/{number % 3}", str(number).encode())
    strangers = sorted({entry.key for entry in seen if not entry.key.startswith("a/")})
    require(not strangers, f"a watcher of a/ was told of {strangers}")
    for key in sorted({entry.key for entry in seen}):
        revisions = [entry.revision for entry in seen if entry.key == key]
        require(revisions == sorted(set(revisions)), f"revisions of {key} came as {revisions}")


async def _watchers_apart(target: StoreTarget) -> None:
    """One that leaves, or does not read, keeps no other from being told, nor a put from returning."""
    store = target.store
    async with _watching(store, "b", "") as left:
        await store.put("b", "k", b"0")
        await _until(target, left, "k", b"0")
    stuck = store.watch("b")
    await store.put("b", "k", b"1")
    await anext(stuck)
    async with _watching(store, "b", "") as seen:
        async with asyncio.timeout(target.answer_ms_max / 1000):
            for number in range(300):
                await store.put("b", "k", str(number).encode())
        await _until(target, seen, "k", b"299")
    await _close(stuck)


@asynccontextmanager
async def _watching(store: Store, bucket: str, prefix: str) -> AsyncIterator[list[Entry]]:
    seen: list[Entry] = []

    async def watch() -> None:
        async for entry in store.watch(bucket, prefix):
            seen.append(entry)  # noqa: PERF401 - the list is read while it grows

    task = asyncio.get_running_loop().create_task(watch())
    try:
        yield seen
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _until(target: StoreTarget, seen: Sequence[Entry], key: str, value: bytes) -> None:
    deadline = asyncio.get_running_loop().time() + target.answer_ms_max / 1000
    while not any(entry.key == key and entry.value == value for entry in seen):
        if asyncio.get_running_loop().time() > deadline:
            raise CheckFailedError(f"a watcher was not told that {key} is {value!r}")
        await asyncio.sleep(0.005)


# ---- logs and blobs -------------------------------------------------------------------------------------------------


async def _numbers(target: StoreTarget) -> None:
    store = target.store
    require(await _read(store, "log") == [], "a log that nobody wrote has records")
    given = [(await store.append("log", str(n).encode()), str(n).encode()) for n in range(RECORDS)]
    numbers = [number for number, _ in given]
    require(
        numbers == sorted(set(numbers)) and numbers[0] > 0, "the numbers of a log do not rise from above 0"
    )
    require(await _read(store, "log") == given, "a log is not read as it was written")
    middle = numbers[RECORDS // 2]
    require(
        await _read(store, "log", middle) == given[RECORDS // 2 + 1 :],
        f"read after {middle} is not what follows it",
    )
    require(await _read(store, "log", numbers[-1]) == [], "after the last record there is one more")
    require(await _read(store, "other") == [], "a record of one log is in another")


async def _appends_at_once(target: StoreTarget) -> None:
    """What is appended at once is all kept, each under its own number."""
    records = [str(n).encode() for n in range(RACERS)]
    numbers = await asyncio.gather(*(target.store.append("log", record) for record in records))
    require(len(set(numbers)) == RACERS, "appended at once, two records were given one number")
    found = dict(await _read(target.store, "log"))
    require(
        found == dict(zip(numbers, records, strict=True)), "appended at once, records were lost or swapped"
    )


async def _blobs(target: StoreTarget) -> None:
    store = target.store
    require(await store.get_blob("none") is None, "a blob that was never put is there")
    for data in (b"", bytes(range(256)) * 4_096, b"short"):
        await store.put_blob("name", data)
        require(await store.get_blob("name") == data, f"a blob of {len(data)} bytes came back changed")


async def _own_copy(target: StoreTarget) -> None:
    """What was put does not change with the memory that it was put from."""
    store = target.store
    value = bytearray(b"before")
    await store.put("b", "k", value)  # type: ignore[arg-type]  # hostile on purpose
    await store.append("log", value)  # type: ignore[arg-type]
    await store.put_blob("n", value)  # type: ignore[arg-type]
    value[:] = b"after!"
    found = await store.get("b", "k")
    kept = [found.value if found else None, (await _read(store, "log"))[0][1], await store.get_blob("n")]
    require(kept == [b"before"] * 3, "a value changed when the caller's memory did")


async def _closes(target: StoreTarget) -> None:
    """Closing ends what watches, and leaves no task."""
    store = target.store
    before = asyncio.all_tasks()
    await store.put("b", "k", b"1")
    watcher = store.watch("b")
    await anext(watcher)
    waiting = asyncio.ensure_future(anext(watcher))
    await asyncio.sleep(0.01)
    await store.close()
    await asyncio.wait([waiting], timeout=target.answer_ms_max / 1000)
    ended = waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
    require(ended, "closed, the store leaves a watcher waiting for ever")
    if not waiting.cancelled():
        waiting.exception()  # how it ends is the store's affair
    await _close(watcher)
    left = asyncio.all_tasks() - before
    require(not left, f"closed, the store left {len(left)} tasks")


async def _close(iterator: AsyncIterator[Entry]) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()


async def _read(store: Store, log: str, after: int = 0) -> list[tuple[int, bytes]]:
    return [record async for record in store.read(log, after)]


def _int(revision: int | None) -> int:
    if revision is None:
        raise CheckFailedError("a put that nothing forbids was refused")
    return revision


ROWS: Final[Sequence[Row]] = [
    ("keys", "keeps what is put", _keeps),
    ("keys", "keeps buckets apart", _buckets_apart),
    ("keys", "deletes, and again", _deletes),
    ("keys", "lists by prefix, letter by letter", _lists),
    ("keys", "keeps its own copy", _own_copy),
    ("revisions", "revisions rise", _rises),
    ("revisions", "revisions rise past a delete", _rises_past_delete),
    ("revisions", "revisions rise past an expiry", _rises_past_expiry),
    ("compare_and_set", "replaces only what is expected", _swaps),
    ("compare_and_set", "lets one of many win", _one_wins),
    ("time_to_live", "forgets in time", _expires),
    ("time_to_live", "counts from the last put", _renews),
    ("watch", "tells what is there and what changes, in order", _watches),
    ("watch", "keeps watchers apart", _watchers_apart),
    ("log", "numbers and keeps records", _numbers),
    ("log", "keeps what is appended at once", _appends_at_once),
    ("blobs", "keeps blobs", _blobs),
    ("lifecycle", "closes", _closes),
]
