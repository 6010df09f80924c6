"""A gate report for people: one line a gate, then what is wrong, then what is measured beside it."""

from __future__ import annotations

import click
from rich.text import Text

from rspp.cli.output import console, print_table
from rspp.timeline.gates.report import Gate, GateReport, Side
from rspp.timeline.view.text import plain

SHOWN_MAX = 5  # violations of a gate; the report has them all


def show(report: GateReport, twice: int) -> None:
    """Everything, the verdict last."""
    turns = sum(one.turns for one in report.subjects)
    again = f", {twice} given twice and counted once" if twice else ""
    click.echo(f"{_count(len(report.subjects), 'recording')}, {_count(turns, 'accepted turn')}{again}")
    print_table(
        ("gate", "", "figure", "limit", "samples", "violations", "verdict"),
        [_gate(one) for one in report.gates],
        numbers=("figure", "limit", "samples", "violations"),
    )
    for one in report.gates:
        _violations(one)
    print_table(
        ("beside", "value", "samples", ""), [_side(one) for one in report.side], numbers=("value", "samples")
    )
    _targets(report)
    _overhead(report)
    for differs in report.differs:
        which = "looser" if differs.looser else "stricter"
        click.echo(
            f"not the contract's: {differs.name} is {differs.here:g}, {which} than {differs.contract:g}"
        )
    verdict = Text("all gates passed", "green") if report.passed else Text("not to be released", "bold red")
    console().print(verdict)


def _gate(one: Gate) -> tuple[object, ...]:
    figures = ", ".join(_figure(key, value) for key, value in one.values.items())
    limits = ", ".join(_figure(key, limit) for key, limit in one.thresholds.items())
    verdict = "pass" if one.passed else "FAIL"
    return one.number, one.name, figures, limits, one.samples, one.violations_total, verdict


def _violations(one: Gate) -> None:
    for violation in one.violations[:SHOWN_MAX]:
        place = violation.turn or violation.session or "all"  # a turn's id begins with its session's
        click.echo(plain(f"  gate {one.number}: {place}: {violation.anchor}: {violation.what}"))
    if one.violations_total > SHOWN_MAX:
        click.echo(f"  gate {one.number}: and {one.violations_total - SHOWN_MAX} more")
    if not one.passed and one.slowest:
        slowest = ", ".join(f"{slow.turn} {_number(slow.ms)} ms" for slow in one.slowest)
        click.echo(plain(f"  gate {one.number}: slowest: {slowest}"))


def _figure(key: str, value: float | None) -> str:
    """A figure with its unit, by its name: `p95_ms`, `share`, `accepted`."""
    if key.endswith("_ms"):
        return f"{key.removesuffix('_ms')} {_number(value)}{' ms' if value is not None else ''}"
    if key == "share":
        return "none" if value is None else f"{_number(100 * value)} %"
    return f"{_number(value)} {key}"


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _side(one: Side) -> tuple[object, ...]:
    value = "" if one.value is None else f"{_number(one.value)} {one.unit}"
    words = "; ".join(part for part in (one.missing, one.note) if part)
    return one.name, value, one.samples, words if one.passed else f"FAIL; {words}".rstrip("; ")


def _targets(report: GateReport) -> None:
    for one in report.end_to_end:
        verdict = "met" if one.met else "missed"
        p95 = _figure("p95_ms", one.p95_ms)
        turns = _count(one.samples, "turn")
        click.echo(
            plain(f"{one.pipeline}: end to end {p95} of {turns}, target {one.target_p95_ms} ms {verdict}")
        )
    for alert in report.alerts:
        click.echo(plain(f"alert {alert.name} ({alert.of}): {alert.message}"))


def _overhead(report: GateReport) -> None:
    found = report.overhead
    if found is None:
        return
    verdict = "within budget" if found.passed else "FAIL"
    click.echo(
        f"kernel overhead: {found.windows} windows, worst mean {_number(found.mean_us_worst)} us of"
        f" {_number(found.budget_us)}, worst p95 {_number(found.p95_us_worst)} us of"
        f" {_number(found.budget_p95_us)}, {found.over} above: {verdict}"
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.10g}" if value == int(value) else f"{value:.2f}"
