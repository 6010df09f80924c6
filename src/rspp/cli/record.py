"""`rspp sim record`: one simulated call as a file: a recording that is replayed, or its inputs as lines to be read."""

from __future__ import annotations

from pathlib import Path

import click

from rspp.cli.output import Status, emit_json, write_bytes
from rspp.cli.sim import Faults
from rspp.cli.sim_recorder import record
from rspp.contract.errors import MisuseError
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import Input
from rspp.kernel.journal import Digest, Encoding, encoding_of, read, replay, write_header, write_input
from rspp.nodes import factories
from rspp.sim.scenario import Scenario, draw
from rspp.sim.session import Session
from rspp.sim.world import Seat
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from rspp.timeline.replay.exact import ExactRun
from rspp.timeline.replay.modes import Mode, Outputs


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
    """Write one simulated call to FILE and replay it once: .rspp is its recording, .jsonl its inputs to be read.

    In a call with a failover (F8) two kernels take part; the first one's inputs are written. A sync node that fails
    inside its step (some of F2) leaves no input behind, so the replay of such a call's inputs alone differs, and that is
    said; its recording has what the node did.

    \b
    Examples:
        rspp sim record call.rspp; rspp replay call.rspp --mode re-simulate
        rspp sim record call.jsonl
        rspp kernel run call.jsonl --effects
    """
    try:
        encoding = encoding_of(file.name)
    except MisuseError as error:
        raise click.UsageError(error.message) from error
    scenario = draw(seed, session, faults)
    data, inputs, digest, same = (
        _journal(scenario, encoding) if encoding is Encoding.JSON else _recording(scenario)
    )
    write_bytes(file, data)
    if as_json:
        emit_json({"file": str(file), "inputs": inputs, "digest": digest, "replays": same})
    else:
        click.echo(f"{file}: {inputs} inputs, digest of the effects {digest}")
        click.echo(
            "its replay does the same"
            if same
            else "its replay differs: a node of the simulation did what the node of that name in rspp.nodes does not do"
        )
    context.exit(Status.OK if same else Status.PROBLEM)


Written = tuple[bytes, int, str, bool]


def _recording(scenario: Scenario) -> Written:
    """As live calls are recorded."""
    _, recordings = record(scenario)
    recording = assemble([unframe(recordings[0])])
    run = ExactRun(recording, factories(), Mode(outputs=Outputs.RE_SIMULATE))
    while run.step() is not None:
        pass
    found = run.comparison
    # A call whose level fell to L0 is replayed to there: that is how it was recorded, and no difference.
    same = not found.count and found.digest_recorded == found.digest_replayed
    return recordings[0], len(recording.inputs), found.digest_recorded or "", same


def _journal(scenario: Scenario, encoding: Encoding) -> Written:
    """Its inputs alone."""
    watcher = Watcher()
    call = Session(scenario, observer=watcher)
    call.run()
    seat = call.world.seats[0]
    records = [write_header(seat.request, seat.graph, encoding)]
    records += [write_input(at, received, encoding) for at, received in seat.inputs]
    journal = b"".join(records)
    again = Digest()
    for _, effects in replay(read(journal, encoding), factories()):
        again.add(effects)
    digest = watcher.digest.hexdigest()
    return journal, len(seat.inputs), digest, again.hexdigest() == digest
