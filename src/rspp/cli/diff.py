"""`rspp diff`: two runs compared, for people, for programs, and as a page."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from rspp.cli.output import Status, console, emit_json, print_table, write_text
from rspp.cli.recordings import Where, load, where_options
from rspp.cli.replay_nodes import nodes_for, nodes_option
from rspp.contract.errors import RsppError
from rspp.timeline.diff import DivergenceClass, Report, Tolerance, compare
from rspp.timeline.diff.expected import NOTHING, Expectations, read
from rspp.timeline.diff.findings import Position
from rspp.timeline.diff.outputs import TurnSide
from rspp.timeline.diff.page import page
from rspp.timeline.diff.sources import recorded, replayed
from rspp.timeline.story import Story

AGAIN = "@replay"
LINES_MAX = 40


@click.command(
    epilog="Exit status: 0 nothing differs but what was expected, 1 something does, 2 the command was used wrongly."
)
@click.argument("expected")
@click.argument("got")
@where_options
@nodes_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--html",
    "page_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page that needs nothing else.",
)
@click.option(
    "--tolerance-ms",
    type=click.FloatRange(min=0),
    default=15.0,
    show_default=True,
    help="Times may be so far apart.",
)
@click.option(
    "--expect",
    "expect_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What is meant to differ, as YAML or JSON.",
)
@click.option("--ignore", multiple=True, help="A class that is not judged; authority always is.")
@click.option(
    "--limit-final-ms",
    type=click.FloatRange(min=0),
    help="A call's last attempt may take so much longer or shorter.",
)
@click.option(
    "--limit-total-ms", type=click.FloatRange(min=0), help="A call may take so much longer or shorter."
)
def command(
    expected: str,
    got: str,
    where: Where,
    node_places: tuple[str, ...],
    as_json: bool,
    page_path: Path | None,
    tolerance_ms: float,
    expect_path: Path | None,
    ignore: tuple[str, ...],
    limit_final_ms: float | None,
    limit_total_ms: float | None,
) -> None:
    """Compare two runs, each a session, a file, or either with @replay: done again by this code.

    \b
    Examples:
        rspp diff 20261121-a 20261121-b
        rspp diff call.rspp call.rspp@replay --json
        rspp diff before.rspp after.rspp --html diff.html --expect meant.yaml
    """
    tolerance = Tolerance(
        timing_ms=tolerance_ms,
        invocation_latency_final_ms=limit_final_ms,
        invocation_latency_total_ms=limit_total_ms,
    )
    expectations = _expectations(expect_path, ignore)
    report = compare(
        _story(expected, where, node_places), _story(got, where, node_places), tolerance, expectations
    )
    if page_path is not None:
        write_text(page_path, page(report))
    if as_json:
        emit_json(report_of(report))
    else:
        show(report)
        if page_path is not None:
            click.echo(f"page: {page_path}")
    if not report.ok:
        raise SystemExit(Status.PROBLEM)


def _expectations(path: Path | None, ignore: tuple[str, ...]) -> Expectations:
    known = {kind.value for kind in DivergenceClass}
    names = {
        name: name if name in known else f"{name.upper().replace('-', '_')}_DIVERGENCE" for name in ignore
    }
    for name, whole in names.items():
        if whole not in known or whole == DivergenceClass.AUTHORITY:
            raise click.BadParameter(
                f"{name!r}: one of {', '.join(sorted(known - {DivergenceClass.AUTHORITY.value}))}",
                param_hint="--ignore",
            )
    try:
        found = NOTHING if path is None else read(path)
    except RsppError as error:
        raise click.UsageError(str(error)) from error
    return msgspec.structs.replace(found, ignore=(*found.ignore, *names.values()))


def _story(reference: str, where: Where, places: tuple[str, ...]) -> Story:
    """The run that is meant."""
    again = reference.endswith(AGAIN)
    recording = load(reference.removesuffix(AGAIN), where)
    try:
        return (replayed if again else recorded)(
            recording, nodes_for(recording.head.graph, places), reference
        )
    except RsppError as error:
        raise click.ClickException(f"{reference}: {error}") from error


def report_of(report: Report) -> dict[str, object]:
    """The report as one document, with what it comes to in front."""
    return {"ok": report.ok, **msgspec.to_builtins(report)}


# ---- for people ----------------------------------------------------------------------------------------------------


def show(report: Report) -> None:
    """What differs, causes first; what follows from a cause is only counted."""
    followers: dict[int, int] = {}
    for one in report.divergences:
        if one.root is not None:
            followers[one.root] = followers.get(one.root, 0) + 1
    roots = [one for one in report.divergences if one.root is None]
    if roots:
        print_table(
            ("no", "class", "scope", "at", "what", "expected", "got", "follow"),
            (
                (
                    one.number,
                    one.kind.removesuffix("_DIVERGENCE").lower(),
                    one.scope,
                    _at(one.expected_position or one.got_position),
                    one.message,
                    one.expected,
                    one.got,
                    followers.get(one.number) or "",
                )
                for one in roots[:LINES_MAX]
            ),
            numbers=("no", "at", "follow"),
        )
        if len(roots) > LINES_MAX:
            click.echo(f"and {len(roots) - LINES_MAX} more; --json has them all")
    _turns(report)
    _sums(report)


def _at(position: Position | None) -> str:
    return "" if position is None else f"{position.at_ms / 1000:.3f} s"


def _turns(report: Report) -> None:
    rows = []
    for pair in report.turns:
        a, b = pair.expected, pair.got
        rows.append(
            (
                a.turn_id if a else "-",
                b.turn_id if b else "-",
                _both(a and a.ending, b and b.ending),
                _both(_ms(a), _ms(b)),
                _both(_providers(a), _providers(b)),
                {True: "same", False: f"{pair.text_similarity}", None: ""}[pair.same_text],
                "" if pair.audio_similarity is None else pair.audio_similarity,
            )
        )
    if rows:
        click.echo()
        print_table(("turn", "with", "ending", "latency", "providers", "text", "sound"), rows)


def _ms(side: TurnSide | None) -> str:
    return "" if side is None or side.whole_ms is None else f"{side.whole_ms:g} ms"


def _providers(side: TurnSide | None) -> str:
    return " ".join("/".join(names) for names in side.providers.values()) if side else ""


def _both(before: object, after: object) -> str:
    return str(before or "") if before == after else f"{before or '-'} -> {after or '-'}"


def _sums(report: Report) -> None:
    say = console()
    counts = ", ".join(
        f"{count} {kind.removesuffix('_DIVERGENCE').lower()}"
        for kind, count in report.counts.items()
        if count
    )
    say.print()
    if not report.total:
        say.print(f"no divergence; times at most {report.apart_most_ms:g} ms apart", markup=False)
        return
    say.print(
        f"{report.total} divergences, {report.roots} of them causes: {counts}; "
        f"{report.verdict.expected + report.verdict.ignored} expected or ignored",
        markup=False,
    )
    for failure in report.verdict.failures:
        if failure.divergence is None:
            say.print(f"{failure.kind} {failure.scope}: {failure.why}", markup=False)
