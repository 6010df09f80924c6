"""A host with scripted providers in virtual time, and a caller on a line that remembers what came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from rspp.contract.event import Audio, Event, Signal, Text
from rspp.contract.words import ConnectionState
from rspp.host.host import Host, HostSettings
from rspp.host.ports import Bootstrap
from rspp.host.registry import ProviderKind, Registry
from rspp.host.session import LiveSession
from rspp.kernel import inputs as i
from rspp.nodes import factories
from rspp.spec import compile_text
from rspp.spec.graph import GraphDefinition
from rspp.testing.clock import WALL_START, run_virtual
from rspp.testing.judge import Judges
from rspp.testing.scripted import providers

LOUD = b"\x00\x20" * 320
QUIET = bytes(640)

SPEC = """
pipeline: stage
version: v1
template: voice
providers:
  vad: [scripted-vad]
  end_of_turn: [scripted-end-of-turn]
  stt: [scripted-stt]
  llm: [scripted-llm]
  tts: [scripted-tts]
"""


def graph_of(more: str = "", base: str = SPEC) -> GraphDefinition:
    return compile_text(base + more)


class VirtualClock:
    """The virtual loop's time, as the host's clock."""

    def now(self) -> int:
        return round(asyncio.get_running_loop().time() * 1_000_000_000)

    def wall(self) -> int:
        return WALL_START + self.now()


class Caller:
    """A line, and whoever holds the other end of it."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.seat: LiveSession | None = None
        self.events: list[tuple[int, Event]] = []
        self.told: list[tuple[str, str]] = []
        self.closed: str | None = None
        self.raises = False
        self._frames = self._controls = 0

    # ---- the line ------------------------------------------------------------------------------------------------

    def send(self, event: Event) -> None:
        if self.raises:
            raise RuntimeError("this line breaks its word")
        self.events.append((self.clock.now(), event))

    def announce(self, event: Event) -> None:
        self.events.append((self.clock.now(), event))

    def pause(self, turn_id: str) -> None:
        self.told.append(("pause", turn_id))

    def resume(self, turn_id: str) -> None:
        self.told.append(("resume", turn_id))

    def stop(self, turn_id: str, keep_ms: int) -> None:
        self.told.append(("stop", turn_id))

    def close(self, reason: str) -> None:
        self.closed = reason

    # ---- the caller ----------------------------------------------------------------------------------------------

    def take(self, seat: LiveSession) -> None:
        self.seat = seat
        seat.ingest(i.ConnectionChanged(ConnectionState.CONNECTED))

    def give(self, received: i.Input) -> bool:
        assert self.seat is not None
        return self.seat.ingest(received)

    async def frames(self, ms: int, data: bytes = QUIET) -> None:
        for _ in range(ms // 20):
            self.give(i.AudioReceived(Audio(data, 320, self._frames * 320), self._frames))
            self._frames += 1
            await asyncio.sleep(0.02)

    async def speak(self, ms: int = 600) -> None:
        await self.frames(ms, LOUD)

    def control(self, signal: str, **fields: Any) -> None:
        self.give(i.ControlReceived(signal, self._controls, **fields))
        self._controls += 1

    async def until(self, name: str, within_ms: int = 20_000) -> None:
        """Stay on the line, silent, until a signal comes."""
        for _ in range(within_ms // 20):
            if self.signals(name):
                return
            await self.frames(20)
        raise AssertionError(f"no {name} within {within_ms} ms; came: {self.names()}")

    async def until_answered(self) -> None:
        """Stay on the line until something of the reply is heard."""
        for _ in range(1_000):
            if self.audio():
                return
            await self.frames(20)
        raise AssertionError(f"no answer; came: {self.names()}")

    # ---- looking -------------------------------------------------------------------------------------------------

    def signals(self, name: str) -> list[Signal]:
        payloads = (event.payload for _, event in self.events)
        return [p for p in payloads if isinstance(p, Signal) and p.signal == name]

    def names(self) -> list[str]:
        return [e.payload.signal for _, e in self.events if isinstance(e.payload, Signal)]

    def audio(self) -> list[Audio]:
        return [e.payload for _, e in self.events if isinstance(e.payload, Audio) and not e.payload.end]

    def texts(self) -> list[str]:
        return [e.payload.text for _, e in self.events if isinstance(e.payload, Text)]


class Stage:
    """One host and its callers."""

    def __init__(self, host: Host, clock: VirtualClock) -> None:
        self.host = host
        self.clock = clock

    def call(self, tenant: str = "t1", **bootstrap: Any) -> Caller:
        caller = Caller(self.clock)
        caller.take(self.host.open(bootstrap_of(tenant, **bootstrap), caller))
        return caller


def bootstrap_of(tenant: str = "t1", **changes: Any) -> Bootstrap:
    fields: dict[str, Any] = {
        "schema_version": "v1.0",
        "transport_kind": "loopback",
        "tenant_id": tenant,
        "requested_at_ms": 0,
        "playback_reports": False,
        **changes,
    }
    return Bootstrap(**fields)


def registry_of(**more: ProviderKind) -> Registry:
    return Registry(
        providers={**providers(), **{name.replace("_", "-"): kind for name, kind in more.items()}},
        nodes=factories(),
    )


def on_stage(
    scene: Callable[[Stage], Coroutine[Any, Any, None]],
    *graphs: GraphDefinition,
    registry: Registry | None = None,
    settings: HostSettings | None = None,
    **ports: Any,
) -> Host:
    """Play a scene, and see that nothing is left running after it."""

    async def main() -> Host:
        clock = VirtualClock()
        judges = Judges()
        host = Host(
            registry or registry_of(), settings, clock=clock, **{"recorders": judges.recorder, **ports}
        )
        for graph in graphs or (graph_of(),):
            host.publish(graph)
        await host.start()
        await scene(Stage(host, clock))
        assert await host.stop() == []
        mine = asyncio.current_task()
        assert [task.get_name() for task in asyncio.all_tasks() if task is not mine] == []
        assert host.sessions == {}
        assert judges.violations() == []
        return host

    return run_virtual(main())
