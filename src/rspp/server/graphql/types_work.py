"""Work sessions of the manifest, as GraphQL names them. What is answered are the structs of `control.fleet.work`."""

from __future__ import annotations

from typing import Any, cast

import strawberry
from strawberry.scalars import JSON

from rspp.control.operations.work import sessions
from rspp.server.graphql.asking import asking


@strawberry.type
class WorkStep:
    """A step as it was told last: RUNNING, PASS, FAIL or STOP_GAP."""

    step: str
    goal: str
    status: str
    at_ms: float


@strawberry.type
class WorkRun:
    """A role, an engine or a validator, and what became of it: ran, skipped, failed."""

    name: str
    status: str
    outputs: list[str]
    notes: str


@strawberry.type
class WorkOutput:
    name: str
    present: bool
    source: str
    ref: str


@strawberry.type
class WorkMissing:
    """What the step cannot pass without, and what to do about it."""

    code: str
    what: str
    fix: str


@strawberry.type
class WorkRequirement:
    """Met by what `ref` names; open while that is empty."""

    what: str
    ref: str


@strawberry.type
class WorkResult:
    status: str
    code: str
    reasons: list[str]
    fixes: list[str]
    report: str
    pack: str


@strawberry.type
class WorkSignal:
    """What an operator gave for the step; `takenAtMs` is 0 until somebody begins the next one with it."""

    by: str
    reason: str
    at_ms: float
    taken_at_ms: float


@strawberry.type
class WorkSession:
    """One work session, as its manifest told it at line `line` of its trace."""

    id: str
    state: str
    kind: str
    step: str
    goal: str
    reason: str
    author: str
    folder: str
    since_ms: float
    updated_at_ms: float
    line: int
    trace: str
    steps: int
    steps_done: int
    past: list[WorkStep]
    routing: JSON
    roles: list[WorkRun]
    engines: list[WorkRun]
    outputs: list[WorkOutput]
    missing: list[WorkMissing]
    requirements: list[WorkRequirement]
    resume_allowed: bool
    next_file: str
    next_goal: str
    result: WorkResult
    cut: list[str]

    @strawberry.field
    async def signal(self, info: strawberry.Info, parent: strawberry.Parent[Any]) -> WorkSignal | None:
        """The signal that was given where the session is, taken or not."""
        return cast("WorkSignal | None", await sessions(asking(info).plane).signal_for(parent))
