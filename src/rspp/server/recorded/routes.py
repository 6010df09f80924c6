"""A session's sound as a WAV, whole or in parts, for whoever shows a token and may hear it; each look is on record.

    GET /v1/tenants/{tenant}/sessions/{session}/sound/{side}        200, or 206 for one `Range`; 416 for one that is not there

What is not there, what is another tenant's, what was not recorded and what is not for this principal to hear is 404, alike; 403
where the data folder's own policy lets it see nothing at all.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from typing import Final

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from rspp.control.operations.operation import NotFound
from rspp.server.app import address_of, supervised
from rspp.server.gate import Gate
from rspp.server.recorded.recorded import Recorded

PATH: Final = "/v1/tenants/{tenant}/sessions/{session}/sound/{side}"
WAV: Final = "audio/wav"
CHUNK_BYTES: Final = 256 * 1024
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def recorded_routes(recorded: Recorded, gate: Gate) -> list[BaseRoute]:
    """The routes of recordings, behind the same door as all others."""

    async def sound(request: Request) -> Response:
        principal = await gate.enter(request.headers.get("authorization"), address_of(request))
        where = request.path_params
        heard = await recorded.heard(principal, where["tenant"], where["session"])
        opened = None if heard is None else heard.opened(where["side"])
        if opened is None:
            raise NotFound
        fd, size = opened
        return _answer(fd, size, request.headers.get("range"))

    return [Route(PATH, supervised(sound), methods=["GET"])]


def _answer(fd: int, size: int, asked: str | None) -> Response:
    span = range_of(asked, size)
    closed = BackgroundTask(os.close, fd)
    headers = {"accept-ranges": "bytes", "content-disposition": "inline"}
    if span is None:
        headers["content-range"] = f"bytes */{size}"
        return Response(status_code=416, headers=headers, background=closed)
    first, last = span
    headers["content-length"] = str(last - first + 1)
    status = 200
    if asked is not None and (first, last) != (0, size - 1):
        status, headers["content-range"] = 206, f"bytes {first}-{last}/{size}"
    return StreamingResponse(_parts(fd, first, last), status, headers, WAV, background=closed)


async def _parts(fd: int, first: int, last: int) -> AsyncIterator[bytes]:
    while first <= last:
        data = await asyncio.to_thread(os.pread, fd, min(CHUNK_BYTES, last - first + 1), first)
        if not data:
            return
        first += len(data)
        yield data


def range_of(asked: str | None, size: int) -> tuple[int, int] | None:
    """The first and the last byte; None for a range that begins behind the end. What is no single range means all of it."""
    found = _RANGE.fullmatch(asked.replace(" ", "").lower()) if asked else None
    if found is None or not (found[1] or found[2]):
        return (0, size - 1)
    if not found[1]:  # the last so many
        length = int(found[2])
        return (max(0, size - length), size - 1) if length else None
    first = int(found[1])
    last = min(int(found[2]) if found[2] else size - 1, size - 1)
    if first >= size:
        return None
    return (first, last) if first <= last else (0, size - 1)
