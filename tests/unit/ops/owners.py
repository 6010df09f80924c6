"""Simulated owners: they write what the real ones write, into the real surfaces' places."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from rspp.contract.errors import PeerFault
from rspp.contract.event import NS_PER_MS
from rspp.contract.surface import Level, Row
from rspp.control.authority.leases import Lease, LeaseState
from rspp.control.authority.members import Member, MemberState
from rspp.control.config.rollout import Rollout
from rspp.control.config.rollouts import Record
from rspp.control.fleet.provider_health import ProviderReport, ProviderState
from rspp.control.fleet.status import SessionWord, Status
from rspp.control.intake.limits import QuotaRecord
from rspp.control.intake.quotas import Limit, TenantLimits
from rspp.control.names import key
from rspp.host.ports import Entry
from rspp.testing.clock import WALL_START
from rspp.testing.store import MemoryStore

TENANTS = ("acme", "b/c")
NAMES = tuple(f"n{number}" for number in range(6))


class LoopClock:
    """The running loop's own time, as a Clock; in a virtual loop nobody waits for it."""

    def now(self) -> int:
        return int(asyncio.get_running_loop().time() * 1_000_000_000)

    def wall(self) -> int:
        return WALL_START + self.now()

    def wall_ms(self) -> int:
        return self.wall() // NS_PER_MS


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def member(draw: random.Random, beat: int) -> tuple[str, str, bytes]:
    name = draw.choice(NAMES)
    value = Member(
        id=name,
        kind="worker",
        ttl_ms=3_000_000,
        state=draw.choice(list(MemberState)),
        sessions=draw.randrange(3),
        capacity=10,
        ready=draw.random() < 0.7,
        reasons=("full",),
        beat=beat,
    )
    return "members", key(name), encoded(value)


def lease(draw: random.Random, beat: int) -> tuple[str, str, bytes]:
    tenant, name = draw.choice(TENANTS), draw.choice(NAMES)
    value = Lease(
        tenant_id=tenant,
        session_id=name,
        owner=draw.choice(NAMES),
        state=draw.choice(list(LeaseState)),
        epoch=draw.randrange(3),
        resume_hash="5ec2e7" * 8,
        write=f"{beat}",
    )
    return "sessions", key(tenant, name), encoded(value)


def status(draw: random.Random, beat: int) -> tuple[str, str, bytes]:
    tenant, name = draw.choice(TENANTS), draw.choice(NAMES)
    value = Status(
        tenant=tenant,
        session=name,
        state=draw.choice(list(SessionWord)),
        since_ms=7,
        opened_ms=7,
        epoch=1,
        owner=draw.choice(NAMES),
        turns=draw.randrange(4),
        missing=("tts",),
        changes=beat,
    )
    return "status", key(tenant, name), encoded(value)


def rollout(draw: random.Random, beat: int) -> tuple[str, str, bytes]:
    name = draw.choice(NAMES)
    frozen = draw.random() < 0.3
    value = Record(
        rollout=Rollout(
            pipeline=name,
            base=draw.choice(("v1", "v2")),
            frozen=frozen,
            frozen_by="error_budget" if frozen else "",
        ),
        number=beat % 3,
    )
    return "config", key("rollout", name), encoded(value)


def quota(draw: random.Random, beat: int) -> tuple[str, str, bytes]:
    tenant = draw.choice(TENANTS)
    limits = TenantLimits(sessions=Limit(most=draw.randrange(5)))
    return (
        "config",
        key("quota", tenant),
        encoded(QuotaRecord(tenant=tenant, limits=limits, author="ops", reason="so", at_ms=1)),
    )


def word(draw: random.Random, beat: int) -> tuple[str, str, bytes]:
    provider, worker = draw.choice(("stt", "tts")), draw.choice(NAMES)
    value = ProviderReport(
        provider=provider,
        member=worker,
        region="local",
        state=draw.choice(list(ProviderState)),
        at_ms=beat,
        availability=draw.randrange(100),
        beat=beat,
    )
    return "health", key("provider", provider, worker), encoded(value)


def condition(draw: random.Random, beat: int) -> tuple[str, str, bytes]:
    worker = draw.choice(NAMES)
    surface = draw.choice(("circuits", "evidence_export", "recordings", "turns"))
    level = draw.choice(list(Level))
    tenant = "acme" if surface == "turns" else None
    place = "-" if tenant is None else f"={tenant}"
    row = Row(
        aggregate_id=f"x@{worker}",
        tenant_id=tenant,
        state=level.value,
        level=level,
        reason="circuit_open" if level is not Level.OK else "",
        facts={"turn": beat % 4},
    )
    return "conditions", f"{worker}/{surface}/{place}/x%40{worker}", encoded(row)


def stranger(draw: random.Random, beat: int) -> tuple[str, str, bytes]:
    """What lies in no surface, or cannot be read by its owner."""
    which = draw.choice(("members", "config", "state"))
    return which, f"strange-{draw.randrange(3)}", b"\xff no record %d" % beat


Owner = Callable[[random.Random, int], tuple[str, str, bytes]]
OWNERS: tuple[Owner, ...] = (member, lease, status, rollout, quota, word, condition, stranger)


class Faulty:
    """A store whose answers may be lost, before or after the write was done; the journal's bucket can be shut."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.lose = ""  # before, after: of the next put of a surface
        self.shut = False

    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: int | None = None, ttl_ms: int | None = None
    ) -> int | None:
        if bucket.startswith("journal") or "journal" in bucket:
            if self.shut:
                raise PeerFault("store_unreachable", "the journal is shut")
            return await self.store.put(bucket, key, value, expect=expect, ttl_ms=ttl_ms)
        lose, self.lose = self.lose, ""
        if lose == "before":
            raise PeerFault("store_unreachable", "not sent")
        done = await self.store.put(bucket, key, value, expect=expect, ttl_ms=ttl_ms)
        if lose == "after":
            raise PeerFault("store_unreachable", "the answer was lost")
        return done

    def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]:
        return self.store.watch(bucket, prefix)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)
