"""A corpus of recordings, done again by this code: what has changed, and in which line of which recording.

Every recording is replayed exactly, or under another pipeline in virtual time, and compared with what it says. Latencies are
judged over the whole corpus (percentiles) and in each recording against what they were. A corpus of nothing proves nothing: it fails.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.contract.words import RecordingLevel
from rspp.kernel.hosting import NodeFactory
from rspp.spec.graph import GraphDefinition
from rspp.timeline.diff.comparison import compare
from rspp.timeline.diff.expected import Failure
from rspp.timeline.diff.findings import Divergence, DivergenceClass
from rspp.timeline.diff.sources import recorded, replayed
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.regress_rules import WHOLE, Baseline, Budget, Gate, Kept, Rules
from rspp.timeline.replay.adaptive import AdaptiveRun
from rspp.timeline.replay.modes import Decisions, Mode, Outputs
from rspp.timeline.story import Story, told
from rspp.timeline.waterfall import waterfalls

SUFFIX: Final = ".rspp"
RECORDINGS_MAX: Final = 10_000
RECORDING_BYTES_MAX: Final = 1024 * 1024 * 1024
SHOWN_MAX: Final = 50
UNREADABLE: Final = "UNREADABLE"
LATENCY: Final = "LATENCY_REGRESSION"
BASELINE: Final = "BASELINE"

Nodes = Callable[[GraphDefinition], Mapping[str, NodeFactory]]
Turns = dict[str, dict[str, float]]


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a recording fails: its class, its place, and the line of the timeline."""

    kind: str = msgspec.field(name="class")
    scope: str
    why: str
    metric: str | None = None
    at_ms: float | None = None
    step: int | None = None
    line: str | None = None
    expected: object = None
    got: object = None


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One recording, done again."""

    name: str
    session_id: str = ""
    sha256: str = ""
    digest_recorded: str | None = None
    digest_replayed: str | None = None
    recorded_seconds: float = 0.0
    divergences: int = 0
    expected: int = 0
    failures: list[Finding] = []
    turns: Turns = {}
    turns_before: Turns = {}

    @property
    def ok(self) -> bool:
        return not self.failures


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A whole corpus."""

    recordings: list[Checked]
    latency: dict[str, dict[str, float]]
    failures: list[Finding]  # of the corpus as a whole

    @property
    def ok(self) -> bool:
        return not self.failures and all(one.ok for one in self.recordings)


class Job(msgspec.Struct, frozen=True):
    """How each recording is done again; goes to other processes."""

    folder: Path
    rules: Rules
    nodes: Nodes
    # Another pipeline, as it is when recorded at each level; and the nodes that it has of its own.
    graphs: Mapping[RecordingLevel, GraphDefinition] = {}
    extra_nodes: Mapping[str, NodeFactory] = {}


def corpus(folder: Path, rules: Rules, gate: Gate) -> list[Path]:
    """The recordings that this gate looks at, in the order of their names."""
    found = sorted(path for path in folder.rglob(f"*{SUFFIX}") if path.is_file())[:RECORDINGS_MAX]
    wanted = (Gate.BOTH, gate) if gate is not Gate.BOTH else tuple(Gate)
    return [path for path in found if rules.of(path.relative_to(folder).as_posix()).gate in wanted]


def run(job: Job, paths: Sequence[Path], *, jobs: int = 1) -> Iterator[Checked]:
    """Every recording, in order; in so many processes."""
    names = [path.relative_to(job.folder).as_posix() for path in paths]
    if jobs <= 1 or len(names) <= 1:
        yield from (check(job, name) for name in names)
        return
    with ProcessPoolExecutor(min(jobs, len(names)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(check, job), names)


def check(job: Job, name: str) -> Checked:
    """One recording: read, done again, compared."""
    path = job.folder / name
    try:
        data = _bytes(path)
        recording = assemble([unframe(data)])
        # Under another pipeline the words are worth comparing: they are known where this code can say them again.
        nodes = job.nodes(recording.head.graph)
        before = recorded(recording, nodes, name) if job.graphs else told(recording, name)
        after = _again(job, recording, nodes)
    except (RsppError, OSError) as error:
        return Checked(name=name, failures=[Finding(kind=UNREADABLE, scope=name, why=str(error))])
    own = job.rules.of(name)
    expectations = own.expectations
    if job.graphs:
        # Under another pipeline the plan is another one: that is what is asked for, not what is looked for.
        expectations = msgspec.structs.replace(expectations, ignore=(DivergenceClass.PLAN.value,))
    report = compare(before, after, job.rules.tolerance(name), expectations)
    by_number = {one.number: one for one in report.divergences}
    return Checked(
        name=name,
        session_id=recording.session_id,
        sha256=hashlib.sha256(data).hexdigest(),
        digest_recorded=before.digest,
        digest_replayed=after.digest,
        recorded_seconds=report.expected.seconds,
        divergences=report.total,
        expected=report.verdict.expected + report.verdict.ignored,
        failures=[_finding(one, by_number.get(one.divergence or 0)) for one in report.verdict.failures],
        turns=latencies(after),
        turns_before=latencies(before),
    )


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > RECORDING_BYTES_MAX:
        raise OSError(f"more than {RECORDING_BYTES_MAX} bytes")
    return path.read_bytes()


def _again(job: Job, recording: Recording, nodes: Mapping[str, NodeFactory]) -> Story:
    if not job.graphs:
        return replayed(recording, nodes)
    graph = job.graphs[recording.head.level]
    mode = Mode(outputs=Outputs.RE_SIMULATE, decisions=Decisions.RECOMPUTE)
    run = AdaptiveRun(
        recording, graph, {**job.nodes(graph), **job.extra_nodes}, mode, frames=not recording.without_sound
    )
    while run.step() is not None:
        pass
    return run.story(f"{recording.session_id}@pipeline")


def _finding(failure: Failure, one: Divergence | None) -> Finding:
    if one is None:
        return Finding(kind=failure.kind, scope=failure.scope, why=failure.why)
    place = one.got_position or one.expected_position
    return Finding(
        kind=one.kind.value,
        scope=one.scope,
        why=f"{one.message} ({failure.why})"
        if one.root is None
        else f"{one.message} (follows from {one.root})",
        metric=one.field if one.kind is DivergenceClass.TIMING else None,
        at_ms=place.at_ms if place else None,
        step=place.step if place else None,
        line=(one.expected_position or place).line if place else None,
        expected=one.expected,
        got=one.got,
    )


# ---- latency -------------------------------------------------------------------------------------------------------


def latencies(story: Story) -> Turns:
    """Turn -> stage -> milliseconds, the whole among them; turns without an answer that was heard are not there."""
    return {
        fall.turn_id: {WHOLE: fall.whole_ms, **fall.stages_ms}
        for fall in waterfalls(story)
        if fall.whole_ms is not None
    }


def judged(
    checked: Iterable[Checked], rules: Rules, baseline: Baseline | None, *, whole_corpus: bool = True
) -> Outcome:
    """The recordings with their latencies judged, and the corpus as a whole."""
    recordings = [_against(one, rules, baseline) for one in checked]
    failures: list[Finding] = []
    if not recordings:
        failures.append(
            Finding(kind="EMPTY", scope="corpus", why="no recording was looked at: that proves nothing")
        )
    if baseline is not None and whole_corpus:
        gone = set(baseline.recordings) - {one.name for one in recordings}
        failures += [
            Finding(kind=BASELINE, scope=name, why="the baseline has it, the corpus has not")
            for name in sorted(gone)
        ]
    sums = percentiles(one.turns for one in recordings)
    for stage, budget in rules.latency.items():
        failures += _over(stage, budget, sums.get(stage))
    return Outcome(recordings=recordings, latency=sums, failures=failures)


def percentiles(turns: Iterable[Turns]) -> dict[str, dict[str, float]]:
    """Stage -> count, p50 and p95 over all turns; nearest rank, as the gates have it."""
    values: dict[str, list[float]] = {}
    for one in turns:
        for stages in one.values():
            for stage, ms in stages.items():
                values.setdefault(stage, []).append(ms)
    return {
        stage: {"samples": float(len(all_ms)), "p50_ms": rank(all_ms, 0.5), "p95_ms": rank(all_ms, 0.95)}
        for stage, all_ms in values.items()
    }


def rank(values: Sequence[float], share: float) -> float:
    """The nearest rank: the least value that so large a share does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _over(stage: str, budget: Budget, found: Mapping[str, float] | None) -> Iterator[Finding]:
    for name in ("p50_ms", "p95_ms"):
        limit = getattr(budget, name)
        if limit is None:
            continue
        if found is None:
            yield Finding(
                kind=LATENCY,
                scope="corpus",
                metric=f"{stage}.{name}",
                why="no turn has this: nothing is proven",
            )
        elif found[name] > limit:
            yield Finding(
                kind=LATENCY,
                scope="corpus",
                metric=f"{stage}.{name}",
                why=f"{stage}: {name.removesuffix('_ms')} is {found[name]:g} ms, at most {limit:g} ms are allowed",
                expected=limit,
                got=found[name],
            )


def _against(one: Checked, rules: Rules, baseline: Baseline | None) -> Checked:
    """A recording against what its turns took: in the baseline, or else when it was recorded."""
    if not one.sha256:
        return one
    failures = list(one.failures)
    before = one.turns_before
    kept = baseline.recordings.get(one.name) if baseline else None
    if kept is not None and kept.sha256 != one.sha256:
        failures.append(
            Finding(
                kind=BASELINE, scope=one.name, why="the file is not the one that the baseline was made of"
            )
        )
    elif kept is not None:
        before = kept.turns
    for stage in dict.fromkeys((WHOLE, *rules.latency)):
        failures += _slower(one, stage, rules.latency.get(stage, Budget()), before)
    return msgspec.structs.replace(one, failures=failures)


def _slower(one: Checked, stage: str, budget: Budget, before: Turns) -> Iterator[Finding]:
    """Is the middle or the end of this recording's turns slower than it was?"""
    turns = [turn for turn in one.turns if turn in before]
    old = [before[turn].get(stage, 0.0) for turn in turns]
    new = [one.turns[turn].get(stage, 0.0) for turn in turns]
    for name, share in (("p50_ms", 0.5), ("p95_ms", 0.95)):
        if not turns:
            return
        was, is_now = rank(old, share), rank(new, share)
        more_ms = is_now - was
        if more_ms > budget.more_ms and more_ms > was * budget.more_percent / 100:
            yield Finding(
                kind=LATENCY,
                scope=f"session:{one.session_id}",
                metric=f"{stage}.{name}",
                why=f"{stage}: {name.removesuffix('_ms')} was {was:g} ms and is {is_now:g} ms",
                expected=was,
                got=is_now,
            )


def kept(outcome: Outcome, pipeline: str | None) -> Baseline:
    """What is measured now, as the next baseline."""
    return Baseline(
        {
            one.name: Kept(one.sha256, one.digest_replayed, one.turns)
            for one in outcome.recordings
            if one.sha256
        },
        pipeline,
    )
