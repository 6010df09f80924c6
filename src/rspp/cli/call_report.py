"""What happened in a call, told from what was observed: the session's inputs and effects, and the caller's own ear.

    end of speech --endpointing--> stopped --stt--> words --llm_first_token--> token --llm--> sentence
        --tts_first_audio--> audio --playout--> heard

The end of speech is the caller's last frame with a voice in it, by the recording's own level; nothing the session believes
goes into it. A stage that was over before the one ahead of it (speculation) counts nothing, so the stages of a turn always
add up to its whole.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from rspp.contract.event import Audio, Signal, Text
from rspp.contract.evidence import CloseStamp, TurnEvidence, missing_fields
from rspp.contract.signals import SignalName
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition

STAGES: Final = ("endpointing", "stt", "llm_first_token", "llm", "tts_first_audio", "playout")
# Speech with a hole no longer than this is one run of speech.
HOLE_NS: Final = 300_000_000
NS_PER_TENTH: Final = 100_000


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


class Heard(msgspec.Struct, frozen=True):
    """What the caller's ear knows of one turn."""

    first_ns: int | None = None
    last_ns: int | None = None
    heard_ms: int = 0
    gap_ms_most: int = 0


class TurnNotes(msgspec.Struct):
    """One turn, as far as it has come. Times are the session's nanoseconds."""

    turn_id: str
    opened_at: int
    transcript: str = ""
    spoken: list[str] = []
    shown: list[str] = []
    stopped_at: int | None = None  # the session took the caller to have stopped
    words_at: int | None = None
    token_at: int | None = None
    sentence_at: int | None = None
    audio_at: int | None = None
    sent_at: int | None = None
    cut_at: int | None = None  # the caller took the floor
    superseded: bool = False
    terminal: str = "none"
    reason: str | None = None


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
        self.turns: dict[
            str, TurnNotes
        ] = {}  # bounded: by the keeper, which refuses evidence when it is full
        self.session_id = ""
        self.opened_at = 0
        self._keeper = keeper
        self._told: Told = _nobody
        self._calls: dict[str, tuple[str | None, str]] = {}  # running calls -> turn, modality
        self._asked = False  # for the final words
        self._stopped_at: int | None = None
        self._words_at: int | None = None

    @property
    def owing(self) -> bool:
        """Is anybody outside expected to answer: a model of the turn, or the recogniser its final words?"""
        return self._asked or any(turn is not None for turn, _ in self._calls.values())

    def tell(self, told: Told) -> None:
        """From now on this is who wants to know."""
        self._told = told

    # ---- as a recorder ---------------------------------------------------------------------------------------------

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:
        self.session_id = request.session_id
        self.opened_at = request.anchor.monotonic
        self._keeper.opened(request, graph)

    def took(self, at: int, received: i.Input) -> None:
        self._keeper.took(at, received)
        if type(received) is i.CallProduced:
            self._produced(at, received)
        elif isinstance(received, i.CallFinished | i.CallFailed | i.CallCancelled):
            self._over(received.call_id)
            if isinstance(received, i.CallFailed):
                self._told("failed", at, f"{received.call_id.split('/')[-1]}: {received.reason}")

    def did(self, at: int, effects: Sequence[fx.Effect]) -> None:
        self._keeper.did(at, effects)
        for effect in effects:
            self._did(at, effect)

    def _did(self, at: int, effect: fx.Effect) -> None:
        kind = type(effect)
        if kind is fx.Send:
            self._sent(at, effect)  # type: ignore[arg-type]  # as its type says
        elif kind is fx.Announce:
            self._announced(at, effect)  # type: ignore[arg-type]
        elif isinstance(effect, fx.Invoke):
            self._invoked(at, effect)
        elif isinstance(effect, fx.EndFeed):
            if self._calls.get(effect.call_id, ("", ""))[1] == "stt" and not effect.last:
                self._asked = True
        elif isinstance(effect, fx.KillCall):
            self._over(effect.call_id)

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        return self._keeper.evidence(record_id, evidence)

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None:
        self._keeper.closed_turn(record_id, stamp)

    def closed(self) -> None:
        self._keeper.closed()

    # ---- what is noted ---------------------------------------------------------------------------------------------

    def _over(self, call_id: str) -> None:
        _, modality = self._calls.pop(call_id, (None, ""))
        if modality == "stt":
            self._asked = False

    def _invoked(self, at: int, call: fx.Invoke) -> None:
        self._calls[call.call_id] = (call.turn_id, call.modality)
        turn = self.turns.get(call.turn_id or "")
        said = call.event.payload if call.event else None
        if turn is None or not isinstance(said, Text):
            return
        if call.modality == "tts":
            turn.sentence_at = at if turn.sentence_at is None else turn.sentence_at
            if call.attempt <= 1:
                turn.spoken.append(said.text.strip())
                self._told("reply", at, said.text.strip())
        elif said.role == "user" and not turn.transcript:
            turn.transcript = said.text.strip()
            self._told("asked", at, turn.transcript)

    def _produced(self, at: int, chunk: i.CallProduced) -> None:
        turn_id, modality = self._calls.get(chunk.call_id, (None, ""))
        if modality == "stt" and isinstance(chunk.payload, Text) and chunk.payload.final:
            self._asked = False
            if chunk.payload.text.strip():
                self._words_at = at
        turn = self.turns.get(turn_id or "")
        if turn is None:
            return
        if modality == "llm" and turn.token_at is None:
            turn.token_at = at
        elif modality == "tts" and turn.audio_at is None:
            turn.audio_at = at

    def _sent(self, at: int, effect: fx.Send) -> None:
        turn = self.turns.get(effect.event.scope.turn_id or "")
        payload = effect.event.payload
        if turn is None:
            return
        if isinstance(payload, Text) and payload.role == "assistant" and payload.text.strip():
            turn.shown.append(payload.text.strip())
        elif isinstance(payload, Audio) and payload.samples and turn.sent_at is None:
            turn.sent_at = at
            turn.stopped_at, turn.words_at = self._stopped_at, self._words_at

    def _announced(self, at: int, effect: fx.Announce) -> None:
        signal, turn_id = effect.event.payload, effect.event.scope.turn_id
        if not isinstance(signal, Signal):
            return
        name = signal.signal
        if name == SignalName.SPEECH_STOPPED:
            self._stopped_at = at
        elif name == SignalName.TURN_OPEN and turn_id is not None:
            self.turns[turn_id] = TurnNotes(turn_id, at)
        elif name == SignalName.TURN_SUPERSEDED and turn_id in self.turns:
            self.turns[turn_id].superseded = True
        elif name == SignalName.PLAYBACK_CANCELLED and turn_id in self.turns and signal.reason == "barge_in":
            self.turns[turn_id].cut_at = at
            self._told("interrupted", at, "")
        elif name in (SignalName.COMMIT, SignalName.ABORT) and turn_id in self.turns:
            turn = self.turns[turn_id]
            turn.terminal, turn.reason = name, signal.reason
            if name == SignalName.ABORT and not turn.superseded and turn.cut_at is None:
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
                speech_ns,
                heard.get(turn.turn_id, Heard()),
                evidence.get(turn.turn_id),
                stamps,
                start_ns,
            )
            for turn in self.turns.values()
            if turn.sent_at is not None or not turn.superseded
        ]

    @property
    def superseded(self) -> int:
        return sum(turn.superseded and turn.sent_at is None for turn in self.turns.values())


def _turn_report(
    turn: TurnNotes,
    speech_ns: Sequence[int],
    heard: Heard,
    evidence: TurnEvidence | None,
    stamps: Mapping[str, CloseStamp],
    start_ns: int,
) -> TurnReport:
    lacking = ("evidence",) if evidence is None else missing_fields(evidence, stamps.get(turn.turn_id))
    ended = _speech_ended(turn, speech_ns, heard)
    whole, stages = _stages(turn, ended, heard)

    def at_ms(at: int | None) -> float | None:
        return None if at is None else round((at - start_ns) / NS_PER_TENTH) / 10

    return TurnReport(
        turn_id=turn.turn_id,
        transcript=turn.transcript,
        reply=" ".join(turn.spoken or turn.shown),
        end_of_speech_to_first_audio_ms=whole,
        stages_ms=stages,
        terminal=turn.terminal,
        terminal_reason=turn.reason,
        evidence_complete=not lacking,
        evidence_missing=lacking,
        interrupted=turn.cut_at is not None,
        heard_ms=heard.heard_ms,
        gap_ms_most=heard.gap_ms_most,
        speech_to_silence_ms=_silenced(turn, speech_ns, heard),
        speech_ended_at_ms=at_ms(ended),
        first_audio_at_ms=at_ms(heard.first_ns),
        last_audio_at_ms=at_ms(heard.last_ns),
        interrupted_at_ms=at_ms(_interrupted_at(turn, speech_ns)),
    )


def _speech_ended(turn: TurnNotes, speech_ns: Sequence[int], heard: Heard) -> int | None:
    """The last frame of the speech that this turn answers, if its answer was heard, and after it."""
    said = bisect_right(speech_ns, turn.stopped_at or turn.opened_at)
    if not said or heard.first_ns is None or heard.first_ns < speech_ns[said - 1]:
        return None
    return speech_ns[said - 1]


def _stages(turn: TurnNotes, ended: int | None, heard: Heard) -> tuple[float | None, dict[str, float]]:
    """The whole and its parts, in milliseconds; nothing where nothing was heard, or nothing said before it."""
    last = heard.first_ns
    if ended is None or last is None:
        return None, {}
    marks = (turn.stopped_at, turn.words_at, turn.token_at, turn.sentence_at, turn.audio_at, last)
    stages: dict[str, float] = {}
    before = 0
    for stage, mark in zip(STAGES, marks, strict=True):
        at = ended if mark is None else min(mark, last)
        # In whole tenths of a millisecond from the end of speech, so that rounding loses nothing.
        now = max(before, round((at - ended) / NS_PER_TENTH))
        stages[stage] = (now - before) / 10
        before = now
    return before / 10, stages


def _interrupted_at(turn: TurnNotes, speech_ns: Sequence[int]) -> int | None:
    """The first frame of the speech that interrupted."""
    if turn.cut_at is None:
        return None
    index = bisect_right(speech_ns, turn.cut_at) - 1
    if index < 0:
        return None
    while index and speech_ns[index] - speech_ns[index - 1] <= HOLE_NS:
        index -= 1
    return speech_ns[index]


def _silenced(turn: TurnNotes, speech_ns: Sequence[int], heard: Heard) -> float | None:
    """From the first frame of the speech that interrupted to the last sound of the turn."""
    began = _interrupted_at(turn, speech_ns)
    if began is None or heard.last_ns is None:
        return None
    return max(0, round((heard.last_ns - began) / NS_PER_TENTH)) / 10
