"""A file that is no store, or cannot be written, is refused with its reason, and left as it was."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rspp.adapters.stores.sqlite import SqliteStore, faults, worker
from rspp.adapters.stores.sqlite.file import SCHEMA_VERSION
from rspp.contract.codes import CODES
from rspp.contract.errors import InvariantBreach, LimitReached, PeerFault, RsppError
from tests.unit.adapters.stores.sqlite.conftest import Spawn, line


def on(store: SqliteStore, body: Callable[[SqliteStore], Awaitable[None]]) -> None:
    async def main() -> None:
        try:
            async with asyncio.timeout(30):
                await body(store)
        finally:
            await store.close()

    asyncio.run(main())


def refused(file: Path, code: str) -> RsppError:
    """Whatever is asked of this file is refused so, each time."""
    errors: list[RsppError] = []

    async def body(store: SqliteStore) -> None:
        for call in (store.get("b", "k"), store.put("b", "k", b"1"), anext(store.watch("b"))):
            with pytest.raises(PeerFault, match=code) as caught:
                await call
            errors.append(caught.value)

    on(SqliteStore(file), body)
    assert {error.code for error in errors} == {code}
    return errors[0]


async def fill(store: SqliteStore) -> None:
    for number in range(20):
        await store.put("b", f"k{number}", bytes(3_000))
        await store.append("log", bytes(3_000))
    await store.put_blob("blob", bytes(300_000))


# ---- files that are no store ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"no database at all" * 100, b"SQLite format 3\0" + bytes(range(256)) * 16],
    ids=["text", "header"],
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    refused(file, "store_damaged")
    assert file.read_bytes() == content


def test_the_database_of_another_program_is_refused_and_left_alone(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE theirs (x)")
    content = file.read_bytes()
    assert "not a store of RSPP" in str(refused(file, "store_damaged"))
    assert file.read_bytes() == content
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_store_of_a_newer_version_is_refused_and_left_alone(file: Path) -> None:
    on(SqliteStore(file), fill)
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (SCHEMA_VERSION + 1,))
        db.commit()
        db.execute("PRAGMA journal_mode = DELETE")
    content = file.read_bytes()
    error = refused(file, "schema_version_unsupported")
    assert f"its schema is {SCHEMA_VERSION + 1}" in str(error)
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE meta",
        "DELETE FROM meta",
        "UPDATE meta SET value = 'one' WHERE name = 'schema'",
        "DROP TABLE keys",
    ],
)
def test_a_store_whose_tables_were_meddled_with_is_refused(file: Path, statement: str) -> None:
    on(SqliteStore(file), fill)
    with closing(sqlite3.connect(file)) as db:
        db.execute(statement)
        db.commit()
    refused(file, "store_damaged")


def test_a_store_that_was_cut_off_is_refused(file: Path) -> None:
    on(SqliteStore(file), fill)
    os.truncate(file, 8_192)

    async def body(store: SqliteStore) -> None:
        with pytest.raises(PeerFault, match="store_damaged"):
            await fill(store)

    on(SqliteStore(file), body)


def test_a_store_with_a_page_of_nonsense_says_so_where_it_is_read(file: Path) -> None:
    on(SqliteStore(file), fill)
    content = bytearray(file.read_bytes())
    with closing(sqlite3.connect(file)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'records'").fetchone()
    content[(page - 1) * 4_096 : page * 4_096] = b"\xff" * 4_096
    file.write_bytes(content)

    async def body(store: SqliteStore) -> None:
        with pytest.raises(PeerFault, match="store_damaged"):
            await anext(store.read("log"))
        assert len(await store.keys("b")) == 20

    on(SqliteStore(file), body)


def test_a_name_in_the_file_that_is_no_text_says_so(file: Path) -> None:
    on(SqliteStore(file), fill)
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE blobs SET name = CAST(x'ff80' AS TEXT)")
        db.commit()

    async def body(store: SqliteStore) -> None:
        with pytest.raises(PeerFault, match="store_damaged"):
            await store.blobs()

    on(SqliteStore(file), body)


def test_an_empty_file_becomes_a_store(file: Path) -> None:
    file.touch()
    on(SqliteStore(file), fill)


def test_the_store_that_was_refused_is_opened_by_the_next_call_once_its_file_is_mended(file: Path) -> None:
    file.write_bytes(b"no database")

    async def body(store: SqliteStore) -> None:
        with pytest.raises(PeerFault):
            await store.get("b", "k")
        await asyncio.to_thread(file.unlink)
        assert await store.put("b", "k", b"1") == 1

    on(SqliteStore(file), body)


# ---- places where no file can be ------------------------------------------------------------------------------------


def test_a_folder_is_no_store_and_a_file_is_no_folder(file: Path) -> None:
    refused(file.parent, "store_unusable")
    file.touch()
    refused(file / "below.db", "store_unusable")
    refused(Path("/proc/none/store.db"), "store_unusable")


@pytest.mark.parametrize("name", [":memory:", "file:store.db?mode=memory", "store.db"])
def test_a_name_is_a_file_and_stays_where_it_was_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    store = SqliteStore(Path(name))
    monkeypatch.chdir(tmp_path / "other")
    on(store, fill)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "other"])
    assert list((tmp_path / "other").iterdir()) == []


def test_folders_on_the_way_are_made_and_only_the_owner_reads_the_store(file: Path) -> None:
    deep = file.parent / "a" / "b" / "store.db"

    async def body(store: SqliteStore) -> None:
        await store.put("b", "k", b"1")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in deep.parent.iterdir()}
        assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}

    on(SqliteStore(deep), body)


def test_the_rights_that_somebody_gave_a_file_stay(file: Path) -> None:
    on(SqliteStore(file), fill)
    file.chmod(0o640)
    on(SqliteStore(file), fill)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "told"),
    [
        (None, 0o555, ["store_unusable", "store_unusable"]),
        (0o444, 0o777, ["store_unusable", "none"]),
        (0o444, 0o555, ["store_unusable", "store_unusable"]),
    ],
    ids=["a read-only folder", "a read-only file can be read", "nor without a place for the log beside it"],
)
def test_what_may_not_be_written_says_so(
    open_folder: Path, spawn: Spawn, file_mode: int | None, folder_mode: int, told: list[str]
) -> None:
    """A put and then a get, by a user without rights."""
    file = open_folder / "store.db"
    if file_mode is not None:
        on(SqliteStore(file), fill)
        file.chmod(file_mode)
    open_folder.chmod(folder_mode)
    child = spawn("as_nobody", file)

    async def main() -> None:
        assert [await line(child), await line(child)] == told

    asyncio.run(main())


# ---- no room --------------------------------------------------------------------------------------------------------


async def appended_until_full(store: SqliteStore) -> int:
    """The number of the last record that had room."""
    for number in range(1_000):
        try:
            await store.append("log", bytes(10_000))
        except LimitReached as error:
            return number if error.code == "store_full" else -1
    return -1


def test_a_store_that_is_full_says_so_keeps_what_it_has_and_takes_more_once_there_is_room(file: Path) -> None:
    async def body(store: SqliteStore) -> None:
        await store.put("b", "k", b"kept")
        await store.put_blob("large", bytes(300_000))
        number = await appended_until_full(store)
        assert number > 10
        with pytest.raises(LimitReached, match="store_full"):
            await store.put_blob("large", b"x" * 900_000)
        assert [found async for found, _ in store.read("log")] == list(range(1, number + 1))
        assert await store.get_blob("large") == bytes(300_000)
        await store.delete_blob("large")
        assert await store.append("log", bytes(10_000)) == number + 1
        assert await store.get("b", "k") is not None

    on(SqliteStore(file, file_bytes_max=1_000_000), body)
    assert file.stat().st_size <= 1_000_000


def test_a_write_that_the_system_refuses_is_told_and_undone_and_the_next_one_goes_through(
    file: Path, spawn: Spawn
) -> None:
    child = spawn("squeeze", file)

    async def main() -> None:
        assert await line(child) == "store_io_failed"
        assert await line(child) == "True", "after the failure the log had a hole, or a record twice"

    asyncio.run(main())
    assert child.wait(30) == 0


def test_an_error_of_the_disk_is_told_by_who_must_act() -> None:
    path = Path("store.db")
    full = faults.of_disk(OSError(28, "No space left on device"), path)
    assert (type(full), full.code) == (LimitReached, "store_full")
    other = faults.of_disk(PermissionError(13, "Permission denied"), path)
    assert (type(other), other.code, str(path) in str(other)) == (PeerFault, "store_unusable", True)


def test_every_fault_of_the_table_has_a_code_and_what_is_not_in_it_is_ours() -> None:
    for kind, code in faults._FAULTS.values():
        assert code in CODES
        assert issubclass(kind, RsppError)
    ours = faults.of_sqlite(sqlite3.ProgrammingError("wrong number of bindings"), Path("store.db"))
    assert isinstance(ours, InvariantBreach)
    failed = sqlite3.OperationalError("disk I/O error")
    failed.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    assert faults.of_sqlite(failed, Path("store.db")).code == "store_io_failed"


# ---- others at the file ---------------------------------------------------------------------------------------------


def test_a_write_waits_for_another_process_that_has_the_file(file: Path) -> None:
    async def body(store: SqliteStore) -> None:
        await store.put("b", "k", b"1")
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            put = asyncio.ensure_future(store.put("b", "k", b"2"))
            await asyncio.sleep(0.05)
            assert not put.done()
            other.execute("ROLLBACK")
            assert await put == 2

    on(SqliteStore(file), body)


def test_who_has_the_file_for_too_long_makes_writes_fail_and_reads_go_on(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "BUSY_MS_MAX", 50)
    monkeypatch.setattr("rspp.adapters.stores.sqlite.file.BUSY_MS", 10)

    async def body(store: SqliteStore) -> None:
        await store.put("b", "k", b"1")
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LimitReached, match="store_busy"):
                await store.put("b", "k", b"2")
            assert await store.get("b", "k") is not None
        assert await store.put("b", "k", b"3") == 2

    on(SqliteStore(file), body)


def test_many_who_open_a_file_that_is_not_there_yet_make_one_store(file: Path) -> None:
    async def main() -> None:
        for round_ in range(10):
            path = file.with_name(f"{round_}.db")
            stores = [SqliteStore(path) for _ in range(6)]
            barrier = threading.Barrier(len(stores))
            for store in stores:
                store._worker._thread.submit(barrier.wait, 10)
            numbers = await asyncio.gather(*(store.append("log", b"1") for store in stores))
            assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
            for store in stores:
                await store.close()

    asyncio.run(main())
