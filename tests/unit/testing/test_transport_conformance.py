"""The transport suite passes a plain one in memory, and each broken one fails the checks that are about what it broke."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from rspp.contract.event import Audio, Event, Payload
from rspp.contract.words import CORE_SCHEMA_VERSION, ConnectionState
from rspp.host.ports import Bootstrap, Door, Refused, Seat, TransportInfo
from rspp.kernel import inputs as i
from rspp.testing.clock import run_virtual
from rspp.testing.conformance import run_suite
from rspp.testing.conformance import transport as suite


class Wire:
    """Both ends of one caller's wire in memory: a Peer to the test, a Line to its session."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.heard: list[Payload] = []
        self.closed: str | None = None
        self.seat: Seat | None = None
        self.sequence = 0
        self.sample = 0

    # the caller
    async def speak(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self.pipe.took(self, frame)
            await asyncio.sleep(0.001)

    async def garbage(self) -> None:
        self.pipe.garbage(self)

    async def leave(self) -> None:
        self.pipe.gone(self, ConnectionState.ENDED)

    async def vanish(self) -> None:
        self.pipe.gone(self, ConnectionState.DISCONNECTED)

    # the line
    def send(self, event: Event) -> None:
        if self.closed is None:
            self.heard.append(event.payload)

    def announce(self, event: Event) -> None:
        self.send(event)

    def pause(self, turn_id: str) -> None: ...
    def resume(self, turn_id: str) -> None: ...
    def stop(self, turn_id: str, keep_ms: int) -> None: ...

    def close(self, reason: str) -> None:
        self.closed = self.closed or reason


class Pipe:
    """A transport in memory that keeps its word."""

    info = TransportInfo(kind="pipe")
    wire = Wire

    def __init__(self) -> None:
        self.door: Door | None = None
        self.wires: list[Wire] = []

    async def start(self, door: Door) -> None:
        self.door = door

    async def stop(self, reason: str) -> None:
        self.door = None
        for wire in self.wires:
            wire.close(reason)

    async def connect(self) -> Wire:
        if self.door is None:
            raise ConnectionRefusedError("nobody listens")
        wire = self.wire(self)
        try:
            wire.seat = self.door.open(self.bootstrap(), wire)
        except Refused as refused:
            wire.close(refused.code)
            return wire
        self.wires.append(wire)
        self.connected(wire)
        return wire

    def connected(self, wire: Wire) -> None:
        self.tell(wire, i.ConnectionChanged(ConnectionState.CONNECTED))

    def bootstrap(self) -> Bootstrap:
        return Bootstrap(
            schema_version=CORE_SCHEMA_VERSION, transport_kind="pipe", tenant_id="t", requested_at_ms=1
        )

    def tell(self, wire: Wire, received: i.Input) -> bool:
        assert wire.seat is not None
        return wire.seat.ingest(received)

    def took(self, wire: Wire, frame: bytes) -> None:
        samples = len(frame) // 2
        self.tell(wire, i.AudioReceived(Audio(frame, samples, wire.sample), wire.sequence))
        wire.sample += samples
        wire.sequence += 1

    def garbage(self, wire: Wire) -> None:
        self.tell(wire, i.MalformedReceived("malformed", "$", "not of the encoding"))

    def gone(self, wire: Wire, state: ConnectionState) -> None:
        wire.close("gone")
        self.tell(wire, i.ConnectionChanged(state))


class FirstAudio(Pipe):
    """Hands in audio before it says that its caller is there."""

    def connected(self, wire: Wire) -> None:
        self.took(wire, bytes(640))
        super().connected(wire)


class NoTenant(Pipe):
    def bootstrap(self) -> Bootstrap:
        return Bootstrap(schema_version="v0", transport_kind="pipe", tenant_id="", requested_at_ms=1)


class DiesOfRefusal(Pipe):
    async def connect(self) -> Wire:
        wire = await super().connect()
        if wire.seat is None:
            self.door = None
        return wire


class LeavesRefused(Pipe):
    class wire(Wire):  # noqa: N801
        def close(self, reason: str) -> None:
            if self.seat is not None:
                super().close(reason)


class Crossed(Pipe):
    """Everything comes into the session of whoever was last."""

    def took(self, wire: Wire, frame: bytes) -> None:
        super().took(self.wires[-1], frame)


class Repeats(Pipe):
    """A sequence number that stands still."""

    def took(self, wire: Wire, frame: bytes) -> None:
        super().took(wire, frame)
        wire.sequence = 0


class Shuffles(Pipe):
    held: bytes | None = None

    def took(self, wire: Wire, frame: bytes) -> None:
        held, self.held = self.held, None
        if held is None:
            self.held = frame
            return
        super().took(wire, frame)
        super().took(wire, held)


class GivesUp(Pipe):
    """Takes a full session for a dead one."""

    def took(self, wire: Wire, frame: bytes) -> None:
        assert wire.seat is not None
        if not getattr(wire, "dead", False):
            wire.__dict__["dead"] = not wire.seat.ingest(i.MalformedReceived("probe", "$", ""))
        if not getattr(wire, "dead", False):
            super().took(wire, frame)


class Poisoned(Pipe):
    def garbage(self, wire: Wire) -> None:
        self.door = None
        for other in self.wires:
            other.close("protocol error")
            other.seat = DEAF

    def tell(self, wire: Wire, received: i.Input) -> bool:
        return wire.seat is not DEAF and super().tell(wire, received)


DEAF: Any = object()


class RaisingLine(Pipe):
    class wire(Wire):  # noqa: N801
        def stop(self, turn_id: str, keep_ms: int) -> None:
            raise BrokenPipeError("the socket is closed")


class SendsAfterClose(Pipe):
    class wire(Wire):  # noqa: N801
        def send(self, event: Event) -> None:
            self.heard.append(event.payload)


class KeepsOpen(Pipe):
    class wire(Wire):  # noqa: N801
        def close(self, reason: str) -> None:
            if reason != "over":
                super().close(reason)


class LastFirst(Pipe):
    class wire(Wire):  # noqa: N801
        def send(self, event: Event) -> None:
            if self.closed is None:
                self.heard.insert(0, event.payload)


class Mute(Pipe):
    class wire(Wire):  # noqa: N801
        def announce(self, event: Event) -> None: ...


class Forgets(Pipe):
    def gone(self, wire: Wire, state: ConnectionState) -> None:
        wire.close("gone")


class Leaks(Pipe):
    async def connect(self) -> Wire:
        wire = await super().connect()
        wire.__dict__["task"] = asyncio.get_running_loop().create_task(asyncio.sleep(1_000))
        return wire


class StaysOpen(Pipe):
    async def stop(self, reason: str) -> None:
        for wire in self.wires:
            wire.close(reason)


ASKS = "asks for a session, and says that its caller is there"
HEARS = "hands in audio whole and in order"
APART = "keeps callers apart"


@pytest.mark.parametrize(
    ("kind", "caught"),
    [
        (Pipe, []),
        (FirstAudio, [ASKS]),
        (NoTenant, [ASKS]),
        (DiesOfRefusal, ["sends away whom the door refuses"]),
        (LeavesRefused, ["sends away whom the door refuses"]),
        (Crossed, [APART]),
        (Repeats, [HEARS]),
        (Shuffles, [HEARS]),
        (GivesUp, ["goes on when a session had no room"]),
        (Poisoned, ["survives garbage"]),
        (RaisingLine, ["has lines that raise nothing"]),
        (SendsAfterClose, ["hangs up when told, and is silent then"]),
        (KeepsOpen, ["hangs up when told, and is silent then", "stops"]),
        (LastFirst, ["passes on audio in order"]),
        (Mute, ["passes on signals"]),
        (Forgets, ["tells that a caller hung up", "tells that a caller vanished"]),
        (Leaks, ["stops"]),
        (StaysOpen, ["stops"]),
    ],
)
def test_a_broken_transport_is_caught_by_exactly_its_checks(kind: type[Pipe], caught: list[str]) -> None:
    def make() -> suite.TransportTarget:
        pipe = kind()
        return suite.TransportTarget(transport=pipe, connect=pipe.connect)

    report = run_suite(suite.conformance(make), "transport", run_virtual)
    assert report.failed() == caught, report.reasons()
