"""What a replay came to, for people."""

from __future__ import annotations

from typing import Any, Final

import click

from rspp.cli.output import print_table
from rspp.cli.replay_run import Replayed

SHOWN_MAX: Final = 20


def show(replayed: Replayed) -> None:
    """In short, then what differs."""
    facts = replayed.facts
    withheld = facts["withheld"]
    rows = [
        ("session", facts["session"]),
        ("mode", f"{facts['mode']}, {facts['decisions']}"),
        ("pipeline", facts.get("pipeline")),
        ("steps", f"{facts['steps']}, stopped at {facts['stopped']}"),
        ("replayed through", _through(facts)),
        ("recorded", f"{facts['recorded_seconds']:.1f} s, replayed in {facts['cpu_seconds']:.2f} s of CPU"),
        ("withheld", f"{withheld['texts']} texts, {withheld['audio']} sounds"),
        ("digest recorded", facts.get("digest_recorded")),
        ("digest replayed", facts.get("digest_replayed")),
        ("provider calls", facts.get("provider_calls")),
        ("divergences", facts["divergences"]),
    ]
    print_table(("", ""), [row for row in rows if row[1] is not None])
    for item in facts.get("items", ()):
        click.echo(
            f"{item['step']:>6}  {item['what']} {item['name']}  {item['turn'] or ''}  [{item['mode']}]"
        )
    for output in facts.get("outputs", ())[: SHOWN_MAX * 10]:
        said = output.text if output.text is not None and not output.withheld else output.what
        click.echo(f"{output.at_ms / 1000:9.3f} s  {output.source:<8}  {said}  [{output.mode}]")
    for problem in replayed.problems:
        click.echo(f"{problem.code}: turn {problem.turn}: {problem.message}")
    _differences(facts)


def _through(facts: dict[str, Any]) -> str | None:
    if "replayed_through" not in facts:
        return None
    return f"step {facts['replayed_through']}: {facts['why']}"


def _differences(facts: dict[str, Any]) -> None:
    report = facts.get("report")
    if report is not None:
        for one in report.divergences[:SHOWN_MAX]:
            place = one.expected_position or one.got_position
            at = f" at {place.at_ms:.1f} ms" if place is not None else ""
            click.echo(f"{one.kind} {one.scope}{at}: {one.message}")
    for one in facts.get("differences", ())[:SHOWN_MAX]:
        click.echo(one.line())
        if one.expected is not None:
            click.echo(f"    expected {_short(one.expected)}")
        if one.got is not None:
            click.echo(f"    got      {_short(one.got)}")
    if facts["divergences"] > SHOWN_MAX:
        click.echo(f"... and {facts['divergences'] - SHOWN_MAX} more; --json has them")


def _short(item: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in item.items() if value not in (None, {}))[:300]
