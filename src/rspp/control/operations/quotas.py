"""Quotas: how much of everything a tenant may have, and all together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from rspp.control.intake.limits import QuotaRecord
from rspp.control.intake.quotas import UNLIMITED, TenantLimits
from rspp.control.operations.operation import Nothing, Operation, Request, Response
from rspp.control.operations.words import NAME_MAX, Reason
from rspp.control.security.roles import EVERYWHERE, Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

Whose = Annotated[str, Meta(min_length=1, max_length=NAME_MAX, description="Whose; * is all together.")]


class NameQuota(Request, frozen=True, kw_only=True):
    tenant: Whose


class SetQuota(Request, frozen=True, kw_only=True):
    tenant: Whose
    limits: Annotated[
        TenantLimits, Meta(description='Each quota\'s most and action, as in {"sessions": {"most": 20}}.')
    ]
    each: Annotated[
        TenantLimits | None, Meta(description="With *: what each has of whom nothing else is said.")
    ] = None
    reason: Reason


class QuotaDetail(Response, frozen=True, kw_only=True):
    """What holds for a tenant. `own` is whether that was said of it, or of each."""

    tenant: str
    own: bool
    limits: TenantLimits
    each: TenantLimits | None
    author: str
    reason: str
    at_ms: int


class QuotaList(Response, frozen=True, kw_only=True):
    items: list[QuotaDetail]


def _detail(record: QuotaRecord) -> QuotaDetail:
    return QuotaDetail(
        tenant=record.tenant,
        own=True,
        limits=record.limits,
        each=record.each if record.tenant == EVERYWHERE else None,
        author=record.author,
        reason=record.reason,
        at_ms=record.at_ms,
    )


async def list_quotas(plane: ControlPlane, _: Principal, __: Nothing) -> QuotaList:
    return QuotaList(items=[_detail(one) for one in await plane.limits.records()])


async def show(plane: ControlPlane, _: Principal, asked: NameQuota) -> QuotaDetail:
    own = await plane.limits.get(asked.tenant)
    if own is not None:
        return _detail(own)
    together = await plane.limits.get(EVERYWHERE)
    limits = together.each if together is not None else UNLIMITED
    return QuotaDetail(
        tenant=asked.tenant, own=False, limits=limits, each=None, author="", reason="", at_ms=0
    )


async def set_quota(plane: ControlPlane, by: Principal, asked: SetQuota) -> QuotaDetail:
    return _detail(
        await plane.limits.put(
            QuotaRecord(
                tenant=asked.tenant,
                limits=asked.limits,
                each=asked.each or UNLIMITED,
                author=by.id,
                reason=asked.reason,
                at_ms=plane.wall_ms(),
            )
        )
    )


_ONE: Final = "/v1/tenants/{tenant}/quota"
_LIMITS: Final = {"sessions": {"most": 20}, "spend_micros_per_day": {"most": 50_000_000, "action": "degrade"}}

QUOTAS: Final = (
    Operation(
        name="quotas.list",
        method="GET",
        path="/v1/quotas",
        request=Nothing,
        response=QuotaList,
        permission=Permission.QUOTAS_READ,
        handler=list_quotas,
        summary="List the quotas that were set.",
    ),
    Operation(
        name="quotas.show",
        method="GET",
        path=_ONE,
        request=NameQuota,
        response=QuotaDetail,
        permission=Permission.QUOTAS_READ,
        handler=show,
        summary="Show what a tenant may have.",
        example={"tenant": "acme"},
    ),
    Operation(
        name="quotas.set",
        method="PUT",
        path=_ONE,
        request=SetQuota,
        response=QuotaDetail,
        permission=Permission.QUOTAS_CHANGE,
        handler=set_quota,
        summary="Set what a tenant may have, or all together (*).",
        example={"tenant": "acme", "limits": _LIMITS, "reason": "contract of May"},
        idempotent=True,
    ),
)
