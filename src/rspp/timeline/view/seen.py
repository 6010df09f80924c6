"""All that is shown of one recording, ready to be printed or drawn: its head, its turns, its rows, what of it is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.contract.evidence import TurnEvidence, missing_fields
from rspp.kernel.hosting import NodeFactory
from rspp.timeline.recording import Recording
from rspp.timeline.sense import check_items
from rspp.timeline.story import Said, Story, told
from rspp.timeline.view.again import Again, again
from rspp.timeline.view.rows import Row, rows
from rspp.timeline.view.words import Marked, Wording, joined
from rspp.timeline.waterfall import (
    Marks,
    Waterfall,
    meant,
    questions,
    speech_of,
    stopped_after_ms,
    watched,
    waterfalls,
)


class CallSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One provider call of a turn, by the turn's evidence."""

    modality: str
    provider: str
    outcome: str
    attempts: int
    ms: int
    reason: str | None

    @property
    def trouble(self) -> str | None:
        """What kept the caller waiting, if this call did not answer at once."""
        if self.attempts <= 1 and self.outcome in ("success", "cancelled"):
            return None
        why = f", {self.reason}" if self.reason not in (None, self.outcome) else ""
        ended = "answered" if self.outcome == "success" else self.outcome
        at = f" at attempt {self.attempts}" if self.attempts > 1 else ""
        return f"{self.modality} {self.provider}: {ended}{at}, after {self.ms} ms{why}"


class TurnSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. Times are milliseconds of the session."""

    turn_id: str
    number: int
    opened_ms: float
    ended_ms: float | None
    terminal: str
    reason: str | None
    interrupted: bool
    asked: str
    replied: str
    heard_ms: int
    whole_ms: float | None
    stages_ms: dict[str, float]
    speech_ended_ms: float | None
    heard_from_ms: float | None
    speech_by: str | None
    heard_by: str | None
    broken: bool
    plan_hash: str | None
    evidence_missing: tuple[str, ...]
    calls: list[CallSeen]
    stopped_after_ms: float | None = None  # since the caller spoke over it
    heard: str | None = None  # of an interrupted answer, the words that were heard; None: nobody knows

    @property
    def ends(self) -> str:
        return "interrupted" if self.interrupted else self.reason or self.terminal


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the transcript."""

    time_ms: float
    role: str
    text: str
    turn_id: str | None = None
    cut: bool = False
    heard: str | None = None  # how the text begins, as far as its caller heard it; None: nobody knows


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording says of itself, and what is missing."""

    session_id: str
    tenant_id: str
    pipeline: str
    version: str
    profile: str
    level: str
    level_path: list[str]
    policy_id: str
    sampled: str
    origin: str
    runtime: str
    opened: str
    duration_ms: float
    inputs: int
    effects: int | None
    turns: int
    superseded: int
    gaps: list[str]
    withheld_texts: int
    withheld_audio: int
    torn: bool
    unknown_records: int
    ended: str | None
    whole: bool
    lacks: str | None
    digest: str | None
    digest_replayed: str | None
    not_replayed: str | None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One recording."""

    head: Head
    turns: list[TurnSeen]
    rows: list[Row]
    transcript: list[Line]
    story: Story
    replayed: Story | None
    marks: dict[str, Marks]
    falls: list[Waterfall]


def see(
    recording: Recording,
    factories: Mapping[str, NodeFactory] | None = None,
    *,
    frames: bool = False,
) -> Seen:
    """Without `factories` no kernel runs, and only what stands in the recording is shown. Raises CodecError for a trace that
    no kernel could have left.
    """
    check_items(recording.items)
    story = told(recording)
    run = Again(None, "not asked for") if factories is None else again(recording, factories, frames=frames)
    if run.story is not None:
        story.said, story.remembered = run.story.said, run.story.remembered
    wording = Wording(recording, story)
    marks = watched(story)
    told_turns = _Turns(recording, story, wording, marks)
    turns = told_turns.all()
    return Seen(
        head=_head(recording, story, run, marks),
        turns=turns,
        rows=rows(recording, story, Wording(recording, story)),
        transcript=_transcript(story, turns, wording, told_turns.turn_of),
        story=story,
        replayed=run.story,
        marks=marks,
        falls=told_turns.falls,
    )


def ms_of(story: Story, at: int | None) -> float | None:
    """A moment as milliseconds of the session."""
    return None if at is None else round((at - story.began_at) / NS_PER_MS, 3)


# ---- head ------------------------------------------------------------------------------------------------------------


def _head(recording: Recording, story: Story, run: Again, marks: Mapping[str, Marks]) -> Head:
    head, end = recording.head, recording.end
    # A digest is over all inputs: one over fewer is not the recording's.
    replayed = run.story if run.story is not None and recording.whole else None
    return Head(
        session_id=head.session_id,
        tenant_id=head.tenant_id,
        pipeline=head.graph.pipeline,
        version=head.graph.version,
        profile=head.graph.profile,
        level=head.level.value,
        level_path=[
            f"{change.old.value} to {change.new.value} at {(change.at - story.began_at) / 1e9:.2f} s: {change.trigger}"
            for change in recording.levels
        ],
        policy_id=head.policy_id,
        sampled=head.sampled,
        origin=head.origin,
        runtime=head.runtime,
        opened=_day(head.opened_wall_ms),
        duration_ms=ms_of(story, recording.ended_at) or 0.0,
        inputs=len(recording.inputs),
        effects=story.effects or None,  # counted at the end, if there is one
        turns=sum(map(meant, marks.values())),
        superseded=sum(not meant(turn) for turn in marks.values()),
        gaps=[f"from input {gap.step} on: {gap.reason}" for gap in recording.gaps],
        withheld_texts=len(recording.withheld_texts) + len(recording.masked),
        withheld_audio=len(recording.without_sound) + len(recording.masked_sound),
        torn=recording.torn,
        unknown_records=recording.unknown,
        ended=end.reason if end else None,
        whole=recording.whole,
        lacks=_lacks(recording),
        digest=story.digest,
        digest_replayed=replayed.digest if replayed else None,
        not_replayed=run.why_not,
    )


def _lacks(recording: Recording) -> str | None:
    """What a recording that is not whole does not have."""
    if recording.whole:
        return None
    if not recording.inputs:
        return "no inputs are recorded"
    through, last = recording.complete_through, max(recording.inputs)
    if through < last:
        after = min(step for step in recording.inputs if step > through)
        return f"inputs {through + 1} to {after - 1} are missing"
    return "the end is missing" if recording.end is None else f"the inputs after {last} are missing"


def _day(wall_ms: int) -> str:
    """A wall clock's time, as far as there are such days."""
    try:
        return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{wall_ms} ms"


# ---- turns -----------------------------------------------------------------------------------------------------------


class _Turns:
    def __init__(
        self, recording: Recording, story: Story, wording: Wording, marks: Mapping[str, Marks]
    ) -> None:
        self._story, self._wording = story, wording
        self._marks = [turn for turn in marks.values() if meant(turn)]
        self._asked = questions(story, marks)
        speech = speech_of(story)
        self._speech_ns = speech.voiced_ns
        self.falls = waterfalls(story, marks, speech)
        self._falls = {one.turn_id: one for one in self.falls}
        self._evidence = {one.turn_id: one for one in recording.evidence.values()}
        self._stamps = {one.turn_id: one for one in recording.stamps.values()}

    @property
    def turn_of(self) -> dict[int, str]:
        """The turn that answers what was said at an input."""
        return {said.step: turn_id for turn_id, words in self._asked.items() for said in words}

    def all(self) -> list[TurnSeen]:
        made: list[TurnSeen] = []
        for number, turn in enumerate(self._marks, 1):
            words = self._asked.get(turn.turn_id, [])
            asked = _spoken(self._wording.heard(one.step, one.text) for one in words)
            made.append(self._turn(number, turn, self._falls[turn.turn_id], asked))
        return made

    def _turn(self, number: int, turn: Marks, fall: Waterfall, asked: str) -> TurnSeen:
        evidence, stamp = self._evidence.get(turn.turn_id), self._stamps.get(turn.turn_id)
        story = self._story
        replied = _replied(story.said, turn.turn_id, self._wording)
        return TurnSeen(
            turn_id=turn.turn_id,
            number=number,
            opened_ms=ms_of(story, turn.opened_at) or 0.0,
            ended_ms=ms_of(story, turn.ended_at),
            terminal=turn.terminal,
            reason=turn.reason,
            interrupted=turn.cut_at is not None,
            asked=asked,
            replied=replied,
            heard_ms=turn.heard_ms,
            whole_ms=fall.whole_ms,
            stages_ms=fall.stages_ms,
            speech_ended_ms=ms_of(story, fall.speech_ended_at),
            heard_from_ms=ms_of(story, fall.heard_at),
            speech_by=fall.speech_by,
            heard_by=fall.heard_by,
            broken=fall.broken,
            plan_hash=evidence.plan_hash if evidence else None,
            evidence_missing=("evidence",) if evidence is None else missing_fields(evidence, stamp),
            calls=_calls(evidence),
            stopped_after_ms=stopped_after_ms(turn, self._speech_ns),
            heard=_heard(story, turn, replied),
        )


def _replied(said: Iterable[Said], turn_id: str, wording: Wording) -> str:
    """What was sent; where no kernel ran, what the models wrote."""
    sent = [one for one in said if one.turn == turn_id and one.role == "assistant"]
    if not sent:
        return wording.written(turn_id).shown.strip()
    return _spoken(wording.sent(one.turn, one.text) for one in sent)


def _spoken(texts: Iterable[Marked]) -> str:
    pieces: list[Marked] = []
    for text in texts:
        pieces += [Marked(" "), text] if pieces else [text]
    return joined(pieces).shown.strip()


def _heard(story: Story, turn: Marks, replied: str) -> str | None:
    """The words of an interrupted answer that its session remembers; None where it remembers other words than are shown."""
    if turn.cut_at is None:
        return None
    if turn.heard_ms == 0:
        return ""
    kept = next((one.answer for one in story.remembered if one.at >= turn.cut_at), None)
    return kept if kept is not None and replied.startswith(kept) else None


def _calls(evidence: TurnEvidence | None) -> list[CallSeen]:
    return [
        CallSeen(
            modality=one.modality,
            provider=one.provider,
            outcome=one.outcome_class.value,
            attempts=one.attempts,
            ms=one.total_latency_ms,
            reason=one.reason,
        )
        for one in (evidence.invocation_outcomes if evidence else ())
    ]


# ---- transcript ------------------------------------------------------------------------------------------------------


def _transcript(
    story: Story, turns: Iterable[TurnSeen], wording: Wording, turn_of: Mapping[int, str]
) -> list[Line]:
    """Who said what: the caller's final words, and each turn's answer where it began to be heard."""
    lines = [
        Line(
            time_ms=ms_of(story, one.at) or 0.0,
            role="user",
            text=wording.heard(one.step, one.text).shown,
            turn_id=turn_of.get(one.step),
        )
        for one in story.heard
        if one.final and one.text.strip()
    ]
    lines += [
        Line(
            time_ms=turn.opened_ms if turn.heard_from_ms is None else turn.heard_from_ms,
            role="assistant",
            text=turn.replied,
            turn_id=turn.turn_id,
            cut=turn.interrupted,
            heard=turn.heard,
        )
        for turn in turns
        if turn.replied
    ]
    return sorted(lines, key=lambda line: line.time_ms)
