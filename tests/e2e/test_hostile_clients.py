"""Hostile clients of every kind against a real host in which calls are talking: each is closed by its name, nobody else
is late for it, and nothing is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import picows
import pytest

from rspp.adapters.transports.websocket import Settings, WebSocketTransport
from rspp.client import Call, Client, ConnectionLost
from rspp.client.call import Frame
from rspp.contract.wire import AudioFormat, CloseCode, Hello, Welcome, encode_header
from rspp.host.host import Host
from rspp.host.recorder import MemoryRecorder
from tests.unit.adapters.transports.websocket.given import Raw, eventually, raw
from tests.unit.host.stage import LOUD, graph_of, registry_of

TALKERS: Final = 20
QUIET_S: Final = 4.0
CONNECTS: Final = 1_000
LEAD_MS: Final = 200
# What the same calls may be late among attackers that share their loop: ten frames. It is measured, and printed.
LATE_MS_MAX: Final = 200.0
MORE: Final = """
provider_settings:
  scripted-llm: {answers: ["This answer is quite long, so that there is a voice to be late, whoever else calls."]}
  scripted-tts: {use: scripted-tts, ms_per_character: 60, rate: 16000}
policies: {limits: {disconnect_ms_max: 300}}
"""
SETTINGS: Final = Settings(
    port=0,
    sweep_ms=50,
    close_ms=1_000,
    hello_ms=2_000,
    connects_per_second=100,
    connects_burst=100,
    keepalive_ms=400,
    keepalive_deadline_ms=1_000,
    write_bytes_max=8_192,
    socket_send_bytes=4_096,
    slow_reader_ms=500,
)
GREETING: Final = Hello(tenant="hostile")
Attack = Callable[[WebSocketTransport], Awaitable[None]]


# ---- who talks ------------------------------------------------------------------------------------------------------


async def talk(url: str, frames: list[Frame], until: asyncio.Event, turns: list[str]) -> None:
    """Ask, hear the answer out, ask again; every frame of the answers is kept."""
    async with Client.connect(url, tenant="talker") as call:

        async def ask() -> None:
            while call.lost is None:
                await call.send_audio(LOUD * 20)
                await call.send_silence(6_000)

        asking = asyncio.create_task(ask())
        while not until.is_set():
            event = await call.until(lambda _: True)
            if isinstance(event, Frame):
                frames.append(event)
            elif getattr(event, "signal", None) == "playback_completed":
                turns.append(call.welcome.session)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking


def late_ms(frames: list[Frame], begin_ns: int, end_ns: int) -> list[float]:
    """How much later than the best of its turn each frame came, once the lead was full."""
    turns: dict[str, list[float]] = {}
    for frame in frames:
        place_ms = frame.header.sample_index / 16
        if (
            frame.turn_id is not None
            and place_ms >= LEAD_MS
            and frame.pcm
            and begin_ns <= frame.at_ns < end_ns
        ):
            turns.setdefault(frame.turn_id, []).append(frame.at_ns / 1e6 - place_ms)
    return sorted(at - min(places) for places in turns.values() for at in places)


def p99(values: list[float]) -> float:
    return values[min(len(values) - 1, int(len(values) * 0.99))]


# ---- who attacks ----------------------------------------------------------------------------------------------------


def frame(sequence: int, epoch: int, data: bytes = bytes(640)) -> bytes:
    return encode_header(0, sequence, epoch, 320 * sequence) + data


@asynccontextmanager
async def seated(transport: WebSocketTransport, hello: Hello = GREETING) -> AsyncIterator[tuple[Raw, int]]:
    async with raw(transport) as peer:
        peer.say(hello)
        welcome = (await eventually(lambda: peer.got(Welcome) or peer.gone))[0]
        yield peer, welcome.epoch


async def garbage(transport: WebSocketTransport) -> None:
    async with seated(transport) as (peer, _):
        for _ in range(40):
            peer.text(b'{"type":')
            peer.binary(b"\x01\xff\xff")
        await peer.closed(CloseCode.MALFORMED)


async def oversize(transport: WebSocketTransport) -> None:
    async with seated(transport) as (peer, epoch):
        peer.binary(frame(0, epoch, bytes(100_000)))
        await peer.closed(CloseCode.MESSAGE_TOO_LARGE)
    async with seated(transport) as (peer, epoch):
        peer.binary(bytes(1_000_000))
        await eventually(lambda: peer.gone)
        assert peer.close_code == 1009


async def wrong_rate(transport: WebSocketTransport) -> None:
    async with raw(transport) as peer:
        peer.say(Hello(tenant="hostile", audio_in=AudioFormat(rate=44_100)))
        await peer.closed(CloseCode.FORMAT_UNSUPPORTED)


async def slow_reader(transport: WebSocketTransport) -> None:
    """Has a call, is being answered, and reads nothing."""

    def small(_: object) -> socket.socket:
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        narrow.setblocking(False)
        return narrow

    call = Call("msgpack", AudioFormat(), AudioFormat(rate=48_000), reports=False)
    connection, _ = await picows.ws_connect(
        lambda: call,
        transport.url,
        extra_headers={"Sec-WebSocket-Protocol": "rspp.v1+msgpack"},
        socket_factory=small,
        use_aiofastnet=False,
    )
    try:
        call.send(Hello(tenant="hostile", audio_out=AudioFormat(rate=48_000), playback_reports=False))
        await call.welcomed()
        connection.underlying_transport.pause_reading()
        speaking = asyncio.create_task(_speak(call))
        await eventually(lambda: _closing(transport, CloseCode.SLOW_READER), 15)
        # Now it reads after all, before the server's patience with its close is over, and finds the name at the end.
        connection.underlying_transport.resume_reading()
        await eventually(lambda: call.lost is not None)
        assert call.lost is not None
        assert (call.lost.close_code, call.lost.reason) == (int(CloseCode.SLOW_READER), "slow_reader")
        speaking.cancel()
    finally:
        connection.disconnect(graceful=False)
        await connection.wait_disconnected()


async def _speak(call: Call) -> None:
    with contextlib.suppress(ConnectionLost):
        await call.send_audio(LOUD * 20)
        await call.send_silence(15_000)


def _closing(transport: WebSocketTransport, code: CloseCode) -> bool:
    return any(caller.socket.closing is code for caller in transport._callers)


async def flood(transport: WebSocketTransport) -> None:
    async with seated(transport) as (peer, epoch):
        for sequence in range(4_000):
            peer.binary(frame(sequence, epoch))
            if sequence % 200 == 0:
                await asyncio.sleep(0)
            if peer.gone:
                break
        await peer.closed(CloseCode.FLOOD)


async def half_open(transport: WebSocketTransport) -> None:
    async with raw(transport) as peer:
        peer.answers_pings = False
        peer.say(GREETING)
        await peer.closed(CloseCode.KEEPALIVE_TIMEOUT)


async def replayed(transport: WebSocketTransport) -> None:
    async with seated(transport) as (peer, epoch):
        peer.binary(frame(0, epoch))
        for _ in range(40):
            peer.binary(frame(0, epoch))
        await peer.closed(CloseCode.SEQUENCE_REPLAYED)


async def stale_epoch(transport: WebSocketTransport) -> None:
    async with seated(transport) as (peer, epoch):
        for sequence in range(200):
            peer.binary(frame(sequence, epoch + 7))
        await peer.closed(CloseCode.EPOCH_STALE)


async def half_a_handshake(transport: WebSocketTransport) -> None:
    for request in (b"GET /v1/rtc/ws HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01", b"GET " + b"x" * 40_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", transport.port)
        writer.write(request)
        with contextlib.suppress(TimeoutError, OSError):
            await asyncio.wait_for(reader.read(), 0.2)
        writer.transport.abort()


async def connects(transport: WebSocketTransport) -> None:
    """A thousand in a second. Few are let in, to say nothing; the others are told that there are too many."""
    loop = asyncio.get_running_loop()
    begin, codes = loop.time(), list[int | None]()

    async def one(ordinal: int) -> None:
        await asyncio.sleep(begin + ordinal / CONNECTS - loop.time())
        async with raw(transport) as peer:
            await eventually(lambda: peer.gone, 15)
            codes.append(peer.close_code)

    await asyncio.gather(*(one(ordinal) for ordinal in range(CONNECTS)))
    refused = codes.count(int(CloseCode.CONNECT_RATE_EXCEEDED))
    assert refused + codes.count(int(CloseCode.HELLO_TIMEOUT)) == CONNECTS
    assert refused >= CONNECTS // 2


ATTACKS: Final[tuple[Attack, ...]] = (
    *(garbage, oversize, wrong_rate, flood, half_open, replayed, stale_epoch, half_a_handshake, slow_reader),
)


# ---- the test -------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.slow
def test_each_kind_of_hostile_client_is_closed_by_its_name_and_the_others_talk_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def main() -> tuple[list[float], list[float], int, dict[str, int]]:
        host = Host(registry_of(), recorders=lambda _: MemoryRecorder())
        host.publish(graph_of(MORE))
        await host.start()
        transport = WebSocketTransport(SETTINGS)
        await transport.start(host)
        files = _files()
        frames: list[Frame] = []
        turns: list[str] = []
        over, clock = asyncio.Event(), host.clock.now
        talkers = [asyncio.create_task(talk(transport.url, frames, over, turns)) for _ in range(TALKERS)]
        await asyncio.sleep(1.0)
        quiet_at = clock()
        await asyncio.sleep(QUIET_S)
        loud_at = clock()
        for _ in range(2):
            await asyncio.gather(*(attack(transport) for attack in ATTACKS))
        await connects(transport)
        end_at, heard = clock(), len(turns)
        over.set()
        await asyncio.gather(*talkers)
        await eventually(lambda: not host.sessions)
        await eventually(lambda: not transport._callers and not transport.sittings)
        await eventually(lambda: _files() <= files)
        await transport.stop("test over")
        assert await host.stop() == []
        assert [name for name in host.blamed if not name.startswith("blocked:")] == []
        mine = asyncio.current_task()
        assert [task for task in asyncio.all_tasks() if task is not mine] == []
        assert len(set(turns)) == TALKERS
        return (
            late_ms(frames, quiet_at, loud_at),
            late_ms(frames, loud_at, end_at),
            heard,
            transport.counters.closes,
        )

    gc.collect()
    quiet, loud, turns, closes = asyncio.run(main())
    with capsys.disabled():
        print(  # noqa: T201 - figures are what this test is read for
            f"\n{TALKERS} calls, {turns} answers heard out; frames late, p99: {p99(quiet):.1f} ms alone, "
            f"{p99(loud):.1f} ms among attackers ({len(loud)} frames, worst {loud[-1]:.1f} ms); closes: {closes}"
        )
    assert len(loud) > 50 * TALKERS
    assert p99(loud) < LATE_MS_MAX
    named = {
        "malformed",
        "message_too_large",
        "format_unsupported",
        "flood",
        "keepalive_timeout",
        "slow_reader",
    }
    assert named | {"sequence_replayed", "epoch_stale", "connect_rate_exceeded", "hello_timeout"} <= set(
        closes
    )


def _files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
