"""No change without its record: who wants what is on record before anything changes, and what became of it afterwards.

    allow    the change was asked for by somebody who may: written first. If it cannot be written, nothing is changed
    done     the change was made; `intent` names the record before
    failed   it was not, or nobody knows; `intent` likewise
    deny     somebody may not, or an approval is missing

A crash in between leaves an `allow` without an end: `unsettled` names those, and each is looked up by hand. What took effect
is therefore always on record, and what is on record as `allow` need not have taken effect.

Each process writes a log of its own (`rspp.timeline.audit`: a chain of hashes), and after any write of which it does not
know whether it arrived, a new one: a record that arrives late can then break no chain. There is no way to change or take
back a record here; who does it in the store is found out by `rspp.control.security.audit_export`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS
from rspp.host.clock import MachineClock
from rspp.host.ports import Clock, Store
from rspp.timeline.audit import FIELD_CHARACTERS_MAX, FIELDS_MAX, AuditFault, AuditLog, AuditRecord

ALLOW: Final = "allow"
DENY: Final = "deny"
DONE: Final = "done"
FAILED: Final = "failed"
INTENT: Final = "intent"
ALL_TENANTS: Final = "*"
_LOG: Final = logging.getLogger(__name__)


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A record, and whose log it is in."""

    writer: str
    record: AuditRecord

    @property
    def place(self) -> str:
        return f"{self.writer}[{self.record.number}]"


class Audit:
    """What a process writes down. Its methods return when the record is in the store, or raise AuditFault."""

    def __init__(self, store: Store, writer: str, clock: Clock | None = None) -> None:
        self._store = store
        self._writer = writer
        self._clock: Clock = clock or MachineClock()
        self._log: AuditLog | None = None
        self._last_ms = 0
        self._turn = asyncio.Lock()

    async def allowed(
        self,
        principal_id: str,
        action: str,
        tenant_id: str | None,
        reason: str,
        facts: Mapping[str, str] | None = None,
    ) -> AuditEntry:
        """Before a change that this principal may make."""
        return await self._write(ALLOW, principal_id, action, tenant_id, reason, facts)

    async def done(
        self,
        principal_id: str,
        action: str,
        tenant_id: str | None,
        reason: str,
        facts: Mapping[str, str] | None = None,
    ) -> AuditEntry:
        """After it."""
        return await self._write(DONE, principal_id, action, tenant_id, reason, facts)

    async def failed(
        self,
        principal_id: str,
        action: str,
        tenant_id: str | None,
        reason: str,
        facts: Mapping[str, str] | None = None,
    ) -> AuditEntry:
        """After a change that was not made, or perhaps not."""
        return await self._write(FAILED, principal_id, action, tenant_id, reason, facts)

    async def denied(
        self,
        principal_id: str,
        action: str,
        tenant_id: str | None,
        reason: str,
        facts: Mapping[str, str] | None = None,
    ) -> AuditEntry:
        """Instead of a change or a look."""
        return await self._write(DENY, principal_id, action, tenant_id, reason, facts)

    @asynccontextmanager
    async def change(
        self,
        principal_id: str,
        action: str,
        tenant_id: str | None,
        reason: str,
        facts: Mapping[str, str] | None = None,
    ) -> AsyncIterator[dict[str, str]]:
        """Around a change: on record before, and its end after. What is put into the given dict is on record with the end."""
        intent = await self.allowed(principal_id, action, tenant_id, reason, facts)
        told: dict[str, str] = {}
        end, why = FAILED, "interrupted"
        try:
            yield told
            end, why = DONE, reason
        except RsppError as error:
            why = error.code
            raise
        finally:
            told = {INTENT: intent.place, **(facts or {}), **told}
            await self._settle(end, principal_id, action, tenant_id, why, told)

    async def _settle(
        self,
        end: str,
        principal_id: str,
        action: str,
        tenant_id: str | None,
        reason: str,
        facts: Mapping[str, str],
    ) -> None:
        """The change is as it is: whoever made it is not told that it failed because its end could not be written."""
        try:
            await self._write(end, principal_id, action, tenant_id, reason, facts)
        except AuditFault as error:
            _LOG.error("the end of %s (%s) is not on record: %s", action, facts[INTENT], error.code)

    async def _write(
        self,
        decision: str,
        principal_id: str,
        action: str,
        tenant_id: str | None,
        reason: str,
        facts: Mapping[str, str] | None,
    ) -> AuditEntry:
        said = {short(name): short(value) for name, value in (facts or {}).items()}
        async with self._turn:
            log = self._log or self._new_log()
            # Taken away until it is known that the record arrived, however this ends.
            self._log = None
            record = await log.append(
                short(action),
                decision,
                tenant_id=short(tenant_id or ALL_TENANTS),
                principal_id=short(principal_id),
                reason=short(reason),
                facts=dict(list(said.items())[:FIELDS_MAX]),
            )
            self._log = log
            return AuditEntry(writer=log.writer, record=record)

    def _new_log(self) -> AuditLog:
        """A log that no other process writes, whatever it is called."""
        return AuditLog(self._store, wall_ms=self._wall_ms, writer=f"{self._writer}.{token_hex(6)}")

    def _wall_ms(self) -> int:
        """The time of day, which in one writer's logs never goes back: they are read in its order."""
        self._last_ms = max(self._last_ms, self._clock.wall() // NS_PER_MS)
        return self._last_ms


def short(text: object) -> str:
    """The text as far as it can be on record."""
    said = str(text).encode(errors="replace").decode()
    return said if len(said) <= FIELD_CHARACTERS_MAX else said[: FIELD_CHARACTERS_MAX - 1] + "…"
