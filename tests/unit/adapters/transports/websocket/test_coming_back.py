"""A session's line that changes: nothing of the old one is mistaken for the new one's, and nothing is lost unsaid."""

from __future__ import annotations

import asyncio

from rspp.adapters.transports.websocket.caller import Caller
from rspp.client import Client, Ticket
from rspp.contract.event import Event, Scope, Signal
from rspp.contract.wire import Problem, Say, Welcome, encode_header
from rspp.contract.words import EventKind, PayloadClass
from rspp.kernel import inputs as i
from tests.unit.adapters.transports.websocket.given import (
    HELLO,
    FakeSeat,
    Raw,
    eventually,
    quick,
    raw,
    serving,
)

SOUND = bytes(640)


def frame(sequence: int, epoch: int = 3) -> bytes:
    return encode_header(0, sequence, epoch, 320 * sequence) + SOUND


def ticket_of(peer: Raw) -> Ticket:
    welcome = peer.got(Welcome)[0]
    return Ticket(welcome.session, welcome.resume, welcome.epoch)


def test_the_session_hears_one_count_over_all_its_lines() -> None:
    """Audio waits in a slower lane than the news of a line: were counts to begin again, frames of the old line that come
    after that news would make the kernel take the new one's for repeats.
    """

    async def main() -> None:
        async with serving() as (transport, door), raw(transport) as old:
            old.say(HELLO)
            for sequence in range(30):
                old.binary(frame(sequence))
            old.say(Say(text="one"))
            await eventually(lambda: door.of(i.TextReceived))
            async with Client.connect(transport.url, tenant="t", ticket=ticket_of(old)) as call:
                for _ in range(3):
                    call.send_frame(SOUND)
                call.say("two")
                await eventually(lambda: len(door.of(i.TextReceived)) == 2)
                ticket = call.ticket
                await call.drop()
            async with Client.connect(transport.url, tenant="t", ticket=ticket, audio_in=None) as call:
                call.say("three")
                await eventually(lambda: len(door.of(i.TextReceived)) == 3)
                ticket = call.ticket
                await call.drop()
            async with Client.connect(transport.url, tenant="t", ticket=ticket) as call:
                call.send_frame(SOUND)
                await eventually(lambda: len(door.of(i.AudioReceived)) == 34)
            assert [heard.transport_sequence for heard in door.of(i.AudioReceived)] == list(range(34))
            assert [said.transport_sequence for said in door.of(i.TextReceived)] == [1, 2, 3]

    asyncio.run(main())


def test_what_waited_on_the_old_line_is_not_heard_after_the_new_one_speaks() -> None:
    async def main() -> None:
        async with serving(quick(close_ms=2_000)) as (transport, door), raw(transport) as old:
            old.say(HELLO)
            await eventually(lambda: old.got(Welcome))
            door.seat.room = 0
            for sequence in range(5):
                old.binary(frame(sequence))
            await eventually(lambda: transport.counters.held == 5)
            old.transport.underlying_transport.pause_reading()  # it will not answer its close
            async with Client.connect(transport.url, tenant="t", ticket=ticket_of(old)) as call:
                door.seat.room = 100
                call.send_frame(SOUND)
                await eventually(lambda: door.of(i.AudioReceived))
                await asyncio.sleep(0.1)
                assert [heard.audio.sample_index for heard in door.of(i.AudioReceived)] == [0]
                assert transport.counters.held_dropped == 5

    asyncio.run(main())


def test_a_session_knows_at_once_that_a_line_is_being_closed() -> None:
    """Else it would speak for a second into a line that carries nothing any more."""

    async def main() -> None:
        settings = quick(write_bytes_max=10_000, socket_send_bytes=4_096, slow_reader_ms=50, close_ms=5_000)
        async with serving(settings) as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            await eventually(lambda: peer.got(Welcome))
            peer.transport.underlying_transport.pause_reading()
            index = 0
            while door.seat.states() == ["connected"]:
                door.seat.audio(SOUND * 30, index)
                index += 9_600
                await asyncio.sleep(0.001)
                assert index < 9_600_000
            assert transport.counters.closes == {}  # the socket is there still
            assert door.seat.states() == ["connected", "disconnected"]
        assert door.seat.states() == ["connected", "disconnected"]

    asyncio.run(main())


class Full(FakeSeat):
    """A session with no room for anything for a while."""

    stuffed = False

    def ingest(self, received: i.Input) -> bool:
        return not self.stuffed and super().ingest(received)


def test_the_news_of_a_line_waits_for_room_and_a_message_without_room_is_told() -> None:
    async def main() -> None:
        async with serving() as (transport, door):
            door.kind = Full
            async with raw(transport) as peer:
                peer.say(HELLO)
                await eventually(lambda: peer.got(Welcome))
                seat = door.seat
                assert isinstance(seat, Full)
                seat.stuffed = True
                peer.say(Say(text="anybody?"))
                await eventually(lambda: [problem.code for problem in peer.got(Problem)] == ["session_busy"])
                assert peer.got(Problem)[0].retryable
                ticket = ticket_of(peer)
            await eventually(lambda: not transport.counters.connections)
            async with Client.connect(transport.url, tenant="t", ticket=ticket) as call:
                assert seat.states() == ["connected"]
                seat.stuffed = False
                await eventually(lambda: len(seat.states()) == 3)
                assert seat.states() == ["connected", "disconnected", "connected"]
                assert call.lost is None

    asyncio.run(main())


def test_what_is_said_of_an_old_epoch_does_not_bring_it_back() -> None:
    """A turn of the former epoch may end after the new one has begun."""

    async def main() -> None:
        async with serving(quick(stale_frames_max=0)) as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            await eventually(lambda: peer.got(Welcome))
            caller = next(iter(transport._callers))
            assert isinstance(caller, Caller)
            for epoch in (4, 3):
                scope = Scope(
                    session_id="s-1", tenant_id="t", pipeline_version="v1", epoch=epoch, turn_id="turn-1"
                )
                signal = Signal("abort", "tests")
                caller.announce(Event(scope, EventKind.CONTROL, 1, 0, signal, PayloadClass.METADATA))
            peer.binary(frame(0, epoch=4))
            await eventually(lambda: door.of(i.AudioReceived))
            await asyncio.sleep(0.05)
            assert not peer.gone

    asyncio.run(main())
