"""`rspp sim record`: one simulated call's inputs as a file, which `rspp kernel run` feeds to a fresh kernel."""

from __future__ import annotations

from pathlib import Path

import click

from rspp.cli.output import Status, emit_json, write_bytes
from rspp.cli.sim import Faults
from rspp.contract.errors import MisuseError
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import Input
from rspp.kernel.journal import Digest, encoding_of, read, replay, write_header, write_input
from rspp.nodes import factories
from rspp.sim.scenario import draw
from rspp.sim.session import Session
from rspp.sim.world import Seat


class Watcher:
    """Takes the digest of what the call's first kernel does."""

    def __init__(self) -> None:
        self.digest = Digest()

    def saw(self, now: int, seat: Seat, what: Input | Effect) -> None:  # noqa: ARG002 - an observer is told when
        if seat.number == 0 and isinstance(what, Effect):
            self.digest.add((what,))


@click.command(
    epilog="Exit status: 0 written, 1 written but a replay differs, 2 the command was used wrongly."
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0))
@click.option("--session", default=0, show_default=True, type=click.IntRange(min=0), help="Which call of it.")
@click.option(
    "--faults", default="none", show_default=True, type=Faults(), help="all, none, or classes and names."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as one JSON document.")
@click.pass_context
def command(context: click.Context, file: Path, seed: int, session: int, faults: str, as_json: bool) -> None:
    """Write the inputs of one simulated call to FILE (.jsonl to be read, .rspp to be small) and replay it once.

    In a call with a failover (F8) two kernels take part; the first one's inputs are written. A sync node that fails
    inside its step (some of F2) leaves no input behind, so such a call's replay differs, and that is said.

    \b
    Examples:
        rspp sim record call.jsonl
        rspp kernel run call.jsonl --effects
    """
    try:
        encoding = encoding_of(file.name)
    except MisuseError as error:
        raise click.UsageError(error.message) from error
    watcher = Watcher()
    call = Session(draw(seed, session, faults), observer=watcher)
    call.run()
    seat = call.world.seats[0]
    records = [write_header(seat.request, seat.graph, encoding)]
    records += [write_input(at, received, encoding) for at, received in seat.inputs]
    journal = b"".join(records)
    write_bytes(file, journal)
    again = Digest()
    for _, effects in replay(read(journal, encoding), factories()):
        again.add(effects)
    same = again.hexdigest() == watcher.digest.hexdigest()
    if as_json:
        facts = {"file": str(file), "inputs": len(seat.inputs), "digest": watcher.digest.hexdigest()}
        emit_json({**facts, "replays": same})
    else:
        click.echo(f"{file}: {len(seat.inputs)} inputs, digest of the effects {watcher.digest.hexdigest()}")
        click.echo(
            "its replay does the same"
            if same
            else "its replay differs: a node of the simulation did what the node of that name in rspp.nodes does not do"
        )
    context.exit(Status.OK if same else Status.PROBLEM)
