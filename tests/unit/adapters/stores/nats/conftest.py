"""One real server for all tests of this folder, and stores on it that know nothing of each other."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator

import pytest

from rspp.control.stores import open_store
from rspp.host.ports import Clock, Store
from rspp.host.secrets import Secrets
from rspp.testing.cluster import NatsCluster

NUMBERS = itertools.count()


class Server:
    """The cluster of one, and the addresses of fresh stores on it."""

    def __init__(self, cluster: NatsCluster) -> None:
        self.cluster = cluster

    def namespace(self) -> str:
        return f"t{next(NUMBERS)}"

    def store(
        self, namespace: str, port: int | None = None, clock: Clock | None = None, deadline_ms: int = 10_000
    ) -> Store:
        url = self.cluster.store_url_at([port or self.cluster.nodes[0].port])
        return open_store(f"{url}&namespace={namespace}&deadline_ms={deadline_ms}", Secrets(), clock)

    async def consumers(self, stream: str) -> list[str]:
        return list((await self.cluster.ask(f"CONSUMER.NAMES.{stream}")).get("consumers") or ())

    async def forget(self, stream: str, consumer: str) -> None:
        await self.cluster.ask(f"CONSUMER.DELETE.{stream}.{consumer}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    cluster = NatsCluster(tmp_path_factory.mktemp("nats") / "cluster", 1)
    asyncio.run(cluster.start())
    yield Server(cluster)
    asyncio.run(cluster.close())


async def until(holds: Callable[[], Awaitable[bool] | bool], within_s: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        found = holds()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert asyncio.get_running_loop().time() < deadline, "it did not come about in time"
        await asyncio.sleep(0.005)
