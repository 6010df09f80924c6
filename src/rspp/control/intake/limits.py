"""The quotas that are set, in the store, and as each process knows them: asked for every session, so answered from memory.

    config:quota/<tenant>    what one tenant may have
    config:quota/*           what all may have together, and what each may have of whom nothing else is said

A record that cannot be read changes nothing: what was known goes on. Where nothing was ever read, of all or of this tenant,
nothing is known, and who asks is told so: a quota is lifted neither by a store that is away nor by bytes that are none. The store's
watch tells of changes; every minute all are read anew, because it tells of no deletion, and one that has died tells of nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.contract.surface import Coverage, Fact, Kept, Level, Row, Surface, Truth, cut
from rspp.control.intake.quotas import UNLIMITED, QuotaName, TenantLimits, Usage, fullest
from rspp.control.names import CONFIG, key, parts
from rspp.control.security.roles import EVERYWHERE
from rspp.host.conditions import kept, reader
from rspp.host.ports import Entry, Store

log = logging.getLogger("rspp.control.intake.limits")

KIND: Final = "quota"
PREFIX: Final = f"{KIND}/"
WORDS_MAX: Final = 512
RETRY_S: Final = 0.5
RELOAD_S: Final = 60.0


class QuotaRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was set, by whom and why. `each` has a meaning for `*` alone."""

    tenant: str
    limits: TenantLimits
    each: TenantLimits = UNLIMITED
    author: str
    reason: str
    at_ms: int


_DECODE: Final = msgspec.json.Decoder(QuotaRecord).decode
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


def record_of(entry: Entry) -> QuotaRecord:
    """The record; raises PeerFault `document_corrupt` for what is none, or is another tenant's."""
    try:
        found = _DECODE(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PeerFault("document_corrupt", "the stored bytes are no quota", entry.key) from error
    if parts(entry.key) != (KIND, found.tenant):
        raise PeerFault("document_corrupt", f"the quota says that it is of {found.tenant}", entry.key)
    return found


# Of a hundred parts of a quota: from here on somebody should know.
NEARLY: Final = 90
_READ_USE: Final = reader("admission_quotas")


def row_of(key: str, value: bytes) -> Row | None:
    """What was set for a tenant; or one worker's word that a tenant has (nearly) used it up."""
    if not key.startswith(PREFIX):
        return _READ_USE(key, value)
    try:
        record = record_of(Entry(key, value, 0))
    except RsppError:
        return None
    facts: dict[str, Fact] = {"author": cut(record.author), "because": cut(record.reason)}
    for quota in QuotaName:
        limit = getattr(record.limits, quota)
        if limit.most:
            facts[quota.value] = limit.most
            facts[f"{quota.value}_then"] = limit.action.value
    return Row(
        aggregate_id=record.tenant,
        tenant_id=None if record.tenant == EVERYWHERE else record.tenant,
        state="set",
        since_ms=record.at_ms,
        facts=facts,
    )


def use_rows(limits: Limits, tenants: Iterable[str], used: Callable[[str | None], Usage]) -> Iterator[Row]:
    """Of these tenants, and of all together, whose quotas are (nearly) used up; nothing of whom nothing is known."""
    for tenant_id in (None, *tenants):
        try:
            most = limits.of(tenant_id)
            row = None if most == UNLIMITED else use_row(tenant_id, most, used(tenant_id))
        except RsppError:
            continue
        if row is not None:
            yield row


def use_row(tenant_id: str | None, limits: TenantLimits, usage: Usage) -> Row | None:
    """That a quota is (nearly) used up; None while it is not. Numbers that tick are left out: `usage` has them."""
    found = fullest(limits, usage)
    if found is None or found[1] * 100 < found[2] * NEARLY:
        return None
    quota, used, most = found
    up = used >= most
    words = "is used up" if up else "is nearly used up"
    return Row(
        aggregate_id=tenant_id or EVERYWHERE,
        tenant_id=tenant_id,
        state="used_up" if up else "nearly",
        level=Level.DEGRADED if up else Level.NOTICE,
        reason="quota_used_up" if up else "quota_nearly_used_up",
        message=cut(f"{quota.value} of {tenant_id or 'all together'} {words}: at most {most}"),
        facts={"quota": quota.value, "most": most, "then": getattr(limits, quota).action.value},
    )


SURFACE: Final = Surface(
    name="admission_quotas",
    owner=__name__,
    summary="What each tenant may have, and which tenants have nearly or wholly used it up.",
    aggregate_type="quota",
    storage=f"kv:{CONFIG}; what is used up in kv:conditions",
    truth=Truth.CANONICAL,
    read="GET /v1/quotas",
    affects_health=True,
    affects_actions=True,
    authority=True,
    coverage=Coverage.JOURNAL,
    kept=Kept(CONFIG, PREFIX),
    also=(kept(),),
    row=row_of,
)


class Limits:
    """The quotas of the store. `of` is what admission and usage ask; `run` keeps it new."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By key; None where it was never one that can be read. Bounded: by the tenants that have a quota.
        self._known: dict[str, tuple[QuotaRecord | None, int]] = {}
        self._read = False

    # ---- from memory -------------------------------------------------------------------------------------------------

    def of(self, tenant_id: str | None) -> TenantLimits:
        """What the tenant may have; None: all together. Raises PeerFault `quotas_unknown` where that was never read."""
        if not self._read:
            raise PeerFault("quotas_unknown", "the quotas were not read yet")
        if tenant_id is not None and tenant_id != EVERYWHERE:
            own = self._record(tenant_id)
            if own is not None:
                return own.limits
        together = self._record(EVERYWHERE)
        if together is None:
            return UNLIMITED
        return together.limits if tenant_id is None else together.each

    def _record(self, tenant_id: str) -> QuotaRecord | None:
        known = self._known.get(key(KIND, tenant_id))
        if known is not None and known[0] is None:
            raise PeerFault("quotas_unknown", f"the stored quota of {tenant_id} cannot be read")
        return None if known is None else known[0]

    def take(self, entry: Entry) -> bool:
        """Know a record; False for an older one, or for what cannot be read."""
        before, revision = self._known.get(entry.key, (None, 0))
        if entry.revision <= revision:
            return False
        try:
            record = record_of(entry)
        except PeerFault as error:
            log.error("%s: %s", error.path, error.message)  # noqa: TRY400 - what it is stands in the message
            self._known[entry.key] = (before, entry.revision)
            return False
        self._known[entry.key] = (record, entry.revision)
        return True

    async def load(self) -> None:
        """Read all, once, and forget what is gone; raises what the store raises."""
        before = dict(self._known)
        there = await self._store.keys(CONFIG, PREFIX)
        for name in there:
            entry = await self._store.get(CONFIG, name)
            if entry is not None:
                self.take(entry)
        for name in before.keys() - set(there):
            if self._known[name] == before[name]:  # and was not made anew meanwhile
                del self._known[name]
        self._read = True

    async def run(self) -> None:
        """Follow the store until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._reload())

    async def _watch(self) -> None:
        while True:
            try:
                async with aclosing(self._store.watch(CONFIG, PREFIX)) as changes:  # type: ignore[type-var]
                    async for entry in changes:
                        self.take(entry)
            except (RsppError, OSError) as error:
                log.warning("quotas could not be watched: %s", type(error).__name__)
            await asyncio.sleep(RETRY_S)

    async def _reload(self) -> None:
        while True:
            try:
                await self.load()
                await asyncio.sleep(RELOAD_S)
            except (RsppError, OSError) as error:
                log.warning("quotas could not be read: %s", type(error).__name__)
                await asyncio.sleep(RETRY_S)

    # ---- in the store ------------------------------------------------------------------------------------------------

    async def get(self, tenant_id: str) -> QuotaRecord | None:
        entry = await self._store.get(CONFIG, key(KIND, tenant_id))
        return None if entry is None else record_of(entry)

    async def records(self) -> list[QuotaRecord]:
        """All that were set, by tenant; raises PeerFault where one cannot be read."""
        found = [await self._store.get(CONFIG, name) for name in await self._store.keys(CONFIG, PREFIX)]
        return sorted((record_of(one) for one in found if one is not None), key=lambda one: one.tenant)

    async def put(self, record: QuotaRecord) -> QuotaRecord:
        """Set it, whatever was set before; raises `MisuseError` if nobody says why."""
        if not record.author or not record.reason or max(len(record.author), len(record.reason)) > WORDS_MAX:
            raise MisuseError(
                "field_empty", f"a quota has an author, and a reason of at most {WORDS_MAX} characters"
            )
        if record.tenant != EVERYWHERE and record.each != UNLIMITED:
            raise MisuseError(
                "quota_invalid", "what each may have is said for all tenants at once (*)", "each"
            )
        await self._store.put(CONFIG, key(KIND, record.tenant), _ENCODE(record))
        return record
