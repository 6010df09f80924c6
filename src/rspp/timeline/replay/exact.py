"""The exact replay, compared with its recording as it goes on, up to where the recording is complete.

Where inputs are missing (level L0, a gap, a torn end) the replay stops there and says why; what was recorded after that place
is told from the recording, so the story is whole either way.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rspp.contract.errors import MisuseError
from rspp.contract.words import RecordingLevel
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.trace import Item
from rspp.timeline.recording import Recording
from rspp.timeline.replay.compare import TIMING_TOLERANCE_MS, Comparison
from rspp.timeline.replay.engine import ExactReplay
from rspp.timeline.replay.modes import Mode
from rspp.timeline.story import Story, Teller

WHOLE = "whole"


class Reach(msgspec.Struct, frozen=True):
    """Up to which input a recording can be replayed, and why not further; `fault` if nothing in it says why."""

    through: int
    why: str
    fault: bool = False


class Taken(msgspec.Struct, frozen=True, gc=False):
    """One step of a replay, of whatever mode."""

    number: int
    at: int
    items: list[Item]


def reach(recording: Recording) -> Reach:
    """How far it goes. A torn batch may have inputs without their trace: it goes to the last mark before them."""
    complete = recording.complete_through
    if recording.end is not None and complete == recording.end.steps and not recording.torn:
        return Reach(complete, WHOLE)
    if recording.end is not None and complete > recording.end.steps:
        why = f"its end says that there were {recording.end.steps} inputs, and there are {complete}"
        return Reach(complete, why, fault=True)
    marked = max((mark.through for mark in recording.marks if mark.through <= complete), default=0)
    for gap in recording.gaps:
        if gap.step <= complete + 1:
            return Reach(marked, f"there is a gap from step {gap.step} on: {gap.reason}")
    for level in recording.levels:
        if level.new is RecordingLevel.L0 and level.step <= complete + 1:
            return Reach(marked, f"the level fell to L0 at step {level.step}: {level.trigger or 'policy'}")
    if recording.head.level is RecordingLevel.L0 and not recording.inputs:
        return Reach(0, "the session was recorded at L0: no inputs are kept")
    known = max(max(recording.inputs, default=0), recording.end.steps if recording.end else 0, marked)
    if complete < known:
        return Reach(complete, f"input {complete + 1} is missing, and no gap says so", fault=True)
    if recording.torn:
        return Reach(marked, "the recording is torn: its last record is not whole")
    return Reach(marked, "the recording has no end: its process died, or the session goes on")


class ExactRun:
    """Steps through an exact replay; `comparison` knows what differed."""

    def __init__(
        self,
        recording: Recording,
        factories: Mapping[str, NodeFactory],
        mode: Mode,
        *,
        frames: bool = False,
        tolerance_ms: float = TIMING_TOLERANCE_MS,
    ) -> None:
        self.mode = mode
        self.recording = recording
        self.reach = reach(recording)
        if not self.reach.through:
            raise MisuseError(
                "replay_inputs_missing",
                f"{recording.session_id} cannot be simulated again: {self.reach.why}",
            )
        self.replay = ExactReplay(recording, factories)
        self.replay.last = self.last = self.reach.through
        self.comparison = Comparison(recording, tolerance_ms)
        self._teller = Teller(recording, frames=frames)
        self._quiet_through = -1

    @property
    def number(self) -> int:
        return self.replay.number

    def step(self) -> Taken | None:
        """The next step; None at the end, at which the comparison is finished."""
        step = self.replay.step()
        if step is None:
            return None
        items = self._teller.take(step.number, step.at, step.received, step.effects)
        comparison = self.comparison
        if step.number > self._quiet_through:
            comparison.take(step.number, items)
            if comparison.due(step.number):
                comparison.mark(step.number, self._teller.tracer)
            if step.number == self.last:
                self._finish()
        return Taken(step.number, step.at, items)

    def _finish(self) -> None:
        self.comparison.finish(self.last, self._teller.tracer.runs)
        end = self.recording.end
        if self.reach.why == WHOLE and end is not None and end.digest is not None:
            self.comparison.ended(end.digest, self.digest(), end.steps)
        elif self.reach.why == WHOLE:
            self.comparison.incomplete(self.last, self.recording.ended_at, "it is whole and has no digest")
        strange = set(self.recording.nodes) - {node.id for node in self.recording.head.graph.nodes}
        for node_id in sorted(strange):
            why = f"it has steps of a node {node_id!r}, which its pipeline has not"
            self.comparison.incomplete(self.last, self.recording.ended_at, why)
        if self.reach.fault:
            step = self.last + 1
            at = self.recording.inputs[self.last][0]
            self.comparison.incomplete(step, at, self.reach.why)

    def go_to(self, step: int) -> None:
        """Run to this boundary without comparing: it was compared before."""
        self._quiet_through = step
        while self.number < step and self.step() is not None:
            pass
        self.comparison.skip(step)

    def digest(self) -> str:
        """Over everything until now."""
        return self._teller.tracer.digest()

    def story(self, label: str = "replay", *, rest: bool = True) -> Story:
        """What was replayed, and after it, unless it is not wanted, what the recording itself tells."""
        recording = self.recording
        story = self._teller.story(
            label, recording.head.graph, mode=self.mode.outputs.value, decisions=self.mode.decisions.value
        )
        if not rest or self.reach.why == WHOLE or self.number < self.last:
            return story
        later = [item for item in recording.items if item.step > self.last]
        return msgspec.structs.replace(
            story,
            items=[*story.items, *later],
            runs=[*story.runs, *(run for run in recording.runs if run.step > self.last)],
            evidence={**recording.evidence, **story.evidence},
            stamps={**recording.stamps, **story.stamps},
            plans={**recording.plans, **story.plans},
        )
