"""`rspp run`: a pipeline in the real world: one call from sound files, or a server that takes calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from rspp.cli.compose import Installed, Pipeline, installed, missing, pipeline_of
from rspp.cli.output import Status, emit_json
from rspp.cli.recorded import Choice, Recorded, check, copy, export_rest, record_options
from rspp.cli.run_call import CallResult, Interruption, has_speech, run_call, script_of, write_call
from rspp.cli.run_control_options import Controlled, Given, control_options, controlled
from rspp.cli.run_view import StderrProgress, live, logging_to_stderr, next_commands, show
from rspp.cli.tracing import Traces, Tracing, traces, tracing_options
from rspp.cli.validate import read_layers
from rspp.contract.errors import MisuseError, PeerFault
from rspp.host.secrets import Secrets
from rspp.kernel.journal import encoding_of
from rspp.spec import Layer, Severity
from rspp.timeline.writer import Inline

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE: Final = click.Path(dir_okay=False, path_type=Path)
PATIENCE_MS: Final = 10_000


class Pace(click.ParamType[float | None]):
    """How fast time runs: a factor, or `max`."""

    name = "factor"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        if value == "max":
            return None
        try:
            speed = float(str(value))
        except ValueError:
            speed = 0.0
        if not 0.1 <= speed <= 100:
            self.fail(f"{value!r} is neither `max` nor a factor from 0.1 to 100", param, ctx)
        return speed


class During(click.ParamType[Interruption]):
    """WAV@MS: what is said over the answer, once so much of it was heard."""

    name = "wav@ms"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Interruption:
        if isinstance(value, Interruption):
            return value
        file, _, ms = str(value).rpartition("@")
        if not file or not ms.isdigit():
            self.fail(f"{value!r} is not WAV@MS, for example stop.wav@1500", param, ctx)
        if not Path(file).is_file():
            self.fail(f"there is no file {file}", param, ctx)
        return Interruption(Path(file), int(ms))


@click.command(
    epilog="Exit status: 0 all is well, 1 a problem was found (in the spec, the models or the call), "
    "2 the command was used wrongly."
)
@click.argument("pipeline", type=FILE)
@click.option(
    "--wav", "wavs", type=FILE, multiple=True, help="Ask this recording; again for a next question."
)
@click.option("--interrupt", type=During(), help="Say this over the last answer, MS after it began.")
@click.option("--out", type=NEW_FILE, help="Write what the caller heard, silence included, as WAV.")
@click.option("--stereo", is_flag=True, help="Into --out: the caller left, the assistant right.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole call as one JSON document.")
@click.option(
    "--listen", is_flag=False, flag_value="127.0.0.1:8080", metavar="[HOST:PORT]", help="Take calls instead."
)
@click.option(
    "--pace", type=Pace(), default="1", show_default=True, help="How fast time runs; max skips idle time."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    default=180,
    show_default=True,
    help="Seconds of call.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    help="Write the recording to FILE.rspp as well (.jsonl: its inputs); with --listen one a call, into this folder.",
)
@record_options
@click.option(
    "--layer", "layers", multiple=True, metavar="NAME=FILE", help="Lay env, tenant or session over it."
)
@click.option(
    "--drain",
    "drain_ms",
    type=click.IntRange(min=0),
    default=10_000,
    show_default=True,
    help="Ms, on SIGTERM.",
)
@click.option(
    "--token", metavar="env://NAME|file:///PATH", help="With --listen: callers must have this token."
)
@control_options
@tracing_options
@click.option("--verbose", "-v", is_flag=True, help="All logs, as JSON lines on stderr.")
@click.option("--quiet", "-q", is_flag=True, help="Nothing on stderr but errors.")
@click.pass_context
def command(
    context: click.Context,
    /,
    pipeline: Path,
    wavs: tuple[Path, ...],
    interrupt: Interruption | None,
    out: Path | None,
    stereo: bool,
    as_json: bool,
    listen: str | None,
    pace: float | None,
    timeout_s: float,
    record: Path | None,
    layers: tuple[str, ...],
    drain_ms: int,
    token: str | None,
    verbose: bool,
    quiet: bool,
    choice: Choice,
    given: Given | None,
    **tracing: Any,
) -> None:
    """Run a pipeline: answer a recorded question, or take calls.

    With --wav a caller made of recordings asks, listens to the end, and hangs up; the whole call is reported, each
    turn with its stages. With --listen it serves WebSocket calls and a page for the microphone until SIGTERM.
    Every call is recorded (see --record-level), so that it can be looked at and replayed.

    With --listen --console the operator's page is served beside the calls. With --listen --control the process is its own
    control plane as well: the pipeline is published, versions are rolled out and back, quotas and policies hold, over REST
    and `rspp control`. Without --keys for this machine alone.

    \b
    Examples:
        rspp run examples/voice-assistant.yaml --wav question.wav --out answer.wav
        rspp run pipeline.yaml --wav question.wav --interrupt stop.wav@1500 --json
        rspp run pipeline.yaml --listen 0.0.0.0:8080
        rspp run pipeline.yaml --listen --console
        rspp run pipeline.yaml --listen --control
    """
    _fits(wavs, listen, given)
    wanted = controlled(given, listen, choice, token=token, layers=layers) if given and listen else None
    if record is not None and not choice.on:
        raise click.UsageError("--record writes a copy of a recording, and --record-level off makes none.")
    secrets = Secrets()
    undo = logging_to_stderr(verbose=verbose, quiet=quiet, secrets=secrets, lines=listen is not None)
    try:
        here = installed(secrets=secrets)
        ready = prepared(context, pipeline, here, read_layers(layers), quiet=quiet, choice=choice)
        traced_as = Tracing(**tracing)
        if wanted is not None:
            context.exit(
                _controlled(
                    ready, pipeline, wanted, choice, drain_ms, record, quiet, verbose, traced_as, secrets
                )
            )
        if listen is not None:
            key = _secret(token, secrets)
            context.exit(_listening(ready, listen, drain_ms, choice, record, key, quiet, traced_as))
        with traces(traced_as) as traced:
            one = _call(
                ready, wavs, interrupt, out, stereo, as_json, pace, timeout_s, record, choice, quiet, traced
            )
        context.exit(one)
    finally:
        undo()


def _fits(wavs: tuple[Path, ...], listen: str | None, given: Given | None) -> None:
    """One call from recordings, or many from callers; what is for the one is not for the other."""
    if bool(wavs) == (listen is not None):
        raise click.UsageError("Say --wav FILE for one call from a recording, or --listen to take calls.")
    if given is not None and listen is None:
        raise click.UsageError(
            "--control and --console are for --listen: a call from a recording needs no control plane."
        )


def _controlled(
    ready: Pipeline,
    path: Path,
    wanted: Controlled,
    choice: Choice,
    drain_ms: int,
    copies: Path | None,
    quiet: bool,
    verbose: bool,
    tracing: Tracing,
    secrets: Secrets,
) -> Status:
    from rspp.cli.run_control import Asked, run  # noqa: PLC0415 - likewise

    assert ready.graph is not None
    asked = Asked(
        path=path,
        graph=ready.graph,
        wanted=wanted,
        choice=choice,
        drain_ms=drain_ms,
        copies=copies,
        quiet=quiet,
        verbose=verbose,
        tracing=tracing,
    )
    return run(asked, secrets)


def _listening(
    ready: Pipeline,
    listen: str,
    drain_ms: int,
    choice: Choice,
    copies: Path | None,
    token: str | None,
    quiet: bool,
    tracing: Tracing,
) -> Status:
    from rspp.cli.run_listen import serve  # noqa: PLC0415 - a call from a file needs no server

    return serve(
        ready,
        listen,
        drain_ms=drain_ms,
        choice=choice,
        copies=copies,
        token=token,
        quiet=quiet,
        tracing=tracing,
    )


def _secret(reference: str | None, secrets: Secrets) -> str | None:
    try:
        return None if reference is None else secrets.resolve(reference).reveal()
    except MisuseError as error:
        raise click.UsageError(f"--token: {error.message}") from error


def prepared(
    context: click.Context,
    path: Path,
    here: Installed,
    layers: tuple[Layer, ...] = (),
    *,
    quiet: bool = False,
    choice: Choice | None = None,
) -> Pipeline:
    """A pipeline that can be run here, and recorded as is wished; else its problems are told and the command ends."""
    pipeline = pipeline_of(
        path,
        here,
        layers,
        level=choice.asked if choice else None,
        unstated_level=choice.unstated if choice else None,
    )
    for problem in pipeline.problems:
        if problem.severity is Severity.ERROR or not quiet:
            click.echo(str(problem), err=True)
    if pipeline.graph is None:
        context.exit(Status.PROBLEM)
    try:
        lacking, without = missing(pipeline, here)
    except MisuseError as error:
        raise click.ClickException(f"{path}: {error.message}") from error
    if lacking:
        raise click.ClickException(lacking)
    for sentence in without if not quiet else ():
        click.echo(f"goes without {sentence}", err=True)
    return pipeline


def _call(
    pipeline: Pipeline,
    wavs: tuple[Path, ...],
    interrupt: Interruption | None,
    out: Path | None,
    stereo: bool,
    as_json: bool,
    pace: float | None,
    timeout_s: float,
    record: Path | None,
    choice: Choice,
    quiet: bool,
    traced: Traces,
) -> Status:
    if record is not None:
        try:
            encoding_of(record.name)
        except MisuseError as error:
            raise click.UsageError(error.message) from error
    try:
        steps = script_of(wavs, interrupt, PATIENCE_MS)
    except PeerFault as error:
        raise click.ClickException(error.message) from error
    if not has_speech(steps) and not quiet:
        click.echo("warning: there is no speech in a recording, by its level", err=True)
    check(choice)
    progress = StderrProgress(quiet=quiet)
    recorded = Recorded(choice, hand=Inline)
    result, sounds = run_call(
        pipeline,
        steps,
        speed=pace,
        timeout_s=timeout_s,
        recorded=recorded,
        told=None if as_json else live,
        progress=progress,
        watches=traced.watches,
        metrics=traced.in_band,
    )
    export_rest(choice, progress)
    if record is not None and recorded.opened:
        copy(choice, *recorded.opened[-1], record)
    if out is not None:
        try:
            write_call(out, sounds, stereo=stereo)
        except OSError as error:
            raise click.UsageError(f"cannot write {out}: {error.strerror or error}") from error
    if as_json:
        emit_json(result)
    else:
        show(result)
        if recorded.opened:
            next_commands(recorded.opened)
    wrong = faults(result)
    for fault in wrong:
        click.echo(f"problem: {fault}", err=True)
    return Status.PROBLEM if wrong else Status.OK


def faults(result: CallResult) -> list[str]:
    """What was not as it should be, one sentence each."""
    wrong = [
        f"{one.name} is not ready: {one.failure}" for one in result.readiness if not one.ready and one.failure
    ]
    if result.end_reason == "timeout":
        wrong.append("the call was not over in time; raise --timeout")
    elif result.end_reason != "drained":
        wrong.append(f"the session ended by itself: {result.end_reason}")
    wrong += [f"the caller waited in vain for {what}" for what in result.unheard]
    for turn in result.turns:
        if turn.terminal != "commit" and not turn.interrupted:
            wrong.append(f"{turn.turn_id} ended as {turn.terminal}: {turn.terminal_reason}")
        if not turn.evidence_complete:
            wrong.append(f"the evidence of {turn.turn_id} lacks {', '.join(turn.evidence_missing)}")
    return wrong
