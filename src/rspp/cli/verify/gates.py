"""Recordings pass the seven release gates of the contract, and the report of them is fit for a release.

The recordings are those that were named (`--recordings DIR`), or at `full` a project's folder `recordings`; a checkout records a load of
its own, as `rspp bench gates` does: questions, cancels, rotated leases, and what is stale. Where nothing but time was missed, that
load is recorded once more, and the report says so: whoever must not depend on a busy machine names recordings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from rspp.cli.bench_gates import recorded_load
from rspp.cli.gates_inputs import overhead_of
from rspp.cli.output import write_text
from rspp.cli.verify.engine import Engine, Found, Ground, Level, Outcome
from rspp.cli.verify.ground import is_checkout
from rspp.contract.codec import CodecError
from rspp.contract.errors import RsppError
from rspp.host.overhead import FILE_NAME
from rspp.nodes import factories
from rspp.timeline.gates.judge import Judge
from rspp.timeline.gates.report import GateReport, unfit
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from rspp.timeline.regress import RECORDING_BYTES_MAX

RECORDINGS: Final = "recordings"  # the option, and a project's folder
PATTERN: Final = "*.rspp"
RECORDINGS_MAX: Final = 10_000
REPORT: Final = "gates.json"
REPORT_AGAIN: Final = "gates-again.json"
# Callers at once, and questions of each: enough for every gate, and for a whole window of the kernel's overhead.
LOADS: Final[Mapping[Level, tuple[int, int]]] = {"quick": (6, 3), "full": (16, 4)}
VIOLATIONS_SHOWN: Final = 3
TIMED: Final = frozenset({1, 2, 3, 7})  # the gates of a span; the others hold on the slowest machine
AGAIN: Final = "rspp gates"


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What the gates say of a folder of recordings, and what could not be judged in it."""

    report: GateReport
    broken: tuple[Found, ...]
    file: Path

    @property
    def found(self) -> tuple[Found, ...]:
        return (*self.broken, *findings(self.report))

    @property
    def is_only_slow(self) -> bool:
        """Did nothing fail but spans and steps that took too long, as a machine with other work makes them?"""
        failed = [one for one in self.report.gates if not one.passed]
        timed = all(one.number in TIMED and one.samples and not one.violations_total for one in failed)
        metered = self.report.overhead is not None and bool(self.report.overhead.windows)
        return timed and metered and not self.broken and all(one.passed for one in self.report.side)


def run(ground: Ground) -> Outcome:
    """Record where nothing was given, judge all of it, and ask whether a release may rest on the report."""
    folder = home(ground)
    if folder is not None:
        return _outcome(_judged(ground, folder, REPORT), {"recorded_here": False})
    try:
        first = _recorded(ground, "load", REPORT)
        if not first.found or not first.is_only_slow:
            return _outcome(first, {"recorded_here": True, "attempts": 1})
        ground.say(f"{first.found[0].what}; this machine may have been busy: once more")
        again = _recorded(ground, "load-again", REPORT_AGAIN)
    except click.ClickException as error:
        return _failed(f"the load could not be recorded: {error.message}", "rspp bench gates DIR")
    # Told wherever the verdict is: who reads PASS shall know that the first attempt was none.
    slow = {"recorded_here": True, "attempts": 2, "first_attempt": [one.what for one in first.found]}
    return _outcome(
        again, slow, f", at the second attempt: the first was too slow ({first.found[0].where})", first.file
    )


def _recorded(ground: Ground, name: str, report: str) -> Judged:
    folder = ground.out / name
    sessions, turns = LOADS[ground.level]
    ground.say(f"a load of {sessions} callers, {turns} questions each")
    asyncio.run(recorded_load(folder, sessions, turns))
    return _judged(ground, folder, report)


def _judged(ground: Ground, folder: Path, name: str) -> Judged:
    ground.say("the seven gates")
    judge, broken = Judge(replays=factories()), []
    paths = sorted(folder.rglob(PATTERN))
    if len(paths) > RECORDINGS_MAX:
        what = f"{len(paths)} recordings, of which only {RECORDINGS_MAX} are judged at once"
        broken.append(Found(what=what, fix="name a smaller folder with --recordings", where=folder.name))
    for path in paths[:RECORDINGS_MAX]:
        try:
            judge.take(assemble([unframe(_bytes(path))]))
        except (CodecError, RsppError, OSError) as error:
            broken.append(
                Found(
                    what=f"it cannot be judged: {error}",
                    fix="record it anew, or take it as it was kept",
                    where=path.relative_to(folder).as_posix(),
                )
            )
    report = judge.report(time.time_ns() // 1_000_000, overhead=_overhead(folder))
    file = ground.out / name
    write_text(file, msgspec.json.format(msgspec.json.encode(report, order="sorted"), indent=2).decode())
    return Judged(report=report, broken=tuple(broken), file=file)


def _outcome(judged: Judged, facts: Mapping[str, Any], told: str = "", *more: Path) -> Outcome:
    report, found = judged.report, judged.found
    turns = sum(one.turns for one in report.subjects)
    passed = sum(one.passed for one in report.gates)
    summary = (
        f"{passed} of {len(report.gates)} gates over {len(report.subjects)} recordings, {turns} turns{told}"
    )
    return Outcome(
        verdict="fail" if found else "pass",
        summary=summary,
        found=found,
        facts={**_facts(report), **facts},
        files=(judged.file, *more),
    )


def home(ground: Ground) -> Path | None:
    """Where recordings are that shall be judged; None where a checkout has to record its own."""
    named = ground.options.get(RECORDINGS)
    if named:
        return Path(str(named))
    own = ground.folder / RECORDINGS
    # What a project keeps there may be a few calls to look at again: only what a release rests on asks all gates of them.
    asked = ground.level == "full" and not is_checkout(ground.folder)
    return own if asked and own.is_dir() else None


def findings(report: GateReport) -> Iterator[Found]:
    """Each gate that failed with the first of its violations, and whatever else makes the report unfit."""
    failed = [one for one in report.gates if not one.passed]
    for one in failed:
        figures = ", ".join(
            f"{name} {'none' if value is None else format(value, 'g')} (limit {one.thresholds[name]:g})"
            for name, value in one.values.items()
        )
        shown = "; ".join(
            f"{each.session} {each.turn or ''} {each.anchor}: {each.what}".strip()
            for each in one.violations[:VIOLATIONS_SHOWN]
        )
        yield Found(
            what=f"gate {one.number}, {one.name}: {figures}; {one.violations_total} violations"
            + (f": {shown}" if shown else ""),
            fix=f"look at the sessions that are named, then {AGAIN}"
            if one.samples
            else f"record calls in which it happens, as rspp bench gates does, then {AGAIN}",
            where=f"gate {one.number}",
        )
    for side in report.side:
        if not side.passed:
            yield Found(what=f"{side.name} is {side.value}: {side.note}", fix=AGAIN, where=side.name)
    if report.overhead is not None and not report.overhead.passed:
        over, windows = report.overhead.over, report.overhead.windows
        yield Found(
            what=f"the kernel took more than its budget in {over} of {windows} windows"
            if windows
            else "the kernel's overhead was metered for no whole window",
            fix="rspp bench kernel; on a machine that has nothing else to do",
            where=FILE_NAME,
        )
    known = {f"gate {one.number}, {one.name}, failed" for one in failed}
    for problem in unfit(report, time.time_ns() // 1_000_000):
        general = problem == "the report as a whole failed"
        if problem not in known and not general:
            yield Found(what=f"unfit for a release: {problem}", fix=AGAIN, where=REPORT)


def _facts(report: GateReport) -> dict[str, Any]:
    return {
        "digest": report.digest,
        "gates": {
            one.name: {"passed": one.passed, "samples": one.samples, **one.values} for one in report.gates
        },
        "overhead": None if report.overhead is None else msgspec.to_builtins(report.overhead),
    }


def _overhead(folder: Path) -> Any:
    path = folder / FILE_NAME
    return overhead_of(path) if path.is_file() else None


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > RECORDING_BYTES_MAX:
        raise OSError(f"more than {RECORDING_BYTES_MAX} bytes")
    return path.read_bytes()


def _failed(what: str, fix: str) -> Outcome:
    return Outcome(verdict="fail", summary=what, found=(Found(what=what, fix=fix),))


ENGINE: Final = Engine(
    key="KEY:ENG.GATES",
    name="gates",
    summary="the seven release gates over recordings (a checkout records a load of its own), and a report fit for a release",
    levels=frozenset({"quick", "full"}),
    fail_code="gates_unfit",
    run=run,
    applies=lambda ground: is_checkout(ground.folder) or home(ground) is not None,
)
