"""An audit log cannot be changed unseen, and what cannot be written is not done."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rspp.contract.errors import LimitReached
from rspp.testing.store import MemoryStore
from rspp.timeline.audit import BUCKET, PREFIX, AuditFault, AuditLog, heads, records, verify


async def filled(store: MemoryStore, count: int = 5, writer: str = "w") -> AuditLog:
    log = AuditLog(store, wall_ms=lambda: 1_000, writer=writer)
    for number in range(count):
        await log.append("access", "allow", tenant_id="t", principal_id="p", reason=f"r{number}")
    return log


def raw(store: MemoryStore, writer: str = "w") -> list[bytes]:
    return store._logs[PREFIX + writer].records


def test_a_log_that_nobody_touched_is_sound() -> None:
    async def main() -> None:
        store = MemoryStore()
        await filled(store)
        await filled(store, 3, "other")
        verified = await verify(store, await heads(store))
        assert (verified.logs, verified.records, verified.broken) == (2, 8, ())
        assert [record.reason for record in await records(store, "w")] == [f"r{n}" for n in range(5)]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("harm", "place"),
    [
        (lambda log: log.__setitem__(2, log[2].replace(b"allow", b"denyy")), "audit/w[4]"),
        (lambda log: log.__setitem__(2, b"not json"), "audit/w[3]"),
        (lambda log: log.pop(1), "audit/w[2]"),
        (lambda log: log.insert(1, log[0]), "audit/w[2]"),
        (lambda log: log.__setitem__(slice(1, 3), [log[2], log[1]]), "audit/w[2]"),
        (lambda log: log.pop(), "audit/w[5]"),
        (lambda log: log.clear(), "audit/w[1]"),
        (lambda log: log.__setitem__(4, log[4].replace(b"allow", b"denyy")), "audit/w[5]"),
    ],
    ids=["changed", "garbled", "deleted", "repeated", "reordered", "cut", "emptied", "last changed"],
)
def test_a_change_is_found_and_its_place_is_named(harm: Any, place: str) -> None:
    async def main() -> None:
        store = MemoryStore()
        await filled(store)
        harm(raw(store))
        assert (await verify(store)).broken == (place,)

    asyncio.run(main())


def test_a_log_that_was_cut_together_with_its_head_is_found_by_a_head_that_was_kept_elsewhere() -> None:
    async def main() -> None:
        store = MemoryStore()
        await filled(store)
        kept = await heads(store)
        short = MemoryStore()
        await filled(short, 3)
        assert (await verify(short)).broken == ()
        assert (await verify(short, kept)).broken == ("audit/w[4]",)
        assert (await verify(MemoryStore(), kept)).broken == ("audit/w[1]",)

    asyncio.run(main())


def test_a_head_that_is_no_head_is_named() -> None:
    async def main() -> None:
        store = MemoryStore()
        await filled(store)
        await store.put(BUCKET, "w", b"{")
        assert (await verify(store)).broken == (f"{BUCKET}:w",)

    asyncio.run(main())


def test_a_writer_that_comes_back_goes_on_and_a_record_without_its_head_is_no_fault() -> None:
    async def main() -> None:
        store = MemoryStore()
        await filled(store, 2)
        head = await store.get(BUCKET, "w")
        assert head is not None
        await filled(store, 2)
        assert [record.number for record in await records(store, "w")] == [1, 2, 3, 4]
        await store.put(BUCKET, "w", head.value)  # the process died before the head was written
        assert (await verify(store)).broken == ()
        await filled(store, 1)
        assert (await verify(store)).broken == ()

    asyncio.run(main())


def test_appends_that_come_at_once_are_one_chain() -> None:
    async def main() -> None:
        store = MemoryStore()
        log = AuditLog(store, wall_ms=lambda: 1)
        await asyncio.gather(
            *(log.append("a", "done", tenant_id="t", principal_id="p", reason=str(n)) for n in range(50))
        )
        verified = await verify(store)
        assert (verified.records, verified.broken) == (50, ())

    asyncio.run(main())


@pytest.mark.parametrize(
    "fields",
    [
        {"action": ""},
        {"decision": ""},
        {"reason": "x" * 1_000},
        {"reason": "\ud800"},
        {"facts": {str(n): "" for n in range(100)}},
        {"facts": {"x": 3}},
    ],
)
def test_a_record_that_is_not_whole_is_refused_and_leaves_no_trace(fields: dict[str, Any]) -> None:
    async def main() -> None:
        store = MemoryStore()
        log = AuditLog(store, wall_ms=lambda: 1, writer="w")
        whole: dict[str, Any] = {
            "action": "access",
            "decision": "allow",
            "tenant_id": "t",
            "principal_id": "p",
            "reason": "",
        }
        given = {**whole, **fields}
        with pytest.raises(AuditFault) as refused:
            await log.append(given.pop("action"), given.pop("decision"), **given)
        assert refused.value.code == "audit_event_invalid"
        assert [one async for one in store.read("audit/w")] == []

    asyncio.run(main())


class Broken(MemoryStore):
    broken = True
    hangs = False

    async def append(self, log: str, record: bytes) -> int:
        if self.hangs:
            await asyncio.sleep(3_600)
        if self.broken:
            raise LimitReached("store_full", "no room")
        return await super().append(log, record)


def test_a_store_that_fails_is_said_and_the_next_record_fits_the_chain() -> None:
    async def main() -> None:
        store = Broken()
        log = AuditLog(store, wall_ms=lambda: 1)
        with pytest.raises(AuditFault, match="audit_sink_write_failed"):
            await log.append("a", "done", tenant_id="t", principal_id="p", reason="")
        store.broken = False
        await log.append("a", "done", tenant_id="t", principal_id="p", reason="")
        assert (await verify(store)).broken == ()

    asyncio.run(main())


def test_a_store_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.timeline.audit.APPEND_MS_MAX", 20)

    async def main() -> None:
        store = Broken()
        store.hangs = True
        log = AuditLog(store, wall_ms=lambda: 1)
        with pytest.raises(AuditFault, match="TimeoutError"):
            await log.append("a", "done", tenant_id="t", principal_id="p", reason="")

    asyncio.run(main())
