"""A replay by hand: a step at a time, to the next signal, with a look at the kernel's state wherever it stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from rspp.cli.output import Status, write_bytes
from rspp.cli.replay_run import Drive, begin
from rspp.contract.errors import MisuseError
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.session import SessionKernel
from rspp.timeline.recording import Recording
from rspp.timeline.replay.cursor import read, written
from rspp.timeline.replay.exact import ExactRun, Taken
from rspp.timeline.replay.integrity import checked
from rspp.timeline.replay.modes import Mode
from rspp.timeline.replay.stops import WORDS, Stop, after, at_signal, until

COMMANDS: Final = (
    f"n [COUNT] step; c go on to a break or the end; b SIGNAL break there; u WHAT go on until {WORDS}; "
    "p the kernel's state; q leave"
)


def converse(
    recording: Recording,
    mode: Mode,
    nodes: Mapping[str, NodeFactory],
    cursor: Path | None,
    save: Path | None,
) -> Status:
    """Until q or the end of what is typed; where it stands then can be saved."""
    checked(recording)
    run = begin(recording, mode, nodes, None)
    going = Drive(run, read(cursor.read_bytes()) if cursor is not None else None, keep_items=False)
    breaks: list[str] = []
    click.echo(COMMANDS)
    while (line := _ask(run.number, run.last)) is not None:
        word, _, rest = line.partition(" ")
        try:
            if word == "q":
                break
            if word == "n":
                _go(going, [after(int(rest) if rest.isdigit() else 1)])
            elif word == "c":
                _go(going, [at_signal(breaks)] if breaks else [])
            elif word == "b":
                at_signal([rest])
                breaks.append(rest)
                click.echo(f"breaks: {', '.join(breaks)}")
            elif word == "u":
                _go(going, [until(rest, recording)])
            elif word == "p":
                click.echo(_state(run.replay.kernel) if isinstance(run, ExactRun) else "no kernel runs here")
            elif word:
                click.echo(COMMANDS)
        except MisuseError as error:
            click.echo(str(error))
    if save is not None:
        write_bytes(save, written(going.place.cursor()))
    diverged = isinstance(run, ExactRun) and run.comparison.count
    return Status.PROBLEM if diverged else Status.OK


def _ask(number: int, last: int) -> str | None:
    try:
        return str(click.prompt(f"{max(number, 0)}/{last}", default="", show_default=False)).strip()
    except click.Abort:
        return None


def _go(going: Drive, stops: list[Stop]) -> None:
    taken = going.until([_tell, *stops])
    click.echo("the end" if taken is None else f"stopped: {going.stopped}")


def _tell(taken: Taken) -> None:
    """Says what each step did, and never stops."""
    for item in taken.items:
        click.echo(f"{taken.number:>6}  {item.what} {item.name}  {item.turn or ''}")


def _state(kernel: SessionKernel) -> str:
    """Where the kernel stands, in a few lines."""
    turn = kernel.turn()
    deadline = kernel.deadline()
    calls = [f"{call.node_id} {call.state.value}" for call in kernel.work.book.current.values()]
    wait = "nothing" if deadline is None else f"{(deadline - kernel.desk.now) / 1e6:.1f} ms"
    return "\n".join(
        (
            f"session {kernel.connection.state.value}, epoch {kernel.authority.epoch}",
            f"turn {turn.id} {turn.state.value}" if turn is not None else "no turn",
            f"calls {', '.join(calls) or 'none'}",
            f"speaking {'yes' if kernel.speaking() else 'no'}, next timer in {wait}",
        )
    )
