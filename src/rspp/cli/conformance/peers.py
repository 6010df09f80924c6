"""Callers of both kinds of transport, as the suite of transports holds them: one at a real socket, one without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import picows

from rspp.adapters.transports.loopback import Caller, HangUp, Loopback, LoopClock, Press, Say, Wait, Write
from rspp.adapters.transports.websocket import Settings, WebSocketTransport
from rspp.client import Call, Client, ConnectionLost
from rspp.client.call import Event, Frame, Ticket
from rspp.contract import event as e
from rspp.contract.wire import AudioFormat, Caption, CloseCode, Told
from rspp.host.ports import Refused
from rspp.testing.conformance import NotApplicableError
from rspp.testing.conformance.transport import TransportTarget

FOREVER = Wait(3_600_000)


# ---- at a socket ----------------------------------------------------------------------------------------------------


class Dialler:
    """Brings callers to a WebSocket transport."""

    def __init__(self, transport: WebSocketTransport, encoding: str, form: AudioFormat) -> None:
        self.transport, self.encoding, self.form = transport, encoding, form

    async def connect(self, ticket: Ticket | None = None) -> SocketPeer:
        line = Client.connect(
            self.transport.url,
            encoding=self.encoding,
            audio_in=self.form,
            audio_out=self.form,
            ticket=ticket,
        )
        try:
            call = await line.__aenter__()
        except ConnectionLost as lost:
            raise refusal(lost) from lost
        return SocketPeer(self, line, call)


def refusal(lost: ConnectionLost) -> Refused:
    """What the server said when it closed: the door's own code stands before its sentence."""
    assert lost.told is not None, f"closed without a good-bye: {lost}"
    code = lost.told.code
    if lost.close_code == CloseCode.SESSION_REFUSED:
        code = lost.told.reason.partition(": ")[0]
    return Refused(code, lost.told.reason, lost.retry_after_ms)


class SocketPeer:
    def __init__(self, dialler: Dialler, line: AbstractAsyncContextManager[Call], call: Call) -> None:
        self._dialler, self._line, self._call = dialler, line, call
        self.heard: list[e.Payload] = []
        self._listening = asyncio.get_running_loop().create_task(self._listen(), name="peer")

    async def _listen(self) -> None:
        async for event in self._call.events():
            payload = payload_of(event, self._dialler.form.rate)
            if payload is not None:
                self.heard.append(payload)

    @property
    def closed(self) -> str | None:
        lost = self._call.lost
        return None if lost is None else lost.reason or str(lost.close_code)

    async def speak(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self._call.send_frame(frame, 16_000)
            await asyncio.sleep(0)

    async def write(self, text: str) -> None:
        self._call.say(text)

    async def press(self, digit: str) -> None:
        self._call.control("digit", value=digit)

    async def come_back(self) -> SocketPeer:
        return await self._dialler.connect(self._call.ticket)

    async def garbage(self) -> None:
        transport: Any = self._call._transport
        for rubbish in (b"\x07 nothing", b"\x01\xff", bytes(19), b"\xc1" * 50):
            transport.send(picows.WSMsgType.BINARY, rubbish)

    async def leave(self) -> None:
        await self._call.hang_up()

    async def vanish(self) -> None:
        await self._call.drop()


def payload_of(event: Event, rate: int) -> e.Payload | None:
    """What the session sent, as far as it came over the wire."""
    if isinstance(event, Frame):
        head = event.header
        return e.Audio(event.pcm, len(event.pcm) // 2, head.sample_index, rate, end=head.end)
    if isinstance(event, Told):
        return e.Signal(event.signal, "")
    if isinstance(event, Caption):
        return e.Text(event.text, event.segment, event.revision, event.final)
    return None


def websocket(
    encoding: str = "msgpack", form: AudioFormat | None = None, *, exact: bool = True
) -> TransportTarget:
    transport = WebSocketTransport(Settings(port=0, sweep_ms=10, close_ms=300))
    dialler = Dialler(transport, encoding, form or AudioFormat())
    return TransportTarget(transport=transport, connect=dialler.connect, exact=exact, settle_ms=60)


# ---- without a network ----------------------------------------------------------------------------------------------


class LoopbackPeer:
    """A caller whose script is written while it goes on."""

    def __init__(self) -> None:
        self.heard: list[e.Payload] = []
        self._caller = Caller(
            [FOREVER],
            LoopClock(asyncio.get_running_loop()),
            ear=lambda event: self.heard.append(event.payload),
        )

    @staticmethod
    async def at(transport: Loopback) -> LoopbackPeer:
        peer = LoopbackPeer()
        await transport.place(peer._caller)
        return peer

    @property
    def closed(self) -> str | None:
        return self._caller.close_reason or None

    async def speak(self, frames: Sequence[bytes]) -> None:
        self._caller.next(Say("speech", b"".join(frames), (True,) * len(frames)), FOREVER)

    async def write(self, text: str) -> None:
        self._caller.next(Write(text), FOREVER)

    async def press(self, digit: str) -> None:
        self._caller.next(Press(digit), FOREVER)

    async def come_back(self) -> LoopbackPeer:
        raise NotApplicableError("there is no line that could be lost")

    async def garbage(self) -> None:
        raise NotApplicableError("a loopback has no bytes")

    async def leave(self) -> None:
        self._caller.next(HangUp())

    async def vanish(self) -> None:
        raise NotApplicableError("there is no line that could be lost")


def loopback() -> TransportTarget:
    transport = Loopback(clock=LoopClock(asyncio.get_running_loop()))

    async def connect() -> LoopbackPeer:
        return await LoopbackPeer.at(transport)

    return TransportTarget(transport=transport, connect=connect)
