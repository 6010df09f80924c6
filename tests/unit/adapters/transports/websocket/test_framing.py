"""What comes before a socket is one, and under its messages: half a handshake, broken frames, closes of all kinds."""

from __future__ import annotations

import asyncio
import base64
import itertools
import logging
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rspp.adapters.transports.websocket import WebSocketTransport
from rspp.contract.wire import CloseCode, encode_header
from rspp.kernel import inputs as i
from tests.unit.adapters.transports.websocket.given import FakeDoor, eventually, quick, raw, serving

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

HELLO = b'{"type":"hello","tenant":"t"}'
PING = b'{"type":"ping"}'
TEXT, BINARY, CONTINUATION, CLOSE = 1, 2, 0, 8
UPGRADE = (
    b"GET /v1/rtc/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: rspp.v1+json\r\n"
)
KEY = b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"


def piece(opcode: int, data: bytes = b"", *, fin: bool = True, size: int | None = None) -> bytes:
    """A masked frame; its header may claim another size than it has."""
    claimed = len(data) if size is None else size
    head = bytes([(0x80 if fin else 0) | opcode])
    if claimed < 126:
        head += bytes([0x80 | claimed])
    elif claimed < 65_536:
        head += b"\xfe" + struct.pack("!H", claimed)
    else:
        head += b"\xff" + struct.pack("!Q", claimed)
    return head + bytes(4) + data


@asynccontextmanager
async def plain(
    transport: WebSocketTransport, data: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", transport.port)
    writer.write(data)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /v1/rtc/ws HTTP/1.1\r\nHost: x\r\n\r\n",
        UPGRADE + b"\r\n",
        UPGRADE.replace(b"13", b"99") + KEY,
        UPGRADE.replace(b"Connection: Upgrade\r\n", b"") + KEY,
        b"POST /v1/rtc/ws HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_half_a_handshake_costs_nobody_anything(request_head: bytes) -> None:
    """The other lines go on being swept: their deadlines are kept and their allowances refilled."""

    async def main() -> None:
        settings = quick(hello_ms=60, messages_per_second=100, messages_burst=20)
        async with serving(settings) as (transport, door):
            async with plain(transport, request_head) as (reader, _):
                assert (await reader.read()).startswith(b"HTTP/1.1 400")
            assert transport.counters.connections == 0
            await asyncio.sleep(0.1)
            async with raw(transport) as silent:
                await silent.closed(CloseCode.HELLO_TIMEOUT)
            async with raw(transport) as peer:
                peer.text(HELLO)
                for _ in range(40):
                    peer.text(PING)
                    await asyncio.sleep(0.01)
                assert door.seat.states() == ["connected"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "pieces",
    [
        [piece(CONTINUATION, PING)],
        [piece(TEXT, PING[:4], fin=False), piece(TEXT, PING)],
        [piece(BINARY, b"\x01", fin=False), piece(BINARY, b"\x01" + bytes(659))],
    ],
    ids=["a rest of nothing", "a message within a message", "a frame within a message"],
)
def test_parts_that_are_no_message_are_closed_as_malformed(pieces: list[bytes]) -> None:
    async def main() -> None:
        async with serving() as (transport, door):
            async with plain(transport, UPGRADE + KEY + piece(TEXT, HELLO)) as (_, writer):
                await eventually(lambda: door.seats)
                writer.write(b"".join(pieces))
                await eventually(lambda: door.seat.states() == ["connected", "ended"])
                await eventually(lambda: transport.counters.closes == {"malformed": 1})
            assert door.of(i.AudioReceived) == []

    asyncio.run(main())


@pytest.mark.parametrize(
    ("last", "word", "states"),
    [
        (piece(CLOSE), "peer", ["connected", "disconnected"]),
        (piece(CLOSE, struct.pack("!H", 1000)), "peer", ["connected", "ended"]),
        (piece(CLOSE, struct.pack("!H", 1001)), "peer", ["connected", "disconnected"]),
        (piece(CLOSE, struct.pack("!H", 4008)), "peer", ["connected", "disconnected"]),
        (piece(CLOSE, struct.pack("!H", 1005)), "malformed", ["connected", "ended"]),
        (piece(CLOSE, b"x"), "malformed", ["connected", "ended"]),
        (piece(CLOSE, struct.pack("!H", 1000) + b"\xff"), "malformed", ["connected", "ended"]),
        (piece(7, PING), "malformed", ["connected", "ended"]),
        (piece(BINARY, bytes(40), size=1 << 40), "message_too_large", ["connected", "ended"]),
    ],
)
def test_only_a_hang_up_and_a_fault_end_the_session(last: bytes, word: str, states: list[str]) -> None:
    """A code of ours in a client's own close says nothing; a breach of the framing is a fault like any other."""

    async def main() -> None:
        async with (
            serving() as (transport, door),
            plain(transport, UPGRADE + KEY + piece(TEXT, HELLO)) as (reader, writer),
        ):
            await eventually(lambda: door.seats)
            writer.write(last)
            answered = await asyncio.wait_for(reader.read(), 5)
            assert b"\x88\x02\x00\x00" not in answered  # no code is never told as the code 0
            await eventually(lambda: transport.counters.closes == {word: 1})
            assert door.seat.states() == states

    asyncio.run(main())


def test_what_one_client_sends_at_once_is_read_in_bites() -> None:
    """All that the system holds is read and dealt with in one go: nobody else has a turn meanwhile."""
    frames = b"".join(
        piece(BINARY, encode_header(0, sequence, 3, 320 * sequence) + bytes(640)) for sequence in range(1_500)
    )

    async def main() -> None:
        async with (
            serving() as (transport, door),
            plain(transport, UPGRADE + KEY + piece(TEXT, HELLO)) as (_, writer),
        ):
            await eventually(lambda: door.seats)
            mine = writer.get_extra_info("socket").dup()
            mine.setblocking(True)
            sending = threading.Thread(target=mine.sendall, args=(frames,))
            sending.start()
            time.sleep(0.2)  # noqa: ASYNC251 - the loop stands, and the system takes what it can
            bites: list[int] = []
            while len(door.of(i.AudioReceived)) < 1_500:
                bites.append(len(door.of(i.AudioReceived)))
                await asyncio.sleep(0)
            sending.join()
            mine.close()
            assert max(after - before for before, after in itertools.pairwise(bites)) <= 250

    asyncio.run(main())


def test_what_peers_do_wrong_is_not_worth_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with (
            serving() as (transport, _),
            plain(transport, UPGRADE + KEY + piece(7)) as (reader, _writer),
        ):
            await asyncio.wait_for(reader.read(), 5)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())
    assert [record for record in caplog.records if record.name.startswith("rspp")] == []


def test_who_never_ends_the_handshake_of_tls_is_let_go_as_soon_as_any_other() -> None:
    async def main() -> None:
        transport = WebSocketTransport(quick(handshake_ms=100), tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        await transport.start(FakeDoor())
        async with plain(transport, b"\x16\x03") as (reader, _):
            assert await asyncio.wait_for(reader.read(), 2) == b""
        await transport.stop("over")

    asyncio.run(main())


def test_who_asks_while_the_server_stops_is_sent_away() -> None:
    """Its connection was taken before; a session of it would be nobody's."""

    async def main() -> None:
        async with serving() as (transport, door), raw(transport) as peer:
            peer.text(HELLO)
            await eventually(lambda: door.seats)
            async with plain(transport, UPGRADE) as (reader, writer):
                await asyncio.sleep(0.05)
                stopping = asyncio.create_task(transport.stop("over"))
                await asyncio.sleep(0)
                writer.write(KEY + piece(TEXT, HELLO))
                assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 503")
                await stopping
            assert len(door.seats) == 1

    asyncio.run(main())
