"""Many sessions in one process on one core, with callers who never stop: `python -m rspp.cli.bench_load JSON`.

Each caller sends a 20 ms frame every 20 ms, silence included, and hears an answer that goes on all the time, so that frames
go out as often. The callers' phases are spread evenly, as those of strangers are. Runs as a process of its own, because a
core and a heap must be its own to be measured.

How late a frame is. Inward: from when the caller had to send it to when the kernel took it; so a loop that stands still makes
frames late that nobody has sent yet. Outward: the first frame of an answer sets the clock; the kernel keeps `lead_ms` of audio
ahead of it, so frame n is due `n * 20 ms - lead` after the first, rounded to whole frames.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from time import monotonic_ns, process_time_ns
from typing import Final, Protocol

import msgspec

from rspp.cli import bench_machine as machine
from rspp.cli.bench_call import Call
from rspp.cli.bench_machine import Lateness
from rspp.cli.bench_rounds import Rounds
from rspp.cli.bench_talk import (
    ANSWERED_AFTER_MS,
    FRAME_MS,
    FRAME_NS,
    LOUD,
    QUESTION_FRAMES,
    QUIET,
    SAMPLES,
    pipeline,
    registry,
)
from rspp.contract.event import Audio, Event
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.words import ConnectionState, EventKind, PayloadClass
from rspp.host.host import Host, HostSettings
from rspp.host.ports import Bootstrap
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import AudioReceived, ConnectionChanged, DeliveryReported, Input
from rspp.kernel.snapshot import OpenRequest
from rspp.spec import GraphDefinition

FRAMES_PER_REPORT: Final = 10  # 200 ms, as the reference client does
# Sessions opened before the memory of the others is counted: what the first ones load is the base.
FIRST: Final = 20
OPENED_AT_ONCE: Final = 10
# So many of the frames that were due must have come, or it was no such load.
SHARE_HEARD_MIN: Final = 0.98
BARE_SECONDS: Final = 1.0


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one run measures. `spread_s`: the questions are asked within so long, for a turn's opening has a price too."""

    sessions: int
    seconds: float = 4.0
    spread_s: float = 2.0
    core: int | None = None


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    sessions: int
    lateness_ms_p99: float
    lateness_in_ms_p99: float | None
    lateness_out_ms_p99: float | None
    cpu_us_per_frame: float
    harness_cpu_us_per_frame: float
    cpu_share: float  # of the core
    rss_bytes_per_session: int
    frames: int
    frames_due: int
    sessions_alive: int

    @property
    def whole(self) -> bool:
        """Was everybody served, and was it the load that was asked for?"""
        return (
            self.sessions_alive == self.sessions
            and self.frames >= SHARE_HEARD_MIN * self.frames_due
            and self.lateness_out_ms_p99 is not None
        )


class Line(Protocol):
    """Where a caller's frames go: a seat, or nothing at all."""

    def ingest(self, received: Input) -> bool: ...


class Caller:
    """One caller, and the record of how late they were heard."""

    __slots__ = (
        "_due",
        "_frames",
        "_into",
        "_out",
        "_seat",
        "_started_at",
        "_turn_id",
        "first_due",
        "heard",
        "said",
        "wait",
    )

    def __init__(self, into: Lateness, out: Lateness, wait: int) -> None:
        self._into = into
        self._out = out
        self._seat: Line = NOWHERE
        self._started_at = self._due = self._frames = 0
        self._turn_id = ""
        self.first_due = 0
        self.wait = wait  # frames of silence before the question
        self.said = self.heard = 0

    def take(self, seat: Line) -> None:
        self._seat = seat

    # ---- the caller ----------------------------------------------------------------------------------------------

    def say(self) -> None:
        """The next 20 ms, and now and then how much has been heard."""
        number = self.said
        self.said = number + 1
        loud = 0 <= number - self.wait < QUESTION_FRAMES
        audio = Audio(LOUD if loud else QUIET, SAMPLES, number * SAMPLES)
        self._seat.ingest(AudioReceived(audio, number))
        if self._frames and not number % FRAMES_PER_REPORT:
            played = min(self._frames * FRAME_MS, (monotonic_ns() - self._started_at) // 1_000_000)
            self._seat.ingest(DeliveryReported("position", self._turn_id, played))

    # ---- the line ------------------------------------------------------------------------------------------------

    def send(self, event: Event) -> None:
        audio = event.payload
        if not isinstance(audio, Audio) or not audio.samples:
            return
        now = monotonic_ns()
        frames = self._frames
        if not frames:
            self._started_at = now
            self._turn_id = event.scope.turn_id or ""
            self._seat.ingest(DeliveryReported("accepted", self._turn_id))
            self._seat.ingest(DeliveryReported("started", self._turn_id))
        else:
            self._out.add(
                now - self._started_at - (frames - LEAD_FRAMES) * FRAME_NS if frames > LEAD_FRAMES else 0
            )
        self._frames = frames + 1
        self.heard += 1

    def announce(self, event: Event) -> None: ...
    def pause(self, turn_id: str) -> None: ...
    def resume(self, turn_id: str) -> None: ...
    def stop(self, turn_id: str, keep_ms: int) -> None: ...
    def close(self, reason: str) -> None: ...

    # ---- the record ----------------------------------------------------------------------------------------------

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None: ...

    def took(self, at: int, received: Input) -> None:
        if received.__class__ is AudioReceived:
            self._into.add(at - self.first_due - received.transport_sequence * FRAME_NS)

    def did(self, at: int, effects: Sequence[Effect]) -> None: ...
    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:  # noqa: ARG002 - the port's signature
        return None

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None: ...
    def closed(self) -> None: ...


class Nowhere:
    """A seat that takes everything and does nothing."""

    __slots__ = ()

    def ingest(self, received: Input) -> bool:  # noqa: ARG002 - the port's signature
        return True


NOWHERE: Final = Nowhere()
LEAD_FRAMES: Final = 9  # that may wait at the caller when one more is sent: 200 ms less one frame


async def measure(order: Order) -> Measured:
    """One run, from nothing to nothing."""
    bare_ns = await bare(order.sessions)
    into, out = Lateness(), Lateness()
    waits = max(1, int(order.spread_s * 1000 / FRAME_MS))
    callers = [Caller(into, out, n * waits // order.sessions) for n in range(order.sessions)]
    named = {f"s-{number}": caller for number, caller in enumerate(callers)}
    lead_in = order.spread_s + ANSWERED_AFTER_MS / 1000
    host = Host(
        registry(),
        HostSettings(sessions_max=order.sessions + FIRST, owns_process=True),
        recorders=lambda name: named[name],
    )
    host.publish(pipeline(int((lead_in + order.seconds + 1) * 1000)))
    await host.start()
    base = await seated(host, named)
    rounds = Rounds(callers, Caller.say)
    await asyncio.sleep(lead_in)
    await asyncio.sleep(0.2)
    into.clear()
    out.clear()
    before, since = process_time_ns(), monotonic_ns()
    heard, said = counted(callers)
    await asyncio.sleep(order.seconds)
    cpu, took = process_time_ns() - before, monotonic_ns() - since
    heard, said = (now - then for now, then in zip(counted(callers), (heard, said), strict=True))
    rss = machine.rss_bytes() - base
    alive = sum(not session.ended and not session.lost for session in host.sessions.values())
    p99_in, p99_out = into.quantile_ms(0.99), out.quantile_ms(0.99)
    rounds.stop()
    await host.stop()
    return Measured(
        sessions=order.sessions,
        lateness_ms_p99=max(p99_in or 0, p99_out or 0),
        lateness_in_ms_p99=p99_in,
        lateness_out_ms_p99=p99_out,
        cpu_us_per_frame=round(cpu / machine.US / max(1, heard + said), 2),
        harness_cpu_us_per_frame=round(bare_ns / machine.US, 2),
        cpu_share=round(cpu / took, 3),
        rss_bytes_per_session=rss // max(1, order.sessions - min(FIRST, order.sessions // 2)),
        frames=heard + said,
        frames_due=int(2 * order.sessions * took / FRAME_NS),
        sessions_alive=alive,
    )


def counted(callers: list[Caller]) -> tuple[int, int]:
    return sum(caller.heard for caller in callers), sum(caller.said for caller in callers)


async def seated(host: Host, named: dict[str, Caller]) -> int:
    """Open a session for each, a few at a time; returns the memory that was held when the first ones were in."""
    base = machine.rss_bytes()
    first = min(FIRST, len(named) // 2)
    for number, (name, caller) in enumerate(named.items()):
        if number == first:
            base = machine.rss_bytes()
        seat = host.open(
            Bootstrap(
                schema_version="v1.0",
                transport_kind="bench",
                tenant_id=f"t-{number % 4}",
                requested_at_ms=0,
                session_id=name,
            ),
            caller,
        )
        caller.take(seat)
        seat.ingest(ConnectionChanged(ConnectionState.CONNECTED))
        if number % OPENED_AT_ONCE == 0:
            await asyncio.sleep(0)
    return base


async def bare(sessions: int) -> float:
    """Nanoseconds of CPU a frame for the callers alone: what they say goes nowhere, and as many frames come from nowhere."""
    graph = pipeline(1_000)
    callers = [Caller(Lateness(), Lateness(), 0) for _ in range(sessions)]
    event = sound(graph)
    for caller in callers:
        caller.send(event)

    def each(caller: Caller) -> None:
        caller.say()
        caller.took(0, SILENCE)
        caller.send(event)

    before = process_time_ns()
    rounds = Rounds(callers, each)
    await asyncio.sleep(BARE_SECONDS)
    cpu = process_time_ns() - before
    rounds.stop()
    return cpu / max(1, sum(counted(callers)))


SILENCE: Final = AudioReceived(Audio(QUIET, SAMPLES, 0), 0)


def sound(graph: GraphDefinition) -> Event:
    """A frame as a session would send it."""
    desk = Call(graph).kernel.desk
    return desk.event(EventKind.AUDIO, Audio(QUIET, SAMPLES, 0), PayloadClass.AUDIO_RAW)


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=Order)
    machine.pin(order.core if order.core is not None else machine.cores()[0])
    sys.stdout.write(msgspec.json.encode(machine.run(measure(order))).decode() + "\n")


if __name__ == "__main__":
    main()
