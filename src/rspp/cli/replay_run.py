"""What `rspp replay` does: the replay of a mode, driven to its end or to where it is to stop, and what is told of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from rspp.cli.replay_nodes import nodes_for
from rspp.contract.errors import MisuseError
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.trace import Item
from rspp.spec.graph import GraphDefinition
from rspp.timeline.recording import Recording
from rspp.timeline.replay.adaptive import AdaptiveRun
from rspp.timeline.replay.compare import TIMING_TOLERANCE_MS
from rspp.timeline.replay.cursor import Place, ReplayCursor, Steps, resume
from rspp.timeline.replay.exact import ExactRun, Taken
from rspp.timeline.replay.integrity import Problem
from rspp.timeline.replay.modes import Decisions, Mode, Outputs, agree
from rspp.timeline.replay.playback import PlaybackRun
from rspp.timeline.replay.stops import Stop
from rspp.timeline.story import Story, told

ITEMS_MAX: Final = 1_000_000
END: Final = "end"


class Replayed(msgspec.Struct, kw_only=True):
    """What a replay came to. `facts` is what is told of it; it passed if `divergences` and `problems` are none."""

    facts: dict[str, Any]
    story: Story
    baseline: Story | None = None
    divergences: int = 0
    problems: list[Problem] = []
    cursor: ReplayCursor | None = None

    @property
    def passed(self) -> bool:
        return not self.divergences and not self.problems


def base_facts(recording: Recording, mode: Mode, problems: Sequence[Problem]) -> dict[str, Any]:
    return {
        "session": recording.session_id,
        "mode": mode.outputs.value,
        "decisions": mode.decisions.value,
        "recorded_seconds": (recording.ended_at - recording.began_at) / 1e9,
        "withheld": {
            "texts": len(recording.withheld_texts) + len(recording.masked),
            "audio": len(recording.without_sound) + len(recording.masked_sound),
        },
        "problems": list(problems),
    }


class Drive:
    """Steps a replay from its beginning, or a cursor, to the first of some stops."""

    def __init__(self, run: Steps, cursor: ReplayCursor | None, *, keep_items: bool) -> None:
        self.run = run
        self.place = Place(run)
        self.items: list[Item] | None = [] if keep_items else None  # bounded: ITEMS_MAX
        self.stopped = END
        if cursor is not None:
            resume(run, cursor)
            self.place.resumed(cursor)
        self.from_step = run.number

    def until(self, stops: Sequence[Stop]) -> Taken | None:
        """Go on to the first stop; None at the end."""
        self.stopped = END
        while (taken := self.run.step()) is not None:
            self.place.passed(taken)
            if self.items is not None and len(self.items) < ITEMS_MAX:
                self.items += taken.items
            for stop in stops:
                why = stop(taken)
                if why is not None:
                    self.stopped = why
                    return taken
        return None


def begin(
    recording: Recording,
    mode: Mode,
    nodes: Mapping[str, NodeFactory],
    graph: GraphDefinition | None,
    *,
    decisions_only: bool = False,
    tolerance_ms: float = TIMING_TOLERANCE_MS,
) -> Steps:
    """The replay of this mode, at its beginning; raises MisuseError."""
    if mode.outputs is Outputs.PLAYBACK:
        return PlaybackRun(recording, mode, decisions_only=decisions_only)
    if mode.decisions is Decisions.RECOMPUTE:
        return AdaptiveRun(recording, graph or recording.head.graph, nodes, mode)
    return ExactRun(recording, nodes, mode, tolerance_ms=tolerance_ms)


def drive(
    recording: Recording,
    run: Steps,
    stops: Sequence[Stop],
    cursor: ReplayCursor | None,
    problems: list[Problem],
    *,
    began_cpu: float,
    keep_items: bool,
    node_places: Sequence[str] = (),
    tolerance_ms: float = TIMING_TOLERANCE_MS,
) -> Replayed:
    """Run it, and tell what came of it."""
    going = Drive(run, cursor, keep_items=keep_items)
    going.until(stops)
    return tell(
        recording,
        going,
        problems,
        began_cpu=began_cpu,
        node_places=node_places,
        tolerance_ms=tolerance_ms,
    )


def tell(
    recording: Recording,
    going: Drive,
    problems: list[Problem],
    *,
    began_cpu: float,
    node_places: Sequence[str] = (),
    tolerance_ms: float = TIMING_TOLERANCE_MS,
) -> Replayed:
    """What a replay came to, where it stands now."""
    run = going.run
    story = run.story()
    agree(run.mode, story.mode, story.decisions)
    facts = base_facts(recording, run.mode, problems)
    facts["steps"] = max(0, run.number)
    facts["from_step"] = max(0, going.from_step)
    facts["stopped"] = going.stopped
    replayed = Replayed(facts=facts, story=story, problems=problems, cursor=going.place.cursor())
    if isinstance(run, ExactRun):
        _exact(run, replayed)
    elif isinstance(run, PlaybackRun):
        facts["outputs"] = run.outputs
        facts["divergences"] = 0
    elif isinstance(run, AdaptiveRun):
        facts["pipeline"] = run.graph.ref
        facts["replayed_through"], facts["why"] = run.reach.through, run.reach.why
        facts["missing_outputs"] = run.missing
        facts["undelivered_outputs"] = run.undelivered
        if going.stopped == END:
            compared(recording, replayed, nodes_for(recording.head.graph, node_places), tolerance_ms)
    if going.items is not None:
        stamp = {"mode": run.mode.outputs.value, "decisions": run.mode.decisions.value}
        facts["items"] = [{**msgspec.structs.asdict(item), **stamp} for item in going.items]
    facts["cpu_seconds"] = time.process_time() - began_cpu
    return replayed


def _exact(run: ExactRun, replayed: Replayed) -> None:
    comparison, facts = run.comparison, replayed.facts
    replayed.divergences = comparison.count
    facts["divergences"] = comparison.count
    facts["tolerated"] = comparison.tolerated
    facts["first_divergence"] = comparison.first
    facts["differences"] = comparison.differences
    facts["digest_recorded"] = comparison.digest_recorded
    facts["digest_replayed"] = comparison.digest_replayed
    facts["replayed_through"] = run.number
    facts["why"] = run.reach.why if run.number == run.last else "stopped"


def compared(
    recording: Recording,
    replayed: Replayed,
    nodes: Mapping[str, NodeFactory],
    tolerance_ms: float = TIMING_TOLERANCE_MS,
    *,
    same_clock: bool | None = None,
) -> None:
    """Hold a replay that may differ against what was recorded, by the diff."""
    from rspp.timeline.diff import Tolerance, compare  # noqa: PLC0415 - an exact replay does without

    baseline = _told_again(recording, nodes)
    replayed.baseline = baseline
    report = compare(baseline, replayed.story, Tolerance(timing_ms=tolerance_ms), same_clock=same_clock)
    replayed.divergences = report.total
    facts = replayed.facts
    facts["divergences"] = report.total
    facts["first_divergence"] = report.divergences[0] if report.divergences else None
    facts["report"] = report
    facts["digest_recorded"], facts["digest_replayed"] = baseline.digest, replayed.story.digest


def _told_again(recording: Recording, nodes: Mapping[str, NodeFactory]) -> Story:
    """The recorded run's own story: replayed, so that it has its words; else as far as the recording tells it."""
    mode = Mode(outputs=Outputs.RE_SIMULATE)
    try:
        run = ExactRun(recording, nodes, mode)
    except MisuseError:
        return told(recording, "recorded")
    while run.step() is not None:
        pass
    story = run.story("recorded", rest=False)
    return msgspec.structs.replace(story, mode="recorded", decisions="recorded")
