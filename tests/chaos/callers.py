"""Callers who talk all the time, come back wherever they are sent, and remember exactly what they were told."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

from rspp.client import Client, ConnectionLost, Frame, Moved, NoRoute, Patience, RouteSource, Session
from rspp.contract.errors import PeerFault
from rspp.contract.wire import Told

PAUSE_S = 1.0
TURN_S = 20.0
SETTLED_S = 4.0  # then no turn comes any more of what was said again
KEPT = 64
TURNS = (8, 30)  # of one call; then the next one begins where calls of this caller begin
# Why a call may end that nobody hung up: each says what happened.
TRUTHFUL = frozenset({"worker_lost", "not_resumed", "session_over", "resume_refused"})


class Caller:
    """One call after the other, until told to stop."""

    def __init__(
        self,
        number: int,
        tenant: str,
        routes: Callable[[], RouteSource],
        patience: Patience,
        random: Random,
        remembered: Callable[[str], Awaitable[list[str]]],
    ) -> None:
        self.number, self.tenant = number, tenant
        self._remembered = remembered
        self._routes, self._patience, self._random = routes, patience, random
        self.session: Session | None = None
        self.turns = 0  # answered to the end, over all calls
        self.answered_at = 0.0
        self.committed: deque[str] = deque(maxlen=KEPT)  # what the present call was told is committed
        self.accepted_stale = self.dropped_stale = self.answered_before = 0
        self.ends: list[str] = []  # of calls that ended by themselves
        self.away_ms: list[int] = []
        self.moved_at: list[float] = []
        self.problems: list[str] = []
        self._asked, self._commit, self._closed = False, False, asyncio.Event()
        self._turn_id: str | None = None
        self._said_again_at: float | None = None
        self.quiet = asyncio.Event()
        self.quiet.set()

    async def live(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._call(stop)
            except (ConnectionLost, NoRoute, PeerFault) as error:
                self.ends.append(getattr(error, "code", type(error).__name__))
                await asyncio.sleep(0.5)

    async def _call(self, stop: asyncio.Event) -> None:
        self.committed.clear()
        async with Client.session(
            self._routes(), tenant=self.tenant, audio_in=None, patience=self._patience
        ) as session:
            self.session = session
            listening = asyncio.create_task(self._listen(session))
            try:
                said, most = 0, self._random.randint(*TURNS)
                while not stop.is_set() and session.ended is None and said < most:
                    await self.quiet.wait()
                    said += 1
                    await self._turn(session, f"caller {self.number} says {said} of {id(session) % 9973}")
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), PAUSE_S)
                if session.ended is not None and not stop.is_set():
                    self.ends.append(session.ended)
            finally:
                listening.cancel()
                await asyncio.wait([listening])
                self.dropped_stale += session.stale_dropped
                self.session = None

    async def _turn(self, session: Session, words: str) -> None:
        """Ask, and wait until a turn has ended. One that was aborted is asked again: the caller was not answered."""
        self._closed, self._commit, self._turn_id = asyncio.Event(), False, None
        self._said_again_at = None
        self._asked = True
        session.say(words)
        until = time.monotonic() + TURN_S + self._patience.away_ms_max / 1000
        while time.monotonic() < until and session.ended is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), 0.5)
            if self._closed.is_set():
                if self._commit:
                    self.turns += 1
                    self.answered_at = time.monotonic()
                    self.committed.append(words)
                return
            if await self._had_its_answer(session, words):
                self.answered_before += 1
                self.answered_at = time.monotonic()
                return
        if session.ended is None:
            self.problems.append(f"{words!r} was never answered")

    async def _had_its_answer(self, session: Session, words: str) -> bool:
        """Said again on a new line, and no turn came of it: it was answered before the last one broke, and is remembered."""
        again_at, ticket = self._said_again_at, session.ticket
        if again_at is None or self._turn_id is not None or time.monotonic() - again_at < SETTLED_S:
            return False
        return ticket is not None and words in await self._remembered(ticket.session)

    async def _listen(self, session: Session) -> None:
        highest = 0
        async for event in session.events():
            if isinstance(event, Moved):
                self.away_ms.append(event.away_ms)
                self.moved_at.append(time.monotonic())
                continue
            epoch = event.header.epoch if isinstance(event, Frame) else getattr(event, "epoch", None)
            if epoch is not None:
                if epoch < highest:
                    self.accepted_stale += 1
                highest = max(highest, epoch)
            if isinstance(event, Told):
                self._told(event)

    def _told(self, told: Told) -> None:
        """The turn that counts is the last one that was opened since the question: its end is the question's."""
        if told.signal == "duplicate_dropped" and self._asked:
            # A turn that was opened for it on the last line does not end on this one.
            self._said_again_at, self._turn_id = time.monotonic(), None
        elif told.signal == "turn_open" and self._asked:
            self._turn_id, self._commit = told.turn_id, False
        elif told.turn_id is not None and told.turn_id == self._turn_id:
            if told.signal == "commit":
                self._commit = True
            elif told.signal == "close":
                self._asked = False
                self._closed.set()
