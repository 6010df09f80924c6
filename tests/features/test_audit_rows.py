"""Rows of the security area: an audit trail on disk that cannot be changed unseen."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.timeline.audit import AuditLog, Verified, heads, records, verify

COUNT = 6
# What is done to the file by somebody who has it, with the place of the first record that then is not as it was written.
EDIT = ("UPDATE records SET record = CAST(REPLACE(record, 'allow', 'denyy') AS BLOB) WHERE number = 2",)
DELETE = ("DELETE FROM records WHERE number = 3",)
REORDER = (
    "UPDATE records SET number = 100 WHERE number = 2",
    "UPDATE records SET number = 2 WHERE number = 4",
    "UPDATE records SET number = 4 WHERE number = 100",
)
TRUNCATE = (
    "DELETE FROM records WHERE number > 4",
    "UPDATE logs SET last = 4",
)


async def _filled(path: Path) -> None:
    store = SqliteStore(path)
    log = AuditLog(store, wall_ms=lambda: 1_000, writer="w")
    for number in range(COUNT):
        await log.append("access", "allow", tenant_id="t", principal_id="p", reason=f"r{number}")
    await store.close()


async def _verified(path: Path) -> Verified:
    store = SqliteStore(path)
    try:
        return await verify(store)
    finally:
        await store.close()


async def _exported(path: Path) -> list[str]:
    store = SqliteStore(path)
    try:
        assert (await heads(store))["w"].count == COUNT
        return [record.reason for record in await records(store, "w")]
    finally:
        await store.close()


@pytest.mark.proves("F-170")
@pytest.mark.parametrize(
    ("harm", "place"),
    [(EDIT, 3), (DELETE, 3), (REORDER, 2), (TRUNCATE, 5)],
    ids=["edited", "deleted", "reordered", "truncated"],
)
def test_a_trail_that_is_changed_on_disk_is_found_at_its_place_and_an_untouched_one_is_sound(
    tmp_path: Path, harm: tuple[str, ...], place: int
) -> None:
    path = tmp_path / "store.db"
    asyncio.run(_filled(path))
    assert asyncio.run(_exported(path)) == [f"r{number}" for number in range(COUNT)]
    sound = asyncio.run(_verified(path))
    assert (sound.records, sound.broken) == (COUNT, ())
    with sqlite3.connect(path) as db:
        changed = [db.execute(command).rowcount for command in harm]
    db.close()
    assert all(changed), "the file was changed"
    assert asyncio.run(_verified(path)).broken == (f"audit/w[{place}]",)
