"""What one recording says of each of its turns, put side by side: the evidence, and the timeline that must agree with it.

An accepted turn is one that was opened in the timeline or that has evidence; either alone is a fault that the gates name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.words import RecordingLevel
from rspp.kernel.inputs import AudioReceived, SpeechScored, TextReceived
from rspp.kernel.shapes import sum_of_record
from rspp.kernel.trace import Item
from rspp.timeline.recording import Recording

ENDINGS: Final = frozenset({"commit", "abort", "close"})
_ENCODE: Final = msgspec.msgpack.Encoder(enc_hook=str).encode


class TurnFacts(msgspec.Struct, kw_only=True):
    """One accepted turn. Times are the session's nanoseconds."""

    session_id: str
    turn_id: str
    evidence: TurnEvidence | None = None
    stamp: CloseStamp | None = None
    proposed: list[int] = []
    opened: list[int] = []
    endings: list[tuple[str, int]] = []  # commit, abort and close, in their order
    cancels: list[int] = []  # cancellations of the whole turn that were announced
    fences_ms: list[int] = []  # and when, by their own word, the fence was in force
    playing_at: int | None = None  # the first word of the transport that it is heard
    sent_at: int | None = None  # the first output that left, as far as outputs are recorded
    sent_last_at: int | None = None  # and the last
    altered: bool = False  # the evidence is not the one whose sum the timeline has
    ingress_seen: bool = True  # a frame or its score came when the evidence says that the words began
    sounded: bool = False
    spoken: bool = False  # the caller had spoken since the intent before it
    away: bool = False  # its line was gone for a while
    sends_recorded: bool = True


class SessionFacts(msgspec.Struct, kw_only=True):
    """One recording's turns, and what must be known to read them."""

    session_id: str
    tenant_id: str
    pipeline: str
    level: RecordingLevel
    whole: bool
    gaps: int
    reports_playback: bool
    turns: dict[str, TurnFacts]
    digest: str


def gather(recording: Recording) -> SessionFacts:
    """Read one recording once."""
    head = recording.head
    facts = SessionFacts(
        session_id=recording.session_id,
        tenant_id=recording.tenant_id,
        pipeline=head.graph.ref,
        level=head.level,
        whole=recording.whole,
        gaps=len(recording.gaps) + recording.torn,
        reports_playback=head.request.reports_playback,
        turns={},
        digest=digest_of(recording),
    )
    _timeline(facts, recording)
    for run in recording.runs:
        if run.turn is not None:
            turn = _turn(facts, run.turn)
            turn.sounded = True
            _left(turn, run.at, run.last_at)
    _evidence(facts, recording)
    seen = sees_outputs(recording)
    for turn in facts.turns.values():
        turn.sends_recorded = seen
    if recording.whole:
        _ingress(facts, recording)
    return facts


def sees_outputs(recording: Recording) -> bool:
    """Is all that was sent on record: never at level L0, and nothing of it lost?"""
    low = recording.head.level is RecordingLevel.L0 or any(
        change.new is RecordingLevel.L0 for change in recording.levels
    )
    return not (low or recording.gaps or recording.torn)


def _left(turn: TurnFacts, first: int, last: int) -> None:
    """Output of the turn left between these two moments."""
    turn.sent_at = first if turn.sent_at is None else min(turn.sent_at, first)
    turn.sent_last_at = last if turn.sent_last_at is None else max(turn.sent_last_at, last)


def _ingress(facts: SessionFacts, recording: Recording) -> None:
    """Did anything of a voice come in when the evidence says that the turn's words began?"""
    heard = {at for at, one in recording.inputs.values() if isinstance(one, AudioReceived | SpeechScored)}
    for turn in facts.turns.values():
        at = turn.evidence.audio_input_ingress_at if turn.evidence else None
        turn.ingress_seen = at is None or at in heard


def _turn(facts: SessionFacts, turn_id: str) -> TurnFacts:
    found = facts.turns.get(turn_id)
    if found is None:
        found = facts.turns[turn_id] = TurnFacts(
            session_id=facts.session_id,
            turn_id=turn_id,
            proposed=[],
            opened=[],
            endings=[],
            cancels=[],
            fences_ms=[],
        )
    return found


def _timeline(facts: SessionFacts, recording: Recording) -> None:
    listening, line = _Spoken(recording), _Line()
    proposed: dict[str | None, list[int]] = {}  # by the turn that it may become
    for item in recording.items:
        if item.what == "send" and item.turn is not None:
            _left(_turn(facts, item.turn), item.at, item.at)
        if item.what != "signal":
            continue
        listening.take(item)
        if item.name == "turn_open_proposed":
            proposed.setdefault(_detail(item).get("candidate"), []).append(item.at)
        if item.turn is not None:
            _signal(_turn(facts, item.turn), item, spoken=listening.intent)
        line.take(item, facts)
    for turn in facts.turns.values():
        turn.proposed = proposed.get(turn.turn_id, [])


def _detail(item: Item) -> Mapping[str, Any]:
    return item.facts.get("detail") or {}


class _Line:
    """Was the caller there? A turn that nobody could be sent anything of says nothing of how soon it would have been."""

    def __init__(self) -> None:
        self._gone = False
        self._open: set[str] = set()

    def take(self, item: Item, facts: SessionFacts) -> None:
        if item.name in ("disconnected", "reconnecting", "stall"):
            self._gone = True
        elif item.name == "connected":
            self._gone = False
        elif item.name == "turn_open" and item.turn is not None:
            self._open.add(item.turn)
        elif item.name == "close" and item.turn is not None:
            self._open.discard(item.turn)
        if self._gone:
            for turn_id in self._open:
                facts.turns[turn_id].away = True


class _Spoken:
    """Was the last intent a spoken one? Told from the signals, so that an anchor that is missing is missed."""

    def __init__(self, recording: Recording) -> None:
        self.intent = False
        self._inputs = recording.inputs
        self._voices: set[object] = set()  # utterances that somebody spoke
        self._open = False  # a voice has begun that no intent has answered yet
        self._ended: tuple[int, bool] = (
            -1,
            False,
        )  # the step of the last end of an utterance, and if it was spoken

    def take(self, item: Item) -> None:
        utterance = _detail(item).get("utterance")
        if item.name == "speech_started":
            self._voices.add(utterance)
            self._open = True
        elif item.name == "end_of_utterance":
            self._ended = item.step, utterance in self._voices
            self._open = False
        elif item.name == "turn_open_proposed":
            step, voiced = self._ended
            if step == item.step:
                self.intent = voiced
            else:
                _, received = self._inputs.get(item.step, (0, None))
                self.intent = self._open and not isinstance(received, TextReceived)
                self._open = False


def _signal(turn: TurnFacts, item: Item, *, spoken: bool) -> None:
    if item.name == "turn_open":
        turn.opened.append(item.at)
        turn.spoken = turn.spoken or spoken
    elif item.name in ENDINGS:
        turn.endings.append((item.name, item.at))
    elif item.name == "playback_started":
        turn.playing_at = item.at if turn.playing_at is None else turn.playing_at
    elif item.name == "cancel":
        turn.cancels.append(item.at)
        turn.fences_ms.append(_detail(item).get("fence_at_ms", -1))


def _evidence(facts: SessionFacts, recording: Recording) -> None:
    """A turn may have been asked for its evidence more than once: the record that its close is of counts, else the last."""
    sums: dict[object, int] = {
        item.facts.get("record"): item.facts["sum"]
        for item in recording.items
        if item.what == "store_evidence" and "sum" in item.facts
    }
    closed_by = {stamp.turn_id: record_id for record_id, stamp in recording.stamps.items()}
    for record_id, evidence in recording.evidence.items():
        turn = _turn(facts, evidence.turn_id)
        turn.altered = turn.altered or sums.get(record_id, sum_of_record(evidence)) != sum_of_record(evidence)
        if closed_by.get(evidence.turn_id, record_id) == record_id:
            turn.evidence = evidence
    for stamp in recording.stamps.values():
        turn = _turn(facts, stamp.turn_id)
        turn.stamp = stamp


def digest_of(recording: Recording) -> str:
    """Of everything that is judged: two recordings of one digest get one verdict."""
    found = hashlib.sha256(recording.session_id.encode())
    inputs = sorted((step, at, received) for step, (at, received) in recording.inputs.items())
    for part in (recording.head.request.epoch, recording.items, recording.runs, inputs):
        found.update(_ENCODE(part))
    for record_id in sorted({*recording.evidence, *recording.stamps}):
        found.update(_ENCODE([record_id, recording.evidence.get(record_id), recording.stamps.get(record_id)]))
    return found.hexdigest()
