"""One call, captured at the host's own recorder: over the loopback in virtual time, over a real socket in real time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from rspp.adapters.transports.loopback import HangUp, Loopback, LoopClock, UntilAnswered, ask
from rspp.adapters.transports.websocket import Settings, WebSocketTransport
from rspp.client import Call, Client
from rspp.contract.event import Event
from rspp.contract.signals import SignalName
from rspp.host.clock import MachineClock
from rspp.host.host import Host
from rspp.host.ports import Clock
from rspp.host.recorder import MemoryRecorder
from rspp.host.registry import Registry
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.media.wav import Sound, read_wav, write_wav
from rspp.nodes import factories
from rspp.spec import compile_text
from rspp.testing.clock import run_virtual
from rspp.testing.scripted import providers
from rspp.testing.scripted.tts import tone

SPEC = """
pipeline: desk
version: v1
template: voice
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
provider_settings:
  scripted-llm: {answers: ["We open at nine."]}
"""


class Capture(MemoryRecorder):
    """Every input and every effect of one session, in order, with its time."""

    __slots__ = ("effects", "inputs")

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[tuple[int, i.Input]] = []
        self.effects: list[tuple[int, fx.Effect]] = []

    def took(self, at: int, received: i.Input) -> None:
        self.inputs.append((at, received))

    def did(self, at: int, effects: Sequence[fx.Effect]) -> None:
        self.effects += [(at, effect) for effect in effects]

    def of(self, kind: type[i.Input]) -> list[i.Input]:
        return [received for _, received in self.inputs if isinstance(received, kind)]

    @property
    def events(self) -> list[Event]:
        """What the session said to its caller, in order."""
        return [effect.event for _, effect in self.effects if isinstance(effect, fx.Announce | fx.Send)]


def question(folder: Path) -> Path:
    """A recording of 600 ms of a voice, as a file."""
    path = folder / "question.wav"
    write_wav(path, Sound(tone(300, 16_000, 9_000)[: 32 * 600], 16_000))
    return path


def host_of(clock: Clock, capture: Capture) -> Host:
    host = Host(Registry(providers=providers(), nodes=factories()), clock=clock, recorders=lambda _: capture)
    host.publish(compile_text(SPEC))
    return host


def over_the_loopback(wav: Path) -> Capture:
    async def main() -> Capture:
        capture = Capture()
        clock = LoopClock(asyncio.get_running_loop())
        host = host_of(clock, capture)
        await host.start()
        transport = Loopback(
            [[ask(wav.name, read_wav(wav)), UntilAnswered(quiet_ms=200), HangUp()]], clock=clock
        )
        await transport.start(host)
        await transport.over()
        await transport.stop("over")
        await host.stop()
        return capture

    return run_virtual(main())


def over_a_socket(wav: Path) -> Capture:
    async def main() -> Capture:
        capture = Capture()
        host = host_of(MachineClock(), capture)
        await host.start()
        transport = WebSocketTransport(Settings(port=0))
        await transport.start(host)
        async with Client.connect(transport.url, tenant="local") as call:
            await _ask(call, read_wav(wav).pcm)
            await call.hang_up()
        await transport.stop("over")
        await host.stop()
        return capture

    return asyncio.run(main())


async def _ask(call: Call, pcm: bytes) -> None:
    """Say it, then be silent until the answer is over and 200 ms more."""
    speaking = asyncio.ensure_future(call.send_audio(pcm + bytes(32 * 30_000)))
    try:
        await call.signal(SignalName.PLAYBACK_COMPLETED)
        await asyncio.sleep(0.2)
    finally:
        speaking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await speaking
