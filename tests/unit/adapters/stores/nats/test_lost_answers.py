"""The line is cut, held or slow at the worst moment: a write is done once or not at all, and nobody is told otherwise."""

from __future__ import annotations

import asyncio

import pytest

from rspp.adapters.stores.nats import NatsStore
from rspp.adapters.stores.nats.faults import UnansweredError
from rspp.contract.errors import PeerFault
from rspp.host.ports import Store
from tests.unit.adapters.stores.nats.conftest import Server, until
from tests.unit.adapters.stores.nats.relay import Relay

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


def door(server: Server, delay_s: float = 0.0) -> Relay:
    return Relay(server.cluster.nodes[0].port, delay_s)


async def value(store: Store) -> bytes | None:
    found = await store.get("b", "k")
    return None if found is None else found.value


def test_a_write_whose_answer_is_lost_is_known_again_as_ours(server: Server) -> None:
    async def main() -> None:
        namespace = server.namespace()
        near = server.store(namespace)
        async with door(server) as relay:
            far = server.store(namespace, relay.port)
            first = await far.put("b", "k", b"1", expect=0)
            relay.hold(questions=False)
            writing = asyncio.ensure_future(far.put("b", "k", b"2", expect=first))

            async def is_done() -> bool:
                return await value(near) == b"2"

            await until(is_done)
            await relay.cut()
            relay.let_go()
            found = await near.get("b", "k")
            assert found is not None
            assert await writing == found.revision
            await far.close()
        await near.close()

    asyncio.run(main())


def test_a_record_whose_answer_is_lost_is_kept_once(server: Server) -> None:
    async def main() -> None:
        namespace = server.namespace()
        near = server.store(namespace)
        async with door(server) as relay:
            far = server.store(namespace, relay.port)
            await far.append("log", b"1")
            relay.hold(questions=False)
            writing = asyncio.ensure_future(far.append("log", b"2"))

            async def is_done() -> bool:
                return len([record async for record in near.read("log")]) == 2

            await until(is_done)
            await relay.cut()
            relay.let_go()
            number = await writing
            assert [record async for record in near.read("log")] == [(1, b"1"), (number, b"2")]
            await far.close()
        await near.close()

    asyncio.run(main())


def test_a_lost_answer_to_a_write_that_others_followed_is_told_as_unknown(server: Server) -> None:
    async def main() -> None:
        namespace = server.namespace()
        near = server.store(namespace)
        async with door(server) as relay:
            far = server.store(namespace, relay.port)
            first = await far.put("b", "k", b"1", expect=0)
            relay.hold(questions=False)
            writing = asyncio.ensure_future(far.put("b", "k", b"2", expect=first))

            async def is_followed() -> bool:
                found = await near.get("b", "k")
                assert found is not None
                return found.value == b"2" and bool(await near.put("b", "k", b"3", expect=found.revision))

            await until(is_followed)
            await relay.cut()
            relay.let_go()
            with pytest.raises(PeerFault, match="may have been done") as unknown:
                await writing
            assert unknown.value.code == "store_unreachable"
            await far.close()
        await near.close()

    asyncio.run(main())


def test_an_unconditional_write_that_comes_late_does_not_undo_a_newer_one(server: Server) -> None:
    async def main() -> None:
        namespace = server.namespace()
        near = server.store(namespace)
        async with door(server) as relay:
            far = server.store(namespace, relay.port, deadline_ms=300)
            await far.put("b", "k", b"old")
            found = await near.get("b", "k")
            assert found is not None
            relay.hold(questions=False)
            writing = asyncio.ensure_future(far.put("b", "k", b"late"))
            await until(lambda: relay.held_bytes > 0)  # the answer to what stands there
            relay.hold(answers=False)
            answered = relay.held_bytes
            relay.let_go(questions=False)
            with pytest.raises(PeerFault, match="store_unreachable"):
                await writing
            assert relay.held_bytes > answered, "the write never left: the test proves nothing"
            assert await near.put("b", "k", b"newer", expect=found.revision) is not None
            relay.let_go()
            await until(lambda: relay.ended > 0)  # with all that it held
            assert await value(near) == b"newer"
            await far.close()
        await near.close()

    asyncio.run(main())


def test_a_deletion_that_comes_late_takes_nothing_newer(server: Server) -> None:
    async def main() -> None:
        namespace = server.namespace()
        near = server.store(namespace)
        async with door(server) as relay:
            far = server.store(namespace, relay.port)
            await far.put("b", "k", b"old")
            relay.hold(questions=False)
            deleting = asyncio.ensure_future(far.delete("b", "k"))
            await until(lambda: relay.held_bytes > 0)  # it knows what it deletes
            await near.put("b", "k", b"newer")
            relay.let_go()
            await deleting
            assert await value(near) == b"newer"
            await far.close()
        await near.close()

    asyncio.run(main())


def test_over_a_slow_line_everything_works_and_a_watcher_hears_all(server: Server) -> None:
    async def main() -> None:
        async with door(server, delay_s=0.003) as relay:
            store = server.store(server.namespace(), relay.port)
            revisions = await asyncio.gather(*(store.put("b", f"k{n}", b"x") for n in range(20)))
            assert len(set(revisions)) == 20
            heard = set()
            async for entry in store.watch("b"):
                heard.add(entry.key)
                if len(heard) == 20:
                    break
            await store.put_blob("n", bytes(700_000))
            assert await store.get_blob("n") == bytes(700_000)
            await store.close()
        assert relay.accepted == 1, "a slow line was given up"

    asyncio.run(main())


def test_a_question_that_nobody_answers_does_not_cost_a_line_that_is_well(server: Server) -> None:
    async def main() -> None:
        silent, asking = (server.store(server.namespace()) for _ in range(2))
        assert isinstance(silent, NatsStore)
        assert isinstance(asking, NatsStore)
        ear = await (await silent._link.connected(1)).listen(lambda _: None)
        before = await asking._link.connected(1)
        with pytest.raises(UnansweredError) as unanswered:
            await asking._link.ask(ear.subject, b"", 0.02)
        assert unanswered.value.sent
        assert await asking._link.connected(1) is before
        await ear.close()
        with pytest.raises(UnansweredError) as unanswered:
            await asking._link.ask("nobody.listens", b"", 1)
        assert not unanswered.value.sent
        await silent.close()
        await asking.close()

    asyncio.run(main())


def test_a_watcher_whose_line_is_cut_again_and_again_hears_the_last_word_in_order(server: Server) -> None:
    async def main() -> None:
        namespace = server.namespace()
        near = server.store(namespace)
        async with door(server) as relay:
            far = server.store(namespace, relay.port)
            heard: list[int] = []

            async def watch() -> None:
                async for entry in far.watch("b"):
                    heard.append(int(entry.value))  # noqa: PERF401 - read while it grows

            watching = asyncio.ensure_future(watch())
            for number in range(60):
                await near.put("b", f"k{number}", str(number).encode())
                if number % 20 == 10:
                    await relay.cut()
            await until(lambda: len(heard) >= 60)
            assert heard == list(range(60))
            await far.close()
            await watching
        await near.close()

    asyncio.run(main())


def test_a_caller_who_is_cut_off_is_told_in_time_and_goes_on_when_the_line_is_back(server: Server) -> None:
    async def main() -> None:
        namespace = server.namespace()
        near = server.store(namespace)
        async with door(server) as relay:
            far = server.store(namespace, relay.port, deadline_ms=300)
            first = await far.put("b", "k", b"1", expect=0)
            heard: list[bytes] = []

            async def watch() -> None:
                async for entry in far.watch("b"):
                    heard.append(entry.value)  # noqa: PERF401 - read while it grows

            watching = asyncio.ensure_future(watch())
            await until(lambda: heard == [b"1"])
            relay.hold()
            calls = [far.get("b", "k"), far.put("b", "k", b"x", expect=first), far.append("log", b"x")]
            for ended in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(ended, PeerFault)
                assert ended.code == "store_unreachable"
            second = await near.put("b", "k", b"2", expect=first)
            assert second is not None, "a write went through a line that is held"
            relay.let_go()
            assert await far.put("b", "k", b"x", expect=first) is None
            assert await far.put("b", "k", b"3", expect=second) is not None
            await until(lambda: heard[-1] == b"3")
            await far.close()
            await watching
        await near.close()

    asyncio.run(main())
