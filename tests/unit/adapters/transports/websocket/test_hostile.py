"""Whoever does not behave is closed with a named code, and nobody else notices."""

from __future__ import annotations

import asyncio
import os
import zlib
from functools import partial

import picows
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rspp.adapters.transports.websocket import with_token
from rspp.client import Client, ConnectionLost, Ticket
from rspp.contract.wire import (
    AudioFormat,
    CloseCode,
    Control,
    Goodbye,
    Hello,
    Problem,
    Welcome,
    encode_header,
)
from rspp.contract.words import Codec
from rspp.host.ports import Refused
from rspp.kernel import inputs as i
from rspp.media.opus import OpusEncoder, opus_available
from tests.unit.adapters.transports.websocket.given import HELLO, Raw, eventually, quick, raw, serving

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

SOUND = bytes(640)


def frame(sequence: int, *, epoch: int = 3, index: int | None = None, data: bytes = SOUND) -> bytes:
    return encode_header(0, sequence, epoch, 320 * sequence if index is None else index) + data


def _told(peer: Raw, count: int) -> bool:
    return len(peer.got(Problem)) == count


def test_no_hello_in_time() -> None:
    async def main() -> None:
        async with serving(quick(hello_ms=50)) as (transport, _), raw(transport) as peer:
            await peer.closed(CloseCode.HELLO_TIMEOUT)

    asyncio.run(main())


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"type":"ping"}', b'{"type":"hello"}', b'{"type":"hello","tenant":"t","x":1}', b"\xff\xfe"],
)
def test_something_else_than_hello_first(data: bytes) -> None:
    async def main() -> None:
        async with serving() as (transport, door), raw(transport) as peer:
            peer.text(data)
            await peer.closed(CloseCode.HELLO_EXPECTED)
            assert not door.seats

    asyncio.run(main())


def test_audio_before_hello() -> None:
    async def main() -> None:
        async with serving() as (transport, _), raw(transport) as peer:
            peer.binary(frame(0))
            await peer.closed(CloseCode.HELLO_EXPECTED)

    asyncio.run(main())


@pytest.mark.parametrize("protocol", [None, "chat", "rspp.v2+json"])
def test_a_subprotocol_that_is_not_known(protocol: str | None) -> None:
    async def main() -> None:
        async with serving() as (transport, _), raw(transport, protocol) as peer:
            await peer.closed(CloseCode.SUBPROTOCOL_UNSUPPORTED)

    asyncio.run(main())


def test_control_messages_in_the_other_encoding() -> None:
    async def main() -> None:
        async with serving() as (transport, _), raw(transport) as peer:
            peer.binary(b"\x81\xa4type\xa4ping")
            await peer.closed(CloseCode.MALFORMED)

    asyncio.run(main())


@pytest.mark.parametrize("token", [None, "", "wrong", "sesame "])
def test_a_wrong_token(token: str | None) -> None:
    async def main() -> None:
        async with serving(admits=with_token("sesame")) as (transport, door), raw(transport) as peer:
            peer.say(Hello(tenant="t", token=token))
            await peer.closed(CloseCode.TOKEN_REFUSED)
            assert not door.seats
            async with Client.connect(transport.url, token="sesame") as call:
                assert call.welcome.session == "s-1"

    asyncio.run(main())


@pytest.mark.parametrize(
    "form",
    [
        AudioFormat(rate=44_100),
        AudioFormat(rate=1),
        AudioFormat(codec=Codec.OPUS, frame_ms=30),
    ],
)
def test_a_format_that_is_not_served(form: AudioFormat) -> None:
    async def main() -> None:
        async with serving() as (transport, door):
            for hello in (Hello(tenant="t", audio_in=form), Hello(tenant="t", audio_out=form)):
                async with raw(transport) as peer:
                    peer.say(hello)
                    await peer.closed(CloseCode.FORMAT_UNSUPPORTED)
            assert not door.seats

    asyncio.run(main())


def test_a_host_that_refuses_says_when_to_come_back() -> None:
    async def main() -> None:
        async with serving() as (transport, door), raw(transport) as peer:
            door.refusal = Refused("draining", "no new sessions", 700)
            peer.say(HELLO)
            await peer.closed(CloseCode.SESSION_REFUSED)
            assert peer.got(Goodbye) == [
                Goodbye(code="session_refused", reason="draining: no new sessions", retry_after_ms=700)
            ]

    asyncio.run(main())


def test_garbage_is_refused_piece_by_piece_and_then_as_a_whole() -> None:
    async def main() -> None:
        async with serving(quick(faults_max=4)) as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            bad = [
                b"\x01",
                frame(0)[:19],
                frame(1, data=b""),
                frame(1, data=SOUND[:-1]),
                frame(2, data=bytes(5_000)),
            ]
            for count, data in enumerate(bad, start=1):
                peer.binary(data)
                await eventually(partial(_told, peer, count))
                if count == 2:
                    peer.binary(frame(0))
                    await eventually(lambda: door.of(i.AudioReceived))
            await peer.closed(CloseCode.MALFORMED)
            codes = [problem.code for problem in peer.got(Problem)]
            assert codes == ["truncated"] * 2 + ["audio_size_mismatch"] * 3
            assert [one.code for one in door.seat.of(i.MalformedReceived)] == codes
            assert len(door.seat.of(i.AudioReceived)) == 1
            await eventually(lambda: door.seat.states() == ["connected", "ended"])

    asyncio.run(main())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=200)), max_size=30))
def test_no_bytes_bring_the_server_down(pieces: list[tuple[bool, bytes]]) -> None:
    async def main() -> None:
        async with serving() as (transport, _):
            async with raw(transport) as peer:
                peer.say(HELLO)
                for as_text, data in pieces:
                    peer.text(data) if as_text else peer.binary(data)
                peer.binary(frame(0))
            async with Client.connect(transport.url) as call:
                assert call.welcome.epoch == 3

    asyncio.run(main())


def test_a_message_that_is_too_large() -> None:
    async def main() -> None:
        async with serving(quick(message_bytes_max=2_000)) as (transport, door):
            async with raw(transport) as peer:
                peer.say(HELLO)
                peer.binary(frame(0, data=bytes(3_000)))
                await peer.closed(CloseCode.MESSAGE_TOO_LARGE)
            async with raw(transport) as peer:
                peer.say(HELLO)
                peer.transport.send(picows.WSMsgType.BINARY, frame(0, data=bytes(1_500)), fin=False)
                peer.transport.send(picows.WSMsgType.CONTINUATION, bytes(1_500))
                await peer.closed(CloseCode.MESSAGE_TOO_LARGE)
            async with raw(transport) as peer:
                peer.say(HELLO)
                peer.binary(bytes(9_000))  # more than is read at all
                await eventually(lambda: peer.gone)
                assert peer.close_code == 1009
            assert door.seat.of(i.AudioReceived) == []

    asyncio.run(main())


def test_a_message_in_parts_is_one_message() -> None:
    async def main() -> None:
        async with serving() as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            whole = frame(0)
            peer.transport.send(picows.WSMsgType.BINARY, whole[:7], fin=False)
            peer.transport.send(picows.WSMsgType.CONTINUATION, whole[7:300], fin=False)
            peer.transport.send(picows.WSMsgType.CONTINUATION, whole[300:])
            await eventually(lambda: door.of(i.AudioReceived))
            assert door.seat.of(i.AudioReceived)[0].audio.data == SOUND

    asyncio.run(main())


@pytest.mark.parametrize(
    "limits",
    [{"messages_per_second": 10, "messages_burst": 30}, {"bytes_per_second": 1_000, "bytes_burst": 20_000}],
)
def test_a_flood_is_closed_and_its_session_ended(limits: dict[str, int]) -> None:
    async def main() -> None:
        async with serving(quick(**limits)) as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            for sequence in range(100):
                peer.binary(frame(sequence))
            await peer.closed(CloseCode.FLOOD)
            assert 0 < len(door.seat.of(i.AudioReceived)) < 31
            await eventually(lambda: door.seat.states() == ["connected", "ended"])

    asyncio.run(main())


def test_pings_count_as_messages_too() -> None:
    async def main() -> None:
        async with (
            serving(quick(messages_per_second=10, messages_burst=30)) as (transport, _),
            raw(transport) as peer,
        ):
            peer.say(HELLO)
            for _ in range(100):
                peer.transport.send_ping(b"x")
            await peer.closed(CloseCode.FLOOD)

    asyncio.run(main())


def test_replayed_frames_are_dropped_told_and_then_closed() -> None:
    async def main() -> None:
        async with serving(quick(replays_max=5)) as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            for sequence in (0, 1, 3, 2):  # late is not replayed
                peer.binary(frame(sequence))
            for _ in range(6):
                peer.binary(frame(2))
            await peer.closed(CloseCode.SEQUENCE_REPLAYED)
            assert [one.transport_sequence for one in door.seat.of(i.AudioReceived)] == [0, 1, 3, 2]
            assert [problem.code for problem in peer.got(Problem)] == ["sequence_replayed"]
            assert (transport.counters.reordered, transport.counters.replayed) == (1, 6)

    asyncio.run(main())


def test_a_replay_from_long_ago_is_a_replay_and_no_new_stream() -> None:
    async def main() -> None:
        async with serving(quick(replays_max=0)) as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            peer.binary(frame(0))
            peer.binary(frame(5_000))
            peer.binary(frame(1))
            await peer.closed(CloseCode.SEQUENCE_REPLAYED)
            assert len(door.seat.of(i.AudioReceived)) == 2

    asyncio.run(main())


def test_frames_of_a_stale_epoch_reach_the_session_to_be_refused_and_then_close() -> None:
    async def main() -> None:
        async with serving(quick(stale_frames_max=3)) as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            for sequence in range(4):
                peer.binary(frame(sequence, epoch=2))
            await peer.closed(CloseCode.EPOCH_STALE)
            assert [one.epoch for one in door.seat.of(i.AudioReceived)] == [2, 2, 2, 2]

    asyncio.run(main())


def test_a_reader_that_does_not_read_loses_audio_and_then_its_line() -> None:
    async def main() -> None:
        limits = quick(
            write_bytes_max=20_000,
            socket_send_bytes=4_096,
            slow_reader_ms=150,
            close_ms=100,
            keepalive_ms=60_000,
        )
        async with serving(limits) as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            await eventually(lambda: peer.got(Welcome))
            peer.transport.underlying_transport.pause_reading()
            seat, index = door.seat, 0
            caller = next(iter(transport._callers))
            while not transport.counters.closes:
                seat.audio(SOUND * 30, index)
                index += 9_600
                assert caller.socket.unsent_bytes < 60_000
                await asyncio.sleep(0.001)
            assert transport.counters.closes == {"slow_reader": 1}
            assert transport.counters.out_dropped > 10
            assert seat.states() == ["connected", "disconnected"]  # it may come back on a better line

    asyncio.run(main())


def test_control_messages_to_a_dead_reader_are_bounded_too() -> None:
    async def main() -> None:
        limits = quick(
            write_bytes_max=10_000, write_bytes_last=50_000, socket_send_bytes=4_096, slow_reader_ms=60_000
        )
        async with serving(limits) as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            await eventually(lambda: peer.got(Welcome))
            peer.transport.underlying_transport.pause_reading()
            seat, count = door.seat, 0
            while next(iter(transport._callers)).socket.closing is None:
                seat.signal("turn_open", "turn-1" * 100)
                count += 1
                assert count < 100_000
            await eventually(lambda: transport.counters.closes == {"slow_reader": 1})

    asyncio.run(main())


def test_a_half_open_line_stalls_is_closed_and_waits_for_its_caller() -> None:
    async def main() -> None:
        async with (
            serving(quick(keepalive_ms=50, keepalive_deadline_ms=150)) as (transport, door),
            raw(transport) as peer,
        ):
            peer.answers_pings = False
            peer.say(HELLO)
            await peer.closed(CloseCode.KEEPALIVE_TIMEOUT)
            await eventually(lambda: door.seat.states() == ["connected", "stall", "disconnected"])

    asyncio.run(main())


def test_a_silent_client_that_answers_pings_stays() -> None:
    async def main() -> None:
        async with (
            serving(quick(keepalive_ms=20, keepalive_deadline_ms=100)) as (transport, door),
            raw(transport) as peer,
        ):
            peer.say(HELLO)
            await asyncio.sleep(0.3)
            assert not peer.gone
            assert door.seat.states() == ["connected"]

    asyncio.run(main())


def test_too_many_connections_and_too_many_a_second() -> None:
    async def main() -> None:
        for limits, code in (
            (quick(connections_max=2), CloseCode.TOO_MANY_CONNECTIONS),
            (quick(connects_per_second=0, connects_burst=2), CloseCode.CONNECT_RATE_EXCEEDED),
        ):
            async with (
                serving(limits) as (transport, _),
                raw(transport) as first,
                raw(transport) as second,
                raw(transport) as third,
            ):
                await third.closed(code)
                for peer in (first, second):
                    peer.say(HELLO)
                    await eventually(partial(peer.got, Welcome))

    asyncio.run(main())


def test_a_page_of_a_stranger_may_not_open_a_socket() -> None:
    async def main() -> None:
        async with serving(quick(origins=("https://ours.example",))) as (transport, _):
            with pytest.raises(picows.WSError, match="403"):
                async with raw(transport, Origin="https://theirs.example"):
                    pass
            for origin in ("https://ours.example", f"http://127.0.0.1:{transport.port}"):
                async with raw(transport, Origin=origin) as peer:
                    peer.say(HELLO)
                    await eventually(partial(peer.got, Welcome))

    asyncio.run(main())


def test_where_no_token_is_asked_for_a_rebound_name_leads_nowhere() -> None:
    async def main() -> None:
        async with serving(quick(own_names_only=True)) as (transport, _):
            for path in ("/", transport.settings.path):
                reader, writer = await asyncio.open_connection("127.0.0.1", transport.port)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: theirs.example:{transport.port}\r\n\r\n".encode())
                assert b" 421 " in await reader.readline()
                writer.close()
            async with raw(transport, Origin=f"http://127.0.0.1:{transport.port}") as peer:
                peer.say(HELLO)
                await eventually(partial(peer.got, Welcome))

    asyncio.run(main())


def test_a_second_hello_is_a_fault() -> None:
    async def main() -> None:
        async with serving() as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            peer.say(HELLO)
            peer.say(Control(signal="barge_in"))
            await eventually(lambda: door.of(i.ControlReceived))
            assert [problem.code for problem in peer.got(Problem)] == ["hello_repeated"]
            assert len(door.seats) == 1

    asyncio.run(main())


@pytest.mark.proves("F-090")
@pytest.mark.skipif(not opus_available(), reason="no libopus here")
def test_a_corrupt_opus_packet_is_concealed_for_its_length_and_the_stream_goes_on() -> None:
    async def main() -> None:
        async with serving() as (transport, door), raw(transport) as peer:
            peer.say(Hello(tenant="t", audio_in=AudioFormat(codec=Codec.OPUS, rate=48_000)))
            packets = OpusEncoder(48_000).encode(bytes(1_920 * 4))
            packets[1], packets[2] = b"\xff\xff\xff", b"\x01"
            for sequence, packet in enumerate(packets):
                peer.binary(frame(sequence, index=960 * sequence, data=packet))
            await eventually(lambda: len(door.of(i.AudioReceived)) == 4)
            heard = [one.audio for one in door.seat.of(i.AudioReceived)]
            assert [(one.samples, one.sample_index) for one in heard] == [(320, 320 * k) for k in range(4)]
            assert transport.counters.concealed >= 1
            assert not peer.gone

    asyncio.run(main())


# ---- coming back ----------------------------------------------------------------------------------------------------


def test_a_lost_line_is_taken_up_again_and_its_session_goes_on() -> None:
    async def main() -> None:
        async with serving() as (transport, door):
            async with Client.connect(transport.url) as call:
                ticket = call.ticket
                await call.drop()
            seat = door.seat
            await eventually(lambda: seat.states() == ["connected", "disconnected"])
            async with Client.connect(transport.url, ticket=ticket) as again:
                assert again.welcome.resumed
                assert again.welcome.session == ticket.session
                seat.audio(SOUND, 640)
                await eventually(lambda: again.frames_in)
                assert seat.states()[2:] == ["connected"]
                again.say("still here")
                await eventually(lambda: seat.of(i.TextReceived))
            assert len(door.seats) == 1

    asyncio.run(main())


def test_the_old_line_loses_when_a_new_one_takes_over() -> None:
    async def main() -> None:
        async with serving() as (transport, door), raw(transport) as old:
            old.say(HELLO)
            welcome = (await eventually(lambda: old.got(Welcome)))[0]
            async with Client.connect(
                transport.url, tenant="t", ticket=Ticket(welcome.session, welcome.resume, 3)
            ) as call:
                await old.closed(CloseCode.TAKEN_OVER)
                assert door.seat.states() == ["connected", "disconnected", "connected"]
                door.seat.signal("turn_open", "turn-1")
                await call.signal("turn_open")
                assert call.lost is None

    asyncio.run(main())


def test_a_wrong_or_late_resume_is_refused_without_telling_which() -> None:
    async def main() -> None:
        async with serving() as (transport, door):
            async with Client.connect(transport.url) as call:
                ticket = call.ticket
                await call.drop()
            attempts = [
                Ticket(ticket.session, "guess", 3),
                Ticket("s-9", ticket.resume, 3),
                Ticket("", "", 3),
            ]
            reasons = set()
            for attempt in attempts[:2]:
                with pytest.raises(ConnectionLost) as refused:
                    async with Client.connect(transport.url, ticket=attempt):
                        pass
                assert refused.value.close_code == CloseCode.RESUME_REFUSED
                reasons.add(refused.value.message)
            assert len(reasons) == 1
            with pytest.raises(ConnectionLost) as stale:
                async with Client.connect(transport.url, ticket=Ticket(ticket.session, ticket.resume, 2)):
                    pass
            assert stale.value.close_code == CloseCode.EPOCH_STALE
            door.seat.ended = True
            with pytest.raises(ConnectionLost) as late:
                async with Client.connect(transport.url, ticket=ticket):
                    pass
            assert late.value.close_code == CloseCode.RESUME_REFUSED
            assert ticket.resume not in repr(ticket)

    asyncio.run(main())


def test_a_session_that_ends_while_it_waits_is_forgotten() -> None:
    async def main() -> None:
        async with serving() as (transport, door):
            async with Client.connect(transport.url) as call:
                await call.drop()
            await eventually(lambda: door.seat.states()[-1] == "disconnected")
            assert transport.sittings
            door.seat.line.close("disconnect_deadline")
            assert not transport.sittings

    asyncio.run(main())


# ---- compression ----------------------------------------------------------------------------------------------------


DEFLATE = {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"}


def packed(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


@pytest.mark.proves("F-031")
def test_compression_saves_bytes_changes_nothing_and_is_measured() -> None:
    async def main() -> None:
        async with serving(quick(compression=True)) as (transport, door), raw(transport, **DEFLATE) as peer:
            peer.say(HELLO)
            await eventually(lambda: peer.raw)
            sound = bytes(range(64)) * 10
            for sequence in range(1_000):
                data = packed(frame(sequence, data=sound))
                peer.transport.send(picows.WSMsgType.BINARY, data, rsv1=True)
            await eventually(lambda: len(door.of(i.AudioReceived)) == 1_000)
            assert {one.audio.data for one in door.seat.of(i.AudioReceived)} == {sound}
            door.seat.audio(sound, 0)
            await eventually(lambda: any(r and len(d) < 300 for r, d in peer.raw[2:]))
            wire = next(d for r, d in peer.raw[2:] if r)
            assert zlib.decompressobj(-15).decompress(wire + b"\x00\x00\xff\xff")[20:] == sound
            tally = transport.counters.compression
            assert tally is not None
            assert tally.messages >= 1_001
            assert tally.wire_bytes < tally.plain_bytes / 2
            assert tally.cpu_ns > 0

    asyncio.run(main())


@pytest.mark.proves("F-031")
@pytest.mark.parametrize(
    "data",
    [packed(bytes(10_000_000)), b"\x07" + os.urandom(20), packed(frame(0))[:-30]],
    ids=["bomb", "noise", "cut"],
)
def test_a_bomb_or_a_corrupt_stream_is_refused(data: bytes) -> None:
    async def main() -> None:
        async with serving(quick(compression=True)) as (transport, door), raw(transport, **DEFLATE) as peer:
            peer.say(HELLO)
            peer.transport.send(picows.WSMsgType.BINARY, data, rsv1=True)
            await eventually(lambda: peer.gone)
            assert peer.close_code in (CloseCode.COMPRESSION_REFUSED, CloseCode.MALFORMED)
            assert door.of(i.AudioReceived) == []

    asyncio.run(main())


@pytest.mark.proves("F-031")
def test_where_compression_is_off_an_offer_of_it_is_not_taken_and_nothing_is_measured() -> None:
    async def main() -> None:
        async with serving() as (transport, _), raw(transport, **DEFLATE) as peer:
            peer.say(HELLO)
            await eventually(lambda: peer.got(Welcome))
            assert not peer.got(Welcome)[0].compressed
            assert transport.counters.compression is None

    asyncio.run(main())


def test_compression_that_was_not_agreed_is_refused() -> None:
    async def main() -> None:
        async with serving() as (transport, _), raw(transport) as peer:
            peer.say(HELLO)
            peer.transport.send(picows.WSMsgType.BINARY, packed(frame(0)), rsv1=True)
            await peer.closed(CloseCode.COMPRESSION_REFUSED)

    asyncio.run(main())
