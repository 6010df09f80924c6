"""Routes: where a caller goes, and the short-lived token that opens one session there and nowhere else.

    create   a new session, or one of the tenant's that lost its worker, for a principal who may
    resume   the same for the caller alone, who shows the session's resume secret and nothing else

The worker admits: a place here is where there was room a moment ago. A session that still runs is found where it is; one
whose worker is gone is led to another, which takes it under a higher epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from rspp.contract.errors import PeerFault
from rspp.control.authority.leases import OVER, Held, LeaseState, opens
from rspp.control.config.graphs import graph_ref_of
from rspp.control.fleet.places import Place, own_pipelines
from rspp.control.fleet.residency import Use
from rspp.control.fleet.routing import Refusal, Wish, choose
from rspp.control.operations.operation import Conflict, NotFound, Operation, Request, Response
from rspp.control.operations.words import NAME_MAX, SessionName, Tenant
from rspp.control.security.roles import Permission, Principal
from rspp.control.security.tokens import ROUTE, Claims, new_jti
from rspp.host.host import new_session_id
from rspp.host.ports import Refused

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

TOKEN_MS: Final = 120_000
TOKEN_MS_MAX: Final = 300_000
LATENCY_MS_MAX: Final = 60_000
NOT_PUBLISHED: Final = ("pipeline_missing", "pipeline_unknown")

Latencies = Annotated[
    dict[str, Annotated[float, Meta(ge=0, le=LATENCY_MS_MAX)]],
    Meta(max_length=64, description="How far each region is from the caller, in milliseconds."),
]
Short = Annotated[str, Meta(max_length=NAME_MAX)]


class CreateRoute(Request, frozen=True, kw_only=True):
    tenant: Tenant
    caller: Annotated[str, Meta(max_length=NAME_MAX, description="Who the caller is to the tenant.")] = ""
    session: Annotated[
        str, Meta(max_length=NAME_MAX, description="A session of that name; else a new name.")
    ] = ""
    pipeline: Annotated[str, Meta(max_length=NAME_MAX, description="Which pipeline, or NAME@VERSION.")] = ""
    transport: Annotated[
        str, Meta(max_length=NAME_MAX, description="How the caller comes: websocket, ...")
    ] = "websocket"
    region: Annotated[str, Meta(max_length=NAME_MAX, description="The nearest region, if that is known.")] = (
        ""
    )
    latencies_ms: Latencies = {}  # noqa: RUF012 - msgspec copies it
    ttl_ms: Annotated[
        int, Meta(ge=1_000, le=TOKEN_MS_MAX, description="For how long the token opens the session.")
    ] = TOKEN_MS


class ResumeRoute(Request, frozen=True, kw_only=True):
    tenant: Tenant
    session: SessionName
    resume_secret: Annotated[str, Meta(min_length=1, max_length=1_024, description="What the session gave.")]
    transport: Short = "websocket"
    region: Short = ""
    latencies_ms: Latencies = {}  # noqa: RUF012 - msgspec copies it


class RouteAnswer(Response, frozen=True, kw_only=True):
    """Where to go, with what, and until when. `back`: the session runs or ran already; take it up, do not open it."""

    tenant: str
    session: str
    pipeline: str
    worker: str
    endpoint: str
    region: str
    token: str
    expires_at_ms: int
    back: bool
    why: str


async def create(plane: ControlPlane, principal: Principal, asked: CreateRoute) -> RouteAnswer:
    caller = asked.caller or principal.id
    held = await plane.leases.get(asked.tenant, asked.session) if asked.session else None
    if held is not None:
        return await _back(plane, held, asked, caller)
    session = asked.session or new_session_id()
    pipeline, own = await _version(plane, asked, session)
    place, why = await _place(plane, asked, session, pipeline, frozenset(), own=own)
    return _answer(plane, asked, caller, session, pipeline, place, why, back=False)


async def _version(plane: ControlPlane, asked: CreateRoute, session: str) -> tuple[str, bool]:
    """What is published for this session; where nothing such is, what a worker serves from files of its own."""
    try:
        return await plane.version_for(asked.tenant, session, asked.pipeline or None), False
    except Refused as refused:
        if refused.code not in NOT_PUBLISHED:
            raise
        for place in (await plane.routing.current()).places:
            for own in own_pipelines(place) if place.healthy else ():
                if asked.pipeline in ("", own, own.partition("@")[0]):
                    return own, True
        raise


async def resume(plane: ControlPlane, _: Principal, asked: ResumeRoute) -> RouteAnswer:
    """Wrong, missing, foreign and over are one answer: the secret is all that this caller has shown."""
    held = await plane.leases.get(asked.tenant, asked.session)
    if held is None or held.lease.state in OVER or not opens(held.lease, asked.resume_secret):
        raise NotFound
    again = CreateRoute(
        tenant=asked.tenant,
        session=asked.session,
        transport=asked.transport,
        region=asked.region,
        latencies_ms=asked.latencies_ms,
    )
    return await _back(plane, held, again, f"resume:{asked.session}")


async def _back(plane: ControlPlane, held: Held, asked: CreateRoute, caller: str) -> RouteAnswer:
    """To the worker that has the session, or to one that may take it."""
    lease = held.lease
    if lease.state in OVER:
        raise Conflict("session_over", f"the session has ended: {lease.reason or lease.state.value}")
    pipeline = pipeline_of(lease.graph_ref)
    if asked.pipeline and asked.pipeline not in (pipeline, pipeline.partition("@")[0]):
        raise Conflict("session_exists", f"the session runs {pipeline}")
    snapshot = await plane.routing.current()
    owner = next((one for one in snapshot.places if one.id == lease.owner), None)
    if lease.state is LeaseState.HELD and owner is not None and owner.healthy and owner.endpoint:
        place, why = owner, "owner"
    else:
        avoid, own = frozenset({lease.owner}), pipeline == lease.graph_ref
        place, why = await _place(plane, asked, lease.session_id, pipeline, avoid, own=own)
    return _answer(plane, asked, caller, lease.session_id, pipeline, place, why, back=True, epoch=held.epoch)


async def _place(
    plane: ControlPlane, asked: CreateRoute, session: str, pipeline: str, avoid: frozenset[str], *, own: bool
) -> tuple[Place, str]:
    """`own`: the pipeline is of some workers' files, and they alone can serve it."""
    snapshot = await plane.routing.current()
    rules = plane.residency_rules.rules()
    wish = Wish(
        tenant_id=asked.tenant,
        session_id=session,
        pipeline_version=pipeline,
        transport_kind=asked.transport,
        region=asked.region,
        latencies_ms=asked.latencies_ms,
        regions_allowed=rules.regions(asked.tenant, Use.PROCESS),
        avoid=avoid,
    )
    places = [
        one for one in snapshot.places if (pipeline in own_pipelines(one) if own else not own_pipelines(one))
    ]
    chosen = choose(places, wish, plane.settings.routing, snapshot.modes)
    if isinstance(chosen, Refusal):
        raise Refused(chosen.code, chosen.message, chosen.retry_after_ms)
    return chosen.place, f"{chosen.region_why}, {chosen.place_why}"


def _answer(
    plane: ControlPlane,
    asked: CreateRoute,
    caller: str,
    session: str,
    pipeline: str,
    place: Place,
    why: str,
    *,
    back: bool,
    epoch: int = 0,
) -> RouteAnswer:
    now_ms = plane.wall_ms()
    claims = Claims(
        kind=ROUTE,
        sub=caller,
        aud=place.endpoint,
        jti=new_jti(),
        iat_ms=now_ms,
        exp_ms=now_ms + asked.ttl_ms,
        tenant_id=asked.tenant,
        session_id=session,
        pipeline_version=pipeline,
        transport_kind=asked.transport,
        authority_epoch=epoch,
        region=place.region,
    )
    return RouteAnswer(
        tenant=asked.tenant,
        session=session,
        pipeline=pipeline,
        worker=place.id,
        endpoint=place.endpoint,
        region=place.region,
        token=plane.signer.sign(claims),
        expires_at_ms=claims.exp_ms,
        back=back,
        why=why,
    )


def pipeline_of(graph_ref: str) -> str:
    """`name@version` of what a session runs."""
    try:
        ref = graph_ref_of(graph_ref)
    except PeerFault:
        return graph_ref
    return f"{ref.pipeline}@{ref.version}"


_LATENCIES: Final = {"eu-1": 12.5, "us-1": 95.0}

ROUTES: Final = (
    Operation(
        name="routes.create",
        method="POST",
        path="/v1/tenants/{tenant}/routes",
        request=CreateRoute,
        response=RouteAnswer,
        permission=Permission.ROUTES_CREATE,
        handler=create,
        summary="Find a worker for a session, and sign the token that opens it there.",
        example={"tenant": "acme", "pipeline": "front-desk", "latencies_ms": _LATENCIES},
        audited=False,  # one a call: the worker's lease and the session's record say what came of it
    ),
    Operation(
        name="routes.resume",
        method="POST",
        path="/v1/tenants/{tenant}/sessions/{session}/route",
        request=ResumeRoute,
        response=RouteAnswer,
        permission=Permission.ROUTES_CREATE,
        handler=resume,
        summary="Find one's session again with its resume secret: where it runs, or where it goes on.",
        example={"tenant": "acme", "session": "s-06fd3effbfd2b7e8", "resume_secret": "SECRET"},
        by_secret=True,
        audited=False,
        unsaid=("resume_secret",),
    ),
)
