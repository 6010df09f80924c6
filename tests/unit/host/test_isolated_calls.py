"""A whole call whose nodes run in processes of their own, on a real loop: answered, survived, and nothing left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from rspp.contract.event import Audio
from rspp.host.clock import MachineClock
from rspp.host.discovery import discover
from rspp.host.host import Host
from rspp.host.isolation import Isolation, isolation
from rspp.kernel import inputs as i
from rspp.nodes import factories
from rspp.spec import load
from rspp.testing.scripted import providers
from tests.unit.host.stage import LOUD, QUIET, Caller, VirtualClock, bootstrap_of, registry_of

SPEC = """
pipeline: stage
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  end_of_turn: {type: end_of_turn, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1}
  segmenter: {type: segmenter, version: v1, isolate: process}
  mine: {type: custom, implementation: 'mischief:Mine', version: v1, isolate: process}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: [vad.audio, end_of_turn.audio, stt.audio]}
  - {from: stt.final, to: llm.text}
  - {from: llm.text, to: segmenter.text}
  - {from: segmenter.text, to: mine.text}
  - {from: mine.text, to: [tts.text, speaker.text]}
  - {from: tts.audio, to: speaker.audio}
providers:
  vad: [scripted-vad]
  end_of_turn: [scripted-end-of-turn]
  stt: [scripted-stt]
  llm: [scripted-llm]
  tts: [scripted-tts]
"""
NODE = """
import os, sys
import rspp

class Mine(rspp.Node):
    declaration = rspp.NodeDeclaration(name="mine", version="v1",
        inputs={"text": (rspp.EventKind.TEXT,)}, outputs={"text": (rspp.EventKind.TEXT,)})
    def on_event(self, ctx, port, event):
        if os.path.exists(sys.path[0] + "/hang"):
            while True: pass
        if os.path.exists(sys.path[0] + "/die"):
            os._exit(1)
        ctx.emit("text", event.payload)
"""


def on_a_real_loop(folder: Path, scene: Callable[[Host, Callable[[], Caller]], Awaitable[None]]) -> None:
    (folder / "mischief.py").write_text(NODE)
    found = discover(SPEC, search_path=[folder])
    graph = load(SPEC, catalog=found.catalog).graph
    assert graph is not None, found.problems

    async def main() -> None:
        registry = found.registry(registry_of())
        processes = isolation({**factories(), **found.nodes}, [folder])
        registry = msgspec.structs.replace(registry, providers={**providers(), **processes})
        clock = MachineClock()
        host = Host(registry, clock=clock)
        host.publish(graph)
        await host.start()

        def call() -> Caller:
            caller = Caller(VirtualClock())
            caller.take(host.open(bootstrap_of(), caller))
            return caller

        await scene(host, call)
        assert await host.stop() == []
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


async def ended(caller: Caller, *names: str) -> str:
    """Speak once, and stay on the line until one of these signals comes."""
    heard = len(caller.names())
    deadline = time.monotonic() + 15
    loudly = 30
    while time.monotonic() < deadline:
        for name in caller.names()[heard:]:
            if name in names:
                return name
        data = LOUD if loudly > 0 else QUIET
        loudly -= 1
        caller.give(i.AudioReceived(Audio(data, 320, caller._frames * 320), caller._frames))
        caller._frames += 1
        await asyncio.sleep(0.02)
    raise AssertionError(f"none of {names}; came: {caller.names()[heard:]}")


def processes_of(host: Host) -> int:
    found = next(s.provider for (name, _), s in host.providers._shared.items() if name == "isolated")
    assert isinstance(found, Isolation)
    return len(found.processes)


@pytest.mark.slow
@pytest.mark.long
def test_a_turn_through_isolated_nodes_commits_and_a_dying_or_hanging_one_ends_its_turn_alone(
    tmp_path: Path,
) -> None:
    async def scene(host: Host, call: Callable[[], Caller]) -> None:
        caller, neighbour = call(), call()
        assert await ended(caller, "commit", "abort") == "commit"
        assert caller.audio()
        for mischief in ("die", "hang"):
            (tmp_path / mischief).touch()
            assert await ended(caller, "commit", "abort") == "abort"
            (tmp_path / mischief).unlink()
        assert await ended(caller, "commit", "abort") == "commit"
        assert await ended(neighbour, "commit", "abort") == "commit"
        for one in (caller, neighbour):
            assert one.seat is not None
            await host.close_session(one.seat.session_id, "bye", drain=False)
        deadline = time.monotonic() + 5
        while processes_of(host) > 1:
            assert time.monotonic() < deadline, "a closed session leaves its processes"
            await asyncio.sleep(0.01)

    on_a_real_loop(tmp_path, scene)
