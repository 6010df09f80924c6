"""What a store on a server does beyond the suite: expiry, limits, many who begin at once, restarts, refusals."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from rspp.adapters.stores.nats.room import Room
from rspp.contract.errors import LimitReached, MisuseError, PeerFault
from rspp.control.stores import open_store
from rspp.host.ports import Entry
from rspp.host.secrets import Secrets
from rspp.testing.clock import ManualClock
from rspp.testing.cluster import NatsCluster
from rspp.testing.cluster_files import PAYLOAD_BYTES_MAX, free_ports
from tests.unit.adapters.stores.nats.conftest import Server, until

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


def test_what_is_over_is_not_replaced_though_the_server_still_has_it(server: Server) -> None:
    async def main() -> None:
        clock = ManualClock()
        namespace = server.namespace()
        store, other = server.store(namespace, clock=clock), server.store(namespace, clock=clock)
        first = await store.put("b", "k", b"1", ttl_ms=60_000)
        assert first is not None
        clock.advance(60_000)
        for one in (store, other):  # one knows the end of what it wrote, the other must ask
            assert await one.put("b", "k", b"2", expect=first) is None
            assert await one.get("b", "k") is None
            assert await one.keys("b") == []
        second = await other.put("b", "k", b"3", expect=0)
        assert second is not None
        assert second > first
        await store.close()
        await other.close()

    asyncio.run(main())


@pytest.mark.slow
def test_the_server_itself_removes_what_is_over(server: Server) -> None:
    async def main() -> None:
        namespace = server.namespace()
        store = server.store(namespace)
        await store.put("b", "k", b"1", ttl_ms=1)

        async def is_gone() -> bool:
            return bool((await server.cluster.stream(f"{namespace}_keys"))["state"]["messages"] == 0)

        await until(is_gone)
        await store.close()

    asyncio.run(main())


def test_many_who_begin_at_once_make_one_store(server: Server) -> None:
    async def main() -> None:
        namespace = server.namespace()
        stores = [server.store(namespace) for _ in range(12)]
        numbers = await asyncio.gather(*(store.append("log", b"x") for store in stores))
        assert sorted(numbers) == list(range(1, 13))
        await asyncio.gather(*(store.close() for store in stores))

    asyncio.run(main())


def test_a_stream_of_somebody_else_is_left_alone(server: Server) -> None:
    async def main() -> None:
        namespace = server.namespace()
        settings = {"name": f"{namespace}_keys", "subjects": [f"{namespace}.k.>"], "allow_direct": True}
        await server.cluster.ask(f"STREAM.CREATE.{namespace}_keys", settings)
        store = server.store(namespace)
        with pytest.raises(PeerFault, match="another namespace") as refused:
            await store.put("b", "k", b"1")
        assert refused.value.code == "store_damaged"
        assert (await server.cluster.stream(f"{namespace}_keys"))["state"]["messages"] == 0
        await store.close()

    asyncio.run(main())


def test_a_value_above_the_servers_limit_is_refused_by_its_name_and_a_blob_is_not(server: Server) -> None:
    async def main() -> None:
        store = server.store(server.namespace())
        large = bytes(PAYLOAD_BYTES_MAX)
        for call in (store.put("b", "k", large), store.append("log", large)):
            with pytest.raises(LimitReached, match=f"{PAYLOAD_BYTES_MAX} bytes.*max_payload") as refused:
                await call
            assert refused.value.code == "payload_too_large"
        fits = bytes(PAYLOAD_BYTES_MAX - 4_096)
        await store.put("b", "k", fits)
        await store.put_blob("n", large)
        assert await store.get_blob("n") == large
        await store.close()

    asyncio.run(main())


def test_a_blob_that_is_replaced_or_deleted_leaves_no_pieces(server: Server) -> None:
    async def main() -> None:
        namespace = server.namespace()
        store = server.store(namespace)
        for size in (600_000, 900_000, 5):
            await store.put_blob("n", bytes(size))
        assert (await server.cluster.stream(f"{namespace}_blobs"))["state"]["messages"] == 1
        await store.put_blob("n", bytes(600_000))
        await store.delete_blob("n")
        assert (await server.cluster.stream(f"{namespace}_blobs"))["state"]["messages"] == 0
        await store.close()

    asyncio.run(main())


def test_a_watcher_misses_nothing_when_the_server_restarts(tmp_path: Path) -> None:
    async def main() -> None:
        async with NatsCluster(tmp_path / "c", 1) as cluster:
            store = open_store(cluster.store_url, Secrets())
            seen: list[Entry] = []

            async def watch() -> None:
                async for entry in store.watch("b"):
                    seen.append(entry)  # noqa: PERF401 - read while it grows

            await store.put("b", "before", b"1")
            watching = asyncio.ensure_future(watch())
            await until(lambda: len(seen) == 1)
            await cluster.kill("n1")
            writing = asyncio.ensure_future(store.put("b", "during", b"2"))
            await cluster.restart("n1")
            assert await writing is not None
            await store.put("b", "after", b"3")
            await until(lambda: len(seen) >= 3)
            assert [(entry.key, entry.value) for entry in seen] == [
                ("before", b"1"),
                ("during", b"2"),
                ("after", b"3"),
            ]
            await store.close()
            await watching

    asyncio.run(main())


def test_a_watcher_whom_the_server_has_forgotten_goes_on_where_it_was(server: Server) -> None:
    async def main() -> None:
        namespace = server.namespace()
        store = server.store(namespace)
        await store.put("b", "k", b"1")
        watcher = store.watch("b")
        assert (await anext(watcher)).value == b"1"
        for name in await server.consumers(f"{namespace}_keys"):
            await server.forget(f"{namespace}_keys", name)
        await store.put("b", "k", b"2")
        async with asyncio.timeout(10):
            assert (await anext(watcher)).value == b"2"
        await store.close()
        with pytest.raises(StopAsyncIteration):
            await anext(watcher)

    asyncio.run(main())


def test_who_stops_watching_leaves_nothing_with_the_server(server: Server) -> None:
    async def main() -> None:
        namespace = server.namespace()
        store = server.store(namespace)
        await store.put("b", "k", b"1")
        watcher = store.watch("b")
        await anext(watcher)
        assert len(await server.consumers(f"{namespace}_keys")) == 1
        await watcher.aclose()  # type: ignore[attr-defined]  # an async generator

        async def are_gone() -> bool:
            return not await server.consumers(f"{namespace}_keys")

        await until(are_gone)
        await store.close()

    asyncio.run(main())


def test_where_nobody_listens_a_call_ends_at_its_deadline(server: Server) -> None:
    async def main() -> None:
        store = server.store(server.namespace(), free_ports(1)[0], deadline_ms=200)
        clock = asyncio.get_running_loop().time
        began = clock()
        with pytest.raises(PeerFault, match="it was not done") as failed:
            await store.put("b", "k", b"1")
        assert failed.value.code == "store_unreachable"
        assert clock() - began < 3
        await store.close()

    asyncio.run(main())


def test_a_wrong_password_is_told_at_once_and_shown_nowhere(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    word = "s3cret-that-is-wrong"

    async def main() -> None:
        url = f"nats://127.0.0.1:{server.cluster.nodes[0].port}?user=rspp&password=env://WORD"
        store = open_store(url, Secrets({"WORD": word}))
        assert word not in repr(vars(store)) + repr(store)
        with pytest.raises(PeerFault) as failed:
            await store.get("b", "k")
        assert failed.value.code == "store_unauthorized"
        assert word not in str(failed.value)
        await store.close()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())
    assert word not in caplog.text


def test_more_calls_than_there_is_room_for_are_refused_at_once() -> None:
    async def main() -> None:
        room = Room(2, 100, 1)
        gate = asyncio.Event()

        async def call(size: int) -> None:
            async with room.taken(size):
                await gate.wait()

        calls = [asyncio.ensure_future(call(40)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(LimitReached, match="2 calls wait"):
            await call(1)
        calls[1].cancel()
        await asyncio.wait([calls[1]])
        with pytest.raises(LimitReached, match="40 bytes"):
            await call(61)
        gate.set()
        await room.emptied()
        await call(100)
        assert calls[0].done()

    asyncio.run(main())


def test_a_closed_store_does_not_connect_again(server: Server) -> None:
    async def main() -> None:
        store = server.store(server.namespace())
        await store.append("log", b"1")
        reading = store.read("log")
        await store.close()
        with pytest.raises(MisuseError, match="store_closed"):
            await anext(reading)

    asyncio.run(main())
