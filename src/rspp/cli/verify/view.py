"""A run of verification for people: progress on stderr, and at the end a table with what to do about each finding."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

import click
from rich.text import Text

from rspp.cli.output import console, print_table, visible
from rspp.cli.verify.engine import Engine, Ground, Level
from rspp.cli.verify.plan import LEVELS, chosen
from rspp.cli.verify.report import EngineReport, VerifyReport

FINDINGS_SHOWN: Final = 10
WORDS: Final = {"pass": "PASS", "fail": "FAIL", "skipped": "skipped"}
RESULTS: Final = {"pass": "PASS", "fail": "FAIL", "stopped": "STOP_GAP"}
STYLES: Final = {"pass": "bold green", "fail": "bold red", "stopped": "bold yellow"}


def progress() -> Callable[[str, str], None]:
    """Each sentence of an engine with the seconds since the run began, on stderr."""
    began = time.monotonic()

    def say(engine: str, text: str) -> None:
        who = f"{engine}: " if engine else ""
        click.echo(visible(f"{time.monotonic() - began:7.1f} s  {who}{text}"), err=True)

    return say


def show(report: VerifyReport, where: str, again: str) -> None:
    """The table, then each finding with its remedy, then the result, how to go on, and where the proofs are."""
    print_table(
        ("engine", "verdict", "findings", "seconds", "what it says, what to do"),
        [_row(one) for one in report.engines]
        + [(one.name, "not run", "", "", one.why) for one in report.left],
        title=f"rspp verify {report.level}: {report.project}, {report.files} files",
        numbers=("findings", "seconds"),
    )
    for one in report.engines:
        for found in one.found[:FINDINGS_SHOWN]:
            place = f"{found.where}: " if found.where else ""
            click.echo(visible(f"\n{one.name}: {place}{found.what}\n    {found.fix}"))
        if one.found_total > FINDINGS_SHOWN:
            click.echo(f"\n{one.name}: {one.found_total - FINDINGS_SHOWN} findings more, in its report")
    click.echo()
    console().print(Text(_result(report), STYLES[report.verdict]))
    if not any(one.found for one in report.engines):
        for reason in report.reasons:
            click.echo(visible(f"  {reason}"))
    for requirement in report.requirements:
        click.echo(visible(f"  to go on: {requirement}"))
    if report.verdict != "pass":
        click.echo(visible(f"  then: {again}"))
    click.echo(visible(f"manifest and reports: {where}"))


def _row(one: EngineReport) -> tuple[str, str, str, str, str]:
    verdict = WORDS[one.verdict] + (" (kept)" if one.reused else "")
    told = one.summary
    if one.verdict == "fail" and one.found:
        told = f"{told}. {one.found[0].fix}"
    return one.name, verdict, str(one.found_total), f"{one.seconds:.1f}", told


def _result(report: VerifyReport) -> str:
    seconds = (report.ended_wall_ms - report.began_wall_ms) / 1000
    code = f" {report.fail_code}" if report.fail_code else ""
    part = "" if report.whole else " of what was selected"
    return f"{RESULTS[report.verdict]}{code}{part}, {seconds:.1f} s, session {report.session}, step {report.step}"


def listing(plan: Iterable[Engine], grounds: Iterable[Ground]) -> list[dict[str, object]]:
    """Of each engine: at which levels it runs, and at which of the asked ones it would run here."""
    rows: list[dict[str, object]] = []
    here = {ground.level: chosen(plan, ground) for ground in grounds}
    for engine in plan:
        asked = [level for level, one in here.items() if engine in one.asked]
        rows.append(
            {
                "name": engine.name,
                "key": engine.key,
                "summary": engine.summary,
                "levels": [level for level in LEVELS if level in engine.levels],
                "here": asked,
                "fail_code": engine.fail_code,
            }
        )
    return rows


def show_listing(rows: list[dict[str, object]], level: Level | None) -> None:
    """Everything there is, and what of it would run in this folder."""
    print_table(
        ("engine", "levels", "runs here", "FAIL_CODE", "what it looks at"),
        [
            (
                row["name"],
                ", ".join(map(str, row["levels"])),  # type: ignore[call-overload]
                ("yes" if row["here"] else "no") if level else ", ".join(map(str, row["here"])) or "no",  # type: ignore[call-overload]
                row["fail_code"],
                row["summary"],
            )
            for row in rows
        ],
    )
