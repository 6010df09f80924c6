"""Validation trusts nothing: whatever is changed in the store behind its back is named, with record and field."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest

from rspp.ops.journal.checking import Validation
from rspp.ops.journal.pages import BUCKET, KEPT, TAIL
from rspp.ops.journal.record import drafted
from rspp.testing.store import MemoryStore
from tests.unit.ops.journal.made import SURFACES, change, filled, journal
from tests.unit.ops.journal.planted import JWT


def record(page: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = page["records"][0]
    return found


@cache
def compacted(pages: int) -> MemoryStore:
    """A store with a compacted journal, to be copied."""

    async def main() -> MemoryStore:
        store = MemoryStore()
        await (await filled(store, pages)).compact()
        return store

    return asyncio.run(main())


def spoilt(key: str, spoil: Callable[[dict[str, Any]], Any], pages: int = 6) -> Validation:
    """What is found when one page of a compacted journal is written past the journal."""

    store = copy.deepcopy(compacted(pages))

    async def main() -> Validation:
        name = next(one for one in await store.keys(BUCKET) if one.startswith(key))
        entry = await store.get(BUCKET, name)
        assert entry is not None
        page = msgspec.msgpack.decode(entry.value)
        spoil(page)
        await store.put(BUCKET, name, msgspec.msgpack.encode(page))
        return await journal(store).validate()

    return asyncio.run(main())


SPOILT: tuple[tuple[str, Callable[[dict[str, Any]], Any], str, str], ...] = (
    (TAIL, lambda page: record(page).update(sequence=3), "sequence", "sequence_wrong"),
    (TAIL, lambda page: record(page).update(severity="loud"), "severity", "field_invalid"),
    (TAIL, lambda page: record(page).pop("source"), "source", "field_missing"),
    (TAIL, lambda page: record(page).update(more=1), "more", "field_unknown"),
    (TAIL, lambda page: record(page).update(metadata={"note": JWT}), "metadata", "secret_found"),
    (TAIL, lambda page: record(page).update(aggregate_id=f"Bearer {JWT}"), "aggregate_id", "secret_found"),
    (TAIL, lambda page: record(page).update(surface="nobody"), "surface", "surface_unknown"),
    (TAIL, lambda page: record(page).update(surface="runtime_health"), "surface", "surface_derived"),
    (
        TAIL,
        lambda page: record(page).update(mutates_authority_state=True),
        "mutates_authority_state",
        "authority_mismatch",
    ),
    (TAIL, lambda page: record(page).update(aggregate_type="x"), "aggregate_type", "aggregate_mismatch"),
    (
        TAIL,
        lambda page: record(page).update(changed_surfaces=["workers"]),
        "changed_surfaces",
        "changed_mismatch",
    ),
    (TAIL, lambda page: record(page).update(event_id="e700"), "event_id", "event_id_twice"),
    (TAIL, lambda page: page.update(records=["x"]), "", "type_mismatch"),
    (TAIL, lambda page: page.update(records=[]), "sequence", "sequence_gap"),
    (TAIL, lambda page: page.update(first=page["first"] + 1), "sequence", "sequence_gap"),
    (TAIL, lambda page: page.update(records="none"), "", "page_unreadable"),
    (TAIL, lambda page: page.update(format=9), "", "page_invalid"),
    ("pages/", lambda page: page["records"].pop(), "sequence", "sequence_gap"),
    ("pages/", lambda page: page.update(index=99), "", "page_invalid"),
    ("pages/", lambda page: record(page).update(occurred_at="now"), "occurred_at", "field_invalid"),
    ("pages/", lambda page: page.update(records=page["records"] * 2), "", "page_too_large"),
    (
        KEPT,
        lambda page: page["records"].append(dict(record(page), sequence=10**6)),
        "sequence",
        "sequence_wrong",
    ),
    (KEPT, lambda page: page["records"].reverse(), "sequence", "sequence_wrong"),
    (KEPT, lambda page: page.pop("through"), "", "page_unreadable"),
)


@pytest.mark.parametrize(
    ("key", "spoil", "field", "code"), SPOILT, ids=[f"{one[0]} {one[3]} {n}" for n, one in enumerate(SPOILT)]
)
def test_what_was_spoilt_is_named(
    key: str, spoil: Callable[[dict[str, Any]], Any], field: str, code: str
) -> None:
    found = spoilt(key, lambda page: _with_kept(page, spoil))
    assert (field, code) in [(one.field, one.code) for one in found.problems]
    assert not found.sound
    assert all(one.place.startswith(key) or code != one.code for one in found.problems)
    assert JWT not in str(found)


def _with_kept(page: dict[str, Any], spoil: Callable[[dict[str, Any]], Any]) -> None:
    if "through" in page and not page["records"]:
        page["records"] = [_plain(1), _plain(2)]
    spoil(page)


def _plain(sequence: int) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(drafted(change(f"k{sequence}"), SURFACES))
    return made | {"sequence": sequence}


def test_a_page_that_was_taken_away_is_named_and_the_rest_is_read() -> None:
    async def main() -> None:
        store = MemoryStore()
        await filled(store, 4)
        await store.delete(BUCKET, (await store.keys(BUCKET, "pages/"))[1])
        found = await journal(store).validate()
        assert [one.code for one in found.problems] == ["page_missing"]
        assert found.records == 3 * 128 + 1
        page = await journal(store).page(limit=1_000)
        assert (page.compacted, page.oldest, len(page.records)) == (True, 257, found.records)

    asyncio.run(main())


def test_more_problems_than_are_named_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.ops.journal.checking.PROBLEMS_MAX", 5)
    found = spoilt("pages/", lambda page: [one.update(severity="loud") for one in page["records"]])
    assert (len(found.problems), found.problems_count) == (5, 128)
