"""What happened in a call, told from what was observed: the session's inputs and effects, and the caller's own ear.

The stages of a turn are `timeline.waterfall`'s. Here the end of speech is the caller's last frame with a voice in it, by the
recording's own level, and the answer is heard when the caller's own ear hears it; nothing the session believes goes into it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from rspp.contract.event import Audio, Signal, Text
from rspp.contract.evidence import CloseStamp, TurnEvidence, missing_fields
from rspp.contract.signals import SignalName
from rspp.host.ports import Stepped, Tell, TellsSession, WatchesNodes
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.snapshot import OpenRequest
from rspp.kernel.trace import item
from rspp.spec.graph import GraphDefinition
from rspp.timeline.waterfall import (
    NS_PER_TENTH,
    STAGES,
    Heard,
    Marks,
    Watch,
    interrupted_at,
    meant,
    silenced_ms,
    speech_ended,
    stages_of,
)

__all__ = ["STAGES", "CallNotes", "Heard", "Keeper", "Told", "TurnReport"]

# What the moments of a turn are told by, beside the audio that is sent.
_WATCHED: Final = (fx.Announce, fx.Invoke, fx.KillCall)


class Keeper(Protocol):
    """A recorder that keeps evidence."""

    @property
    def turns(self) -> list[TurnEvidence]: ...
    @property
    def stamps(self) -> dict[str, CloseStamp]: ...
    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None: ...
    def took(self, at: int, received: i.Input) -> None: ...
    def did(self, at: int, effects: Sequence[fx.Effect]) -> None: ...
    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None: ...
    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None: ...
    def closed(self) -> None: ...


class TurnWords(msgspec.Struct):
    """What was said in one turn."""

    transcript: str = ""
    spoken: list[str] = []
    shown: list[str] = []


class TurnReport(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a call, as `rspp run --json` prints it."""

    turn_id: str
    transcript: str
    reply: str
    end_of_speech_to_first_audio_ms: float | None
    stages_ms: dict[str, float]
    terminal: str
    terminal_reason: str | None
    evidence_complete: bool
    evidence_missing: tuple[str, ...]
    interrupted: bool
    heard_ms: int
    gap_ms_most: int
    speech_to_silence_ms: float | None
    # Moments of the call, in milliseconds from its beginning, which is also that of the recording.
    speech_ended_at_ms: float | None
    first_audio_at_ms: float | None
    last_audio_at_ms: float | None
    interrupted_at_ms: float | None


# Who wants to know at once: what happened, when, and the words of it.
Told = Callable[[str, int, str], None]


def _nobody(what: str, at: int, words: str) -> None: ...


class CallNotes:
    """A recorder that notes times beside what another one keeps."""

    def __init__(self, keeper: Keeper) -> None:
        self.session_id = ""
        self.opened_at = 0
        self._keeper = keeper
        self._told: Told = _nobody
        self._watch = Watch()
        self._words: dict[str, TurnWords] = {}  # bounded: one a turn, as in the watch
        self._asked = False  # for the final words

    @property
    def owing(self) -> bool:
        """Is anybody outside expected to answer: a model of the turn, or the recogniser its final words?"""
        return self._asked or any(turn is not None for turn, _ in self._watch.calls.values())

    def tell(self, told: Told) -> None:
        """From now on this is who wants to know."""
        self._told = told

    # ---- as a recorder ---------------------------------------------------------------------------------------------

    def attach(self, tell: Tell) -> None:
        if isinstance(self._keeper, TellsSession):
            self._keeper.attach(tell)

    def stepped(self, step: Stepped) -> None:
        if isinstance(self._keeper, WatchesNodes):
            self._keeper.stepped(step)

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:
        self.session_id = request.session_id
        self.opened_at = request.anchor.monotonic
        self._keeper.opened(request, graph)

    def took(self, at: int, received: i.Input) -> None:
        self._keeper.took(at, received)
        if isinstance(received, i.CallProduced | i.CallFinished | i.CallFailed | i.CallCancelled):
            self._answered(at, received)
        self._watch.took(at, received)

    def did(self, at: int, effects: Sequence[fx.Effect]) -> None:
        self._keeper.did(at, effects)
        for effect in effects:
            if isinstance(effect, fx.KillCall) and self._modality(effect.call_id) == "stt":
                self._asked = False
            if isinstance(effect, _WATCHED):
                self._watch.did(item(0, at, effect))
            self._did(at, effect)

    def _did(self, at: int, effect: fx.Effect) -> None:
        kind = type(effect)
        if kind is fx.Send:
            self._sent(at, effect)  # type: ignore[arg-type]  # as its type says
        elif kind is fx.Announce:
            self._announced(at, effect)  # type: ignore[arg-type]
        elif isinstance(effect, fx.Invoke):
            self._invoked(at, effect)
        elif isinstance(effect, fx.EndFeed) and self._modality(effect.call_id) == "stt" and not effect.last:
            self._asked = True

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        return self._keeper.evidence(record_id, evidence)

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None:
        self._keeper.closed_turn(record_id, stamp)

    def closed(self) -> None:
        self._keeper.closed()

    # ---- what is noted ---------------------------------------------------------------------------------------------

    def _modality(self, call_id: str) -> str:
        return self._watch.calls.get(call_id, (None, ""))[1]

    def _answered(
        self, at: int, received: i.CallProduced | i.CallFinished | i.CallFailed | i.CallCancelled
    ) -> None:
        going_on = isinstance(received, i.CallProduced)
        payload = received.payload if isinstance(received, i.CallProduced) else None
        final = isinstance(payload, Text) and payload.final
        if self._modality(received.call_id) == "stt" and (final or not going_on):
            self._asked = False
        if isinstance(received, i.CallFailed):
            self._told("failed", at, f"{received.call_id.split('/')[-1]}: {received.reason}")

    def _invoked(self, at: int, call: fx.Invoke) -> None:
        words = self._words.get(call.turn_id or "")
        said = call.event.payload if call.event else None
        if words is None or not isinstance(said, Text):
            return
        if call.modality == "tts":
            if call.attempt <= 1:
                words.spoken.append(said.text.strip())
                self._told("reply", at, said.text.strip())
        elif said.role == "user" and not words.transcript:
            words.transcript = said.text.strip()
            self._told("asked", at, words.transcript)

    def _sent(self, at: int, effect: fx.Send) -> None:
        turn_id, payload = effect.event.scope.turn_id, effect.event.payload
        words = self._words.get(turn_id or "")
        if words is None:
            return
        if isinstance(payload, Text) and payload.role == "assistant" and payload.text.strip():
            words.shown.append(payload.text.strip())
        elif isinstance(payload, Audio) and payload.samples:
            self._watch.sent(at, turn_id)

    def _announced(self, at: int, effect: fx.Announce) -> None:
        signal, turn_id = effect.event.payload, effect.event.scope.turn_id
        turn = self._watch.turns.get(turn_id or "")
        if turn is None or not isinstance(signal, Signal):
            return
        name = signal.signal
        if name == SignalName.TURN_OPEN:
            self._words[turn.turn_id] = TurnWords()
        elif name == SignalName.PLAYBACK_CANCELLED and signal.reason == "barge_in":
            self._told("interrupted", at, "")
        elif name == SignalName.ABORT and not turn.superseded and turn.cut_at is None:
            self._told("abort", at, signal.reason or "")

    # ---- the report ------------------------------------------------------------------------------------------------

    def report(
        self, speech_ns: Sequence[int], heard: Mapping[str, Heard], start_ns: int = 0
    ) -> list[TurnReport]:
        """The turns that were meant: those taken back before anybody heard of them are left out."""
        evidence = {record.turn_id: record for record in self._keeper.turns}
        stamps = {stamp.turn_id: stamp for stamp in self._keeper.stamps.values()}
        return [
            _turn_report(
                turn,
                self._words[turn.turn_id],
                speech_ns,
                heard.get(turn.turn_id, Heard()),
                evidence.get(turn.turn_id),
                stamps,
                start_ns,
            )
            for turn in self._watch.turns.values()
            if meant(turn)
        ]

    @property
    def superseded(self) -> int:
        return sum(not meant(turn) for turn in self._watch.turns.values())


def _turn_report(
    turn: Marks,
    words: TurnWords,
    speech_ns: Sequence[int],
    heard: Heard,
    evidence: TurnEvidence | None,
    stamps: Mapping[str, CloseStamp],
    start_ns: int,
) -> TurnReport:
    lacking = ("evidence",) if evidence is None else missing_fields(evidence, stamps.get(turn.turn_id))
    ended = speech_ended(turn, speech_ns, heard)
    whole, stages = stages_of(turn, ended, heard)

    def at_ms(at: int | None) -> float | None:
        return None if at is None else round((at - start_ns) / NS_PER_TENTH) / 10

    return TurnReport(
        turn_id=turn.turn_id,
        transcript=words.transcript,
        reply=" ".join(words.spoken or words.shown),
        end_of_speech_to_first_audio_ms=whole,
        stages_ms=stages,
        terminal=turn.terminal,
        terminal_reason=turn.reason,
        evidence_complete=not lacking,
        evidence_missing=lacking,
        interrupted=turn.cut_at is not None,
        heard_ms=heard.heard_ms,
        gap_ms_most=heard.gap_ms_most,
        speech_to_silence_ms=silenced_ms(turn, speech_ns, heard),
        speech_ended_at_ms=at_ms(ended),
        first_audio_at_ms=at_ms(heard.first_ns),
        last_audio_at_ms=at_ms(heard.last_ns),
        interrupted_at_ms=at_ms(interrupted_at(turn, speech_ns)),
    )
