"""The control plane over HTTP: one route for each operation of the table, and nothing that is not in it but the probes.

`control_routes` makes the routes and `assemble` the application out of any routes, so that other faces stand beside these
behind the same door. What no route answers, an unknown path or method, has the same shape as every other refusal.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rspp.contract.errors import PeerFault, RsppError
from rspp.control.operations import OPERATIONS
from rspp.control.operations.calling import call
from rspp.control.operations.operation import Denied, NotFound, Operation
from rspp.control.operations.operation import Scope as OperationScope
from rspp.control.plane import ControlPlane
from rspp.control.security.roles import Permission, allowed
from rspp.control.supervisor.exposition import Exposition
from rspp.server.faults import JSON, answer, internal
from rspp.server.gate import STRANGER, Gate
from rspp.server.openapi import document
from rspp.server.reading import read

log = logging.getLogger("rspp.server")

REQUEST_ID: Final = "x-request-id"
REQUEST_ID_CHARACTERS_MAX: Final = 64
NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
# What is answered is of this moment and of this caller: nobody keeps it, unless the answer says otherwise itself.
KEPT: Final = b"cache-control"
NOT_KEPT: Final = (KEPT, b"no-store")

Endpoint = Callable[[Request], Awaitable[Response]]
Lifespan = Callable[[Starlette], Any]


def make_app(
    plane: ControlPlane, *, operations: Sequence[Operation] = OPERATIONS, more: Sequence[BaseRoute] = ()
) -> Starlette:
    """The control plane's whole application; `more` are the routes of other faces."""
    gate = Gate(plane.clock, plane.authenticate, plane.audit_stranger)
    return assemble([*control_routes(plane, gate, operations), *probes(plane), metrics(plane, gate), *more])


def assemble(routes: Sequence[BaseRoute], lifespan: Lifespan | None = None) -> Starlette:
    """An application out of routes: requests have ids, and whatever goes wrong has the one shape."""
    app = Starlette(
        routes=list(routes),
        exception_handlers={HTTPException: _refused, RsppError: _failed},
        lifespan=lifespan or _nothing,
    )
    app.add_middleware(Identified)
    app.router.redirect_slashes = False  # another address is another thing
    return app


def control_routes(
    plane: ControlPlane, gate: Gate, operations: Sequence[Operation] = OPERATIONS
) -> list[BaseRoute]:
    """One route for each operation, and their description, for whoever has a token."""
    described = msgspec.json.encode(document(operations))

    async def openapi(request: Request) -> Response:
        await gate.enter(request.headers.get("authorization"), address_of(request))
        return Response(described, media_type=JSON)

    routes: list[BaseRoute] = [Route("/openapi.json", supervised(openapi), methods=["GET"])]
    for operation in operations:
        endpoint = supervised(_endpoint(plane, gate, operation))
        routes.append(Route(operation.path, endpoint, methods=[operation.method], name=operation.name))
    return routes


def probes(plane: ControlPlane) -> list[BaseRoute]:
    """Alive: this loop turns. Ready: what it depends on answers, too, and it is not about to stop."""

    async def live(_: Request) -> Response:
        return _json({"live": True})

    async def ready(_: Request) -> Response:
        reasons = await plane.unready()
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    return [
        Route("/livez", live, methods=["GET"]),
        Route("/readyz", supervised(ready), methods=["GET"]),
    ]


def metrics(plane: ControlPlane, gate: Gate) -> Route:
    """What this process counts, as Prometheus reads it, for whoever may see the fleet."""

    async def read_out(request: Request) -> Response:
        principal = await gate.enter(request.headers.get("authorization"), address_of(request))
        if not allowed(principal, Permission.WORKERS_READ, None):
            await plane.audit.denied(principal.id, "metrics.read", None, "denied", {})
            raise Denied(Permission.WORKERS_READ)
        exposition = Exposition()
        exposition.take(plane.member_id, plane.meters.read())
        body, media_type = exposition.answer(request.headers.get("accept", ""))
        return Response(body, media_type=media_type)

    return Route("/metrics", supervised(read_out), methods=["GET"])


def _endpoint(plane: ControlPlane, gate: Gate, operation: Operation) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        principal = await gate.enter(request.headers.get("authorization"), address_of(request))
        asked = await read(request, operation)
        return _json(await call(plane, principal, operation, asked))

    async def by_secret(request: Request) -> Response:
        asked = await read(request, operation)
        async with gate.guessing(address_of(request)):
            return _json(await call(plane, STRANGER, operation, asked))

    return by_secret if operation.scope is OperationScope.SECRET else endpoint


def supervised(endpoint: Endpoint) -> Endpoint:
    """The endpoint, whose every failure is an answer."""

    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except RsppError as error:
            return answer(error)
        except HTTPException:
            raise
        except ClientDisconnect:
            return Response(status_code=400)  # whoever asked has gone, and that is nobody's failure
        except Exception:
            log.exception("request %s failed", request.scope.get("request_id"))
            return internal()

    return answered


def address_of(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value, order="deterministic"), status, media_type=JSON)


async def _refused(_: Request, error: Exception) -> Response:
    """What no route takes. Whether a path is unknown or what it leads to is missing, the answer is the same."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        response = answer(PeerFault("method_not_allowed", "this address does not take that method"))
        response.headers.update(error.headers or {})
        return response
    return answer(NotFound())


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, RsppError)
    return answer(error)


@asynccontextmanager
async def _nothing(_: Starlette) -> AsyncIterator[None]:
    yield


class Identified:
    """Every request has an id: the caller's if it is sound, else one of ours; the answer and the log name it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _sound(dict(scope["headers"]).get(REQUEST_ID.encode(), b"")) or token_hex(8)
        scope["request_id"] = request_id

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = (REQUEST_ID.encode(), request_id.encode())
                headers = [*message.get("headers", ()), said, NOSNIFF]
                is_said = any(name.lower() == KEPT for name, _ in headers)
                message["headers"] = headers if is_said else [*headers, NOT_KEPT]
            await send(message)

        await self._app(scope, receive, named)


def _sound(given: bytes) -> str:
    text = given.decode("ascii", "replace")
    ok = 0 < len(text) <= REQUEST_ID_CHARACTERS_MAX and text.replace("-", "").replace("_", "").isalnum()
    return text if ok and text.isascii() else ""
