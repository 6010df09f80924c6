"""Rollouts: which published version new sessions get. A change holds for sessions that begin after it, and for none before."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from rspp.control.config import rollout as rules
from rspp.control.config.rollout import Rollout
from rspp.control.config.rollouts import Change, Record
from rspp.control.operations.operation import NotFound, Nothing, Operation, Request, Response
from rspp.control.operations.pipelines import NamePipeline, Names
from rspp.control.operations.words import PipelineName, Reason, Version
from rspp.control.security.roles import Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane


# Whoever looked first may say what was seen: then nothing is changed that somebody else has changed meanwhile.
Number = Annotated[
    int, Meta(ge=0, description="Only if the rollout has had so many changes, as `show` says; else refused.")
]


class BeginRollout(Request, frozen=True, kw_only=True):
    pipeline: PipelineName
    version: Annotated[
        str, Meta(min_length=1, max_length=64, description="The first version that is served.")
    ]
    reason: Reason


class SetCanary(Request, frozen=True, kw_only=True):
    pipeline: PipelineName
    version: Version
    percent: Annotated[int, Meta(ge=0, le=100, description="Of a hundred new sessions, how many get it.")] = 0
    tenants: Annotated[tuple[str, ...] | None, Meta(description="Whose sessions all get it.")] = None
    reason: Reason
    number: Number | None = None


class OpenVersions(Request, frozen=True, kw_only=True):
    pipeline: PipelineName
    versions: Annotated[tuple[str, ...], Meta(max_length=50, description="What callers may ask for by name.")]
    reason: Reason


class ChangeRollout(Request, frozen=True, kw_only=True):
    pipeline: PipelineName
    reason: Reason
    number: Number | None = None


class Promote(Request, frozen=True, kw_only=True):
    pipeline: PipelineName
    version: Annotated[
        str,
        Meta(min_length=1, max_length=64, description="The canary that is meant; another is not promoted."),
    ]
    reason: Reason
    number: Number | None = None


class RollBack(Request, frozen=True, kw_only=True):
    pipeline: PipelineName
    version: Annotated[
        str, Meta(max_length=64, description="Where to; without it to what was served before.")
    ] = ""
    reason: Reason
    number: Number | None = None


class RolloutDetail(Response, frozen=True, kw_only=True):
    """What is served of a pipeline, and the changes that led to it, the last one last."""

    rollout: Rollout
    number: int
    changes: tuple[Change, ...]


def detail_of(record: Record) -> RolloutDetail:
    return RolloutDetail(rollout=record.rollout, number=record.number, changes=record.changes)


async def list_rollouts(plane: ControlPlane, _: Principal, __: Nothing) -> Names:
    return Names(items=await plane.rollouts.pipelines())


async def show(plane: ControlPlane, _: Principal, asked: NamePipeline) -> RolloutDetail:
    record = await plane.rollouts.get(asked.pipeline)
    if record is None:
        raise NotFound
    return detail_of(record)


async def begin(plane: ControlPlane, principal: Principal, asked: BeginRollout) -> RolloutDetail:
    record = await plane.rollouts.begin(
        asked.pipeline, asked.version, author=principal.id, reason=asked.reason
    )
    await plane.look_at_view()
    return detail_of(record)


async def canary(plane: ControlPlane, principal: Principal, asked: SetCanary) -> RolloutDetail:
    def change(now: Rollout) -> Rollout:
        return rules.canary(now, asked.version, asked.percent, asked.tenants)

    return await _change(plane, principal, asked.pipeline, "canary", change, asked)


async def open_versions(plane: ControlPlane, principal: Principal, asked: OpenVersions) -> RolloutDetail:
    def change(now: Rollout) -> Rollout:
        return rules.open_to_requests(now, asked.versions)

    return await _change(plane, principal, asked.pipeline, "open", change, asked)


async def promote(plane: ControlPlane, principal: Principal, asked: Promote) -> RolloutDetail:
    def change(now: Rollout) -> Rollout:
        return rules.promote(now, asked.version)

    return await _change(plane, principal, asked.pipeline, "promote", change, asked)


async def rollback(plane: ControlPlane, principal: Principal, asked: RollBack) -> RolloutDetail:
    def change(now: Rollout) -> Rollout:
        return rules.roll_back(now, asked.version or None)

    return await _change(plane, principal, asked.pipeline, "roll_back", change, asked)


async def freeze(plane: ControlPlane, principal: Principal, asked: ChangeRollout) -> RolloutDetail:
    def change(now: Rollout) -> Rollout:
        return rules.freeze(now, principal.id, asked.reason)

    return await _change(plane, principal, asked.pipeline, "freeze", change, asked)


async def unfreeze(plane: ControlPlane, principal: Principal, asked: ChangeRollout) -> RolloutDetail:
    return await _change(plane, principal, asked.pipeline, "unfreeze", rules.unfreeze, asked)


async def _change(
    plane: ControlPlane,
    principal: Principal,
    pipeline: str,
    what: str,
    change: Callable[[Rollout], Rollout],
    asked: SetCanary | OpenVersions | ChangeRollout | Promote | RollBack,
) -> RolloutDetail:
    record = await plane.rollouts.change(
        pipeline,
        what,
        change,
        author=principal.id,
        reason=asked.reason,
        number=getattr(asked, "number", None),
    )
    await plane.look_at_view()
    return detail_of(record)


_ONE: Final = "/v1/rollouts/{pipeline}"
_P: Final = {"pipeline": "front-desk"}


def _changing(
    verb: str,
    request: type[Request],
    handler: Callable[..., object],
    summary: str,
    example: dict[str, object],
    *,
    approval: bool = True,
) -> Operation:
    """A row that changes a rollout. What only takes risk away waits for nobody's consent."""
    return Operation(
        name=f"rollout.{verb}",
        method="POST",
        path=f"{_ONE}/{verb}",
        request=request,
        response=RolloutDetail,
        permission=Permission.ROLLOUT_CHANGE,
        handler=handler,  # type: ignore[arg-type]
        summary=summary,
        example={**_P, **example},
        idempotent=True,
        approval=approval,
    )


ROLLOUTS: Final = (
    Operation(
        name="rollout.list",
        method="GET",
        path="/v1/rollouts",
        request=Nothing,
        response=Names,
        permission=Permission.ROLLOUT_READ,
        handler=list_rollouts,
        summary="List the pipelines of which something is served.",
    ),
    Operation(
        name="rollout.show",
        method="GET",
        path=_ONE,
        request=NamePipeline,
        response=RolloutDetail,
        permission=Permission.ROLLOUT_READ,
        handler=show,
        summary="Show which versions of a pipeline new sessions get, and how that came about.",
        example=_P,
    ),
    _changing(
        "begin",
        BeginRollout,
        begin,
        "Begin to serve a pipeline.",
        {"version": "v1.4.1", "reason": "first release"},
    ),
    _changing(
        "canary",
        SetCanary,
        canary,
        "Lead a share of new sessions, and all of some tenants, to a version.",
        {"version": "v1.4.2", "percent": 10, "tenants": ["acme"], "reason": "try the new prompt"},
    ),
    _changing(
        "open",
        OpenVersions,
        open_versions,
        "Let callers ask for versions by name.",
        {"versions": ["v1.3.0"], "reason": "acme has pinned it"},
    ),
    _changing(
        "promote",
        Promote,
        promote,
        "Make the canary what every new session gets.",
        {"version": "v1.4.2", "reason": "no regressions in a day"},
    ),
    _changing(
        "rollback",
        RollBack,
        rollback,
        "Lead new sessions back at once; running turns are not touched.",
        {"reason": "answers came late"},
        approval=False,
    ),
    _changing(
        "freeze",
        ChangeRollout,
        freeze,
        "Let nobody be led to another version; the way back stays open.",
        {"reason": "incident"},
        approval=False,
    ),
    _changing(
        "unfreeze",
        ChangeRollout,
        unfreeze,
        "End a freeze.",
        {"reason": "incident over"},
    ),
)
