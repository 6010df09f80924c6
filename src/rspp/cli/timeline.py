"""`rspp timeline`: what happened in a session, as rows in a terminal, as JSON, or as a page to listen to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from rspp.cli.output import Status, console, emit_json, write_text
from rspp.cli.recordings import Where, load, where_options
from rspp.cli.replay_nodes import nodes_for, nodes_option
from rspp.contract.codec import CodecError
from rspp.contract.signals import SIGNALS
from rspp.kernel.effects import AnyEffect
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.inputs import AnyInput
from rspp.nodes import factories
from rspp.timeline.recording import Recording
from rspp.timeline.view.html import SOUND_MB, session_page
from rspp.timeline.view.rows import CONTROL, DATA, TELEMETRY, Filter, Row
from rspp.timeline.view.seen import Seen, TurnSeen, see
from rspp.timeline.view.text import HEADING, LANES, cut, foot_lines, head_lines, row_line, turn_lines

KINDS: Final = frozenset(
    str(kind.__struct_config__.tag) for union in (AnyInput, AnyEffect) for kind in union.__args__
) | {"signal", "gap"}
COLOURS: Final[Mapping[str, str | None]] = {CONTROL: "cyan", DATA: None, TELEMETRY: "bright_black"}


@click.command(
    epilog="Exit status: 0 shown, 1 the kernel does not do the same again or the session cannot be read, 2 wrong usage."
)
@click.argument("session")
@click.option(
    "--kind", "kinds", multiple=True, metavar="KIND", help="Only rows of this kind; again for more."
)
@click.option("--node", "nodes", multiple=True, metavar="NODE", help="Only rows of this node.")
@click.option("--lane", "lanes", multiple=True, type=click.Choice(LANES), help="Only rows of this lane.")
@click.option(
    "--turn", "turns", multiple=True, metavar="TURN", help="Only rows of this turn: its number or id."
)
@click.option("--signal", "signals", multiple=True, metavar="SIGNAL", help="Only this signal.")
@click.option(
    "--from", "from_s", type=click.FloatRange(min=0), metavar="SECONDS", help="From this moment on."
)
@click.option("--to", "to_s", type=click.FloatRange(min=0), metavar="SECONDS", help="Up to this moment.")
@click.option("--no-replay", is_flag=True, help="Run no kernel: show only what stands in the recording.")
@click.option(
    "--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to this file."
)
@click.option(
    "--sound-mb",
    type=click.IntRange(0, 512),
    metavar="MB",
    default=SOUND_MB,
    show_default=True,
    help="At most so much sound in the page.",
)
@click.option("--json", "as_json", is_flag=True, help="Print head, turns and rows as JSON.")
@nodes_option
@where_options
def command(
    session: str,
    where: Where,
    node_places: tuple[str, ...],
    kinds: tuple[str, ...],
    nodes: tuple[str, ...],
    lanes: tuple[str, ...],
    turns: tuple[str, ...],
    signals: tuple[str, ...],
    from_s: float | None,
    to_s: float | None,
    no_replay: bool,
    page: Path | None,
    sound_mb: int,
    as_json: bool,
) -> None:
    """Show what happened in SESSION: an id, the beginning of one, or a file.

    Rows are sorted by time. The marks under `cdt` say the lane (control, data, telemetry): > came in, * was done. A row of a
    stream stands for up to a second of it. What was sent is not recorded: a kernel runs again on the recorded inputs to say it.
    Below the rows stands, turn by turn, how long the caller waited and for what; a terminal's rows are cut at its width.

    \b
    Examples:
      rspp timeline 3f2a
      rspp timeline 3f2a --turn 2 --lane control
      rspp timeline call.rspp --signal barge_in --signal cancel
      rspp timeline 3f2a --html call.html
    """
    recording = load(session, where)
    seen = seen_of(recording, node_places, replay=not no_replay, frames=page is not None)
    wanted = Filter(
        kinds=_known("--kind", kinds, KINDS),
        nodes=_known("--node", nodes, {row.node for row in seen.rows if row.node} | _nodes(seen)),
        lanes=frozenset(lanes),
        turns=frozenset(_turn(seen, one) for one in turns),
        signals=_known("--signal", signals, SIGNALS),
        from_ms=None if from_s is None else from_s * 1000,
        to_ms=None if to_s is None else to_s * 1000,
    )
    shown = [row for row in seen.rows if wanted.matches(row)]
    if page is not None:
        write_text(page, session_page(seen, shown, sound_bytes_max=sound_mb * 1_000_000))
        click.echo(f"wrote {page}", err=True)
    if as_json:
        emit_json({"head": seen.head, "turns": seen.turns, "transcript": seen.transcript, "rows": shown})
    elif page is None:
        _print(seen, shown, wanted)
    if seen.head.digest_replayed not in (None, seen.head.digest):
        raise click.exceptions.Exit(Status.PROBLEM)


def seen_of(
    recording: Recording, node_places: Sequence[str] = (), *, replay: bool = True, frames: bool = False
) -> Seen:
    """The view of a recording. Nodes that cannot be had are no fault here: what they sent is then not shown."""
    found: Mapping[str, NodeFactory] | None = None
    if replay:
        try:
            found = nodes_for(recording.head.graph, node_places)
        except click.ClickException:
            found = factories()
    try:
        return see(recording, found, frames=frames)
    except CodecError as error:
        raise click.ClickException(str(error)) from error


def _nodes(seen: Seen) -> set[str]:
    return {node.id for node in seen.story.graph.nodes}


def _known(option: str, given: Iterable[str], known: Collection[str]) -> frozenset[str]:
    for one in given:
        if one not in known:
            names = ", ".join(sorted(known))
            raise click.BadParameter(f"there is no {one!r}; there are: {names}", param_hint=option)
    return frozenset(given)


def _turn(seen: Seen, given: str) -> str:
    """The id of a turn that is named by its number or by its id."""
    ids = {turn.turn_id for turn in seen.turns} | {row.turn for row in seen.rows if row.turn}
    if given in ids:
        return given
    for turn in seen.turns:
        if given == str(turn.number):
            return turn.turn_id
    raise click.BadParameter(
        f"there is no turn {given!r}; the turns are numbered 1 to {len(seen.turns)}", param_hint="--turn"
    )


def _turns(seen: Seen, wanted: Filter) -> list[TurnSeen]:
    """The turns that the filter leaves: those it names, that went on within its time."""
    first = 0.0 if wanted.from_ms is None else wanted.from_ms
    last = seen.head.duration_ms if wanted.to_ms is None else wanted.to_ms
    return [
        turn
        for turn in seen.turns
        if (not wanted.turns or turn.turn_id in wanted.turns)
        and (turn.speech_ended_ms or turn.opened_ms) <= last
        and (turn.ended_ms is None or turn.ended_ms >= first)
    ]


def _print(seen: Seen, shown: list[Row], wanted: Filter) -> None:
    """Rows are coloured by their lane and cut at the width, for a person at a terminal."""
    screen = console()
    coloured = screen.is_terminal
    for line in head_lines(seen.head):
        click.echo(line)
    click.echo(f"\n{HEADING}")
    numbers = {turn.turn_id: turn.number for turn in seen.turns}
    for row in shown:
        line = cut(row_line(row, numbers), screen.width if coloured else None)
        click.echo(click.style(line, fg=COLOURS[row.lane]) if coloured else line)
    for line in ("", *turn_lines(_turns(seen, wanted)), "", *foot_lines(seen.head)):
        click.echo(line)
