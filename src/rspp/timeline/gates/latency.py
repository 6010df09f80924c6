"""Gates 1, 2, 3 and 7: a span between two anchors, each of them recorded, of every turn for which it is due.

    1  intent accepted at ingress -> turn_open
    2  turn_open -> first output, on the happy path
    3  cancel accepted -> fence in force
    7  first frame of the words -> playback started

The happy path is a turn that nobody cancelled, that kept its authority and its line, and whose calls all succeeded at their
first attempt.
A turn that aborts because time was up, its own or its providers', is on it: being late is what is measured, and being given
up for it is no excuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rspp.contract.evidence import TurnEvidence
from rspp.contract.words import AbortReason, OutcomeClass
from rspp.timeline.gates.facts import SessionFacts, TurnFacts
from rspp.timeline.gates.report import NS_PER_MS, Violation

# What a call may have come to without anybody having to do without it: it was no longer needed, or it answered.
_UNTROUBLED = frozenset({OutcomeClass.SUCCESS, OutcomeClass.CANCELLED})


class Spans:
    """The spans of one gate, and what kept others from being measured."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.spans: list[int] = []
        self.turns: list[TurnFacts] = []  # of which turn each is
        self.ends: list[int] = []  # when each of them ended
        self.violations: list[Violation] = []

    def take(self, turn: TurnFacts, first: tuple[str, int | None], then: tuple[str, int | None]) -> None:
        """One turn's span; an anchor that is missing, or a span below zero, is a violation by the anchor's name."""
        missing = [name for name, at in (first, then) if at is None]
        for name in missing:
            self.blame(turn, name, "missing")
        if first[1] is None or then[1] is None:
            return
        span = then[1] - first[1]
        if span < 0:
            self.blame(turn, then[0], f"{-span / NS_PER_MS:g} ms before {first[0]}")
        else:
            self.spans.append(span)
            self.turns.append(turn)
            self.ends.append(then[1])

    def blame(self, turn: TurnFacts, anchor: str, what: str) -> None:
        self.violations.append(Violation(turn.session_id, turn.turn_id, anchor, what))


def open_decision(turns: Iterable[TurnFacts]) -> Spans:
    """Gate 1: every accepted turn."""
    spans = Spans(1)
    for turn in turns:
        evidence = turn.evidence
        if evidence is None:
            spans.blame(turn, "turn_open_proposed_at", "missing: the turn has no evidence")
            continue
        spans.take(
            turn,
            ("turn_open_proposed_at", evidence.turn_open_proposed_at),
            ("turn_open_at", evidence.turn_open_at),
        )
        for name, what in _contradictions(turn):
            spans.blame(turn, name, what)
    return spans


def _contradictions(turn: TurnFacts) -> Iterator[tuple[str, str]]:
    """The evidence and the timeline are of one turn: they must not disagree on when it opened."""
    evidence = turn.evidence
    assert evidence is not None
    if evidence.turn_open_proposed_at is not None and evidence.turn_open_proposed_at not in turn.proposed:
        yield "turn_open_proposed_at", "not in the timeline: no turn_open_proposed of this turn at that time"
    if evidence.turn_open_at is not None and evidence.turn_open_at not in turn.opened:
        yield "turn_open_at", "not in the timeline: no turn_open of this turn at that time"


def happy(turn: TurnFacts) -> bool:
    """Is this turn on the happy path?"""
    evidence = turn.evidence
    if evidence is None or evidence.cancel_accepted_at is not None or turn.cancels or turn.away:
        return False
    if evidence.terminal_outcome != "commit":
        return _late(evidence)
    return all(
        call.attempts <= 1 and call.outcome_class in _UNTROUBLED for call in evidence.invocation_outcomes
    )


def _late(evidence: TurnEvidence) -> bool:
    """Was this turn given up because time ran out, its own or its providers', and for nothing else?"""
    if evidence.terminal_reason == AbortReason.PROVIDER_FAILURE:
        failed = {call.outcome_class for call in evidence.invocation_outcomes} - _UNTROUBLED
        return failed == {OutcomeClass.TIMEOUT}
    return evidence.terminal_reason == AbortReason.BUDGET_EXHAUSTED


def first_output(turns: Iterable[TurnFacts]) -> Spans:
    """Gate 2: every turn on the happy path."""
    spans = Spans(2)
    for turn in turns:
        evidence = turn.evidence
        if evidence is None or not happy(turn):
            continue
        first = evidence.first_output_at
        spans.take(turn, ("turn_open_at", evidence.turn_open_at), ("first_output_at", first))
        if first is not None and turn.sends_recorded and turn.sent_at != first:
            spans.blame(
                turn, "first_output_at", "not in the timeline: nothing of this turn left at that time"
            )
    return spans


def cancel_fence(turns: Iterable[TurnFacts]) -> Spans:
    """Gate 3: every turn of which a cancellation was accepted, as its evidence or the timeline says."""
    spans = Spans(3)
    for turn in turns:
        evidence = turn.evidence
        accepted = evidence.cancel_accepted_at if evidence else None
        fenced = evidence.cancel_fence_at if evidence else None
        cancelled = evidence is not None and evidence.terminal_reason == AbortReason.CANCELLED
        if accepted is not None or fenced is not None or turn.cancels or cancelled:
            spans.take(turn, ("cancel_accepted_at", accepted), ("cancel_fence_at", fenced))
        if fenced is not None:
            _fenced(spans, turn, fenced)
    return spans


def _fenced(spans: Spans, turn: TurnFacts, fenced: int) -> None:
    """A fence that the evidence tells of is the timeline's as well, and nothing left behind it."""
    if fenced // NS_PER_MS not in turn.fences_ms:
        spans.blame(turn, "cancel_fence_at", "not in the timeline: no cancel of this turn names that fence")
    if turn.sent_last_at is not None and turn.sent_last_at > fenced:
        late_ms = (turn.sent_last_at - fenced) / NS_PER_MS
        spans.blame(
            turn, "cancel_fence_at", f"not in force: output of this turn left {late_ms:g} ms after it"
        )


def end_to_end(sessions: Iterable[SessionFacts]) -> Spans:
    """Gate 7: every turn that answers spoken words and was heard, or had to be."""
    spans = Spans(7)
    for session in sessions:
        for turn in session.turns.values():
            for first, then in _end_to_end(session, turn, spans):
                spans.take(turn, ("audio_input_ingress_at", first), ("playback_started_at", then))
    return spans


def _end_to_end(
    session: SessionFacts, turn: TurnFacts, spans: Spans
) -> Iterator[tuple[int | None, int | None]]:
    evidence = turn.evidence
    ingress = evidence.audio_input_ingress_at if evidence else None
    # A short answer is over before the transport says that it is heard: then only the timeline knows.
    told = evidence.playback_started_at if evidence else None
    started = turn.playing_at if told is None else told
    if ingress is None and not turn.spoken:
        return
    if started is None and not _had_to_be_heard(turn):
        return
    if told is not None and turn.playing_at != told:
        spans.blame(turn, "playback_started_at", "not when the timeline says that playback started")
    if not turn.ingress_seen:
        spans.blame(
            turn, "audio_input_ingress_at", "not in the recording: no frame or score came at that time"
        )
    if started is None and not session.reports_playback:
        spans.blame(turn, "playback_started_at", "missing: this transport reports no playback")
        return
    yield ingress, started


def _had_to_be_heard(turn: TurnFacts) -> bool:
    """Nobody took the answer back, and it was made, or its time ran out."""
    evidence = turn.evidence
    if evidence is None:
        return turn.sounded
    if evidence.cancel_accepted_at is not None or turn.cancels or turn.away:
        return False
    if evidence.terminal_outcome != "commit" and _late(evidence):
        return True
    return evidence.terminal_outcome == "commit" and (turn.sounded or not turn.sends_recorded)
