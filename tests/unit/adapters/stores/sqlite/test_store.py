"""A store in a file outlives whoever opened it, tells time by its clock, and never keeps the loop waiting."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from rspp.adapters.stores.sqlite import SqliteStore, keys, logs, worker
from rspp.adapters.stores.sqlite.keys import CLEARED_MAX, behind
from rspp.adapters.stores.sqlite.watching import POLL_MS, WATCHERS_MAX
from rspp.contract.errors import LimitReached, MisuseError, PeerFault
from rspp.contract.event import NS_PER_MS
from rspp.host.ports import Entry
from rspp.testing.clock import ManualClock


def on(file: Path, body: Callable[[SqliteStore], Awaitable[None]], clock: ManualClock | None = None) -> None:
    """The body with a store that is closed at its end."""

    async def main() -> None:
        store = SqliteStore(file, clock)
        try:
            async with asyncio.timeout(30):
                await body(store)
        finally:
            await store.close()

    asyncio.run(main())


def rows(file: Path, table: str) -> int:
    with closing(sqlite3.connect(file)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def records(store: SqliteStore, log: str, after: int = 0) -> list[tuple[int, bytes]]:
    return [record async for record in store.read(log, after)]


@asynccontextmanager
async def held(store: SqliteStore) -> AsyncIterator[None]:
    """The store's thread is at something that takes long."""
    begun, over = threading.Event(), threading.Event()

    def wait(_: sqlite3.Connection) -> None:
        begun.set()
        over.wait(20)

    job = asyncio.ensure_future(store._worker.run_own(wait))
    await asyncio.to_thread(begun.wait, 20)
    try:
        yield
    finally:
        over.set()
        await job


# ---- what outlives a store ------------------------------------------------------------------------------------------


def test_a_restart_keeps_everything_and_goes_on_counting(file: Path) -> None:
    async def before(store: SqliteStore) -> None:
        await store.put("b", "gone", b"x")
        await store.put("b", "k", b"kept")
        await store.delete("b", "gone")
        for number in range(5):
            await store.append("log", str(number).encode())
        await store.trim("log", 5)
        await store.append("log", b"kept")
        await store.put_blob("blob", b"kept")

    async def after(store: SqliteStore) -> None:
        assert await store.get("b", "k") == Entry("k", b"kept", 2)
        assert await store.put("b", "gone", b"back") == 3
        assert await records(store, "log") == [(6, b"kept")]
        assert await store.append("log", b"next") == 7
        assert await store.get_blob("blob") == b"kept"

    on(file, before)
    on(file, after)


def test_a_closed_store_leaves_one_file(file: Path) -> None:
    async def body(store: SqliteStore) -> None:
        await store.put("b", "k", b"1")

    on(file, body)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_store_that_nobody_asked_anything_makes_no_file(file: Path) -> None:
    async def body(_: SqliteStore) -> None: ...

    on(file, body)
    assert not file.exists()


def test_what_was_asked_for_before_the_close_is_done(file: Path) -> None:
    async def main() -> None:
        store = SqliteStore(file)
        puts = [asyncio.ensure_future(store.put("b", f"k{n}", b"1")) for n in range(50)]
        await asyncio.sleep(0)
        await asyncio.gather(store.close(), store.close())
        assert sorted(await asyncio.gather(*puts), key=lambda revision: revision or 0) == list(range(1, 51))

    asyncio.run(main())
    assert rows(file, "keys") == 50


def test_a_put_that_fails_half_way_leaves_no_trace(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(store: SqliteStore) -> None:
        await store.put("b", "k", b"1")
        with monkeypatch.context() as patched:
            patched.setattr(keys, "_CLEAR", "SELECT missing FROM keys")
            with pytest.raises(PeerFault, match="store_damaged"):
                await store.put("b", "k", b"2")
        assert await store.get("b", "k") == Entry("k", b"1", 1)
        assert await store.put("b", "k", b"3") == 2

    on(file, body)


def test_a_log_longer_than_a_page_is_read_as_it_stood_when_reading_began(file: Path) -> None:
    async def body(store: SqliteStore) -> None:
        for number in range(keys.PAGE_ROWS_MAX * 2 + 7):
            await store.append("log", str(number).encode())
        found = []
        async for number, _ in store.read("log"):
            found.append(number)
            if number == 1:
                await store.append("log", b"later")
        assert found == list(range(1, keys.PAGE_ROWS_MAX * 2 + 8))
        large = bytes(keys.PAGE_BYTES_MAX // 2 + 1)
        for _ in range(5):
            await store.append("large", large)
        assert [len(record) for _, record in await records(store, "large")] == [len(large)] * 5

    on(file, body)


def test_a_long_log_is_trimmed_in_lots(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "TRIMMED_MAX", 10)

    async def body(store: SqliteStore) -> None:
        for number in range(95):
            await store.append("log", str(number).encode())
        await store.trim("log", 93)
        assert await records(store, "log") == [(94, b"93"), (95, b"94")]

    on(file, body)
    assert rows(file, "records") == 2


def test_what_was_deleted_is_not_in_the_file_any_more(file: Path) -> None:
    async def body(store: SqliteStore) -> None:
        await store.put("b", "k", b"secret-in-a-key" * 500)
        await store.append("log", b"secret-in-a-log" * 500)
        await store.put_blob("blob", b"secret-in-a-blob" * 500)
        await store.put("b", "other", b"stays")
        await store.delete("b", "k")
        await store.trim("log", 1)
        await store.delete_blob("blob")

    on(file, body)
    kept = file.read_bytes()
    assert b"secret-in" not in kept
    assert b"stays" in kept


# ---- time -----------------------------------------------------------------------------------------------------------


def test_time_is_that_of_the_clock_that_was_given_and_holds_for_every_store_of_the_file(file: Path) -> None:
    """Two processes' monotonic clocks have nothing in common; their time of day has."""

    async def body(store: SqliteStore) -> None:
        clock = ManualClock(now=10**15)
        other = SqliteStore(file, clock)
        await store.put("b", "k", b"1", ttl_ms=1_000)
        assert await other.keys("b") == ["k"]
        clock.advance(999)
        assert await other.get("b", "k") is not None
        clock.advance(1)
        assert await other.get("b", "k") is None
        assert await other.keys("b") == []
        assert await store.get("b", "k") is not None, "its own clock stands still"
        await other.close()

    on(file, body, ManualClock(now=5))


def test_a_time_to_live_of_nothing_is_over_at_once_and_one_of_ten_years_is_not(file: Path) -> None:
    async def body(store: SqliteStore) -> None:
        revision = await store.put("b", "k", b"1", ttl_ms=0)
        assert await store.get("b", "k") is None
        assert await store.put("b", "k", b"2", expect=revision) is None
        await store.put("b", "k", b"3", expect=0, ttl_ms=10 * 365 * 24 * 3_600_000)
        assert await store.get("b", "k") is not None

    on(file, body, ManualClock())


def test_expired_rows_are_cleared_by_later_puts_a_bounded_lot_at_a_time(file: Path) -> None:
    clock = ManualClock()

    async def body(store: SqliteStore) -> None:
        for number in range(CLEARED_MAX * 2):
            await store.put("b", f"k{number}", b"1", ttl_ms=10)
        clock.advance(10)
        assert await store.keys("b") == []
        assert rows(file, "keys") == CLEARED_MAX * 2
        await store.put("b", "stays", b"1")
        assert rows(file, "keys") == CLEARED_MAX + 1
        await store.put("b", "stays", b"2")
        assert rows(file, "keys") == 1

    on(file, body, clock)


def test_an_expired_key_is_not_told_to_who_comes_later(file: Path) -> None:
    clock = ManualClock()

    async def body(store: SqliteStore) -> None:
        await store.put("b", "gone", b"1", ttl_ms=10)
        await store.put("b", "there", b"1", ttl_ms=20)
        clock.advance(10)
        watcher = store.watch("b")
        assert (await anext(watcher)).key == "there"
        await watcher.aclose()  # type: ignore[attr-defined]

    on(file, body, clock)


def test_the_machines_time_is_used_when_no_clock_is_given(file: Path) -> None:
    async def body(store: SqliteStore) -> None:
        await store.put("b", "k", b"1", ttl_ms=50)
        with closing(sqlite3.connect(file)) as db:
            (expires_at,) = db.execute("SELECT expires_at FROM keys").fetchone()
        assert 0 < expires_at - store._clock.wall() <= 50 * NS_PER_MS

    on(file, body)


# ---- watching -------------------------------------------------------------------------------------------------------


def test_a_watcher_of_more_than_a_page_is_told_every_key_in_order(file: Path) -> None:
    async def body(store: SqliteStore) -> None:
        count = keys.PAGE_ROWS_MAX * 2 + 3
        for number in range(count):
            await store.put("b", f"k{number}", b"1")
        watcher = store.watch("b")
        assert [(await anext(watcher)).revision for _ in range(count)] == list(range(1, count + 1))
        await watcher.aclose()  # type: ignore[attr-defined]

    on(file, body)


def test_a_put_whose_caller_stopped_waiting_is_told_all_the_same(file: Path) -> None:
    async def body(store: SqliteStore) -> None:
        await store.put("b", "before", b"1")
        watcher = store.watch("b")
        await anext(watcher)
        told = asyncio.ensure_future(anext(watcher))
        await asyncio.sleep(POLL_MS * 2 / 1000)  # it waits, and the first look of the poll is over
        begun, go_on = threading.Event(), threading.Event()
        plain = keys.put

        def slow(*how: object) -> int | None:
            begun.set()
            go_on.wait(20)
            return plain(*how)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(keys, "put", slow)
            put = asyncio.ensure_future(store.put("b", "k", b"2"))
            await asyncio.to_thread(begun.wait, 20)
            put.cancel()
            await asyncio.wait([put])
            go_on.set()
            entry = await told
        assert (entry.key, entry.value) == ("k", b"2")
        assert put.cancelled()
        await watcher.aclose()  # type: ignore[attr-defined]

    on(file, body)


def test_the_last_watcher_to_leave_ends_the_looking(file: Path) -> None:
    async def body(store: SqliteStore) -> None:
        await store.put("b", "k", b"1")
        before = asyncio.all_tasks()
        watchers = [store.watch("b") for _ in range(2)]
        for watcher in watchers:
            await anext(watcher)
        assert len(asyncio.all_tasks() - before) == 1
        for watcher in watchers:
            await watcher.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before

    on(file, body)


def test_watchers_have_a_bound(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.adapters.stores.sqlite.watching.WATCHERS_MAX", 2)
    assert WATCHERS_MAX > 2

    async def body(store: SqliteStore) -> None:
        await store.put("b", "k", b"1")
        watchers = [store.watch("b") for _ in range(3)]
        await anext(watchers[0])
        await anext(watchers[1])
        with pytest.raises(LimitReached, match="store_overloaded"):
            await anext(watchers[2])
        await watchers[0].aclose()  # type: ignore[attr-defined]
        again = store.watch("b")
        assert (await anext(again)).key == "k"

    on(file, body)


def test_those_who_watch_are_served_however_many_calls_wait(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(store: SqliteStore) -> None:
        await store.put("b", "k", b"1")
        other = SqliteStore(file)
        with monkeypatch.context() as patched:
            watcher = store.watch("b")
            assert (await anext(watcher)).revision == 1
            await other.put("b", "k", b"2")
            patched.setattr(worker, "WAITING_MAX", 0)
            with pytest.raises(LimitReached, match="store_overloaded"):
                await store.get("b", "k")
            assert (await anext(watcher)).revision == 2
        await watcher.aclose()  # type: ignore[attr-defined]
        await other.close()

    on(file, body)


# ---- what waits -----------------------------------------------------------------------------------------------------


def test_the_loop_runs_while_the_file_is_slow(file: Path) -> None:
    async def body(store: SqliteStore) -> None:
        async with held(store):
            put = asyncio.ensure_future(store.put("b", "k", b"1"))
            for _ in range(100):
                await asyncio.sleep(0)
            assert not put.done()
        assert await put == 1

    on(file, body)


def test_too_many_calls_at_once_are_refused_and_those_before_are_done(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "WAITING_MAX", 20)

    async def body(store: SqliteStore) -> None:
        async with held(store):
            waiting = [asyncio.ensure_future(store.append("log", str(n).encode())) for n in range(20)]
            await asyncio.sleep(0)
            for call in (store.put("b", "k", b"1"), store.get("b", "k"), store.blobs()):
                with pytest.raises(LimitReached, match="store_overloaded"):
                    await call
        assert await asyncio.gather(*waiting) == list(range(1, 21))
        assert await store.put("b", "k", b"1") == 1

    on(file, body)


def test_what_waits_has_a_bound_in_bytes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "WAITING_BYTES_MAX", 1_000)

    async def body(store: SqliteStore) -> None:
        async with held(store):
            waiting = asyncio.ensure_future(store.put_blob("one", bytes(600)))
            await asyncio.sleep(0)
            with pytest.raises(LimitReached, match="store_overloaded"):
                await store.put_blob("two", bytes(401))
            small = asyncio.ensure_future(store.put_blob("three", bytes(400)))
            await asyncio.sleep(0)
        await asyncio.gather(waiting, small)
        await store.put_blob("two", bytes(1_000))
        assert await store.blobs() == ["one", "three", "two"]

    on(file, body)


def test_a_call_that_is_given_up_before_it_begins_is_not_done_and_frees_its_room(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "WAITING_MAX", 1)

    async def body(store: SqliteStore) -> None:
        async with held(store):
            put = asyncio.ensure_future(store.put("b", "k", b"1"))
            await asyncio.sleep(0)
            put.cancel()
            await asyncio.wait([put])
        assert await store.get("b", "k") is None
        assert await store.put("b", "k", b"2") == 1

    on(file, body)


def test_a_store_closed_while_a_log_is_read_says_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "PAGE_BYTES_MAX", 1)
    monkeypatch.setattr(logs, "PAGE_BYTES_MAX", 1)

    async def body(store: SqliteStore) -> None:
        for _ in range(3):
            await store.append("log", b"12")
        reader = store.read("log")
        await anext(reader)
        await store.close()
        with pytest.raises(MisuseError, match="store_closed"):
            await anext(reader)

    on(file, body)


@pytest.mark.parametrize(
    ("prefix", "first"),
    [
        ("", b""),
        ("a", "b"),
        ("a/", "a0"),
        ("ü", "ý"),
        ("a\ud7ff", "a\ue000"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff\U0010ffff", b""),
    ],
)
def test_what_comes_behind_a_prefix(prefix: str, first: str | bytes) -> None:
    assert behind(prefix) == first
