"""Sessions: who runs what where, and the four things that can be done to one from outside.

Who runs a session is who owns its lease. An order goes to that worker through the store, and the answer says what came of
it; where nobody answers in time, that is the answer, because nobody knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from rspp.control.authority.leases import OVER, Held, LeaseState
from rspp.control.commands import DEBUG_MS_MAX, Command, CommandKind, Outcome, new_command_id
from rspp.control.names import key
from rspp.control.operations.operation import (
    ITEMS_MAX,
    Conflict,
    NotFound,
    Operation,
    Request,
    Response,
    Unanswered,
    limited,
)
from rspp.control.operations.words import Deadline, Limit, Reason, SessionName, Tenant
from rspp.control.security.roles import Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane


class ListSessions(Request, frozen=True, kw_only=True):
    tenant: Annotated[str, Meta(description="Whose; without it, of all tenants.")] | None = None
    worker: Annotated[str, Meta(description="Only of this worker.")] = ""
    ended: Annotated[bool, Meta(description="Also those that have just ended.")] = False
    limit: Limit = 100
    after: Annotated[str, Meta(description="Where the last page ended.")] = ""


class NameSession(Request, frozen=True, kw_only=True):
    tenant: Tenant
    session: SessionName


class OrderSession(Request, frozen=True, kw_only=True):
    tenant: Tenant
    session: SessionName
    reason: Reason
    within_ms: Deadline = 10_000


class DebugSession(OrderSession, frozen=True, kw_only=True):
    for_ms: Annotated[
        int,
        Meta(ge=0, le=DEBUG_MS_MAX, description="For how long, in milliseconds; 0 ends it now."),
    ] = 60_000


class SessionItem(Response, frozen=True, kw_only=True):
    """A session as its lease tells it."""

    tenant: str
    session: str
    state: LeaseState
    pipeline: str
    worker: str
    region: str
    epoch: int
    opened_wall_ms: int
    taken: int  # how often it changed hands
    reason: str = ""


class SessionPage(Response, frozen=True, kw_only=True):
    items: list[SessionItem]
    next: str | None = None


class SessionDetail(Response, frozen=True, kw_only=True):
    """A session with what its worker said of it last."""

    session: SessionItem
    status: str
    status_reason: str = ""


class Ordered(Response, frozen=True, kw_only=True):
    session: str
    outcome: Outcome
    message: str = ""


def item_of(held: Held) -> SessionItem:
    """What may be told of a lease: not the hash of what opens it, nor the token that did."""
    lease = held.lease
    return SessionItem(
        tenant=lease.tenant_id,
        session=lease.session_id,
        state=lease.state,
        pipeline=lease.graph_ref,
        worker=lease.owner,
        region=lease.region,
        epoch=held.epoch,
        opened_wall_ms=lease.opened_wall_ms,
        taken=lease.taken,
        reason=lease.reason,
    )


async def list_sessions(plane: ControlPlane, _: Principal, asked: ListSessions) -> SessionPage:
    limit = limited(asked.limit)
    items: list[SessionItem] = []
    for held in sorted(await plane.leases.sessions(asked.tenant), key=_place):
        lease = held.lease
        if _place(held) <= asked.after or (asked.worker and lease.owner != asked.worker):
            continue
        if lease.state in OVER and not asked.ended:
            continue
        if len(items) == limit:
            return SessionPage(items=items, next=key(items[-1].tenant, items[-1].session))
        items.append(item_of(held))
    return SessionPage(items=items)


def _place(held: Held) -> str:
    return key(held.lease.tenant_id, held.lease.session_id)


async def _held(plane: ControlPlane, tenant: str, session: str) -> Held:
    held = await plane.leases.get(tenant, session)
    if held is None:
        raise NotFound
    return held


async def show(plane: ControlPlane, _: Principal, asked: NameSession) -> SessionDetail:
    held = await _held(plane, asked.tenant, asked.session)
    status, why = await plane.session_status(held)
    return SessionDetail(session=item_of(held), status=status, status_reason=why)


async def cancel(plane: ControlPlane, principal: Principal, asked: OrderSession) -> Ordered:
    return await _order(plane, principal, CommandKind.CANCEL, asked)


async def migrate(plane: ControlPlane, principal: Principal, asked: OrderSession) -> Ordered:
    return await _order(plane, principal, CommandKind.MIGRATE, asked)


async def close(plane: ControlPlane, principal: Principal, asked: OrderSession) -> Ordered:
    """By its worker, in good order. One whose worker is gone has nobody to close it: its authority is withdrawn."""
    held = await _running(plane, asked)
    if held.lease.state is LeaseState.FREE or await plane.fleet.is_gone(held.lease.owner):
        await plane.leases.revoke(asked.tenant, asked.session, asked.reason)
        return Ordered(session=asked.session, outcome=Outcome.DONE, message="its worker was gone")
    return await _order(plane, principal, CommandKind.CLOSE, asked)


async def debug(plane: ControlPlane, principal: Principal, asked: DebugSession) -> Ordered:
    """Its debug events are in its recording and in its worker's log; no other session has any."""
    return await _order(plane, principal, CommandKind.DEBUG, asked, for_ms=asked.for_ms)


async def revoke(plane: ControlPlane, _: Principal, asked: OrderSession) -> Ordered:
    """Nothing that the session says is accepted from now on, whatever its worker does."""
    await _running(plane, asked)
    if not await plane.leases.revoke(asked.tenant, asked.session, asked.reason):
        raise Conflict("session_over", "the session ended meanwhile")
    return Ordered(session=asked.session, outcome=Outcome.DONE)


async def _running(plane: ControlPlane, asked: OrderSession) -> Held:
    held = await _held(plane, asked.tenant, asked.session)
    if held.lease.state in OVER:
        raise Conflict(
            "session_over", f"the session has ended: {held.lease.reason or held.lease.state.value}"
        )
    return held


async def _order(
    plane: ControlPlane, principal: Principal, kind: CommandKind, asked: OrderSession, *, for_ms: int = 0
) -> Ordered:
    held = await _running(plane, asked)
    if held.lease.state is LeaseState.FREE:
        raise Conflict("session_unowned", "nobody owns the session now: it waits for its caller")
    command = Command(
        id=new_command_id(),
        kind=kind,
        tenant=asked.tenant,
        session=asked.session,
        for_ms=for_ms,
        reason=asked.reason,
        by=principal.id,
        at_ms=plane.wall_ms(),
    )
    result = await plane.commands.ask(held.lease.owner, command, asked.within_ms)
    if result is None:
        raise Unanswered(
            "command_unanswered", "the worker did not say in time what came of it; look at the session"
        )
    return Ordered(session=asked.session, outcome=result.outcome, message=result.message)


_ONE: Final = "/v1/tenants/{tenant}/sessions/{session}"
_EXAMPLE: Final = {"tenant": "acme", "session": "s-06fd3effbfd2b7e8"}
_WHY: Final = {**_EXAMPLE, "reason": "the caller asked for it"}

SESSIONS: Final = (
    Operation(
        name="sessions.list",
        method="GET",
        path="/v1/sessions",
        request=ListSessions,
        response=SessionPage,
        permission=Permission.SESSIONS_READ,
        handler=list_sessions,
        summary=f"List the sessions that run, of one tenant or of all, up to {ITEMS_MAX} at a time.",
        example={"tenant": "acme"},
    ),
    Operation(
        name="sessions.show",
        method="GET",
        path=_ONE,
        request=NameSession,
        response=SessionDetail,
        permission=Permission.SESSIONS_READ,
        handler=show,
        summary="Show a session: where it runs, under which epoch, and whether its caller is connected.",
        example=_EXAMPLE,
    ),
    Operation(
        name="sessions.cancel",
        method="POST",
        path=f"{_ONE}/cancel",
        request=OrderSession,
        response=Ordered,
        permission=Permission.SESSIONS_CANCEL,
        handler=cancel,
        summary="Stop what a session says now; the call goes on.",
        example=_WHY,
        idempotent=True,
    ),
    Operation(
        name="sessions.close",
        method="POST",
        path=f"{_ONE}/close",
        request=OrderSession,
        response=Ordered,
        permission=Permission.SESSIONS_CANCEL,
        handler=close,
        summary="End a session in good order.",
        example=_WHY,
    ),
    Operation(
        name="sessions.debug",
        method="POST",
        path=f"{_ONE}/debug",
        request=DebugSession,
        response=Ordered,
        permission=Permission.SESSIONS_DEBUG,
        handler=debug,
        summary="Have one session tell more of itself for a while; it ends by itself, and the others notice nothing.",
        example={**_WHY, "for_ms": 60_000},
        idempotent=True,
    ),
    Operation(
        name="sessions.migrate",
        method="POST",
        path=f"{_ONE}/migrate",
        request=OrderSession,
        response=Ordered,
        permission=Permission.SESSIONS_MIGRATE,
        handler=migrate,
        summary="Move a session to another worker: its caller is told to come back there.",
        example=_WHY,
    ),
    Operation(
        name="sessions.revoke",
        method="POST",
        path=f"{_ONE}/revoke",
        request=OrderSession,
        response=Ordered,
        permission=Permission.LEASES_REVOKE,
        handler=revoke,
        summary="Withdraw a session's authority at once: nothing that it says is accepted any more.",
        example=_WHY,
    ),
)
