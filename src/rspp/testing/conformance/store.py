"""What every Store must do: keep, compare and swap, forget in time, tell of changes, number its logs, refuse the rest.

    checks = store.conformance(lambda: StoreTarget(store=SqliteStore(path)))

`make` gives a fresh, empty store for each check; a store that is shared is emptied, or given buckets of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from rspp.host.ports import Entry
from rspp.testing.conformance import store_kept, store_refusals, store_shared
from rspp.testing.conformance.checks import Check, require
from rspp.testing.conformance.store_bench import (
    Body,
    Row,
    StoreTarget,
    an_int,
    close_iterator,
    read_log,
    until,
    watching,
)

__all__ = ["RACERS", "ROWS", "StoreTarget", "conformance"]

RACERS: Final = 24


def conformance(make: Callable[[], StoreTarget], *, shared: bool = False) -> list[Check]:
    """The suite; `shared` for a store that several processes can have, whose targets say how it is opened again."""
    rows = [*ROWS, *(store_shared.ROWS if shared else ())]
    return [Check(category, name, _bound(body, make)) for category, name, body in rows]


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
            found == Entry("k", value, an_int(revision)),
            f"put {value[:8]!r} as {revision}, got {found!r:.80}",
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
    revisions = [an_int(await target.store.put("b", "k", b"same")) for _ in range(20)]
    require(revisions[0] > 0, "the first revision is not above 0, which means: only create")
    require(revisions == sorted(set(revisions)), f"revisions of one key do not rise: {revisions}")


async def _rises_past_delete(target: StoreTarget) -> None:
    store = target.store
    last = 0
    for _ in range(3):
        revision = an_int(await store.put("b", "k", b"1"))
        require(revision > last, f"after a delete the key has revision {revision}; it had {last}")
        last = revision
        await store.delete("b", "k")


async def _rises_past_expiry(target: StoreTarget) -> None:
    store = target.store
    first = an_int(await store.put("b", "k", b"1", ttl_ms=target.ttl_ms))
    await target.pass_ms(target.ttl_ms * 2)
    second = an_int(await store.put("b", "k", b"2", expect=0))
    require(second > first, f"an expired key came back with revision {second}; it had {first}")


async def _swaps(target: StoreTarget) -> None:
    store = target.store
    require(await store.put("b", "k", b"0", expect=5) is None, "a key that is not there was replaced")
    first = an_int(await store.put("b", "k", b"1", expect=0))
    require(await store.put("b", "k", b"x", expect=0) is None, "a key that is there was created again")
    second = an_int(await store.put("b", "k", b"2", expect=first))
    require(await store.put("b", "k", b"x", expect=first) is None, "a revision that is gone was replaced")
    found = await store.get("b", "k")
    require(found == Entry("k", b"2", second), f"a lost race changed the value to {found!r}")
    await store.delete("b", "k")
    require(await store.put("b", "k", b"x", expect=second) is None, "a deleted revision was replaced")
    require(await store.put("b", "k", b"3", expect=0) is not None, "a deleted key could not be created")


async def _one_wins(target: StoreTarget) -> None:
    """Of many who replace the same revision at once, one does."""
    store = target.store
    revision = an_int(await store.put("b", "k", b"start"))
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
    revision = an_int(await store.put("b", "k", b"1", ttl_ms=target.ttl_ms))
    for _ in range(3):
        await target.pass_ms(target.ttl_ms * 0.6)
        renewed = await store.put("b", "k", b"1", expect=revision, ttl_ms=target.ttl_ms)
        require(renewed is not None, "a key that was renewed in time is gone")
        revision = an_int(renewed)
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
    async with watching(store, "b", "a/") as seen:
        await until(target, seen, "a/1", b"there")
        for number in range(20):
            await store.put("b", f"a/{number % 3}", str(number).encode())
        for number in (17, 18, 19):
            await until(target, seen, f"a/{number % 3}", str(number).encode())
    strangers = sorted({entry.key for entry in seen if not entry.key.startswith("a/")})
    require(not strangers, f"a watcher of a/ was told of {strangers}")
    for key in sorted({entry.key for entry in seen}):
        revisions = [entry.revision for entry in seen if entry.key == key]
        require(revisions == sorted(set(revisions)), f"revisions of {key} came as {revisions}")


async def _watchers_apart(target: StoreTarget) -> None:
    """One that leaves, or does not read, keeps no other from being told, nor a put from returning."""
    store = target.store
    async with watching(store, "b", "") as left:
        await store.put("b", "k", b"0")
        await until(target, left, "k", b"0")
    stuck = store.watch("b")
    await store.put("b", "k", b"1")
    await anext(stuck)
    async with watching(store, "b", "") as seen:
        async with asyncio.timeout(target.answer_ms_max / 1000):
            for number in range(300):
                await store.put("b", "k", str(number).encode())
        await until(target, seen, "k", b"299")
    await close_iterator(stuck)


async def _own_copy(target: StoreTarget) -> None:
    """What was put does not change with the memory that it was put from."""
    store = target.store
    value = bytearray(b"before")
    await store.put("b", "k", value)  # type: ignore[arg-type]  # hostile on purpose
    await store.append("log", value)  # type: ignore[arg-type]
    await store.put_blob("n", value)  # type: ignore[arg-type]
    value[:] = b"after!"
    found = await store.get("b", "k")
    kept = [found.value if found else None, (await read_log(store, "log"))[0][1], await store.get_blob("n")]
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
    await close_iterator(watcher)
    left = asyncio.all_tasks() - before
    require(not left, f"closed, the store left {len(left)} tasks")


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
    *store_kept.ROWS,
    *store_refusals.ROWS,
    ("lifecycle", "closes", _closes),
]
