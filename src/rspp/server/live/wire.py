"""One WebSocket under Socket.IO, held to its bounds: it shows a token in time, says little, and ends when it is told to.

The library above keeps a connection whose token was refused, and queues without bound for one that does not read. What comes in
is counted here, what goes out has a deadline, and `end` closes the connection whatever the library thinks of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.types import Message, Receive, Scope, Send

# Under this name the handlers find the wire in the scope.
SCOPE_KEY: Final = "rspp.wire"
# A client answers a ping every half minute and asks nothing: whoever says more has other things in mind.
MESSAGES_MAX: Final = 60
MESSAGES_PER_S: Final = 60.0
# A message that the other side did not take within this time ends the connection.
SEND_S_MAX: Final = 20.0
DISCONNECT: Final[Message] = {"type": "websocket.disconnect", "code": 1008}


class Wire:
    """One connection. `due` is when it ends unless somebody is let in on it; None: somebody is."""

    def __init__(self, now: Callable[[], float], due: float, address: str = "") -> None:
        self.due: float | None = due
        self.address = address
        self._now = now
        self._ended = asyncio.Event()
        self._counted_from = now()
        self._messages = 0

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def end(self) -> None:
        """Now: nothing more is read from it."""
        self._ended.set()

    def is_due(self) -> bool:
        return self.due is not None and self._now() >= self.due

    async def carry(
        self, app: Callable[[Scope, Receive, Send], object], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """The application over this wire, until either has enough."""

        async def heard() -> Message:
            reading = asyncio.ensure_future(receive())
            ending = asyncio.ensure_future(self._ended.wait())
            try:
                await asyncio.wait((reading, ending), return_when=asyncio.FIRST_COMPLETED)
                if reading.done() and not self._ended.is_set():
                    message = reading.result()
                    return message if self._fits(message) else DISCONNECT
                return DISCONNECT
            finally:
                for task in (reading, ending):
                    task.cancel()

        async def said(message: Message) -> None:
            try:
                async with asyncio.timeout(SEND_S_MAX):
                    await send(message)
            except TimeoutError:
                self.end()
                raise

        await app({**scope, SCOPE_KEY: self}, heard, said)  # type: ignore[misc]  # an application is awaited

    def _fits(self, message: Message) -> bool:
        if message["type"] != "websocket.receive":
            return True
        now = self._now()
        if now - self._counted_from >= MESSAGES_PER_S:
            self._counted_from, self._messages = now, 0
        self._messages += 1
        if self._messages > MESSAGES_MAX:
            self.end()
        return not self.ended
