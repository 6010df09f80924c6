"""What the kernel costs on this machine: CPU a frame, CPU a cancellation, bytes a session.

CPU is the process's own (`process_time`), so a busy neighbour costs nothing but caches. Each number is the median of
several fresh kernels. The collector's heap is frozen first, as a host does after its warm-up.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from statistics import median
from typing import Final

import msgspec

from rspp.cli.bench_call import (
    FRAME_MS,
    FRAMES_AHEAD,
    Call,
    Watch,
    inbound,
    outbound,
    request,
    run_in,
    run_out,
    run_watched,
)
from rspp.contract.plan import BufferPolicy
from rspp.kernel.inputs import DeliveryReported
from rspp.kernel.invariants import Monitor
from rspp.spec import GraphDefinition, voice_template

ROUNDS: Final = 5
WARM_UP_FRAMES: Final = 200
CANCELS: Final = 9
FEW: Final = 10
MANY: Final = 10_000
KERNELS_WEIGHED: Final = 200
_REQUEST: Final = request()


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    frames: int
    us_per_frame: float
    us_per_frame_in: float
    us_per_frame_out: float
    us_per_frame_with_checkers: float
    cancel_us_10_queued: float
    cancel_us_10000_queued: float
    cancel_ratio: float
    bytes_per_session_idle: int
    bytes_per_session_in_turn: int


def measure(frames: int, kernels: int = KERNELS_WEIGHED, queued: int = MANY, rounds: int = ROUNDS) -> Result:
    """Everything, one after the other."""
    graph = voice_template()
    frame_costs(graph, WARM_UP_FRAMES)
    gc.collect()
    gc.freeze()
    try:
        costs = [frame_costs(graph, frames) for _ in range(rounds)]
        watched = [watched_cost(graph, frames) for _ in range(rounds)]
        few, many = cancel_costs(queued)
    finally:
        gc.unfreeze()
    return Result(
        frames=frames,
        us_per_frame=_us(median(into + out for into, out in costs), 2 * frames),
        us_per_frame_in=_us(median(into for into, _ in costs), frames),
        us_per_frame_out=_us(median(out for _, out in costs), frames),
        us_per_frame_with_checkers=_us(median(watched), 2 * frames),
        cancel_us_10_queued=_us(few, 1),
        cancel_us_10000_queued=_us(many, 1),
        cancel_ratio=round(many / few, 2),
        bytes_per_session_idle=weight(lambda: Call(graph, _REQUEST), kernels),
        bytes_per_session_in_turn=weight(lambda: _speaking(graph), kernels),
    )


def _us(nanoseconds: float, count: int) -> float:
    return round(nanoseconds / count / 1000, 2)


# ---- frames ----------------------------------------------------------------------------------------------------


def frame_costs(graph: GraphDefinition, frames: int) -> tuple[int, int]:
    """Nanoseconds of CPU for this many frames in, and for as many out."""
    call = Call(graph)
    into = run_in(call, inbound(frames, call.now))
    call = _speaking(graph)
    out = run_out(call.kernel, outbound(frames, call.now, call.tts, call.turn_id))
    turn = call.kernel.turn()
    if turn is None or turn.playout.sent_ms < frames * FRAME_MS:
        raise RuntimeError("not every frame was sent: the script and the kernel do not agree")
    return into, out


def _speaking(graph: GraphDefinition, watch: Watch | None = None) -> Call:
    """A call in a turn whose audio is being heard."""
    call = Call(graph, _REQUEST, watch)
    call.open_turn()
    call.speak(FRAMES_AHEAD)
    call.give(DeliveryReported("accepted", call.turn_id))
    call.give(DeliveryReported("started", call.turn_id))
    return call


def watched_cost(graph: GraphDefinition, frames: int) -> int:
    """The same with the invariants' checkers looking on, from the sessions' first inputs."""
    monitor = Monitor(graph, _REQUEST)
    call = Call(graph, _REQUEST, monitor)
    into = run_watched(call, inbound(frames, call.now), monitor)
    monitor = Monitor(graph, _REQUEST)
    call = _speaking(graph, monitor)
    return into + run_watched(call, outbound(frames, call.now, call.tts, call.turn_id), monitor)


# ---- cancellation ----------------------------------------------------------------------------------------------


def cancel_costs(queued: int) -> tuple[float, float]:
    """Nanoseconds of CPU to cancel a turn with a few, and with this many, audio events on the edge to the caller.

    Filling a long queue empties the processor's caches, which makes whatever follows several times slower and says
    nothing about the cancellation. So before each, of either kind, another call's long queue is filled.
    """
    graph = with_room(voice_template(), 2 * queued)
    few: list[int] = []
    many: list[int] = []
    gc.disable()
    try:
        # Taken in turn, so that a machine that slows down slows both.
        for _ in range(CANCELS):
            for costs, number in ((few, FEW), (many, queued)):
                call = _waiting(graph, number)
                neighbour = _waiting(graph, queued)
                costs.append(call.cancel())
                neighbour.cancel()
    finally:
        gc.enable()
    return median(few), median(many)


def _waiting(graph: GraphDefinition, queued: int) -> Call:
    """A call whose turn has produced this much more than may be sent yet."""
    call = Call(graph, _REQUEST)
    call.open_turn()
    # Until the lead is full what is produced is sent; from then on it waits.
    lead = graph.policies.playout.lead_ms // graph.policies.playout.frame_ms
    call.speak(lead + queued)
    waiting = max(len(edge.queue.items) for edge in call.kernel.graph.edges.values())
    if abs(waiting - queued) > 2:
        raise RuntimeError(
            f"{waiting} events wait instead of {queued}: the script and the kernel do not agree"
        )
    return call


def with_room(graph: GraphDefinition, items: int) -> GraphDefinition:
    """The same graph, with edges that hold this many events for an hour."""

    def wide(policy: BufferPolicy) -> BufferPolicy:
        return msgspec.structs.replace(
            policy,
            max_queue_items=items,
            max_queue_ms=3_600_000,
            max_queue_bytes=1 << 40,
            max_latency_contribution_ms=3_600_000,
        )

    edges = tuple(msgspec.structs.replace(edge, buffer=wide(edge.buffer)) for edge in graph.edges)
    return msgspec.structs.replace(graph, edges=edges)


# ---- memory ----------------------------------------------------------------------------------------------------


def weight(make: Callable[[], Call], kernels: int) -> int:
    """Bytes of one session, of many that share their graph and their open request."""
    make()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [make() for _ in range(kernels)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) // len(kept)
