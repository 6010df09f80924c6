"""The server's half of the interruption benchmark: `python -m rspp.cli.bench_interrupt_server JSON`.

Serves two pipelines on one core: `bench`, whose sessions are the load, and `talk`, whose callers interrupt. Of the latter it
notes two things at the seat and at the line, so that the host's own queues are in them: how long a cancel takes from being
handed in to the line being told to stop, and when the detector first said that there is speech.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import monotonic_ns
from typing import Final

import msgspec

from rspp.adapters.transports.websocket import Settings, WebSocketTransport
from rspp.cli import bench_machine as machine
from rspp.cli.bench_socket_server import lines, say
from rspp.cli.bench_talk import pipeline
from rspp.cli.compose import installed
from rspp.contract.event import Event
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.host.host import Host, HostSettings
from rspp.host.ports import Bootstrap, Line, Seat
from rspp.host.registry import Registry
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import ControlReceived, Input, SpeechScored
from rspp.kernel.snapshot import OpenRequest
from rspp.nodes import factories
from rspp.spec import GraphDefinition

TALK: Final = "talk"
TALK_VERSION: Final = "v1-talk"
CROSSINGS_MAX: Final = 10_000


class InterruptOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sessions: int
    answer_ms: int
    core: int
    detector: str


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """What the server saw. `speech_at`: by session, when a score first rose to speech."""

    cancel_ns: list[int]
    speech_at: dict[str, list[int]]
    blamed: dict[str, int]
    detector: str


class Ear:
    """The record of one session: when the detector heard a voice begin."""

    __slots__ = ("_loud", "at", "threshold")

    def __init__(self, threshold: float) -> None:
        self.at: list[int] = []  # bounded: CROSSINGS_MAX
        self.threshold = threshold
        self._loud = False

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None: ...

    def took(self, at: int, received: Input) -> None:
        if isinstance(received, SpeechScored):
            loud = received.probability >= self.threshold
            if loud and not self._loud and len(self.at) < CROSSINGS_MAX:
                self.at.append(at)
            self._loud = loud

    def did(self, at: int, effects: Sequence[Effect]) -> None: ...
    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:  # noqa: ARG002 - the port's signature
        return None

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None: ...
    def closed(self) -> None: ...


class TimedLine:
    """A line that looks at the clock when it is told to stop."""

    def __init__(self, line: Line, cancel_ns: list[int]) -> None:
        self._line = line
        self._cancel_ns = cancel_ns
        self.cancelled_at = 0

    def send(self, event: Event) -> None:
        self._line.send(event)

    def announce(self, event: Event) -> None:
        self._line.announce(event)

    def pause(self, turn_id: str) -> None:
        self._line.pause(turn_id)

    def resume(self, turn_id: str) -> None:
        self._line.resume(turn_id)

    def stop(self, turn_id: str, keep_ms: int) -> None:
        self._line.stop(turn_id, keep_ms)
        if self.cancelled_at:
            self._cancel_ns.append(monotonic_ns() - self.cancelled_at)
            self.cancelled_at = 0

    def close(self, reason: str) -> None:
        self._line.close(reason)


class TimedSeat:
    """A seat that looks at the clock when a cancel is handed in."""

    def __init__(self, seat: Seat, line: TimedLine) -> None:
        self._seat = seat
        self._line = line

    @property
    def session_id(self) -> str:
        return self._seat.session_id

    @property
    def epoch(self) -> int:
        return self._seat.epoch

    @property
    def graph(self) -> GraphDefinition:
        return self._seat.graph

    @property
    def ended(self) -> bool:
        return self._seat.ended

    def ingest(self, received: Input) -> bool:
        if isinstance(received, ControlReceived) and received.signal == "cancel":
            self._line.cancelled_at = monotonic_ns()
        return self._seat.ingest(received)

    def attach(self, line: Line) -> None:
        self._seat.attach(line)


class TimedDoor:
    """A door whose `talk` sessions are timed; the load's are not."""

    def __init__(self, host: Host, cancel_ns: list[int]) -> None:
        self._host = host
        self._cancel_ns = cancel_ns

    async def enter(self, bootstrap: Bootstrap, line: Line) -> Seat:
        if bootstrap.pipeline_version != TALK_VERSION:
            return await self._host.enter(bootstrap, line)
        timed = TimedLine(line, self._cancel_ns)
        return TimedSeat(await self._host.enter(bootstrap, timed), timed)

    def find(self, session_id: str) -> Seat | None:
        return self._host.find(session_id)


async def serve(order: InterruptOrder) -> None:
    ears: dict[str, Ear] = {}
    load = pipeline(order.answer_ms)
    talk = pipeline(order.answer_ms, name=TALK, version=TALK_VERSION, detector=order.detector)
    threshold = talk.policies.turn_taking.speech_threshold

    def recorder(session_id: str) -> Ear:
        return ears.setdefault(session_id, Ear(threshold))

    room = 2 * order.sessions + 50
    host = Host(
        Registry(providers=installed().table, nodes=factories()),
        HostSettings(sessions_max=room, owns_process=True),
        recorders=recorder,
    )
    for graph in (talk, load):
        host.publish(graph)
    unready = [ready for ready in await host.start() if not ready.ready]
    if unready:
        raise SystemExit(f"{unready[0].name}: {unready[0].failure}")
    transport = WebSocketTransport(
        Settings(port=0, connections_max=room, connects_per_second=10_000, connects_burst=10_000)
    )
    cancel_ns: list[int] = []  # bounded: by the cancels of one benchmark
    await transport.start(TimedDoor(host, cancel_ns))
    say(transport.url.encode())
    await (await lines()).readline()
    noted = Noted(
        cancel_ns=cancel_ns,
        speech_at={name: ear.at for name, ear in ears.items()},
        blamed=host.blamed,
        detector=order.detector,
    )
    say(msgspec.json.encode(noted))
    await transport.stop("measured")
    await host.stop()


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=InterruptOrder)
    machine.pin(order.core)
    machine.run(serve(order))


if __name__ == "__main__":
    main()
