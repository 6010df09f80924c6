"""Sessions and what is known of one, as GraphQL names them. The answers are the structs of `server.recorded`."""

from __future__ import annotations

from typing import Any, cast

import strawberry
from strawberry.scalars import JSON

from rspp.control.operations.operation import limited
from rspp.server.graphql.asking import asking


@strawberry.type
class SessionItem:
    tenant: str
    id: str
    state: str
    since_ms: float
    opened_ms: float
    epoch: float
    owner: str
    region: str
    pipeline: str
    turns: int
    line: str
    missing: list[str]
    reason: str
    recorded: bool


@strawberry.type
class SessionPage:
    items: list[SessionItem]
    next: str | None
    total: int


@strawberry.type
class Said:
    turn: int
    speaker: str
    text: str
    at_ms: float
    heard_ms: float | None
    heard: str | None
    interrupted: bool
    final: bool


@strawberry.type
class Stage:
    name: str
    began_ms: float
    took_ms: float


@strawberry.type
class Turn:
    """One turn, and how long each of its stages took: in the order in which they add up to the whole."""

    number: int
    id: str
    began_ms: float
    ended_ms: float | None
    outcome: str
    reason: str
    stages: list[Stage]
    heard_after_ms: float | None
    interrupt_stop_ms: float | None
    trouble: list[str]


@strawberry.type
class TimelineRow:
    number: int
    at_ms: float
    direction: str
    lane: str
    node: str
    turn: int | None
    kind: str
    text: str
    count: int


@strawberry.type
class TimelinePage:
    items: list[TimelineRow]
    next: int | None
    total: int


@strawberry.type
class Sound:
    """One side's recorded sound. `peaks` are from 0 to 1, evenly over the whole; `url` gives a WAV to whoever shows a token."""

    side: str
    seconds: float
    url: str
    peaks: list[float]


@strawberry.type
class Session:
    """One session, live or recorded; `withheld` says why there is nothing below, where there is nothing."""

    item: SessionItem
    resolved: JSON | None
    withheld: str
    transcript: list[Said]
    turns: list[Turn]
    evidence: list[JSON]
    summary: JSON | None
    sound: list[Sound]
    recorded_level: str

    @strawberry.field
    async def timeline(
        self,
        info: strawberry.Info,
        parent: strawberry.Parent[Any],
        kind: str | None = None,
        node: str | None = None,
        lane: str | None = None,
        turn: int | None = None,
        first: int = 500,
        after: int = 0,
    ) -> TimelinePage:
        """Rows of the timeline, in order; filters must all hold."""
        asked, item = asking(info), parent.item
        wanted = {
            "kind": kind,
            "node": node,
            "lane": lane,
            "turn": turn,
            "first": limited(first),
            "after": max(0, after),
        }
        return cast(
            "TimelinePage",
            await asked.sources.recorded.timeline(asked.principal, item.tenant, item.id, wanted),
        )


@strawberry.type
class ReplayResult:
    same: bool
    message: str
    compared: int
    digest: str
    divergence: JSON | None


@strawberry.type
class DiffResult:
    same: bool
    message: str
    differences: list[JSON]
