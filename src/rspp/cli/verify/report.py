"""What a run of verification found, for machines: one document, and one of each engine. For CI also as JUnit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal
from xml.sax.saxutils import quoteattr

import msgspec

from rspp.cli.verify.engine import Engine, Found, Level, Outcome, Verdict

FORMAT: Final = "rspp-verify-report-v1"
ENGINE_FORMAT: Final = "rspp-verify-engine-v1"
REPORT: Final = "report.json"
# Of one engine so many findings are written into the whole; its own report has all.
SHOWN_MAX: Final = 100
JUNIT_SHOWN_MAX: Final = 20

Result = Literal["pass", "fail", "stopped"]


class EngineReport(msgspec.Struct, frozen=True, kw_only=True):
    """One engine's own file: bound to the step, and to the digest of what was looked at."""

    key: str
    name: str
    verdict: Verdict
    summary: str
    fail_code: str = ""  # of one that failed
    found: tuple[Found, ...] = ()
    found_total: int = 0
    facts: Mapping[str, Any] = {}
    files: tuple[str, ...] = ()  # relative to the engine's folder
    seconds: float = 0.0
    session: str = ""
    step: str = ""
    ground: str = ""  # digest
    level: Level = "quick"
    options: Mapping[str, Any] = {}
    runtime: str = ""  # the version that looked, and whose it is
    reused: bool = False  # it passed before the run was interrupted, over the same ground
    schema: str = ENGINE_FORMAT


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """An engine that did not run, and why."""

    name: str
    why: str


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run. `whole` says that nothing of the level that applies was left out."""

    session: str
    step: str
    level: Level
    project: str  # the folder's name
    ground: str
    files: int
    runtime: str
    began_wall_ms: int
    ended_wall_ms: int
    verdict: Result
    whole: bool
    fail_code: str = ""
    reasons: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    engines: tuple[EngineReport, ...] = ()
    left: tuple[Left, ...] = ()
    schema: str = FORMAT


def of_engine(engine: Engine, outcome: Outcome, code: str, out: Path, **bound: Any) -> EngineReport:
    """What an engine said, as it is kept."""
    return EngineReport(
        key=engine.key,
        name=engine.name,
        verdict=outcome.verdict,
        summary=outcome.summary,
        fail_code=(code or engine.fail_code) if outcome.verdict == "fail" else "",
        found=outcome.found,
        found_total=len(outcome.found),
        facts=outcome.facts,
        files=tuple(_inside(path, out) for path in outcome.files),
        **bound,
    )


def _inside(path: Path, out: Path) -> str:
    whole = path if path.is_absolute() else out / path
    return whole.relative_to(out).as_posix() if whole.is_relative_to(out) else path.name


def shortened(report: EngineReport) -> EngineReport:
    """As it stands in the whole: the first findings, and how many there are."""
    return msgspec.structs.replace(report, found=report.found[:SHOWN_MAX])


def write(path: Path, value: object) -> Path:
    """Whole or not at all, and on the disk before anybody refers to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.tmp")
    with fresh.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path


def read_engine(path: Path) -> EngineReport | None:
    """A report that was kept; None where there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=EngineReport)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


# ---- JUnit -----------------------------------------------------------------------------------------------------------


def junit(report: VerifyReport) -> str:
    """A case for each engine, and one for the run as a whole: a build server shows what failed and what to do."""
    cases = [_engine_case(one) for one in report.engines]
    cases += [_case(one.name, 0.0, f"<skipped message={quoteattr(_clean(one.why))}/>") for one in report.left]
    whole = "" if report.verdict == "pass" else _failure(report.fail_code, report.reasons, report.fixes)
    cases.append(_case("run", (report.ended_wall_ms - report.began_wall_ms) / 1000, whole))
    failures = sum("<failure" in one for one in cases)
    skipped = sum("<skipped" in one for one in cases)
    head = (
        f'<testsuite name={quoteattr(f"rspp verify {report.level}")} tests="{len(cases)}" '
        f'failures="{failures}" skipped="{skipped}">'
    )
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}\n{"".join(cases)}</testsuite>\n'


def _engine_case(one: EngineReport) -> str:
    if one.verdict == "pass":
        return _case(one.name, one.seconds, "")
    if one.verdict == "skipped":
        return _case(one.name, one.seconds, f"<skipped message={quoteattr(_clean(one.summary))}/>")
    reasons = [f"{each.where}: {each.what}" if each.where else each.what for each in one.found]
    return _case(one.name, one.seconds, _failure(one.fail_code, reasons, [each.fix for each in one.found]))


def _case(name: str, seconds: float, inside: str) -> str:
    return (
        f'<testcase classname="rspp.verify" name={quoteattr(name)} time="{seconds:.3f}">{inside}</testcase>\n'
    )


def _failure(code: str, reasons: Sequence[str], fixes: Sequence[str]) -> str:
    told = "\n".join((*reasons[:JUNIT_SHOWN_MAX], *(f"fix: {one}" for one in fixes[:JUNIT_SHOWN_MAX])))
    return f"<failure type={quoteattr(code)} message={quoteattr(_clean(told))}/>"


def _clean(text: str) -> str:
    """XML has no place for most control characters, nor for halves of a pair."""
    return "".join(
        one
        if (one >= " " and not 0xD800 <= ord(one) <= 0xDFFF and ord(one) < 0xFFFE) or one in "\n\t"
        else "?"
        for one in text
    )
