"""Many processes have one file: each race has one winner, each watcher the last word, and one that is killed harms nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from tests.unit.adapters.stores.sqlite.child import BLOB_BYTES
from tests.unit.adapters.stores.sqlite.conftest import Spawn, go, line

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

SWAPPERS = 4
WINS = 200
KILLS = 6


def whole(file: Path) -> bool:
    with closing(sqlite3.connect(file)) as db:
        return bool(db.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


def test_of_processes_that_replace_one_key_as_many_win_as_there_are_revisions(
    file: Path, spawn: Spawn
) -> None:
    async def main() -> None:
        children = [spawn("swap", file, WINS) for _ in range(SWAPPERS)]
        assert [await line(child) for child in children] == ["ready"] * SWAPPERS
        for child in children:
            go(child)
        lost = [int(await line(child)) for child in children]
        store = SqliteStore(file)
        found = await store.get("b", "count")
        await store.close()
        assert found is not None
        assert (found.value, found.revision) == (str(SWAPPERS * WINS).encode(), SWAPPERS * WINS)
        assert sum(lost) > 0, "nobody ever met: the test proves nothing"

    asyncio.run(main())


def test_a_writer_that_is_killed_leaves_all_that_it_was_told_is_written_and_nothing_by_halves(
    file: Path, spawn: Spawn
) -> None:
    async def main() -> None:
        reader = SqliteStore(
            file
        )  # open all the time: what the killed one leaves behind is not cleaned up by a last close
        for kill in range(KILLS):
            child = spawn("write", file)
            for _ in range(1 + 7 * kill):
                told = int(await line(child))
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            assert child.stdout is not None
            told = max([told, *map(int, child.stdout.read().split("\n")[:-1])])
            numbers = [number async for number, _ in reader.read("log")]
            assert numbers == list(range(1, len(numbers) + 1))
            blob = await reader.get_blob("blob")
            entry = await reader.get("b", "n")
            assert blob is not None
            assert entry is not None
            assert len(blob) == BLOB_BYTES
            assert len(set(blob)) == 1, "half of a blob is another's"
            assert told <= int(entry.value) <= told + 1
            assert len(numbers) >= told
        await reader.close()

    asyncio.run(main())
    assert whole(file)


def test_watchers_in_other_processes_are_told_the_last_value_of_every_key_and_of_none_that_is_gone(
    file: Path, spawn: Spawn
) -> None:
    async def main() -> None:
        store = SqliteStore(file)
        await store.put("b", "early", b"0")
        await store.put("b", "deleted", b"0")
        await store.delete("b", "deleted")
        children = [spawn("watch", file) for _ in range(2)]
        assert [await line(child) for child in children] == ["ready", "ready"]
        last = {"early": 1}
        for number in range(400):
            key = f"k{number % 7}"
            last[key] = await store.put("b", key, str(number).encode()) or 0
            if number % 50 == 0:
                await asyncio.sleep(0.03)  # spread over several looks
        last["done"] = await store.put("b", "done", b"") or 0
        for child in children:
            told: dict[str, list[int]] = {}
            while said := (await line(child)).split():
                told.setdefault(said[0], []).append(int(said[1]))
            assert {key: revisions[-1] for key, revisions in told.items()} == last
            assert all(revisions == sorted(set(revisions)) for revisions in told.values())
            assert child.wait(30) == 0
        await store.close()

    asyncio.run(main())


def test_a_watcher_is_told_of_each_change_of_another_process_while_it_waits(file: Path, spawn: Spawn) -> None:
    async def main() -> None:
        store = SqliteStore(file)
        await store.put("b", "count", b"0")
        seen: list[int] = []
        child = None
        async with asyncio.timeout(30):
            async for entry in store.watch("b"):
                seen.append(int(entry.value))
                if child is None:
                    child = spawn("swap", file, 50)
                    go(child)
                if seen[-1] == 50:
                    break
        assert seen == sorted(set(seen))
        await store.close()

    asyncio.run(main())
