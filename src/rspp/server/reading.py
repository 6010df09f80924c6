"""A request becomes the struct of its operation, or an error that names the field; no more of it is read than its bound."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request

from rspp.contract.codec import CodecError, Limits, decode_json, from_plain
from rspp.contract.errors import LimitReached, PeerFault
from rspp.control.operations.operation import Operation

ADDRESS_CHARACTERS_MAX: Final = 4_096
# A pipeline's text is one value; a restored backup some thousands.
VALUES_MAX: Final = 100_000
DEPTH_MAX: Final = 24
BODY_S_MAX: Final = 120.0
JSON_TYPES: Final = ("application/json", "")


async def read(request: Request, operation: Operation) -> Any:
    """What is asked; raises a `PeerFault` or a `LimitReached` that says what is wrong with it, and where."""
    address = str(request.url.query)
    if len(address) > ADDRESS_CHARACTERS_MAX:
        raise LimitReached("payload_too_large", f"an address has at most {ADDRESS_CHARACTERS_MAX} characters")
    path: Mapping[str, str] = {name: request.path_params[name] for name in operation.path_fields}
    if operation.changes:
        limits = Limits(size_bytes_max=operation.body_bytes_max, depth_max=DEPTH_MAX, values_max=VALUES_MAX)
        return from_plain({**await _body(request, path, limits), **path}, operation.request)
    return from_plain({**_query(request, path), **path}, operation.request, strict=False)


def _query(request: Request, path: Mapping[str, str]) -> dict[str, str]:
    """Each name once: of two values for one name, which is meant would be a guess."""
    said: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in said or name in path:
            raise CodecError("key_repeated", name, "this is said twice")
        said[name] = value
    return said


async def _body(request: Request, path: Mapping[str, str], limits: Limits) -> dict[str, Any]:
    if request.url.query:
        raise CodecError("field_unknown", "", "what changes something takes its fields in the body")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    data = await body_of(request, limits.size_bytes_max)
    if data and kind not in JSON_TYPES:
        raise PeerFault("media_type_unsupported", "the body is JSON: application/json")
    body = decode_json(data, dict[str, Any], limits) if data else {}
    for name in path:
        if name in body:
            raise CodecError("key_repeated", name, "this is said by the path already")
    return body


async def body_of(request: Request, size_max: int) -> bytes:
    """The body, as far as it may go; who says beforehand that it is longer is not even listened to."""
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said) > size_max:
        raise _too_large(size_max)
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_S_MAX):
            async for piece in request.stream():
                data += piece
                if len(data) > size_max:
                    raise _too_large(size_max)
    except TimeoutError:
        raise PeerFault("truncated", f"the body did not come within {BODY_S_MAX:g} s") from None
    return bytes(data)


def _too_large(size_max: int) -> LimitReached:
    return LimitReached("payload_too_large", f"a body has at most {size_max} bytes")
