"""The whole console as one application: REST, GraphQL, Socket.IO, probes, metrics and the page, behind one door.

    /v1/... /openapi.json    the control plane's operations; health and actions
    /graphql                 what the page asks
    /socket.io/              what has changed
    /metrics                 what this process counts
    /livez /readyz /healthz  for machines, open to all
    / /assets/...            the page itself; it holds nothing of anybody until somebody signs in on it

Who owns the plane and the engine runs them; the application only keeps its own connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from rspp.contract.event import NS_PER_MS
from rspp.contract.surface import Level
from rspp.control.plane import ControlPlane
from rspp.host.ports import Clock
from rspp.ops.engine import StateEngine
from rspp.ops.health import Health
from rspp.server.acting import Acting
from rspp.server.acting_routes import acting_routes
from rspp.server.app import assemble, control_routes, metrics, probes, supervised
from rspp.server.gate import Gate
from rspp.server.graphql.asking import Recordings, Sources
from rspp.server.graphql.endpoint import graphql_route
from rspp.server.live.sockets import Sockets, Timing
from rspp.server.origin import OwnNamesOnly
from rspp.server.pages import page_routes

TEXT: Final = "text/plain; charset=utf-8"
# What /healthz says while nobody can know: what is known is too old.
UNKNOWN: Final = "unknown"
WORD_MS: Final = 500


def console_app(
    plane: ControlPlane,
    engine: StateEngine,
    *,
    recorded: Recordings,
    dev: bool = False,
    more: Sequence[BaseRoute] = (),
    timing: Timing | None = None,
    gate: Gate | None = None,
) -> Starlette:
    """The application; `more` are routes of other faces that are behind the same gate.

    In `dev` it answers to this machine's own names alone, so that no page of a stranger reaches it by a name of its own.
    """
    gate = gate or gate_of(plane)
    sockets = Sockets(gate, plane.authenticate, engine, timing)
    sources = Sources(plane=plane, engine=engine, recorded=recorded, acts=Acting(plane, engine), dev=dev)
    routes: list[BaseRoute] = [
        *control_routes(plane, gate),
        *acting_routes(plane, engine, gate),
        *probes(plane),
        healthz(engine, plane.clock),
        metrics(plane, gate),
        graphql_route(gate, sources),
        sockets.route,
        *more,
        *page_routes(),
    ]

    @asynccontextmanager
    async def living(_: Starlette) -> AsyncIterator[None]:
        keeping = asyncio.create_task(sockets.run(), name="console:sockets")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait((keeping,))

    app = assemble(routes, living)
    if dev:
        app.add_middleware(OwnNamesOnly)
    app.state.sockets = sockets  # for whoever counts its clients
    return app


def gate_of(plane: ControlPlane) -> Gate:
    """One door for all faces: who fails at one waits at each."""
    return Gate(plane.clock, plane.authenticate, plane.audit_stranger)


def healthz(engine: StateEngine, clock: Clock) -> Route:
    """The overall level in one word, for machines that have no token; 503 where something does not go on.

    Anybody may ask it, as often as they like: it is thought about once in `WORD_MS`.
    """
    kept: Health | None = None
    kept_at = 0

    async def level(_: Request) -> Response:
        nonlocal kept, kept_at
        now = clock.now()
        if kept is None or now - kept_at >= WORD_MS * NS_PER_MS:
            kept, kept_at = engine.health(), now
        health = kept
        if health.stale:
            return Response(UNKNOWN, 503, media_type=TEXT)
        return Response(health.level.value, 503 if health.level is Level.FAILED else 200, media_type=TEXT)

    return Route("/healthz", supervised(level), methods=["GET"])
