"""What an operator orders of the processes of `rspp serve --pipeline`, which ask no control plane, and are told through its store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.client import Client
from rspp.control.authority.members import MemberState
from rspp.control.commands import Command, CommandKind, Commands, Outcome, new_command_id
from rspp.control.fleet.places import own_pipelines
from rspp.host.ports import Store
from tests.e2e.serving import Serving, places, serving
from tests.e2e.test_listen import SPEC
from tests.e2e.test_serve import BRIEF, Caller

pytestmark = [pytest.mark.slow, pytest.mark.long]


async def order(store: Store, worker: str, kind: CommandKind, mode: str = "") -> Outcome | None:
    command = Command(id=new_command_id(), kind=kind, mode=mode, reason="a test", by="ada")
    result = await Commands(store).ask(worker, command, 30_000)
    return None if result is None else result.outcome


async def holder(store: Store) -> str:
    """The worker that has the only call."""
    async with asyncio.timeout(60):
        while True:
            held = [one.id for one in await places(store) if one.sessions]
            if len(held) == 1:
                return held[0]
            await asyncio.sleep(0.05)


async def until_answered(caller: Caller, more: int) -> None:
    wanted = caller.answered + more
    async with asyncio.timeout(60):
        while caller.answered < wanted:  # noqa: ASYNC110 - another process does not wake this one
            await asyncio.sleep(0.05)


def test_a_drain_moves_the_call_to_the_other_process_and_a_resume_takes_the_first_back(
    tmp_path: Path,
) -> None:
    spec, data = tmp_path / "desk.yaml", tmp_path / "data"
    spec.write_text(BRIEF)

    async def main() -> None:
        async with serving(spec, data, workers=2) as it:
            store = SqliteStore(data / "serve.db")
            caller = Caller(it, "acme")
            running = asyncio.create_task(caller.run())
            try:
                await until_answered(caller, 1)
                first = await holder(store)
                assert await order(store, first, CommandKind.DRAIN, "migrate") is Outcome.DONE
                assert await order(store, first, CommandKind.DRAIN, "migrate") is Outcome.REFUSED
                async with asyncio.timeout(60):
                    while await holder(store) == first:  # noqa: ASYNC110 - likewise
                        await asyncio.sleep(0.05)
                await until_answered(caller, 1)
                assert len(caller.sessions) == 1
                assert await state_of(store, first) is MemberState.DRAINING
                assert await order(store, first, CommandKind.RESUME) is Outcome.DONE
                await it.until_ready(2)
                assert await state_of(store, first) is MemberState.UP
            finally:
                caller.wants_end.set()
                await asyncio.wait([running], timeout=20)
                await store.close()

    asyncio.run(main())


async def state_of(store: Store, worker: str) -> MemberState:
    return next(one.state for one in await places(store) if one.id == worker)


def test_a_call_is_closed_by_order_and_a_worker_names_the_pipelines_of_its_files(tmp_path: Path) -> None:
    spec, data = tmp_path / "desk.yaml", tmp_path / "data"
    spec.write_text(SPEC)

    async def close_one(it: Serving, store: Store) -> str:
        async with Client.connect(it.url, tenant="acme") as call:
            close = Command(
                id=new_command_id(), kind=CommandKind.CLOSE, tenant="acme", session=call.welcome.session
            )
            (place,) = await places(store)
            assert own_pipelines(place) == ("desk@v1",)
            result = await Commands(store).ask(place.id, close, 30_000)
            assert result is not None
            assert result.outcome is Outcome.DONE
            return result.message

    async def main() -> None:
        async with serving(spec, data) as it:
            store = SqliteStore(data / "serve.db")
            try:
                await close_one(it, store)
                await it.until("/metrics", lambda answer: "rspp_sessions 0\n" in answer.text)
            finally:
                await store.close()

    asyncio.run(main())
