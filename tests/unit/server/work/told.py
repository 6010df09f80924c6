"""Snapshots as a manifest tells them, and what a store has of them afterwards."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import msgspec

from rspp.control.fleet.work import WORK, Work, work_of
from rspp.control.names import key
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.secrets import Secrets
from rspp.manifest.document import ResumeTarget
from rspp.manifest.telling import WorkSnapshot
from rspp.ops.changes import StateChange
from rspp.ops.journal.journal import Journal
from rspp.server.surfaces import surfaces

SURFACE = "runtime_work_session"


def snapshot(line: int = 1, **more: Any) -> WorkSnapshot:
    """Line so-and-so of a session `r1` that runs its step 1."""
    session = str(more.get("id", "r1"))
    fields: dict[str, Any] = {
        "id": session,
        "state": "running",
        "step": "1",
        "goal": "lint",
        "author": "ada",
        "line": line,
        "trace": hashlib.sha256(f"{session} {line}".encode()).hexdigest(),
        "begun": hashlib.sha256(f"{session} 1".encode()).hexdigest(),
        "begun_at_ms": 1_001,
        "steps": 1,
        "since_ms": 1_000,
        "updated_at_ms": 1_000 + line,
        "folder": "work",
    }
    return msgspec.convert(
        {**msgspec.to_builtins(WorkSnapshot(id="", state="")), **fields, **more}, WorkSnapshot
    )


def waiting(line: int = 5, step: str = "1", **more: Any) -> WorkSnapshot:
    """The same after PASS, with something left to do."""
    target = msgspec.to_builtins(ResumeTarget(GOAL="publish"))
    return snapshot(line, state="waiting", step=step, resume_allowed=True, target=target, **more)


def url_of(folder: Path) -> str:
    return f"sqlite://{folder / 'store.db'}"


def on_record(folder: Path, session: str = "r1") -> Work | None:
    """What the store has of a session."""

    async def main() -> Work | None:
        store = open_store(url_of(folder), Secrets())
        try:
            return work_of(await store.get(WORK, key(session)))
        finally:
            await store.close()

    return asyncio.run(main())


def journal_of(folder: Path) -> list[StateChange]:
    """All records of the journal."""

    async def main() -> list[StateChange]:
        store = open_store(url_of(folder), Secrets())
        try:
            page = await Journal(store, surfaces(), MachineClock()).page(after=0, limit=1_000)
            return list(page.records)
        finally:
            await store.close()

    return asyncio.run(main())


def revisions(records: list[StateChange], session: str = "r1") -> list[object]:
    return [
        one.metadata["revision"] for one in records if (one.surface, one.aggregate_id) == (SURFACE, session)
    ]
