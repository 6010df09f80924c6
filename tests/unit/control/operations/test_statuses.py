"""The status of a real session, asked for through the API while it runs, by those who may and those who may not."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rspp.control.fleet.session_ear import heard_by
from rspp.control.fleet.status import SessionWord, Status
from rspp.control.fleet.status_writer import StatusWriter
from rspp.control.intake.quotas import day_of, minute_of
from rspp.control.intake.reports import Amounts, Report, bytes_of
from rspp.control.operations import operation_named
from rspp.control.operations.calling import call
from rspp.control.operations.operation import Denied, NotFound
from rspp.control.plane import ControlPlane
from rspp.control.security.roles import Principal, Role
from rspp.host.recorder import MemoryRecorder
from rspp.testing.store import ManualClock, MemoryStore
from tests.unit.host.stage import Stage, VirtualClock, on_stage

VERA = Principal(id="vera", roles={"t1": (Role.VIEWER,)})


async def asked(plane: ControlPlane, name: str, by: Principal = VERA, **fields: Any) -> Any:
    operation = operation_named(name)
    return await call(plane, by, operation, msgspec.convert(fields, operation.request))


@pytest.mark.proves("F-101")
def test_the_status_follows_a_session_through_all_four_words_for_who_may_see_it() -> None:
    """Each change is told to who waits for it; another tenant, and who may not look, are denied and on record."""
    store = MemoryStore()
    plane = ControlPlane(store, clock=VirtualClock())
    writer = StatusWriter(store, VirtualClock(), owner=lambda: "w1")
    followed: list[Status] = []

    async def follow() -> None:
        """As a dashboard does: each answer asks for what comes after it."""
        changes = -1
        while not followed or followed[-1].state is not SessionWord.ENDED:
            try:
                said: dict[str, Any] = {
                    "tenant": "t1",
                    "session": "s1",
                    "changes": changes,
                    "within_ms": 30_000,
                }
                status = await asked(plane, "sessions.status", **said)
            except NotFound:
                await asyncio.sleep(0.01)
                continue
            if status.changes != changes:
                followed.append(status)
                changes = status.changes

    async def scene(stage: Stage) -> None:
        tasks = [asyncio.create_task(writer.run()), asyncio.create_task(follow())]
        caller, other = stage.call(session_id="s1"), stage.call("t2", session_id="s2")
        await caller.frames(600)
        await caller.speak()
        await caller.until("turn_open")
        await caller.frames(1_000)
        caller.seat.kernel.capability_lost("tts", "provider_failure")  # type: ignore[union-attr]
        await caller.frames(1_000)
        listed = await asked(plane, "sessions.statuses", tenant="t1")
        assert [(one.session, one.state.value) for one in listed.items] == [("s1", "degraded")]
        assert (await asked(plane, "sessions.statuses", tenant="t1", state="running")).items == []
        for one in (caller, other):
            await stage.host.close_session(one.seat.session_id)  # type: ignore[union-attr]
        assert await writer.flush(1.0) == 0
        await asyncio.wait_for(tasks[1], 60)
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    on_stage(scene, recorders=heard_by(lambda _: MemoryRecorder(), (writer,)))
    assert list(dict.fromkeys(one.state.value for one in followed)) == [
        "connected",
        "running",
        "degraded",
        "ended",
    ]
    asyncio.run(_is_denied_to_others(plane))


async def _is_denied_to_others(plane: ControlPlane) -> None:
    async def denials() -> int:
        entries = await asked(
            plane, "audit.list", Principal(id="root", roles={"*": (Role.ADMIN,)}), decision="deny"
        )
        return len(entries.items)

    foreign = []
    for session in ("s2", "none"):
        with pytest.raises(NotFound) as refused:
            await asked(plane, "sessions.status", tenant="t2", session=session)
        foreign.append(refused.value.message)
    with pytest.raises(NotFound) as missing:
        await asked(plane, "sessions.status", tenant="t1", session="s2")
    assert {*foreign, missing.value.message} == {missing.value.message}
    with pytest.raises(NotFound):
        await asked(plane, "sessions.statuses", tenant="t2")
    nobody = Principal(id="nobody", roles={"t1": ()})
    with pytest.raises((NotFound, Denied)):
        await asked(plane, "sessions.status", nobody, tenant="t1", session="s1")
    assert await denials() == 4


def test_who_waits_for_a_change_that_does_not_come_is_told_what_there_is() -> None:
    async def main() -> None:
        store = MemoryStore()
        plane = ControlPlane(store)
        status = Status(
            tenant="t1",
            session="s1",
            state=SessionWord.RUNNING,
            since_ms=1,
            opened_ms=1,
            epoch=1,
            owner="w1",
            changes=4,
        )
        await store.put("status", "t1/s1", msgspec.json.encode(status))
        said: dict[str, Any] = {"tenant": "t1", "session": "s1", "changes": 4, "within_ms": 30}
        assert await asked(plane, "sessions.status", **said) == status
        waiting = asyncio.create_task(asked(plane, "sessions.status", **{**said, "within_ms": 20_000}))
        await asyncio.sleep(0)
        newer = msgspec.structs.replace(status, changes=5, reason="draining: x")
        await store.put("status", "t1/s1", msgspec.json.encode(newer))
        assert await waiting == newer

    asyncio.run(main())


def test_usage_is_the_sum_of_what_all_processes_say_of_the_tenant_alone() -> None:
    async def main() -> None:
        store = MemoryStore()
        plane = ControlPlane(store, clock=ManualClock())
        minute, day = minute_of(plane.wall_ms()), day_of(plane.wall_ms())
        for member in ("w1", "w2"):
            amounts = {"t1": Amounts(2, 30, 4_000, 8_000, 7), "t2": Amounts(100, 100, 100, 100, 100)}
            await store.put("usage", member, bytes_of(Report(minute=minute, day=day, tenants=amounts)))
        await store.put("usage", "broken", b"\xff")
        used = await asked(plane, "quotas.usage", tenant="t1")
        assert (used.turns_minute, used.tokens_minute, used.audio_seconds_minute) == (4, 60, 8.0)
        assert (used.audio_seconds_day, used.spend_micros_day, used.sessions) == (16.0, 14, 0)

    asyncio.run(main())
