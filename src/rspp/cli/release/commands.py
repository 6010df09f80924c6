"""`rspp release run | resume | status | abort`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
import msgspec

from rspp.cli.control.asking import Whom
from rspp.cli.control.noun import WHOM, whom_of
from rspp.cli.data_folder import data_folder
from rspp.cli.output import Status, emit_json
from rspp.cli.release import EPILOG, beginning
from rspp.cli.release import status as standing
from rspp.cli.release.driving import Driver
from rspp.cli.release.finishing import compared
from rspp.cli.release.going import Ended, How, give_up, go
from rspp.cli.release.ground import Asked
from rspp.cli.release.options import going_options, led_options, proof_options, whom_options
from rspp.cli.release.plane import asks, known_to
from rspp.cli.release.settings import OBSERVE_MS_MAX, Settings, found, read
from rspp.cli.release.steps import StepName
from rspp.cli.release.work import Work
from rspp.cli.serve import Span
from rspp.contract.errors import MisuseError, RsppError
from rspp.manifest import Tells
from rspp.server.work import WorkTeller
from rspp.spec import load

_SPEC = click.Path(exists=True, dir_okay=False, path_type=Path)


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


@click.command(epilog=EPILOG)
@click.argument("spec", type=_SPEC)
@proof_options
@led_options
@going_options
@click.option(
    "--restart", is_flag=True, help="Begin anew also where a release of this text goes on, or is done."
)
@whom_options
def run(
    spec: Path,
    corpus: Path,
    recordings: tuple[str, ...],
    gates_report: Path | None,
    restart: bool,
    stop_after: str | None,
    wait: bool,
    tell: str | None,
    take_over: bool,
    data: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Release the pipeline in SPEC, under its own name and version.

    \b
    Examples:
        rspp release run desk.yaml --corpus corpus --recordings load --tenants acme
        rspp release run desk.yaml --corpus corpus --gates gates.json --observe 1h --min-sessions 200
        rspp release run desk.yaml --corpus corpus --gates gates.json --stop-after gates
    """
    whom = whom_of(**{name: given.pop(name) for name in WHOM})
    if bool(recordings) == (gates_report is not None):
        raise click.UsageError("The gates need --recordings to judge, or --gates with a report: one of them.")
    places = tuple(str(Path(one).absolute()) if Path(one).exists() else one for one in recordings)
    gates = "" if gates_report is None else str(gates_report.absolute())
    with _plainly():
        settings = beginning.settings_for(spec, corpus, wall_ms(), recordings=places, gates=gates, **given)
        aside = beginning.set_aside(
            data_folder(data),
            settings,
            lambda folder, old: Work(folder, old.root, wall_ms=wall_ms, take_over=take_over),
            restart=restart,
        )
        if aside is not None:
            _say(f"begins anew; the older release is kept as {settings.pipeline}@{aside.name}")
        folder = beginning.begun(data_folder(data), settings)
    _go(folder, whom, Asked(wait=wait), stop_after, tell, take_over, as_json=as_json)


@click.command(epilog=EPILOG)
@click.argument("pipeline")
@going_options
@click.option(
    "--wait-signal", is_flag=True, help="Of a release that pauses: wait for the console's signal, not for me."
)
@click.option("--refresh", is_flag=True, help="Do again the proofs that have become too old.")
@click.option("--observe-more", type=Span(1, OBSERVE_MS_MAX), help="Watch on for so long.")
@click.option("--min-sessions", type=click.IntRange(0), help="So many sessions are enough after all.")
@whom_options
def resume(
    pipeline: str,
    stop_after: str | None,
    wait: bool,
    tell: str | None,
    take_over: bool,
    wait_signal: bool,
    refresh: bool,
    observe_more: int | None,
    min_sessions: int | None,
    data: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Go on with the release of PIPELINE (NAME, NAME@VERSION, or its spec file) where it stands."""
    whom = whom_of(**given)
    asked = Asked(wait=wait, refresh=refresh, observe_more_ms=observe_more or 0, sessions_min=min_sessions)
    folder = _folder(data, pipeline, goes_on=True)
    _go(folder, whom, asked, stop_after, tell, take_over, wait_signal=wait_signal, as_json=as_json)


@click.command(epilog=EPILOG)
@click.argument("pipeline")
@click.option("--verify", is_flag=True, help="Hold its ledgers against the audit log.")
@whom_options
def status(pipeline: str, verify: bool, data: Path | None, as_json: bool, **given: Any) -> None:
    """Show where the release of PIPELINE stands, what it lacks, and the next command."""
    folder = _folder(data, pipeline)
    with _plainly():
        settings = read(folder)
        work = Work(folder, settings.root, wall_ms=wall_ms)
        if not work.is_begun:
            raise click.ClickException(
                f"{settings.ref} was cut short as it began: rspp release resume {settings.ref}"
            )
        said = standing.document(work, settings)
        differs = False
        if verify:
            with asks(whom_of(**given)) as plane:
                known_to(plane, folder)
                said["audit"] = msgspec.to_builtins(compared(plane, settings, folder, work.attempts()))
            differs = bool(said["audit"]["differences"]) or not said["audit"]["seen"]
    if as_json:
        emit_json(said)
    else:
        standing.show(said)
        if verify:
            standing.show_compared(said["audit"])
    if differs or said["state"] in ("stands", "over", "aborted"):
        raise SystemExit(Status.PROBLEM)


@click.command(epilog=EPILOG)
@click.argument("pipeline")
@click.option("--reason", required=True, help="Why; it is on record.")
@click.option("--take-over", is_flag=True, help="Take a lock that another host never gave back.")
@whom_options
def abort(
    pipeline: str, reason: str, take_over: bool, data: Path | None, as_json: bool, **given: Any
) -> None:
    """Give the release of PIPELINE up: new sessions are led back; what was published stays published."""
    folder = _folder(data, pipeline, goes_on=True)
    with _plainly(), _driver(folder, whom_of(**given), Asked(reason=reason), None, take_over) as driver:
        ended = give_up(driver)
    _said(ended, read(folder), folder, as_json=as_json)
    if ended.code != "aborted":
        raise SystemExit(Status.PROBLEM)


# ---- what they share -------------------------------------------------------------------------------------------------


def _go(
    folder: Path,
    whom: Whom,
    asked: Asked,
    stop_after: str | None,
    tell: str | None,
    take_over: bool,
    *,
    wait_signal: bool = False,
    as_json: bool,
) -> None:
    settings = read(folder)
    try:
        with _plainly(), _driver(folder, whom, asked, tell, take_over) as driver:
            ended = go(
                driver, stop_after=StepName(stop_after) if stop_after else None, wait_for_signal=wait_signal
            )
    except KeyboardInterrupt:
        click.echo(f"\nleft where it is: rspp release resume {settings.ref} goes on there", err=True)
        raise SystemExit(Status.PROBLEM) from None
    _said(ended, settings, folder, as_json=as_json)
    if ended.how is How.STANDS:
        raise SystemExit(Status.PROBLEM)


@contextmanager
def _driver(folder: Path, whom: Whom, asked: Asked, tell: str | None, take_over: bool) -> Iterator[Driver]:
    """A release with everything that it needs, closed again at the end."""
    settings = read(folder)
    with _teller(whom, tell) as tells, asks(whom) as plane:
        work = Work(folder, settings.root, wall_ms=wall_ms, tells=tells, take_over=take_over)
        work.create(settings.session)
        yield Driver(work, settings, plane, wall_ms=wall_ms, sleep=time.sleep, say=_say, asked=asked)


def _teller(whom: Whom, tell: str | None) -> Any:
    store = whom.store if tell is None else None if tell == "none" else tell
    nobody: Tells | None = None
    return nullcontext(nobody) if store is None else WorkTeller(store)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _folder(data: Path | None, pipeline: str, *, goes_on: bool = False) -> Path:
    """The release that is meant: by its name, or by its spec file; one that was set aside is only looked at."""
    with _plainly():
        path = Path(pipeline)
        if path.is_file():
            spec = load(path.read_bytes().decode(errors="replace"), file=path.name).spec
            pipeline = pipeline if spec is None else f"{spec.pipeline}@{spec.version}"
        folder = found(data_folder(data), pipeline)
        if goes_on and "~" in folder.name:
            raise MisuseError("release_over", f"{pipeline} was set aside, and another was begun in its place")
        return folder


@contextmanager
def _plainly() -> Iterator[None]:
    """What is refused is told as one sentence, and not as a trace."""
    try:
        yield
    except RsppError as error:
        raise click.ClickException(f"{error.code}: {error.message}") from error


def _said(ended: Ended, settings: Settings, folder: Path, *, as_json: bool) -> None:
    if as_json:
        emit_json({"pipeline": settings.pipeline, "version": settings.version, **msgspec.to_builtins(ended)})
        return
    words = {
        How.RELEASED: f"{settings.ref} is released; {folder.name}/release.json says how",
        How.WAITS: f"{settings.ref} {ended.summary}",
        How.LEFT: f"{settings.ref} goes on later: {ended.summary}",
        How.STANDS: f"{settings.ref} stands still in {ended.step}: {ended.code}: {ended.summary}",
    }
    gone = f"{settings.ref} is {ended.summary}"
    click.echo(gone if ended.code == "aborted" else words[ended.how])
    if ended.next:
        click.echo(f"next: {ended.next}")
