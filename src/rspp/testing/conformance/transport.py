"""What every Transport must do: bring callers, hand in what they send in order, pass on what is said to them, and let go.

    checks = transport.conformance(lambda: TransportTarget(transport=WebSocketTransport(...), connect=dial))

`connect` is the other side: it brings a caller of the transport's own kind, as a `Peer`, once the transport is started.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol

import msgspec

from rspp.contract.event import Payload
from rspp.contract.signals import SignalName
from rspp.contract.streams import AudioStreamCheck
from rspp.contract.words import CORE_SCHEMA_VERSION, Codec, ConnectionState
from rspp.host.ports import Refused, Transport
from rspp.kernel import inputs as i
from rspp.testing.conformance.checks import Check, CheckFailedError, NotApplicableError, require
from rspp.testing.conformance.fake_door import FakeDoor, FakeSeat
from rspp.testing.conformance.trial import hum

VOICE: Final = tuple(frame.data for frame in hum(200))
GONE: Final = (ConnectionState.DISCONNECTED, ConnectionState.RECONNECTING, ConnectionState.ENDED)


class Peer(Protocol):
    """A caller, as the test holds it. What its kind of wire cannot do raises `NotApplicableError`."""

    @property
    def heard(self) -> Sequence[Payload]:
        """What it was sent, audio as PCM16, in the order in which it came."""
        ...

    @property
    def closed(self) -> str | None:
        """Why the other side hung up; None while it has not."""
        ...

    async def speak(self, frames: Sequence[bytes]) -> None:
        """Send these frames of PCM16 at 16 kHz."""
        ...

    async def garbage(self) -> None:
        """Send bytes that mean nothing."""
        ...

    async def leave(self) -> None:
        """Hang up."""
        ...

    async def vanish(self) -> None:
        """Be gone without a word."""
        ...


class TransportTarget(msgspec.Struct, kw_only=True):
    """A transport, its callers, and how patient to be. `exact` False: its codec changes the samples."""

    transport: Transport
    connect: Callable[[], Awaitable[Peer]]
    exact: bool = True
    answer_ms_max: float = 5_000
    settle_ms: float = 200


class Bench:
    """A transport that is started, and the door it was given."""

    def __init__(self, target: TransportTarget) -> None:
        self.target = target
        self.door = FakeDoor()

    async def caller(self) -> tuple[Peer, FakeSeat]:
        """A caller who has been let in."""
        known = len(self.door.seats)
        peer = await self.target.connect()
        await self.until(lambda: len(self.door.seats) > known, "a caller came, and no session was asked for")
        seat = self.door.seats[known]
        await self.until(lambda: seat.states, "the session was not told that its caller is connected")
        return peer, seat

    async def until(self, condition: Callable[[], object], otherwise: str) -> None:
        deadline = asyncio.get_running_loop().time() + self.target.answer_ms_max / 1000
        while not condition():
            if asyncio.get_running_loop().time() > deadline:
                raise CheckFailedError(otherwise)
            await asyncio.sleep(0.005)

    async def settle(self) -> None:
        await asyncio.sleep(self.target.settle_ms / 1000)


Body = Callable[[Bench], Awaitable[None]]
Row = tuple[str, str, Body]


def conformance(make: Callable[[], TransportTarget]) -> list[Check]:
    """The suite. Each check starts a fresh transport and stops it."""
    return [Check(category, name, _bound(body, make)) for category, name, body in ROWS]


def _bound(body: Body, make: Callable[[], TransportTarget]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        async with _started(make()) as bench:
            await body(bench)

    return run


@asynccontextmanager
async def _started(target: TransportTarget) -> AsyncIterator[Bench]:
    bench = Bench(target)
    await target.transport.start(bench.door)
    try:
        yield bench
    finally:
        await target.transport.stop("check_over")


# ---- sessions -------------------------------------------------------------------------------------------------------


async def _describes(bench: Bench) -> None:
    info = bench.target.transport.info
    require(info.kind, "its info has no kind")
    require(info.ingress_audio or info.ingress_control or info.egress_audio, "it says that it can do nothing")
    unknown = [codec for codec in info.codecs if codec not in tuple(Codec)]
    require(not unknown, f"codecs that the contract does not have: {', '.join(unknown)}")


async def _asks(bench: Bench) -> None:
    """The door is told all that is known of the caller, and the session's first input is that its caller is there."""
    _, seat = await bench.caller()
    asked = seat.bootstrap
    kind = bench.target.transport.info.kind
    require(
        asked.schema_version == CORE_SCHEMA_VERSION,
        f"schema_version {asked.schema_version!r} in the bootstrap",
    )
    require(asked.transport_kind == kind, f"transport_kind {asked.transport_kind!r}, and info says {kind!r}")
    require(asked.tenant_id, "the bootstrap has no tenant")
    require(asked.requested_at_ms > 0, "the bootstrap has no time")
    first = seat.inputs[0]
    require(
        isinstance(first, i.ConnectionChanged) and first.state is ConnectionState.CONNECTED,
        f"the session's first input is {type(first).__name__}, not that its caller is connected",
    )


async def _apart(bench: Bench) -> None:
    """What one caller says is heard in its session alone, and what is said to it by it alone."""
    one, first = await bench.caller()
    other, second = await bench.caller()
    await one.speak(VOICE)
    await bench.until(lambda: any(_sound(first)), "the first caller is not heard")
    first.say(VOICE)
    await bench.until(lambda: _played(one), "the first caller hears nothing")
    await bench.settle()
    require(not any(_sound(second)), "what one caller said came into the session of another")
    require(not _played(other), "what was said to one caller another heard")


async def _refused(bench: Bench) -> None:
    """A caller whom the door refuses is sent away; the next is let in."""
    bench.door.refusing = Refused("capacity_reject", "no place is free", 1_000)
    peer: Peer | None = None
    with suppress(Exception):  # how a peer learns of it is its own affair
        peer = await bench.target.connect()
    if peer is not None:
        turned_away = peer
        await bench.until(lambda: turned_away.closed is not None, "a caller was refused, and left waiting")
    bench.door.refusing = None
    await bench.caller()


# ---- what comes in --------------------------------------------------------------------------------------------------


async def _hears(bench: Bench) -> None:
    """A caller's audio comes in whole, in order, under rising sequence numbers."""
    peer, seat = await bench.caller()
    await peer.speak(VOICE)
    wanted = b"".join(VOICE)
    exact = bench.target.exact
    await bench.until(
        lambda: wanted in _sound(seat) if exact else len(_sound(seat)) >= len(wanted),
        "what the caller said did not come in whole",
    )
    stream = AudioStreamCheck()
    for received in seat.audio:
        for violation in stream.feed(received.audio):
            raise CheckFailedError(f"{violation.code}: {violation.message}")
    numbers = [received.transport_sequence for received in seat.audio]
    require(numbers == sorted(set(numbers)), "the transport's sequence numbers do not rise")


async def _goes_on(bench: Bench) -> None:
    """A session without room loses what it had no room for, and nothing else."""
    peer, seat = await bench.caller()
    seat.full = True
    await peer.speak(VOICE)
    await bench.settle()
    seat.full = False
    await peer.speak(VOICE)
    await bench.until(lambda: any(_sound(seat)), "after the session had no room for a while, nothing came in")


async def _survives_garbage(bench: Bench) -> None:
    """Bytes that mean nothing cost their sender at most; others do not notice."""
    bad, _ = await bench.caller()
    good, seat = await bench.caller()
    await bad.garbage()
    await bench.settle()
    await good.speak(VOICE)
    await bench.until(lambda: any(_sound(seat)), "after one caller's garbage another is not heard")
    await bench.caller()


# ---- what goes out --------------------------------------------------------------------------------------------------


async def _speaks(bench: Bench) -> None:
    """What is sent to the line comes to the caller, in order."""
    peer, seat = await bench.caller()
    seat.say(VOICE)
    wanted = b"".join(VOICE)
    await bench.until(lambda: len(_played(peer)) >= len(wanted), "not all that was said came to the caller")
    if bench.target.exact:
        require(_played(peer) == wanted, "what was said came changed, or in another order")


async def _announces(bench: Bench) -> None:
    peer, seat = await bench.caller()
    seat.announce(SignalName.TURN_OPEN)
    await bench.until(
        lambda: any(getattr(payload, "signal", None) == SignalName.TURN_OPEN for payload in peer.heard),
        "an announced signal did not come to the caller",
    )


async def _calm_line(bench: Bench) -> None:
    """A line raises nothing, whatever it is told, with its caller there, gone, or after it was closed."""
    peer, seat = await bench.caller()
    _tell_all(seat)
    await peer.vanish()
    _tell_all(seat)
    await bench.settle()
    _tell_all(seat)
    seat.line.close("over")
    seat.line.close("over again")
    _tell_all(seat)
    await bench.settle()


def _tell_all(seat: FakeSeat) -> None:
    line = seat.line
    seat.say(VOICE)
    seat.announce(SignalName.TURN_OPEN)
    for turn_id in ("turn-1", "turn-never-seen"):
        line.pause(turn_id)
        line.resume(turn_id)
        line.stop(turn_id, 0)


async def _hangs_up(bench: Bench) -> None:
    """A line that is closed is closed for its caller too, and silent from then on."""
    peer, seat = await bench.caller()
    seat.line.close("over")
    seat.say(VOICE)
    await bench.until(lambda: peer.closed is not None, "the line was closed, and the caller does not know")
    await bench.settle()
    require(not _played(peer), "after the line was closed it still sent audio")


# ---- endings --------------------------------------------------------------------------------------------------------


async def _left(bench: Bench) -> None:
    peer, seat = await bench.caller()
    await peer.leave()
    await bench.until(lambda: seat.states[-1] in GONE, "a caller hung up, and the session was not told")


async def _vanished(bench: Bench) -> None:
    peer, seat = await bench.caller()
    await peer.vanish()
    await bench.until(lambda: seat.states[-1] in GONE, "a caller vanished, and the session was not told")


async def _stops(bench: Bench) -> None:
    """Stopped, it closes whom it has, takes nobody new, and leaves no task."""
    before = asyncio.all_tasks()
    peers = [(await bench.caller())[0] for _ in range(3)]
    await asyncio.wait_for(bench.target.transport.stop("over"), bench.target.answer_ms_max / 1000)
    await bench.until(
        lambda: all(peer.closed is not None for peer in peers), "stopped, it leaves callers on the line"
    )
    for peer in peers:
        with suppress(NotApplicableError):
            await peer.leave()
    known = len(bench.door.seats)
    with suppress(Exception):
        await bench.target.connect()
    await bench.settle()
    require(len(bench.door.seats) == known, "stopped, it lets a caller in")
    left = [task.get_name() for task in asyncio.all_tasks() - before]
    require(not left, f"stopped, it leaves tasks running: {', '.join(sorted(left))}")


def _sound(seat: FakeSeat) -> bytes:
    """All that came in; a caller who says nothing may send silence."""
    return b"".join(received.audio.data for received in seat.audio)


def _played(peer: Peer) -> bytes:
    return b"".join(getattr(payload, "data", b"") for payload in peer.heard)


ROWS: Final[Sequence[Row]] = [
    ("session", "says what it can do", _describes),
    ("session", "asks for a session, and says that its caller is there", _asks),
    ("session", "keeps callers apart", _apart),
    ("session", "sends away whom the door refuses", _refused),
    ("ingress", "hands in audio whole and in order", _hears),
    ("ingress", "goes on when a session had no room", _goes_on),
    ("ingress", "survives garbage", _survives_garbage),
    ("egress", "passes on audio in order", _speaks),
    ("egress", "passes on signals", _announces),
    ("line", "has lines that raise nothing", _calm_line),
    ("line", "hangs up when told, and is silent then", _hangs_up),
    ("ending", "tells that a caller hung up", _left),
    ("ending", "tells that a caller vanished", _vanished),
    ("ending", "stops", _stops),
]
