"""`rspp kernel`: the pure kernel at work on a file of inputs, and the drawings of its machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import msgspec

from rspp.cli.output import Status, emit_json, print_table, write_text
from rspp.cli.replay_nodes import nodes_for, nodes_option
from rspp.contract.errors import RsppError
from rspp.contract.event import Audio, Event, Signal, Text
from rspp.contract.words import Lane
from rspp.kernel.diagrams import page
from rspp.kernel.effects import LANE_OF_EFFECT, Effect
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.journal import Digest, Encoding, Recorded, encoding_of, read, replay
from rspp.kernel.session import SessionKernel
from rspp.timeline.recording import assemble
from rspp.timeline.records import NodeStep, is_recording, unframe
from rspp.timeline.replay.nodes import played_back

PAGE = "lifecycles.md"
SUMMARY_CHARACTERS_MAX = 100
WHAT_A_JOURNAL_IS = "A journal is a whole file as `rspp sim record` writes it."

NodeSteps = Mapping[str, Mapping[int, NodeStep]]


@click.group()
def command() -> None:
    """Feed recorded inputs to a kernel; draw its state machines."""


@command.command(
    epilog="Exit status: 0 replayed (or torn, which is said), 1 the file is at fault, 2 the command was used wrongly."
)
@click.argument("inputs", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--effects", "show_effects", is_flag=True, help="Print every effect.")
@click.option("--upto", type=click.IntRange(min=0), help="Stop after this many inputs.")
@nodes_option
def run(
    inputs: Path, as_json: bool, show_effects: bool, upto: int | None, node_places: tuple[str, ...]
) -> None:
    """Feed a journal (.jsonl) or a recording (.rspp) to a fresh kernel; print what it does and the digest of it.

    \b
    Examples:
        rspp kernel run call.rspp
        rspp kernel run call.jsonl --effects --upto 100
    """
    try:
        recorded, steps = _read(inputs)
        nodes = played_back(recorded.graph, nodes_for(recorded.graph, node_places), steps)
        outcome = Outcome(_first(recorded, upto), nodes, keep=show_effects)
    except RsppError as error:
        raise click.ClickException(f"{inputs}: {error}. {WHAT_A_JOURNAL_IS}") from error
    if as_json:
        emit_json(outcome.facts())
    else:
        outcome.show()


def _read(path: Path) -> tuple[Recorded, NodeSteps]:
    """A journal, or a recording: then with what its nodes made of inputs that are withheld."""
    encoding, data = encoding_of(path.name), path.read_bytes()
    if encoding is not Encoding.MSGPACK or not is_recording(data):
        return read(data, encoding), {}
    recording = assemble([unframe(data)])
    head = recording.head
    recorded = Recorded(
        request=head.request, graph=head.graph, inputs=recording.input_list(), torn=recording.torn
    )
    return recorded, recording.nodes


class Outcome:
    """What a kernel did with recorded inputs."""

    def __init__(self, recorded: Recorded, nodes: Mapping[str, NodeFactory], *, keep: bool) -> None:
        self.inputs = len(recorded.inputs)
        self.torn = recorded.torn
        self.start = recorded.request.anchor.monotonic
        self.counts: Counter[str] = Counter()
        self.kept: list[tuple[int, Effect]] | None = [] if keep else None
        digest = Digest()
        kernel = SessionKernel(recorded.request, recorded.graph, nodes)
        for at, effects in replay(recorded, nodes, kernel):
            digest.add(effects)
            self.counts.update(_tag(effect) for effect in effects)
            if self.kept is not None:
                self.kept.extend((at, effect) for effect in effects)
        self.effects = digest.count
        self.digest = digest.hexdigest()
        self.ended = kernel.ended

    def facts(self) -> dict[str, object]:
        facts: dict[str, object] = {
            "inputs": self.inputs,
            "effects": self.effects,
            "digest": self.digest,
            "torn": self.torn,
            "counts": dict(self.counts),
            "ended": self.ended,
        }
        if self.kept is not None:
            facts["effect_list"] = [{"at": at, "effect": effect} for at, effect in self.kept]
        return facts

    def show(self) -> None:
        if self.kept is not None:
            print_table(("ms", "lane", "effect", "summary"), self._rows(), numbers=("ms",))
        else:
            print_table(("effect", "count"), sorted(self.counts.items()), numbers=("count",))
        torn = ", torn: the last record is not whole" if self.torn else ""
        click.echo(f"inputs {self.inputs}{torn}")
        click.echo(f"effects {self.effects}")
        click.echo(f"ended {'yes' if self.ended else 'no'}")
        click.echo(f"digest {self.digest}")

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        for at, effect in self.kept or ():
            lane = LANE_OF_EFFECT.get(type(effect), Lane.CONTROL)
            yield (
                f"{(at - self.start) / 1e6:.1f}",
                lane.removesuffix("Lane").lower(),
                _tag(effect),
                summary(effect),
            )


def _first(recorded: Recorded, upto: int | None) -> Recorded:
    return recorded if upto is None else msgspec.structs.replace(recorded, inputs=recorded.inputs[:upto])


def _tag(effect: Effect) -> str:
    return str(type(effect).__struct_config__.tag)


def summary(effect: Effect) -> str:
    """One line for people: the event if there is one, else the fields that are short."""
    event = getattr(effect, "event", None)
    about = [
        f"{name}={getattr(effect, name)}"
        for name in ("call_id", "turn_id", "reason")
        if getattr(effect, name, None)
    ]
    if isinstance(event, Event):
        about.append(_event(event))
    if not about:
        entry = getattr(effect, "entry", effect)
        fields = msgspec.to_builtins(entry, builtin_types=(bytes,))
        about = [f"{name}={value}" for name, value in fields.items() if name not in ("effect", "type")]
    return " ".join(about)[:SUMMARY_CHARACTERS_MAX]


def _event(event: Event) -> str:
    payload = event.payload
    turn = f" {event.scope.turn_id}" if event.scope.turn_id else ""
    if isinstance(payload, Signal):
        return f"{payload.signal}{turn}" + (f" ({payload.reason})" if payload.reason else "")
    if isinstance(payload, Audio):
        return f"audio {payload.samples} samples at {payload.sample_index}{turn}"
    if isinstance(payload, Text):
        return f"text {payload.text!r}{turn}"
    return f"{event.kind.value}{turn}"


@command.command(
    epilog="Exit status: 0 written or up to date, 1 stale with --check, 2 the command was used wrongly."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs"),
    show_default=True,
    help="Directory of the page.",
)
@click.option("--check", is_flag=True, help="Write nothing; fail if the page is not what the tables say.")
@click.pass_context
def diagrams(context: click.Context, out: Path, check: bool) -> None:
    """Write lifecycles.md: the state machines of session, turn, caller and overlap, from their tables.

    \b
    Examples:
        rspp kernel diagrams --out docs
        rspp kernel diagrams --out docs --check
    """
    path, wanted = out / PAGE, page()
    current = path.is_file() and path.read_text(encoding="utf-8") == wanted
    if check:
        said = "up to date" if current else f"stale: run `rspp kernel diagrams --out {out}`"
        click.echo(f"{path} is {said}")
        context.exit(Status.OK if current else Status.PROBLEM)
    if not current:
        write_text(path, wanted)
    click.echo(f"{path}: {'up to date' if current else 'written'}")
