"""Workers: who is there and how full, and how one is emptied, or cut off when it cannot be asked any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta

from rspp.control.authority.members import GONE, Member, MemberState, Seen, fence, is_silent, settle
from rspp.control.commands import Command, CommandKind, Outcome, new_command_id
from rspp.control.names import MEMBERS, encoded
from rspp.control.operations.operation import (
    Conflict,
    Done,
    Handler,
    NotFound,
    Operation,
    Request,
    Response,
    Unanswered,
)
from rspp.control.operations.words import Deadline, Reason, Worker
from rspp.control.security.roles import Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane


class ListWorkers(Request, frozen=True, kw_only=True):
    region: Annotated[str, Meta(description="Only of this region.")] = ""
    gone: Annotated[bool, Meta(description="Also those that left or were lost in the last day.")] = False


class NameWorker(Request, frozen=True, kw_only=True):
    worker: Worker


class DrainWorker(Request, frozen=True, kw_only=True):
    worker: Worker
    reason: Reason
    mode: Annotated[
        Literal["drain", "migrate"], Meta(description="Hear its calls out, or send them on to other workers.")
    ] = "drain"
    within_ms: Deadline = 10_000


class OrderWorker(Request, frozen=True, kw_only=True):
    worker: Worker
    reason: Reason
    within_ms: Deadline = 10_000


class FenceWorker(Request, frozen=True, kw_only=True):
    worker: Worker
    reason: Reason


class WorkerItem(Response, frozen=True, kw_only=True):
    worker: str
    kind: str
    state: MemberState
    ready: bool
    reasons: tuple[str, ...]
    region: str
    zone: str
    endpoint: str
    sessions: int
    capacity: int
    load: float
    joined_wall_ms: int
    silent: bool
    versions: dict[str, str]
    labels: dict[str, str]
    reason: str


class WorkerList(Response, frozen=True, kw_only=True):
    items: list[WorkerItem]


class Ordered(Response, frozen=True, kw_only=True):
    """What a worker says that came of an order."""

    worker: str
    outcome: Outcome
    message: str = ""


def item_of(seen: Seen, now: int) -> WorkerItem:
    member = seen.member
    return WorkerItem(
        worker=member.id,
        kind=member.kind,
        state=member.state,
        ready=member.ready,
        reasons=member.reasons,
        region=member.region,
        zone=member.zone,
        endpoint=member.endpoint or member.shared_endpoint,
        sessions=member.sessions,
        capacity=member.capacity,
        load=round(member.load, 3),
        joined_wall_ms=member.joined_wall_ms,
        silent=is_silent(seen, now),
        versions=member.versions,
        labels=member.labels,
        reason=member.reason,
    )


async def list_workers(plane: ControlPlane, _: Principal, asked: ListWorkers) -> WorkerList:
    await plane.look_at_fleet()
    now = plane.clock.now()
    items = [item_of(seen, now) for seen in plane.fleet.seen.values()]
    return WorkerList(
        items=sorted(
            (
                one
                for one in items
                if (asked.gone or one.state not in GONE) and (not asked.region or one.region == asked.region)
            ),
            key=lambda one: (one.kind, one.region, one.worker),
        )
    )


async def show(plane: ControlPlane, _: Principal, asked: NameWorker) -> WorkerItem:
    return item_of(await _seen(plane, asked.worker), plane.clock.now())


async def _seen(plane: ControlPlane, worker: str) -> Seen:
    entry = await plane.store.get(MEMBERS, encoded(worker))
    if entry is not None:
        plane.fleet.take(entry)
    seen = plane.fleet.get(worker)
    if seen is None:
        raise NotFound
    return seen


async def _there(plane: ControlPlane, worker: str) -> Member:
    member = (await _seen(plane, worker)).member
    if member.state in GONE:
        raise Conflict("worker_gone", f"the worker is {member.state.value} already")
    return member


async def drain(plane: ControlPlane, principal: Principal, asked: DrainWorker) -> Ordered:
    """The worker takes nobody new and empties; the answer is that it began, its record shows how far it is."""
    return await _order(plane, principal, CommandKind.DRAIN, asked, asked.mode)


async def resume(plane: ControlPlane, principal: Principal, asked: OrderWorker) -> Ordered:
    return await _order(plane, principal, CommandKind.RESUME, asked)


async def retry_exports(plane: ControlPlane, principal: Principal, asked: OrderWorker) -> Ordered:
    return await _order(plane, principal, CommandKind.RETRY_EXPORT, asked)


async def free_recordings(plane: ControlPlane, principal: Principal, asked: OrderWorker) -> Ordered:
    return await _order(plane, principal, CommandKind.FREE_RECORDINGS, asked)


async def give_up_exports(plane: ControlPlane, principal: Principal, asked: OrderWorker) -> Ordered:
    return await _order(plane, principal, CommandKind.GIVE_UP_EXPORT, asked)


async def _order(
    plane: ControlPlane,
    principal: Principal,
    kind: CommandKind,
    asked: DrainWorker | OrderWorker,
    mode: str = "",
) -> Ordered:
    await _there(plane, asked.worker)
    command = Command(
        id=new_command_id(),
        kind=kind,
        mode=mode,
        reason=asked.reason,
        by=principal.id,
        at_ms=plane.wall_ms(),
    )
    result = await plane.commands.ask(asked.worker, command, asked.within_ms)
    if result is None:
        raise Unanswered("command_unanswered", "the worker did not answer in time; fence it if it is dead")
    return Ordered(worker=asked.worker, outcome=result.outcome, message=result.message)


async def cut_off(plane: ControlPlane, principal: Principal, asked: FenceWorker) -> Done:
    """Its renewals fail from now on, and its sessions may be taken. For a worker that is known to be dead or gone wrong."""
    await _there(plane, asked.worker)
    await fence(plane.store, asked.worker, f"{principal.id}: {asked.reason}")
    return Done(done=asked.worker)


async def look_at(plane: ControlPlane, principal: Principal, asked: FenceWorker) -> Done:
    """A lost worker is a trouble until somebody says that it was looked at; then it is a thing of the past."""
    await _seen(plane, asked.worker)
    if not await settle(plane.store, asked.worker, f"looked at by {principal.id}: {asked.reason}"):
        raise Conflict("worker_not_lost", "only a worker that was lost can be settled")
    return Done(done=asked.worker)


_ONE: Final = "/v1/workers/{worker}"
_EXAMPLE: Final = {"worker": "worker-1-9f2c51d07a3e", "reason": "its machine is replaced"}


def _ordering(
    verb: str, handler: Handler, summary: str, permission: Permission = Permission.WORKERS_DRAIN
) -> Operation:
    """An order to one worker. Given twice it is as if it had been given once."""
    return Operation(
        name=f"workers.{verb}",
        method="POST",
        path=f"{_ONE}/{verb.replace('_', '-')}",
        request=OrderWorker,
        response=Ordered,
        permission=permission,
        handler=handler,
        summary=summary,
        example=_EXAMPLE,
        idempotent=True,
    )


WORKERS: Final = (
    Operation(
        name="workers.list",
        method="GET",
        path="/v1/workers",
        request=ListWorkers,
        response=WorkerList,
        permission=Permission.WORKERS_READ,
        handler=list_workers,
        summary="List the processes of the fleet: state, region, how full, ready or why not.",
    ),
    Operation(
        name="workers.show",
        method="GET",
        path=_ONE,
        request=NameWorker,
        response=WorkerItem,
        permission=Permission.WORKERS_READ,
        handler=show,
        summary="Show one process of the fleet.",
        example={"worker": _EXAMPLE["worker"]},
    ),
    Operation(
        name="workers.drain",
        method="POST",
        path=f"{_ONE}/drain",
        request=DrainWorker,
        response=Ordered,
        permission=Permission.WORKERS_DRAIN,
        handler=drain,
        summary="Empty a worker: it takes nobody new, and its sessions end or move.",
        example=_EXAMPLE,
        idempotent=True,
    ),
    _ordering("resume", resume, "Take a drain back: the worker takes new sessions again."),
    _ordering(
        "retry_exports",
        retry_exports,
        "Have a worker try the export of its recordings now, and say what came of it.",
        Permission.HEALTH_CHANGE,
    ),
    _ordering(
        "free_recordings",
        free_recordings,
        "Have a worker delete now what the policy of retention lets go of the recordings.",
        Permission.HEALTH_CHANGE,
    ),
    _ordering(
        "give_up_exports",
        give_up_exports,
        "Delete what waits for its export on a worker; the recordings say what they lack.",
        Permission.RECORDINGS_DELETE,
    ),
    Operation(
        name="workers.fence",
        method="POST",
        path=f"{_ONE}/fence",
        request=FenceWorker,
        response=Done,
        permission=Permission.LEASES_REVOKE,
        handler=cut_off,
        summary="Cut a worker off: it may act for no session any more, and others may take what it had.",
        example=_EXAMPLE,
        idempotent=True,
    ),
    Operation(
        name="workers.settle",
        method="POST",
        path=f"{_ONE}/settle",
        request=FenceWorker,
        response=Done,
        permission=Permission.WORKERS_DRAIN,
        handler=look_at,
        summary="Say that a lost worker was looked at: it is no trouble any more.",
        example=_EXAMPLE,
    ),
)
