"""What a tenant uses, in this minute and this day, as all processes have said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rspp.control.authority.leases import OVER
from rspp.control.intake.quotas import TenantLimits
from rspp.control.intake.reports import Heard, Part, elsewhere, heard, report_of
from rspp.control.names import USAGE as BUCKET
from rspp.control.operations.operation import Operation, Request, Response
from rspp.control.operations.words import Tenant
from rspp.control.security.roles import EVERYWHERE, Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane


class NameUsage(Request, frozen=True, kw_only=True):
    tenant: Tenant


class UsageDetail(Response, frozen=True, kw_only=True):
    """Of now, a second late at most; seconds are of sound that was heard and spoken."""

    tenant: str
    sessions: int
    turns_minute: int
    tokens_minute: int
    audio_seconds_minute: float
    audio_seconds_day: float
    spend_micros_day: int
    limits: TenantLimits


async def show(plane: ControlPlane, _: Principal, asked: NameUsage) -> UsageDetail:
    """Of one tenant, or with `*` of all together."""
    tenant = None if asked.tenant == EVERYWHERE else asked.tenant
    now = plane.clock.now()
    reports: dict[str, Heard] = {}
    for name in await plane.store.keys(BUCKET):
        entry = await plane.store.get(BUCKET, name)
        report = None if entry is None else report_of(entry.value)
        if report is not None:
            reports[name] = heard(report, now)
    used = elsewhere(reports, tenant, plane.wall_ms(), now, Part()).usage()
    sessions = [one for one in await plane.leases.sessions(tenant) if one.lease.state not in OVER]
    await plane.limits.load()
    return UsageDetail(
        tenant=asked.tenant,
        sessions=len(sessions),
        turns_minute=used.turns_minute,
        tokens_minute=used.tokens_minute,
        audio_seconds_minute=used.audio_ms_minute / 1000,
        audio_seconds_day=used.audio_ms_day / 1000,
        spend_micros_day=used.spend_micros_day,
        limits=plane.limits.of(tenant),
    )


USAGE: Final = (
    Operation(
        name="quotas.usage",
        method="GET",
        path="/v1/tenants/{tenant}/usage",
        request=NameUsage,
        response=UsageDetail,
        permission=Permission.USAGE_READ,
        handler=show,
        summary="Show what a tenant uses, beside what it may.",
        example={"tenant": "acme"},
    ),
)
