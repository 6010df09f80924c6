"""A few pages over plain HTTP for whoever watches: GET only, one answer a connection, everything bounded.

It is not for callers, and binds to an address of its own, so that no flood of calls keeps a probe from being answered.
"""

from __future__ import annotations

import asyncio
import logging
import socket as sockets
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError

log = logging.getLogger("rspp.control.supervisor")

HEAD_BYTES_MAX: Final = 8_192
CONNECTIONS_MAX: Final = 32  # more are closed without an answer
PATIENCE_S: Final = 5.0  # for a whole request, and again for its answer
# Who accepts this is given the page of that ending, where there is one.
OPENMETRICS: Final = "application/openmetrics-text"
AS_OPENMETRICS: Final = ";openmetrics"
JSON: Final = "application/json"


class Answer(msgspec.Struct, frozen=True):
    """A page as it is now."""

    status: HTTPStatus
    content_type: str
    body: bytes


Page = Callable[[], Awaitable[Answer]]


class Probes:
    """A server of pages, by path."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._open = 0
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, host: str, port: int) -> None:
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES_MAX)
        except (OSError, sockets.gaierror) as error:
            raise MisuseError(
                "address_unusable", f"cannot listen at {host}:{port}: {error.strerror or error}"
            ) from error

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_MAX:
                async with asyncio.timeout(PATIENCE_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                async with asyncio.timeout(PATIENCE_S):
                    writer.write(_written(await self._answer(head)))
                    await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            log.debug("a probe sent no whole request, or did not read its answer")
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, head: bytes) -> Answer:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        if method not in (b"GET", b"HEAD"):
            return told(HTTPStatus.METHOD_NOT_ALLOWED)
        page = self._pages.get(path)
        if OPENMETRICS.encode() in head.lower():
            page = self._pages.get(f"{path}{AS_OPENMETRICS}", page)
        if page is None:
            return told(HTTPStatus.NOT_FOUND)
        try:
            answer = await page()
        except Exception:  # supervised: a page that breaks is an answer too, and the others go on
            log.exception("the page %s failed", path)
            return told(HTTPStatus.INTERNAL_SERVER_ERROR)
        return answer if method == b"GET" else msgspec.structs.replace(answer, body=b"")


def told(status: HTTPStatus) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", status.phrase.lower().encode() + b"\n")


def _written(answer: Answer) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + answer.body
