"""One run as it can be told: recorded, replayed or live, all in one form, so that any two can be compared and shown.

    told(recording)                 what the recording itself says; no kernel runs
    Teller().take(step, ...)        the same of a kernel that runs now (a replay, an experiment)

Times are the session's own nanoseconds, from `began_at`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rspp.contract.event import Audio, Text
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan
from rspp.kernel import effects as fx
from rspp.kernel.inputs import CallProduced, Input, TextReceived
from rspp.kernel.memory import ASSISTANT, USER, conversation_in
from rspp.kernel.trace import Item, Run, Tracer
from rspp.spec.graph import GraphDefinition
from rspp.timeline import records as r
from rspp.timeline.recording import Recording


class Said(msgspec.Struct, frozen=True, gc=False):
    """Words at a time: the caller's, as they were recognised or typed, or those that were sent toward the caller."""

    step: int
    at: int
    turn: str | None
    role: str  # user, assistant
    text: str
    final: bool
    masked: tuple[r.Span, ...] = ()


class Remembered(msgspec.Struct, frozen=True, gc=False):
    """What the conversation keeps of its last answer, as it was saved; "" where the caller had the last word."""

    at: int
    answer: str


class Sounding(msgspec.Struct, frozen=True, gc=False):
    """One frame that was sent toward the caller; silence if the recording has no sound."""

    at: int
    turn: str | None
    sample_index: int
    rate: int
    data: bytes


class Story(msgspec.Struct, kw_only=True):
    """What happened in one run."""

    label: str
    session_id: str
    tenant_id: str
    graph: GraphDefinition
    began_at: int
    inputs: dict[int, tuple[int, Input]]
    items: list[Item]
    runs: list[Run]
    evidence: dict[str, TurnEvidence]
    stamps: dict[str, CloseStamp]
    plans: dict[str, ResolvedTurnPlan]
    heard: list[Said]
    said: list[
        Said
    ] = []  # empty where no kernel ran: what is sent is not recorded, it follows from the inputs
    frames: list[Sounding] = []  # likewise, and only if asked for
    remembered: list[Remembered] = []  # likewise, once a turn or so
    digest: str | None = None
    words: str | None = None
    effects: int = 0
    through: int = 0  # the last input that was worked on
    mode: str = "recorded"
    decisions: str = "recorded"
    reports_playback: bool = False  # the client says what it plays, so what it does not say was not heard
    has_sound: bool = False
    withheld_texts: int = 0
    withheld_audio: int = 0

    @property
    def ended_at(self) -> int:
        last = self.items[-1].at if self.items else self.began_at
        return max(last, self.runs[-1].last_at if self.runs else last)


class Teller:
    """Makes a story of what a kernel does, step by step."""

    def __init__(self, recording: Recording, *, frames: bool = False) -> None:
        self.tracer = Tracer()
        self._recording = recording
        self._frames = frames
        self._said: list[Said] = []
        self._sounding: list[Sounding] = []
        self._remembered: list[Remembered] = []
        self._evidence: dict[str, TurnEvidence] = {}
        self._stamps: dict[str, CloseStamp] = {}
        self._inputs: dict[int, tuple[int, Input]] = {}
        self.through = 0

    def take(self, step: int, at: int, received: Input | None, effects: Sequence[fx.Effect]) -> list[Item]:
        """Note one step; what came of it as items."""
        self.through = step
        if received is not None:
            self._inputs[step] = (at, received)
        if not effects:
            return []
        before = len(self.tracer.items)
        self.tracer.take(step, at, effects)
        for effect in effects:
            if isinstance(effect, fx.Send):
                self._sent(step, at, effect)
            elif isinstance(effect, fx.SaveState):
                self._saved(at, effect)
            elif isinstance(effect, fx.StoreEvidence):
                self._evidence[effect.record_id] = effect.evidence
            elif isinstance(effect, fx.StoreClose):
                self._stamps[effect.record_id] = effect.stamp
        return self.tracer.items[before:]

    def _sent(self, step: int, at: int, effect: fx.Send) -> None:
        payload, turn = effect.event.payload, effect.event.scope.turn_id
        if isinstance(payload, Text):
            role = payload.role or "assistant"
            self._said.append(Said(step, at, turn, role, payload.text, payload.final))
        elif self._frames and isinstance(payload, Audio):
            self._sounding.append(Sounding(at, turn, payload.sample_index, payload.rate, payload.data))

    def _saved(self, at: int, effect: fx.SaveState) -> None:
        history = conversation_in({effect.key: effect.value}).get("history")
        if isinstance(history, list):
            role, text = history[-1] if history else (USER, "")
            self._remembered.append(Remembered(at, text if role == ASSISTANT else ""))

    def story(self, label: str, graph: GraphDefinition, *, mode: str, decisions: str) -> Story:
        """What there is to tell until now."""
        recording, tracer = self._recording, self.tracer
        return Story(
            label=label,
            session_id=recording.session_id,
            tenant_id=recording.tenant_id,
            graph=graph,
            began_at=recording.began_at,
            inputs=self._inputs,
            items=tracer.items,
            runs=tracer.runs,
            evidence=self._evidence,
            stamps=self._stamps,
            plans={plan.turn_id: plan for plan in tracer.plans},
            heard=heard(recording, self._inputs),
            said=self._said,
            frames=self._sounding,
            remembered=self._remembered,
            digest=tracer.digest(),
            words=tracer.words(),
            effects=tracer.effects,
            through=self.through,
            mode=mode,
            decisions=decisions,
            reports_playback=recording.head.request.reports_playback,
            has_sound=not recording.without_sound,
            withheld_texts=len(recording.withheld_texts) + len(recording.masked),
            withheld_audio=len(recording.without_sound) + len(recording.masked_sound),
        )


def told(recording: Recording, label: str | None = None) -> Story:
    """The story that a recording tells by itself."""
    end = recording.end
    mark = recording.marks[-1] if recording.marks else None
    return Story(
        label=label or recording.session_id,
        session_id=recording.session_id,
        tenant_id=recording.tenant_id,
        graph=recording.head.graph,
        began_at=recording.began_at,
        inputs=recording.inputs,
        items=recording.items,
        runs=recording.runs,
        evidence=recording.evidence,
        stamps=recording.stamps,
        plans=recording.plans,
        heard=heard(recording, recording.inputs),
        digest=(end.digest if end else None) or (mark.digest if mark else None),
        words=end.words if end else None,
        effects=end.effects if end else 0,
        through=end.steps if end else max(recording.inputs, default=0),
        reports_playback=recording.head.request.reports_playback,
        has_sound=bool(recording.inputs) and not recording.without_sound,
        withheld_texts=len(recording.withheld_texts) + len(recording.masked),
        withheld_audio=len(recording.without_sound) + len(recording.masked_sound),
    )


def heard(recording: Recording, inputs: dict[int, tuple[int, Input]]) -> list[Said]:
    """What the caller said or typed, as the session took it."""
    out: list[Said] = []
    for step, (at, received) in inputs.items():
        masked = tuple(recording.masked.get(step, ()))
        if isinstance(received, TextReceived):
            out.append(Said(step, at, None, "user", received.text, True, masked))
        elif isinstance(received, CallProduced) and isinstance(received.payload, Text):
            text = received.payload
            if text.role == "user" and text.text:
                out.append(Said(step, at, None, "user", text.text, text.final, masked))
    return out
