"""A host opens sessions, carries their calls, keeps them apart, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from rspp.contract.event import Audio, Text
from rspp.contract.words import CancelScope, ConnectionState
from rspp.host.host import HostSettings
from rspp.host.ports import ProviderInfo, Refused
from rspp.host.recorder import MemoryRecorder
from rspp.host.registry import ProviderKind
from rspp.host.watchdog import Watchdog
from rspp.kernel import inputs as i
from rspp.testing.store import MemoryStore
from tests.unit.host.stage import LOUD, Stage, bootstrap_of, graph_of, on_stage, registry_of

BAD_NODE = """
pipeline: recursing
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  end_of_turn: {type: end_of_turn, version: v1}
  stt: {type: stt, version: v1}
  bad: {type: text_filter, version: v1}
  llm: {type: llm, version: v1}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: [vad.audio, end_of_turn.audio, stt.audio]}
  - {from: stt.final, to: llm.text}
  - {from: llm.text, to: bad.text}
  - {from: bad.text, to: tts.text}
  - {from: tts.audio, to: speaker.audio}
turn_input: stt.final
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
"""

SLOW = """
provider_settings:
  scripted-tts: {use: scripted-tts, ms_per_character: 200}
"""


def test_a_caller_speaks_is_answered_and_the_turn_commits() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        assert caller.audio()
        assert caller.texts()
        assert await stage.host.close_session(caller.seat.session_id) == "closed"  # type: ignore[union-attr]
        assert caller.closed == "drained"

    on_stage(scene)


def test_callers_see_their_words_as_they_are_recognised_and_whole_at_the_end() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        mine = [
            event.payload
            for _, event in caller.events
            if isinstance(event.payload, Text) and event.payload.role == "user"
        ]
        assert [text.final for text in mine] == [False] * (len(mine) - 1) + [True]
        assert mine[-1].text == "Hello there."

    on_stage(scene)


def test_two_callers_are_answered_side_by_side() -> None:
    async def scene(stage: Stage) -> None:
        callers = [stage.call(), stage.call("t2")]
        await asyncio.gather(*(caller.speak() for caller in callers))
        await asyncio.gather(*(caller.until("commit") for caller in callers))
        assert all(caller.audio() for caller in callers)

    on_stage(scene)


def test_a_cancel_from_above_silences_the_reply() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until_answered()
        assert caller.seat is not None
        assert stage.host.cancel(caller.seat.session_id, CancelScope.TURN)
        await asyncio.sleep(0)
        sent = len(caller.audio())
        await caller.frames(1_000)
        assert len(caller.audio()) == sent
        assert ("stop", caller.told[-1][1]) in caller.told

    on_stage(scene, graph_of(SLOW))


def test_a_session_beyond_the_limit_is_refused_with_when_to_try_again_and_the_next_is_admitted_when_one_ends() -> (
    None
):
    async def scene(stage: Stage) -> None:
        callers = [stage.call() for _ in range(5)]
        for _ in range(3):
            with pytest.raises(Refused) as refused:
                stage.call()
            assert refused.value.code == "sessions_full"
            assert refused.value.retry_after_ms == 2_000
        assert stage.host.refused == 3
        await asyncio.gather(*(caller.speak() for caller in callers))
        await asyncio.gather(*(caller.until("commit") for caller in callers))
        assert callers[0].seat is not None
        await stage.host.close_session(callers[0].seat.session_id)
        stage.call()

    on_stage(scene, settings=HostSettings(sessions_max=5))


def test_one_tenants_sessions_do_not_use_up_anothers() -> None:
    async def scene(stage: Stage) -> None:
        stage.call("a")
        with pytest.raises(Refused, match="tenant_sessions_full"):
            stage.call("a")
        stage.call("b")

    on_stage(scene, settings=HostSettings(tenant_sessions_max=1))


def test_an_unknown_version_is_refused_and_leaves_no_session() -> None:
    async def scene(stage: Stage) -> None:
        with pytest.raises(Refused, match="pipeline_unknown"):
            stage.call(pipeline_version="v9")
        assert stage.host.sessions == {}

    on_stage(scene)


def test_a_running_session_keeps_its_version_when_another_is_published() -> None:
    async def scene(stage: Stage) -> None:
        first = stage.call()
        stage.host.publish(graph_of(base=SPEC_V2))
        second = stage.call()
        assert first.seat is not None
        assert second.seat is not None
        assert (first.seat.graph.version, second.seat.graph.version) == ("v1", "v2")
        third = stage.call(pipeline_version="v1")
        assert third.seat is not None
        assert third.seat.graph.version == "v1"

    on_stage(scene)


SPEC_V2 = """
pipeline: stage
version: v2
template: voice
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
"""


def test_a_draining_host_takes_nobody_and_lets_a_running_turn_end() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until_answered()
        draining = asyncio.ensure_future(stage.host.drain(10_000))
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="runtime_draining"):
            stage.call()
        assert await draining == 0
        assert caller.signals("commit")

    on_stage(scene)


def test_a_session_that_outlasts_the_drain_is_cut_short_and_its_turn_aborts_with_its_evidence() -> None:
    recorder = MemoryRecorder()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until_answered()
        assert caller.seat is not None
        assert await stage.host.drain(100) == 1
        assert [signal.reason for signal in caller.signals("abort")] == ["policy_terminated"]
        assert caller.seat.end_reason == "drain_deadline"
        assert caller.closed is not None
        kept = recorder.turns
        assert len(kept) == len(recorder.stamps) == 1

    on_stage(scene, graph_of(SLOW), recorders=lambda _: recorder)


def test_a_line_that_raises_is_a_line_that_is_cut_and_nobody_else_notices() -> None:
    async def scene(stage: Stage) -> None:
        broken, sound = stage.call(), stage.call()
        broken.raises = True
        await asyncio.gather(broken.speak(), sound.speak())
        await sound.until("commit")
        assert broken.closed == "runtime_internal_error"
        assert stage.host.blamed == {"line:RuntimeError": 1}

    on_stage(scene)


class Raising:
    """A node that raises once it has run often enough."""

    def __init__(self, config: object) -> None: ...

    def on_event(self, ctx: object, port: str, event: object) -> None:
        def deeper() -> None:
            deeper()

        deeper()


@pytest.mark.usefixtures("uncollected")
def test_a_node_that_recurses_for_ever_fails_its_own_turn_and_no_other_session() -> None:
    async def scene(stage: Stage) -> None:
        bad, good = stage.call(pipeline_version="graph/recursing@v1"), stage.call()
        await asyncio.gather(bad.speak(), good.speak())
        await asyncio.gather(bad.until("abort"), good.until("commit"))
        assert bad.signals("node_failed")[0].reason == "RecursionError"

    registry = registry_of()
    nodes = {**registry.nodes, "text_filter": Raising}

    on_stage(
        scene, graph_of(base=BAD_NODE), graph_of(), registry=msgspec.structs.replace(registry, nodes=nodes)
    )


class Hanging:
    """A provider that swallows every cancellation."""

    info = ProviderInfo(name="hanging-llm", modality="llm", version="v1")

    def __init__(self) -> None:
        self.swallowed = 0
        self.over = asyncio.Event()

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    async def run(self, call: object) -> None:
        while not self.over.is_set():
            try:
                await self.over.wait()
            except asyncio.CancelledError:
                self.swallowed += 1


def test_a_provider_that_ignores_its_cancel_is_let_go_of_after_the_grace_and_the_session_goes_on() -> None:
    hanging = Hanging()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("turn_open")
        await caller.frames(100)
        caller.control("cancel", scope=CancelScope.TURN)
        await caller.until("close")
        await caller.frames(200)
        assert hanging.swallowed >= 1
        assert caller.seat is not None
        assert not caller.seat.ended
        hanging.over.set()
        await asyncio.sleep(0.1)

    spec = graph_of(base=SPEC_V2.replace("scripted-llm", "hanging-llm"))
    on_stage(scene, spec, registry=registry_of(hanging_llm=ProviderKind("llm", lambda n, s: hanging)))


def test_what_raises_inside_a_provider_is_the_outcome_of_that_call() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("provider_error")
        error = caller.signals("provider_error")[0]
        assert error.detail is not None
        assert error.detail["cause"] == "adapter_invoke_error"
        await caller.until("abort")

    more = """
provider_settings:
  scripted-llm: {use: scripted-llm, faults: {raises: begin}}
"""
    on_stage(scene, graph_of(more))


def test_a_provider_that_cannot_open_is_reported_and_its_calls_fail_with_the_reason() -> None:
    async def scene(stage: Stage) -> None:
        ready = {one.name: one for one in stage.host.providers.readiness()}
        assert not ready["scripted-llm"].ready
        assert ready["scripted-llm"].failure
        caller = stage.call()
        await caller.speak()
        await caller.until("provider_error")
        assert "provider_not_ready" in str(caller.signals("provider_error")[0])

    more = """
provider_settings:
  scripted-llm: {use: scripted-llm, faults: {open_fails: true}}
"""
    on_stage(scene, graph_of(more))


class Full(MemoryRecorder):
    def evidence(self, record_id: str, evidence: object) -> str | None:
        return "disk_full"


def test_a_turn_whose_evidence_cannot_be_kept_does_not_commit() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("abort")
        assert caller.signals("abort")[0].reason == "recording_evidence_unavailable"
        assert not caller.signals("commit")

    on_stage(scene, recorders=lambda _: Full())


def test_a_full_inbox_refuses_and_counts_and_the_session_lives() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await asyncio.sleep(0)
        taken = [
            caller.give(i.AudioReceived(Audio(LOUD, 320, n * 320), n)) for n in range(2_000)
        ]  # no breath between them
        assert caller.seat is not None
        assert taken.count(False) == caller.seat.lost > 0
        await caller.frames(200)
        assert not caller.seat.ended

    on_stage(scene)


def test_a_caller_who_comes_back_on_another_line_goes_on_where_he_was() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until_answered()
        caller.give(i.ConnectionChanged(ConnectionState.DISCONNECTED))
        await asyncio.sleep(0.5)
        other = type(caller)(stage.clock)
        seat = stage.host.find(caller.seat.session_id)  # type: ignore[union-attr]
        assert seat is not None
        seat.attach(other)
        other.take(seat)
        await other.until("commit")
        assert caller.closed == "taken_over"

    on_stage(scene)


def test_what_a_session_saves_reaches_the_store() -> None:
    store = MemoryStore()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        await caller.frames(200)
        assert caller.seat is not None
        assert f"t1/{caller.seat.session_id}/conversation" in await store.keys("state")

    on_stage(scene, store=store)


def test_a_session_of_a_name_that_runs_is_refused() -> None:
    async def scene(stage: Stage) -> None:
        stage.call(session_id="mine")
        with pytest.raises(Refused, match="session_exists"):
            stage.host.open(bootstrap_of(session_id="mine"), stage.call())

    on_stage(scene)


def test_that_another_tenant_has_a_session_of_this_name_is_not_told() -> None:
    async def scene(stage: Stage) -> None:
        stage.call(session_id="mine")
        with pytest.raises(Refused) as error:
            stage.host.open(bootstrap_of(session_id="mine", tenant_id="another"), stage.call())
        full = f"all {stage.host.settings.sessions_max} sessions are taken"
        assert (error.value.code, error.value.message) == ("sessions_full", full)
        assert error.value.retry_after_ms == stage.host.settings.retry_after_ms

    on_stage(scene)


def test_a_hundred_sessions_leave_no_task_no_timer_and_no_session() -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(10):
            callers = [stage.call() for _ in range(10)]
            await asyncio.gather(*(caller.speak(200) for caller in callers))
            for caller in callers:
                caller.give(i.ConnectionChanged(ConnectionState.ENDED))
            await asyncio.sleep(5)
        assert stage.host.sessions == {}
        assert len(stage.host.timer) == 0
        assert len(asyncio.all_tasks()) == 2  # this one, and the host's own

    on_stage(scene)


class Blocking:
    """A node that never comes back."""

    def __init__(self, config: object) -> None: ...

    def on_event(self, ctx: object, port: str, event: object) -> None:
        while True:
            pass


@pytest.mark.usefixtures("uncollected")
def test_a_node_that_blocks_the_loop_is_blamed_by_name_and_broken_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the processor time that it takes: on a busy machine the loop stands for want of any, which is nobody's fault."""
    defaults = Watchdog.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "now", time.process_time_ns)

    async def scene(stage: Stage) -> None:
        bad, good = stage.call(pipeline_version="graph/recursing@v1"), stage.call()
        await asyncio.gather(bad.speak(), good.speak())
        await asyncio.gather(bad.until("abort"), good.until("commit"))
        assert bad.signals("node_failed")[0].reason == "NodeBlocked"
        # It has two events to block with; whether the loop breathes between them is the machine's affair.
        blames = stage.host.watchdog.blames
        assert {(blame.node_id, blame.session_id) for blame in blames} == {
            ("bad", bad.seat.session_id)  # type: ignore[union-attr]
        }
        assert all(blame.blocked_ms >= 200 for blame in blames)
        assert stage.host.blamed == {"blocked:bad": len(blames)}
        assert len(blames) in (1, 2)

    registry = registry_of()
    nodes = {**registry.nodes, "text_filter": Blocking}
    on_stage(
        scene,
        graph_of(base=BAD_NODE),
        graph_of(),
        registry=msgspec.structs.replace(registry, nodes=nodes),
        settings=HostSettings(blocked_ms=50, break_ms=200),
    )


class Slow:
    """A node that takes its time, in the host's clock."""

    def __init__(self, config: object) -> None: ...

    def on_event(self, ctx: object, port: str, event: object) -> None:
        time.sleep(0.03)


def test_a_step_over_its_nodes_budget_is_measured_and_judged() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("budget_exhausted")
        exhausted = caller.signals("budget_exhausted")[0]
        assert exhausted.detail is not None
        assert exhausted.detail["limit_ms"] == 10

    registry = registry_of()
    nodes = {**registry.nodes, "text_filter": Slow}
    spec = BAD_NODE.replace("{type: text_filter, version: v1}", SLOW_NODE)
    on_stage(scene, graph_of(base=spec), registry=msgspec.structs.replace(registry, nodes=nodes))


SLOW_NODE = "{type: text_filter, version: v1, budget: {per_event_ms: 10}}"
