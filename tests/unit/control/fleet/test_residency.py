"""A tenant's sessions and what is left of them stay where its policy lets them be; elsewhere is denied, and on record."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.fleet.residency import Jurisdiction, Residencies, Residency, ResidencyRules, Use, rules_of
from rspp.control.fleet.residency_guard import (
    DENIALS_MAX,
    Guard,
    ResidencyDenied,
    ResidencyView,
    ResidentStore,
    tenant_of_key,
    tenant_of_name,
)
from rspp.control.names import CONFIG, STATUS, key
from rspp.control.security.audit import Audit
from rspp.host.durable import BUCKET as STATE
from rspp.host.durable import state_key
from rspp.host.ports import Entry, Refused
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore
from rspp.timeline.audit import PREFIX, records

EU = Jurisdiction(name="eu", regions=("eu-1", "eu-2"))
RULES = ResidencyRules(
    tenants={
        "bank": Residency(tenant_id="bank", process=("jurisdiction:eu", "ch-1"), store=("eu-1",)),
        "nowhere": Residency(tenant_id="nowhere", process=()),
        "lost": Residency(tenant_id="lost", process=("jurisdiction:mars",), store=("jurisdiction:mars",)),
    },
    jurisdictions={"eu": EU},
    unreadable=frozenset({"garbled"}),
)


@pytest.mark.parametrize(
    ("tenant", "region", "process", "store"),
    [
        ("bank", "eu-1", True, True),
        ("bank", "eu-2", True, False),
        ("bank", "ch-1", True, False),
        ("bank", "us-1", False, False),
        ("bank", "eu", False, False),
        ("bank", "jurisdiction:eu", False, False),
        ("nowhere", "eu-1", False, True),
        ("lost", "eu-1", False, False),
        ("garbled", "eu-1", False, False),
        ("anybody", "us-1", True, True),
    ],
)
def test_what_may_be_done_where(tenant: str, region: str, process: bool, store: bool) -> None:
    assert (RULES.may_process(tenant, region), RULES.may_store(tenant, region)) == (process, store)


def entry(name: str, value: bytes) -> Entry:
    return Entry(name, value, 1)


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b'{"tenant_id":"t","process":"eu-1"}', b'{"tenant_id":"other"}', b"\xff" * 9]
)
def test_a_policy_that_cannot_be_read_lets_its_tenant_be_nowhere(value: bytes) -> None:
    rules = rules_of([entry("residency/t", value), entry("jurisdiction/eu", b"{")])
    assert not rules.may_process("t", "eu-1")
    assert not rules.may_store("t", "eu-1")
    assert rules.may_process("other", "eu-1")


def test_a_jurisdiction_under_anothers_name_is_none() -> None:
    policy = Residency(tenant_id="t", process=("jurisdiction:eu",), author="ann", reason="law")
    other = Jurisdiction(name="world", regions=("us-1",), author="ann", reason="law")
    entries = [
        entry("residency/t", msgspec.json.encode(policy)),
        entry("jurisdiction/eu", msgspec.json.encode(other)),
    ]
    assert rules_of(entries).regions("t", Use.PROCESS) == frozenset()


def test_what_was_said_is_read_again_and_a_tenant_with_a_strange_name_is_itself() -> None:
    async def main() -> None:
        residencies = Residencies(MemoryStore())
        await residencies.put_jurisdiction(
            Jurisdiction(name="eu", regions=("eu-1",), author="ann", reason="law")
        )
        for name in ("a/b", "a", "%2F", "Ü ber"):
            policy = Residency(tenant_id=name, process=("jurisdiction:eu",), author="ann", reason="law")
            assert await residencies.put(policy, expect=0)
            assert await residencies.put(policy, expect=0) is None
        rules = await residencies.rules()
        assert sorted(rules.tenants) == ["%2F", "a", "a/b", "Ü ber"]
        assert rules.unreadable == frozenset()
        assert rules.may_process("a/b", "eu-1")
        assert not rules.may_process("a/b", "us-1")

    asyncio.run(main())


@pytest.mark.parametrize(
    "policy",
    [
        Residency(tenant_id="t", process=("a",), reason="why"),
        Residency(tenant_id="t", process=("a",), author="ann"),
        Residency(tenant_id="t", process=("",), author="ann", reason="why"),
        Residency(tenant_id="t", store=tuple(map(str, range(257))), author="ann", reason="why"),
    ],
)
def test_a_policy_of_nobody_or_of_nonsense_is_not_taken(policy: Residency) -> None:
    with pytest.raises(MisuseError, match="residency_invalid"):
        asyncio.run(Residencies(MemoryStore()).put(policy))


def test_rules_that_are_too_old_or_were_never_read_let_nobody_in() -> None:
    async def main() -> None:
        clock = ManualClock()
        view = ResidencyView(MemoryStore(), clock, stale_ms=1_000)
        with pytest.raises(Refused, match="residency_unknown"):
            view.rules()
        await view.refresh()
        clock.advance(1_000)
        assert view.rules().may_process("t", "anywhere")
        clock.advance(1)
        with pytest.raises(Refused, match="residency_unknown"):
            view.rules()

    asyncio.run(main())


def test_a_rule_that_was_taken_back_binds_nobody_after_the_next_look() -> None:
    async def main() -> None:
        store = MemoryStore()
        view = ResidencyView(store, ManualClock())
        await Residencies(store).put(Residency(tenant_id="t", process=(), author="ann", reason="law"))
        await view.refresh()
        assert not view.rules().may_process("t", "a")
        await store.delete(CONFIG, key("residency", "t"))
        await view.refresh()
        assert view.rules().may_process("t", "a")

    asyncio.run(main())


async def written(store: MemoryStore) -> list[tuple[str, str, str, str, dict[str, str]]]:
    found = []
    for log in sorted(store._logs):
        if log.startswith(PREFIX):
            found += [
                (one.action, one.decision, one.tenant_id, one.reason, one.facts)
                for one in await records(store, log.removeprefix(PREFIX))
            ]
    return found


def test_a_write_elsewhere_is_blocked_and_on_record_and_nothing_of_it_is_in_the_store(tmp_path: Path) -> None:
    async def main() -> None:
        audit_store = MemoryStore()
        region = SqliteStore(tmp_path / "us.db")
        guard = Guard(lambda: RULES, "us-1", Audit(audit_store, "w"), "worker:w1")
        store = ResidentStore(region, guard)
        for write in (
            store.put_blob("recordings/bank/s1/part-1", b"sound of the caller"),
            store.put("recordings", "bank/s1", b"entry of the caller"),
            store.append("recordings/bank/s1", b"record of the caller"),
            store.put(STATUS, "bank/s1", b"status of the caller"),
        ):
            with pytest.raises(ResidencyDenied, match="residency_denied"):
                await write
        assert (await store.blobs(), await store.keys("recordings"), await store.keys(STATUS)) == ([], [], [])
        await store.put_blob("recordings/anybody/s1/part-1", b"of a tenant without a policy")
        await store.put(CONFIG, "spec/v1", b"nobody's")
        assert await store.get_blob("recordings/anybody/s1/part-1") is not None
        await store.close()
        denied = await written(audit_store)
        assert [one[:4] for one in denied] == [("residency.store", "deny", "bank", "residency_denied")] * 4
        assert denied[0][4] == {"region": "us-1", "use": "store", "what": "recordings/bank/s1/part-1"}
        assert guard.denied == 4

    asyncio.run(main())
    files = list(tmp_path.iterdir())
    assert files
    assert all(b"of the caller" not in file.read_bytes() for file in files)


def test_what_lies_in_the_wrong_place_can_still_be_read_and_removed() -> None:
    async def main() -> None:
        inner = MemoryStore()
        await inner.put_blob("recordings/bank/s1/p", b"old")
        await inner.put("recordings", "bank/s1", b"old")
        store = ResidentStore(inner, Guard(lambda: RULES, "us-1", Audit(MemoryStore(), "w"), "w"))
        assert await store.get_blob("recordings/bank/s1/p") == b"old"
        await store.delete_blob("recordings/bank/s1/p")
        await store.delete("recordings", "bank/s1")
        assert (await store.blobs(), await store.keys("recordings")) == ([], [])

    asyncio.run(main())


class _NoPaper:
    async def denied(self, *given: object) -> object:
        raise PeerFault("audit_sink_write_failed", "no paper")


def test_a_denial_that_cannot_be_put_on_record_is_a_denial_all_the_same() -> None:
    async def main() -> None:
        inner = MemoryStore()
        store = ResidentStore(inner, Guard(lambda: RULES, "us-1", _NoPaper(), "w"))
        with pytest.raises(PeerFault):
            await store.put_blob("recordings/bank/s1/p", b"x")
        assert await inner.blobs() == []

    asyncio.run(main())


def test_recordings_are_kept_where_the_policy_lets_them_be_and_nowhere_while_nobody_knows() -> None:
    async def main() -> None:
        audit_store = MemoryStore()

        def nobody_knows() -> ResidencyRules:
            raise Refused("residency_unknown", "too old", 1_000)

        rules = ResidencyRules(tenants={"bank": Residency(tenant_id="bank", store=("eu-2",))})
        eu, us, blind = (
            Guard(known, region, Audit(audit_store, region), f"worker:{region}")
            for known, region in ((lambda: rules, "eu-2"), (lambda: rules, "us-1"), (nobody_knows, "eu-2"))
        )
        assert eu.keeps("bank")
        assert us.keeps("club")
        assert not us.keeps("bank")
        assert not blind.keeps("club")
        assert (eu.denied, us.denied, blind.denied) == (0, 1, 1)
        running = asyncio.create_task(us.run())
        async with asyncio.timeout(5):
            while not (found := await written(audit_store)):  # noqa: ASYNC110 - a store says nothing by itself
                await asyncio.sleep(0)
        running.cancel()
        facts = {"region": "us-1", "use": "store", "what": "a recording"}
        assert found == [("residency.store", "deny", "bank", "residency_denied", facts)]

    asyncio.run(main())


def test_the_door_refuses_at_once_and_the_record_follows() -> None:
    async def main() -> None:
        audit_store = MemoryStore()
        told = asyncio.Event()

        class Paper:
            async def denied(self, *given: Any) -> object:
                entry = await Audit(audit_store, "w").denied(*given)
                told.set()
                return entry

        guard = Guard(lambda: RULES, "us-1", Paper(), "worker:w1")
        guard.check("bank", "eu-2")
        with pytest.raises(Refused, match="residency_denied"):
            guard.check("bank", "us-1")
        running = asyncio.create_task(guard.run())
        await asyncio.wait_for(told.wait(), 5)
        running.cancel()
        assert await written(audit_store) == [
            (
                "residency.process",
                "deny",
                "bank",
                "residency_denied",
                {"region": "us-1", "use": "process", "what": "a session"},
            )
        ]
        for _ in range(DENIALS_MAX + 7):
            with pytest.raises(Refused):
                guard.check("bank", "us-1")
        assert guard.unrecorded == 7

    asyncio.run(main())


@pytest.mark.parametrize(
    ("found", "tenant"),
    [
        (tenant_of_key("recordings", "a%2Fb/s1"), "a/b"),
        (tenant_of_key("recordings_open", "bank"), "bank"),
        (tenant_of_key(STATE, state_key("a/b", "s1", "k")), "a/b"),
        (tenant_of_key("config", "bank/s1"), None),
        (tenant_of_name("recordings/bank/s1/p"), "bank"),
        (tenant_of_name("recordings"), None),
        (tenant_of_name("audit/w"), None),
    ],
)
def test_whose_something_is_stands_in_its_name(found: str | None, tenant: str | None) -> None:
    assert found == tenant


def test_both_uses_have_their_own_regions() -> None:
    assert RULES.regions("bank", Use.PROCESS) == frozenset({"eu-1", "eu-2", "ch-1"})
    assert RULES.regions("bank", Use.STORE) == frozenset({"eu-1"})
    assert RULES.regions("anybody", Use.STORE) is None
