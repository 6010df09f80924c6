"""One kernel, driven by hand in virtual time: say what happens and when, then look at what it did.

    rig = Rig()
    rig.connect()
    rig.say("what time is it")
    rig.answer("It is ten.")
    assert rig.signals("commit")

Nothing sleeps and nothing is random. The rig plays the host: it takes every effect, wakes the kernel at its deadlines
and, unless told otherwise, answers for the recorder; the invariants are judged all along. It does not play the providers: a test says what they do.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from rspp.contract.event import NS_PER_MS, Audio, Event, Signal, Text
from rspp.contract.plan import SnapshotProvenance
from rspp.contract.words import ConnectionState, OutcomeClass
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.hosting import Context, NodeFactory
from rspp.kernel.invariants import Monitor
from rspp.kernel.session import SessionKernel
from rspp.kernel.snapshot import ClockAnchor, OpenRequest, Snapshot
from rspp.spec import voice_template
from rspp.spec.graph import GraphDefinition

FRAME_MS: Final = 20
FRAME: Final = b"\0" * 640
PROVENANCE: Final = SnapshotProvenance(
    routing_view_snapshot="routing/1",
    admission_policy_snapshot="admission/1",
    abi_compatibility_snapshot="abi/1",
    version_resolution_snapshot="versions/1",
    policy_resolution_snapshot="policy/1",
    provider_health_snapshot="health/1",
)
E = TypeVar("E", bound=fx.Effect)


class Sentences:
    """The plainest segmenter: a sentence ends at a full stop, a question or an exclamation mark."""

    def __init__(self) -> None:
        self.held = ""

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        if not isinstance(event.payload, Text):
            return
        self.held += event.payload.text
        while (cut := next((at for at, c in enumerate(self.held) if c in ".!?"), None)) is not None:
            sentence, self.held = self.held[: cut + 1], self.held[cut + 1 :]
            ctx.emit("text", Text(sentence.strip(), role="assistant"))
        if event.payload.final and self.held.strip():
            ctx.emit("text", Text(self.held.strip(), role="assistant"))
            self.held = ""

    def on_cancel(self, ctx: Context, reason: object) -> None:
        self.held = ""


FACTORIES: Final[Mapping[str, NodeFactory]] = {"segmenter": lambda config: Sentences()}


def snapshot(version: int = 1, at: int = 0, **changes: Any) -> Snapshot:
    """A usable view of the control plane."""
    return msgspec.structs.replace(Snapshot(version=version, taken_at=at, provenance=PROVENANCE), **changes)


def open_request(**changes: Any) -> OpenRequest:
    """A session that may begin."""
    request = OpenRequest(
        session_id="s1",
        tenant_id="t1",
        pipeline_version="v1",
        epoch=7,
        lease_token="lease-7",
        lease_expires_at=300_000 * NS_PER_MS,
        anchor=ClockAnchor(monotonic=0, wall=1_700_000_000_000 * NS_PER_MS),
        snapshot=snapshot(),
    )
    return msgspec.structs.replace(request, **changes)


class Rig:
    """A kernel and the hand that drives it."""

    def __init__(
        self,
        graph: GraphDefinition | None = None,
        factories: Mapping[str, NodeFactory] | None = None,
        *,
        stores_evidence: bool = True,
        judged: bool = True,
        **request: Any,
    ) -> None:
        self.graph = graph or voice_template()
        self.kernel = SessionKernel(open_request(**request), self.graph, {**FACTORIES, **(factories or {})})
        self.monitor = Monitor(self.graph, self.kernel.desk.request)
        self.judged = judged
        self.now = 0
        self.stores_evidence = stores_evidence
        self.inputs: list[tuple[int, i.Input]] = []
        self.effects: list[tuple[int, fx.Effect]] = []
        self.invocations: dict[str, fx.Invoke] = {}  # the last of each node
        self._sequence: dict[tuple[str, int], int] = {}
        self._audio = self._control = self._segment = self._revision = 0
        self._collect()

    # ---- driving -------------------------------------------------------------------------------------------------

    def give(self, received: i.Input) -> None:
        """Hand the kernel one input, now."""
        self.inputs.append((self.now, received))
        self.monitor.saw_input(self.now, received)
        self.kernel.receive(self.now, received)
        self._collect()

    def advance(self, ms: float) -> None:
        """Let time pass; the kernel is woken whenever it asked to be."""
        until = self.now + int(ms * NS_PER_MS)
        while (at := self.kernel.deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            self.inputs.append((self.now, i.Woken()))
            self.monitor.saw_input(self.now, i.Woken())
            self.kernel.wake(self.now)
            self._collect()
        self.now = until

    def _collect(self) -> None:
        stored: list[str] = []
        for effect in self.kernel.drain():
            self.effects.append((self.now, effect))
            self.monitor.saw_effect(self.now, effect)
            if isinstance(effect, fx.Invoke):
                self.invocations[effect.node_id] = effect
            elif isinstance(effect, fx.StoreEvidence) and self.stores_evidence:
                stored.append(effect.record_id)
        if self.judged and self.monitor.violations:
            raise AssertionError(f"an invariant broke: {self.monitor.violations[0]}")
        for record_id in stored:
            self.give(i.EvidenceStored(record_id))

    # ---- what the caller does ------------------------------------------------------------------------------------

    def connect(self, *, listen: bool = True) -> None:
        """The transport stands, and the session's own calls are accepted."""
        self.give(i.ConnectionChanged(ConnectionState.CONNECTED))
        if listen:
            for node_id in ("vad", "end_of_turn", "stt"):
                if node_id in self.invocations:
                    self.accept(node_id)

    def frame(self, speech: float | None = None, data: bytes = FRAME) -> None:
        """One frame of the caller's audio and, if given, what it scored; then the frame's time passes."""
        index = self._audio
        self._audio += 1
        self.give(i.AudioReceived(Audio(data, 320, index * 320), index))
        if speech is not None:
            self.give(i.SpeechScored(speech))
        self.advance(FRAME_MS)

    def voice(self, ms: int) -> None:
        for _ in range(ms // FRAME_MS):
            self.frame(0.95)

    def hush(self, ms: int) -> None:
        for _ in range(ms // FRAME_MS):
            self.frame(0.02)

    def partial(self, text: str) -> None:
        """The recogniser has heard this much of the segment in hand."""
        self._revision += 1
        self.chunk("stt", Text(text, self._segment, self._revision, role="user"))

    def final(self, text: str) -> None:
        """The recogniser has heard the segment to its end; the next words begin another."""
        self.chunk("stt", Text(text, self._segment, self._revision + 1, final=True, role="user"))
        self._segment += 1
        self._revision = 0

    def say(self, text: str, ms: int = 600) -> None:
        """Speak an utterance to its end: voice, words, silence, a likely end, the final."""
        self.voice(ms)
        self.partial(text)
        self.hush(340)
        self.give(i.EndOfTurnScored(0.95))
        self.final(text)

    def control(self, signal: str, **fields: Any) -> None:
        self._control += 1
        self.give(i.ControlReceived(signal, self._control, **fields))

    def type(self, text: str, **fields: Any) -> None:
        self._control += 1
        self.give(i.TextReceived(text, self._control, **fields))

    # ---- what the providers do -----------------------------------------------------------------------------------

    def accept(self, node_id: str) -> None:
        call = self.invocations[node_id]
        self.give(i.CallAccepted(call.call_id, call.attempt))

    def chunk(self, node_id: str, payload: Audio | Text, **fields: Any) -> None:
        """The node's latest call produces something."""
        call = self.invocations[node_id]
        key = (call.call_id, call.attempt)
        sequence = self._sequence.get(key, 0)
        self._sequence[key] = sequence + 1
        self.give(i.CallProduced(call.call_id, call.attempt, sequence, payload, **fields))

    def finish(self, node_id: str, tokens: int = 0) -> None:
        call = self.invocations[node_id]
        self.give(i.CallFinished(call.call_id, call.attempt, tokens))

    def fail(
        self, node_id: str, outcome: OutcomeClass = OutcomeClass.INFRASTRUCTURE_FAILURE, **fields: Any
    ) -> None:
        call = self.invocations[node_id]
        self.give(i.CallFailed(call.call_id, call.attempt, outcome, "broken", **fields))

    def tokens(self, *texts: str) -> None:
        """The language model says these, and goes on."""
        for text in texts:
            self.chunk("llm", Text(text, role="assistant"))

    def speech(self, ms: int, *, finish: bool = True) -> None:
        """The synthesiser makes this much audio, faster than real time."""
        for index in range(ms // FRAME_MS):
            self.chunk("tts", Audio(FRAME, 320, index * 320))
        if finish:
            self.finish("tts")

    def answer(self, text: str, ms: int = 400) -> None:
        """A whole answer of one sentence, spoken."""
        self.tokens(text)
        self.finish("llm")
        self.speech(ms)

    def cancel_acks(self) -> None:
        """Every provider that was asked to stop says that it did."""
        for effect in self.of(fx.CancelCall):
            self.give(i.CallCancelled(effect.call_id, effect.attempt))

    # ---- looking -------------------------------------------------------------------------------------------------

    def of(self, kind: builtins.type[E]) -> list[E]:
        """All effects of a kind, in order."""
        return [effect for _, effect in self.effects if isinstance(effect, kind)]

    def signals(self, *names: str) -> list[Signal]:
        """The announced signals, or those of these names, in order."""
        return [
            s
            for s in (e.event.payload for e in self.of(fx.Announce))
            if isinstance(s, Signal) and (not names or s.signal in names)
        ]

    def names(self, *names: str) -> list[str]:
        return [signal.signal for signal in self.signals(*names)]

    def events(self, name: str) -> list[Event]:
        """The events that carried a signal."""
        return [
            e.event
            for e in self.of(fx.Announce)
            if isinstance(e.event.payload, Signal) and e.event.payload.signal == name
        ]

    def at(self, name: str) -> list[int]:
        """When a signal was announced, in milliseconds."""
        return [
            when // NS_PER_MS
            for when, effect in self.effects
            if isinstance(effect, fx.Announce)
            and isinstance(effect.event.payload, Signal)
            and effect.event.payload.signal == name
        ]

    def sent_audio(self, since: int = 0) -> list[Event]:
        """The frames of audio that left for the caller."""
        return [
            effect.event
            for when, effect in self.effects
            if when >= since
            and isinstance(effect, fx.Send)
            and isinstance(effect.event.payload, Audio)
            and not effect.event.payload.end
        ]

    def sent_text(self) -> list[str]:
        return [e.event.payload.text for e in self.of(fx.Send) if isinstance(e.event.payload, Text)]

    def forget(self) -> None:
        """Look only at what comes from here on."""
        self.effects.clear()


def replayed(rig: Rig, inputs: Iterable[tuple[int, i.Input]] | None = None) -> list[fx.Effect]:
    """The effects of the rig's own inputs in a fresh kernel."""
    kernel = SessionKernel(rig.kernel.desk.request, rig.graph, FACTORIES)
    out: list[fx.Effect] = list(kernel.drain())
    for at, received in rig.inputs if inputs is None else inputs:
        if isinstance(received, i.Woken):
            kernel.wake(at)
        else:
            kernel.receive(at, received)
        out += kernel.drain()
    return out
