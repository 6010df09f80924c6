"""A door that takes its time, refuses, sends on, breaks, or answers when its caller has gone: one seat a caller, or none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rspp.adapters.transports.websocket import Settings, WebSocketTransport
from rspp.client import Client, ConnectionLost, Ticket
from rspp.contract.errors import PeerFault
from rspp.contract.event import Signal
from rspp.contract.wire import CloseCode, Goodbye, Hello, Say, Told, Welcome, encode_header
from rspp.host.ports import Bootstrap, Line, Refused
from rspp.kernel import inputs as i
from tests.unit.adapters.transports.websocket.given import HELLO, FakeDoor, FakeSeat, eventually, quick, raw

SOUND = bytes(640)


class SlowDoor(FakeDoor):
    """Answers when it is let, and knows who asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Bootstrap] = []
        self.answers = asyncio.Event()
        self.cancelled = 0
        self.stubborn = False  # gives a seat to whoever has let go of it, too
        self.news: list[str] = []
        self.fault: Exception | None = None
        self.elsewhere: set[str] = set()  # sessions that may be taken here

    async def enter(self, bootstrap: Bootstrap, line: Line) -> FakeSeat:
        self.asked.append(bootstrap)
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            if not self.stubborn:
                raise
        if self.fault is not None:
            raise self.fault
        if self.refusal is not None:
            raise self.refusal
        if bootstrap.back and bootstrap.session_id not in self.elsewhere:
            raise Refused("session_unknown", "it is not here, says the store")
        seat = self.kind(bootstrap.session_id or f"s-{len(self.seats) + 1}", bootstrap, line, self.graph)
        self.seats[seat.session_id] = seat
        for name in self.news:
            seat.signal(name)
        return seat


@asynccontextmanager
async def behind(
    settings: Settings | None = None, *, answers: bool = False, **more: Any
) -> AsyncIterator[tuple[WebSocketTransport, SlowDoor]]:
    door = SlowDoor()
    if answers:
        door.answers.set()
    transport = WebSocketTransport(settings or quick(), **more)
    await transport.start(door)
    try:
        yield transport, door
    finally:
        await transport.stop("test over")
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "websocket:enter"]


def frame(sequence: int) -> bytes:
    return encode_header(0, sequence, 3, 320 * sequence) + SOUND


def test_what_is_said_while_the_door_is_asked_is_heard_in_order() -> None:
    async def main() -> None:
        async with behind() as (transport, door), raw(transport) as peer:
            door.news = ["state_attached"]
            peer.say(Hello(tenant="t", token="let me in"))
            peer.binary(frame(0))
            peer.say(Say(text="one"))
            peer.binary(frame(1))
            peer.say(Say(text="two"))
            await eventually(lambda: door.asked)
            await asyncio.sleep(0.03)
            assert peer.messages == []
            door.answers.set()
            await eventually(lambda: len(door.of(i.TextReceived)) == 2)
            heard = [type(one).__name__ for one in door.seat.inputs]
            assert heard == [
                "ConnectionChanged",
                "AudioReceived",
                "TextReceived",
                "AudioReceived",
                "TextReceived",
            ]
            assert [type(message) for message in peer.messages] == [Welcome, Told]  # whatever came first
            assert (door.asked[0].token, door.asked[0].back) == ("let me in", False)
            assert door.asked[0].resume == peer.got(Welcome)[0].resume
            assert "let me in" not in repr(door.asked[0])
            assert transport.counters.entering.total == 1

    asyncio.run(main())


@pytest.mark.parametrize("bound", [{"early_messages_max": 5}, {"early_bytes_max": 3_000}])
def test_whoever_says_too_much_before_it_is_welcome_is_closed_and_costs_no_session(
    bound: dict[str, int],
) -> None:
    async def main() -> None:
        async with behind(quick(**bound)) as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            for sequence in range(6):
                peer.binary(frame(sequence))
            await peer.closed(CloseCode.FLOOD)
            await eventually(lambda: door.cancelled == 1)
            assert (door.seats, transport.sittings) == ({}, 0)

    asyncio.run(main())


def test_a_door_that_does_not_answer_in_time_is_let_go_of_and_the_caller_told_when_to_come_back() -> None:
    async def main() -> None:
        async with behind(quick(hello_ms=60)) as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            await peer.closed(CloseCode.SESSION_REFUSED)
            bye = peer.got(Goodbye)[0]
            assert bye.reason.startswith("door_timeout: ")
            assert bye.retry_after_ms
            assert (door.cancelled, door.seats) == (1, {})

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        (
            PeerFault("store_unreachable", "no leader"),
            CloseCode.SESSION_REFUSED,
            "store_unreachable: no leader",
        ),
        (PeerFault("token_expired", "an hour ago"), CloseCode.TOKEN_REFUSED, "token_expired: an hour ago"),
        (Refused("sessions_full", "all 3", 700), CloseCode.SESSION_REFUSED, "sessions_full: all 3"),
        (RuntimeError("secret words"), CloseCode.SESSION_REFUSED, "runtime_internal_error: RuntimeError"),
        (TimeoutError(), CloseCode.SESSION_REFUSED, None),
    ],
    ids=["the store", "the token", "room", "a defect", "a deadline of its own"],
)
def test_what_befalls_the_door_is_told_in_its_own_words(
    fault: Exception, code: CloseCode, reason: str | None
) -> None:
    async def main() -> None:
        async with behind(answers=True) as (transport, door), raw(transport) as peer:
            door.fault = fault
            peer.say(HELLO)
            await peer.closed(code)
            bye = peer.got(Goodbye)[0]
            assert reason is None or bye.reason == reason
            assert bye.retry_after_ms == (700 if isinstance(fault, Refused) else 1_000)

    logging.getLogger("rspp.websocket").disabled = True
    try:
        asyncio.run(main())
    finally:
        logging.getLogger("rspp.websocket").disabled = False


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_caller_that_goes_while_it_is_asked_about_leaves_nothing_or_a_seat_that_waits(
    stubborn: bool,
) -> None:
    async def main() -> None:
        async with behind() as (transport, door):
            door.stubborn = stubborn
            door.elsewhere = {"s-7"}
            ticket = Ticket("s-7", "secret", 3)
            async with raw(transport) as peer:
                peer.say(Hello(tenant="t", session="s-7", resume="secret", epoch=3))
                await eventually(lambda: door.asked)
            await eventually(lambda: door.cancelled == 1)
            await eventually(lambda: not transport.counters.connections)
            assert len(door.seats) == transport.sittings == transport.counters.unclaimed == int(stubborn)
            if stubborn:
                assert door.seat.states() == ["disconnected"]
                async with Client.connect(transport.url, tenant="t", ticket=ticket) as call:
                    assert call.welcome.resumed
                    assert len(door.asked) == 1  # it was found here
                assert door.seat.states() == ["disconnected", "connected", "ended"]

    asyncio.run(main())


def test_a_session_of_another_process_is_taken_here_with_its_secret_and_counts_anew() -> None:
    async def main() -> None:
        async with behind(answers=True) as (transport, door):
            door.elsewhere = {"s-7"}
            async with Client.connect(transport.url, ticket=Ticket("s-7", "secret", 2), token="t0") as call:
                welcome = call.welcome
                assert (welcome.session, welcome.resume, welcome.epoch) == ("s-7", "secret", 3)
                assert (welcome.resumed, welcome.moved, welcome.frames) == (True, True, 0)
                asked = door.asked[0]
                assert (asked.back, asked.session_id, asked.resume, asked.token) == (
                    True,
                    "s-7",
                    "secret",
                    "t0",
                )
                for _ in range(4):
                    call.send_frame(SOUND)
                call.say("words")
                await eventually(lambda: door.of(i.TextReceived))
                ticket = call.ticket
                await call.drop()
            async with Client.connect(transport.url, ticket=ticket) as call:
                assert (call.welcome.moved, call.welcome.frames, call.welcome.controls) == (False, 4, 1)
                call.send_frame(SOUND)
                await eventually(lambda: len(door.of(i.AudioReceived)) == 5)
            assert [one.transport_sequence for one in door.of(i.AudioReceived)] == [0, 1, 2, 3, 4]
            assert len(door.asked) == 1

    asyncio.run(main())


def test_of_two_who_come_back_at_once_one_asks_and_the_last_has_the_line() -> None:
    async def main() -> None:
        async with behind() as (transport, door), raw(transport) as one, raw(transport) as two:
            door.elsewhere = {"s-7"}
            hello = Hello(tenant="t", session="s-7", resume="secret", epoch=2)
            one.say(hello)
            await eventually(lambda: door.asked)
            two.say(hello)
            stranger = raw(transport)
            async with stranger as third:
                third.say(Hello(tenant="t", session="s-7", resume="guess"))  # keeps nobody from coming back
                await eventually(lambda: len(door.asked) == 2)
            door.answers.set()
            await one.closed(CloseCode.TAKEN_OVER)
            await eventually(lambda: two.got(Welcome))
            assert len(door.seats) == transport.sittings == 1
            assert [asked.resume for asked in door.asked] == ["secret", "guess"]
            door.seat.signal("turn_open")
            await eventually(lambda: [told.signal for told in two.got(Told)] == ["turn_open"])

    asyncio.run(main())


def test_a_caller_who_has_heard_a_later_owner_is_not_given_the_former_ones_session() -> None:
    async def main() -> None:
        async with behind(answers=True) as (transport, door):
            async with Client.connect(transport.url) as call:
                ticket = call.ticket
                await call.drop()
            door.refusal = Refused("session_moved", "it lives elsewhere", endpoint="ws://other/v1/rtc/ws")
            with pytest.raises(ConnectionLost) as refused:
                async with Client.connect(
                    transport.url, ticket=Ticket(ticket.session, ticket.resume, ticket.epoch + 1)
                ):
                    pass
            assert refused.value.close_code == CloseCode.SESSION_MOVED
            assert refused.value.told is not None
            assert refused.value.told.endpoint == "ws://other/v1/rtc/ws"
            assert door.seat.states()[0] == "connected"

    asyncio.run(main())


def test_a_secret_opens_its_session_for_its_own_tenant_alone() -> None:
    async def main() -> None:
        async with behind(answers=True) as (transport, door):
            async with Client.connect(transport.url, tenant="mine") as call:
                ticket = call.ticket
                await call.drop()
            with pytest.raises(ConnectionLost) as refused:
                async with Client.connect(transport.url, tenant="another", ticket=ticket):
                    pass
            assert refused.value.close_code == CloseCode.RESUME_REFUSED
            async with Client.connect(transport.url, tenant="mine", ticket=ticket) as call:
                assert call.welcome.resumed
            assert len(door.seats) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("reason", "code"), [("migration", CloseCode.MIGRATED), ("authority_lost", CloseCode.AUTHORITY_LOST)]
)
def test_a_session_that_goes_on_elsewhere_says_so_and_where(reason: str, code: CloseCode) -> None:
    async def main() -> None:
        async with behind(answers=True) as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            await eventually(lambda: peer.got(Welcome))
            assert transport.goes_on_at("s-1", "ws://other/v1/rtc/ws")
            assert not transport.goes_on_at("s-2", "ws://other/v1/rtc/ws")
            seat = door.seat
            seat.line.announce(seat.event(Signal("session_state_changed", "tests", reason=reason)))
            seat.line.close("drained")
            await peer.closed(code)
            assert peer.got(Goodbye)[0].endpoint == "ws://other/v1/rtc/ws"
            assert transport.sittings == 0
            assert seat.states() == ["connected"]  # its end is the session's own doing

    asyncio.run(main())


def test_a_transport_that_stops_lets_go_of_those_who_are_asked_about() -> None:
    async def main() -> None:
        async with behind() as (transport, door), raw(transport) as peer:
            peer.say(HELLO)
            await eventually(lambda: door.asked)
            await transport.stop("enough")
            await peer.closed(CloseCode.GOING_AWAY)
            assert (door.cancelled, door.seats) == (1, {})

    asyncio.run(main())
