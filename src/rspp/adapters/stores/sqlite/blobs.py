"""Queries over blobs. Each is written in one transaction: a reader gets the old one or the new."""

from __future__ import annotations

import sqlite3

from rspp.adapters.stores.sqlite.file import writing
from rspp.adapters.stores.sqlite.keys import behind


def put(db: sqlite3.Connection, name: str, data: bytes) -> None:
    with writing(db):
        db.execute(
            "INSERT INTO blobs (name, data) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET data = excluded.data",
            (name, data),
        )


def get(db: sqlite3.Connection, name: str) -> bytes | None:
    row = db.execute("SELECT data FROM blobs WHERE name = ?", (name,)).fetchone()
    return None if row is None else bytes(row[0])


def delete(db: sqlite3.Connection, name: str) -> None:
    with writing(db):
        db.execute("DELETE FROM blobs WHERE name = ?", (name,))


def names(db: sqlite3.Connection, prefix: str) -> list[str]:
    found = db.execute(
        "SELECT name FROM blobs WHERE name >= ? AND name < ? ORDER BY name", (prefix, behind(prefix))
    )
    return [name for (name,) in found]
