"""Orders to workers through the store: each reaches its worker, is answered once, and its outcome reaches whoever asked."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from rspp.contract.errors import LimitReached
from rspp.control.commands import (
    COMMAND_TTL_MS,
    WAITING_MAX,
    Command,
    CommandKind,
    Commands,
    Outcome,
    Result,
    new_command_id,
)
from rspp.control.names import COMMANDS, key
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore


def cancel(session: str = "s-1", by: str = "ada") -> Command:
    return Command(id=new_command_id(), kind=CommandKind.CANCEL, tenant="acme", session=session, by=by)


async def obey(commands: Commands, member: str, count: int, outcome: Outcome = Outcome.DONE) -> list[Command]:
    """Carry out so many orders."""
    seen: list[Command] = []
    async with aclosing(commands.watch(member)) as orders:  # type: ignore[type-var]
        async for order in orders:
            seen.append(order)
            await commands.answer(member, Result(id=order.id, outcome=outcome, message="so it is"))
            if len(seen) == count:
                break
    return seen


def test_who_gives_an_order_learns_what_came_of_it() -> None:
    async def main() -> None:
        store = MemoryStore()
        order = cancel(by="ben")
        worker = asyncio.create_task(obey(Commands(store), "w-1", 1, Outcome.REFUSED))
        result = await Commands(store).ask("w-1", order, 5_000)
        assert result == Result(id=order.id, outcome=Outcome.REFUSED, message="so it is")
        assert await worker == [order]
        assert await store.keys(COMMANDS) == []

    asyncio.run(main())


def test_an_order_reaches_its_own_worker_and_no_other() -> None:
    async def main() -> None:
        store = MemoryStore()
        commands = Commands(store)
        for member in ("w", "w-1", "w/1"):
            await commands.send(member, cancel(member))
        for member in ("w", "w-1", "w/1"):
            assert [one.session for one in await obey(commands, member, 1)] == [member]

    asyncio.run(main())


def test_nobody_answers_in_time_is_no_answer_and_the_late_one_is_still_found() -> None:
    async def main() -> None:
        commands = Commands(MemoryStore())
        order = cancel()
        assert await commands.ask("w-1", order, 20) is None
        await obey(commands, "w-1", 1)
        found = await commands.result(order.id, 1_000)
        assert found is not None
        assert found.outcome is Outcome.DONE

    asyncio.run(main())


def test_an_order_with_a_result_is_not_told_again_and_of_two_answers_the_first_stays() -> None:
    async def main() -> None:
        store = MemoryStore()
        commands = Commands(store)
        first, second = cancel("a"), cancel("b")
        await commands.send("w-1", first)
        await commands.send("w-1", first)  # a retry of whoever did not know
        await store.put("results", first.id, b'{"id":"%s","outcome":"done"}' % first.id.encode())
        await commands.send("w-1", second)
        assert [one.session for one in await obey(commands, "w-1", 1)] == ["b"]
        await commands.answer("w-1", Result(id=second.id, outcome=Outcome.FAILED))
        found = await commands.result(second.id, 1_000)
        assert found is not None
        assert found.outcome is Outcome.DONE

    asyncio.run(main())


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"id":"x","kind":"explode"}'])
def test_what_is_no_order_is_left_alone_and_hinders_nobody(data: bytes) -> None:
    async def main() -> None:
        store = MemoryStore()
        commands = Commands(store)
        await store.put(COMMANDS, key("w-1", "bad"), data)
        await commands.send("w-1", cancel("good"))
        assert [one.session for one in await obey(commands, "w-1", 1)] == ["good"]

    asyncio.run(main())


def test_an_order_under_another_name_than_its_own_is_none() -> None:
    async def main() -> None:
        store = MemoryStore()
        commands = Commands(store)
        order = cancel("forged")
        await commands.send("w-2", order)
        entry = await store.get(COMMANDS, key("w-2", order.id))
        assert entry is not None
        await store.put(COMMANDS, key("w-1", "other-id"), entry.value)
        await commands.send("w-1", cancel("good"))
        assert [one.session for one in await obey(commands, "w-1", 1)] == ["good"]

    asyncio.run(main())


def test_an_old_order_is_none_and_a_worker_that_obeys_nothing_is_given_no_more() -> None:
    async def main() -> None:
        clock = ManualClock()
        commands = Commands(MemoryStore(clock))
        for _ in range(WAITING_MAX):
            await commands.send("w-1", cancel())
        with pytest.raises(LimitReached, match="commands_waiting"):
            await commands.send("w-1", cancel())
        clock.advance(COMMAND_TTL_MS * 1_000_000 + 1)
        order = cancel("new")
        await commands.send("w-1", order)
        assert await obey(commands, "w-1", 1) == [order]

    asyncio.run(main())
