"""Who asks, pipelines, providers, load and routes, as GraphQL names them. The answers are the structs of `server.recorded`."""

from __future__ import annotations

import strawberry
from strawberry.scalars import JSON

from rspp.server.graphql.types_state import LevelWord


@strawberry.type
class Me:
    """Who is asking, and what this server can do."""

    id: str
    tenants: list[str]
    everywhere: bool
    permissions: list[str]
    version: str
    dev: bool


@strawberry.type
class Point:
    name: str
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    count: float


@strawberry.type
class Load:
    """Sessions and capacity now; turns of the last minute; latencies by stage since each worker began."""

    sessions: int
    capacity: int
    degraded: int
    turns_per_minute: float
    workers: int
    workers_ready: int
    answer: Point
    stages: list[Point]
    interrupt_stop_ms: Point


@strawberry.type
class Version:
    version: str
    sha256: str
    author: str
    created_at_ms: float
    share: float


@strawberry.type
class Node:
    id: str
    type: str
    provider: str | None
    inserted: bool


@strawberry.type
class Edge:
    from_: str = strawberry.field(name="from")
    to: str
    port: str
    lane: str
    condition: str | None


@strawberry.type
class Pipeline:
    name: str
    version: str
    versions: list[Version]
    rollout: JSON | None
    nodes: list[Node]
    edges: list[Edge]
    text: str
    problems: list[str]


@strawberry.type
class Provider:
    name: str
    modality: str
    state: str
    circuit: str
    level: LevelWord
    availability: float | None
    p50_ms: float | None
    p95_ms: float | None
    calls: float
    failures: float
    price: float | None
    workers: int
    reason: str


@strawberry.type
class Route:
    """Where to connect, and with what token."""

    url: str
    token: str
    session: str
    tenant: str
    expires_ms: float
