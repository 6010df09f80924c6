"""Regions, and where a tenant's sessions may be processed and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from rspp.control.fleet.regions import Region, RegionMode
from rspp.control.fleet.residency import Jurisdiction, Residency, Use
from rspp.control.operations.operation import Conflict, Nothing, Operation, Request, Response
from rspp.control.operations.words import Name, Reason, Tenant
from rspp.control.security.roles import Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

Where = Annotated[
    tuple[str, ...] | None, Meta(description="Regions, or jurisdiction:NAME; without it, anywhere.")
]


class SetRegion(Request, frozen=True, kw_only=True):
    region: Name
    mode: Annotated[
        RegionMode, Meta(description="Takes sessions, finishes them, gives them away, or has none.")
    ]
    reason: Reason
    incident: Annotated[str, Meta(max_length=400, description="What is wrong with it, if something is.")] = ""
    pinned: Annotated[bool, Meta(description="Automatic failover leaves it alone.")] = False


class RegionList(Response, frozen=True, kw_only=True):
    items: list[Region]


class NameTenant(Request, frozen=True, kw_only=True):
    tenant: Tenant


class SetResidency(Request, frozen=True, kw_only=True):
    tenant: Tenant
    process_in: Where = None
    store_in: Where = None
    reason: Reason


class SetJurisdiction(Request, frozen=True, kw_only=True):
    jurisdiction: Name
    regions: Annotated[tuple[str, ...], Meta(max_length=256, description="The regions in it.")]
    reason: Reason


class ResidencyDetail(Response, frozen=True, kw_only=True):
    """Where a tenant may be; None is anywhere."""

    tenant: str
    process: list[str] | None
    store: list[str] | None


class JurisdictionList(Response, frozen=True, kw_only=True):
    items: list[Jurisdiction]


async def list_regions(plane: ControlPlane, _: Principal, __: Nothing) -> RegionList:
    """Those that somebody has said something about, and those in which workers are."""
    known = {name: switched.region for name, switched in (await plane.regions.list()).items()}
    await plane.look_at_fleet()
    for seen in plane.fleet.seen.values():
        known.setdefault(seen.member.region, Region(name=seen.member.region))
    return RegionList(items=[known[name] for name in sorted(known)])


async def set_region(plane: ControlPlane, principal: Principal, asked: SetRegion) -> Region:
    now = await plane.regions.get(asked.region)
    wanted = Region(
        name=asked.region,
        mode=asked.mode,
        reason=asked.reason,
        author=principal.id,
        at_wall_ms=plane.wall_ms(),
        pinned=asked.pinned,
        incident=asked.incident,
    )
    return (await plane.regions.put(wanted, expect=now.revision)).region


async def show_residency(plane: ControlPlane, _: Principal, asked: NameTenant) -> ResidencyDetail:
    rules = await plane.residencies.rules()
    process, store = (rules.regions(asked.tenant, use) for use in (Use.PROCESS, Use.STORE))
    return ResidencyDetail(
        tenant=asked.tenant,
        process=None if process is None else sorted(process),
        store=None if store is None else sorted(store),
    )


async def set_residency(plane: ControlPlane, principal: Principal, asked: SetResidency) -> ResidencyDetail:
    policy = Residency(
        tenant_id=asked.tenant,
        process=asked.process_in,
        store=asked.store_in,
        author=principal.id,
        reason=asked.reason,
    )
    if await plane.residencies.put(policy) is None:
        raise Conflict("revision_conflict", "somebody else was first; look, and try again")
    await plane.residency_rules.refresh()
    return await show_residency(plane, principal, NameTenant(tenant=asked.tenant))


async def list_jurisdictions(plane: ControlPlane, _: Principal, __: Nothing) -> JurisdictionList:
    known = (await plane.residencies.rules()).jurisdictions
    return JurisdictionList(items=[known[name] for name in sorted(known)])


async def set_jurisdiction(plane: ControlPlane, principal: Principal, asked: SetJurisdiction) -> Jurisdiction:
    wanted = Jurisdiction(
        name=asked.jurisdiction, regions=asked.regions, author=principal.id, reason=asked.reason
    )
    if await plane.residencies.put_jurisdiction(wanted) is None:
        raise Conflict("revision_conflict", "somebody else was first; look, and try again")
    await plane.residency_rules.refresh()
    return wanted


REGIONS: Final = (
    Operation(
        name="regions.list",
        method="GET",
        path="/v1/regions",
        request=Nothing,
        response=RegionList,
        permission=Permission.REGIONS_READ,
        handler=list_regions,
        summary="List the regions: whether they take sessions, who turned the switch, and why.",
    ),
    Operation(
        name="regions.set",
        method="PUT",
        path="/v1/regions/{region}",
        request=SetRegion,
        response=Region,
        permission=Permission.REGIONS_CHANGE,
        handler=set_region,
        summary="Turn a region's switch: open, drain, migrate or closed.",
        example={"region": "eu-1", "mode": "drain", "reason": "power works"},
        idempotent=True,
    ),
    Operation(
        name="regions.jurisdictions",
        method="GET",
        path="/v1/jurisdictions",
        request=Nothing,
        response=JurisdictionList,
        permission=Permission.REGIONS_READ,
        handler=list_jurisdictions,
        summary="List the named sets of regions that residency rules may use.",
    ),
    Operation(
        name="regions.set_jurisdiction",
        method="PUT",
        path="/v1/jurisdictions/{jurisdiction}",
        request=SetJurisdiction,
        response=Jurisdiction,
        permission=Permission.REGIONS_CHANGE,
        handler=set_jurisdiction,
        summary="Name a set of regions, such as those of one legal space.",
        example={"jurisdiction": "eu", "regions": ["eu-1", "eu-2"], "reason": "new region"},
        idempotent=True,
    ),
    Operation(
        name="regions.residency",
        method="GET",
        path="/v1/tenants/{tenant}/residency",
        request=NameTenant,
        response=ResidencyDetail,
        permission=Permission.REGIONS_READ,
        handler=show_residency,
        summary="Show where a tenant's sessions may be processed and kept.",
        example={"tenant": "acme"},
    ),
    Operation(
        name="regions.set_residency",
        method="PUT",
        path="/v1/tenants/{tenant}/residency",
        request=SetResidency,
        response=ResidencyDetail,
        permission=Permission.REGIONS_CHANGE,
        handler=set_residency,
        summary="Say where a tenant's sessions may be processed and kept.",
        example={
            "tenant": "acme",
            "process_in": ["jurisdiction:eu"],
            "store_in": ["eu-1"],
            "reason": "contract",
        },
        idempotent=True,
    ),
)
