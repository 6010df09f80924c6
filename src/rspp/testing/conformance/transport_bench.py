"""A caller as a test of a transport holds it, and the bench at which the transport is tried."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import msgspec

from rspp.contract.event import Audio, Payload
from rspp.contract.words import ConnectionState
from rspp.host.ports import Refused, Transport
from rspp.testing.conformance.checks import CheckFailedError, NotApplicableError
from rspp.testing.conformance.fake_door import FakeDoor, FakeSeat
from rspp.testing.conformance.trial import hum

VOICE_MS: Final = 200
VOICE: Final = tuple(frame.data for frame in hum(VOICE_MS))
GONE: Final = (ConnectionState.DISCONNECTED, ConnectionState.RECONNECTING, ConnectionState.ENDED)


class Peer(Protocol):
    """A caller, as the test holds it. What its kind of wire cannot do raises `NotApplicableError`."""

    @property
    def heard(self) -> Sequence[Payload]:
        """What it was sent, audio as PCM16 with its rate, in the order in which it came."""
        ...

    @property
    def closed(self) -> str | None:
        """Why the other side hung up; None while it has not."""
        ...

    async def speak(self, frames: Sequence[bytes]) -> None:
        """Send these frames of PCM16 at 16 kHz."""
        ...

    async def write(self, text: str) -> None:
        """Send typed words."""
        ...

    async def press(self, digit: str) -> None:
        """Press a key of the telephone."""
        ...

    async def come_back(self) -> Peer:
        """Take the session up again over another line; raises `Refused` as `connect` does."""
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
    """A transport, its callers, and how patient to be. `exact` False: its codec changes the samples.

    `connect` brings a caller. One who is not let in raises `Refused`, with what it was told over its own kind of wire.
    """

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

    async def turned_away(self, coming: Awaitable[Peer], otherwise: str) -> Refused:
        """A caller who must not be let in: what it was told. One who is let in, or left waiting, fails the check."""
        try:
            async with asyncio.timeout(self.target.answer_ms_max / 1000):
                peer = await coming
        except Refused as told:
            return told
        except TimeoutError:
            raise CheckFailedError(f"{otherwise}, and left waiting") from None
        await self.until(lambda: peer.closed is not None, f"{otherwise}, and left waiting")
        return Refused(peer.closed or "", "closed")

    async def can(self, doing: Awaitable[None], what: str) -> None:
        """Do what the transport says of itself that its callers can."""
        try:
            await doing
        except NotApplicableError as why:
            raise CheckFailedError(f"info says that {what}, and no caller can: {why}") from None

    async def settle(self) -> None:
        await asyncio.sleep(self.target.settle_ms / 1000)


Body = Callable[[Bench], Awaitable[None]]
Row = tuple[str, str, Body]


def sound_in(seat: FakeSeat) -> bytes:
    """All that came in; a caller who says nothing may send silence."""
    return b"".join(received.audio.data for received in seat.audio)


def sound_out(peer: Peer) -> bytes:
    return b"".join(getattr(payload, "data", b"") for payload in peer.heard)


def sound_ms(peer: Peer) -> float:
    """How long all that is that a caller was sent."""
    heard = [payload for payload in peer.heard if isinstance(payload, Audio)]
    return sum(audio.samples * 1000 / audio.rate for audio in heard)
