"""The one thread that touches the file. The loop hands it work and never waits for a disk; what waits is bounded."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from rspp.adapters.stores.sqlite import faults
from rspp.adapters.stores.sqlite.file import opened
from rspp.contract.errors import LimitReached

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

# Some tenths of a second of small writes: more does not help whoever waits.
WAITING_MAX: Final = 4_096
# What those that wait may hold of memory: a few of the largest values.
WAITING_BYTES_MAX: Final = 256 * 1024 * 1024
# How long another process may keep us out before the call fails. A write of the largest blob takes less than a second.
BUSY_MS_MAX: Final = 10_000
# SQLite does not always wait by itself: not while the file is made a store, nor while a log is recovered.
BUSY_PAUSE_S: Final = 0.005


class Room:
    """How many calls wait and how many bytes they hold; taken by the loop, given back by the thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._bytes = 0

    def enter(self, size: int) -> None:
        with self._lock:
            if self._calls >= WAITING_MAX or self._bytes + size > WAITING_BYTES_MAX:
                raise LimitReached(
                    "store_overloaded", f"{self._calls} calls wait for the store, with {self._bytes} bytes"
                )
            self._calls += 1
            self._bytes += size

    def leave(self, size: int) -> None:
        with self._lock:
            self._calls -= 1
            self._bytes -= size


class Worker:
    """Does one piece of work after the other, in the order in which they were asked for."""

    def __init__(self, path: Path, file_bytes_max: int) -> None:
        # Where it is now, whatever folder the process works in later; and ":memory:" is a file like any other.
        self._path = path.absolute()
        self._file_bytes_max = file_bytes_max
        self._room = Room()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-store")
        self._db: sqlite3.Connection | None = None

    async def run(self, job: Job[T], size: int = 0) -> T:
        """What the job returns. Who stops waiting does not undo it: a job that has begun is done.

        `LimitReached` says `store_overloaded`, at once, when too many wait already.
        """
        self._room.enter(size)
        future: Future[T] = self._thread.submit(self._done, job)
        future.add_done_callback(lambda _: self._room.leave(size))
        return await asyncio.wrap_future(future)

    async def run_own(self, job: Job[T]) -> T:
        """The same for the store's own work, which is bounded by its watchers: it is done however many calls wait."""
        return await asyncio.wrap_future(self._thread.submit(self._done, job))

    async def close(self) -> None:
        """What was asked for before is done, then the file is let go of."""
        closing = self._thread.submit(self._let_go)
        self._thread.shutdown(wait=False)
        await asyncio.wrap_future(closing)

    def _done(self, job: Job[T]) -> T:
        """The job, again and again while another process has the file, within the bound."""
        deadline = time.monotonic() + BUSY_MS_MAX / 1000
        while True:
            try:
                if self._db is None:
                    self._db = opened(self._path, self._file_bytes_max)
                return job(self._db)
            except OSError as error:
                raise faults.of_disk(error, self._path) from error
            except sqlite3.Error as error:
                if not faults.is_busy(error):
                    raise self._fault(error) from error
                if time.monotonic() >= deadline:
                    raise faults.of_sqlite(error, self._path) from error
            time.sleep(BUSY_PAUSE_S)

    def _fault(self, error: sqlite3.Error) -> Exception:
        """After a failing disk the connection is made anew: it may be mended by the next call."""
        if faults.primary(error) not in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_TOOBIG}:
            self._let_go()
        return faults.of_sqlite(error, self._path)

    def _let_go(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()
