"""`rspp regress`: a corpus of recordings done again by this code, as a build server runs it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from xml.sax.saxutils import quoteattr

import click
import msgspec

from rspp.cli.output import Status, emit_json, print_table, write_text
from rspp.cli.replay_nodes import nodes_for, nodes_option
from rspp.cli.replay_pipeline import compiled
from rspp.contract.errors import RsppError
from rspp.contract.words import RecordingLevel
from rspp.kernel.hosting import NodeFactory
from rspp.spec.graph import GraphDefinition
from rspp.timeline.regress import (
    LATENCY,
    SHOWN_MAX,
    Checked,
    Finding,
    Job,
    Outcome,
    corpus,
    judged,
    kept,
    run,
)
from rspp.timeline.regress_rules import Gate, baseline_in, rules_in, write_baseline


@click.command(
    epilog="Exit status: 0 nothing has changed, 1 something has, or there is nothing to look at, "
    "2 the command was used wrongly."
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--pipeline",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Do them again under this pipeline instead of their own.",
)
@click.option(
    "--gate",
    type=click.Choice([gate.value for gate in Gate]),
    default=Gate.BOTH.value,
    show_default=True,
    help="Which recordings: those of the quick gate, of the full one, or all.",
)
@click.option("--update", is_flag=True, help="Keep today's latencies as the baseline, if nothing else fails.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write a JUnit file too.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes; as many as there are processors.")
@nodes_option
def command(
    folder: Path,
    pipeline: Path | None,
    gate: str,
    update: bool,
    as_json: bool,
    junit: Path | None,
    jobs: int | None,
    node_places: tuple[str, ...],
) -> None:
    """Do every recording in FOLDER again; fail on what diverges or has become slower.

    \b
    Examples:
        rspp regress tests/replay/journals
        rspp regress recordings --pipeline v2.yaml --junit regress.xml
        rspp regress recordings --update
    """
    try:
        rules = rules_in(folder)
        baseline = baseline_in(folder)
    except RsppError as error:
        raise click.UsageError(str(error)) from error
    graphs, extra = graphs_of(pipeline) if pipeline else ({}, {})
    named = next(iter(graphs.values())).fingerprint if graphs else None
    if baseline is not None and baseline.pipeline != named:
        baseline = None
    job = Job(folder, rules, partial(nodes_for, places=node_places), graphs, extra)
    paths = corpus(folder, rules, Gate(gate))
    # What is not in a file of its own cannot go to another process.
    processes = 1 if extra else jobs or os.cpu_count() or 1
    whole = Gate(gate) is Gate.BOTH
    checked = list(run(job, paths, jobs=processes))
    outcome = judged(checked, rules, None if update else baseline, whole_corpus=whole)
    if as_json:
        emit_json(document(outcome))
    else:
        show(outcome)
    if junit is not None:
        write_text(junit, junit_of(folder.name, outcome))
    if update:
        _update(folder, checked, outcome, named, as_json=as_json)
    if not outcome.ok:
        raise SystemExit(Status.PROBLEM)


def graphs_of(
    pipeline: Path,
) -> tuple[dict[RecordingLevel, GraphDefinition], Mapping[str, NodeFactory]]:
    """The pipeline as it is at each level of recording, and its own nodes."""
    found = {level: compiled(pipeline, level) for level in RecordingLevel}
    own: dict[str, NodeFactory] = {}
    for _, nodes in found.values():
        own |= nodes
    return {level: graph for level, (graph, _) in found.items()}, own


def _update(
    folder: Path, checked: list[Checked], outcome: Outcome, named: str | None, *, as_json: bool
) -> None:
    if not outcome.recordings or any(not one.ok for one in checked):
        click.echo("the baseline stays as it is: a divergence is no latency", err=True)
        return
    path = write_baseline(folder, kept(outcome, named))
    click.echo(f"baseline: {path}", err=as_json)


def document(outcome: Outcome) -> dict[str, object]:
    """The outcome as one document."""
    return {"ok": outcome.ok, **msgspec.to_builtins(outcome)}


def show(outcome: Outcome) -> None:
    """For people: a line a recording, then what fails."""
    print_table(
        ("recording", "session", "seconds", "divergences", "expected", ""),
        (
            (
                one.name,
                one.session_id,
                one.recorded_seconds,
                one.divergences,
                one.expected,
                "ok" if one.ok else "FAILS",
            )
            for one in outcome.recordings
        ),
        numbers=("seconds", "divergences", "expected"),
    )
    if outcome.latency:
        click.echo()
        print_table(
            ("stage", "turns", "p50 ms", "p95 ms"),
            (
                (stage, int(sums["samples"]), sums["p50_ms"], sums["p95_ms"])
                for stage, sums in outcome.latency.items()
            ),
            numbers=("turns", "p50 ms", "p95 ms"),
        )
    for one in outcome.recordings:
        for finding in _shown(one.failures):
            click.echo(f"\n{one.name} ({one.session_id}): {told(finding)}")
        if len(one.failures) > SHOWN_MAX:
            click.echo(f"\n{one.name}: {len(one.failures)} failures; --json has them all")
    for finding in outcome.failures:
        click.echo(f"\n{told(finding)}")
    failed = sum(not one.ok for one in outcome.recordings)
    click.echo(f"\n{len(outcome.recordings)} recordings, {failed} fail")


def _shown(failures: list[Finding]) -> list[Finding]:
    """The first ones, and what has become slower, however much else there is."""
    return failures[:SHOWN_MAX] + [one for one in failures[SHOWN_MAX:] if one.kind == LATENCY]


def told(finding: Finding) -> str:
    """One finding: its class, what it is about, why; where; and the line of the timeline."""
    metric = f" {finding.metric}" if finding.metric else ""
    text = f"{finding.kind}{metric} {finding.scope}: {finding.why}"
    if finding.step is not None and finding.at_ms is not None:
        text += f"\n    at input {finding.step}, {finding.at_ms / 1000:.3f} s"
    if finding.expected is not None or finding.got is not None:
        text += f"\n    expected {finding.expected}\n    got      {finding.got}"
    return text + (f"\n    {finding.line}" if finding.line else "")


def junit_of(name: str, outcome: Outcome) -> str:
    """The outcome as a JUnit file: a case a recording, and one for the corpus."""
    cases = [_case(one.name, one.failures) for one in outcome.recordings]
    cases.append(_case("corpus", outcome.failures))
    failed = sum(not one.ok for one in outcome.recordings) + bool(outcome.failures)
    head = f'<testsuite name={quoteattr(name)} tests="{len(cases)}" failures="{failed}">'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}\n{"".join(cases)}</testsuite>\n'


def _case(name: str, failures: list[Finding]) -> str:
    inside = "".join(
        f"<failure type={quoteattr(one.kind)} message={quoteattr(_clean(told(one)))}/>"
        for one in _shown(failures)
    )
    return f'<testcase classname="rspp.regress" name={quoteattr(name)}>{inside}</testcase>\n'


def _clean(text: str) -> str:
    """XML has no place for most control characters."""
    return "".join(one if one >= " " or one in "\n\t" else "?" for one in text)
