"""The rows in memory: what the store has, no older than is said, whatever becomes of the watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import PeerFault
from rspp.contract.surface import Level, ReadRow, Row
from rspp.control.authority.members import LOST_SHOWN_MS, Member, MemberState
from rspp.control.names import key
from rspp.control.security.approvals import Change, Proposal
from rspp.host.ports import Entry
from rspp.ops import snapshots
from rspp.ops.snapshots import LIST_MS, STALE_MS, Seen, Snapshots
from rspp.ops.surfaces import Surfaces
from rspp.server.surfaces import SURFACES, surfaces
from rspp.testing.clock import run_virtual
from rspp.testing.store import MemoryStore
from tests.unit.ops.owners import LoopClock

ALL = surfaces()


def worker(name: str = "w1", **more: Any) -> tuple[str, str, bytes]:
    value = Member(**{"id": name, "kind": "worker", "ttl_ms": 15_000, "ready": True, **more})
    return "members", key(name), msgspec.json.encode(value)


def lease(state: str = "held", name: str = "s") -> tuple[str, str, bytes]:
    value = {"tenant_id": "acme", "session_id": name, "owner": "w1", "state": state}
    return "sessions", key("acme", name), msgspec.json.encode(value)


class Breaking(MemoryStore):
    """A store that can be away, and whose watches can die with or without a word."""

    def __init__(self, clock: LoopClock) -> None:
        super().__init__(clock)
        self.away = self.mute = False
        self.watches = 0

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        if self.away:
            raise PeerFault("store_unreachable", "away")
        return await super().keys(bucket, prefix)

    async def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]:
        self.watches += 1
        if self.away:
            raise PeerFault("store_unreachable", "away")
        async for entry in super().watch(bucket, prefix):
            if self.away:
                raise PeerFault("store_unreachable", "away")
            if not self.mute:
                yield entry


class Given:
    def __init__(self, surfaces: Surfaces = ALL) -> None:
        self.clock = LoopClock()
        self.store = Breaking(self.clock)
        self.rows = Snapshots(self.store, surfaces, self.clock)
        self.told: list[tuple[Seen | None, Seen | None]] = []
        self.rows.on_change(lambda *both: self.told.append(both))

    def states(self, surface: str = "workers") -> dict[str, str]:
        return {one.aggregate_id: one.state for one in self.rows.rows(surface)}


def following(test: Callable[[Given], Awaitable[None]], surfaces: Surfaces = ALL) -> None:
    async def main() -> None:
        given = Given(surfaces)
        await given.store.put(*worker())
        await given.rows.load()
        running = asyncio.create_task(given.rows.run())
        await asyncio.sleep(0.1)
        try:
            await test(given)
        finally:
            running.cancel()
            await asyncio.wait([running])
            await given.store.close()
        assert running.cancelled()

    run_virtual(main())


def test_what_was_there_is_no_change_and_what_comes_is_one() -> None:
    async def test(given: Given) -> None:
        assert given.told == []
        await given.store.put(*worker("w2"))
        await given.store.put(*worker(beat=9))  # nothing that anybody sees
        await asyncio.sleep(0.1)
        assert given.states() == {"w1": "up", "w2": "up"}
        ((before, after),) = given.told
        assert before is None
        assert after is not None
        assert after.thing == ("workers", "", "w2")
        assert given.rows.row("workers", "w2") == after.row
        assert given.rows.row("workers", "w2", "acme") is None

    following(test)


def test_what_is_taken_away_or_expires_is_found_by_listing() -> None:
    async def test(given: Given) -> None:
        await given.store.delete("members", key("w1"))
        await given.store.put(*worker("w2"), ttl_ms=1_000)
        await asyncio.sleep(2 * LIST_MS / 1000)
        assert given.states() == {}
        assert [after for _, after in given.told if after is None] == [None, None]

    following(test)


def test_a_watch_that_dies_quietly_loses_nothing_that_is_new() -> None:
    async def test(given: Given) -> None:
        given.store.mute = True
        await given.store.put(*worker("w2"))
        await asyncio.sleep(2 * LIST_MS / 1000)
        assert "w2" in given.states()
        await given.store.put(*lease("free"))
        await asyncio.sleep(0.1)
        given.store.mute = False
        await asyncio.sleep(snapshots.WATCH_MS / 1000)
        assert given.states("leases") == {"s": "free"}

    following(test)


def test_a_worker_that_renews_is_not_called_silent_because_the_watch_is() -> None:
    async def test(given: Given) -> None:
        given.store.mute = True
        for beat in range(2, 16):
            await given.store.put(*worker(beat=beat))
            await asyncio.sleep(3)
            assert given.states() == {"w1": "up"}, beat
        await asyncio.sleep(28)
        assert given.states() == {"w1": "silent"}

    following(test)


def test_while_the_store_is_away_the_rows_stay_and_are_said_to_be_old() -> None:
    async def test(given: Given) -> None:
        given.store.away = True
        await asyncio.sleep((STALE_MS + LIST_MS) / 1000)
        assert [given.rows.stale] == [True]
        await asyncio.sleep(60)
        assert given.states() == {"w1": "up"}, "silence that nobody could hear is none"
        given.store.away = False
        await given.store.put(*worker(state=MemberState.DRAINING))
        await asyncio.sleep(2 * LIST_MS / 1000)
        assert not given.rows.stale
        assert given.states() == {"w1": "draining"}

    following(test)


def test_after_the_store_was_away_workers_have_their_time_to_renew() -> None:
    async def test(given: Given) -> None:
        given.store.away = True
        await asyncio.sleep(60)
        given.store.away = False
        for _ in range(int(14 / 0.1)):
            await asyncio.sleep(0.1)
            assert given.states() == {"w1": "up"}
        assert not given.rows.stale
        await asyncio.sleep(3)
        assert given.states() == {"w1": "silent"}

    following(test)


def test_a_worker_that_renews_no_more_is_silent_and_comes_back_with_its_next_beat() -> None:
    async def test(given: Given) -> None:
        await asyncio.sleep(16)
        (row,) = given.rows.rows("workers")
        assert (row.state, row.level, row.reason) == ("silent", Level.FAILED, "worker_silent")
        await given.store.put(*worker(beat=2))
        await asyncio.sleep(0.1)
        assert given.states() == {"w1": "up"}

    following(test)


def test_a_worker_that_was_lost_is_a_trouble_for_a_while_and_then_over() -> None:
    async def test(given: Given) -> None:
        await given.store.put(*worker(state=MemberState.LOST, reason="killed"))
        await asyncio.sleep(0.1)
        (row,) = given.rows.rows("workers")
        assert (row.level, row.reason, row.over) == (Level.FAILED, "worker_lost", False)
        await asyncio.sleep(LOST_SHOWN_MS / 1000)
        (row,) = given.rows.rows("workers")
        assert (row.level, row.over) == (Level.OK, True)

    following(test)


def test_a_proposal_whose_time_is_over_waits_for_nobody() -> None:
    async def test(given: Given) -> None:
        now = given.clock.wall_ms()
        change = Change(kind="rollout.change", target="desk", digest="0" * 64)
        proposal = Proposal(
            id="p1", change=change, author="ann", reason="", created_at_ms=now, expires_at_ms=now + 20_000
        )
        await given.store.put("approvals", "p1", msgspec.json.encode(proposal))
        await asyncio.sleep(0.1)
        assert [one.level for one in given.rows.rows("approvals")] == [Level.NOTICE]
        await asyncio.sleep(20)
        assert [(one.level, one.over) for one in given.rows.rows("approvals")] == [(Level.OK, True)]

    following(test)


def test_rows_beyond_the_bound_are_counted_and_there_is_room_again_when_others_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "ROWS_MAX", 3)

    async def test(given: Given) -> None:
        for number in range(2, 6):
            for _ in range(2):
                await given.store.put(*worker(f"w{number}"))
        await asyncio.sleep(0.1)
        assert len(given.states()) == 3
        assert given.rows.full["workers"] == 2
        await given.store.delete("members", key("w1"))
        await given.store.delete("members", key("w4"))
        await asyncio.sleep(3 * LIST_MS / 1000)
        assert set(given.states()) == {"w2", "w3", "w5"}, "nobody need write it once more"
        assert given.rows.full == {}

    following(test)


def test_what_has_ended_gives_way_to_what_lives_and_nobody_is_told_that_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "ROWS_MAX", 3)

    async def test(given: Given) -> None:
        for name in ("s1", "s2", "s3", "s4"):
            await given.store.put(*lease("ended", name))
        await given.store.put(*lease("held", "s5"))
        await asyncio.sleep(0.1)
        assert given.states("leases") == {"s2": "ended", "s3": "ended", "s5": "held"}
        assert given.rows.full == {"leases": 2}
        assert all(after is not None for _, after in given.told)
        await given.store.put(*lease("ended", "s5"))
        for name in ("s6", "s7", "s8", "s9"):
            await given.store.put(*lease("held", name))
        await asyncio.sleep(2 * LIST_MS / 1000)
        assert given.states("leases") == dict.fromkeys(("s6", "s7", "s8"), "held")
        assert given.rows.full == {"leases": 6}

    following(test)


def raises(key: str, value: bytes) -> Row | None:
    raise RuntimeError(key)


def cannot_be_written(key: str, value: bytes) -> Row | None:
    return Row(aggregate_id=key, state="\ud800")


@pytest.mark.parametrize("broken", [raises, cannot_be_written])
def test_an_owner_whose_rows_cannot_be_made_hides_no_others(broken: ReadRow) -> None:

    declared = [
        msgspec.structs.replace(one, row=broken) if one.name == "rollouts" else one for one in SURFACES
    ]

    async def test(given: Given) -> None:
        await given.store.put("config", "rollout/desk", b"{}")
        await given.store.put(*worker("w2"))
        await asyncio.sleep(0.1)
        assert "w2" in given.states()
        assert given.rows.rows("rollouts") == []

    following(test, Surfaces(declared))


def test_a_record_that_turns_unreadable_has_no_row_any_more() -> None:
    async def test(given: Given) -> None:
        await given.store.put("members", key("w1"), b"\xff")
        await asyncio.sleep(0.1)
        assert given.states() == {}
        assert given.rows.rows("no such surface") == []

    following(test)


def test_two_tenants_may_have_a_session_of_one_name() -> None:
    async def test(given: Given) -> None:
        for tenant in ("acme", "zeta"):
            value = {"tenant_id": tenant, "session_id": "s", "owner": tenant}
            await given.store.put("sessions", key(tenant, "s"), msgspec.json.encode(value))
        await asyncio.sleep(0.1)
        for tenant in ("acme", "zeta"):
            row = given.rows.row("leases", "s", tenant)
            assert row is not None
            assert row.facts["owner"] == tenant
        await given.store.delete("sessions", key("acme", "s"))
        await asyncio.sleep(2 * LIST_MS / 1000)
        assert given.rows.row("leases", "s", "acme") is None
        assert given.rows.row("leases", "s", "zeta") is not None

    following(test)
