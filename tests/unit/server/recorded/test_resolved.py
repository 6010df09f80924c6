"""What is really in force for a session, shown by its id: the inserted nodes and the chosen providers, as they were run."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from rspp.contract.words import RecordingLevel
from rspp.control.config.view import View
from rspp.control.security.roles import Principal, Role
from rspp.kernel.snapshot import Snapshot
from rspp.server.recorded.resolved import of_recording
from rspp.spec.graph import GraphDefinition
from rspp.timeline.memory import MemoryAppend
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.session import Everything, SessionRecorder
from rspp.timeline.spool import Spool
from tests.unit.control.config.test_view_on_stage import PROVIDERS, REDACT, SAYS, Calls, turn
from tests.unit.host.stage import Stage, on_stage
from tests.unit.server.recorded.given import (
    ADMIN,
    NOBODY,
    OPERATOR,
    RIVAL,
    TENANT,
    Readers,
    row,
    scene,
    shelve,
)
from tests.unit.timeline.spooled import frames, opened

TWO: dict[str, Any] = {**PROVIDERS, "llm": ["scripted-llm", "second-llm"]}
SETTINGS: dict[str, Any] = {**SAYS, "second-llm": {"use": "scripted-llm", **SAYS["scripted-llm"]}}
PICKS = [{"modality": "llm", "providers": ["second-llm"]}]
INSERTED = "policy/tenant-redact/llm"


def played(scene_of: Callable[[Calls], Any]) -> dict[str, bytes]:
    """The recordings of a scene, by session, as real calls of a host under a control plane's view leave them."""
    appends: dict[str, MemoryAppend] = {}
    views: list[View] = []

    def recorder(session_id: str) -> SessionRecorder:
        appends[session_id] = MemoryAppend()
        return SessionRecorder(appends[session_id], Everything(), wall_ms=lambda: 1_700_000_000_000)

    def snapshot(now: int, tenant_id: str, graph: GraphDefinition) -> Snapshot | None:
        return views[0].snapshot(now, tenant_id, graph)

    async def staged(stage: Stage) -> None:
        calls = Calls(stage)
        views.append(calls.view)
        await scene_of(calls)

    on_stage(staged, recorders=recorder, snapshots=snapshot)
    return {session: bytes(append.data) for session, append in appends.items()}


@lru_cache(maxsize=1)
def governed() -> dict[str, bytes]:
    """One call of a tenant whose policy inserts a node and picks a provider, and one of a tenant without a policy."""

    async def calls_of(calls: Calls) -> None:
        await calls.plane.serve(
            "v1", providers=TWO, provider_settings=SETTINGS, policies={"recording_policy": {"level": "L1"}}
        )
        await calls.plane.govern(TENANT, "v1", nodes=[REDACT], providers=PICKS)
        for session, tenant in (("bound", TENANT), ("free", "other")):
            caller = await calls.call(session, tenant)
            await turn(caller)
            await turn(caller)

    return played(calls_of)


def executed(recording: Recording) -> set[tuple[str, str]]:
    """Who was called for what, by the kernel's own trace."""
    return {(one.name, str(one.facts["provider"])) for one in recording.items if one.what == "invoke"}


def test_the_plan_of_each_turn_and_who_was_called_stand_beside_each_other() -> None:
    bound, free = (assemble([unframe(governed()[name])]) for name in ("bound", "free"))
    shown = of_recording(bound)
    assert [one["providers"]["llm"][0] for one in shown["turns"]] == ["second-llm"] * 2
    assert {(one["modality"], one["provider"]) for one in shown["called"]} == executed(bound)
    assert ("llm", "second-llm") in executed(bound)
    assert ("llm", "scripted-llm") not in executed(bound)
    assert [one["turn"] for one in shown["turns"]] == list(bound.plans)
    assert [one["plan_hash"] for one in shown["turns"]] == [one.plan_hash for one in bound.evidence.values()]
    assert [one["called"][0]["provider"] for one in shown["turns"]] == ["second-llm"] * 2
    other = of_recording(free)
    assert [one for one in other["nodes"] if one["inserted"]] == []
    assert ("llm", "scripted-llm") in executed(free)


@pytest.mark.slow
@pytest.mark.proves("F-081")
def test_the_view_of_a_session_is_what_executed_live_and_recorded_and_foreign_ones_are_denied(
    readers: Readers, tmp_path: Path
) -> None:
    recordings = governed()
    bound = assemble([unframe(recordings["bound"])])

    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            spool = Spool(it.data)
            spool.start()
            live = opened(spool, "bound", TENANT)
            for one in frames(recordings["bound"])[:-1]:  # all but its end: it goes on
                assert live.append(one)
            await spool.drained()
            it.rows["sessions"] = [row("bound")]
            running = await it.recorded.session(OPERATOR, TENANT, "bound")
            live.close()
            await spool.close()
            it.rows.clear()
            await shelve(it.data, {("other", "free"): recordings["free"]})
            over = await it.recorded.session(OPERATOR, TENANT, "bound")
            assert running is not None
            assert over is not None
            assert running.item.state == "running"
            for seen in (running, over):
                shown = seen.resolved
                assert shown is not None
                assert [one["id"] for one in shown["nodes"]] == [node.id for node in bound.head.graph.nodes]
                (inserted,) = [one for one in shown["nodes"] if one["inserted"]]
                assert inserted["id"] == INSERTED
                assert inserted["inserted_by"] == f"policy/{TENANT}@v1"
                assert {"from": "llm", "to": INSERTED} in [
                    {name: edge[name] for name in ("from", "to")} for edge in shown["edges"]
                ]
                assert [one["providers"]["llm"][0] for one in shown["turns"]] == ["second-llm"] * 2
                called = {(one["modality"], one["provider"]) for one in shown["called"]}
                assert called == executed(bound)
                assert shown["fingerprint"] == bound.head.graph.fingerprint

            tenants_own = Principal(id="rick", roles={"other": (Role.ADMIN,)})
            free = await it.recorded.session(tenants_own, "other", "free")
            assert free is not None
            assert free.resolved is not None
            assert not any(one["inserted"] for one in free.resolved["nodes"])
            for who, tenant, session in (
                (RIVAL, TENANT, "bound"),
                (NOBODY, TENANT, "bound"),
                (OPERATOR, "other", "free"),
                (OPERATOR, TENANT, "free"),
                (OPERATOR, TENANT, "unknown"),
                (ADMIN, TENANT, "unknown"),
            ):
                assert await it.recorded.session(who, tenant, session) is None, (who.id, tenant, session)
            assert ("recorded.session", "*") in await it.world.denials("rick")
            assert RecordingLevel.L1.value == over.recorded_level

    readers.play(main())
