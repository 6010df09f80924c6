"""A door that writes down what it is told, a server behind it on a real socket, and a client's raw end of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import picows

from rspp.adapters.transports.websocket import AnyPage, Settings, WebSocketTransport, anyone
from rspp.contract.event import Audio, Event, Scope, Signal, Text
from rspp.contract.wire import CloseCode, Goodbye, Hello, Message, decode_server, encode
from rspp.contract.words import EventKind, PayloadClass
from rspp.host.ports import Bootstrap, Line, Refused
from rspp.kernel import inputs as i
from rspp.spec import voice_template
from rspp.spec.graph import GraphDefinition

DEADLINE_S = 5.0


async def eventually(holds: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Wait until something holds."""
    end = asyncio.get_running_loop().time() + deadline_s
    while not (found := holds()):
        assert asyncio.get_running_loop().time() < end, "it never came"
        await asyncio.sleep(0.005)
    return found


class FakeSeat:
    """A session that only listens."""

    def __init__(self, session_id: str, bootstrap: Bootstrap, line: Line, graph: GraphDefinition) -> None:
        self.session_id = session_id
        self.bootstrap = bootstrap
        self.line = line
        self.graph = graph
        self.epoch = 3
        self.ended = False
        self.room = 1 << 30
        self.inputs: list[i.Input] = []
        self._sequence = 0

    def ingest(self, received: i.Input) -> bool:
        if self.ended or (isinstance(received, i.AudioReceived) and self.room <= 0):
            return False
        if isinstance(received, i.AudioReceived):
            self.room -= 1
        self.inputs.append(received)
        return True

    def attach(self, line: Line) -> None:
        former, self.line = self.line, line
        if former is not line:
            former.close("taken_over")

    def of(self, kind: type[Any]) -> list[Any]:
        return [received for received in self.inputs if isinstance(received, kind)]

    def states(self) -> list[str]:
        return [received.state.value for received in self.of(i.ConnectionChanged)]

    # ---- what a session says -------------------------------------------------------------------------------------

    def event(self, payload: Any, turn_id: str | None = None) -> Event:
        self._sequence += 1
        scope = Scope(
            session_id=self.session_id,
            tenant_id="t",
            pipeline_version="v1",
            epoch=self.epoch,
            turn_id=turn_id,
        )
        kind = EventKind.CONTROL
        if isinstance(payload, Audio | Text):
            kind = EventKind.AUDIO if isinstance(payload, Audio) else EventKind.TEXT
        return Event(scope, kind, self._sequence, 5_000_000, payload, PayloadClass.METADATA)

    def audio(
        self, data: bytes, index: int, turn_id: str = "turn-1", *, rate: int = 16_000, end: bool = False
    ) -> None:
        self.line.send(self.event(Audio(data, len(data) // 2, index, rate, end=end), turn_id))

    def signal(self, name: str, turn_id: str | None = None) -> None:
        self.line.announce(self.event(Signal(name, "tests", detail={"n": 1}), turn_id))


class FakeDoor:
    """Gives seats, or a refusal."""

    def __init__(self) -> None:
        self.seats: dict[str, FakeSeat] = {}
        self.refusal: Refused | None = None
        self.graph = voice_template()
        self.kind = FakeSeat

    async def enter(self, bootstrap: Bootstrap, line: Line) -> FakeSeat:
        if self.refusal is not None:
            raise self.refusal
        if bootstrap.back:
            raise Refused("session_unknown", "no such session runs here")
        seat = self.kind(f"s-{len(self.seats) + 1}", bootstrap, line, self.graph)
        self.seats[seat.session_id] = seat
        return seat

    def find(self, session_id: str) -> FakeSeat | None:
        return self.seats.get(session_id)

    def of(self, kind: type[Any]) -> list[Any]:
        """What the last session was told of this kind, if there is one."""
        return self.seat.of(kind) if self.seats else []

    @property
    def seat(self) -> FakeSeat:
        return list(self.seats.values())[-1]


@asynccontextmanager
async def serving(
    settings: Settings | None = None, *, admits: Any = anyone, pages: Mapping[str, AnyPage] | None = None
) -> AsyncIterator[tuple[WebSocketTransport, FakeDoor]]:
    """A server on a free port, which leaves nothing behind."""
    door = FakeDoor()
    transport = WebSocketTransport(settings or quick(), admits=admits, pages=pages or {})
    await transport.start(door)
    try:
        yield transport, door
    finally:
        await transport.stop("test over")
        assert transport.counters.connections == 0


def quick(**changes: Any) -> Settings:
    """Short deadlines, a free port."""
    return Settings(**{"port": 0, "sweep_ms": 10, "close_ms": 300, **changes})


class Raw(picows.WSListener):
    """The client's end of a socket, which may do anything."""

    def __init__(self) -> None:
        super().__init__()
        self.transport: picows.WSTransport
        self.messages: list[Message] = []
        self.frames: list[bytes] = []
        self.raw: list[tuple[bool, bytes]] = []
        self.close_code: int | None = None
        self.close_reason = ""
        self.gone = False
        self.answers_pings = True
        self.encoding = "json"

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        data = frame.get_payload_as_bytes()
        kind = frame.msg_type
        if kind is picows.WSMsgType.CLOSE:
            code: Any = frame.get_close_code()
            self.close_code = int(getattr(code, "value", code))
            self.close_reason = frame.get_close_message().decode() if len(data) > 2 else ""
            transport.disconnect()
        elif kind is picows.WSMsgType.PING:
            if self.answers_pings:
                transport.send_pong(data)
        elif kind is not picows.WSMsgType.PONG:
            self.raw.append((bool(frame.rsv1), data))
            if kind is picows.WSMsgType.BINARY and data[:1] == b"\x01":
                self.frames.append(data)
            elif not frame.rsv1:
                self.messages.append(decode_server(data, self.encoding))

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self.gone = True

    def say(self, message: Message) -> None:
        kind = picows.WSMsgType.TEXT if self.encoding == "json" else picows.WSMsgType.BINARY
        self.transport.send(kind, encode(message, self.encoding))

    def binary(self, data: bytes) -> None:
        self.transport.send(picows.WSMsgType.BINARY, data)

    def text(self, data: bytes) -> None:
        self.transport.send(picows.WSMsgType.TEXT, data)

    def got(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.messages if isinstance(message, kind)]

    async def closed(self, code: CloseCode) -> None:
        """The server has closed, with this code, its word, and a good-bye that says the same."""
        await eventually(lambda: self.gone)
        assert (self.close_code, self.close_reason) == (int(code), code.word)
        assert [bye.code for bye in self.got(Goodbye)][-1:] == [code.word]


@asynccontextmanager
async def raw(
    transport: WebSocketTransport, protocol: str | None = "rspp.v1+json", **headers: str
) -> AsyncIterator[Raw]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    if protocol is not None:
        names["Sec-WebSocket-Protocol"] = protocol
    connection, listener = await picows.ws_connect(
        Raw, transport.url, extra_headers=names, use_aiofastnet=False, enable_auto_pong=False
    )
    assert isinstance(listener, Raw)
    try:
        yield listener
    finally:
        connection.disconnect(graceful=False)
        await connection.wait_disconnected()


HELLO = Hello(tenant="t")
