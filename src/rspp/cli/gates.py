"""`rspp gates`: judge recordings by the contract's release gates; the command that lets a release through, or does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import msgspec

from rspp.cli import gates_view
from rspp.cli.gates_inputs import overhead_of, targets_of, thresholds_of
from rspp.cli.output import Status, console, emit_json, write_text
from rspp.cli.recordings import Where, load, where_options
from rspp.contract.codec import CodecError
from rspp.nodes import factories
from rspp.timeline.gates.judge import Judge
from rspp.timeline.gates.report import CONTRACT, GateReport, unfit
from rspp.timeline.recording import Recording

CORPUS: Final = "*.rspp"
REPORT_BYTES_MAX: Final = 64 * 1024 * 1024


@click.command(
    name="gates",
    epilog="Exit status: 0 every gate passed, 1 one failed or the report is unfit, 2 the command was used wrongly.",
)
@click.argument("references", nargs=-1, metavar="SESSION|FILE|DIR...")
@click.option(
    "--profile",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A pipeline whose `targets` count instead of the recorded pipelines' own.",
)
@click.option(
    "--thresholds",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Limits in YAML, instead of the contract's; those that are looser make the report unfit.",
)
@click.option(
    "--overhead",
    type=click.Path(exists=True, path_type=Path),
    help="The kernel's overhead as the host stored it: its file of JSON lines, or a data folder.",
)
@click.option(
    "--replay/--no-replay", default=True, help="Do every session again, for the metrics that need it."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the report here.")
@click.option(
    "--check",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Judge nothing: say whether this report may carry a release now.",
)
@where_options
@click.pass_context
def command(
    context: click.Context,
    where: Where,
    references: tuple[str, ...],
    profile: Path | None,
    thresholds: Path | None,
    overhead: Path | None,
    replay: bool,
    as_json: bool,
    out: Path | None,
    check: Path | None,
) -> None:
    """Judge recordings by the seven release gates.

    A directory is one recording (segments) or a corpus (`*.rspp`). An anchor that is missing fails its gate, and so does a
    gate that nothing was measured for. `--check` takes a report of `--out` that is no older than 24 hours.

    \b
    Examples:
        rspp gates corpus/ --out gates.json
        rspp gates --check gates.json
        rspp gates s-1f3a call.rspp --thresholds stricter.yaml --json
    """
    if check is not None:
        if references or profile or thresholds or overhead or out:
            raise click.UsageError(
                "--check judges nothing: it takes neither recordings nor limits, only --json"
            )
        context.exit(_check(check, as_json=as_json))
    if not references:
        raise click.UsageError("name sessions, files or directories of recordings, or a report with --check")
    judge = Judge(
        CONTRACT if thresholds is None else thresholds_of(thresholds),
        replays=factories() if replay else None,
        own=None if profile is None else targets_of(profile),
    )
    twice = _take(judge, references, where)
    report = judge.report(
        time.time_ns() // 1_000_000, overhead=None if overhead is None else overhead_of(overhead)
    )
    if out is not None:
        write_text(out, msgspec.json.format(msgspec.json.encode(report, order="sorted"), indent=2).decode())
    if as_json:
        emit_json(report)
    else:
        gates_view.show(report, twice)
    context.exit(Status.OK if report.passed else Status.PROBLEM)


def _take(judge: Judge, references: Iterable[str], where: Where) -> int:
    """Give all recordings to the judge; how many of them it had already."""
    twice = 0
    with counting("recording") as seen:
        for recording in recordings(references, where):
            try:
                twice += not judge.take(recording)
            except CodecError as error:
                raise click.ClickException(f"{recording.session_id}: {error}") from error
            seen()
    return twice


@contextmanager
def counting(what: str) -> Iterator[Callable[[], None]]:
    """Says to a person at a terminal how far it has come, on stderr, and nothing to anybody else."""
    shown, count = console(stderr=True), 0

    def one() -> None:
        nonlocal count
        count += 1
        click.echo(f"\r{what} {count}", err=True, nl=False)

    try:
        yield one if shown.is_terminal else lambda: None
    finally:
        if count:
            click.echo("\r\033[K", err=True, nl=False)


def recordings(references: Iterable[str], where: Where) -> Iterator[Recording]:
    """Each recording that is meant, one after the other."""
    for reference in references:
        folder = Path(reference)
        corpus = tuple(map(str, sorted(folder.glob(CORPUS)))) if folder.is_dir() else ()
        for one in corpus or (reference,):
            yield load(one, where)


def _check(path: Path, *, as_json: bool) -> Status:
    if path.stat().st_size > REPORT_BYTES_MAX:
        raise click.ClickException(f"{path}: a report has at most {REPORT_BYTES_MAX} bytes")
    try:
        report = msgspec.json.decode(path.read_bytes(), type=GateReport)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path} is no report of `rspp gates`: {error}") from error
    found = unfit(report, time.time_ns() // 1_000_000)
    if as_json:
        emit_json({"fit": not found, "problems": found, "digest": report.digest})
    else:
        for problem in found:
            click.echo(problem)
        click.echo("unfit for a release" if found else "fit for a release")
    return Status.PROBLEM if found else Status.OK
