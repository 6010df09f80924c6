"""What the checks of a store stand on: the store with its time, who watches it, and what a refusal is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from rspp.contract.errors import RsppError
from rspp.host.ports import Entry, Store
from rspp.testing.conformance.checks import CheckFailedError, require


async def _sleep(ms: float) -> None:
    await asyncio.sleep(ms / 1000)


class StoreTarget(msgspec.Struct, kw_only=True):
    """A store, how time passes for it, and how patient to be. `ttl_ms` is a time to live that it can keep.

    `another` opens the same store once more, as another process would.
    """

    store: Store
    another: Callable[[], Store] | None = None
    pass_ms: Callable[[float], Awaitable[None]] = _sleep
    ttl_ms: int = 200
    answer_ms_max: float = 5_000


Body = Callable[[StoreTarget], Awaitable[None]]
Row = tuple[str, str, Body]


@asynccontextmanager
async def watching(store: Store, bucket: str, prefix: str) -> AsyncIterator[list[Entry]]:
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


async def until(target: StoreTarget, seen: Sequence[Entry], key: str, value: bytes) -> None:
    deadline = asyncio.get_running_loop().time() + target.answer_ms_max / 1000
    while not any(entry.key == key and entry.value == value for entry in seen):
        if asyncio.get_running_loop().time() > deadline:
            raise CheckFailedError(f"a watcher was not told that {key} is {value!r}")
        await asyncio.sleep(0.005)


async def refused(kind: type[RsppError], calls: Mapping[str, Awaitable[object]]) -> None:
    """Each of the calls, made at once, is refused in this way."""
    ended = await asyncio.gather(*calls.values(), return_exceptions=True)
    for what, end in zip(calls, ended, strict=True):
        require(isinstance(end, kind), f"{what} should raise {kind.__name__}, and came to {end!r:.80}")


async def close_iterator(iterator: AsyncIterator[Entry]) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()


async def read_log(store: Store, log: str, after: int = 0) -> list[tuple[int, bytes]]:
    return [record async for record in store.read(log, after)]


def an_int(revision: int | None) -> int:
    if revision is None:
        raise CheckFailedError("a put that nothing forbids was refused")
    return revision
