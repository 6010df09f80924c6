"""Work sessions of the manifest: where they are, what proves it, and the signal that one of them waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from rspp.control.fleet.work import SESSIONS_MAX, Signal, Work, WorkSessions, refusal
from rspp.control.operations.operation import Conflict, Operation, Request, Response, found
from rspp.control.operations.words import NAME_MAX, Reason
from rspp.control.security.roles import Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

WorkName = Annotated[str, Meta(min_length=1, max_length=NAME_MAX, description="The work session's name.")]


class ListWork(Request, frozen=True, kw_only=True):
    state: Annotated[
        str, Meta(max_length=32, description="Only those in this state: running, waiting, failed, ...")
    ] = ""
    limit: Annotated[int, Meta(ge=1, le=SESSIONS_MAX, description="How many at most.")] = 100


class ShowWork(Request, frozen=True, kw_only=True):
    session: WorkName


class SignalWork(Request, frozen=True, kw_only=True):
    session: WorkName
    step: Annotated[
        str,
        Meta(min_length=1, max_length=NAME_MAX, description="The step at which it waits, as it is shown."),
    ]
    reason: Reason


class WorkItem(Response, frozen=True, kw_only=True):
    """One work session in a list."""

    id: str
    state: str
    kind: str
    step: str
    goal: str
    author: str
    line: int
    steps: int
    steps_done: int
    since_ms: int
    updated_at_ms: int


class WorkPage(Response, frozen=True, kw_only=True):
    """The newest first; `total` is how many there are."""

    items: list[WorkItem]
    total: int


class Shown(Response, frozen=True, kw_only=True):
    """A work session whole, and the signal that was given where it is, if one was."""

    work: Work
    signal: Signal | None = None


async def list_work(plane: ControlPlane, _: Principal, asked: ListWork) -> WorkPage:
    every = [one for one in await sessions(plane).all() if asked.state in ("", one.state)]
    return WorkPage(items=[_item(one) for one in every[: asked.limit]], total=len(every))


async def show(plane: ControlPlane, _: Principal, asked: ShowWork) -> Shown:
    kept = sessions(plane)
    work: Work = found(await kept.get(asked.session))
    return Shown(work=work, signal=await kept.signal_for(work))


async def signal(plane: ControlPlane, principal: Principal, asked: SignalWork) -> Signal:
    kept = sessions(plane)
    work: Work = found(await kept.get(asked.session))
    refused = refusal(work, asked.step)
    if refused is not None:
        raise Conflict(refused.code, refused.message)
    return await kept.signal(work, by=principal.id, reason=asked.reason)


def sessions(plane: ControlPlane) -> WorkSessions:
    return WorkSessions(plane.store, plane.wall_ms)


def _item(work: Work) -> WorkItem:
    return WorkItem(**{name: getattr(work, name) for name in WorkItem.__struct_fields__})


WORKS: Final = (
    Operation(
        name="work.list",
        method="GET",
        path="/v1/work",
        request=ListWork,
        response=WorkPage,
        permission=Permission.WORK_READ,
        handler=list_work,
        summary="List the work sessions of the manifest, the newest first.",
        example={"state": "waiting"},
    ),
    Operation(
        name="work.show",
        method="GET",
        path="/v1/work/{session}",
        request=ShowWork,
        response=Shown,
        permission=Permission.WORK_READ,
        handler=show,
        summary="Show one work session: its step, ledgers, what is missing for PASS, what it requires.",
        example={"session": "release-0.1.0"},
    ),
    Operation(
        name="work.signal",
        method="POST",
        path="/v1/work/{session}/signal",
        request=SignalWork,
        response=Signal,
        permission=Permission.WORK_SIGNAL,
        handler=signal,
        summary="Give a work session that waits the signal to begin its next step; it is taken once.",
        example={"session": "release-0.1.0", "step": "3", "reason": "the canary was quiet"},
        idempotent=True,
    ),
)
