"""Calls under the control plane's view: what it decides is what a running host does, and nothing that runs is disturbed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from rspp.contract.errors import MisuseError, PeerFault
from rspp.contract.evidence import TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan
from rspp.control.config import rollout as r
from rspp.control.config.inserted import ACTION, InsertionAudit
from rspp.control.config.policy import POLICY
from rspp.control.config.view import View
from rspp.control.security.audit import Audit
from rspp.host.ports import Grant
from rspp.host.recorder import MemoryRecorder
from rspp.kernel.effects import Effect, Record
from rspp.kernel.snapshot import Snapshot
from rspp.spec.graph import GraphDefinition
from rspp.timeline.audit import heads, records
from tests.unit.control.published import Plane
from tests.unit.host.stage import Caller, Stage, on_stage

PROVIDERS = {
    name: [f"scripted-{name.replace('_', '-')}"] for name in ("vad", "end_of_turn", "stt", "llm", "tts")
}
SAYS = {"scripted-llm": {"answers": ["Your card is 4111 1111 1111 1111, thanks."] * 9}}
REDACT = {"id": "redact", "at": "after llm", "type": "text_filter", "config": {"personal": ["card"]}}


class Plans(MemoryRecorder):
    """The evidence of a session, and every plan that its kernel resolved."""

    __slots__ = ("plans",)

    def __init__(self) -> None:
        super().__init__()
        self.plans: list[ResolvedTurnPlan] = []

    def did(self, at: int, effects: Sequence[Effect]) -> None:
        del at
        entries = [one.entry for one in effects if isinstance(one, Record)]
        self.plans += [entry for entry in entries if isinstance(entry, ResolvedTurnPlan)]


class Calls:
    """A control plane, its view, and a host that asks nobody else."""

    def __init__(self, stage: Stage) -> None:
        self.plane = Plane()
        self.view = View(self.plane.store, stage.clock, points=tuple)
        self.stage = stage
        self._epoch = 0

    async def serve(self, version: str = "v1", says: dict[str, Any] = SAYS) -> None:
        await self.plane.serve(version, providers=PROVIDERS, provider_settings=says)

    async def call(self, session: str, tenant: str = "acme") -> Caller:
        """A call as a worker opens one: the graph and the snapshot come from the view."""
        await self.view.sync()
        graph = self.view.graph(self.view.choose(tenant, session))
        if not self.stage.host.has(graph.ref):
            self.stage.host.publish(graph)
            await self.stage.host.providers.open()
        caller = Caller(self.stage.clock)
        self._epoch += 1
        now = self.stage.clock.now()
        grant = Grant(
            session_id=session,
            tenant_id=tenant,
            graph_ref=graph.ref,
            epoch=self._epoch,
            lease_token="held",
            expires_at=now + 3_600_000_000_000,
            snapshot=self.view.snapshot(now, tenant, graph),
        )
        caller.take(self.stage.host.take(grant, caller, playback_reports=False))
        return caller

    def renew(self, caller: Caller) -> None:
        """The host hands every session the view as it is now."""
        assert caller.seat is not None
        self.stage.host.snapshot_wanted(caller.seat, "test")


async def turn(caller: Caller) -> None:
    """One utterance and its whole answer."""
    before = len(caller.signals("commit"))
    await caller.speak()
    for _ in range(1_000):
        if len(caller.signals("commit")) > before:
            return
        await caller.frames(20)
    raise AssertionError(f"the turn did not commit; came {caller.names()}")


def play(scene: Callable[[Calls], Coroutine[Any, Any, None]]) -> dict[str, Plans]:
    """Play it; what each session's evidence was."""
    memories: dict[str, Plans] = {}
    views: list[View] = []

    def recorder(session_id: str) -> Plans:
        memories[session_id] = Plans()
        return memories[session_id]

    def snapshot(now: int, tenant_id: str, graph: GraphDefinition) -> Snapshot | None:
        return views[0].snapshot(now, tenant_id, graph)

    async def staged(stage: Stage) -> None:
        calls = Calls(stage)
        views.append(calls.view)
        await scene(calls)

    on_stage(staged, recorders=recorder, snapshots=snapshot)
    return memories


def policies_of(memory: MemoryRecorder) -> list[str]:
    return [policy_of(one) for one in memory.turns]


def policy_of(evidence: TurnEvidence) -> str:
    assert evidence.snapshot_provenance is not None
    return evidence.snapshot_provenance.policy_resolution_snapshot


@pytest.mark.proves("F-062")
def test_a_policys_node_stands_in_the_calls_of_its_tenant_and_is_on_record() -> None:
    async def scene(calls: Calls) -> None:
        audit = InsertionAudit(Audit(calls.plane.store, "w1", calls.stage.clock), "worker-1")
        calls.view.on_inserted(audit)
        await calls.serve()
        await calls.plane.govern("acme", "v1", nodes=[REDACT])
        with pytest.raises(MisuseError) as caught:
            await calls.plane.govern("other", "v1", nodes=[{**REDACT, "at": "after vad"}])
        assert caught.value.code == "policy_invalid"
        bound, free = await calls.call("s1"), await calls.call("s2", "other")
        again = await calls.call("s3")
        for caller in (bound, free, again):
            await turn(caller)
        assert bound.seat is not None
        assert free.seat is not None
        assert "policy/tenant-redact/llm" in {node.id for node in bound.seat.graph.nodes}
        assert not [node.id for node in free.seat.graph.nodes if node.id.startswith("policy/")]
        assert "4111" not in "".join(bound.texts() + again.texts())
        assert "thanks" in "".join(bound.texts())
        assert "4111" in "".join(free.texts())
        await audit.flushed()
        (writer,) = await heads(calls.plane.store)
        (record,) = await records(calls.plane.store, writer)
        assert (record.action, record.tenant_id, record.reason) == (ACTION, "acme", "policy/acme@v1")
        assert record.facts["policy/tenant-redact/llm"] == "policy/acme@v1"
        assert record.facts["graph"] == "graph/voice@v1+policy/acme@v1"

    play(scene)


@pytest.mark.proves("F-102")
def test_the_policy_version_of_each_turn_is_in_its_evidence_and_changes_between_turns() -> None:
    async def scene(calls: Calls) -> None:
        await calls.serve()
        await calls.plane.govern("acme", "v1", facts={"a": 1})
        first = await calls.call("s1")
        await turn(first)
        await calls.plane.govern("acme", "v2", facts={"a": 2})
        second = await calls.call("s2")
        calls.renew(first)
        await turn(first)
        await turn(second)
        with pytest.raises(PeerFault) as caught:
            await calls.plane.kinds[POLICY].put_in_force("acme", "v9", author="ada")
        assert caught.value.code == "document_missing"
        await calls.plane.kinds[POLICY].roll_back("acme", author="bob")
        await calls.view.sync()
        calls.renew(first)
        await turn(first)
        assert [one.version for one in await calls.plane.registry.versions("voice")] == ["v1"]

    memories = play(scene)
    assert policies_of(memories["s1"]) == ["policy/acme@v1", "policy/acme@v2", "policy/acme@v1"]
    assert policies_of(memories["s2"]) == ["policy/acme@v2"]
    assert {one.pipeline_version for memory in memories.values() for one in memory.turns} == {"v1"}


def test_rolled_back_the_next_session_is_on_the_former_version_and_the_running_one_is_not_disturbed() -> None:
    async def scene(calls: Calls) -> None:
        await calls.serve("v1")
        await calls.serve("v2")
        await calls.plane.rollouts.change(
            "voice", "canary", lambda now: r.canary(now, "v2", 100), author="ada"
        )
        await calls.plane.rollouts.change("voice", "promote", r.promote, author="ada")
        running = await calls.call("s1")
        await running.speak()
        await running.until_answered()  # in the middle of its answer
        await calls.plane.rollouts.change("voice", "roll_back", r.roll_back, author="ada", reason="worse")
        following = await calls.call("s2")
        calls.renew(running)
        await running.until("commit")
        await turn(running)
        await turn(following)
        assert running.signals("abort") == []

    memories = play(scene)
    assert [one.pipeline_version for one in memories["s1"].turns] == ["v2", "v2"]
    assert [one.pipeline_version for one in memories["s2"].turns] == ["v1"]


@pytest.mark.proves("NF-010")
def test_a_break_needs_a_new_major_version_and_sessions_on_both_run_side_by_side() -> None:
    async def scene(calls: Calls) -> None:
        await calls.serve("v1.0")
        registry = calls.plane.registry
        silent = with_nodes("v1.1")
        with pytest.raises(MisuseError) as caught:
            await registry.publish(silent, "ada")
        assert caught.value.code == "version_bump_missing"
        await registry.publish(silent.replace("v1.1", "v2.0"), "ada")
        await calls.plane.rollouts.change(
            "voice", "canary", lambda now: r.canary(now, "v2.0", 0, ("early",)), author="ada"
        )
        old, new = await calls.call("s1"), await calls.call("s2", "early")
        await turn(old)
        await turn(new)
        await turn(old)
        assert old.texts()
        assert not new.texts()

    memories = play(scene)
    assert {one.pipeline_version for one in memories["s1"].turns} == {"v1.0"}
    assert {one.pipeline_version for one in memories["s2"].turns} == {"v2.0"}


def with_nodes(version: str) -> str:
    """The voice pipeline without captions."""
    return f"""
pipeline: voice
version: {version}
providers: {{vad: scripted-vad, end_of_turn: scripted-end-of-turn, stt: scripted-stt, llm: scripted-llm, tts: scripted-tts}}
nodes:
  caller: {{type: transport.in, version: v1}}
  vad: {{type: vad, version: v1}}
  end_of_turn: {{type: end_of_turn, version: v1}}
  stt: {{type: stt, version: v1}}
  llm: {{type: llm, version: v1}}
  segmenter: {{type: segmenter, version: v1}}
  tts: {{type: tts, version: v1}}
  speaker: {{type: transport.out, version: v1}}
edges:
  - {{from: caller.audio, to: [vad.audio, end_of_turn.audio, stt.audio]}}
  - {{from: stt.final, to: llm.text}}
  - {{from: llm.text, to: segmenter.text}}
  - {{from: segmenter.text, to: tts.text}}
  - {{from: tts.audio, to: speaker.audio}}
"""


def test_a_view_that_grew_stale_defers_the_next_turn_and_the_running_one_ends_as_it_began() -> None:
    async def scene(calls: Calls) -> None:
        await calls.serve()
        caller = await calls.call("s1")
        await caller.speak()
        await caller.until_answered()
        for _ in range(13):
            await caller.frames(1_000)
        calls.renew(caller)  # nobody has read the store for longer than the bound
        assert caller.signals("commit")
        await caller.speak()
        await caller.frames(3_000)
        assert len(caller.signals("commit")) == 1
        assert caller.signals("defer")
        await calls.view.sync()
        calls.renew(caller)
        await caller.frames(5_000)
        await turn(caller)

    play(scene)


@pytest.mark.proves("F-161")
def test_capabilities_are_frozen_in_the_plan_of_a_turn_and_change_with_the_next() -> None:
    """The third turn loses its model in mid-answer: it fails by its name, and its plan is what it was."""
    faults = {"fail_after_chunks": 2, "fail_outcome": "blocked", "fail_reason": "capability_withdrawn"}
    faults |= {"fail_retryable": False}

    async def scene(calls: Calls) -> None:
        await calls.serve()
        streaming = {"llm": ["streaming"], "codecs": ["opus", "pcm16"]}
        await calls.plane.govern("acme", "v1", capabilities=streaming)
        caller = await calls.call("s1")
        await caller.speak()
        await caller.until_answered()
        await calls.plane.govern("acme", "v2", capabilities={"llm": ["whole"], "codecs": ["pcm16"]})
        await calls.view.sync()
        calls.renew(caller)  # in the middle of the first turn
        await caller.until("commit")
        await turn(caller)

    plans = play(scene)["s1"].plans
    first, second = ({plan.turn_id: plan for plan in plans}).values()
    assert len(plans) == 2  # one a turn: nothing was resolved anew
    assert (first.capabilities["llm"], first.capabilities["codecs"]) == (("streaming",), ("opus", "pcm16"))
    assert (second.capabilities["llm"], second.capabilities["codecs"]) == (("whole",), ("pcm16",))
    assert first.snapshot_provenance.policy_resolution_snapshot == "policy/acme@v1"
    assert second.snapshot_provenance.policy_resolution_snapshot == "policy/acme@v2"
    assert first.plan_hash != second.plan_hash

    async def withdrawn(calls: Calls) -> None:
        await calls.serve(
            says={"scripted-llm": {**SAYS["scripted-llm"], "faults": {**faults, "fail_times": 1}}}
        )
        await calls.plane.govern("acme", "v1", capabilities={"llm": ["streaming"]})
        caller = await calls.call("s1")
        await caller.speak()
        await caller.until("abort")
        (abort,) = caller.signals("abort")
        assert abort.reason == "provider_failure"

    memory = play(withdrawn)["s1"]
    (plan,) = memory.plans
    (evidence,) = memory.turns
    assert plan.capabilities["llm"] == ("streaming",)
    assert evidence.plan_hash == plan.plan_hash
