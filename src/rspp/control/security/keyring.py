"""The keys of a deployment: public ones for every process that verifies, private ones for the few that sign.

    bucket `keys`    one `KeyRecord` each, by name (`rspp.control.security.keys` has the rules)

`Keyring` is the view: any worker has one. `KeyRotation` belongs to a control process with a folder of private keys: it
publishes, rotates before the maximum age, revokes, and says when a rotation is late. What it changes is on record first.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final

import msgspec

from rspp.contract.errors import PeerFault, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.followed import Followed
from rspp.control.records import Records, decoded
from rspp.control.security.audit import Audit
from rspp.control.security.key_folder import KeyFolder
from rspp.control.security.keys import KeyPolicy, KeyRecord, KeyState, alarms, checked, is_due, signing
from rspp.control.security.tokens import KeyRef
from rspp.host.clock import MachineClock
from rspp.host.ports import Clock, Store

KEYS: Final = "keys"
# Whoever has not read the keys for so long cannot know which were revoked, and takes no token.
STALE_MS_MAX: Final = 300_000
TEND_MS: Final = 10_000
ROTATION: Final = "system:rotation"  # the principal of what is done without being asked for
_LOG: Final = logging.getLogger(__name__)


class Keyring:
    """The public keys, as this process knows them. `run` keeps it up to date; `load` reads it once."""

    def __init__(self, store: Store, clock: Clock | None = None, *, stale_ms_max: int = STALE_MS_MAX) -> None:
        self._followed = Followed(store, KEYS, _record, clock or MachineClock())
        self._stale_ms_max = stale_ms_max

    @property
    def records(self) -> tuple[KeyRecord, ...]:
        return tuple(self._followed.records.values())

    def key(self, kid: str) -> KeyRecord | None:
        """Raises PeerFault if the keys were not read for too long."""
        age_ms = self._followed.age_ms
        if age_ms is None or age_ms > self._stale_ms_max:
            raise PeerFault("token_keys_stale", "the public keys were not read for too long")
        return self._followed.records.get(kid)

    async def load(self) -> None:
        await self._followed.load()

    async def run(self) -> None:
        await self._followed.run()


class KeyRotation:
    """The keys of one folder in their course. It is a `KeySource`: it names the key that signs now."""

    def __init__(
        self,
        store: Store,
        folder: KeyFolder,
        ring: Keyring,
        audit: Audit,
        *,
        policy: KeyPolicy | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.policy = checked(policy or KeyPolicy())
        self._records = Records(store, KEYS)
        self._folder = folder
        self._ring = ring
        self._audit = audit
        self._clock: Clock = clock or MachineClock()

    # ---- what is asked often ---------------------------------------------------------------------------------------

    def signing(self, now_ms: int) -> KeyRef:
        """The key to sign with; raises PeerFault if none is held that may."""
        held = self._folder.held()
        return held[signing(self._ring.records, frozenset(held), now_ms).kid]

    def list(self) -> tuple[KeyRecord, ...]:
        return tuple(sorted(self._ring.records, key=lambda one: (one.created_at_ms, one.kid)))

    def alarms(self) -> tuple[str, ...]:
        """Rotations that are late, in a sentence each; to be shown to operators."""
        return alarms(self._ring.records, self.policy, self._now_ms())

    # ---- changes ---------------------------------------------------------------------------------------------------

    async def adopt(self, principal_id: str) -> None:
        """Publish what lies in the folder and is not published: the first key, or one whose publication was cut short.

        A key keeps its age. The only key of a deployment signs at once, for nobody verifies anything yet.
        """
        await self._ring.load()
        known = {one.kid for one in self._ring.records}
        for kid in self._folder.held():
            if kid not in known:
                first = not self._ring.records
                await self._publish(kid, principal_id, "first key" if first else "found", at_once=first)

    async def rotate(
        self, principal_id: str, reason: str = "asked for", *, at_once: bool = False
    ) -> KeyRecord:
        """A new key, published now and signing after the propagation; those before it retire."""
        now = self._now_ms()
        made = self._folder.create_key(now)
        record = await self._publish(made.kid, principal_id, reason, at_once=at_once)
        await self._retire_older(principal_id)
        return record

    async def revoke(self, kid: str, principal_id: str, reason: str) -> KeyRecord:
        """From now on nothing that this key signed is worth anything. If nothing else signs, a new one does, at once."""
        await self._ring.load()
        if kid not in {one.kid for one in self._ring.records}:
            raise PeerFault("key_unknown", "no such key is published")
        now = self._now_ms()
        async with self._audit.change(principal_id, "keys.revoke", None, reason, {"kid": kid}):
            gone = await self._records.change(kid, KeyRecord, lambda old: _revoked(old, now))
            self._folder.discard(kid)
            await self._ring.load()
        held = frozenset(self._folder.held())
        try:
            signing(self._ring.records, held, now)
        except PeerFault:
            if gone.holder == self._folder.holder and self._folder.is_writable:
                await self.rotate(principal_id, f"after {kid} was revoked", at_once=True)
        return gone

    async def tend(self) -> tuple[str, ...]:
        """Rotate if it is time, forget private keys that sign no more; the alarms that are left.

        In a folder that can only be read what somebody put there is published, and the one before it retires.
        """
        if not self._folder.is_writable:
            await self.adopt(ROTATION)
            await self._retire_older(ROTATION)
            return self.alarms()
        with self._folder.alone() as alone:
            if alone:
                await self._ring.load()
                await self.adopt(ROTATION)
                await self._retire_older(ROTATION)
                if is_due(self._ring.records, self._folder.holder, self.policy, self._now_ms()):
                    await self.rotate(ROTATION, "before the maximum age")
                self._discard_spent()
        return self.alarms()

    async def run(self, every_ms: int = TEND_MS) -> None:
        """Tend until cancelled. What goes wrong is tried again; a rotation that is late is an alarm."""
        while True:
            try:
                for alarm in await self.tend():
                    _LOG.error("%s", alarm)
            except (RsppError, OSError) as error:
                _LOG.error("keys are not tended: %s", error)
                for alarm in self.alarms():
                    _LOG.error("%s", alarm)
            await asyncio.sleep(every_ms / 1000)

    async def _publish(self, kid: str, principal_id: str, reason: str, *, at_once: bool) -> KeyRecord:
        now = self._now_ms()
        record = KeyRecord(
            kid=kid,
            public=self._folder.public(kid),
            holder=self._folder.holder,
            state=KeyState.ACTIVE,
            created_at_ms=self._folder.created_at_ms(kid),
            activates_at_ms=now if at_once else now + self.policy.propagation_ms,
            age_ms_max=self.policy.age_ms_max,
        )
        about = {"kid": kid, "activates_at_ms": str(record.activates_at_ms)}
        async with self._audit.change(principal_id, "keys.rotate", None, reason, about):
            # Whoever was here first with the same key published the same.
            record = await self._records.change(kid, KeyRecord, lambda old: old or record)
            await self._ring.load()
        return record

    async def _retire_older(self, principal_id: str) -> None:
        """Of this holder's keys only the newest goes on; a rotation that was cut short is ended here."""
        mine = [
            one
            for one in self._ring.records
            if one.state is KeyState.ACTIVE and one.holder == self._folder.holder
        ]
        mine.sort(key=lambda one: (one.activates_at_ms, one.kid))
        for one in mine[:-1]:
            about = {"kid": one.kid, "successor": mine[-1].kid}
            retiring = partial(_retiring, at_ms=mine[-1].activates_at_ms)
            async with self._audit.change(principal_id, "keys.retire", None, "has a successor", about):
                await self._records.change(one.kid, KeyRecord, retiring)
        if len(mine) > 1:
            await self._ring.load()

    def _discard_spent(self) -> None:
        """Private halves that sign nothing any more are a danger without a use."""
        now = self._now_ms()
        for one in self._ring.records:
            retired = one.retires_at_ms is not None and now >= one.retires_at_ms + self.policy.propagation_ms
            if retired or one.state is KeyState.REVOKED or now >= one.over_age_at_ms:
                self._folder.discard(one.kid)

    def _now_ms(self) -> int:
        return self._clock.wall() // NS_PER_MS


def _record(key: str, data: bytes) -> KeyRecord:
    """A record that is what its key says; whoever could put another key under its name could sign for it."""
    record = decoded(data, KeyRecord, key)
    if record.kid != key:
        raise PeerFault("store_record_unusable", f"{key} is the record of another key")
    _ = record.public_bytes  # raises for one that is not what its name says
    return record


def _revoked(old: KeyRecord | None, now_ms: int) -> KeyRecord:
    if old is None:
        raise PeerFault("key_unknown", "no such key is published")
    if old.state is KeyState.REVOKED:
        return old
    return msgspec.structs.replace(old, state=KeyState.REVOKED, revoked_at_ms=now_ms)


def _retiring(old: KeyRecord | None, at_ms: int) -> KeyRecord:
    """A key that was revoked meanwhile stays so."""
    if old is None or old.state is not KeyState.ACTIVE:
        assert old is not None, "records of keys are never deleted"
        return old
    return msgspec.structs.replace(old, state=KeyState.RETIRING, retires_at_ms=at_ms)
