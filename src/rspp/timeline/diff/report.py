"""What a comparison comes to, as data: for a table, a JSON document and a page alike."""

from __future__ import annotations

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.timeline.diff.expected import Verdict
from rspp.timeline.diff.findings import Divergence, Tolerance
from rspp.timeline.diff.outputs import TurnPair
from rspp.timeline.story import Story


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two runs, in short."""

    label: str
    session_id: str
    mode: str
    decisions: str
    digest: str | None
    words: str | None
    inputs: int
    items: int
    turns: int
    seconds: float
    has_sound: bool
    withheld_texts: int
    withheld_audio: int


def run_of(story: Story) -> Run:
    """The run that a story tells of."""
    return Run(
        label=story.label,
        session_id=story.session_id,
        mode=story.mode,
        decisions=story.decisions,
        digest=story.digest,
        words=story.words,
        inputs=len(story.inputs),
        items=len(story.items),
        turns=len({item.turn for item in story.items if item.turn}),
        seconds=round((story.ended_at - story.began_at) / NS_PER_MS / 1000, 3),
        has_sound=story.has_sound,
        withheld_texts=story.withheld_texts,
        withheld_audio=story.withheld_audio,
    )


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison."""

    expected: Run
    got: Run
    tolerance: Tolerance
    same_clock: bool  # are times compared from the session's beginning, or each turn's from its own?
    divergences: list[Divergence]
    total: int  # may be more than are kept
    roots: int  # how many of them do not follow from another
    counts: dict[str, int]  # by class, all six
    apart_most_ms: float  # the greatest difference in time, tolerated or not
    verdict: Verdict
    turns: list[TurnPair]

    @property
    def ok(self) -> bool:
        """Is there nothing but what was expected?"""
        return not self.verdict.failures
