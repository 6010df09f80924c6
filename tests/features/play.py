"""What the proofs of feature rows share: a pipeline written out, a caller who plays sounds, a clock on which work takes time."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from rspp.contract.event import Audio, Event, Signal
from rspp.contract.words import CancelMode, CancelReason, Lane
from rspp.host.ports import (
    Answer,
    AnyProvider,
    Call,
    CallRequest,
    ProviderError,
    ProviderFactory,
    ProviderInfo,
    ReactiveProvider,
    Recorder,
)
from rspp.host.registry import Registry
from rspp.host.scheduler import Flow
from rspp.kernel import inputs as i
from rspp.media.wav import Sound
from rspp.testing.clock import VirtualLoop
from rspp.testing.judge import Judges
from tests.unit.host.stage import QUIET, Caller, Stage, VirtualClock, bootstrap_of, registry_of

SAMPLES = 320  # of a frame of 20 ms at 16 kHz

# The voice pipeline with a node between the model and the voice, so that a test can look into it. `text_filter` is whatever
# the test's registry says it is.
PROBED = """
pipeline: probed
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  end_of_turn: {type: end_of_turn, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1}
  probe: {type: text_filter, version: v1}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: [vad.audio, end_of_turn.audio, stt.audio]}
  - {from: stt.final, to: llm.text}
  - {from: llm.text, to: [probe.text, speaker.text]}
  - {from: probe.text, to: tts.text}
  - {from: tts.audio, to: speaker.audio}
turn_input: stt.final
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
"""


# Without a voice: what the model writes is shown as it comes.
WRITTEN = """
pipeline: written
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: stt.audio}
  - {from: stt.final, to: llm.text}
  - {from: llm.text, to: speaker.text}
turn_input: stt.final
providers: {stt: [scripted-stt], llm: [scripted-llm]}
provider_settings:
  scripted-llm:
    {use: scripted-llm, first_ms: 300, tokens_per_s: 5, answers: [one two three four five six seven eight nine ten]}
"""


def with_node(factory: Any, kind: str = "text_filter", registry: Registry | None = None) -> Registry:
    """The stage's registry, with a node of the test's own behind one type."""
    registry = registry or registry_of()
    return msgspec.structs.replace(registry, nodes={**registry.nodes, kind: factory})


def sound_of(*spans: tuple[int, bytes]) -> Sound:
    """(milliseconds, one frame of 20 ms) one after the other."""
    return Sound(b"".join(frame * (ms // 20) for ms, frame in spans), 16_000)


async def play(caller: Caller, sound: Sound) -> None:
    """The sound, frame by frame, at the rate at which it would be spoken."""
    size = 2 * SAMPLES
    for at in range(0, len(sound.pcm), size):
        frame = sound.pcm[at : at + size]
        if len(frame) == size:
            await caller.frames(20, frame)


def typed(caller: Caller, text: str) -> None:
    """The caller writes instead of speaking; it counts with what he controls."""
    caller.give(i.TextReceived(text, caller._controls))
    caller._controls += 1


def at_ms(caller: Caller, name: str) -> list[int]:
    """When each signal of a name came, in milliseconds."""
    return [
        at // 1_000_000
        for at, event in caller.events
        if isinstance(event.payload, Signal) and event.payload.signal == name
    ]


def events_of(caller: Caller, *names: str) -> list[tuple[int, Event, Signal]]:
    """Signals of these names, in the order in which they came."""
    return [
        (at, event, event.payload)
        for at, event in caller.events
        if isinstance(event.payload, Signal) and event.payload.signal in names
    ]


def heard_at(caller: Caller) -> list[int]:
    """When each piece of sound came, in nanoseconds."""
    return [at for at, e in caller.events if isinstance(e.payload, Audio) and not e.payload.end]


# ---- a machine with a limit ------------------------------------------------------------------------------------------


class Timed(Caller):
    """A caller who notes when each frame was handed in."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.handed: dict[int, int] = {}

    def give(self, received: i.Input) -> bool:
        if isinstance(received, i.AudioReceived):
            self.handed[received.transport_sequence] = self.clock.now()
        return super().give(received)

    def give_frame(self) -> None:
        """One frame of silence, now."""
        self.give(i.AudioReceived(Audio(QUIET, SAMPLES, self._frames * SAMPLES), self._frames))
        self._frames += 1


class Machine:
    """A machine on which each input costs time: without that, a host in virtual time is never busy.

    It is the stage's recorder, which is told of every input before the kernel is; and it keeps when each was served.
    """

    def __init__(self, cost_ms: float) -> None:
        self.judges = Judges()
        self.cost_s = cost_ms / 1000
        self.served: dict[str, list[tuple[int, i.Input]]] = {}

    def recorder(self, session_id: str) -> Recorder:
        self.served[session_id] = []
        return _Costing(self, self.judges.recorder(session_id), session_id)

    def call(self, stage: Stage, tenant: str = "t1") -> Timed:
        caller = Timed(stage.clock)
        caller.take(stage.host.open(bootstrap_of(tenant), caller))
        return caller

    def waits_ms(self, caller: Timed) -> list[float]:
        """How long each frame of a caller that was served had waited for it."""
        assert caller.seat is not None
        return [
            (at - caller.handed[received.transport_sequence]) / 1e6
            for at, received in self.served[caller.seat.session_id]
            if isinstance(received, i.AudioReceived)
        ]

    def served_at_ms(self, caller: Timed) -> list[float]:
        """When each frame of a caller that was served was."""
        assert caller.seat is not None
        served = self.served[caller.seat.session_id]
        return [at / 1e6 for at, received in served if isinstance(received, i.AudioReceived)]


class _Costing:
    """One session's recorder on such a machine."""

    def __init__(self, machine: Machine, inner: Recorder, session_id: str) -> None:
        self._machine = machine
        self._inner = inner
        self._served = machine.served[session_id]
        self._loop = cast(VirtualLoop, asyncio.get_running_loop())

    def took(self, at: int, received: i.Input) -> None:
        self._served.append((at, received))
        self._loop._leaping.leapt_s += self._machine.cost_s
        self._inner.took(at, received)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Fifo:
    """The scheduler without fairness: whoever woke first is served until nothing of him is left."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Flow, Lane]] = deque()  # bounded: by the sessions of a test, thrice

    def wake(self, flow: Flow, lane: Lane) -> None:
        self._waiting.append((flow, lane))

    def next(self) -> tuple[Flow, Lane, int] | None:
        return (*self._waiting[0], 1_024) if self._waiting else None

    def served(self, flow: Flow, lane: Lane, count: int, more: bool) -> None:
        if self._waiting and self._waiting[0] == (flow, lane):
            self._waiting.popleft()
        if more:
            self._waiting.append((flow, lane))

    def remove(self, flow: Flow) -> None:
        self._waiting = deque(one for one in self._waiting if one[0] is not flow)  # bounded: by what it was


def nearly_all(values: list[float], share: float = 0.99) -> float:
    """The value that this share of all is at or below."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


# ---- providers that are watched --------------------------------------------------------------------------------------


class Watched:
    """What happened to the providers of a registry: how often each was made, opened and asked, and what its calls did."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.opened: Counter[str] = Counter()
        self.begun: list[CallRequest] = []  # bounded: by the calls of a test
        self.gave: dict[str, list[float]] = {}  # call -> when it gave each piece, in milliseconds
        self.stopped: dict[str, float] = {}  # call -> when it was told to stop
        self.flying: dict[str, set[str]] = {}  # modality -> the calls that run
        self.flying_most: Counter[str] = Counter()

    def asked(self, modality: str) -> list[str]:
        """The names of those who were asked, in order."""
        return [request.provider for request in self.begun if request.modality == modality]

    def registry(self, registry: Registry) -> Registry:
        """The same kinds, each of them watched."""
        kinds = {
            name: kind._replace(factory=self._of(kind.factory)) for name, kind in registry.providers.items()
        }
        return msgspec.structs.replace(registry, providers=kinds)

    def _of(self, factory: ProviderFactory) -> ProviderFactory:
        def make(name: str, settings: Mapping[str, object]) -> AnyProvider:
            self.made[name] += 1
            return _WatchedProvider(self, cast(ReactiveProvider, factory(name, settings)))

        return make


class _WatchedProvider:
    def __init__(self, watched: Watched, inner: ReactiveProvider) -> None:
        self.watched, self.inner = watched, inner

    @property
    def info(self) -> ProviderInfo:
        return self.inner.info

    async def open(self) -> None:
        self.watched.opened[self.info.name] += 1
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    def begin(self, request: CallRequest, answer: Answer) -> Call:
        self.watched.begun.append(request)
        flying = self.watched.flying.setdefault(request.modality, set())
        flying.add(request.call_id)
        most = self.watched.flying_most
        most[request.modality] = max(most[request.modality], len(flying))
        return _WatchedCall(self.watched, request, self.inner, answer)


class _WatchedCall:
    """A call and its answer, seen from both sides."""

    def __init__(
        self, watched: Watched, request: CallRequest, inner: ReactiveProvider, answer: Answer
    ) -> None:
        self._watched, self._request, self._answer = watched, request, answer
        self._call = inner.begin(request, cast(Answer, self))

    def produce(self, payload: Any, port: str | None = None) -> None:
        self._watched.gave.setdefault(self._request.call_id, []).append(_now_ms())
        self._answer.produce(payload, port)

    def finish(self, tokens: int = 0) -> None:
        self._landed()
        self._answer.finish(tokens)

    def fail(self, error: ProviderError) -> None:
        self._landed()
        self._answer.fail(error)

    def stopped(self) -> None:
        self._landed()
        self._answer.stopped()

    def kill(self) -> None:
        self._landed()
        self._call.kill()

    def _landed(self) -> None:
        self._watched.flying[self._request.modality].discard(self._request.call_id)

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        self._watched.stopped.setdefault(self._request.call_id, _now_ms())
        self._call.cancel(reason, mode)

    def __getattr__(self, name: str) -> Any:
        toward_provider = name in ("feed", "end", "throttle")
        return getattr(self._call if toward_provider else self._answer, name)


def _now_ms() -> float:
    return asyncio.get_running_loop().time() * 1000
