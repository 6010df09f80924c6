"""Queries over logs: numbers rise by one and are never given again, records are read in pages."""

from __future__ import annotations

import sqlite3
from typing import Final

from rspp.adapters.stores.sqlite.file import writing
from rspp.adapters.stores.sqlite.keys import PAGE_BYTES_MAX, PAGE_ROWS_MAX

Record = tuple[int, bytes]
# Records that one transaction forgets: a few milliseconds in which nobody else writes.
TRIMMED_MAX: Final = 1_000

_NEXT: Final = "INSERT INTO logs (name, last) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET last = last + 1"
_LOG: Final = "SELECT id, last FROM logs WHERE name = ?"
_PAGE: Final = (
    "SELECT number, record FROM records"
    " WHERE log = (SELECT id FROM logs WHERE name = ?) AND number > ? AND number <= ? ORDER BY number"
)


def append(db: sqlite3.Connection, log: str, record: bytes) -> int:
    with writing(db):
        db.execute(_NEXT, (log,))
        log_id, number = db.execute(_LOG, (log,)).fetchone()
        db.execute("INSERT INTO records (log, number, record) VALUES (?, ?, ?)", (log_id, number, record))
    return int(number)


def last(db: sqlite3.Connection, log: str) -> int:
    """The last number given; 0 when nobody has appended."""
    row = db.execute(_LOG, (log,)).fetchone()
    return 0 if row is None else int(row[1])


def page(db: sqlite3.Connection, log: str, after: int, through: int) -> list[Record]:
    """The next records up to that number; none when there are no more."""
    records: list[Record] = []  # bounded: PAGE_ROWS_MAX
    size = 0
    for number, record in db.execute(_PAGE, (log, after, through)):
        records.append((number, record))
        size += len(record)
        if len(records) >= PAGE_ROWS_MAX or size >= PAGE_BYTES_MAX:
            break
    return records


def trim(db: sqlite3.Connection, log: str, through: int) -> bool:
    """Forget the oldest records up to that number, a bounded lot of them; whether any may be left to forget."""
    with writing(db):
        row = db.execute(_LOG, (log,)).fetchone()
        if row is None:
            return False
        log_id, last_given = row
        (first,) = db.execute("SELECT min(number) FROM records WHERE log = ?", (log_id,)).fetchone()
        if first is None:
            return False
        wanted = min(through, int(last_given))
        end = min(wanted, int(first) + TRIMMED_MAX - 1)
        db.execute("DELETE FROM records WHERE log = ? AND number <= ?", (log_id, end))
    return end < wanted
