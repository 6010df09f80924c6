"""How sessions fare, as it happens: connected, running, degraded, ended; of one tenant at a time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from rspp.control.fleet.sessions import PAGE_MAX, StatusFilter
from rspp.control.fleet.status import SessionWord, Status
from rspp.control.operations.operation import NotFound, Operation, Request, Response
from rspp.control.operations.words import SessionName, Tenant
from rspp.control.security.roles import Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

WITHIN_MS_MAX: Final = 30_000


class ListStatuses(Request, frozen=True, kw_only=True):
    tenant: Tenant
    state: Annotated[SessionWord | None, Meta(description="Only those in this state.")] = None
    pipeline: Annotated[str | None, Meta(description="Only of this pipeline: NAME, or NAME@VERSION.")] = None
    region: Annotated[str | None, Meta(description="Only of this region.")] = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX, description="How many at most.")] = 100
    after: Annotated[str | None, Meta(description="Where the last page ended.")] = None


class FollowStatus(Request, frozen=True, kw_only=True):
    tenant: Tenant
    session: SessionName
    changes: Annotated[
        int, Meta(ge=-1, description="The `changes` that you have: wait for what comes after them.")
    ] = -1
    within_ms: Annotated[
        int, Meta(ge=0, le=WITHIN_MS_MAX, description="For how long to wait, in milliseconds.")
    ] = 0


class StatusPage(Response, frozen=True, kw_only=True):
    items: list[Status]
    next: str | None = None


async def list_statuses(plane: ControlPlane, _: Principal, asked: ListStatuses) -> StatusPage:
    wanted = StatusFilter(
        states=() if asked.state is None else (asked.state,), region=asked.region, pipeline=asked.pipeline
    )
    page = await plane.statuses.list(asked.tenant, wanted, limit=asked.limit, after=asked.after)
    return StatusPage(items=list(page.sessions), next=page.after)


async def follow(plane: ControlPlane, _: Principal, asked: FollowStatus) -> Status:
    """At once if it has changed since, else when it does; as it was, if that is not in time."""
    now = await plane.statuses.get(asked.tenant, asked.session)
    if now is None:
        raise NotFound
    if _is_news(now, asked.changes) or not asked.within_ms:
        return now
    try:
        async with asyncio.timeout(asked.within_ms / 1000):
            async with aclosing(plane.statuses.watch(asked.tenant)) as changes:  # type: ignore[type-var]
                async for status in changes:
                    if status.session == asked.session and _is_news(status, asked.changes):
                        return status
    except TimeoutError:
        pass
    return now


def _is_news(status: Status, changes: int) -> bool:
    return status.changes > changes or status.state is SessionWord.ENDED


STATUSES: Final = (
    Operation(
        name="sessions.statuses",
        method="GET",
        path="/v1/tenants/{tenant}/statuses",
        request=ListStatuses,
        response=StatusPage,
        permission=Permission.SESSIONS_READ,
        handler=list_statuses,
        summary="List how a tenant's sessions fare: connected, running, degraded or ended, and since when.",
        example={"tenant": "acme", "state": "degraded"},
    ),
    Operation(
        name="sessions.status",
        method="GET",
        path="/v1/tenants/{tenant}/sessions/{session}/status",
        request=FollowStatus,
        response=Status,
        permission=Permission.SESSIONS_READ,
        handler=follow,
        summary="Show how a session fares, now or as soon as it has changed.",
        example={"tenant": "acme", "session": "s-06fd3effbfd2b7e8", "changes": 3, "within_ms": 30_000},
    ),
)
