"""A session is given away in an order in which it is nobody's twice: announced, heard out, kept, silent here, free.

lease `moving`   still ours; its successor's epoch is reserved
start            what the successor needs is saved; a turn that runs is heard to its end
flushed          all of it is in the store
handoff, finish  the kernel gives up its authority: from here on nothing is said
lease `free`     when the session is over here (`Worker.over`); whoever its caller comes to takes it
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS
from rspp.contract.words import SessionState
from rspp.control.authority.leases import Leases
from rspp.control.worker.owned import Owned
from rspp.control.worker.ports import DurableState
from rspp.host.ports import Clock
from rspp.host.session import LiveSession
from rspp.kernel import inputs as i

MIGRATED: Final = "migrated"  # told to whose session goes on elsewhere
MOVES_MAX: Final = 16  # at a time: each wants a few writes of the store
LOOK_S: Final = 0.02


class Mover:
    """Moves sessions away, a few at a time."""

    def __init__(self, state: DurableState, clock: Clock, leases: Callable[[], Leases]) -> None:
        self._state, self._clock, self._leases = state, clock, leases
        self._places = asyncio.Semaphore(MOVES_MAX)

    async def move(self, owned: Owned) -> bool:
        """Its state is in the store before anybody else may have it. False if it stays, or is over."""
        if owned.moves or not _stays(owned):
            return False
        owned.moves = True
        try:
            return await self._move(owned)
        finally:
            owned.moves = False

    async def _move(self, owned: Owned) -> bool:
        try:
            async with self._places:
                moving = await self._leases().move(owned.held)
        except (RsppError, OSError):
            return False
        if moving is None or moving.revision < owned.held.revision:
            return False  # the lease has changed meanwhile, and we are told of it by the watch
        owned.held = moving
        target = moving.lease.reserved
        owned.must(i.MigrationChanged("start", target))
        kept = False
        try:
            kept = await self._kept(owned)
        finally:
            # Also of who is not waited for any more: a lease that says `moving` is ours as well as any other.
            if not kept and not _over(owned):
                owned.must(i.MigrationChanged("failed", target))
        if kept:
            owned.leaving = MIGRATED
            owned.must(i.MigrationChanged("handoff", target), i.MigrationChanged("finish", target))
        elif not _over(owned):
            await self._stay(owned)
        return kept

    async def _kept(self, owned: Owned) -> bool:
        """Heard out, and all of it in the store; False if it is not to be given away any more."""
        session = owned.session
        assert session is not None
        await self._heard_out(owned, session)
        if not _stays(owned):
            return False
        try:
            await self._state.flushed(session.tenant_id, session.session_id)
        except RsppError:
            return False
        return _stays(owned)

    async def _stay(self, owned: Owned) -> None:
        with suppress(RsppError, OSError):
            stays = await self._leases().stay(owned.held)
            if stays is not None and stays.revision > owned.held.revision:
                owned.held = stays

    async def _heard_out(self, owned: Owned, session: LiveSession) -> None:
        """A caller who is being answered hears the answer first, within the pipeline's own bound for draining."""
        kernel = session.kernel
        await until(
            self._clock,
            lambda: not _stays(owned) or (kernel.turn() is None and not kernel.speaking()),
            session.graph.policies.limits.drain_ms_max,
        )


def _over(owned: Owned) -> bool:
    return owned.session is None or owned.session.ended or owned.leaving is not None


def _stays(owned: Owned) -> bool:
    """It lives here, and is to live on: one that is being closed, or is not yet open, is nobody else's to go on with."""
    session = owned.session
    return session is not None and not _over(owned) and session.kernel.connection.state is SessionState.ACTIVE


async def until(clock: Clock, met: Callable[[], bool], ms: int) -> None:
    """Sessions say nothing when they are done with something: they are looked at, fifty times a second."""
    end = clock.now() + ms * NS_PER_MS
    while not met() and clock.now() < end:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(LOOK_S)
