"""One scope's slot document, as one process writes it: whoever waits is served with the next write, all in one.

    take -> waiting -+                                  +-> granted, degraded, refused
                     +-> one write at a time, by CAS  --+
    give ------------+        |   |
                 lost race ---+   +--- failed: nobody knows whether it was done
                 read, again           read: the number of the write says so; then again, or what it granted is granted

The write carries this process's count, whatever the document said of it before. So a failed give is made up for by the next
write, and there is nothing to queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from rspp.contract.errors import LimitReached, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.intake.holders import (
    EMPTY,
    Ask,
    Holders,
    Mine,
    Pace,
    Round,
    bytes_of,
    draw,
    holders_of,
    is_done,
    settle,
)
from rspp.control.intake.quotas import ALLOWED, Moment, TenantLimits, Usage, Verdict, decide, minute_of
from rspp.control.names import SLOTS
from rspp.host.ports import Clock, Store

log = logging.getLogger("rspp.control.intake.slots")

# Who waits for one document in one process; more at once are refused as they come.
WAITING_MAX: Final = 8_192
# One call of the store; then its outcome is unknown.
CALL_MS_MAX: Final = 2_000
# Between two attempts: doubled each time, up to the second number after a lost race and up to the third after a failure.
PAUSE_MS_MIN: Final = 1.0
PAUSE_LOST_MS_MAX: Final = 16.0
PAUSE_FAILED_MS_MAX: Final = 500.0
# Writes of unknown outcome that are remembered: those of a minute of failures.
UNSURE_MAX: Final = 128
# A document that holds nothing goes by itself once its minute is over for every clock.
EMPTY_TTL_MS: Final = 5 * 60_000
# A process that is there is not asked about more often.
GONE_ASK_MS: Final = 1_000
# Gone processes that are remembered; one that is forgotten is asked about again.
GONE_MAX: Final = 4_096

T = TypeVar("T")
IsGone = Callable[[str], Awaitable[bool]]


class Graves:
    """Which processes are gone for good. An id is never used again, so that answer holds for ever; the other one a second."""

    def __init__(self, is_gone: IsGone, clock: Clock) -> None:
        self.known: dict[str, None] = {}  # bounded: GONE_MAX
        self._is_gone = is_gone
        self._clock = clock
        self._asked: dict[str, int] = {}  # bounded: by the holders of the documents, pruned when it grows

    async def find(self, members: list[str]) -> bool:
        """Ask about those who were not asked about just now; is somebody newly known to be gone?"""
        found = False
        for member in members:
            now = self._clock.now()
            asked = self._asked.get(member)
            if member in self.known or (asked is not None and now - asked < GONE_ASK_MS * NS_PER_MS):
                continue
            if len(self._asked) >= GONE_MAX:
                self._asked.clear()
            self._asked[member] = now
            if await self._is_gone(member):
                found = True
                if len(self.known) >= GONE_MAX:
                    del self.known[next(iter(self.known))]
                self.known[member] = None
        return found


class _Waiting(msgspec.Struct, eq=False):
    ask: Ask
    future: asyncio.Future[Verdict]


class _Plan(msgspec.Struct, frozen=True):
    """A write, and who gets what if it is done."""

    mine: Mine
    asked: tuple[_Waiting, ...]
    round: Round
    revision: int

    @property
    def refuses(self) -> bool:
        return any(verdict.refuses for verdict in self.round.verdicts)


class Scope:
    """This process's part in one document. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        member: str,
        key: str,
        limits: Callable[[], TenantLimits],
        graves: Graves,
    ) -> None:
        self.held = 0
        self.pace = Pace()
        self._store, self._clock, self._member, self._key = store, clock, member, key
        self._limits, self._graves = limits, graves
        self._waiting: list[_Waiting] = []  # bounded: WAITING_MAX
        self._known: tuple[int, Holders] | None = None
        self._written: int | None = 0  # what the document says of us; None: unknown
        self._freed = self._unstarted = self._writes = 0
        self._unsure: dict[int, _Plan] = {}  # bounded: UNSURE_MAX
        self._bury = False
        self._pump: asyncio.Task[None] | None = None
        self._fault: str | None = None
        self._over = ALLOWED

    # ---- what is asked for -----------------------------------------------------------------------------------------

    async def take(self, ask: Ask) -> Verdict:
        """The verdict on it: it holds its slots unless that refuses. Who stops waiting holds nothing.

        Where nothing is limited nobody waits for a write: the next `check` writes what is held by then.
        """
        if self._is_unlimited():
            self.held += ask.count
            return ALLOWED
        if len(self._waiting) >= WAITING_MAX:
            raise LimitReached("admission_overloaded", f"{WAITING_MAX} wait for their slot already")
        waiting = _Waiting(ask, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._wake()
        try:
            return await waiting.future
        except asyncio.CancelledError:
            if (
                waiting.future.done()
                and not waiting.future.cancelled()
                and not waiting.future.result().refuses
            ):
                self._give_back(waiting)  # it was granted in the very moment in which nobody waited any more
            raise

    def give(self, count: int, *, unstarted: bool = False) -> None:
        """So many slots are free again; `unstarted`: their sessions never began, and do not count as such."""
        self.held -= count
        self._freed += count
        try:
            if self._is_unlimited():
                return
        except RsppError:
            pass  # the limits are not known: the writer asks for them again
        self._unstarted += count if unstarted else 0
        self._wake()

    def put(self, held: int) -> None:
        """It is so many that are held, whatever was thought."""
        self._freed += max(0, self.held - held)
        self.held = held
        self._wake()

    def check(self) -> None:
        """Look whether the document says what it should, and whether somebody in it is gone."""
        self._bury = True
        self._wake()

    def _is_unlimited(self) -> bool:
        limits = self._limits()
        return not limits.sessions.most and not limits.sessions_per_minute.most

    @property
    def idle(self) -> bool:
        """Nothing held, nothing to be written, nobody waits."""
        return not self.held and not self._waiting and not self._dirty and self._pump is None

    @property
    def fault(self) -> str | None:
        """Why the last call of the store failed; None when it did not."""
        return self._fault

    @property
    def limit(self) -> int:
        return self._limits().sessions.most

    @property
    def used(self) -> Usage:
        """Sessions of this scope, and those that began in this minute, as far as the document was seen last."""
        if self._known is None:
            return Usage(sessions=self.held)
        found = self._known[1]
        starts = found.starts if found.minute == minute_of(self._clock.wall() // NS_PER_MS) else 0
        return Usage(sessions=found.count(self._member) + self.held, sessions_minute=starts)

    def over(self) -> Verdict:
        """Which quota of sessions this scope is beyond, as far as the document was seen last."""
        if self._known is None:
            return self._over
        found, wall_ms = self._known[1], self._clock.wall() // NS_PER_MS
        starts = found.starts if found.minute == minute_of(wall_ms) else 0
        used = Usage(sessions=found.count(self._member) + self.held, sessions_minute=starts)
        try:
            limits = self._limits()
        except RsppError:
            return self._over  # not known now: sessions that run go on as they were told last
        self._over = decide(limits, used, wall_ms, Moment.SESSION, asking=0)
        return self._over

    async def settled(self) -> None:
        """All that was asked for is written, or has failed and is being tried again."""
        while self._pump is not None and self._fault is None:
            await asyncio.wait([self._pump], timeout=0.05)

    def stop(self) -> None:
        """Write no more; whoever waits is told so."""
        if self._pump is not None:
            self._pump.cancel()
        for waiting in self._waiting:
            if not waiting.future.done():
                waiting.future.set_exception(LimitReached("admission_unavailable", "this process stops"))

    # ---- the one writer --------------------------------------------------------------------------------------------

    @property
    def _dirty(self) -> bool:
        return self._written != self.held or self._unstarted > 0 or self._bury

    def _wake(self) -> None:
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._run(), name=f"slots:{self._key}")
            self._pump.add_done_callback(self._ended)

    def _ended(self, pump: asyncio.Task[None]) -> None:
        self._pump = None
        error = None if pump.cancelled() else pump.exception()
        if error is not None:
            log.error("slots of %s: the writer failed", self._key, exc_info=error)
            for waiting in self._waiting:
                if not waiting.future.done():
                    waiting.future.set_exception(error)
            self._waiting = []
        elif not pump.cancelled() and (self._waiting or self._dirty):
            self._wake()  # asked for in the moment in which it ended

    async def _run(self) -> None:
        pause_ms = PAUSE_MS_MIN
        await asyncio.sleep(0)  # whoever asks in the same moment is in the first write
        while self._waiting or self._dirty:
            try:
                done = await self._round()
                self._fault = None
            except (RsppError, OSError, TimeoutError) as error:
                code = error.code if isinstance(error, RsppError) else type(error).__name__
                if self._fault is None:
                    log.warning("slots of %s: the store failed: %s", self._key, code)
                self._fault, done = code, False
                self._waiting = [one for one in self._waiting if not one.future.done()]
            if done:
                pause_ms = PAUSE_MS_MIN
                continue
            # Many writers of one document: who lost waits a little, and no two of them the same.
            await asyncio.sleep(pause_ms * (0.5 + draw(f"{self._member}/{self._writes}")) / 1000)
            pause_ms = min(2 * pause_ms, PAUSE_LOST_MS_MAX if self._fault is None else PAUSE_FAILED_MS_MAX)

    async def _round(self) -> bool:
        """One write, if there is something to be written; False when somebody else was first."""
        fresh = self._known is None or self._bury
        if fresh:
            await self._read()
        plan = self._planned()
        if plan.refuses and not fresh:
            await self._read()
            plan = self._planned()
        if plan.refuses or self._bury:
            assert self._known is not None
            others = [member for member in self._known[1].holders if member != self._member]
            if await self._graves.find(others):
                plan = self._planned()
        self._bury = False
        if not plan.round.changes:
            self._written = self.held
            self._done(plan)
            return True
        return await self._write(plan)

    async def _read(self) -> None:
        entry = await self._timed(self._store.get(SLOTS, self._key))
        found = holders_of(entry.value) if entry is not None else EMPTY
        self._known = (entry.revision if entry is not None else 0, found)
        self.pace.saw(self._clock.now(), found.freed, self.limit, len(found.holders))
        for write, plan in self._unsure.items():
            if is_done(found, self._member, write):
                self._landed(plan)
                break

    def _planned(self) -> _Plan:
        """What the next write is, from all that is known at this instant."""
        assert self._known is not None
        revision, found = self._known
        self._waiting = [one for one in self._waiting if not one.future.done()]
        asked = tuple(self._waiting)
        self._writes += 1
        mine = Mine(
            member=self._member,
            held=self.held,
            write=self._writes,
            freed=self._freed,
            unstarted=self._unstarted,
        )
        wall_ms = self._clock.wall() // NS_PER_MS
        asks = [one.ask for one in asked]
        return _Plan(
            mine, asked, settle(found, mine, asks, self._limits(), wall_ms, self._graves.known), revision
        )

    async def _write(self, plan: _Plan) -> bool:
        after = plan.round.after
        if len(self._unsure) >= UNSURE_MAX:
            del self._unsure[next(iter(self._unsure))]
        # Until it is known to have failed it may have been done, even if this task ends here.
        self._unsure[plan.mine.write] = plan
        self._known, self._written = None, None
        revision = await self._timed(
            self._store.put(
                SLOTS,
                self._key,
                bytes_of(after),
                expect=plan.revision,
                ttl_ms=None if after.count() else EMPTY_TTL_MS,
            )
        )
        if revision is None:
            del self._unsure[plan.mine.write]
            return False
        self._known = (revision, after)
        self._landed(plan)
        return True

    def _landed(self, plan: _Plan) -> None:
        """This write was done; so none that expected an older revision ever will be."""
        self._unsure = {}  # bounded: UNSURE_MAX
        self._written = plan.mine.held + plan.round.granted
        self._freed -= plan.mine.freed
        self._unstarted -= plan.mine.unstarted
        self._done(plan)

    def _done(self, plan: _Plan) -> None:
        self.held += plan.round.granted
        for waiting, verdict in zip(plan.asked, plan.round.verdicts, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(verdict)
            elif not verdict.refuses:
                self._give_back(waiting)
        self._waiting = [one for one in self._waiting if not one.future.done()]

    def _give_back(self, waiting: _Waiting) -> None:
        self.give(waiting.ask.count, unstarted=not waiting.ask.forced)

    async def _timed(self, call: Awaitable[T]) -> T:
        async with asyncio.timeout(CALL_MS_MAX / 1000):
            return await call
