"""Texts as people may see them: what is masked is named, what is withheld is counted, and no stand-in is ever shown as words.

    my card is [card], call me at [phone]            (withheld, 23 characters)

A kernel that is fed stand-ins sends stand-ins: what was sent is traced back to the inputs it was made of, and if that
cannot be done, it is not shown either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from rspp.contract.event import Text
from rspp.kernel.inputs import CallProduced, TextReceived
from rspp.timeline.recording import Recording
from rspp.timeline.records import Span
from rspp.timeline.story import Story

WITHHELD: Final = "withheld"


class Marked(msgspec.Struct, frozen=True):
    """A text, and where in it something else stands for what was said."""

    text: str
    spans: tuple[Span, ...] = ()

    @property
    def shown(self) -> str:
        out: list[str] = []
        at = 0
        for span in self.spans:
            out += (self.text[at : span.start], _named(span))
            at = span.end
        return "".join((*out, self.text[at:]))

    def cut(self, start: int, end: int) -> Marked:
        """A part of it."""
        kept = (
            Span(max(span.start, start) - start, min(span.end, end) - start, span.kind)
            for span in self.spans
            if span.start < end and span.end > start
        )
        return Marked(self.text[start:end], tuple(kept))


def _named(span: Span) -> str:
    return f"(withheld, {span.end - span.start} characters)" if span.kind == WITHHELD else f"[{span.kind}]"


def withheld(text: str) -> Marked:
    """Nothing of a text but its length."""
    return Marked(text, (Span(0, len(text), WITHHELD),) if text else ())


def marked(recording: Recording, step: int, text: str) -> Marked:
    """The text of input `step`."""
    if step in recording.withheld_texts:
        return withheld(text)
    spans = sorted(
        (span for span in recording.masked.get(step, ()) if 0 <= span.start < span.end <= len(text)),
        key=lambda span: span.start,
    )
    if any(one.end > after.start for one, after in pairwise(spans)):
        return withheld(text)  # nobody can say which place is meant
    return Marked(text, tuple(spans))


def joined(pieces: Iterable[Marked]) -> Marked:
    """Texts one after the other; what is masked across a seam is one place."""
    text: list[str] = []
    spans: list[Span] = []
    at = 0
    for piece in pieces:
        for span in piece.spans:
            start, end = span.start + at, span.end + at
            if spans and spans[-1].end == start and spans[-1].kind == span.kind:
                start = spans.pop().start
            spans.append(Span(start, end, span.kind))
        text.append(piece.text)
        at += len(piece.text)
    return Marked("".join(text), tuple(spans))


class Wording:
    """All texts of a run."""

    def __init__(self, recording: Recording, story: Story) -> None:
        self._recording = recording
        self._clean = not recording.masked and not recording.withheld_texts
        turns = {one.facts["call"]: one.turn for one in story.items if one.what == "invoke"}
        self._written: dict[str | None, list[Marked]] = {}
        self._spoken: list[Marked] = []
        for step, (_, received) in recording.inputs.items():
            if isinstance(received, TextReceived):
                self._spoken.append(marked(recording, step, received.text))
            elif isinstance(received, CallProduced) and isinstance(received.payload, Text):
                piece = marked(recording, step, received.payload.text)
                if received.payload.role == "user":
                    self._spoken.append(piece)
                else:
                    self._written.setdefault(turns.get(received.call_id), []).append(piece)
        self._sources: dict[str | None, Marked] = {}
        self._cursor: dict[str | None, int] = {}

    def heard(self, step: int, text: str) -> Marked:
        """What came in at this step."""
        return marked(self._recording, step, text)

    def written(self, turn: str | None) -> Marked:
        """All that models wrote in a turn, one piece after the other."""
        if turn not in self._sources:
            self._sources[turn] = joined(self._written.get(turn, ()))
        return self._sources[turn]

    def sent(self, turn: str | None, text: str) -> Marked:
        """What was sent toward the caller; to be asked in the order of sending."""
        if self._clean or not text:
            return Marked(text)
        source = self.written(turn)
        at = source.text.find(text, self._cursor.get(turn, 0))
        if at >= 0:
            self._cursor[turn] = at + len(text)
            return source.cut(at, at + len(text))
        return _found(text, self._spoken) or self._judged(text, source)

    def _judged(self, text: str, source: Marked) -> Marked:
        """Made of something that cannot be found again: shown only if nothing in it can be a stand-in."""
        may_hold = bool(source.spans) or any(piece.spans for piece in self._spoken)
        return withheld(text) if may_hold else Marked(text)


def _found(text: str, pieces: Sequence[Marked]) -> Marked | None:
    """The latest of these texts that has it; one with something masked in it is meant before one without."""
    holding = [piece for piece in reversed(pieces) if text in piece.text]
    if not holding:
        return None
    piece = next((one for one in holding if one.spans), holding[0])
    at = piece.text.find(text)
    return piece.cut(at, at + len(text))
