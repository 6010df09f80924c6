"""Simulated calls with faults violate nothing, every kind of fault really happened, and bugs planted on purpose are caught.

`quick` runs the fault classes F1, F3 and F7 and plants one bug for each invariant; `full` runs every class, and all of them
together, and plants every bug there is. The first sessions are run twice: the same seed is the same call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.verify.engine import Engine, Found, Ground, Level, Outcome
from rspp.cli.verify.ground import is_checkout
from rspp.sim.faults import CLASSES
from rspp.sim.mutants import MUTANTS, Mutant, clean_violations, hunt, violations
from rspp.sim.mutants import Outcome as Hunted
from rspp.sim.run import Report, run_sessions

SEED: Final = 7
MUTANT_SEED: Final = 1
MUTANT_SESSIONS_MAX: Final = 150
TWICE: Final = 8
PROCESSES: Final = 2
FINDINGS_MAX: Final = 50


class Load(msgspec.Struct, frozen=True):
    """So many sessions with such faults; of these classes each must have fired."""

    wish: str
    sessions: int
    classes: tuple[str, ...]


LOADS: Final[dict[Level, tuple[Load, ...]]] = {
    "quick": (Load("F1,F3,F7", 120, ("F1", "F3", "F7")),),
    "full": (
        *(Load(name, 80, (name,)) for name in CLASSES),
        Load("all", 800, tuple(CLASSES)),
        Load("none", 40, ()),
    ),
}


def run(ground: Ground) -> Outcome:
    """The loads one after the other, then the planted bugs."""
    found: list[Found] = []
    facts: dict[str, Any] = {"seed": SEED, "loads": {}}
    failures = ground.out / "failures"
    for load in LOADS[ground.level]:
        ground.say(f"{load.sessions} calls with faults {load.wish}")
        report = run_sessions(SEED, range(load.sessions), load.wish, procs=PROCESSES, save=failures)
        facts["loads"][load.wish] = {
            "sessions": report.sessions,
            "turns": report.turns,
            "committed": report.commits,
            "faults": report.faults,
            "violations": len(report.violations),
            "digest": report.digest,
        }
        found += findings(ground, load, report)
    found += twice()
    found += _planted(ground, facts)
    sessions = sum(load.sessions for load in LOADS[ground.level])
    summary = f"{sessions} calls, {facts['mutants_caught']} of {facts['mutants']} planted bugs caught"
    return Outcome(
        verdict="fail" if found else "pass",
        summary=f"{summary}, {len(found)} findings" if found else f"{summary}, nothing was violated",
        found=tuple(found),
        facts=facts,
        files=tuple(sorted(failures.glob("*.jsonl"))) if failures.is_dir() else (),
    )


def findings(ground: Ground, load: Load, report: Report) -> Iterator[Found]:
    """What was violated, and what did not happen that should have."""
    for one in report.violations[:FINDINGS_MAX]:
        saved = f"; its shortest inputs are in {Path(one.saved).relative_to(ground.out)}" if one.saved else ""
        yield Found(
            what=f"{one.inv} {one.checker} at {one.at_ms} ms: {one.message}",
            fix=f"{one.repeat}{saved}",
            where=f"session {one.session} of seed {one.seed}, faults {load.wish}",
        )
    if len(report.violations) > FINDINGS_MAX:
        rest = len(report.violations) - FINDINGS_MAX
        yield Found(
            what=f"{rest} violations more with faults {load.wish}", fix=_command(load.wish, load.sessions)
        )
    quiet = [name for name in load.classes if not report.faults.get(name)]
    if quiet:
        yield Found(
            what=f"faults of {', '.join(quiet)} never happened: what they would show is not proven",
            fix=_command(load.wish, load.sessions),
        )
    if not report.commits:
        yield Found(
            what=f"no turn was committed with faults {load.wish}: nothing is proven by silence",
            fix=_command(load.wish, load.sessions),
        )


def twice() -> Iterator[Found]:
    """The same seed gives the same calls."""
    first, again = (run_sessions(SEED, range(TWICE)).digest for _ in range(2))
    if first != again:
        yield Found(
            what=f"the first {TWICE} sessions of seed {SEED} were other calls when they were run again",
            fix=f"find what depends on chance or on the machine: {_command('all', TWICE)}",
        )


def chosen(level: Level) -> tuple[Mutant, ...]:
    """All of them, or the first of each invariant."""
    if level != "quick":
        return MUTANTS
    first: dict[str, Mutant] = {}
    for mutant in MUTANTS:
        first.setdefault(mutant.inv, mutant)
    return tuple(first.values())


def _planted(ground: Ground, facts: dict[str, Any]) -> Iterator[Found]:
    mutants = chosen(ground.level)
    ground.say(f"{len(mutants)} planted bugs")
    hunted = [hunt(one, _violations, MUTANT_SESSIONS_MAX) for one in mutants]
    facts["mutants"] = len(hunted)
    facts["mutants_caught"] = sum(one.caught for one in hunted)
    yield from survivors(hunted)
    clean = clean_violations(MUTANT_SEED, hunted)
    if clean:
        yield Found(
            what=f"the kernel as it is violates {clean} rules in the sessions that the planted bugs were given",
            fix="rspp sim mutants",
        )


def survivors(hunted: Sequence[Hunted]) -> Iterator[Found]:
    """A planted bug that nobody catches is a hole in the checkers."""
    for one in hunted:
        if not one.caught:
            yield Found(
                what=f"the planted bug {one.name} was not caught in {one.sessions} sessions: {one.inv} is not watched",
                fix=f"rspp sim mutants --only {one.name}; then mend the checker of {one.inv}",
            )


def _violations(number: int, faults: str) -> list[tuple[str, str]]:
    return violations(MUTANT_SEED, number, faults)


def _command(wish: str, sessions: int) -> str:
    return f"rspp sim run --seed {SEED} --sessions {sessions} --faults {wish}"


ENGINE: Final = Engine(
    key="KEY:ENG.SIMULATOR",
    name="simulator",
    summary="simulated calls with faults (quick: F1, F3, F7; full: F1 to F8), and bugs planted into the kernel",
    levels=frozenset({"quick", "full"}),
    fail_code="simulator_violation",
    run=run,
    # The kernel of a project is the installed one: that its files are as they were released is asked by `installed`.
    applies=lambda ground: is_checkout(ground.folder),
)
