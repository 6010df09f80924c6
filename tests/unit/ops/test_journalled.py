"""The store that tells: what it says of a write, when it says nothing, and that saying it never costs the write anything."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import PeerFault
from rspp.contract.surface import Level
from rspp.control.authority.members import Member, MemberState
from rspp.control.names import key
from rspp.ops import journalled
from rspp.ops.changes import Change
from rspp.ops.journalled import Journalled
from rspp.ops.surfaces import Surfaces
from rspp.server.surfaces import SURFACES, surfaces
from rspp.testing.clock import run_virtual
from rspp.testing.store import MemoryStore
from tests.unit.ops.owners import Faulty, LoopClock

ALL = surfaces()


class Heard:
    """Who takes the changes."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def tell(self, change: Change) -> None:
        self.changes.append(change)

    @property
    def types(self) -> list[str]:
        return [one.change_type for one in self.changes]


def worker(**more: Any) -> bytes:
    return msgspec.json.encode(
        Member(**{"id": "w1", "kind": "worker", "ttl_ms": 15_000, "ready": True, **more})
    )


WHERE = "members", key("w1")


class Given:
    def __init__(self, surfaces: Surfaces = ALL) -> None:
        self.clock = LoopClock()
        self.bare = MemoryStore(self.clock)
        self.faulty = Faulty(self.bare)
        self.heard = Heard()
        self.store = Journalled(self.faulty, surfaces, self.heard, source="test", wall_ms=self.clock.wall_ms)


def test_a_new_row_is_told_and_a_beat_is_not() -> None:
    async def main() -> None:
        given = Given()
        revision = await given.store.put(*WHERE, worker(beat=1), expect=0)
        for beat in range(2, 6):
            revision = await given.store.put(*WHERE, worker(beat=beat), expect=revision)
        await given.store.put(*WHERE, worker(beat=6, sessions=1), expect=revision)
        first, second = given.heard.changes
        assert (first.surface, first.change_type, first.aggregate_id) == ("workers", "created", "w1")
        assert first.metadata["level"] == "ok"
        assert (second.change_type, second.metadata["state"]) == ("changed", "up")
        assert first.metadata["row"] != second.metadata["row"]

    run_virtual(main())


def test_a_lost_worker_is_told_as_an_error_with_its_reason() -> None:
    async def main() -> None:
        given = Given()
        await given.store.put(*WHERE, worker(state=MemberState.LOST, reason="killed"))
        (told,) = given.heard.changes
        assert (told.severity, told.metadata["reason"]) == ("error", "worker_lost")
        assert told.metadata["level"] == Level.FAILED.value

    run_virtual(main())


def test_what_came_to_its_end_is_told_as_ended_and_what_is_taken_away_as_deleted() -> None:
    async def main() -> None:
        given = Given()
        await given.store.put(*WHERE, worker(state=MemberState.LEFT))
        await given.store.delete(*WHERE)
        assert given.heard.types == ["ended", "deleted"]
        assert given.heard.changes[1].aggregate_id == "w1"

    run_virtual(main())


def test_a_row_that_somebody_else_wrote_meanwhile_is_told_again() -> None:
    async def main() -> None:
        given = Given()
        await given.store.put(*WHERE, worker(), expect=0)
        other = await given.bare.put(*WHERE, worker(sessions=5))
        await given.store.put(*WHERE, worker(), expect=other)
        assert given.heard.types == ["created", "changed"]

    run_virtual(main())


def test_a_write_that_nothing_was_expected_of_is_always_told_where_others_write_too() -> None:
    async def main() -> None:
        given = Given()
        for _ in range(2):
            await given.store.put(*WHERE, worker())
        assert given.heard.types == ["changed", "changed"]

    run_virtual(main())


def test_a_lost_race_changes_nothing_and_is_not_told() -> None:
    async def main() -> None:
        given = Given()
        assert await given.store.put(*WHERE, worker(), expect=7) is None
        assert given.heard.changes == []

    run_virtual(main())


def test_the_same_write_has_the_same_id_whoever_tells_of_it() -> None:
    async def main() -> None:
        one, other = Given(), Given()
        for given in (one, other):
            await given.store.put(*WHERE, worker(), expect=0)
        assert one.heard.changes[0].event_id == other.heard.changes[0].event_id
        ids = {journalled.event_id("workers", "members", "w1", number) for number in range(100)}
        assert len(ids) == 100

    run_virtual(main())


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_write_of_unknown_outcome_is_looked_up_and_told_if_it_is_there(lost: str) -> None:
    async def main() -> None:
        given = Given()
        given.faulty.lose = lost
        with pytest.raises(PeerFault):
            await given.store.put(*WHERE, worker(), expect=0)
        assert given.heard.changes == []
        await asyncio.sleep(60)
        assert given.heard.types == (["changed"] if lost == "after" else [])
        await given.store.close()

    run_virtual(main())


def test_after_a_write_of_unknown_outcome_the_next_one_is_told_whatever_it_says() -> None:
    async def main() -> None:
        given = Given()
        revision = await given.store.put(*WHERE, worker(), expect=0)
        given.faulty.lose = "before"
        with pytest.raises(PeerFault):
            await given.store.put(*WHERE, worker(sessions=1), expect=revision)
        await given.store.put(*WHERE, worker(), expect=revision)
        assert given.heard.types == ["created", "changed"]
        await given.store.close()

    run_virtual(main())


def test_each_write_of_unknown_outcome_is_looked_up_in_its_own_time_and_when_the_store_is_back() -> None:
    async def main() -> None:
        given = Given()
        for name in ("a", "b"):
            given.faulty.lose = "after"
            with pytest.raises(PeerFault):
                await given.store.put("members", key(name), worker(id=name))
            await asyncio.sleep(1.1)
            assert [one.aggregate_id for one in given.heard.changes][-1:] == [name]
        get = given.bare.get

        async def away(bucket: str, key: str) -> None:
            raise PeerFault("store_unreachable", "away")

        given.bare.get = away  # type: ignore[method-assign]
        given.faulty.lose = "after"
        with pytest.raises(PeerFault):
            await given.store.put("members", key("c"), worker(id="c"))
        await asyncio.sleep(120)
        assert len(given.heard.changes) == 2
        given.bare.get = get  # type: ignore[method-assign]
        await asyncio.sleep(1.1)
        assert [one.aggregate_id for one in given.heard.changes] == ["a", "b", "c"]
        await asyncio.sleep(60)
        assert given.store._looking is not None
        assert given.store._looking.done(), "nobody looks for ever"

    run_virtual(main())


def test_too_many_writes_of_unknown_outcome_are_counted_and_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journalled, "UNSURE_MAX", 2)

    async def main() -> None:
        given = Given()
        for number in range(5):
            given.faulty.lose = "before"
            with pytest.raises(PeerFault):
                await given.store.put("members", f"w{number}", worker())
        assert given.store.unsure == 3
        await given.store.close()

    run_virtual(main())


def test_what_lies_in_no_surface_is_passed_on_untold() -> None:
    async def main() -> None:
        given = Given()
        assert await given.store.put("state", "acme/s1", b"x") is not None
        assert await given.store.put("config", "region-less", b"x") is not None
        await given.store.delete("state", "acme/s1")
        assert await given.store.append("some-log", b"x") == 1
        await given.store.put_blob("b", b"x")
        assert await given.store.get_blob("b") == b"x"
        assert given.heard.changes == []

    run_virtual(main())


def test_a_log_that_is_a_surface_is_told_of_with_its_number() -> None:
    async def main() -> None:
        audit = next(one for one in SURFACES if one.name == "audit_log")
        place = msgspec.structs.replace(audit.places[0], bucket="", log="audit/")
        given = Given(Surfaces([msgspec.structs.replace(audit, kept=place)]))
        await given.store.append("audit/me", b"record")
        (told,) = given.heard.changes
        assert (told.change_type, told.aggregate_id, told.metadata) == (
            "appended",
            "audit/me",
            {"number": 1},
        )

    run_virtual(main())


def test_a_row_that_cannot_be_made_costs_the_write_nothing() -> None:
    async def main() -> None:
        def broken(key: str, value: bytes) -> None:
            raise RuntimeError(f"{key} {value!r}")

        workers = next(one for one in SURFACES if one.name == "workers")
        given = Given(Surfaces([msgspec.structs.replace(workers, row=broken)]))
        assert await given.store.put(*WHERE, worker()) is not None
        await given.store.delete(*WHERE)
        assert given.store.untold == 2
        assert await given.bare.get(*WHERE) is None

    run_virtual(main())


def test_nothing_that_is_told_holds_what_the_row_is_made_of() -> None:
    async def main() -> None:
        given = Given()
        await given.store.put(*WHERE, worker(endpoint="ws://here?token=hunter2", reasons=("hunter2",)))
        said = msgspec.json.encode([msgspec.to_builtins(one) for one in given.heard.changes])
        assert b"hunter2" not in said

    run_virtual(main())


def test_a_renewal_after_the_time_to_live_was_over_is_told() -> None:
    """The key was gone meanwhile, and others have seen that."""

    async def main() -> None:
        given = Given()
        value = b'{"aggregate_id":"w1","state":"idle"}'
        place = "conditions", "w1/evidence_export/-/w1"
        for wait_s in (0, 5, 20):
            await asyncio.sleep(wait_s)
            await given.store.put(*place, value, ttl_ms=15_000)
        assert given.heard.types == ["changed", "changed"]

    run_virtual(main())
