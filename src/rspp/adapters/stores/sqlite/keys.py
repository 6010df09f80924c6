"""Queries over keys. Time comes in as a number: a key whose time is over is not there, whether or not its row still is."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from rspp.adapters.stores.sqlite.file import writing
from rspp.host.ports import Entry

# What one look of a watcher, or of a reader of a log, holds in memory: the bytes may be passed by one value.
PAGE_ROWS_MAX: Final = 256
PAGE_BYTES_MAX: Final = 1024 * 1024
# Expired rows that one put clears away: more than one, so that they go faster than they come.
CLEARED_MAX: Final = 16

_GET: Final = "SELECT value, revision FROM keys WHERE bucket = ? AND key = ? AND expires_at > ?"
_REVISION: Final = "SELECT revision FROM keys WHERE bucket = ? AND key = ? AND expires_at > ?"
_NEXT: Final = "UPDATE meta SET value = value + 1 WHERE name = 'revision'"
_LAST: Final = "SELECT value FROM meta WHERE name = 'revision'"
_PUT: Final = (
    "INSERT INTO keys (bucket, key, value, revision, expires_at) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (bucket, key) DO UPDATE SET"
    " value = excluded.value, revision = excluded.revision, expires_at = excluded.expires_at"
)
# The second condition is the index's own, without which it is not used.
_CLEAR: Final = (
    "DELETE FROM keys WHERE rowid IN"
    " (SELECT rowid FROM keys WHERE expires_at <= ? AND expires_at < 9223372036854775807 LIMIT ?)"
)
_KEYS: Final = (
    "SELECT key FROM keys WHERE bucket = ? AND key >= ? AND key < ? AND expires_at > ? ORDER BY key"
)
_CHANGES: Final = (
    "SELECT key, value, revision FROM keys INDEXED BY keys_by_revision"
    " WHERE bucket = ? AND revision > ? AND key >= ? AND key < ? AND expires_at > ? ORDER BY revision"
)


class Changes(msgspec.Struct, frozen=True):
    """What has changed, in order, and the revision up to which nothing is left out."""

    entries: list[Entry]
    through: int


def get(db: sqlite3.Connection, bucket: str, key: str, now: int) -> Entry | None:
    row = db.execute(_GET, (bucket, key, now)).fetchone()
    return None if row is None else Entry(key, row[0], row[1])


def put(
    db: sqlite3.Connection,
    bucket: str,
    key: str,
    value: bytes,
    expect: int | None,
    now: int,
    expires_at: int,
) -> int | None:
    with writing(db):
        if expect is not None:
            row = db.execute(_REVISION, (bucket, key, now)).fetchone()
            if expect != (row[0] if row else 0):
                return None
        db.execute(_NEXT)
        (revision,) = db.execute(_LAST).fetchone()
        db.execute(_PUT, (bucket, key, value, revision, expires_at))
        db.execute(_CLEAR, (now, CLEARED_MAX))
    return int(revision)


def delete(db: sqlite3.Connection, bucket: str, key: str) -> None:
    with writing(db):
        db.execute("DELETE FROM keys WHERE bucket = ? AND key = ?", (bucket, key))


def names(db: sqlite3.Connection, bucket: str, prefix: str, now: int) -> list[str]:
    return [key for (key,) in db.execute(_KEYS, (bucket, prefix, behind(prefix), now))]


def changes(db: sqlite3.Connection, bucket: str, prefix: str, after: int, now: int) -> Changes:
    """What came after that revision, a page of it."""
    # Asked first: what is written between the two questions is in the entries, and is not thought to be.
    (last,) = db.execute(_LAST).fetchone()
    entries: list[Entry] = []  # bounded: PAGE_ROWS_MAX
    size = 0
    for key, value, revision in db.execute(_CHANGES, (bucket, after, prefix, behind(prefix), now)):
        entries.append(Entry(key, value, revision))
        size += len(value)
        if len(entries) >= PAGE_ROWS_MAX or size >= PAGE_BYTES_MAX:
            return Changes(entries, revision)
    return Changes(entries, max(last, entries[-1].revision) if entries else last)


def behind(prefix: str) -> str | bytes:
    """What comes right behind all text that begins so. SQLite orders text as Python does, by code points.

    Behind all text comes a blob.
    """
    head = prefix.rstrip("\U0010ffff")
    if not head:
        return b""
    last = ord(head[-1]) + 1
    return head[:-1] + chr(0xE000 if last == 0xD800 else last)  # no text has what lies between
