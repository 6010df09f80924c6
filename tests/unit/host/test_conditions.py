"""What one process says in the store: once for each change, renewed while it holds, gone when it ends."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from rspp.contract.errors import PeerFault
from rspp.contract.surface import Level, Row
from rspp.host import conditions
from rspp.host.conditions import CONDITIONS, LOOK_MS, TTL_MS, Conditions, reader
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore


class Given:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.member = "w1"
        self.rows: list[Row] = []
        self.conditions = Conditions(self.store, self.clock, lambda: self.member)

    async def there(self, surface: str = "circuits") -> dict[str, Row]:
        read, found = reader(surface), {}
        for key in await self.store.keys(CONDITIONS):
            entry = await self.store.get(CONDITIONS, key)
            assert entry is not None
            row = read(key, entry.value)
            if row is not None:
                found[row.aggregate_id] = row
        return found


OPEN = Row(aggregate_id="tts", state="open", level=Level.DEGRADED, reason="circuit_open")


def test_a_row_is_said_once_under_its_process_with_whose_word_it_is_and_since_when() -> None:
    async def main() -> None:
        given = Given()
        given.conditions.add("circuits", lambda: given.rows)
        given.rows = [OPEN]
        assert [await given.conditions.look() for _ in range(3)] == [1, 0, 0]
        (row,) = (await given.there()).values()
        assert (row.aggregate_id, row.facts["worker"]) == ("tts@w1", "w1")
        assert row.since_ms == given.clock.wall() // 1_000_000

    asyncio.run(main())


def test_since_when_it_is_so_stays_until_it_is_another_way() -> None:
    async def main() -> None:
        given = Given()
        given.conditions.add("circuits", lambda: given.rows)
        given.rows = [OPEN]
        await given.conditions.look()
        began = given.clock.wall() // 1_000_000
        given.clock.advance(1_000)
        given.rows = [msgspec.structs.replace(OPEN, facts={"sessions": 2})]
        await given.conditions.look()
        assert (await given.there())["tts@w1"].since_ms == began
        given.rows = [msgspec.structs.replace(OPEN, state="half_open")]
        await given.conditions.look()
        assert (await given.there())["tts@w1"].since_ms == began + 1_000

    asyncio.run(main())


def test_a_row_that_stands_is_renewed_before_it_expires_and_one_that_is_gone_is_taken_away() -> None:
    async def main() -> None:
        given = Given()
        given.conditions.add("circuits", lambda: given.rows)
        given.rows = [OPEN]
        for _ in range(10 * TTL_MS // LOOK_MS):
            await given.conditions.look()
            given.clock.advance(LOOK_MS)
            assert await given.there()
        given.rows = []
        assert await given.conditions.look() == 1
        assert await given.there() == {}
        assert await given.conditions.look() == 0

    asyncio.run(main())


def test_what_a_process_said_ends_with_it() -> None:
    async def main() -> None:
        given = Given()
        given.conditions.add("circuits", lambda: [OPEN])
        await given.conditions.look()
        given.clock.advance(TTL_MS)
        assert await given.there() == {}
        again = Given()
        again.conditions.add("circuits", lambda: [OPEN])
        await again.conditions.look()
        await again.conditions.clear()
        assert await again.there() == {}

    asyncio.run(main())


def test_a_process_that_comes_back_under_another_name_says_all_again_and_nothing_of_the_former() -> None:
    async def main() -> None:
        given = Given()
        given.conditions.add("circuits", lambda: [OPEN])
        await given.conditions.look()
        given.member = "w2"
        await given.conditions.look()
        assert list(await given.there()) == ["tts@w2"]

    asyncio.run(main())


def test_a_row_without_a_name_is_the_process_and_what_is_not_shared_keeps_its_own() -> None:
    async def main() -> None:
        given = Given()
        given.conditions.add("recordings", lambda: [Row(aggregate_id="", state="full")])
        given.conditions.add(
            "turns", lambda: [Row(aggregate_id="s/1", tenant_id="a/b", state="open")], shared=False
        )
        await given.conditions.look()
        assert list(await given.there("recordings")) == ["w1"]
        assert (await given.there("turns"))["s/1"].tenant_id == "a/b"

    asyncio.run(main())


def test_a_store_that_is_away_is_told_later_and_nothing_is_raised() -> None:
    async def main() -> None:
        given = Given()
        given.conditions.add("circuits", lambda: given.rows)
        put, away = given.store.put, True

        async def sometimes(*asked: object, **more: object) -> int | None:
            if away:
                raise PeerFault("store_unreachable", "away")
            return await put(*asked, **more)  # type: ignore[arg-type]

        given.store.put = sometimes  # type: ignore[method-assign]
        given.rows = [OPEN]
        await given.conditions.look()
        assert given.conditions.failures == 1
        away = False
        assert await given.conditions.look() == 1
        assert await given.there()

    asyncio.run(main())


def test_what_a_slow_store_refuses_in_part_is_not_under_way_when_it_is_tried_again() -> None:
    async def main() -> None:
        given = Given()
        given.conditions.add("circuits", lambda: given.rows)
        given.rows = [msgspec.structs.replace(OPEN, aggregate_id=f"p{n}") for n in range(3)]
        await given.conditions.look()
        delete, under_way, most = given.store.delete, 0, 0

        async def slow(bucket: str, key: str) -> None:
            nonlocal under_way, most
            if "p0" in key:
                raise PeerFault("store_unreachable", "away")
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            await delete(bucket, key)
            under_way -= 1

        given.store.delete = slow  # type: ignore[method-assign]
        given.rows = []
        for _ in range(3):
            await given.conditions.look()
            assert under_way == 0
        assert most == 2
        assert set(await given.there()) == {"p0@w1"}

    asyncio.run(main())


def test_a_row_whose_name_no_store_takes_keeps_no_other_from_being_said() -> None:
    async def main() -> None:
        given = Given()
        given.rows = [msgspec.structs.replace(OPEN, aggregate_id="é" * 1_000), OPEN]
        given.conditions.add("circuits", lambda: given.rows)
        given.conditions.add("turns", lambda: [Row(aggregate_id=f"s{n}", state="open") for n in range(40)])
        await given.conditions.look()
        assert set(await given.there()) == {"tts@w1"}
        assert len(await given.there("turns")) == 40
        assert given.conditions.failures == 1

    asyncio.run(main())


def test_more_rows_than_there_is_room_for_are_counted_and_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "ROWS_MAX", 3)

    async def main() -> None:
        given = Given()
        given.conditions.add("turns", lambda: [Row(aggregate_id=f"s{n}", state="x") for n in range(5)])
        await given.conditions.look()
        assert (len(await given.there("turns")), given.conditions.dropped) == (3, 2)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("w1/circuits/-", b"{}"),
        ("w1/circuits/-/tts", b"\xff"),
        ("w1/circuits/-/other", msgspec.json.encode(OPEN)),
        ("w1/circuits/=acme/tts", msgspec.json.encode(OPEN)),
        ("w1/turns/-/tts", msgspec.json.encode(OPEN)),
        ("w1/circuits/-/tts", msgspec.json.encode({"aggregate_id": "tts", "state": "x", "level": "great"})),
        (
            "w1/circuits/-/tts",
            msgspec.json.encode(msgspec.structs.replace(OPEN, facts={f"f{n}": n for n in range(99)})),
        ),
    ],
)
def test_what_is_not_the_row_of_its_key_is_none(key: str, value: bytes) -> None:
    assert reader("circuits")(key, value) is None
    assert reader("circuits")("w1/circuits/-/tts", msgspec.json.encode(OPEN)) == OPEN


def test_a_source_that_fails_keeps_nobody_else_from_being_heard() -> None:
    async def main() -> None:
        def broken() -> list[Row]:
            raise RuntimeError("a defect")

        given = Given()
        given.conditions.add("recordings", broken)
        given.conditions.add("circuits", lambda: [OPEN])
        await given.conditions.look()
        assert list(await given.there()) == ["tts@w1"]
        assert given.conditions.failures == 1

    asyncio.run(main())
