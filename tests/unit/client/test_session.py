"""A conversation whose lines and processes die under it: it goes on where its session does, or ends and says truly why."""

# ruff: noqa: SIM117 - processes and their caller are two things, one inside the other
from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rspp.adapters.transports.websocket import WebSocketTransport, with_token
from rspp.client import Client, ConnectionLost, ControlPlane, Moved, NoRoute, Patience, Route, Wanted, fixed
from rspp.client.away import Microphone, Words
from rspp.client.route import RouteSource
from rspp.client.session import Session
from rspp.contract.errors import MisuseError, PeerFault
from rspp.contract.event import Signal
from rspp.contract.wire import CloseCode, Goodbye, Say, Told
from rspp.contract.words import ConnectionState
from rspp.host.ports import Bootstrap, Line, Refused
from rspp.kernel import inputs as i
from tests.unit.adapters.stores.nats.relay import Relay
from tests.unit.adapters.transports.websocket.given import FakeDoor, FakeSeat, eventually, quick

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

SOUND = bytes(640)
QUICK = Patience(first_ms=10, most_ms=40, away_ms_max=2_000, connect_ms=1_000)


class Authority:
    """Who has which session, as a store would know it."""

    def __init__(self) -> None:
        self.sessions: dict[str, tuple[str, Process, int]] = {}
        self.processes: list[Process] = []


class Process(FakeDoor):
    """A process with its transport: it gives a session to whoever shows its secret, unless another one has it."""

    def __init__(self, authority: Authority, **how: Any) -> None:
        super().__init__()
        self.authority = authority
        self.alive = True
        self.deluded = False  # gives its own old seats, whoever owns them now
        self.transport = WebSocketTransport(quick(), **how)
        authority.processes.append(self)

    async def enter(self, bootstrap: Bootstrap, line: Line) -> FakeSeat:
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise self.refusal
        known, name = self.authority.sessions, bootstrap.session_id or ""
        if not bootstrap.back:
            name, epoch = f"s-{len(known) + 1}", 3
        elif self.deluded and name in self.seats:
            self.seats[name].line = line
            return self.seats[name]
        elif name not in known or known[name][0] != bootstrap.resume:
            raise Refused("session_unknown", "nobody knows it")
        else:
            _, owner, epoch = known[name]
            if owner is not self and owner.alive:
                raise Refused("session_moved", "it lives elsewhere", 10, owner.transport.url)
            epoch += 1
        seat = self.kind(name, bootstrap, line, self.graph)
        seat.epoch = epoch
        known[name] = (bootstrap.resume or "", self, epoch)
        self.seats[name] = seat
        return seat

    def give_away(self, to: Process, name: str) -> None:
        secret, _, epoch = self.authority.sessions[name]
        self.authority.sessions[name] = (secret, to, epoch)

    def die(self) -> None:
        """As with `kill -9`: sockets break, nothing is said."""
        self.alive = False
        for caller in list(self.transport._callers):
            caller.socket._transport.disconnect(graceful=False)
        for server in self.transport._servers.values():
            server.close()
        self.transport._lobby.sittings.clear()


@asynccontextmanager
async def processes(count: int = 2, **how: Any) -> AsyncIterator[list[Process]]:
    authority = Authority()
    made = [Process(authority, **how) for _ in range(count)]
    for process in made:
        await process.transport.start(process)
    try:
        yield made
    finally:
        for process in made:
            await process.transport.stop("test over")
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("rspp:session")]


def everywhere(made: list[Process], token: str | None = None) -> RouteSource:
    return fixed(*(process.transport.url for process in made), token=token)


def words(seat: FakeSeat) -> list[tuple[str, str | None]]:
    return [(said.text, said.idempotency_key) for said in seat.of(i.TextReceived)]


def test_a_line_that_breaks_alone_is_found_again_at_once_and_nothing_typed_is_lost() -> None:
    async def main() -> None:
        async with processes() as (one, two):
            async with Client.session(everywhere([one, two]), patience=QUICK) as session:
                key = session.say("one")
                await eventually(lambda: one.of(i.TextReceived))
                assert session._call is not None
                await session._call.drop()
                session.say("two", "my-key")
                session.send_frame(SOUND)
                assert not session.control("stop")
                moved = await session.until(lambda event: isinstance(event, Moved))
                assert isinstance(moved, Moved)
                assert (moved.reason, moved.process) == ("connection_lost", False)
                assert moved.endpoint == one.transport.url
                assert session.control("stop")
                await eventually(lambda: one.of(i.ControlReceived) and one.of(i.AudioReceived))
                assert words(one.seat) == [("one", key), ("one", key), ("two", "my-key")]
                assert (session.moves, session.words.resent, two.seats) == (1, 1, {})
            assert session.ended == "hung_up"
            assert one.seat.states()[-1] == "ended"

    asyncio.run(main())


def test_a_process_that_dies_is_left_for_another_under_a_higher_epoch_and_what_was_said_meanwhile_follows() -> (
    None
):
    async def main() -> None:
        async with processes() as (one, two):
            async with Client.session(everywhere([one, two]), patience=QUICK) as session:
                session.say("before")
                await eventually(lambda: one.of(i.TextReceived))
                one.die()
                await eventually(lambda: session.away)
                for _ in range(3):
                    session.send_frame(SOUND)
                session.say("meanwhile")
                moved = await session.until(lambda event: isinstance(event, Moved))
                assert isinstance(moved, Moved)
                assert (moved.process, moved.endpoint) == (True, two.transport.url)
                await eventually(lambda: len(two.of(i.AudioReceived)) == 3)
                assert [text for text, _ in words(two.seat)] == ["before", "meanwhile"]
                assert [one.transport_sequence for one in two.of(i.AudioReceived)] == [0, 1, 2]
                assert {one.epoch for one in two.of(i.AudioReceived)} == {4}
                assert (session.epoch, session.moves, session.microphone.dropped_ms) == (4, 1, 0)
                assert session.away_ms >= moved.away_ms >= 0

    asyncio.run(main())


@pytest.mark.parametrize("nonsense", ["ws://a..b:1/", "ws://127.0.0.1:99999/", "ws://[::1/", "nowhere", ""])
def test_a_good_bye_that_leads_nowhere_ends_no_conversation(nonsense: str) -> None:
    async def main() -> None:
        async with processes() as (one, two):
            async with Client.session(everywhere([one, two]), patience=QUICK) as session:
                one.give_away(two, "s-1")
                one.transport.goes_on_at("s-1", nonsense)
                seat = one.seat
                seat.line.announce(seat.event(Signal("session_state_changed", "tests", reason="migration")))
                seat.ended = True
                seat.line.close("drained")
                await session.until(lambda event: isinstance(event, Moved))
                assert (session.endpoint, session.ended) == (two.transport.url, None)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("here", "there", "follows"),
    [
        ("wss://a/x", "ws://b/x", False),
        ("wss://a/x", "wss://b/x", True),
        ("ws://a/x", "wss://b/x", True),
        ("ws://a/x", "ws://b/x", True),
    ],
)
def test_a_secret_that_went_under_tls_is_not_sent_on_without(here: str, there: str, follows: bool) -> None:
    async def main() -> None:
        session = Session(fixed(here), patience=QUICK)
        session._at = Route(endpoint=here, token="secret")
        bye = Goodbye(code="migrated", reason="", endpoint=there)
        await session._judge(ConnectionLost(CloseCode.MIGRATED, "migrated", bye))
        assert (await session._next_route()).endpoint == (there if follows else here)

    asyncio.run(main())


@pytest.mark.parametrize("told", [True, False])
def test_a_session_that_migrates_is_followed_at_once_wherever_the_good_bye_says(told: bool) -> None:
    async def main() -> None:
        async with processes(3) as (one, two, three):
            source = everywhere([one, two, three])
            async with Client.session(source, patience=QUICK) as session:
                to = three if told else two
                one.give_away(to, "s-1")
                if told:
                    one.transport.goes_on_at("s-1", three.transport.url)
                seat = one.seat
                seat.line.announce(seat.event(Signal("session_state_changed", "tests", reason="migration")))
                seat.ended = True
                to_was = len(to.seats)
                seat.line.close("drained")
                moved = await session.until(lambda event: isinstance(event, Moved))
                assert isinstance(moved, Moved)
                assert (moved.reason, moved.endpoint, moved.process) == ("migrated", to.transport.url, True)
                assert (session.attempts, len(to.seats)) == (2, to_was + 1)

    asyncio.run(main())


def test_whoever_has_the_session_is_found_by_way_of_those_who_have_not() -> None:
    async def main() -> None:
        async with processes(3) as (one, two, three):
            async with Client.session(everywhere([one, two, three]), patience=QUICK) as session:
                one.give_away(three, "s-1")
                one.die()
                await session.until(lambda event: isinstance(event, Moved))
                assert (session.endpoint, two.seats) == (three.transport.url, {})

    asyncio.run(main())


def test_a_process_that_drains_sends_its_callers_to_another() -> None:
    async def main() -> None:
        async with processes() as (one, two):
            async with Client.session(everywhere([one, two]), patience=QUICK) as session:
                one.give_away(two, "s-1")
                two.alive = False
                one.refusal = Refused("runtime_draining", "ask for another", 0)
                seat = one.seat
                seat.ended = True
                assert session._call is not None
                await session._call.drop()
                await session.until(lambda event: isinstance(event, Moved))
                assert session.endpoint == two.transport.url

    asyncio.run(main())


def test_what_a_former_owner_says_is_dropped_and_counted_and_its_welcome_is_none() -> None:
    async def main() -> None:
        async with processes() as (one, two):
            async with Client.session(everywhere([one, two]), patience=QUICK) as session:
                one.die()
                await session.until(lambda event: isinstance(event, Moved))
                seat = two.seat
                seat.audio(SOUND, 0)
                await eventually(lambda: session._call and session._call.frames_in == 1)
                seat.epoch = 3
                seat.audio(SOUND, 320)
                seat.signal("turn_open", "turn-1")
                seat.epoch = 5
                seat.signal("turn_open", "turn-2")
                opened = await session.signal("turn_open")
                assert (opened.turn_id, session.epoch) == ("turn-2", 5)
                # The former owner is back, and believes that nothing has changed.
                two.alive = False
                one.deluded = one.alive = True
                await one.transport.accepting(False)
                await one.transport.accepting(True)
                session._route = everywhere([one, two])
                assert session._call is not None
                await session._call.drop()
                await session.until(lambda event: isinstance(event, Moved))
                assert session.endpoint == two.transport.url
                assert one.seat.states()[-1] in ("disconnected", "connected")
                assert session.stale_dropped == 3
                assert session.epoch == 5

    asyncio.run(main())


def test_a_session_that_ends_ends_once_and_for_the_reason_it_was_given() -> None:
    async def main() -> None:
        async with processes(1) as (one,):
            async with Client.session(everywhere([one]), patience=QUICK) as session:
                one.seat.line.close("disconnect_deadline")
                assert [event async for event in session.events() if not isinstance(event, Told)]
                assert (session.ended, session.error, session.attempts) == ("disconnect_deadline", None, 1)
                with pytest.raises(PeerFault, match="disconnect_deadline"):
                    session.say("anybody?")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (Refused("session_over", "it has ended"), "session_over"),
        (Refused("session_unknown", "nobody knows it"), "resume_refused"),
        (Refused("region_refused", "not from here"), "region_refused"),
    ],
)
def test_a_session_that_is_not_to_be_had_any_more_is_given_up_at_once(refusal: Refused, reason: str) -> None:
    async def main() -> None:
        async with processes() as (one, two):
            two.refusal = refusal
            async with Client.session(everywhere([one, two]), patience=QUICK) as session:
                one.die()
                await eventually(lambda: session.ended)
                assert session.ended == reason
                assert isinstance(session.error, ConnectionLost)

    asyncio.run(main())


def test_one_whose_line_another_has_taken_does_not_fight_for_it() -> None:
    async def main() -> None:
        async with processes(1) as (one,):
            async with Client.session(everywhere([one]), patience=QUICK) as session:
                async with Client.connect(one.transport.url, ticket=session.ticket) as other:
                    await eventually(lambda: session.ended)
                    assert (session.ended, other.lost) == ("taken_over", None)

    asyncio.run(main())


def test_what_is_held_is_waited_for_as_long_as_is_told_and_no_longer_than_patience_lasts() -> None:
    async def main() -> None:
        async with processes() as (one, two):
            two.refusal = Refused("session_held", "its owner is not heard of", 60)
            patience = Patience(first_ms=1, most_ms=5, away_ms_max=200, connect_ms=500)
            async with Client.session(everywhere([one, two]), patience=patience) as session:
                one.die()
                began = asyncio.get_running_loop().time()
                await eventually(lambda: session.ended)
                assert session.ended == "session_held"
                assert 0.1 < asyncio.get_running_loop().time() - began < 1
                assert session.attempts <= 6
            again = Client.session(everywhere([two]), patience=patience)
            with pytest.raises(ConnectionLost, match="owner is not heard of"):
                await again.__aenter__()

    asyncio.run(main())


def test_a_token_that_is_refused_is_asked_for_anew_once() -> None:
    async def main() -> None:
        async with processes(1, admits=with_token("good")) as (one,):
            tokens = iter(["old", "good"])
            asked: list[Wanted] = []

            async def source(wanted: Wanted) -> Route:
                asked.append(wanted)
                return Route(endpoint=one.transport.url, token=next(tokens, "bad"))

            async with Client.session(source, patience=QUICK) as session:
                assert len(asked) == 2
                assert "good" not in repr(session._at)
                assert session._call is not None
                await session._call.drop()
                await eventually(lambda: session.ended)
                assert session.ended == "token_refused"
                assert len(asked) == 4
                assert asked[2].ticket is not None

    asyncio.run(main())


def test_a_source_that_breaks_is_asked_again_and_one_that_knows_no_way_is_believed() -> None:
    async def main() -> None:
        async with processes(1) as (one,):
            answers: list[Exception | None] = [
                RuntimeError("no"),
                NoRoute("busy", "later", retry_after_ms=5),
                None,
            ]

            async def source(wanted: Wanted) -> Route:
                answer = answers.pop(0)
                if answer is not None:
                    raise answer
                return Route(endpoint=one.transport.url)

            async with Client.session(source, patience=QUICK) as session:
                answers.append(NoRoute("session_over", "it has ended", final=True))
                assert session._call is not None
                await session._call.drop()
                await eventually(lambda: session.ended)
                assert session.ended == "session_over"

    asyncio.run(main())


def test_a_block_that_raises_leaves_the_session_to_wait_and_nothing_running() -> None:
    async def main() -> None:
        async with processes(1) as (one,):
            with pytest.raises(ValueError, match="mine"):
                async with Client.session(everywhere([one]), patience=QUICK):
                    raise ValueError("mine")
            await eventually(lambda: one.seat.states()[-1] == ConnectionState.DISCONNECTED)

    asyncio.run(main())


# ---- what is kept meanwhile -----------------------------------------------------------------------------------------


def test_the_microphone_keeps_so_much_and_nothing_old() -> None:
    microphone = Microphone(100)
    for now_ms in range(0, 160, 20):
        microphone.put(now_ms, bytes([now_ms]) * 640, 16_000)
    assert microphone.dropped_ms == 60
    assert [pcm[0] for pcm, _ in microphone.take(170)] == [80, 100, 120, 140]
    assert microphone.dropped_ms == 80
    assert microphone.take(200) == []


def test_typed_words_are_said_again_until_they_are_old_and_the_unsaid_ones_never_are() -> None:
    kept = Words(1_000)
    kept.put(0, Say(text="sent", key="a"), sent=True)
    kept.put(10, Say(text="unsent", key="b"), sent=False)
    assert [say.key for say in kept.again(500, 400)] == ["a", "b"]
    assert kept.resent == 1
    kept.put(600, Say(text="late", key="c"), sent=False)
    assert [say.key for say in kept.again(5_000, 4_000)] == ["c"]
    for number in range(100):
        kept.put(6_000, Say(text="many", key=str(number)), sent=False)
    assert kept.dropped == 36


def test_words_are_as_old_as_they_were_when_their_line_was_lost_however_long_a_caller_is_away() -> None:
    kept = Words(1_000)
    kept.put(0, Say(text="sent just before", key="a"), sent=True)
    kept.put(200, Say(text="said while away", key="b"), sent=False)
    assert [say.key for say in kept.again(50_000, 100)] == ["a", "b"]
    # The new line breaks as soon as it stands: what it was told may be lost with it.
    assert [say.key for say in kept.again(50_200, 50_100)] == ["b"]


# ---- the control plane's routes -------------------------------------------------------------------------------------


@asynccontextmanager
async def control_plane(answers: list[tuple[int, object]]) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that answers one thing after the other, and notes what it was asked."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = next(
            int(line[16:]) for line in head.splitlines() if line.lower().startswith("content-length:")
        )
        asked.append(head.split("\r\n")[0] + " " + (await reader.readexactly(size)).decode())
        assert "authorization: Bearer let me" in head.replace("Authorization", "authorization")
        status, answer = answers.pop(0)
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        await server.wait_closed()


def test_a_control_plane_is_asked_for_a_new_session_by_credential_and_for_a_known_one_by_its_secret() -> None:
    async def main() -> None:
        async with processes(1) as (one,):
            route = {"endpoint": one.transport.url, "token": "t", "session": "s-1", "back": False}
            answers: list[tuple[int, object]] = [
                (503, {"code": "store_unreachable", "message": "no leader", "retry_after_ms": 5}),
                (200, route),
                (502, b"<html>a proxy</html>"),
                (200, route),
                (404, {"code": "not_found", "message": "there is no such thing"}),
            ]
            async with control_plane(answers) as (url, asked):
                source = ControlPlane(url, credential="let me", region="eu")
                assert "let me" not in repr(source)
                async with Client.session(source, tenant="acme", pipeline="desk", patience=QUICK) as session:
                    for _ in range(2):
                        assert session._call is not None
                        await session._call.drop()
                        await eventually(lambda: session.ended or not session.away)
                    assert session.ended == "not_found"
                secret = one.seat.bootstrap.resume
                assert [line.split(" ")[1] for line in asked] == [
                    *["/v1/tenants/acme/routes"] * 2,
                    *["/v1/tenants/acme/sessions/s-1/route"] * 3,
                ]
                assert json.loads(asked[0].split(" ", 3)[3]) == {"pipeline": "desk", "region": "eu"}
                assert json.loads(asked[2].split(" ", 3)[3]) == {"resume_secret": secret, "region": "eu"}

    asyncio.run(main())


def test_a_control_plane_that_is_not_there_or_would_hear_the_credential_in_the_open_is_no_route() -> None:
    async def main() -> None:
        with pytest.raises(NoRoute, match="control_unreachable") as nobody:
            await ControlPlane("http://127.0.0.1:1", credential="let me")(Wanted(tenant="t"))
        assert not nobody.value.final
        async with control_plane([(200, [1, 2]), (403, {})]) as (url, _):
            for final in (False, True):
                with pytest.raises(NoRoute, match="control_unreadable") as odd:
                    await ControlPlane(url, credential="let me")(Wanted(tenant="t"))
                assert odd.value.final is final or not final
        with pytest.raises(MisuseError):
            ControlPlane("http://control.example", credential="let me")
        with pytest.raises(MisuseError):
            fixed()

    asyncio.run(main())


def test_the_codes_that_end_a_conversation_are_all_named() -> None:
    from rspp.client.session import AT_ONCE, OVER

    assert CloseCode.SESSION_MOVED not in OVER
    assert not AT_ONCE & OVER


def test_a_line_on_which_nothing_passes_any_more_is_given_up_and_another_one_found() -> None:
    """As when a machine loses its network: no socket is closed, and nobody answers."""

    async def main() -> None:
        async with processes(2) as (first, second):
            authority = first.authority
            async with Relay(first.transport.port) as relay:
                url = f"ws://127.0.0.1:{relay.port}{first.transport.settings.path}"
                patience = Patience(first_ms=10, most_ms=40, away_ms_max=5_000, connect_ms=300, silent_ms=200)
                async with Client.session(fixed(url, second.transport.url), patience=patience) as session:
                    [(name, (secret, _, epoch))] = authority.sessions.items()
                    relay.hold()
                    authority.sessions[name] = (secret, second, epoch + 1)
                    moved = await session.until(lambda event: isinstance(event, Moved))
                    assert isinstance(moved, Moved)
                    assert moved.endpoint == second.transport.url
                    relay.let_go()

    asyncio.run(main())
