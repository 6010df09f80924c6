"""What a worker needs of the rest of the control plane, one Protocol each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from rspp.host.ports import Bootstrap, Line
from rspp.kernel.effects import SaveState
from rspp.kernel.snapshot import Durable, Snapshot
from rspp.spec.graph import GraphDefinition


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """Who may come in as what: what a route token says, or what a loopback process in dev mode believes."""

    tenant_id: str
    session_id: str | None = None
    pipeline: str | None = None  # a pipeline, or a version of one as `pipeline@version`
    token_id: str = ""


class Gate(Protocol):
    """Who may come in."""

    def admit(self, bootstrap: Bootstrap) -> Admitted:
        """Raises `Refused` with a stable code that tells a forger nothing."""
        ...


class Plans(Protocol):
    """What runs, and under which policy; all of it from memory."""

    def fresh(self, now: int) -> bool: ...
    def choose(self, tenant_id: str, session_id: str, pipeline: str | None) -> str:
        """The reference of the graph for a new session; raises `Refused`."""
        ...

    def graph(self, graph_ref: str) -> GraphDefinition:
        """That graph, compiled; raises `Refused` if it is not to be had."""
        ...

    def snapshot(self, now: int, tenant_id: str, graph: GraphDefinition) -> Snapshot | None: ...
    def on_change(self, callback: Callable[[], None]) -> None: ...


class Slots(Protocol):
    """Room for sessions, by tenant and in all."""

    async def reserve(self, tenant_id: str, *, session_id: str = "") -> Any:
        """Raises `Refused`, with when to try again."""
        ...

    async def move(self, tenant_id: str, from_member: str) -> Any:
        """Room for a session that another process had: it was admitted once, and is not refused now."""
        ...

    def release(self, reservation: Any) -> None: ...
    async def reconcile(self, actual: Mapping[str, int]) -> None:
        """How many sessions of each tenant really run here: room for others is given back."""
        ...

    async def close(self) -> None:
        """This process is, or will be, no member any more: it writes nothing from now on."""
        ...


class Residency(Protocol):
    def check(self, tenant_id: str, region: str) -> None:
        """Raises `Refused` where a tenant's sessions may not be processed here."""
        ...


class KeptLine(Line, Protocol):
    """A session's line, by which nothing is told as committed before its state is kept."""

    def cut(self, reason: str) -> None:
        """Close it without what waits: nothing more may be said for the session here."""
        ...


class DurableState(Protocol):
    """The state of sessions, in the store and on its way there."""

    def put(self, tenant_id: str, session_id: str, effect: SaveState) -> None: ...
    async def flushed(self, tenant_id: str, session_id: str) -> None:
        """All that was put until now is in the store."""
        ...

    async def load(self, tenant_id: str, session_id: str) -> Durable | None: ...
    async def forget(self, tenant_id: str, session_id: str) -> None: ...
    def hold(self, tenant_id: str, session_id: str, line: Line) -> KeptLine: ...
