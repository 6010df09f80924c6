"""A door to a server that can be shut: it forwards bytes, late, one way only, or not at all."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"


class Relay:
    """Forwards to one port of this machine. What is held is sent on when it is let go, however late."""

    def __init__(self, port: int, delay_s: float = 0.0) -> None:
        self._target = port
        self._delay_s = delay_s
        self._up = asyncio.Event()  # from the caller to the server
        self._down = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.accepted = 0
        self.held_bytes = 0
        self.ended = 0  # lines, by their caller or their server
        self.let_go()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def hold(self, *, questions: bool = True, answers: bool = True) -> None:
        """Nothing is closed, and nothing comes through that way."""
        if questions:
            self._up.clear()
        if answers:
            self._down.clear()

    def let_go(self, *, questions: bool = True, answers: bool = True) -> None:
        if questions:
            self._up.set()
        if answers:
            self._down.set()

    async def cut(self) -> None:
        """Every line is closed, with what it held; new ones are taken."""
        lines = set(self._open)
        for line in lines:
            line.cancel()
        if lines:
            await asyncio.wait(lines)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        line = asyncio.ensure_future(self._line(reader, writer))
        self._open.add(line)
        line.add_done_callback(self._open.discard)
        with suppress(asyncio.CancelledError):
            await asyncio.wait([line])

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.close()
            return
        ways = [
            asyncio.ensure_future(self._forward(reader, back, self._up)),
            asyncio.ensure_future(self._forward(there, writer, self._down)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            self.ended += 1
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, back):
                end.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        while data := await reader.read(65_536):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            self.held_bytes += 0 if gate.is_set() else len(data)
            await gate.wait()
            writer.write(data)
            await writer.drain()
