"""A server's recorded things over a plane in memory and a data folder in which real calls are recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.contract.surface import Row
from rspp.contract.words import PayloadClass, RecordingLevel
from rspp.control.security.roles import EVERYWHERE, Principal, Role
from rspp.server.recorded import job as j
from rspp.server.recorded.children import Children
from rspp.server.recorded.places import STORE_FILE, Places
from rspp.server.recorded.recorded import Recorded
from rspp.server.recorded.words import TimelineRow
from rspp.server.recorded.work import view
from rspp.timeline.access import Grant, Purpose
from rspp.timeline.access import Role as TimelineRole
from rspp.timeline.recording import Recording
from tests.unit.server.given import World, world
from tests.unit.timeline.scripted import SESSION, scripted_bytes
from tests.unit.timeline.spooled import exporting, fill

TENANT = "acme"
OPERATOR = Principal(id="olga", roles={TENANT: (Role.OPERATOR,)})
VIEWER = Principal(id="vera", roles={TENANT: (Role.VIEWER,)})
ADMIN = Principal(id="ada", roles={EVERYWHERE: (Role.ADMIN,)})
RIVAL = Principal(id="rick", roles={"other": (Role.ADMIN,)})
NOBODY = Principal(id="nick", roles={})


class Readers:
    """One loop and its reading processes, for all tests of a module: a process takes a second to begin."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.children = runner.run(_children())

    def play(self, main: Coroutine[Any, Any, None]) -> None:
        self._runner.run(main)


async def _children() -> Children:
    return Children()


class Scene:
    """`rows` are what the state engine would say."""

    def __init__(self, made: World, data: Path, children: Children | None, **how: Any) -> None:
        self._keeps_children = children is not None
        self.world, self.plane, self.data = made, made.plane, data
        self.rows: dict[str, list[Row]] = {}
        self.places = Places(data)
        self.recorded = Recorded(
            made.plane, self.places, lambda name: self.rows.get(name, []), children=children, **how
        )

    async def close(self) -> None:
        if self._keeps_children:
            await self.recorded.shelf.close()
            await self.places.close()
        else:
            await self.recorded.close()

    async def audited(self, tenant: str = TENANT) -> list[tuple[str, str, str]]:
        """Looks at recordings that are on record: who, what, and how it was answered."""
        async with self.world.client("root") as client:
            said = (await client.get("/v1/audit", params={"tenant": tenant, "limit": 1000})).json()["items"]
        return [
            (one["principal"], one["action"], one["decision"])
            for one in said
            if one["action"].startswith("recordings.")
        ]


@asynccontextmanager
async def scene(folder: Path, children: Children | None = None, **how: Any) -> AsyncIterator[Scene]:
    async with world(folder) as made:
        it = Scene(made, folder / "data", children, **how)
        try:
            yield it
        finally:
            await it.close()


async def shelve(data: Path, recordings: Mapping[tuple[str, str], bytes]) -> None:
    """Recordings by tenant and session, in the store of the data folder."""
    store = SqliteStore(data / STORE_FILE)
    try:
        async with exporting(store, data) as (spool, exporter):  # type: ignore[arg-type]  # any store will do
            for (tenant, session), recording in recordings.items():
                await fill(spool, recording, session, tenant)
            assert await exporter.drain(10_000) == 0
    finally:
        await store.close()


def scripted(tenant: str = TENANT, session: str = SESSION) -> dict[tuple[str, str], bytes]:
    return {(tenant, session): scripted_bytes(session, tenant)}


def row(session: str, tenant: str = TENANT, state: str = "running", **facts: Any) -> Row:
    """A session's row, as its owner makes it."""
    return Row(
        aggregate_id=session,
        tenant_id=tenant,
        state=state,
        since_ms=1_000,
        over=state == "ended",
        facts={"opened_ms": 500, "turns": 1, "owner": "w-1", "pipeline": "graph/desk@v1", **facts},
    )


def granted(recording: Recording, *classes: PayloadClass, fidelity: str = "L2") -> Grant:
    return Grant(
        tenant_id=recording.tenant_id,
        principal_id="olga",
        role=TimelineRole.OPERATOR,
        purpose=Purpose.DEBUG,
        scope=f"session:{recording.session_id}",
        fidelity=RecordingLevel(fidelity),
        classes=frozenset(classes or (PayloadClass.TEXT_RAW, PayloadClass.AUDIO_RAW)),
        policy="test",
    )


def viewed(recording: Recording, *, again: bool = True) -> tuple[j.View, dict[str, Any], list[TimelineRow]]:
    """What a reading process would say of it: the view, its large parts, its rows."""
    first, *more = view(recording, [], again_too=again)
    parts = {name: msgspec.msgpack.decode(data) for name, data in zip(j.PARTS, more, strict=False)}
    chunks = [msgspec.msgpack.decode(data, type=list[TimelineRow]) for data in more[len(j.PARTS) :]]
    return j.VIEW(first), parts, [one for chunk in chunks for one in chunk]
