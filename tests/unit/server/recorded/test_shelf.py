"""What is kept is what lies there: nobody gets what was read before what they ask for was written, and reading rests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.server.recorded import shelf
from rspp.server.recorded.places import STORE_FILE
from rspp.server.recorded.shelf import REST, TOO_LARGE
from rspp.timeline import catalogue
from rspp.timeline.spool import Spool
from tests.unit.server.recorded.given import OPERATOR, TENANT, Readers, Scene, scene, scripted, shelve
from tests.unit.timeline.calls import simulated_bytes
from tests.unit.timeline.scripted import SESSION
from tests.unit.timeline.spooled import frames, opened, renamed

pytestmark = pytest.mark.slow

CALL = renamed(simulated_bytes(7, 17), "call", TENANT)


def slowly(it: Scene, until: Callable[[int], Awaitable[None]]) -> list[int]:
    """Each reading waits for `until(number of it)` before its process is asked; the list grows with each."""
    ask, asked = it.recorded.children.ask, list[int]()

    async def waiting(*arguments: Any) -> Any:
        asked.append(len(asked))
        await until(asked[-1])
        return await ask(*arguments)

    it.recorded.children.ask = waiting  # type: ignore[method-assign,assignment]
    return asked


@pytest.mark.usefixtures("kept_as_it_was")
def test_who_asks_after_the_last_word_was_written_gets_it_though_an_older_reading_goes_on(
    readers: Readers, tmp_path: Path
) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            spool = Spool(it.data)
            spool.start()
            append = opened(spool, "call", TENANT)
            every = frames(CALL)
            for one in every[: len(every) // 2]:
                assert append.append(one)
            await spool.drained()
            gate = asyncio.Event()

            async def until(number: int) -> None:
                if number == 0:
                    await gate.wait()

            asked = slowly(it, until)
            early = asyncio.create_task(it.recorded.session(OPERATOR, TENANT, "call"))
            while not asked:  # noqa: ASYNC110 - the reading says nothing when it begins
                await asyncio.sleep(0.005)
            for one in every[len(every) // 2 :]:
                assert append.append(one)
            append.close()
            await spool.drained()
            late = asyncio.create_task(it.recorded.session(OPERATOR, TENANT, "call"))
            await asyncio.sleep(0.1)  # it has joined the reading that goes on
            gate.set()
            before, after = await early, await late
            assert before is not None
            assert after is not None
            assert len(after.turns) > len(before.turns)
            assert after.item.state == "ended"
            await spool.close()

    readers.play(main())


@pytest.mark.usefixtures("kept_as_it_was")
def test_a_call_that_goes_on_is_not_read_all_the_time(readers: Readers, tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            spool = Spool(it.data)
            spool.start()
            append = opened(spool, "call", TENANT)
            took_s = 0.2

            async def until(_: int) -> None:
                await asyncio.sleep(took_s)

            asked = slowly(it, until)
            loop = asyncio.get_running_loop()
            began = loop.time()
            for one in frames(CALL)[:-1]:
                if loop.time() - began > 2.0:
                    break
                assert append.append(one)
                await spool.drained()
                await it.recorded.session(OPERATOR, TENANT, "call")
            assert len(asked) >= 2
            assert len(asked) <= 2 + (loop.time() - began) / (took_s * (1 + REST))
            append.close()
            await spool.close()

    readers.play(main())


@pytest.mark.usefixtures("kept_as_it_was")
def test_what_is_kept_is_bounded_and_what_is_too_large_is_not_read(
    readers: Readers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            names = [f"s{number}" for number in range(4)]
            await shelve(
                it.data, {(TENANT, name): renamed(simulated_bytes(7, 17), name, TENANT) for name in names}
            )
            monkeypatch.setattr(shelf, "VIEWS_BYTES_MAX", 1_000_000)
            for name in names:
                assert await it.recorded.session(OPERATOR, TENANT, name)
            kept = it.recorded.shelf._views
            assert 1 <= len(kept) < len(names)
            assert sum(one.size for one in kept.values()) <= 1_000_000
            monkeypatch.setattr(shelf, "RECORDING_BYTES_MAX", 10)
            large = await it.recorded.session(OPERATOR, TENANT, names[0])
            assert large is not None
            assert "rspp timeline" in large.withheld
            assert large.turns == []
            assert TOO_LARGE == "recording_too_large"

    readers.play(main())


@pytest.mark.usefixtures("kept_as_it_was")
def test_a_recording_that_is_deleted_is_not_shown_from_memory(readers: Readers, tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            await shelve(it.data, scripted())
            assert await it.recorded.session(OPERATOR, TENANT, SESSION)
            store = SqliteStore(it.data / STORE_FILE)
            held = await catalogue.get(store, catalogue.key_of(TENANT, SESSION))
            assert held is not None
            held.entry.deleted_wall_ms = 1
            assert await catalogue.put(store, held.key, held.entry, held.revision)
            await store.close()
            assert await it.recorded.session(OPERATOR, TENANT, SESSION) is None
            assert (await it.recorded.timeline(OPERATOR, TENANT, SESSION, {})).total == 0

    readers.play(main())
