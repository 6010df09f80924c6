from __future__ import annotations

import asyncio

import msgspec
import pytest

from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.authority.leases import TOMBSTONE_MS, Held, Lease, Leases, LeaseState, hash_of, opens
from rspp.control.names import LEASES, encoded, key, of_tenant, parts
from rspp.host.ports import Refused
from rspp.testing.store import ManualClock, MemoryStore


def lease(session_id: str = "s1", **more: object) -> Lease:
    return Lease(tenant_id="acme", session_id=session_id, owner="", **more)  # type: ignore[arg-type]


async def gone(_: str) -> bool:
    return True


async def alive(_: str) -> bool:
    return False


class Deaf(MemoryStore):
    """A store whose answers to writes are lost."""

    async def put(self, bucket: str, key: str, value: bytes, **how: int | None) -> int | None:
        await super().put(bucket, key, value, **how)
        raise PeerFault("store_unreachable", "the answer was lost")


def test_the_epoch_is_the_revision_of_the_write_that_made_the_owner() -> None:
    async def main() -> None:
        store = MemoryStore()
        await store.put("other", "x", b"1")
        held = await Leases(store, "a").acquire(lease())

        assert held.epoch == held.revision == 2
        assert held.lease.owner == "a"

    asyncio.run(main())


def test_a_name_opens_once_even_after_its_session_has_ended() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        a, b = Leases(store, "a"), Leases(store, "b")
        held = await a.acquire(lease())
        with pytest.raises(Refused, match="session_exists"):
            await b.acquire(lease())
        assert await a.end(held, "drained") is not None
        with pytest.raises(Refused, match="session_exists"):
            await b.acquire(lease())
        clock.advance(TOMBSTONE_MS + 1)

        assert (await b.acquire(lease())).epoch > held.epoch

    asyncio.run(main())


def test_a_session_is_taken_only_from_the_dead_and_from_who_let_go() -> None:
    async def main() -> None:
        store = MemoryStore()
        a, b = Leases(store, "a"), Leases(store, "b")
        held = await a.acquire(lease())
        with pytest.raises(Refused, match="session_held"):
            await b.take(held, alive)
        moving = await a.move(held)
        assert moving is not None
        with pytest.raises(Refused, match="session_moving") as refusal:
            await b.take(moving, alive)
        assert refusal.value.retry_after_ms
        assert moving.epoch == held.epoch, "it is still the old owner's"
        free = await a.free(moving)
        assert free is not None
        taken = await b.take(free, alive, "eu-2")

        assert taken.lease.region == "eu-2", "it is where its owner is"
        assert taken.epoch == moving.lease.reserved > held.epoch
        assert taken.lease.taken == 1
        assert await a.end(moving, "late") is None, "who let go changes nothing any more"

    asyncio.run(main())


def test_of_two_who_take_the_session_of_a_dead_process_one_gets_it() -> None:
    async def main() -> None:
        store = MemoryStore()
        held = await Leases(store, "dead").acquire(lease())
        results = await asyncio.gather(
            *(Leases(store, name).take(held, gone) for name in "bcd"), return_exceptions=True
        )

        assert sum(isinstance(one, Held) for one in results) == 1
        assert sum(isinstance(one, Refused) and one.code == "session_held" for one in results) == 2

    asyncio.run(main())


def test_a_write_whose_answer_was_lost_is_known_by_its_own_mark() -> None:
    async def main() -> None:
        deaf = Deaf()
        held = await Leases(deaf, "a").acquire(lease())
        assert held.epoch == 1
        rotated = await Leases(deaf, "a").rotate(held)

        assert rotated is not None
        assert rotated.epoch == 2

    asyncio.run(main())


def test_a_write_that_another_one_passed_is_not_taken_for_ours() -> None:
    class Beaten(MemoryStore):
        async def put(self, bucket: str, key: str, value: bytes, **how: int | None) -> int | None:
            raise PeerFault("store_unreachable", "nothing arrived")

    async def main() -> None:
        store = Beaten()
        other = MemoryStore.put
        found = Lease(tenant_id="acme", session_id="s1", owner="b", write="b's")
        await other(store, LEASES, key("acme", "s1"), msgspec.json.encode(found))
        with pytest.raises(PeerFault, match="store_unreachable"):
            await Leases(store, "a").acquire(lease())

    asyncio.run(main())


def test_a_session_that_was_revoked_or_has_ended_is_nobodys() -> None:
    async def main() -> None:
        store = MemoryStore()
        a = Leases(store, "a")
        held = await a.acquire(lease())
        assert await Leases(store, "operator").revoke("acme", "s1", "asked")
        found = await a.get("acme", "s1")
        assert found is not None
        assert (found.lease.state, found.epoch) == (LeaseState.REVOKED, held.epoch)
        with pytest.raises(Refused, match="session_over"):
            await a.take(found, gone)
        assert not await a.revoke("acme", "s1", "again")
        assert await a.end(held, "late") is None

    asyncio.run(main())


def test_a_lease_that_cannot_be_read_is_refused_and_not_replaced() -> None:
    async def main() -> None:
        store = MemoryStore()
        await store.put(LEASES, key("acme", "s1"), b"{")
        with pytest.raises(Refused, match="lease_unreadable"):
            await Leases(store, "a").get("acme", "s1")
        with pytest.raises(Refused, match="session_exists"):
            await Leases(store, "a").acquire(lease())

    asyncio.run(main())


def test_only_the_secret_of_a_session_opens_it() -> None:
    mine = lease(resume_hash=hash_of("secret"))

    assert opens(mine, "secret")
    assert not opens(mine, "secret ")
    assert not opens(lease(), "")
    assert "secret" not in repr(mine)


def test_no_name_reaches_into_the_room_of_another_tenant() -> None:
    assert key("a/b", "c") != key("a", "b/c")
    assert not key("a/b", "s").startswith(of_tenant("a"))
    assert parts(key("ä/%2F", "s 1")) == ("ä/%2F", "s 1")
    for wrong in ("", "x" * 201, "\ud800"):
        with pytest.raises(MisuseError):
            encoded(wrong)
