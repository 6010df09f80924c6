"""Lists hold what runs and what is recorded, newest first, each once, and only what the asker may see."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.control.security.roles import Principal, Role
from rspp.server.recorded.listing import Listing, Wanted, page_of
from rspp.server.recorded.places import STORE_FILE
from rspp.server.recorded.words import SessionItem
from rspp.timeline import catalogue
from rspp.timeline.spool import Spool
from tests.unit.server.recorded.given import ADMIN, OPERATOR, RIVAL, TENANT, row, scene, scripted, shelve
from tests.unit.timeline.scripted import SESSION, scripted_bytes
from tests.unit.timeline.spooled import frames, opened


def item(name: str, opened_ms: float) -> SessionItem:
    return SessionItem(tenant=TENANT, id=name, state="ended", opened_ms=opened_ms, recorded=True)


def test_pages_follow_each_other_without_a_gap_and_each_session_is_in_one_of_them() -> None:
    recorded = [item(f"s{number:03}", number % 7) for number in range(100)]
    rows = [row(f"s{number:03}", opened_ms=number % 7) for number in range(0, 100, 3)] + [
        row("live", opened_ms=99)
    ]
    seen: list[str] = []
    after: str | None = None
    while True:
        page = page_of(Wanted(), rows, recorded, 9, after)
        assert page.total == 101
        seen += [one.id for one in page.items]
        after = page.next
        if after is None:
            break
    assert len(seen) == len(set(seen)) == 101
    assert seen[0] == "live"
    every = page_of(Wanted(), rows, recorded, 1_000, None).items
    assert [one.opened_ms for one in every] == sorted((one.opened_ms for one in every), reverse=True)
    assert {one.id for one in every if one.state == "running"} == {one.aggregate_id for one in rows}
    assert [one.id for one in every if not one.recorded] == ["live"]


@pytest.mark.parametrize("token", ["x", "====", "bnVsbA==", "W10=", "é", "a" * 10_000])
def test_a_place_that_is_none_begins_at_the_beginning(token: str) -> None:
    assert len(page_of(Wanted(), [], [item("a", 1)], 5, token).items) == 1


def test_every_filter_must_hold() -> None:
    rows = [
        row("a", pipeline="graph/desk@v1"),
        row("b", pipeline="graph/desk@v2+policy/acme@v1", owner="w-2"),
        row("c", tenant="other", state="degraded"),
    ]

    def names(**wanted: str) -> list[str]:
        return sorted(one.id for one in page_of(Wanted(**wanted), rows, [], 50, None).items)

    assert names(pipeline="desk") == ["a", "b", "c"]
    assert names(pipeline="graph/desk@v1") == ["a", "c"]
    assert names(worker="w-2") == ["b"]
    assert names(state="degraded") == ["c"]
    assert names(tenant="other", state="running") == []
    assert names(text="DESK@V2") == ["b"]
    assert names(text="other") == ["c"]


@pytest.mark.slow
def test_what_runs_here_and_what_is_recorded_are_listed_for_their_own_tenant(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path) as it:
            await shelve(it.data, {**scripted(), **scripted("other", "theirs")})
            spool = Spool(it.data)
            spool.start()
            append = opened(spool, "now", TENANT)
            for one in frames(scripted_bytes("now", TENANT))[:-1]:
                assert append.append(one)
            await spool.drained()
            it.rows["sessions"] = [row("elsewhere", state="degraded", missing="tts")]

            async def names(who: Principal, **wanted: str) -> list[tuple[str, str, bool]]:
                page = await it.recorded.sessions(who, wanted, 50, None)
                assert page.total == len(page.items)
                return sorted((one.id, one.state, one.recorded) for one in page.items)

            mine = [
                ("elsewhere", "degraded", False),
                ("now", "connected", True),  # its process is this one, and it has not ended
                (SESSION, "ended", True),
            ]
            assert await names(OPERATOR) == mine
            assert await names(OPERATOR, tenant=TENANT) == mine
            assert await names(OPERATOR, tenant="other") == []
            assert await names(RIVAL) == [("theirs", "ended", True)]
            assert await names(ADMIN) == sorted([*mine, ("theirs", "ended", True)])
            assert await names(Principal(id="none", roles={})) == []
            assert await names(
                Principal(id="two", roles={TENANT: (Role.VIEWER,), "other": (Role.VIEWER,)})
            ) == sorted([*mine, ("theirs", "ended", True)])
            append.close()
            await spool.close()

    asyncio.run(main())


@pytest.mark.slow
def test_thousands_of_recordings_are_listed_without_being_read_and_a_broken_entry_is_left_out(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with scene(tmp_path) as it:
            it.data.mkdir()
            store = SqliteStore(it.data / STORE_FILE)
            for number in range(3_000):
                key = catalogue.key_of(TENANT, f"s{number}")
                entry = msgspec.structs.replace(
                    catalogue.begun(key, TENANT, f"s{number}", f"1-1.{number}"),
                    opened_wall_ms=number,
                    ended_wall_ms=number + 1,
                    complete=True,
                )
                await catalogue.put(store, key, entry, 0)
            await store.put(catalogue.BUCKET, catalogue.key_of(TENANT, "broken"), b"{")
            began = time.monotonic()
            page = await it.recorded.sessions(OPERATOR, {"tenant": TENANT}, 20, None)
            first = time.monotonic() - began
            assert (page.total, page.items[0].id) == (3_000, "s2999")
            began = time.monotonic()
            await asyncio.gather(
                *(it.recorded.sessions(OPERATOR, {"tenant": TENANT}, 20, None) for _ in range(20))
            )
            assert time.monotonic() - began < max(first, 0.5), "twenty consoles read it once"
            broken = await it.recorded.session(OPERATOR, TENANT, "broken")
            assert broken is not None
            assert (broken.item.state, broken.turns) == ("unknown", [])
            assert "truncated" in broken.withheld
            await store.close()

    asyncio.run(main())


class Slow:
    """Places with one library, in which everything takes long; and their clock."""

    def __init__(self, took_ms: int) -> None:
        self.took_ms, self.at_ms, self.readings = took_ms, 0, 0

    def libraries(self) -> list[Slow]:
        return [self]

    async def entries(self, tenant: str | None) -> list[object]:
        self.readings += 1
        self.at_ms += self.took_ms
        return []

    def now(self) -> int:
        return self.at_ms * 1_000_000

    def wall(self) -> int:
        return self.now()


@pytest.mark.parametrize(("took_ms", "readings"), [(10, 50), (500, 20), (5_000, 2)])
def test_no_more_of_the_time_than_a_tenth_is_spent_on_reading_entries_however_often_they_are_asked_for(
    took_ms: int, readings: int
) -> None:
    async def main() -> None:
        slow = Slow(took_ms)
        listing = Listing(slow, slow)  # type: ignore[arg-type]  # as much of them as it asks
        while slow.at_ms < 100_000:
            await listing.entries(None)
            slow.at_ms += 100
        assert slow.readings in (readings, readings + 1)

    asyncio.run(main())
