"""One end of the socket pair between supervisor and child: lines out, lines in, and an end that is noticed at once."""

from __future__ import annotations

import asyncio
import logging
import socket as sockets
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec

from rspp.control.supervisor.words import LINE_BYTES_MAX, Word, line

log = logging.getLogger("rspp.control.supervisor")

# What waits to be read by the other end; who is so far behind is dead or wedged, and is told nothing more meanwhile.
UNSENT_BYTES_MAX: Final = 2 * LINE_BYTES_MAX

Heard = TypeVar("Heard", bound=Word)


class Channel(Generic[Heard]):
    """Typed lines both ways. `run` gives each that comes to `hear`, and returns when the other end is gone."""

    def __init__(self, socket: sockets.socket, decode: Callable[[bytes], Heard]) -> None:
        self._socket = socket
        self._decode = decode
        self._writer: asyncio.StreamWriter | None = None
        self.refused = 0  # lines that could not be read

    async def run(self, hear: Callable[[Heard], None]) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=LINE_BYTES_MAX)
        try:
            while data := await reader.readline():
                try:
                    word = self._decode(data)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    self.refused += 1
                    continue
                hear(word)
        except (ConnectionError, ValueError) as error:
            log.info("a channel has ended: %s", type(error).__name__)
        finally:
            self._writer.close()

    def send(self, word: Word) -> bool:
        """False if nobody is there, or nobody reads."""
        writer = self._writer
        if writer is None or writer.is_closing():
            return False
        if writer.transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            return False
        writer.write(line(word))
        return True

    async def flush(self, within_s: float) -> None:
        """What was sent is out, if that can be done in time."""
        if self._writer is not None and not self._writer.is_closing():
            try:
                await asyncio.wait_for(self._writer.drain(), within_s)
                self._writer.close()
                await asyncio.wait_for(self._writer.wait_closed(), within_s)
            except (TimeoutError, ConnectionError):
                log.info("the other end of a channel did not read its last lines")
