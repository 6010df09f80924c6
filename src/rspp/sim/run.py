"""Many sessions, on one processor or several, to one report: the same report for the same seed, however it was run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.kernel.session import SessionKernel
from rspp.sim.faults import by_class
from rspp.sim.prefix import shorten
from rspp.sim.scenario import Armed, Knobs, draw
from rspp.sim.session import Outcome, run_session
from rspp.sim.world import KernelFactory

# A defect in the kernel shows in hundreds of sessions: the first few are made small, the others only counted.
SHORTENED_MAX: Final = 5
CHUNK: Final = 4

Progress = Callable[[int, int], None]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A violation, with everything that is needed to see it again."""

    session: int
    seed: int
    inv: str
    checker: str
    message: str
    at_ms: int
    knobs: Knobs
    armed: tuple[Armed, ...]
    repeat: str
    shortest_prefix: int
    saved: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to."""

    sessions: int
    turns: int
    commits: int
    aborts: dict[str, int]
    interruptions: int
    faults: dict[str, int]
    faults_by_name: dict[str, int]
    frames_in: int
    frames_out: int
    sim_seconds: float
    cpu_seconds: float
    digest: str
    violations: list[Finding]


class Job(msgspec.Struct, frozen=True):
    """One session to be run, as it is sent to another process."""

    seed: int
    session: int
    wish: str


def run_job(job: Job) -> Outcome:
    return run_session(draw(job.seed, job.session, job.wish))


Work = Callable[[Job], Outcome]


def run_sessions(
    seed: int,
    numbers: Iterable[int],
    wish: str = "all",
    *,
    procs: int = 1,
    save: Path | None = None,
    kernel_class: KernelFactory = SessionKernel,
    progress: Progress | None = None,
    work: Work = run_job,
) -> Report:
    """Run these sessions and merge what came of them, in their order. `work` is how one is run, here or in a process."""
    jobs = [Job(seed, number, wish) for number in numbers]
    outcomes: list[Outcome] = []
    for outcome in _outcomes(jobs, procs, kernel_class, work):
        outcomes.append(outcome)
        if progress is not None:
            progress(len(outcomes), len(jobs))
    return _merged(outcomes, _findings(seed, wish, outcomes, kernel_class, save))


def _outcomes(jobs: list[Job], procs: int, kernel_class: KernelFactory, work: Work) -> Iterator[Outcome]:
    if kernel_class is not SessionKernel:
        for job in jobs:
            yield run_session(draw(job.seed, job.session, job.wish), kernel_class)
        return
    if procs <= 1:
        yield from map(work, jobs)
        return
    # Fresh processes, not forks: a session must not depend on what its process did before.
    with get_context("spawn").Pool(procs) as pool:
        yield from pool.imap(work, jobs, chunksize=CHUNK)


def _findings(
    seed: int, wish: str, outcomes: list[Outcome], kernel_class: KernelFactory, save: Path | None
) -> list[Finding]:
    found: list[Finding] = []
    for outcome in outcomes:
        for violation in outcome.violations:
            scenario = draw(seed, outcome.session, wish)
            count, saved = violation.inputs, None
            if len(found) < SHORTENED_MAX:
                small = shorten(scenario, kernel_class, violation)
                count = small.inputs
                saved = _saved(save, f"s{seed}-{outcome.session}-{violation.checker}", small.journal)
            found.append(
                Finding(
                    session=outcome.session,
                    seed=seed,
                    inv=violation.inv,
                    checker=violation.checker,
                    message=violation.message,
                    at_ms=violation.at // NS_PER_MS,
                    knobs=scenario.knobs,
                    armed=scenario.faults,
                    repeat=scenario.command,
                    shortest_prefix=count,
                    saved=saved,
                )
            )
    return found


def _saved(folder: Path | None, name: str, journal: Callable[[], bytes]) -> str | None:
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    path.write_bytes(journal())
    return str(path)


def _merged(outcomes: list[Outcome], findings: list[Finding]) -> Report:
    digest = hashlib.sha256()
    for outcome in outcomes:
        digest.update(outcome.digest)
    fired = _summed(outcome.fired for outcome in outcomes)
    return Report(
        sessions=len(outcomes),
        turns=sum(outcome.turns for outcome in outcomes),
        commits=sum(outcome.commits for outcome in outcomes),
        aborts=_summed(outcome.aborts for outcome in outcomes),
        interruptions=sum(outcome.interruptions for outcome in outcomes),
        faults=by_class(fired),
        faults_by_name=fired,
        frames_in=sum(outcome.frames_in for outcome in outcomes),
        frames_out=sum(outcome.frames_out for outcome in outcomes),
        sim_seconds=round(sum(outcome.sim_ns for outcome in outcomes) / 1e9, 3),
        cpu_seconds=round(sum(outcome.cpu_ns for outcome in outcomes) / 1e9, 3),
        digest=digest.hexdigest(),
        violations=findings,
    )


def _summed(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for name, times in one.items():
            total[name] = total.get(name, 0) + times
    return dict(sorted(total.items()))
