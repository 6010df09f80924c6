"""Health and actions over REST: how things are, what can be done, and doing it; as far as the caller may know of it."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from rspp.contract.codec import Limits, decode_json
from rspp.control.operations import operation_named
from rspp.control.operations.calling import Verdict, judge
from rspp.control.operations.operation import Denied
from rspp.control.plane import ControlPlane
from rspp.control.security.roles import Permission, Principal
from rspp.ops.actions import Action, actions_of
from rspp.server.acting import Offers, act, health_for
from rspp.server.app import address_of, supervised
from rspp.server.faults import JSON
from rspp.server.gate import Gate
from rspp.server.reading import body_of
from rspp.server.sight import tenants_read

BODY_LIMITS: Final = Limits(size_bytes_max=8_192, depth_max=2, values_max=8)


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of who takes an action."""

    key: str
    reason: str


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """An action, and whether the caller may take it."""

    action: Action
    allowed: bool


class Actions(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Offered]


def may_take(principal: Principal, action: Action) -> bool:
    """Would the door let this principal in? Consent may have to be given all the same. What the door cannot read it refuses, and
    the other actions are offered all the same.
    """
    operation = operation_named(action.call.operation)
    try:
        request = msgspec.convert(action.call.fields, operation.request)
    except msgspec.ValidationError:
        return False
    return judge(principal, operation, request) is Verdict.ALLOWED


def acting_routes(plane: ControlPlane, engine: Offers, gate: Gate) -> list[BaseRoute]:
    """`GET /v1/health`, `GET /v1/actions`, `POST /v1/actions/{id}`."""

    async def enter(request: Request, what: str) -> Principal:
        principal = await gate.enter(request.headers.get("authorization"), address_of(request))
        seen = tenants_read(principal, Permission.HEALTH_READ)
        if seen is not None and not seen:
            await plane.audit.denied(principal.id, what, None, "denied", {})
            raise Denied(Permission.HEALTH_READ)
        return principal

    async def health(request: Request) -> Response:
        principal = await enter(request, "runtime.health")
        return _json(health_for(principal, engine))

    async def actions(request: Request) -> Response:
        principal = await enter(request, "runtime.actions")
        offered = actions_of(health_for(principal, engine))
        return _json(
            Actions(items=[Offered(action=one, allowed=may_take(principal, one)) for one in offered])
        )

    async def take(request: Request) -> Response:
        principal = await gate.enter(request.headers.get("authorization"), address_of(request))
        data = await body_of(request, BODY_LIMITS.size_bytes_max)
        asked = decode_json(data, Asked, BODY_LIMITS)
        return _json(await act(plane, engine, principal, request.path_params["id"], asked.key, asked.reason))

    return [
        Route("/v1/health", supervised(health), methods=["GET"]),
        Route("/v1/actions", supervised(actions), methods=["GET"]),
        # An id may hold a slash: a thing's name does.
        Route("/v1/actions/{id:path}", supervised(take), methods=["POST"]),
    ]


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value, order="deterministic"), media_type=JSON)
