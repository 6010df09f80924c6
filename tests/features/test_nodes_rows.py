"""Rows of nodes that need a whole host: listeners that a policy swaps, and hooks that run once or are broken off."""

from __future__ import annotations

import asyncio
import time
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from rspp.contract.errors import MisuseError
from rspp.contract.event import Event
from rspp.host.host import Host, HostSettings
from rspp.host.ports import Refused
from rspp.kernel.hosting import Context
from rspp.media.wav import read_wav, write_wav
from rspp.spec import Layer, compile_text
from rspp.spec.graph import GraphDefinition
from tests.features.play import PROBED, Watched, at_ms, play, sound_of, with_node
from tests.unit.host.stage import LOUD, QUIET, SPEC, Stage, graph_of, on_stage, registry_of

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

# ---- F-017: who hears the caller is a policy -------------------------------------------------------------------------

SOFT = b"\x00\x10" * 320  # a voice, half as loud
LISTENERS = {"vad", "end_of_turn"}


def with_policy(**providers: str) -> GraphDefinition:
    """The pipeline under a tenant's policy that names other listeners."""
    settings = {
        "choosy-vad": {"use": "scripted-vad", "level": 24},
        "patient": {"use": "scripted-end-of-turn", "pause_ms": 600},
    }
    named = {name: settings[name] for name in providers.values() if name in settings}
    policy = {"providers": {key: [name] for key, name in providers.items()}, "provider_settings": named}
    return compile_text(SPEC, layers=[Layer.of("tenant", policy)] if providers else [])


def hashes_downstream(graph: GraphDefinition) -> dict[str, str]:
    return {
        node.id: sha256(msgspec.json.encode(node)).hexdigest()
        for node in graph.nodes
        if node.type not in LISTENERS
    }


def boundaries(graph: GraphDefinition, wav: Path) -> tuple[list[str], list[int], list[int]]:
    """Who listened, and when turns began and were over, when this is played."""
    watched = Watched()
    starts: list[int] = []
    stops: list[int] = []

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await play(caller, read_wav(wav))
        assert caller.audio()
        starts.extend(at_ms(caller, "speech_started"))
        stops.extend(at_ms(caller, "speech_stopped"))

    on_stage(scene, graph, registry=watched.registry(registry_of()))
    who = sorted(request.provider for request in watched.begun if request.node_id in LISTENERS)
    return who, starts, stops


@pytest.mark.proves("F-017")
def test_another_listener_by_policy_alone_moves_the_boundaries_and_nothing_else(tmp_path: Path) -> None:
    wav = tmp_path / "rising.wav"
    write_wav(wav, sound_of((200, QUIET), (600, SOFT), (600, LOUD), (200, SOFT), (3_000, QUIET)))
    plain = with_policy()
    who, starts, stops = boundaries(plain, wav)
    assert who == ["scripted-end-of-turn", "scripted-vad"]

    choosy = with_policy(vad="choosy-vad")
    choosy_who, choosy_starts, choosy_stops = boundaries(choosy, wav)
    assert choosy_who == ["choosy-vad", "scripted-end-of-turn"]
    # It hears the voice only from where it is loud, and only as long as that.
    assert [later - sooner for sooner, later in zip(starts, choosy_starts, strict=True)] == [600]
    assert choosy_stops != stops

    patient = with_policy(end_of_turn="patient")
    patient_who, patient_starts, patient_stops = boundaries(patient, wav)
    assert patient_who == ["patient", "scripted-vad"]
    assert patient_starts == starts
    assert patient_stops[0] >= stops[0] + 200

    for other in (choosy, patient):
        assert hashes_downstream(other) == hashes_downstream(plain)
        assert other.edges == plain.edges


@pytest.mark.proves("F-017")
@pytest.mark.parametrize("listener", sorted(LISTENERS))
def test_a_policy_that_names_an_unknown_listener_is_refused(listener: str) -> None:
    async def scene(stage: Stage) -> None:
        with pytest.raises(MisuseError) as refused:
            stage.host.publish(with_policy(**{listener: "nobody"}))
        assert refused.value.code == "provider_unknown"
        assert refused.value.path == "providers.nobody"
        caller = stage.call()  # those who call are served as before
        await caller.speak()
        await caller.until("commit")

    on_stage(scene)


# ---- F-012: hooks ----------------------------------------------------------------------------------------------------


class Hooked:
    """A node that writes down which hook of which instance ran, and hangs in the one that it is told to hang in."""

    def __init__(self, log: list[tuple[int, str]], hangs: str | None) -> None:
        self.log, self.hangs = log, hangs
        self.number = sum(hook == "init" for _, hook in log)
        self._run("init")

    def on_start(self, ctx: Context) -> None:
        self._run("start")

    def on_stop(self, ctx: Context) -> None:
        self._run("stop")

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        ctx.emit("text", event.payload)

    def _run(self, hook: str) -> None:
        self.log.append((self.number, hook))
        until = time.monotonic() + 2 * LIMIT_MS / 1000  # for ever, but for a test
        while hook == self.hangs and time.monotonic() < until:
            pass


@pytest.mark.proves("F-012")
def test_a_hundred_sessions_run_each_hook_once_for_each_instance() -> None:
    log: list[tuple[int, str]] = []

    async def scene(stage: Stage) -> None:
        for _ in range(100):
            caller = stage.call()
            await caller.frames(40)
            assert caller.seat is not None
            assert await stage.host.close_session(caller.seat.session_id) == "closed"

    on_stage(scene, graph_of(base=PROBED), registry=with_node(lambda config: Hooked(log, None)))
    assert log == [(number, hook) for number in range(100) for hook in ("init", "start", "stop")]


BREAK_MS = 150
LIMIT_MS = 3_000  # on a machine that is busy with other things
QUICK = HostSettings(blocked_ms=50, break_ms=BREAK_MS)


@pytest.mark.proves("F-012")
@pytest.mark.parametrize("hook", ["init", "start", "stop"])
def test_a_hook_that_hangs_is_broken_off_and_its_session_ends_and_leaves_nothing(hook: str) -> None:
    log: list[tuple[int, str]] = []
    hung: list[str | None] = [hook]

    async def scene(stage: Stage) -> None:
        host = stage.host
        healthy = stage.call(pipeline_version="v1")
        began = time.monotonic()
        if hook == "init":
            with pytest.raises(Refused) as refused:
                stage.call(pipeline_version="v2")
            assert refused.value.code == "session_not_made"
            assert "NodeBlocked" in str(refused.value)
        else:
            caller = stage.call(pipeline_version="v2")
            await caller.frames(200)
            assert caller.seat is not None
            if hook == "start":
                assert [signal.reason for signal in caller.signals("node_failed")] == ["NodeBlocked"]
                assert caller.seat.end_reason == "node_start_failed"
            else:
                assert await host.close_session(caller.seat.session_id) == "closed"
            assert caller.seat.ended
            assert caller.closed is not None
            assert caller.seat.open_calls == len(caller.seat.tasks) == 0
        took_ms = (time.monotonic() - began) * 1000
        assert BREAK_MS <= took_ms < LIMIT_MS
        # Who it was is told by name, and the others are served: the node itself too, once it does not hang.
        await told(host)
        assert host.watchdog.blames[0].node_id == "probe"
        assert list(host.sessions.values()) == [healthy.seat]
        hung.clear()
        hung.append(None)
        again = stage.call(pipeline_version="v2")
        await asyncio.gather(healthy.speak(), again.speak())
        await asyncio.gather(healthy.until("commit"), again.until("commit"))

    async def told(host: Host) -> None:
        """The watchdog speaks from a thread of its own, which virtual time does not wait for."""
        until = time.monotonic() + 5
        while not host.watchdog.blames:
            assert time.monotonic() < until
            await asyncio.to_thread(time.sleep, 0.01)

    hanging = graph_of(base=PROBED.replace("version: v1\nnodes", "version: v2\nnodes"))
    registry = with_node(lambda config: Hooked(log, hung[0]))
    on_stage(scene, graph_of(), hanging, registry=registry, settings=QUICK)
