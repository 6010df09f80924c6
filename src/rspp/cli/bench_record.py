"""`rspp bench record`: what recording costs beside the kernel's own work, and how much it writes."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import process_time_ns
from typing import Final, NamedTuple

import click
import msgspec

from rspp.cli.bench_record_call import FRAME_MS, Held, at_level, graph, hold
from rspp.cli.output import emit_json, print_table
from rspp.contract.words import RecordingLevel
from rspp.host.steps import Witnessed, each_node
from rspp.kernel.effects import Effect, StoreClose, StoreEvidence
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.inputs import AudioReceived, Input, Woken
from rspp.kernel.session import SessionKernel
from rspp.nodes import factories
from rspp.spec.graph import GraphDefinition, NodeDefinition
from rspp.timeline.session import Everything, SessionRecorder
from rspp.timeline.spool import Spool, SpoolSettings

# The share of the kernel's own cost that recording at L1 may add.
GOAL_RATIO_L1: Final = 0.15
LEVELS: Final = (RecordingLevel.L0, RecordingLevel.L1, RecordingLevel.L2)
LOT_NS: Final = 100_000_000
# So many lots later than the first the last call begins: not all of them are at the same point.
LATEST_LOTS: Final = 100
# The loop has its rounds, of which one in a lot hands over what is to be written.
ROUNDS_A_LOT: Final = 5
LOTS_A_BREATH: Final = 5
DRAIN_MS: Final = 60_000
# The calls are not held in real time, so the queue may be longer than any real one.
WITHOUT_BOUNDS: Final = SpoolSettings(detail_records_max=1 << 30, detail_bytes_max=1 << 40)
HOUR_MS: Final = 3_600_000


class AtLevel(msgspec.Struct, frozen=True):
    """Recording at one level: CPU beside the kernel's, of all threads, and bytes."""

    us_per_frame: float
    ratio: float
    bytes_per_hour: int


class Result(msgspec.Struct, frozen=True):
    seconds: int
    sessions: int
    frames: int  # in and out
    kernel_us_per_frame: float
    levels: dict[str, AtLevel]
    goal_ratio_l1: float
    within_goal: bool


@click.command(
    name="record", epilog="Exit status: 0 measured, whatever the numbers are, 2 the command was used wrongly."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--seconds", type=click.IntRange(min=20), default=60, show_default=True, help="Length of a call."
)
@click.option(
    "--sessions", type=click.IntRange(min=1), default=50, show_default=True, help="Calls at the same time."
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=2, show_default=True, help="Times it is measured."
)
def command(as_json: bool, seconds: int, sessions: int, rounds: int) -> None:
    """Measure what recording adds to a frame at L0, L1 and L2.

    A call is held once; then kernels take its inputs again, with nobody recording and at each level in turn. Recording
    includes the writer's thread, real files, and the watch over sync nodes. Nothing is redacted.

    \b
    Examples:
        rspp bench record
        rspp bench record --json --seconds 600
    """
    result = measure(seconds, sessions, rounds)
    if as_json:
        emit_json(result)
    else:
        print_table(("what", "here", "unit", "goal"), rows(result), numbers=("here", "goal"))


def rows(result: Result) -> list[tuple[str, object, str, str]]:
    """The result as a table for people."""
    table: list[tuple[str, object, str, str]] = [
        ("the kernel alone, CPU a frame", result.kernel_us_per_frame, "us", "")
    ]
    for name, level in result.levels.items():
        goal = f"{GOAL_RATIO_L1:g}" if name == "L1" else ""
        table += [
            (f"recording at {name}, CPU a frame", level.us_per_frame, "us", ""),
            ("  as a share of the kernel's", level.ratio, "", goal),
            ("  written in an hour of call", level.bytes_per_hour, "bytes", ""),
        ]
    return table


def measure(seconds: int, sessions: int, rounds: int) -> Result:
    """Everything, in turn, so that a machine that slows down slows all of it."""
    held, heard = hold(seconds)
    frames = (seconds * 1000 // FRAME_MS + heard) * sessions
    costs: dict[RecordingLevel | None, list[int]] = {arm: [] for arm in (None, *LEVELS)}
    sizes: dict[RecordingLevel | None, int] = {}
    cost(held, None, 1)
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            for arm, found in costs.items():
                spent, sizes[arm] = cost(held, arm, sessions)
                found.append(spent)
    finally:
        gc.unfreeze()
    us = {arm: min(found) / frames / 1000 for arm, found in costs.items()}
    levels = {
        level.value: AtLevel(
            us_per_frame=round(us[level] - us[None], 3),
            ratio=round((us[level] - us[None]) / us[None], 3),
            bytes_per_hour=sizes[level] * HOUR_MS // (seconds * 1000 * sessions),
        )
        for level in LEVELS
    }
    return Result(
        seconds=seconds,
        sessions=sessions,
        frames=frames,
        kernel_us_per_frame=round(us[None], 3),
        levels=levels,
        goal_ratio_l1=GOAL_RATIO_L1,
        within_goal=levels["L1"].ratio < GOAL_RATIO_L1,
    )


def cost(held: Held, level: RecordingLevel | None, sessions: int) -> tuple[int, int]:
    """Nanoseconds of CPU, of all threads, for so many calls at once, recorded at this level or not; and bytes written."""
    made = graph()

    async def alone() -> tuple[int, int]:
        return await _run(held, [_bare(held, made) for _ in range(sessions)], None), 0

    async def recorded() -> tuple[int, int]:
        assert level is not None
        with tempfile.TemporaryDirectory(prefix="rspp-bench-") as data:
            spool = Spool(Path(data), WITHOUT_BOUNDS)
            spool.start()
            calls = [_recorded(held, at_level(made, level), spool) for _ in range(sessions)]
            spent = await _run(held, calls, spool)
            await spool.close(DRAIN_MS)
            if spool.meters.detail_lost_total:
                raise RuntimeError(f"not everything was recorded: {spool.meters.detail_lost_total}")
            return spent, spool.meters.written_bytes_total

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(alone() if level is None else recorded())


class Loop(asyncio.SelectorEventLoop):
    """A loop whose time is the calls': it goes on when it is told to."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        super().__init__()

    def time(self) -> float:
        return self.passed_s


Give = Callable[[int, Input], None]


class _Kernel(NamedTuple):
    give: Give
    close: Callable[[], None]


def _bare(held: Held, made: GraphDefinition) -> _Kernel:
    """A call that nobody records; what it asks for is looked at all the same, as a host does."""
    assert held.request is not None
    kernel = SessionKernel(held.request, made, factories())
    kernel.drain()

    def give(at: int, received: Input) -> None:
        if type(received) is Woken:
            kernel.wake(at)
        else:
            kernel.receive(at, received)
        effects = kernel.drain()
        if effects and type(received) is not AudioReceived:
            _keep(None, effects)
        kernel.deadline()

    return _Kernel(give, lambda: None)


def _recorded(held: Held, made: GraphDefinition, spool: Spool) -> _Kernel:
    """The same with a recorder, which is told what a host tells it."""
    request = held.request
    assert request is not None
    recorder = spool.open(
        request.session_id,
        request.tenant_id,
        lambda append: SessionRecorder(append, Everything(), wall_ms=lambda: 0, meters=spool.meters),
    )
    recorder.opened(request, made)

    def watched(node: NodeDefinition, factory: NodeFactory, config: Mapping[str, object]) -> object:
        return Witnessed(factory(config), node.id, recorder.stepped)

    kernel = SessionKernel(request, made, each_node(made, factories(), watched))
    recorder.did(request.anchor.monotonic, kernel.drain())

    def give(at: int, received: Input) -> None:
        recorder.took(at, received)
        if type(received) is Woken:
            kernel.wake(at)
        else:
            kernel.receive(at, received)
        effects = kernel.drain()
        if effects:
            recorder.did(at, effects)
            if type(received) is not AudioReceived:
                _keep(recorder, effects)
        kernel.deadline()

    return _Kernel(give, recorder.closed)


def _keep(recorder: SessionRecorder | None, effects: Sequence[Effect]) -> None:
    for effect in effects:
        if type(effect) is StoreEvidence and recorder is not None:
            recorder.evidence(effect.record_id, effect.evidence)
        elif type(effect) is StoreClose and recorder is not None:
            recorder.closed_turn(effect.record_id, effect.stamp)


async def _run(held: Held, calls: list[_Kernel], spool: Spool | None) -> int:
    """All calls at once, each a little later than the one before, a tenth of a second of each after the other."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    lots = _lots(held)
    before = process_time_ns()
    for number in range(len(lots) + LATEST_LOTS):
        for index, call in enumerate(calls):
            mine = number - index * LATEST_LOTS // len(calls)
            if 0 <= mine < len(lots):
                give = call.give
                for at, received in lots[mine]:
                    give(at, received)
        for _ in range(ROUNDS_A_LOT):
            loop.passed_s += LOT_NS / 1e9 / ROUNDS_A_LOT
            await asyncio.sleep(0)
        if spool is not None and number % LOTS_A_BREATH == 0:
            await spool.drained(DRAIN_MS)  # the writer's thread must not fall behind
    for call in calls:
        call.close()
    if spool is not None:
        await spool.drained(DRAIN_MS)
    return process_time_ns() - before


def _lots(held: Held) -> list[list[tuple[int, Input]]]:
    """The inputs, by the tenth of a second in which they came."""
    assert held.request is not None
    began = held.request.anchor.monotonic
    lots: list[list[tuple[int, Input]]] = [[] for _ in range((held.inputs[-1][0] - began) // LOT_NS + 1)]
    for at, received in held.inputs:
        lots[(at - began) // LOT_NS].append((at, received))
    return lots
