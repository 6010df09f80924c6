"""The metrics beside the gates. What recordings do not hold is named, and no figure is put in its place.

Two of them come of doing a session again: whether everything happens in the recorded order, and how long the steps take in
which a turn's plan is made. Times of a replay are this machine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter_ns

import msgspec

from rspp.kernel.hosting import NodeFactory
from rspp.kernel.trace import Item, Tracer
from rspp.timeline.gates.facts import TurnFacts
from rspp.timeline.gates.report import Side, percentile
from rspp.timeline.recording import Recording
from rspp.timeline.replay.engine import ExactReplay


class Redone(msgspec.Struct):
    """What came of doing sessions again."""

    sessions: int = 0
    items: int = 0
    mismatches: int = 0
    differences: int = 0
    plan_steps_ns: list[int] = []
    not_done: list[str] = []

    def take(self, recording: Recording, factories: Mapping[str, NodeFactory]) -> None:
        """Do one session again, as far as all of its inputs are there."""
        through = recording.complete_through
        unknown = sorted(set(recording.head.node_types) - set(factories) - set(recording.nodes))
        if recording.end is None:
            # What broke off may have kept inputs of which it had not yet written what came of them.
            through = min(through, recording.items[-1].step if recording.items else 0)
        if not through:
            self.not_done.append(
                f"{recording.session_id}: no inputs are recorded, or nothing of what came of them"
            )
            return
        if unknown:
            self.not_done.append(f"{recording.session_id}: no node type {', '.join(unknown)} here")
            return
        recorded = [item for item in recording.items if item.step <= through]
        replayed = [item for item in self._replay(recording, factories) if item.step <= through]
        self.sessions += 1
        self.items += len(recorded)
        self.mismatches += mismatches([_mark(one) for one in recorded], [_mark(one) for one in replayed])
        self.differences += mismatches(recorded, replayed)

    def _replay(self, recording: Recording, factories: Mapping[str, NodeFactory]) -> list[Item]:
        replay, tracer = ExactReplay(recording, factories), Tracer()
        while True:
            plans = len(tracer.plans)
            began = perf_counter_ns()
            step = replay.step()
            took = perf_counter_ns() - began
            if step is None:
                return tracer.items
            tracer.take(step.number, step.at, step.effects)
            if len(tracer.plans) > plans:
                self.plan_steps_ns.append(took)


def mismatches(ours: Sequence[object], theirs: Sequence[object]) -> int:
    """How many places of one timeline hold something else in the other."""
    differ = sum(one != other for one, other in zip(ours, theirs, strict=False))
    return differ + abs(len(ours) - len(theirs))


def _mark(item: Item) -> tuple[object, ...]:
    """What the order is of: a kind, a name, a turn, a number in the sequence; no times."""
    return item.step, item.what, item.name, item.turn, item.seq


def metrics(turns: Iterable[TurnFacts], redone: Redone | None) -> list[Side]:
    """All of them, each with its figure or why there is none."""
    return [*_of_replay(redone), _preemption(), _redaction(turns)]


def _of_replay(redone: Redone | None) -> list[Side]:
    why = "" if redone and redone.sessions else "not replayed"
    if redone is not None and redone.not_done:
        why = "; ".join(redone.not_done[:3])
    plans = percentile(redone.plan_steps_ns, 0.95) if redone else None
    done = redone is not None and redone.sessions > 0
    return [
        Side(
            name="replay_order_mismatch_count",
            value=float(redone.mismatches) if redone is not None and done else None,
            unit="items",
            samples=redone.items if redone else 0,
            limit=0.0,
            passed=redone is None or redone.mismatches == 0,
            missing=why,
            note=f"{redone.sessions} sessions done again" if redone else "",
        ),
        Side(
            name="replay_difference_count",
            value=float(redone.differences) if redone is not None and done else None,
            unit="items",
            samples=redone.items if redone else 0,
            limit=0.0,
            passed=redone is None or redone.differences == 0,
            missing=why,
            note="with their times and facts: a timeline that was changed afterwards does not come again",
        ),
        Side(
            name="resolved_turn_plan_build_ms",
            value=None if plans is None else plans / 1e6,
            unit="ms",
            samples=len(redone.plan_steps_ns) if redone else 0,
            missing="" if plans is not None else (why or "no turn was planned"),
            note="p95 of the whole step in which a plan was made, done again here: no less than the plan's own time",
        ),
    ]


def _preemption() -> Side:
    return Side(
        name="control_preempt_delay_ms",
        value=None,
        unit="ms",
        samples=0,
        missing="not in a recording, which knows when an input was taken and not when it came; `rspp bench interrupt` measures it",
    )


def _redaction(turns: Iterable[TurnFacts]) -> Side:
    """Of the payload classes that turns had, how many have a decision on what may be kept of them."""
    tags = decided = 0
    for turn in turns:
        if turn.evidence is not None:
            known = {decision.payload_class for decision in turn.evidence.redaction_decisions}
            tags += len(turn.evidence.payload_tags)
            decided += sum(tag in known for tag in turn.evidence.payload_tags)
    return Side(
        name="redaction_coverage",
        value=100 * decided / tags if tags else None,
        unit="%",
        samples=tags,
        limit=100.0,
        passed=decided == tags,
        missing="" if tags else "no turn has evidence of a payload",
    )
