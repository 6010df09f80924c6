"""A server on loopback that does exactly what a test says, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any


class Asked:
    """One request as it came."""

    def __init__(self, line: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.path, _ = line.split(" ", 2)
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Peer:
    """The connection, in the hands of a test's script."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, kind: str = "text/event-stream", *more: str) -> None:
        """The head of an answer whose end is that of the connection."""
        lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", "connection: close", *more, "", ""]
        await self.send("\r\n".join(lines).encode())

    async def chunked(self, *pieces: bytes, kind: str = "text/event-stream", end: bool = True) -> None:
        await self.send(
            f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        for piece in pieces:
            await self.chunk(piece)
        if end:
            await self.send(b"0\r\n\r\n")

    async def chunk(self, piece: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(piece), piece))

    async def hung_up(self) -> float:
        """Waits until the other side has gone; when that was."""
        try:
            while await self.reader.read(4096):
                pass
        except ConnectionError:
            pass
        return time.perf_counter()


Script = Callable[[Peer, Asked], Awaitable[None]]


class Server:
    """Where it listens, what it was asked, over how many connections."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.connections = 0
        self.base_url = ""
        self.closes = True
        self.faults: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        peer = Peer(reader, writer)
        try:
            while (asked := await read_request(reader)) is not None:
                self.asked.append(asked)
                await self.script(peer, asked)
                if self.closes:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side has gone, or the test is over
        except AssertionError as error:
            self.faults.append(error)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def finish(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert self.faults == []


async def read_request(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, *rest = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {}
    for each in rest:
        name, _, value = each.partition(":")
        headers[name.lower()] = value.strip()
    return Asked(line, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@asynccontextmanager
async def serving(script: Script, *, keep_alive: bool = False) -> AsyncIterator[Server]:
    server = Server(script)
    server.closes = not keep_alive
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.base_url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listener.close()
        await server.finish()


def event(**data: Any) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def delta(text: str, finish: str | None = None) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish}])


DONE = b"data: [DONE]\n\n"
STOP = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
