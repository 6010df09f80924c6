"""What this process owns of a session goes with it: the lease, the room, and its place among ours, whatever the store does."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.authority.leases import OVER, OWNED, Held, LeaseState
from rspp.control.worker.owned import Owned
from rspp.control.worker.ports import DurableState
from rspp.host.ports import Clock

if TYPE_CHECKING:
    from rspp.control.worker.worker import Worker

log = logging.getLogger("rspp.control.worker")

RETRY_S: Final = 0.5
# What we had to keep was in vain: a later owner has kept something since.
ANOTHERS: Final = "authority_epoch_mismatch"


def is_ours(found: Held, known: Held, member_id: str) -> bool:
    """Is this the lease under which this member acts, whatever has been written to it since?"""
    lease = found.lease
    return lease.owner == member_id and lease.state in OWNED and found.epoch == known.epoch


class LettingGo:
    """How one worker lets go."""

    def __init__(self, worker: Worker, state: DurableState, clock: Clock) -> None:
        self._worker, self._state, self._clock = worker, state, clock

    async def let_go(self, owned: Owned, reason: str | None) -> None:
        """End the lease, or with no reason leave it to others. Tried until it is known, or not ours to do."""
        worker = self._worker
        give_up_at = self._clock.now() + worker.settings.resume_ms * NS_PER_MS
        try:
            # A membership that is not held may be held again: a renewal whose answer is late.
            while owned.held.lease.owner == worker.id and not worker.membership.over:
                try:
                    if worker.membership.held and await self._try(owned, reason, give_up_at):
                        reason = None
                        break
                except (RsppError, OSError) as error:
                    log.info("the lease of %s is not let go of yet: %s", owned.where[1], type(error).__name__)
                await asyncio.sleep(RETRY_S)
        finally:
            if reason is not None:
                worker.sweeper.clear(owned.where, reason)  # whether it was ended is not known, and will be
            if worker.owned.get(owned.where) is owned:
                del worker.owned[owned.where]
            if owned.reservation is not None:
                worker.slots.release(owned.reservation)

    async def _try(self, owned: Owned, reason: str | None, give_up_at: int) -> bool:
        """One attempt; False if another is to be made at what the store has now."""
        where = owned.where
        try:
            await self._state.flushed(*where)
        except RsppError as error:
            # Who goes on with the session needs what was said here; but more than that, it needs to go on.
            if reason is None and error.code != ANOTHERS and self._clock.now() < give_up_at:
                raise
            log.warning("the last state of %s is not kept: %s", where[1], error.message)
        over = owned.held.lease.state is LeaseState.REVOKED
        if not over:
            leases, held = self._worker.leases, owned.held
            done = await (leases.free(held) if reason is None else leases.end(held, reason))
            found = done or await leases.get(*where)
            if done is None and found is not None and is_ours(found, held, self._worker.id):
                owned.held = found  # a write of ours of which we never heard
                return False
            over = found is None or found.lease.state in OVER
        if over:
            await self._state.forget(*where)
        return True
