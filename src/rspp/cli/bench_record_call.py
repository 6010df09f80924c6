"""A whole call for measuring its recording: held once on a real host in virtual time, then given to kernels again.

The caller asks for four seconds, the assistant answers for four, and two are silent, again and again. Scores come every
32 ms of audio, as a detector's window is, partials every 200 ms of speech, and the client says five times a second how much
it has played. What is measured runs in kernels of their own, from the inputs that the host's kernel took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from rspp.cli.bench_churn import VirtualClock
from rspp.cli.bench_talk import LOUD, QUIET, SAMPLES, SPEC
from rspp.contract.event import Audio, Event
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.words import ConnectionState, RecordingLevel
from rspp.host.host import Host
from rspp.host.ports import Answer, Bootstrap, Call, CallRequest, Chunk, ProviderError, Seat
from rspp.host.registry import ProviderKind, Registry
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import AudioReceived, ConnectionChanged, DeliveryReported, Input
from rspp.kernel.snapshot import OpenRequest
from rspp.nodes import factories
from rspp.spec import GraphDefinition, compile_text
from rspp.testing import scripted
from rspp.testing.clock import run_virtual

FRAME_MS: Final = 20
ROUND_MS: Final = 10_000
SPOKEN_MS: Final = 4_000
SCORE_SAMPLES: Final = 512
FRAMES_PER_REPORT: Final = 10
# Four seconds at the scripted pace of 60 ms a character.
ANSWER: Final = "Of course, I will tell you all about the opening hours we have."
QUESTION: Final = "I would like to know when you are open on Sundays and on holidays please"


def graph() -> GraphDefinition:
    """The built-in voice graph with scripted providers that keep the times above."""
    text = SPEC
    for word, value in {
        "NAME": "bench",
        "VERSION": "v1",
        "DETECTOR": "sparse-vad",
        "ANSWER": ANSWER,
        "CHARACTER": "60",
        "Tell me the whole story.": QUESTION,
    }.items():
        text = text.replace(word, value)
    return compile_text(text)


def at_level(made: GraphDefinition, level: RecordingLevel) -> GraphDefinition:
    return replace(made, recording_policy=replace(made.recording_policy, level=level))


class Sparse:
    """The scripted detector, of whose scores only those are given that end a window of 32 ms."""

    def __init__(self) -> None:
        self._inner = scripted.ScriptedVad("sparse-vad", scripted.VadScript())
        self.info = self._inner.info

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    def begin(self, request: CallRequest, answer: Answer) -> Call:
        return self._inner.begin(request, _Windows(answer))


class _Windows:
    """An answer to which a frame's score goes only when a window ends within the frame."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._samples = 0

    @property
    def throttled(self) -> bool:
        return self._answer.throttled

    def accepted(self) -> None:
        self._answer.accepted()

    def produce(self, payload: Chunk, port: str | None = None) -> None:
        self._answer.produce(payload, port)

    def score(self, probability: float) -> None:
        before = self._samples // SCORE_SAMPLES
        self._samples += SAMPLES
        if self._samples // SCORE_SAMPLES > before:
            self._answer.score(probability)

    def finish(self, tokens: int = 0) -> None:
        self._answer.finish(tokens)

    def fail(self, error: ProviderError) -> None:
        self._answer.fail(error)

    def stopped(self) -> None:
        self._answer.stopped()


class Held:
    """What the kernel of the call was born with and took, in order: a recorder, which keeps the inputs themselves."""

    def __init__(self) -> None:
        self.request: OpenRequest | None = None
        self.inputs: list[tuple[int, Input]] = []  # bounded: by the call's length
        self.turns = 0

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:  # noqa: ARG002 - the port's signature
        self.request = request

    def took(self, at: int, received: Input) -> None:
        self.inputs.append((at, received))

    def did(self, at: int, effects: Sequence[Effect]) -> None: ...
    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:  # noqa: ARG002 - likewise
        self.turns += 1
        return None

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None: ...
    def closed(self) -> None: ...


class Caller:
    """The caller, and the line to them: it plays what comes at the pace of speech, and says so."""

    def __init__(self) -> None:
        self._turn_id = ""
        self._frames = 0
        self.heard = 0
        self.seat: Seat | None = None

    def send(self, event: Event) -> None:
        audio = event.payload
        if not isinstance(audio, Audio) or not audio.samples or self.seat is None:
            return
        self.heard += 1
        if event.scope.turn_id != self._turn_id:
            self._turn_id, self._frames = event.scope.turn_id or "", 0
            self.seat.ingest(DeliveryReported("accepted", self._turn_id))
            self.seat.ingest(DeliveryReported("started", self._turn_id))
        self._frames += 1
        if not self._frames % FRAMES_PER_REPORT:
            self.seat.ingest(DeliveryReported("position", self._turn_id, self._frames * FRAME_MS))

    def announce(self, event: Event) -> None: ...
    def pause(self, turn_id: str) -> None: ...
    def resume(self, turn_id: str) -> None: ...
    def stop(self, turn_id: str, keep_ms: int) -> None: ...
    def close(self, reason: str) -> None: ...

    async def talk(self, seat: Seat, seconds: int) -> None:
        self.seat = seat
        seat.ingest(ConnectionChanged(ConnectionState.CONNECTED))
        for number in range(seconds * 1000 // FRAME_MS):
            loud = number * FRAME_MS % ROUND_MS < SPOKEN_MS
            seat.ingest(AudioReceived(Audio(LOUD if loud else QUIET, SAMPLES, number * SAMPLES), number))
            await asyncio.sleep(FRAME_MS / 1000)


def hold(seconds: int) -> tuple[Held, int]:
    """Hold the call; returns what its kernel took, and how many frames the caller was sent."""
    held, caller = Held(), Caller()

    async def main() -> None:
        kinds = {**scripted.providers(), "sparse-vad": ProviderKind("vad", lambda *_: Sparse())}
        host = Host(
            Registry(providers=kinds, nodes=factories()), clock=VirtualClock(), recorders=lambda _: held
        )
        host.publish(graph())
        await host.start()
        seat = host.open(
            Bootstrap(schema_version="v1.0", transport_kind="loopback", tenant_id="bench", requested_at_ms=0),
            caller,
        )
        await caller.talk(seat, seconds)
        await host.stop()

    run_virtual(main())
    if held.request is None or held.turns < seconds * 1000 // ROUND_MS - 1:
        raise RuntimeError(f"only {held.turns} turns were held: the script and the kernel do not agree")
    return held, caller.heard
