"""What the console is told of sessions, pipelines and providers: the types of `web/schema.graphql`, field by field.

Times that end in `_ms` are the day's where the name says when something is (`since_ms`, `opened_ms`, `created_at_ms`), and
milliseconds from the session's beginning everywhere else (`at_ms`, `began_ms`, `ended_ms`). None is "nobody knows", never zero.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rspp.contract.surface import Level


class _Word(msgspec.Struct, frozen=True, kw_only=True):
    """A type of the schema."""


# ---- sessions ------------------------------------------------------------------------------------------------------


class SessionItem(_Word, frozen=True, kw_only=True):
    """A session in a list: as its owner told it last, or as its recording tells it."""

    tenant: str
    id: str
    state: str  # connected, running, degraded, ended
    since_ms: float = 0.0
    opened_ms: float = 0.0
    epoch: float = 0.0
    owner: str = ""
    region: str = ""
    pipeline: str = ""
    turns: int = 0
    line: str = ""
    missing: list[str] = []
    reason: str = ""
    recorded: bool = False


class SessionPage(_Word, frozen=True, kw_only=True):
    """`next` is where the next page begins; None after the last."""

    items: list[SessionItem]
    next: str | None = None
    total: int = 0


class Said(_Word, frozen=True, kw_only=True):
    """One line of the transcript. `heard_ms` is how much of an answer its caller heard; `heard` how the text of an interrupted
    one begins, as far as it was heard.
    """

    turn: int  # 0: of no turn
    speaker: str  # user, assistant
    text: str
    at_ms: float
    heard_ms: float | None = None
    heard: str | None = None
    interrupted: bool = False
    final: bool = True


class Stage(_Word, frozen=True, kw_only=True):
    """One stage of what a caller waited for."""

    name: str
    began_ms: float
    took_ms: float


class Turn(_Word, frozen=True, kw_only=True):
    """One turn, with what its caller waited for: the stages add up to `heard_after_ms`."""

    number: int
    id: str
    began_ms: float
    ended_ms: float | None
    outcome: str  # open, commit, abort
    reason: str
    stages: list[Stage]
    heard_after_ms: float | None = None
    interrupt_stop_ms: float | None = None
    trouble: list[str] = []


class TimelineRow(_Word, frozen=True, kw_only=True):
    """One thing that happened, or a second of a stream."""

    number: int
    at_ms: float
    direction: str  # in, out
    lane: str
    node: str
    turn: int | None
    kind: str
    text: str
    count: int = 1


class TimelinePage(_Word, frozen=True, kw_only=True):
    """`next` is the `after` of the next page; None after the last."""

    items: list[TimelineRow]
    next: int | None = None
    total: int = 0


class Sound(_Word, frozen=True, kw_only=True):
    """One side's recorded sound; `peaks` are from 0 to 1, evenly over the whole."""

    side: str  # caller, assistant
    seconds: float
    url: str
    peaks: list[float]


class Session(_Word, frozen=True, kw_only=True):
    """One session as far as who asks may see it. Its rows are a question of their own (`timeline`)."""

    item: SessionItem
    resolved: dict[str, Any] | None = None
    withheld: str = ""
    transcript: list[Said] = []
    turns: list[Turn] = []
    evidence: list[dict[str, Any]] = []
    summary: dict[str, Any] | None = None
    sound: list[Sound] = []
    recorded_level: str = ""


class ReplayResult(_Word, frozen=True, kw_only=True):
    """What a kernel that was run again came to; `divergence` is the first, with its place."""

    same: bool
    message: str
    compared: int = 0
    digest: str = ""
    divergence: dict[str, Any] | None = None


class DiffResult(_Word, frozen=True, kw_only=True):
    """What differs between two recordings, causes first."""

    same: bool
    message: str
    differences: list[dict[str, Any]] = []


# ---- pipelines -----------------------------------------------------------------------------------------------------


class Version(_Word, frozen=True, kw_only=True):
    """A published version; `share` is the share of new sessions that get it, from 0 to 1."""

    version: str
    sha256: str
    author: str
    created_at_ms: float
    share: float = 0.0


class Node(_Word, frozen=True, kw_only=True):
    """A node of a graph; `inserted`: a policy put it there."""

    id: str
    type: str
    provider: str | None = None
    inserted: bool = False


class Edge(_Word, frozen=True, kw_only=True):
    """An edge of a graph."""

    from_: str = msgspec.field(name="from")
    to: str
    port: str
    lane: str
    condition: str | None = None


class Pipeline(_Word, frozen=True, kw_only=True):
    """A pipeline, and the graph of one of its versions; `problems` say why there is no graph, or what is wrong with it."""

    name: str
    version: str
    versions: list[Version]
    rollout: dict[str, Any] | None = None
    nodes: list[Node] = []
    edges: list[Edge] = []
    text: str = ""
    problems: list[str] = []


# ---- the fleet -----------------------------------------------------------------------------------------------------


class Provider(_Word, frozen=True, kw_only=True):
    """A provider as the fleet sees it. `price` is as workers report it, in the unit of the pipelines' own tables."""

    name: str
    modality: str
    state: str
    circuit: str  # closed, open
    level: Level
    availability: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    calls: float = 0.0
    failures: float = 0.0
    price: float | None = None
    workers: int = 0
    reason: str = ""


class Point(_Word, frozen=True, kw_only=True):
    """A latency; without a sample there is none."""

    name: str
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    count: float = 0.0


class Load(_Word, frozen=True, kw_only=True):
    """How much is going on."""

    sessions: int
    capacity: int
    degraded: int
    turns_per_minute: float
    workers: int
    workers_ready: int
    answer: Point
    stages: list[Point]
    interrupt_stop_ms: Point
