"""A console over a control plane in memory: rows and records as a test sets them, and a source of recordings that trusts its asker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
from starlette.applications import Starlette

from rspp.contract.surface import Kept, Row, Surface, Truth
from rspp.control.security.roles import EVERYWHERE, Permission, Principal, Role, allowed
from rspp.ops.actions import Action, actions_of
from rspp.ops.changes import StateChange
from rspp.ops.coverage import JournalStanding, SurfaceCoverage
from rspp.ops.health import Health, health_of
from rspp.ops.surfaces import Surfaces
from rspp.server.console import console_app
from rspp.server.live.sockets import Timing
from rspp.server.recorded import words
from rspp.server.run import Listen, Service, bound
from tests.unit.server.given import World, world

NAMES = (
    "sessions",
    "workers",
    "rollouts",
    "runtime_work_session",
    "provider_health",
    "circuits",
    "approvals",
)


def declared(name: str) -> Surface:
    return Surface(
        name=name,
        owner="tests",
        summary=f"The {name}.",
        aggregate_type=name,
        storage=f"kv:{name}",
        truth=Truth.CANONICAL,
        affects_health=True,
        affects_actions=True,
        kept=Kept(name),
        row=lambda _key, _value: None,
        read=f"graphql:rows({name})",
    )


class FakeSnapshots:
    def __init__(self) -> None:
        self.sequence = 0
        self.stale = False
        self.kept: dict[str, list[Row]] = {}

    def rows(self, surface: str) -> list[Row]:
        return self.kept.get(surface, [])


class Page(msgspec.Struct):
    records: list[StateChange]
    next: int
    last: int
    compacted: bool
    oldest: int


class FakeJournal:
    def __init__(self) -> None:
        self.records: list[StateChange] = []

    async def page(self, *, after: int = 0, surface: str | None = None, limit: int = 100) -> Page:
        left = [one for one in self.records if one.sequence > after and surface in (None, one.surface)]
        page, last = left[:limit], len(self.records)
        return Page(page, page[-1].sequence if page else last, last, compacted=False, oldest=1)


class FakeEngine:
    """What the console asks of the state engine, over rows that the test puts."""

    def __init__(self) -> None:
        self.surfaces = Surfaces([declared(name) for name in NAMES])
        self.snapshots = FakeSnapshots()
        self.journal = FakeJournal()
        self._callbacks: list[Callable[[str, str, str | None, int], None]] = []

    def on_change(self, callback: Callable[[str, str, str | None, int], None]) -> None:
        self._callbacks.append(callback)

    async def status(self) -> JournalStanding:
        count = (await self.journal.page(after=0, limit=1)).last
        surfaces = [
            SurfaceCoverage(surface=one.name, declared="journal", coverage="journal", watched=0, uncovered=0)
            for one in self.surfaces
        ]
        return JournalStanding(
            writable=True, problem="", records=count, oldest=1, last=count, bytes=0, surfaces=tuple(surfaces)
        )

    def health(self) -> Health:
        snapshots = self.snapshots
        return health_of(
            snapshots.kept, self.surfaces, as_of_ms=1, sequence=snapshots.sequence, stale=snapshots.stale
        )

    def actions(self) -> list[Action]:
        return actions_of(self.health())

    def put(self, surface: str, row: Row) -> None:
        """The row is there now, and everybody hears of it."""
        rows = self.snapshots.kept.setdefault(surface, [])
        rows[:] = [
            one for one in rows if (one.aggregate_id, one.tenant_id) != (row.aggregate_id, row.tenant_id)
        ]
        rows.append(row)
        self.snapshots.sequence += 1
        self.journal.records.append(record(self.snapshots.sequence, surface, row))
        self.tell(surface, row.aggregate_id, row.tenant_id)

    def tell(self, surface: str, aggregate_id: str, tenant_id: str | None) -> None:
        for callback in self._callbacks:
            callback(surface, aggregate_id, tenant_id, self.snapshots.sequence)


def record(sequence: int, surface: str, row: Row) -> StateChange:
    return StateChange(
        schema_version="runtime-state-change-v1",
        event_id=f"e{sequence}",
        sequence=sequence,
        occurred_at="2026-01-01T00:00:00.000Z",
        source="test",
        surface=surface,
        change_type="changed",
        aggregate_type=surface,
        aggregate_id=row.aggregate_id,
        changed_surfaces=(surface,),
        severity="info",
        snapshot_hint="rows",
        mutates_authority_state=False,
        metadata={} if row.tenant_id is None else {"tenant": row.tenant_id},
    )


class Trusting:
    """Recordings that ask nobody who they are told to: what keeps tenants apart must stand before them."""

    def __init__(self, word: str = "said") -> None:
        self.word = word
        self.asked: list[str] = []

    def _item(self, tenant: str, name: str) -> words.SessionItem:
        return words.SessionItem(tenant=tenant, id=name, state="ended", reason=f"{tenant}-{self.word}")

    async def sessions(
        self, principal: Principal, wanted: Mapping[str, str | None], first: int, after: str | None
    ) -> words.SessionPage:
        mine = [one for one in principal.roles if allowed(principal, Permission.SESSIONS_READ, one)]
        tenants = [wanted["tenant"]] if wanted["tenant"] else mine
        return words.SessionPage(items=[self._item(one, "s-1") for one in tenants[:first] if one], total=1)

    async def session(self, _: Principal, tenant: str, session_id: str, parts: Any) -> words.Session | None:
        self.asked.append(",".join(sorted(parts)))
        if session_id == "broken":
            raise ZeroDivisionError("a secret of the inside")
        if not session_id.startswith("s-"):
            return None
        return words.Session(
            item=self._item(tenant, session_id),
            transcript=[words.Said(turn=1, speaker="user", text=f"{tenant}-{self.word}", at_ms=1.0)],
        )

    async def timeline(
        self, _: Principal, tenant: str, session_id: str, wanted: Mapping[str, Any]
    ) -> words.TimelinePage:
        row = words.TimelineRow(
            number=wanted["after"] + 1,
            at_ms=0.0,
            direction="in",
            lane="control",
            node=f"{tenant}-{self.word}",
            turn=None,
            kind=wanted["kind"] or "any",
            text=session_id,
        )
        return words.TimelinePage(items=[row], total=1)

    async def replay(self, _: Principal, tenant: str, session_id: str) -> words.ReplayResult | None:
        if not session_id.startswith("s-"):
            return None
        return words.ReplayResult(same=True, message=f"{tenant}-{self.word}")

    async def diff(self, _: Principal, tenant: str, session_id: str, other: str) -> words.DiffResult | None:
        if not (session_id + other).startswith("s-"):
            return None
        return words.DiffResult(same=True, message=f"{tenant}-{self.word}")

    async def pipelines(self, _: Principal, tenant: str | None) -> list[words.Pipeline]:
        edge = words.Edge(from_="a", to="b", port="text", lane="data")
        return [words.Pipeline(name=f"fleet-{self.word}", version="v1", versions=[], edges=[edge])]

    async def pipeline(self, _: Principal, name: str, version: str | None) -> words.Pipeline | None:
        if name != "voice":
            return None
        return words.Pipeline(name=name, version=version or "v1", versions=[], text=f"fleet-{self.word}")

    async def providers(self, rows: Callable[[str], list[Row]]) -> list[words.Provider]:
        return [
            words.Provider(name=one.aggregate_id, modality="llm", state="up", circuit="open", level=one.level)
            for one in rows("provider_health")
        ]

    async def load(self, rows: Callable[[str], list[Row]], tenant: str | None) -> words.Load:
        sessions = [one for one in rows("sessions") if tenant in (None, one.tenant_id)]
        point = words.Point(name="answer")
        return words.Load(
            sessions=len(sessions),
            capacity=len(rows("workers")),
            degraded=0,
            turns_per_minute=0.0,
            workers=len(rows("workers")),
            workers_ready=0,
            answer=point,
            stages=[point],
            interrupt_stop_ms=point,
        )


class ConsoleWorld:
    """A console with its people. `ask` is one question in GraphQL."""

    def __init__(self, of: World, timing: Timing | None) -> None:
        self.of, self.plane = of, of.plane
        self.service: Service | None = None
        self.engine = FakeEngine()
        self.recorded = Trusting()
        self.app: Starlette = console_app(
            of.plane,
            self.engine,  # type: ignore[arg-type]  # as much of it as is asked
            recorded=self.recorded,
            timing=timing,
        )
        self.sockets = self.app.state.sockets
        of.app = self.app

    def client(self, name: str | None, address: str = "192.0.2.1") -> httpx.AsyncClient:
        return self.of.client(name, address)

    async def ask(self, name: str | None, query: str, **variables: Any) -> dict[str, Any]:
        async with self.client(name) as client:
            answer = await client.post("/graphql", json={"query": query, "variables": variables})
            said: dict[str, Any] = answer.json()
            return said

    async def data(self, name: str | None, query: str, **variables: Any) -> dict[str, Any]:
        said = await self.ask(name, query, **variables)
        assert "errors" not in said, said
        found: dict[str, Any] = said["data"]
        return found

    async def code(self, name: str | None, query: str, **variables: Any) -> str:
        """The one error's code."""
        said = await self.ask(name, query, **variables)
        (error,) = said["errors"]
        return str(error["extensions"]["code"])


@asynccontextmanager
async def console(folder: Path, timing: Timing | None = None) -> AsyncIterator[ConsoleWorld]:
    """With `fay`, viewer everywhere, `ann`, viewer of acme, `olga`, operator of acme, and `bob`, viewer of bolt."""
    async with world(folder) as of:
        made = ConsoleWorld(of, timing)
        await of.principal("fay", {EVERYWHERE: Role.VIEWER})
        await of.principal("ann", {"acme": Role.VIEWER})
        await of.principal("olga", {"acme": Role.OPERATOR})
        await of.principal("bob", {"bolt": Role.VIEWER})
        yield made


@asynccontextmanager
async def served(made: ConsoleWorld) -> AsyncIterator[str]:
    """The console on a real socket; its address."""
    service = Service(made.app, bound(Listen(host="127.0.0.1", port=0)))
    made.service = service
    running = asyncio.create_task(service.run())
    try:
        await asyncio.wait_for(service.listening(), 10)
        yield service.url
    finally:
        service.stop()
        with suppress(asyncio.CancelledError):
            await running
