"""What residency forbids is stopped where it would happen, and is on record: at the opening of a session, and at each write.

    ResidencyView   the rules, as new as their bound says
    Guard           one region's doorkeeper: allows, or denies with an audit record
    ResidentStore   a region's store that takes nothing of a tenant who may not be kept there

Rules that were never read, or not for too long, let nobody in who might be bound by them: that is everybody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, Protocol
from urllib.parse import unquote

from rspp.contract.errors import LimitReached, PeerFault, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.fleet.residency import Residencies, ResidencyRules, Use
from rspp.control.names import STATUS
from rspp.host.ports import Clock, Entry, Refused, Store

log = logging.getLogger("rspp.control.fleet.residency")

# Rules change seldom, and by people; a store that cannot be read for so long is a failure of its own.
STALE_MS: Final = 30_000
READ_MS_MAX: Final = 2_000
RETRY_MS: Final = 2_000
# Denials that are not on record yet; past it a write waits for its own.
DENIALS_MAX: Final = 1_000

# What is a tenant's by its name: buckets whose keys, and blobs and logs whose names, have the tenant as this part.
_TENANT_PART: Final = {"recordings": 0, "recordings_open": 0, "state": 0, STATUS: 0}
_TENANT_PART_OF_NAME: Final = {"recordings": 1}


class Denials(Protocol):
    """Where it is written down that something was denied; it raises if that cannot be done."""

    async def denied(
        self,
        principal_id: str,
        action: str,
        tenant_id: str | None,
        reason: str,
        facts: Mapping[str, str] | None = None,
    ) -> object: ...


class ResidencyDenied(PeerFault):
    """A tenant's policy does not let this be done here."""


class ResidencyView:
    """The rules as this process knows them."""

    def __init__(self, store: Store, clock: Clock, *, stale_ms: int = STALE_MS) -> None:
        self._residencies = Residencies(store)
        self._clock = clock
        self._stale_ns = stale_ms * NS_PER_MS
        self._rules: ResidencyRules | None = None
        self._taken_at = 0

    def rules(self) -> ResidencyRules:
        """Rules that are not too old; raises `Refused` when there are none, for then nobody knows what is forbidden."""
        if self._rules is None or self._clock.now() - self._taken_at > self._stale_ns:
            raise Refused("residency_unknown", "the residency rules could not be read in time", RETRY_MS)
        return self._rules

    async def refresh(self) -> None:
        began = self._clock.now()
        async with asyncio.timeout(READ_MS_MAX / 1000):
            self._rules = await self._residencies.rules()
        self._taken_at = began

    async def run(self) -> None:
        """Read again and again, well within the bound: a rule that was deleted is told by no watch."""
        while True:
            try:
                await self.refresh()
            except (RsppError, OSError, TimeoutError) as error:
                log.warning("residency rules could not be read: %s", type(error).__name__)
            await asyncio.sleep(self._stale_ns / NS_PER_MS / 6_000)


class Guard:
    """One region's doorkeeper."""

    def __init__(
        self,
        rules: Callable[[], ResidencyRules],
        region: str,
        denials: Denials,
        principal_id: str,
    ) -> None:
        self.region = region
        self.denied = 0
        self.unrecorded = 0  # denials at the door that found no room to wait for their record
        self._rules = rules
        self._denials = denials
        self._principal_id = principal_id
        self._waiting: deque[tuple[str, Use, str]] = deque(maxlen=DENIALS_MAX)
        self._some = asyncio.Event()

    def check(self, tenant_id: str, region: str) -> None:
        """May this tenant's sessions run here? Raises `Refused` at once; `run` puts it on record."""
        if self._rules().may_process(tenant_id, region):
            return
        self._deny(tenant_id, Use.PROCESS, "a session")
        raise Refused("residency_denied", "the tenant's policy does not let its sessions run in this region")

    def keeps(self, tenant_id: str) -> bool:
        """May recordings of this tenant's be written here? Where nobody knows, they may not."""
        try:
            allowed = self._rules().may_store(tenant_id, self.region)
        except Refused:
            allowed = False
        if not allowed:
            self._deny(tenant_id, Use.STORE, "a recording")
        return allowed

    def _deny(self, tenant_id: str, use: Use, what: str) -> None:
        self.denied += 1
        if len(self._waiting) < DENIALS_MAX:
            self._waiting.append((tenant_id, use, what))
            self._some.set()
        else:
            self.unrecorded += 1

    async def run(self) -> None:
        """Put on record what the door has refused. What cannot be written waits; a refusal holds all the same."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._waiting:
                try:
                    await self._record(*self._waiting[0])
                except (RsppError, OSError, TimeoutError) as error:
                    log.warning("a denial is not on record yet: %s", type(error).__name__)
                    await asyncio.sleep(RETRY_MS / 1000)
                else:
                    self._waiting.popleft()

    async def must(self, tenant_id: str, use: Use, what: str) -> None:
        """May this be done here? Raises `ResidencyDenied`, once that is on record, or `Refused` when nobody knows."""
        if self._rules().may(tenant_id, self.region, use):
            return
        self.denied += 1
        await self._record(tenant_id, use, what)
        raise ResidencyDenied(
            "residency_denied", f"the tenant's policy does not let region {self.region} {use.value} this"
        )

    async def _record(self, tenant_id: str, use: Use, what: str) -> None:
        facts = {"region": self.region, "use": use.value, "what": what[:256]}
        await self._denials.denied(
            self._principal_id, f"residency.{use.value}", tenant_id, "residency_denied", facts
        )


def tenant_of_key(bucket: str, key: str) -> str | None:
    """Whose a key is; None if it is no tenant's."""
    part = _TENANT_PART.get(bucket)
    return None if part is None else _part(key, part)


def tenant_of_name(name: str) -> str | None:
    """Whose a blob or a log is."""
    part = _TENANT_PART_OF_NAME.get(name.partition("/")[0])
    return None if part is None else _part(name, part)


def _part(name: str, number: int) -> str | None:
    found = name.split("/")
    return unquote(found[number]) if len(found) > number else None


class ResidentStore:
    """A store that stands in one region. Reading and deleting are always allowed: what should not be there must be able to go."""

    def __init__(self, store: Store, guard: Guard) -> None:
        self._store = store
        self._guard = guard
        self._asked = 0

    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: int | None = None, ttl_ms: int | None = None
    ) -> int | None:
        await self._may(tenant_of_key(bucket, key), f"{bucket}:{key}")
        return await self._store.put(bucket, key, value, expect=expect, ttl_ms=ttl_ms)

    async def append(self, log: str, record: bytes) -> int:
        await self._may(tenant_of_name(log), log)
        return await self._store.append(log, record)

    async def put_blob(self, name: str, data: bytes) -> None:
        await self._may(tenant_of_name(name), name)
        await self._store.put_blob(name, data)

    async def _may(self, tenant_id: str | None, what: str) -> None:
        if tenant_id is None:
            return
        if self._asked >= DENIALS_MAX:
            raise LimitReached("store_overloaded", "too many writes wait for their denial to be on record")
        self._asked += 1
        try:
            await self._guard.must(tenant_id, Use.STORE, what)
        finally:
            self._asked -= 1

    # ---- as it is ------------------------------------------------------------------------------------------------------

    async def get(self, bucket: str, key: str) -> Entry | None:
        return await self._store.get(bucket, key)

    async def delete(self, bucket: str, key: str) -> None:
        await self._store.delete(bucket, key)

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        return await self._store.keys(bucket, prefix)

    def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]:
        return self._store.watch(bucket, prefix)

    def read(self, log: str, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        return self._store.read(log, after)

    async def trim(self, log: str, through: int) -> None:
        await self._store.trim(log, through)

    async def get_blob(self, name: str) -> bytes | None:
        return await self._store.get_blob(name)

    async def delete_blob(self, name: str) -> None:
        await self._store.delete_blob(name)

    async def blobs(self, prefix: str = "") -> list[str]:
        return await self._store.blobs(prefix)

    async def close(self) -> None:
        await self._store.close()
