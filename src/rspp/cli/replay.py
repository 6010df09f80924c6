"""`rspp replay`: a recorded session, had again: exactly, from its outputs alone, under another pipeline, or with live providers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from rspp.cli.output import Status, emit_json, write_bytes
from rspp.cli.recordings import Where, load, where_options
from rspp.cli.replay_nodes import nodes_for, nodes_option
from rspp.cli.replay_run import END, Replayed, begin, drive
from rspp.cli.replay_view import show
from rspp.cli.validate import read_layers
from rspp.contract.errors import MisuseError, RsppError
from rspp.kernel.hosting import NodeFactory
from rspp.spec import Layer
from rspp.timeline.recording import Recording
from rspp.timeline.replay.compare import TIMING_TOLERANCE_MS
from rspp.timeline.replay.cursor import read, written
from rspp.timeline.replay.integrity import checked
from rspp.timeline.replay.modes import EXPLAINED, Decisions, Mode, Outputs, mode_of
from rspp.timeline.replay.stops import WORDS, Stop, after, at_signal, until

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE: Final = click.Path(dir_okay=False, path_type=Path)
OUTPUTS: Final = {
    "re-simulate": Outputs.RE_SIMULATE,
    "playback": Outputs.PLAYBACK,
    "live-providers": Outputs.LIVE,
}
DECISIONS: Final = {
    "replay-decisions": Decisions.REPLAY,
    "recompute-decisions": Decisions.RECOMPUTE,
}
# What is wrong with the command, not with the recording.
USAGE_CODES: Final = frozenset(
    {
        "replay_mode_missing",
        "replay_mode_unknown",
        "replay_inputs_insufficient",
        "replay_stop_malformed",
        "signal_unknown",
    }
)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says, beyond the session and the mode."""

    pipeline: Path | None = None
    providers: dict[str, str] = {}
    live: tuple[str, ...] | None = None
    layers: tuple[Layer, ...] = ()
    node_places: tuple[str, ...] = ()
    cursor: Path | None = None
    decisions_only: bool = False
    items: bool = False
    tolerance_ms: float = TIMING_TOLERANCE_MS
    pace: float = 1.0
    out: Path | None = None
    as_json: bool = False


@click.command(
    epilog="Exit status: 0 as recorded, 1 it diverged or the recording cannot be replayed so, 2 the command was used "
    "wrongly."
)
@click.argument("session")
@click.option(
    "--mode", "outputs", type=click.Choice(list(OUTPUTS)), help="Where outputs come from; has to be said."
)
@click.option(
    "--decisions",
    type=click.Choice(list(DECISIONS)),
    help="Under the recorded flags, graph and policies, or today's. [default: replay; recompute with --pipeline]",
)
@click.option("--pipeline", type=FILE, help="Under this pipeline file instead of the recorded one.")
@click.option(
    "--provider", "providers", multiple=True, metavar="MODALITY=NAME", help="Bind this provider instead."
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME=FILE",
    help="Lay env, tenant or session over --pipeline.",
)
@click.option(
    "--live", metavar="LIST", help="With live-providers: which modalities are called. [default: llm,tts]"
)
@click.option("--step", "steps", type=click.IntRange(min=1), help="Stop after so many inputs.")
@click.option("--until", "until_what", metavar="WHAT", help=f"Stop at {WORDS}.")
@click.option(
    "--break", "breaks", multiple=True, metavar="SIGNAL", help="Stop at this signal; again for more."
)
@click.option("--cursor", type=FILE, help="Go on from where this file says.")
@click.option("--save", type=NEW_FILE, help="Write where it stopped, for --cursor.")
@click.option("--interactive", "-i", is_flag=True, help="Step by hand: n, c, b SIGNAL, u WHAT, p, q.")
@click.option(
    "--decisions-only", is_flag=True, help="With playback: walk what was decided, where no outputs are kept."
)
@click.option(
    "--tolerance-ms",
    type=click.FloatRange(min=0),
    default=TIMING_TOLERANCE_MS,
    show_default=True,
    help="How far times may be apart.",
)
@click.option("--items", is_flag=True, help="Tell every item of the timeline, each with the mode.")
@click.option("--out", type=NEW_FILE, help="With live-providers: keep the new recording here.")
@click.option(
    "--pace",
    type=click.FloatRange(0.1, 100),
    default=1.0,
    show_default=True,
    help="With live-providers: how many times as fast as real time.",
)
@nodes_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@where_options
@click.pass_context
def command(
    context: click.Context,
    /,
    session: str,
    outputs: str | None,
    decisions: str | None,
    steps: int | None,
    until_what: str | None,
    breaks: tuple[str, ...],
    save: Path | None,
    interactive: bool,
    where: Where,
    **given: Any,
) -> None:
    """Do a recorded session again. SESSION is its id, or a recording's file.

    The mode is always said: re-simulate runs the nodes again on recorded model outputs, playback tells what was recorded
    and runs nothing, live-providers calls the providers again.

    \b
    Examples:
        rspp replay s-1f03 --mode re-simulate --json
        rspp replay call.rspp --mode re-simulate --until turn:2 --save here.json
        rspp replay call.rspp --mode re-simulate --cursor here.json --break barge_in
        rspp replay s-1f03 --mode re-simulate --pipeline v2.yaml
        rspp replay s-1f03 --mode live-providers --provider llm=local-llm
    """
    began = time.process_time()
    mode = _mode(outputs, decisions, other=bool(given["pipeline"] or given["providers"]))
    asked = _asked(given)
    _fits(mode, asked, stepping=bool(steps or until_what or breaks or asked.cursor or save or interactive))
    recording = load(session, where)
    try:
        stops = _stops(recording, steps, until_what, breaks)
        if interactive:
            context.exit(_by_hand(recording, mode, asked, save))
        replayed = _replayed(recording, mode, asked, stops, began)
    except RsppError as error:
        raise _told(session, error) from error
    _tell(
        replayed,
        (*filter(None, (until_what,)), *(f"signal:{one}" for one in breaks)),
        save,
        as_json=asked.as_json,
    )
    context.exit(Status.OK if replayed.passed else Status.PROBLEM)


def _asked(given: dict[str, Any]) -> Asked:
    """The options that `Asked` has a field for, their texts read."""
    read = {
        "providers": _bindings(given["providers"]),
        "live": tuple(given["live"].split(",")) if given["live"] else None,
        "layers": read_layers(given["layers"]) if given["layers"] else (),
    }
    return Asked(**{**given, **read})


def _tell(replayed: Replayed, awaited: tuple[str, ...], save: Path | None, *, as_json: bool) -> None:
    """What came of it, and where it may go on."""
    if awaited and replayed.facts["stopped"] == END:
        click.echo(f"{' or '.join(awaited)} did not come: the replay ran to its end", err=True)
    if save is not None and replayed.cursor is not None:
        write_bytes(save, written(replayed.cursor))
    if as_json:
        emit_json({**replayed.facts, "cursor": replayed.cursor})
    else:
        show(replayed)


def _told(session: str, error: RsppError) -> click.ClickException:
    """A fault of the command, or of the recording."""
    if error.code in USAGE_CODES:
        return click.UsageError(str(error))
    return click.ClickException(f"{session}: {error}")


def _by_hand(recording: Recording, mode: Mode, asked: Asked, save: Path | None) -> Status:
    from rspp.cli.replay_stepping import converse  # noqa: PLC0415 - a person at a terminal is rare

    return converse(recording, mode, nodes_for(recording.head.graph, asked.node_places), asked.cursor, save)


def _mode(outputs: str | None, decisions: str | None, *, other: bool) -> Mode:
    """Both axes; a pipeline or a provider that is not the recorded one can only decide anew."""
    if outputs is None:
        lines = "\n".join(f"  {word:<15} {EXPLAINED[value]}" for word, value in OUTPUTS.items())
        raise click.UsageError(f"Say which replay is meant, with --mode:\n{lines}")
    if other and decisions == "replay-decisions" and outputs != "live-providers":
        raise click.UsageError(
            "Recorded decisions are those of the recorded pipeline: another one, or another provider, takes "
            "--decisions recompute-decisions."
        )
    if other and decisions is None and outputs == "re-simulate":
        decisions = "recompute-decisions"
    try:
        return mode_of(OUTPUTS[outputs].value, DECISIONS[decisions].value if decisions else None)
    except MisuseError as error:
        raise click.UsageError(str(error)) from error


def _fits(mode: Mode, asked: Asked, *, stepping: bool) -> None:
    """Options that this mode has no use for are refused, not ignored."""
    live, playback = mode.outputs is Outputs.LIVE, mode.outputs is Outputs.PLAYBACK
    if stepping and (live or mode.decisions is Decisions.RECOMPUTE):
        raise click.UsageError(
            "Only what was recorded can be stepped through: re-simulate with replay-decisions, or playback."
        )
    if not live and (asked.live is not None or asked.out is not None or asked.pace != 1.0):
        raise click.UsageError("--live, --out and --pace are for --mode live-providers.")
    if asked.layers and asked.pipeline is None:
        raise click.UsageError("--layer lies over another pipeline: name that with --pipeline.")
    if asked.decisions_only and not playback:
        raise click.UsageError("--decisions-only is for --mode playback.")
    if playback and (asked.pipeline or asked.providers):
        raise click.UsageError("A playback runs nothing: no other pipeline, no other provider.")


def _bindings(given: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        modality, _, name = one.partition("=")
        if not modality or not name:
            raise click.UsageError(f"--provider {one!r} is not MODALITY=NAME, for example llm=local-llm")
        found[modality] = name
    return found


def _stops(
    recording: Recording, steps: int | None, until_what: str | None, breaks: tuple[str, ...]
) -> list[Stop]:
    stops: list[Stop] = [at_signal(breaks)] if breaks else []
    if until_what is not None:
        stops.append(until(until_what, recording))
    if steps is not None:
        stops.append(after(steps))
    return stops


def _replayed(recording: Recording, mode: Mode, asked: Asked, stops: list[Stop], began: float) -> Replayed:
    problems = checked(recording)
    if mode.outputs is Outputs.LIVE:
        from rspp.cli.replay_live import replay_live  # noqa: PLC0415 - a host and its providers are not always wanted

        return replay_live(
            recording,
            mode,
            problems,
            pipeline=asked.pipeline,
            providers=asked.providers,
            live=asked.live,
            tolerance_ms=asked.tolerance_ms,
            layers=asked.layers,
            pace=asked.pace,
            out=asked.out,
            began_cpu=began,
            node_places=asked.node_places,
        )
    graph = recording.head.graph
    own: Mapping[str, NodeFactory] = {}
    if asked.pipeline is not None or asked.providers:
        from rspp.cli.replay_pipeline import bound, compiled  # noqa: PLC0415 - an exact replay needs no compiler

        if asked.pipeline is not None:
            graph, own = compiled(asked.pipeline, recording.head.level, asked.layers)
        graph = bound(graph, asked.providers)
    playback = mode.outputs is Outputs.PLAYBACK
    nodes: Mapping[str, NodeFactory] = {} if playback else {**nodes_for(graph, asked.node_places), **own}
    run = begin(
        recording, mode, nodes, graph, decisions_only=asked.decisions_only, tolerance_ms=asked.tolerance_ms
    )
    cursor = read(asked.cursor.read_bytes()) if asked.cursor is not None else None
    return drive(
        recording,
        run,
        stops,
        cursor,
        problems,
        began_cpu=began,
        keep_items=asked.items,
        node_places=asked.node_places,
        tolerance_ms=asked.tolerance_ms,
    )
