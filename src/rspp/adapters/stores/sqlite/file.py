"""The store's file: its tables, how it is opened, and which files are refused.

meta     one row each: the schema's version, the last revision given
keys     a bucket's keys with value, revision, and when they expire (wall time, as it must hold for every process)
logs     a log's name and the last number given, which stays when its records are gone
records  what was appended
blobs    whole things under a name
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rspp.contract.errors import PeerFault

# Marks the file as ours in its header: "RSPP".
APPLICATION_ID: Final = 0x52535050
SCHEMA_VERSION: Final = 1
# SQLite's own wait for a lock, before the worker looks at its deadline again.
BUSY_MS: Final = 1_000
# What a write-ahead log may keep of the disk after a burst has made it long.
WAL_BYTES_MAX: Final = 64 * 1024 * 1024

# When a key expires that does not: later than any time.
NEVER: Final = 2**63 - 1

_TABLES: Final = """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE keys (
        bucket TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL,
        expires_at INTEGER NOT NULL, PRIMARY KEY (bucket, key)
    );
    CREATE INDEX keys_by_revision ON keys (bucket, revision);
    CREATE INDEX keys_by_expiry ON keys (expires_at) WHERE expires_at < 9223372036854775807;
    CREATE TABLE logs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last INTEGER NOT NULL);
    CREATE TABLE records (
        log INTEGER NOT NULL REFERENCES logs (id), number INTEGER NOT NULL, record BLOB NOT NULL,
        PRIMARY KEY (log, number)
    );
    CREATE TABLE blobs (name TEXT NOT NULL PRIMARY KEY, data BLOB NOT NULL)
"""
_PRAGMAS: Final = (
    # A commit is in the log before it is answered, so it outlives this process, kill -9 and all, without waiting for the
    # disk. A power cut may take the last commits, never part of one: the log is synced before it is folded in.
    "PRAGMA synchronous = NORMAL",
    # What is deleted is overwritten: deletion is a promise made to callers, not a way to save space.
    "PRAGMA secure_delete = ON",
    f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}",
)


def opened(path: Path, file_bytes_max: int) -> sqlite3.Connection:
    """A connection to a file that is ours: made if there is none, left as it was if it is somebody else's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    # No implicit transactions: `writing` says where they begin.
    db = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None)
    try:
        if is_new:
            # What callers said will stand in it. By name: closing a descriptor of the file would drop SQLite's locks on it.
            path.chmod(0o600)
        _is_made(db, path)
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise PeerFault("store_unusable", f"{path}: no write-ahead log can be kept there")
        for pragma in _PRAGMAS:
            db.execute(pragma)
        (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
        db.execute(f"PRAGMA max_page_count = {file_bytes_max // page_bytes}")
        with writing(db):
            if not _is_made(db, path):
                _make(db)
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing. The lock is taken at the start, so that what is read inside is still true when it is written."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk has SQLite roll back by itself
            db.execute("ROLLBACK")
        raise


def _make(db: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";"):
        db.execute(statement)
    db.execute("INSERT INTO meta VALUES ('schema', ?), ('revision', 0)", (SCHEMA_VERSION,))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _is_made(db: sqlite3.Connection, path: Path) -> bool:
    """Whether our tables are there; a file of another program, or of a newer version of this one, is refused."""
    # In this order: who makes the file right now commits both at once, and must not look like somebody else's.
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if application == 0 and tables == 0:
        return False
    if application != APPLICATION_ID:
        raise PeerFault("store_damaged", f"{path}: a database, but not a store of RSPP")
    row = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    if row is None or not isinstance(row[0], int):
        raise PeerFault("store_damaged", f"{path}: a store without its schema's version")
    if row[0] > SCHEMA_VERSION:
        raise PeerFault(
            "schema_version_unsupported",
            f"{path}: its schema is {row[0]}; this version reads up to {SCHEMA_VERSION}",
        )
    return True
