"""What a run comes to, out of what its engines said. Pure.

    one engine failed                                   FAIL      the first one's code; a requirement for each that failed
    the files changed meanwhile                         STOP_GAP  verify_ground_changed
    an engine had nothing to look at                    STOP_GAP  verify_incomplete
    --only names one that has nothing to look at        STOP_GAP  verify_incomplete
    an engine of `full` was left out by --only, --skip  STOP_GAP  verify_incomplete
    no engine applied                                   STOP_GAP  verify_nothing
    all of them passed                                  PASS

A level that was not run whole is not passed: `quick` and `security` with a selection pass for what was selected, and say in
their goal which that was; `full` is what releases rest on, and passes whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from rspp.cli.verify.engine import Engine, Level
from rspp.cli.verify.plan import Chosen
from rspp.cli.verify.report import EngineReport, Left
from rspp.manifest.document import LINE_CHARACTERS_MAX, StepStatus

GROUND_CHANGED: Final = "verify_ground_changed"
INCOMPLETE: Final = "verify_incomplete"
NOTHING: Final = "verify_nothing"
UNPROVEN: Final = "verify_unproven"
LEFT_OUT: Final = "left out by --only or --skip"
NOT_HERE: Final = "nothing of its kind is here"
# So many findings are written into the manifest; the report has all of them.
LINES_MAX: Final = 200
_REQUIREMENT: Final = re.compile(r"(?P<what>engine|project)(?: (?P<name>[^\s:]+))?: ")


class Conclusion(msgspec.Struct, frozen=True, kw_only=True):
    """How the step ends."""

    status: StepStatus
    code: str = ""
    reasons: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()


def concluded(level: Level, chosen: Chosen, reports: Sequence[EngineReport], *, changed: bool) -> Conclusion:
    """The table above, row by row."""
    failed = [one for one in reports if one.verdict == "fail"]
    if failed:
        return _failed(failed)
    if changed:
        return stopped(
            GROUND_CHANGED,
            ["files of the project changed while they were verified"],
            "leave the project alone while it is verified",
            ["project: it is verified as it is now, from the beginning"],
        )
    if not reports and not chosen.left_out and not chosen.missed:
        return stopped(
            NOTHING,
            [f"nothing of what {level} looks at is there"],
            "name a folder with pipelines, recordings or a lock file",
            ["project: there is something to verify"],
        )
    lacking = [Left(name=one.name, why=one.summary) for one in reports if one.verdict == "skipped"]
    lacking += [Left(name=one.name, why=NOT_HERE) for one in chosen.missed]
    if level == "full" or not reports:
        lacking += [Left(name=one.name, why=LEFT_OUT) for one in chosen.left_out]
    if lacking:
        return stopped(
            INCOMPLETE,
            [f"{one.name} did not run: {one.why}" for one in lacking],
            "run the level whole, and give each engine what it looks at",
            [f"engine {one.name}: it runs and passes" for one in lacking],
        )
    return Conclusion(status=StepStatus.PASS)


def stopped(code: str, reasons: Iterable[str], fix: str, requirements: Iterable[str]) -> Conclusion:
    return Conclusion(
        status=StepStatus.STOP_GAP,
        code=code,
        reasons=lines(reasons),
        fixes=lines([fix]),
        requirements=lines(requirements),
    )


def _failed(failed: Sequence[EngineReport]) -> Conclusion:
    reasons: list[str] = []
    fixes: list[str] = []
    for one in failed:
        reasons.append(f"{one.name}: {one.summary}")
        reasons += [f"{one.name}: {each.where + ': ' if each.where else ''}{each.what}" for each in one.found]
        fixes += [f"{one.name}: {each.where + ': ' if each.where else ''}{each.fix}" for each in one.found]
    return Conclusion(
        status=StepStatus.FAIL,
        code=failed[0].fail_code,
        reasons=lines(reasons),
        fixes=lines(fixes),
        requirements=tuple(f"engine {one.name}: it passes again ({one.fail_code})" for one in failed),
    )


def lines(texts: Iterable[str]) -> tuple[str, ...]:
    """As a manifest takes them: one line each, no two alike, and of too many the first with a word about the rest."""
    every = list(dict.fromkeys(line(text) for text in texts))
    if len(every) > LINES_MAX:
        every[LINES_MAX:] = [f"{len(every) - LINES_MAX} more are in the report"]
    return tuple(every)


def line(text: str) -> str:
    """One line of printable characters, as long as one may be."""
    plain = " ".join(text.split())
    plain = "".join(one if one.isprintable() else "?" for one in plain)
    # A surrogate that was let in from a file's name is no text that a file can hold.
    plain = plain.encode("utf-8", "replace").decode()
    return plain if len(plain) <= LINE_CHARACTERS_MAX else plain[: LINE_CHARACTERS_MAX - 3] + "..."


def required_engine(requirement: str) -> str | None:
    """The engine that a requirement wants to see pass; "" where it is about the project, None where it is not ours."""
    found = _REQUIREMENT.match(requirement)
    if found is None or (found["what"] == "engine") != bool(found["name"]):
        return None
    return found["name"] or ""


def goal(level: Level, project: str, chosen: Chosen) -> str:
    """One line for STEP_GOAL, which says what is not meant by it."""
    some = "" if chosen.whole else f", only {', '.join(one.name for one in chosen.asked)}"
    return line(f"rspp verify {level} of {project}{some}")


def output_name(engine: Engine) -> str:
    """What an engine's report is called in the ledger of outputs."""
    return f"REPORT.{engine.name.upper()}"
