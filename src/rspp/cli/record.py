"""`rspp sim record`: one simulated call's inputs as a file, which `rspp kernel run` feeds to a fresh kernel."""

from __future__ import annotations

from pathlib import Path

import click

from rspp.cli.output import emit_json, write_bytes
from rspp.cli.sim import Faults
from rspp.contract.errors import MisuseError
from rspp.kernel.journal import encoding_of, write_header, write_input
from rspp.sim.scenario import draw
from rspp.sim.session import Session


@click.command(epilog="Exit status: 0 written, 2 the command was used wrongly.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0))
@click.option("--session", default=0, show_default=True, type=click.IntRange(min=0), help="Which call of it.")
@click.option(
    "--faults", default="none", show_default=True, type=Faults(), help="all, none, or classes and names."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as one JSON document.")
def command(file: Path, seed: int, session: int, faults: str, as_json: bool) -> None:
    """Write the inputs of one simulated call to FILE: .jsonl to be read, .rspp to be small.

    The name of a node's fault (class F2) is not an input: a call with one may not replay to the same effects. A failover
    (F8) has two kernels; the first one's inputs are written.

    \b
    Examples:
        rspp sim record call.jsonl
        rspp kernel run call.jsonl --effects
    """
    try:
        encoding = encoding_of(file.name)
    except MisuseError as error:
        raise click.UsageError(error.message) from error
    call = Session(draw(seed, session, faults))
    call.run()
    seat = call.world.seats[0]
    records = [write_header(seat.request, seat.graph, encoding)]
    records += [write_input(at, received, encoding) for at, received in seat.inputs]
    write_bytes(file, b"".join(records))
    facts = {
        "file": str(file),
        "inputs": len(seat.inputs),
        "seed": seed,
        "session": session,
        "faults": faults,
    }
    if as_json:
        emit_json(facts)
    else:
        click.echo(f"{file}: {len(seat.inputs)} inputs; `rspp kernel run {file}` replays them")
