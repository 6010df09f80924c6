"""The control plane itself, and what the fleet knows of its providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from rspp import __version__
from rspp.control.fleet.provider_health import FleetHealth
from rspp.control.operations.operation import Nothing, Operation, Request, Response
from rspp.control.security.roles import TABLE, Permission, Principal, Role, allowed

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane


class ListHealth(Request, frozen=True, kw_only=True):
    region: Annotated[str, Meta(description="As this region sees them; else as the fleet does.")] | None = (
        None
    )


class HealthList(Response, frozen=True, kw_only=True):
    items: list[FleetHealth]


class ControlStatus(Response, frozen=True, kw_only=True):
    """How the control plane fares: what it cannot do now, and what is wrong with what it keeps."""

    version: str
    ready: bool
    reasons: list[str]
    problems: dict[str, str]
    workers: int
    sessions: int
    capacity: int
    regions: list[str]
    pipelines: int
    alarms: list[str]


class Me(Response, frozen=True, kw_only=True):
    """Who the caller is to the control plane, and what the caller may do where. `plane` tells this control plane from others."""

    principal: str
    plane: str
    roles: dict[str, tuple[Role, ...]]
    permissions: dict[str, list[str]]


async def list_health(plane: ControlPlane, _: Principal, asked: ListHealth) -> HealthList:
    return HealthList(items=await plane.provider_health(asked.region))


async def status(plane: ControlPlane, _: Principal, __: Nothing) -> ControlStatus:
    reasons = await plane.unready()
    await plane.look_at_fleet()
    workers = plane.fleet.members()
    return ControlStatus(
        version=__version__,
        ready=not reasons,
        reasons=reasons,
        problems=plane.problems(),
        workers=len(workers),
        sessions=sum(one.sessions for one in workers),
        capacity=sum(one.capacity for one in workers),
        regions=sorted({one.region for one in workers}),
        pipelines=len(await plane.registry.pipelines()),
        alarms=list(await plane.key_alarms()),
    )


async def me(plane: ControlPlane, principal: Principal, _: Nothing) -> Me:
    return Me(
        principal=principal.id,
        plane=await plane.identity.name(),
        roles=principal.roles,
        permissions={
            tenant: [one.value for one in Permission if allowed(principal, one, tenant)]
            for tenant in principal.roles
        },
    )


class RoleItem(Response, frozen=True, kw_only=True):
    role: Role
    permissions: list[str]


class RoleList(Response, frozen=True, kw_only=True):
    items: list[RoleItem]


async def list_roles(_: ControlPlane, __: Principal, ___: Nothing) -> RoleList:
    return RoleList(
        items=[
            RoleItem(role=role, permissions=[one.value for one in Permission if one in TABLE[role]])
            for role in Role
        ]
    )


FLEET: Final = (
    Operation(
        name="fleet.status",
        method="GET",
        path="/v1/status",
        request=Nothing,
        response=ControlStatus,
        permission=Permission.WORKERS_READ,
        handler=status,
        summary="Show how the control plane and its fleet fare.",
    ),
    Operation(
        name="fleet.health",
        method="GET",
        path="/v1/provider-health",
        request=ListHealth,
        response=HealthList,
        permission=Permission.HEALTH_READ,
        handler=list_health,
        summary="Show what the fleet knows of its providers: healthy, unknown or unhealthy, and by how many calls.",
        example={"region": "eu-1"},
    ),
    Operation(
        name="fleet.me",
        method="GET",
        path="/v1/me",
        request=Nothing,
        response=Me,
        permission=Permission.SESSIONS_READ,
        handler=me,
        summary="Show who you are to the control plane, and what you may do where.",
        own=True,
    ),
    Operation(
        name="fleet.roles",
        method="GET",
        path="/v1/roles",
        request=Nothing,
        response=RoleList,
        permission=Permission.SESSIONS_READ,
        handler=list_roles,
        summary="List the roles, and what each may do.",
        own=True,
    ),
)
