"""The engine over the stores that there are: two processes' worth of writers, one engine, nothing missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rspp.control.authority.members import MemberState
from rspp.control.names import key
from rspp.control.stores import open_store
from rspp.host.secrets import Secrets
from rspp.ops.coverage import GRACE_MS
from rspp.server.state import Told, telling
from rspp.testing.cluster import NatsCluster
from tests.unit.ops.test_snapshots import worker


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[str]:
    yield f"sqlite:///{folder / 'state.db'}"


@asynccontextmanager
async def jetstream(folder: Path) -> AsyncIterator[str]:
    async with NatsCluster(folder, 1) as cluster:
        yield cluster.store_url


@asynccontextmanager
async def process(url: str, name: str) -> AsyncIterator[Told]:
    store = open_store(url, Secrets())
    try:
        async with telling(store, source=name) as told:
            yield told
    finally:
        await store.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not holds():  # noqa: ASYNC110 - another store's writes wake nobody here
            await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("where", [sqlite, jetstream])
def test_what_two_processes_write_is_seen_told_and_covered_and_what_goes_is_gone(
    tmp_path: Path, where: Callable[[Path], object]
) -> None:
    async def main() -> None:
        async with (
            where(tmp_path) as url,  # type: ignore[attr-defined]
            process(url, "one") as one,
            process(url, "two") as two,
            process(url, "console") as console,
        ):
            engine = console.engine()
            await engine.load()
            running = asyncio.create_task(engine.run())
            rows = engine.snapshots.rows
            for number in range(20):
                for told in (one, two):
                    await told.store.put(*worker(f"w{number % 4}", sessions=number))
            await until(lambda: len(rows("workers")) == 4 and engine.sequence >= 40)
            await one.store.put(*worker("w0", state=MemberState.LOST, reason="killed"))
            await until(lambda: [one.code for one in engine.health().reasons] == ["worker_lost"])
            await two.store.put(*worker("short"), ttl_ms=1_000)
            await two.store.delete("members", key("w1"))
            await until(lambda: {one.aggregate_id for one in rows("workers")} == {"w0", "w2", "w3"})
            await asyncio.sleep(GRACE_MS / 1000 + 0.5)
            status = await engine.status()
            assert [one.surface for one in status.surfaces if one.uncovered] == []
            # 41 writes and one that expires; one deletion, and one that was found.
            assert status.records == 20 * 2 + 2 + 2
            again = console.engine()
            await again.load()
            assert again.health().reasons == engine.health().reasons
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(main())
