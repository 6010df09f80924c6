"""What has to be done for the dead, by whoever comes first: silent processes are fenced, their sessions end in time.

Every worker does this, and none is in charge: each step is a compare-and-set, so that it is done once.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.authority.leases import OVER, TOMBSTONE_MS, Held, LeaseState, held_of
from rspp.control.authority.members import GONE, is_silent
from rspp.control.fleet.status import NOT_RESUMED, OPEN_FAILED, WORKER_LOST
from rspp.control.fleet.status_writer import end_for
from rspp.control.names import LEASES
from rspp.host.ports import Clock, Refused, Store

if TYPE_CHECKING:
    from rspp.control.worker.worker import Worker

log = logging.getLogger("rspp.control.sweeper")

# How long a lease may be ours in the store before its session is here: it is being opened.
OPEN_MS: Final = 5_000
RECONCILE_EVERY: Final = 5  # rounds
# What an ended session has left is cleared away well before its name may be used again.
CLEAR_MS: Final = TOMBSTONE_MS // 2


class Sweeper:
    """One worker's share of it."""

    def __init__(self, worker: Worker, store: Store, clock: Clock) -> None:
        self._worker = worker
        self._store = store
        self._clock = clock
        self.leases: dict[tuple[str, str], Held] = {}  # bounded: by the sessions of the fleet
        # Since when nobody has had a session that is not over; on this process's clock.
        self._ownerless: dict[tuple[str, str], int] = {}  # bounded: by `leases`
        # Sessions that seem to be over, why, and since when: their state goes, and their status says so.
        self._ended: dict[tuple[str, str], tuple[str, int]] = {}  # bounded: by the sessions of CLEAR_MS

    async def watch(self) -> None:
        """Know every lease as it is now."""
        async for entry in self._store.watch(LEASES):
            try:
                held = held_of(entry)
            except Refused as error:
                log.warning("%s", error.message)
                continue
            self.take(held)

    def take(self, held: Held) -> None:
        where = (held.lease.tenant_id, held.lease.session_id)
        known = self.leases.get(where)
        if known is not None and known.revision >= held.revision:
            return
        if held.lease.state in OVER:
            if held.lease.state is LeaseState.REVOKED and known is not None:
                self.clear(where, held.lease.reason)
            self._forget(where)
        else:
            self.leases[where] = held
        self._worker.changed(held)

    async def run(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(self._worker.settings.sweep_ms / 1000)
            await self.sweep()
            rounds += 1
            if rounds % RECONCILE_EVERY == 0:
                await self._worker.reconcile()

    async def sweep(self) -> None:
        """One round; what the store does not do now is left to the next."""
        now = self._clock.now()
        worker = self._worker
        if not worker.membership.held:
            return
        worker.fleet.prune()
        for seen in list(worker.fleet.seen.values()):
            if (
                is_silent(seen, now)
                and seen.member.id != worker.id
                and await worker.fleet.is_gone(seen.member.id)
            ):
                log.warning("%s was silent for its ttl and is lost", seen.member.id)
        for where, held in list(self.leases.items()):
            if self._has_owner(held):
                self._ownerless.pop(where, None)
                continue
            without_ms = (now - self._ownerless.setdefault(where, now)) // NS_PER_MS
            if held.lease.state is LeaseState.FREE:
                reason, patience_ms = NOT_RESUMED, worker.settings.resume_ms
            elif held.lease.owner == worker.id:
                reason, patience_ms = OPEN_FAILED, OPEN_MS
            else:
                reason, patience_ms = WORKER_LOST, worker.settings.resume_ms
            if without_ms >= patience_ms:
                await self._end(where, held, reason)
        for where, (reason, at) in list(self._ended.items()):
            await self._clear(where, reason, at)

    def clear(self, where: tuple[str, str], reason: str) -> None:
        """If that session is over, what is left of it is to go."""
        self._ended[where] = (reason, self._clock.now())

    def _forget(self, where: tuple[str, str]) -> None:
        self.leases.pop(where, None)
        self._ownerless.pop(where, None)

    def _has_owner(self, held: Held) -> bool:
        lease, worker = held.lease, self._worker
        if lease.state is LeaseState.FREE:
            return False
        if lease.owner == worker.id:
            # One of ours that is not here: its opening failed after the store had taken it.
            return worker.is_here(lease.tenant_id, lease.session_id)
        seen = worker.fleet.get(lease.owner)
        return seen is not None and seen.member.state not in GONE

    async def _end(self, where: tuple[str, str], held: Held, reason: str) -> None:
        lease, worker = held.lease, self._worker
        is_free = lease.state is LeaseState.FREE
        try:
            # What was heard of its owner may be old, or nothing at all: the store is asked.
            if not is_free and lease.owner != worker.id and not await worker.fleet.is_gone(lease.owner):
                self._ownerless.pop(where, None)
                return
            if not is_free and lease.owner == worker.id and lease.taken:
                done = await worker.leases.free(held)  # it lived before we took it, and may live on
            else:
                done = await worker.leases.end(held, reason)
                if done is not None:
                    self.clear(where, reason)
            if done is None:
                await self._look(where)
        except RsppError as error:
            log.info("%s is not ended yet: %s", lease.session_id, error.message)

    async def _look(self, where: tuple[str, str]) -> None:
        """The store has it otherwise than we knew, and a watch tells nothing of what is gone."""
        found = await self._worker.leases.get(*where)
        if found is None:
            self._forget(where)
        else:
            self.take(found)

    async def _clear(self, where: tuple[str, str], reason: str, at: int) -> None:
        now = self._clock.now()
        if now - at < CLEAR_MS * NS_PER_MS:
            try:
                found = await self._worker.leases.get(*where)
                if found is not None and found.lease.state not in OVER:
                    del self._ended[where]
                    return
                if found is not None and self._has_owner(found):
                    # It does that itself, unless it dies before.
                    if now - at > self._worker.settings.resume_ms * NS_PER_MS:
                        del self._ended[where]
                    return
                await self._worker.forget(*where)
                await end_for(self._store, *where, reason, self._clock.wall() // NS_PER_MS)
            except (RsppError, OSError) as error:
                log.info("what %s has left is not cleared away yet: %s", where[1], type(error).__name__)
                return
        del self._ended[where]
