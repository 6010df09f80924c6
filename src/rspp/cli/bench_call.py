"""One scripted call for measuring: it does what a host does, in virtual time, with no network and no model.

Every input is made before the clock starts: making it is the transport's work, or the provider's. What is measured is
what happens between an input and the effects it leads to, with every check of the kernel on.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import process_time_ns
from typing import Final, Protocol

from rspp.contract.event import NS_PER_MS, Audio, Text
from rspp.contract.plan import SnapshotProvenance
from rspp.contract.words import CancelScope, ConnectionState
from rspp.kernel.effects import Effect, EndFeed, Invoke
from rspp.kernel.inputs import (
    AudioReceived,
    CallAccepted,
    CallFinished,
    CallProduced,
    ConnectionChanged,
    ControlReceived,
    DeliveryReported,
    Input,
    SpeechScored,
    TextReceived,
    Woken,
)
from rspp.kernel.session import SessionKernel
from rspp.kernel.snapshot import ClockAnchor, OpenRequest, Snapshot
from rspp.nodes import factories
from rspp.spec import GraphDefinition

FRAME_MS: Final = 20
FRAME_NS: Final = FRAME_MS * NS_PER_MS
SAMPLES: Final = 320  # 20 ms at 16 kHz
PCM: Final = bytes(2 * SAMPLES)
START: Final = 1_000_000_000
# The caller speaks and is quiet in turns of this many frames: both states of the listener are paid for.
FRAMES_PER_SPELL: Final = 200
# A synthesiser is a little faster than real time: this much is there before the pace begins.
FRAMES_AHEAD: Final = 5
FRAMES_PER_REPORT: Final = 5


def request() -> OpenRequest:
    """A session whose lease and whose view of the control plane outlast any measurement."""
    provenance = SnapshotProvenance(
        routing_view_snapshot="routing/1",
        admission_policy_snapshot="admission/1",
        abi_compatibility_snapshot="abi/1",
        version_resolution_snapshot="version/1",
        policy_resolution_snapshot="policy/1",
        provider_health_snapshot="health/1",
    )
    return OpenRequest(
        session_id="bench",
        tenant_id="bench",
        pipeline_version="v1",
        epoch=1,
        lease_token="bench",  # noqa: S106 - a lease's name, not a password
        lease_expires_at=1 << 61,
        anchor=ClockAnchor(monotonic=START, wall=START),
        snapshot=Snapshot(version=1, taken_at=START, provenance=provenance),
    )


class Watch(Protocol):
    """Whoever looks on: the invariants' checkers, where they are there."""

    def saw_input(self, now: int, received: Input) -> None: ...
    def saw_effect(self, now: int, effect: Effect) -> None: ...


class Call:
    """A call that is connected, and whose listeners (voice activity, end of turn, recognition) are at work."""

    def __init__(
        self, graph: GraphDefinition, open_request: OpenRequest | None = None, watch: Watch | None = None
    ) -> None:
        self.now = START
        self.watch = watch
        self.kernel = SessionKernel(open_request or request(), graph, factories())
        self.tts = self.stt = ""
        started = self.give(ConnectionChanged(ConnectionState.CONNECTED))
        for effect in started:
            if isinstance(effect, Invoke):
                self.give(CallAccepted(effect.call_id, effect.attempt))
                if effect.modality == "stt":
                    self.stt = effect.call_id

    def give(self, received: Input) -> list[Effect]:
        if self.watch is not None:
            self.watch.saw_input(self.now, received)
        self.kernel.receive(self.now, received)
        effects = self.kernel.drain()
        if self.watch is not None:
            for effect in effects:
                self.watch.saw_effect(self.now, effect)
        return effects

    def open_turn(self) -> None:
        """Ask something, have it answered in words, and have the synthesiser begin."""
        llm = _invoked(self.give(TextReceived("hello", 1)), "llm")
        self.give(CallAccepted(llm, 1))
        words = CallProduced(llm, 1, 0, Text("This is quite a long answer.", role="assistant"))
        self.tts = _invoked([*self.give(words), *self.give(CallFinished(llm, 1))], "tts")
        self.give(CallAccepted(self.tts, 1))

    def speak(self, frames: int, first: int = 0) -> None:
        """Have the synthesiser produce this much at once."""
        for number in range(first, first + frames):
            self.give(produced(self.tts, number))

    @property
    def turn_id(self) -> str:
        turn = self.kernel.turn()
        if turn is None:
            raise RuntimeError("no turn is open: the script and the kernel do not agree")
        return turn.id

    def cancel(self) -> int:
        """Cancel the turn; returns the nanoseconds of CPU until its effects are at hand."""
        cancel = ControlReceived("cancel", 2, scope=CancelScope.TURN)
        before = process_time_ns()
        self.kernel.receive(self.now, cancel)
        self.kernel.drain()
        return process_time_ns() - before


def _invoked(effects: Iterable[Effect], modality: str) -> str:
    found = [
        effect.call_id for effect in effects if isinstance(effect, Invoke) and effect.modality == modality
    ]
    if not found:
        raise RuntimeError(f"the graph asked for no {modality}: the script and the kernel do not agree")
    return found[0]


def produced(call_id: str, number: int) -> CallProduced:
    return CallProduced(call_id, 1, number, Audio(PCM, SAMPLES, number * SAMPLES))


# ---- the script ------------------------------------------------------------------------------------------------


def inbound(frames: int, start: int) -> list[tuple[int, Input, Input]]:
    """For each frame: when, the audio, and the score of it."""
    return [
        (
            start + (number + 1) * FRAME_NS,
            AudioReceived(Audio(PCM, SAMPLES, number * SAMPLES), number),
            SpeechScored(0.02 if number // FRAMES_PER_SPELL % 2 == 0 else 0.98),
        )
        for number in range(frames)
    ]


def outbound(frames: int, start: int, call_id: str, turn_id: str) -> list[tuple[int, Input, Input | None]]:
    """For each frame: when, the chunk, and now and then what the client says it has played."""
    return [
        (
            start + (number + 1) * FRAME_NS,
            produced(call_id, number + FRAMES_AHEAD),
            DeliveryReported("position", turn_id, (number + 1) * FRAME_MS)
            if number % FRAMES_PER_REPORT == FRAMES_PER_REPORT - 1
            else None,
        )
        for number in range(frames)
    ]


def run_in(call: Call, script: list[tuple[int, Input, Input]]) -> int:
    """Nanoseconds of CPU for a script of inbound frames, of which the recogniser makes no words."""
    kernel, finals = call.kernel, 0
    receive, drain, deadline, wake = kernel.receive, kernel.drain, kernel.deadline, kernel.wake
    before = process_time_ns()
    for now, audio, score in script:
        while (due := deadline()) is not None and due <= now:
            wake(due)
            for effect in drain():
                if type(effect) is EndFeed and not effect.last:
                    receive(due, final(call.stt, finals))
                    drain()
                    finals += 1
        receive(now, audio)
        drain()
        receive(now, score)
        drain()
    return process_time_ns() - before


def final(call_id: str, number: int) -> CallProduced:
    """What a recogniser answers when it is asked to finalise and has heard no words."""
    return CallProduced(call_id, 1, number, Text("", number, 1, final=True, role="user"))


def run_out(kernel: SessionKernel, script: list[tuple[int, Input, Input | None]]) -> int:
    """Nanoseconds of CPU for a script of outbound frames."""
    receive, drain, deadline, wake = kernel.receive, kernel.drain, kernel.deadline, kernel.wake
    before = process_time_ns()
    for now, chunk, report in script:
        while (due := deadline()) is not None and due <= now:
            wake(due)
            drain()
        receive(now, chunk)
        drain()
        if report is not None:
            receive(now, report)
            drain()
    return process_time_ns() - before


def run_watched(call: Call, script: Iterable[tuple[int, Input, Input | None]], watch: Watch) -> int:
    """The same as the two above for a script of either kind, with somebody looking at every input and effect."""
    kernel, finals = call.kernel, 0
    before = process_time_ns()
    for now, *received in script:
        while (due := kernel.deadline()) is not None and due <= now:
            kernel.wake(due)
            watch.saw_input(due, Woken())
            for effect in _look(kernel, due, watch):
                if type(effect) is EndFeed and not effect.last:
                    _hand(kernel, due, final(call.stt, finals), watch)
                    finals += 1
        for one in received:
            if one is not None:
                _hand(kernel, now, one, watch)
    return process_time_ns() - before


def _hand(kernel: SessionKernel, now: int, received: Input, watch: Watch) -> None:
    watch.saw_input(now, received)
    kernel.receive(now, received)
    _look(kernel, now, watch)


def _look(kernel: SessionKernel, now: int, watch: Watch) -> list[Effect]:
    effects = kernel.drain()
    for effect in effects:
        watch.saw_effect(now, effect)
    return effects
