"""A transport in memory that keeps its word, to be broken in one place at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rspp.client.playout import Playout
from rspp.contract.event import Audio, Event, Payload
from rspp.contract.wire import Delivery
from rspp.contract.words import CORE_SCHEMA_VERSION, ConnectionState
from rspp.host.ports import Bootstrap, Door, Refused, Seat, TransportInfo
from rspp.kernel import inputs as i


def now() -> int:
    return int(asyncio.get_running_loop().time() * 1_000_000_000)


class Wire:
    """Both ends of one caller's wire in memory: a Peer to the test, a Line to its session."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.heard: list[Payload] = []
        self.closed: str | None = None
        self.seat: Seat | None = None
        self.sequence = 0
        self.sample = 0
        self.words = 0
        self.playout = Playout(16_000, position_ms=40)

    # the caller
    async def speak(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self.pipe.took(self, frame)
            await asyncio.sleep(0.001)

    async def write(self, text: str) -> None:
        self.pipe.said(self, i.TextReceived(text, self.number()))

    async def press(self, digit: str) -> None:
        self.pipe.said(self, i.ControlReceived("digit", self.number(), value=digit))

    async def come_back(self) -> Wire:
        return await self.pipe.again(self)

    def number(self) -> int:
        self.words += 1
        return self.words

    async def garbage(self) -> None:
        self.pipe.garbage(self)

    async def leave(self) -> None:
        if self.closed is None:
            self.pipe.gone(self, ConnectionState.ENDED)

    async def vanish(self) -> None:
        self.pipe.gone(self, ConnectionState.DISCONNECTED)

    # the line
    def send(self, event: Event) -> None:
        if self.closed is None:
            self.heard.append(event.payload)
            self.play(event)

    def announce(self, event: Event) -> None:
        if self.closed is None:
            self.heard.append(event.payload)

    def pause(self, turn_id: str) -> None:
        self.playout.pause(now(), turn_id)

    def resume(self, turn_id: str) -> None:
        self.playout.resume(now(), turn_id)

    def stop(self, turn_id: str, keep_ms: int) -> None:
        self.playout.stop(now(), turn_id, keep_ms)

    # its loudspeaker
    def play(self, event: Event) -> None:
        audio = event.payload
        assert isinstance(audio, Audio)
        idle = not self.playout.active
        self.playout.start(now(), event.scope.turn_id or "")
        self.playout.frame(now(), audio.sample_index, audio.data, audio.end)
        if idle:
            self.tick()

    def tick(self) -> None:
        self.playout.advance(now())
        for report in self.playout.reports():
            self.pipe.tell(self, self.report(report))
        if self.playout.active and self.closed is None:
            asyncio.get_running_loop().call_later(0.01, self.tick)

    def report(self, report: Delivery) -> i.DeliveryReported:
        return i.DeliveryReported(report.what, report.turn_id, report.heard_ms)

    def close(self, reason: str) -> None:
        self.closed = self.closed or reason


class Pipe:
    """A transport in memory that keeps its word."""

    info = TransportInfo(kind="pipe", reconnect=True)
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
            wire.seat = await self.door.enter(self.bootstrap(), wire)
        except Refused as refused:
            return self.turned_away(wire, refused)
        self.wires.append(wire)
        self.connected(wire)
        return wire

    def turned_away(self, wire: Wire, refused: Refused) -> Wire:
        raise refused

    async def again(self, former: Wire) -> Wire:
        assert former.seat is not None
        if former.seat.ended:
            raise Refused("resume_refused", "there is no such session")
        wire = self.wire(self)
        wire.seat = former.seat
        self.wires.append(wire)
        former.close("taken over")
        wire.seat.attach(wire)
        self.connected(wire)
        return wire

    def connected(self, wire: Wire) -> None:
        self.tell(wire, i.ConnectionChanged(ConnectionState.CONNECTED))

    def said(self, wire: Wire, received: i.Input) -> None:
        self.tell(wire, received)

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
