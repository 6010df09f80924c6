"""Who waits for which answer on one connection. When the connection goes, everybody is told at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

from nats.aio.msg import Msg

# Answers to one address: a pull's messages and its heartbeats. More than were asked for is a broken server.
LETTERS_MAX: Final = 1_024

Letter = Msg | None  # None: nothing will come any more


class Mailbox:
    """Addresses below one inbox, each for one question."""

    def __init__(self, inbox: str) -> None:
        self._inbox = inbox
        self._numbers = itertools.count(1)
        self._open: dict[str, Callable[[Letter], None]] = {}  # bounded: calls in flight and watchers
        self.heard = 0  # letters so far: who hears nothing at all doubts the connection
        self.closed = False

    @property
    def subject(self) -> str:
        return f"{self._inbox}.*"

    def address(self, take: Callable[[Letter], None]) -> str:
        reply = f"{self._inbox}.{next(self._numbers)}"
        self._open[reply] = take
        return reply

    def forget(self, address: str) -> None:
        self._open.pop(address, None)

    async def deliver(self, letter: Msg) -> None:
        """Late letters, whose reader is gone, are dropped."""
        self.heard += 1
        take = self._open.get(letter.subject)
        if take is not None:
            take(letter)

    def close(self) -> None:
        self.closed = True
        for take in list(self._open.values()):
            take(None)
        self._open.clear()


class Letters:
    """What comes to one address, in order, within its bound."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Letter] = asyncio.Queue(LETTERS_MAX)
        self._ended = False

    def take(self, letter: Letter) -> None:
        """After a None, or one too many, nothing more is taken."""
        if self._ended:
            return
        if self._queue.full():
            self._queue.get_nowait()  # what comes after the gap is not of use to anybody
            letter = None
        self._ended = letter is None
        self._queue.put_nowait(letter)

    async def next(self, within_s: float) -> Letter:
        """The next one; None when nothing comes in time, or ever."""
        try:
            async with asyncio.timeout(within_s):
                return await self._queue.get()
        except TimeoutError:
            return None
