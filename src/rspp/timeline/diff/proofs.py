"""What stands beside the items, compared: the graph and the plans, the turns' evidence, the frames that were sent.

Evidence repeats most of what items say; it speaks only where they did not, of its turn and its class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.contract.evidence import InvocationOutcome, TurnEvidence
from rspp.kernel.trace import Run
from rspp.timeline.diff.clock import Shifts
from rspp.timeline.diff.findings import DivergenceClass as Kind
from rspp.timeline.diff.findings import Findings, Position, Tolerance
from rspp.timeline.diff.items import Side
from rspp.timeline.diff.rows import unnumbered
from rspp.timeline.story import Story

DEPTH_MAX: Final = 24
# What names a version or a copy, and changes with it: the things that it names are compared themselves.
_NAMES_OF_COPIES: Final = frozenset(
    {"plan_hash", "resolved_turn_plan_id", "turn_id", "graph_fingerprint", "fingerprint", "defaulting_source"}
)
_EPOCHS: Final = (
    "lease_epoch_at_turn_open",
    "lease_epoch_at_terminal",
    "migration_markers",
    "accepted_stale_outputs",
)
_PLAN: Final = ("plan_hash", "snapshot_provenance", "execution_profile_version", "pipeline_version")
_TIMES: Final = (
    *(
        "turn_open_proposed_at",
        "turn_open_at",
        "turn_terminal_at",
        "first_output_at",
        "audio_input_ingress_at",
    ),
    *("playback_started_at", "cancel_accepted_at", "cancel_fence_at", "cancel_sent_at", "cancel_ack_at"),
)
_OUTCOMES: Final = (
    *(
        "terminal_outcome",
        "terminal_reason",
        "cancel_scope",
        "cancel_reason",
        "payload_tags",
        "redaction_decisions",
    ),
    *("merge_rule_id", "merge_rule_version", "or02_evidence_schema_version"),
)


def tree(value: object, path: str = "", depth: int = 0) -> Iterator[tuple[str, object]]:
    """Every leaf of a value with the path to it; what is named by `id` or `name` goes by that, not by its place."""
    if depth >= DEPTH_MAX:
        yield path, repr(value)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            if key not in _NAMES_OF_COPIES:
                yield from tree(value[key], f"{path}.{key}" if path else str(key), depth + 1)
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            name = one.get("id") or one.get("name") if isinstance(one, Mapping) else None
            yield from tree(one, f"{path}[{name or number}]", depth + 1)
    else:
        yield path, value


def changes(before: object, after: object) -> list[tuple[str, object, object]]:
    """Each leaf that differs: its path and both values; None where one has none."""
    left, right = dict(tree(msgspec.to_builtins(before))), dict(tree(msgspec.to_builtins(after)))
    return [
        (path, left.get(path), right.get(path))
        for path in dict.fromkeys((*left, *right))
        if left.get(path) != right.get(path)
    ]


def compare_graphs(expected: Story, got: Story, findings: Findings) -> int | None:
    """Each setting of the pipeline that differs; the first one's number, for what follows from it."""
    if expected.graph == got.graph:
        return None
    first: int | None = None
    for path, before, after in changes(expected.graph, got.graph):
        number = findings.add(
            Kind.PLAN,
            "trace",
            f"the pipeline differs: {path}",
            field=path,
            expected=before,
            got=after,
            cause=first,
        )
        first = first or number
    return first


class ProofsCompared:
    """Plans, evidence and frames of the turns that stand beside each other."""

    def __init__(
        self,
        left: Side,
        right: Side,
        findings: Findings,
        shifts: Shifts,
        tolerance: Tolerance,
        *,
        shared: bool,
    ) -> None:
        self.left = left
        self.right = right
        self._findings = findings
        self._shifts = shifts
        self._tolerance = tolerance
        self._shared = shared
        self._evidence = (_by_turn(left.story), _by_turn(right.story))
        self._sums = (_sums(left.story), _sums(right.story))
        self._runs = (_runs_by_turn(left.story), _runs_by_turn(right.story))

    def turn(self, mine: str, other: str, cause: int | None) -> None:
        """One pair of turns. `cause`: the change of the pipeline that another plan follows from."""
        self._plan(mine, other, cause)
        self._frames(mine, other)
        before, after = self._evidence[0].get(mine), self._evidence[1].get(other)
        if before is not None and after is not None:
            self._proof(mine, before, after)
        elif (
            self._shared
            and not self._findings.any_in(f"turn:{mine}")
            and not self._shifts.tolerated
            and self._sums[0].get(mine) != self._sums[1].get(other)
        ):
            self._add(
                Kind.OUTCOME, mine, "evidence", "not the same", "not the same", "the turn's evidence differs"
            )

    def _add(
        self, kind: Kind, turn: str, field: str, before: object, after: object, message: str, **more: Any
    ) -> None:
        self._findings.add(kind, f"turn:{turn}", message, field=field, expected=before, got=after, **more)

    def _plan(self, mine: str, other: str, cause: int | None) -> None:
        before, after = self.left.story.plans.get(mine), self.right.story.plans.get(other)
        if before is None or after is None or before == after:
            return
        for path, old, new in changes(before, after):
            if path == "authority_epoch" or (not self._shared and path.startswith("determinism.")):
                continue  # a lease's own, told where it is issued; a session's own seed
            change = (Kind.PLAN.value, path, str(old), str(new))
            self._add(
                Kind.PLAN, mine, path, old, new, f"the plan differs: {path}", change=change, cause=cause
            )

    # ---- evidence --------------------------------------------------------------------------------------------------

    def _proof(self, turn: str, before: TurnEvidence, after: TurnEvidence) -> None:
        if before == after:
            return
        scope = f"turn:{turn}"
        silent = {kind for kind in Kind if self._findings.has(kind, scope)}
        rows: list[tuple[Kind, tuple[str, ...]]] = [(Kind.PLAN, _PLAN), (Kind.OUTCOME, _OUTCOMES)]
        if self._shared:
            rows += [(Kind.AUTHORITY, _EPOCHS), (Kind.ORDERING, ("ordering_markers",))]
        for kind, fields in rows:
            for field in fields:
                old, new = getattr(before, field), getattr(after, field)
                if old != new and kind not in silent:
                    self._add(kind, turn, field, _plain(old), _plain(new), f"the evidence differs: {field}")
        if Kind.OUTCOME not in silent:
            self._decisions(turn, before, after)
        self._invocations(turn, before.invocation_outcomes, after.invocation_outcomes, silent)
        if self._shared:
            self._times(turn, before, after)

    def _decisions(self, turn: str, before: TurnEvidence, after: TurnEvidence) -> None:
        old, new = _decisions(before), _decisions(after)
        if old != new:
            self._add(Kind.OUTCOME, turn, "decision_outcomes", old, new, "the evidence differs: decisions")
        refused, refuses = _refusals(before), _refusals(after)
        if refused != refuses:
            self._add(
                Kind.OUTCOME, turn, "refusal_markers", refused, refuses, "the evidence differs: refusals"
            )

    def _times(self, turn: str, before: TurnEvidence, after: TurnEvidence) -> None:
        for field in _TIMES:
            old, new = getattr(before, field), getattr(after, field)
            if old is None or new is None:
                if old is not new and not self._findings.any_in(f"turn:{turn}"):
                    self._add(Kind.OUTCOME, turn, field, old, new, f"the evidence differs: {field}")
                continue
            zero = (self.left.story.began_at, self.right.story.began_at)
            late_ms = self._shifts.news(turn, old - zero[0], new - zero[1])
            if late_ms is not None:
                self._add(
                    Kind.TIMING,
                    turn,
                    field,
                    round((old - zero[0]) / NS_PER_MS, 3),
                    round((new - zero[1]) / NS_PER_MS, 3),
                    f"the evidence differs: {field} is {abs(late_ms):.1f} ms off",
                    diff_ms=round(abs(late_ms), 3),
                )

    def _invocations(
        self,
        turn: str,
        before: tuple[InvocationOutcome, ...],
        after: tuple[InvocationOutcome, ...],
        silent: set[Kind],
    ) -> None:
        if len(before) != len(after):
            if Kind.OUTCOME not in silent:
                self._add(
                    Kind.OUTCOME,
                    turn,
                    "invocation_outcomes",
                    len(before),
                    len(after),
                    "another number of calls",
                )
            return
        for old, new in zip(before, after, strict=True):
            for name in (
                "provider",
                "modality",
                "outcome_class",
                "retry_decision",
                "attempts",
                "retryable",
                "reason",
            ):
                kind = Kind.PROVIDER_CHOICE if name == "provider" else Kind.OUTCOME
                one, two = getattr(old, name), getattr(new, name)
                if one != two and kind not in silent:
                    self._add(
                        kind,
                        turn,
                        name,
                        _plain(one),
                        _plain(two),
                        f"the call of {old.modality}: {name} differs",
                    )
            self._latencies(old, new)

    def _latencies(self, old: InvocationOutcome, new: InvocationOutcome) -> None:
        """The limits on a call's latency hold where they are set, and nothing excuses them."""
        limits = (
            ("final", self._tolerance.invocation_latency_final_ms, "final_attempt_latency_ms"),
            ("total", self._tolerance.invocation_latency_total_ms, "total_latency_ms"),
        )
        for name, limit_ms, field in limits:
            one, two = getattr(old, field), getattr(new, field)
            if limit_ms is not None and abs(one - two) > limit_ms:
                called = unnumbered(old.provider_invocation_id, self.left.story.session_id)
                self._findings.add(
                    Kind.TIMING,
                    f"invocation_latency_{name}:{called}",
                    f"the call of {old.modality} took {two} ms, not {one} ms; at most {limit_ms:g} ms apart are allowed",
                    field=field,
                    expected=one,
                    got=two,
                    diff_ms=float(abs(one - two)),
                )

    # ---- frames ----------------------------------------------------------------------------------------------------

    def _frames(self, mine: str, other: str) -> None:
        """What was sent of a turn as sound: how much, and when it began and ended."""
        before, after = self._runs[0].get(mine, []), self._runs[1].get(other, [])
        samples, sampled = sum(run.samples for run in before), sum(run.samples for run in after)
        scope = f"turn:{mine}"
        places = (self._place(self.left, before), self._place(self.right, after))
        if samples != sampled and not self._findings.has(Kind.OUTCOME, scope):
            self._add(
                Kind.OUTCOME,
                mine,
                "samples_sent",
                samples,
                sampled,
                "another length of sound was sent",
                places=places,
            )
        if not before or not after:
            return
        ends = (
            ("first_frame_at", before[0].at, after[0].at),
            ("last_frame_at", before[-1].last_at, after[-1].last_at),
        )
        for field, old, new in ends:
            left, right = self.left.clock.of(mine, old), self.right.clock.of(other, new)
            late_ms = self._shifts.news(mine, left, right)
            if late_ms is not None and samples == sampled:
                self._add(
                    Kind.TIMING,
                    mine,
                    field,
                    round((left or 0) / NS_PER_MS, 3),
                    round((right or 0) / NS_PER_MS, 3),
                    f"{field.replace('_', ' ')} {abs(late_ms):.1f} ms {'later' if late_ms > 0 else 'earlier'}",
                    places=places,
                    diff_ms=round(abs(late_ms), 3),
                )

    def _place(self, side: Side, runs: list[Run]) -> Position | None:
        if not runs:
            return None
        first, began_at = runs[0], side.story.began_at
        at_s = (first.at - began_at) / 1e9
        return Position(
            step=first.step,
            at_ms=round(at_s * 1000, 3),
            line=f"{at_s:9.3f} s  send audio  {first.turn or ''}  {sum(run.frames for run in runs)} frames",
        )


def _by_turn(story: Story) -> dict[str, TurnEvidence]:
    return {evidence.turn_id: evidence for evidence in story.evidence.values()}


def _sums(story: Story) -> dict[str, int | None]:
    """Turn -> the sum over its evidence, as the trace has it."""
    return {
        item.turn: item.facts.get("sum")
        for item in story.items
        if item.what == "store_evidence" and item.turn is not None
    }


def _runs_by_turn(story: Story) -> dict[str, list[Run]]:
    out: dict[str, list[Run]] = {}
    for run in story.runs:
        if run.turn is not None:
            out.setdefault(run.turn, []).append(run)
    return out


def _plain(value: object) -> object:
    return msgspec.to_builtins(value)


def _decisions(evidence: TurnEvidence) -> list[str]:
    return [f"{one.outcome_kind}/{one.phase}/{one.reason}" for one in evidence.decision_outcomes]


def _refusals(evidence: TurnEvidence) -> list[str]:
    return [f"{one.output}/{one.reason}" for one in evidence.refusal_markers]
