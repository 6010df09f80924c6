"""What an operator is told of real processes: a worker that is killed, calls that come and go, and a disk that is full."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.client import Call, Client, ConnectionLost
from rspp.contract.surface import Level
from rspp.control.config.registry import Registry
from rspp.control.config.rollouts import Rollouts
from rspp.control.intake.limits import Limits, QuotaRecord
from rspp.control.intake.quotas import Limit, TenantLimits
from rspp.host.clock import MachineClock
from rspp.ops.engine import StateEngine
from rspp.ops.journal.pages import BUCKET
from rspp.server.state import Told
from tests.e2e.serving import Serving, serving
from tests.e2e.test_listen import SPEC

pytestmark = [pytest.mark.slow, pytest.mark.long]

BRIEF = SPEC.replace("It will take me about two seconds to say this.", "Yes.")
KNOWN_MS_MAX = 2_000


@asynccontextmanager
async def watching(path: Path) -> AsyncIterator[StateEngine]:
    """An engine of our own beside the processes, as a console has it."""
    store = SqliteStore(path)
    told = Told(store, MachineClock(), source="test")
    engine = told.engine()
    await engine.load()
    running = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        running.cancel()
        await asyncio.wait([running])
        await store.close()


async def until(holds: Callable[[], bool], seconds: float = 15.0) -> float:
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)
    return (time.monotonic() - began) * 1000


def test_a_killed_worker_is_known_within_two_seconds_and_every_change_is_on_record(tmp_path: Path) -> None:
    spec = tmp_path / "desk.yaml"
    spec.write_text(BRIEF)

    async def main() -> None:
        async with serving(spec, tmp_path, workers=2) as it, watching(tmp_path / "serve.db") as engine:
            rows = engine.snapshots.rows
            await until(lambda: sum(one.facts["ready"] is True for one in rows("workers")) == 2)
            await until(lambda: len(rows("recordings")) == 2 and len(rows("evidence_export")) == 2)
            assert engine.health().level is Level.OK
            async with Client.connect(it.url, tenant="acme") as call:
                await until(lambda: [one.state for one in rows("leases")] == ["held"])
                owner = rows("leases")[0].facts["owner"]
                await call.hang_up()
            await until(lambda: all(one.over for one in rows("leases")))

            victim = (await it.workers())[0]
            os.kill(victim["pid"], signal.SIGKILL)

            def is_known() -> bool:
                return any(one.code == "worker_lost" for one in engine.health().reasons)

            took_ms = await until(is_known)
            assert took_ms < KNOWN_MS_MAX
            lost = next(one for one in engine.health().reasons if one.code == "worker_lost")
            assert lost.surface == "workers"
            assert lost.aggregate_id.startswith(victim["name"])
            assert engine.health().level is Level.FAILED
            assert isinstance(owner, str)
            await until(lambda: sum(one.state == "up" for one in rows("workers")) == 2)
            await asyncio.sleep(7)  # the journal has its grace
            status = await engine.status()
            assert [one for one in status.surfaces if one.uncovered] == []
            assert {"workers", "leases", "recordings"} <= {
                one.surface for one in status.surfaces if one.records
            }
            assert status.writable

    asyncio.run(main())


def test_turns_and_a_quota_that_is_used_up_are_known_and_a_journal_that_is_deleted_changes_nothing(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'control.db'}"

    async def main() -> None:
        store = SqliteStore(tmp_path / "control.db")
        published = await Registry(store, wall_ms=wall_ms).publish(BRIEF, "an author")
        await Rollouts(store, wall_ms=wall_ms).begin("desk", published.version, author="an author")
        limits = TenantLimits(sessions=Limit(most=1))
        await Limits(store).put(
            QuotaRecord(tenant="acme", limits=limits, author="an author", reason="one", at_ms=1)
        )
        more = ("--store", url, "--dev", "--default-pipeline", "desk")
        async with (
            serving(None, tmp_path / "data", *more) as it,
            watching(tmp_path / "control.db") as engine,
        ):
            rows = engine.snapshots.rows
            async with AsyncExitStack() as stack:
                call = await first_call(it, "acme", stack)
                took_ms = await until(lambda: "quota_used_up" in codes(engine))
                assert took_ms < KNOWN_MS_MAX
                call.say("hello")
                await call.signal("commit")
                await until(lambda: [one.state for one in rows("turns")] == ["commit"])
                await until(lambda: [one.state for one in rows("sessions")] == ["running"])
                (turn,) = rows("turns")
                assert turn.tenant_id == "acme"
                assert turn.facts["turn"] == 1
                before, found = codes(engine), engine.snapshots.by_surface()
                for name in await store.keys(BUCKET):
                    await store.delete(BUCKET, name)
                await asyncio.sleep(6)
                assert codes(engine) == before
                assert {name: len(each) for name, each in engine.snapshots.by_surface().items()} == {
                    name: len(each) for name, each in found.items()
                }
                await call.hang_up()
            await until(lambda: rows("turns") == [] and "quota_used_up" not in codes(engine))
            await until(lambda: [one.over for one in rows("sessions")] == [True])
        await store.close()

    asyncio.run(main())


def codes(engine: StateEngine) -> list[str]:
    return sorted(one.code for one in engine.health().reasons)


async def first_call(it: Serving, tenant: str, stack: AsyncExitStack) -> Call:
    """A process that has just started may say that it is too busy; it says when to come back too."""
    while True:
        try:
            return await stack.enter_async_context(Client.connect(it.url, tenant=tenant))
        except ConnectionLost as error:
            if error.retry_after_ms is None:
                raise
            await asyncio.sleep(error.retry_after_ms / 1000)


def wall_ms() -> int:
    return time.time_ns() // 1_000_000
