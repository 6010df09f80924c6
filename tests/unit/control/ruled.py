"""A control plane's rules in memory, in a time of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from rspp.contract.event import NS_PER_MS
from rspp.control.security.audit import Audit, AuditEntry
from rspp.control.security.audit_view import AuditQuery, page
from rspp.control.security.key_folder import KeyFolder, first_key
from rspp.control.security.keyring import Keyring, KeyRotation
from rspp.control.security.keys import KeyPolicy
from rspp.control.security.tokens import Signer
from rspp.host.ports import Entry, Store
from rspp.host.secrets import Secrets
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what must come soon."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is asked has no event
            await asyncio.sleep(0)


SHORT = KeyPolicy(age_ms_max=100_000, propagation_ms=1_000, tokens_ms_max=10_000, notice_ms=20_000)


class Slow(MemoryStore):
    """A store that lets others in between before it answers, as every real one does."""

    async def get(self, bucket: str, key: str) -> Entry | None:
        found = await super().get(bucket, key)
        await asyncio.sleep(0)
        return found


class Ruled:
    """A store, a folder with a first key, and what is built over both."""

    def __init__(self, folder: Path, *, store: Store | None = None, policy: KeyPolicy = SHORT) -> None:
        self.clock = ManualClock()
        self.store = store or Slow(self.clock)
        self.folder = KeyFolder(folder / "keys")
        self.ring = Keyring(self.store, self.clock)
        self.audit = Audit(self.store, "control", self.clock)
        self.rotation = KeyRotation(
            self.store, self.folder, self.ring, self.audit, policy=policy, clock=self.clock
        )
        self.signer = Signer(self.rotation, Secrets())

    @property
    def now_ms(self) -> int:
        return self.clock.wall() // NS_PER_MS

    async def begin(self) -> Ruled:
        first_key(self.folder, self.now_ms)
        await self.rotation.adopt("os:init")
        return self

    async def on_record(self, action: str | None = None) -> list[AuditEntry]:
        """Oldest first."""
        found = await page(self.store, AuditQuery(action=action, limit=1_000))
        return list(found.entries[::-1])

    async def said(self, action: str | None = None) -> list[tuple[str, str, str]]:
        """What is on record of an action: decision, principal, reason."""
        return [
            (entry.record.decision, entry.record.principal_id, entry.record.reason)
            for entry in await self.on_record(action)
        ]
