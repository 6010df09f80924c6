"""The transport suite passes a plain one in memory, and each broken one fails the checks that are about what it broke."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rspp.contract.event import Audio, Event
from rspp.contract.wire import Delivery
from rspp.contract.words import ConnectionState
from rspp.host.ports import Bootstrap, Refused
from rspp.kernel import inputs as i
from rspp.testing.clock import run_virtual
from rspp.testing.conformance import NotApplicableError, run_suite
from rspp.testing.conformance import transport as suite
from tests.unit.testing.pipe import Pipe, Wire

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


class FirstAudio(Pipe):
    """Hands in audio before it says that its caller is there."""

    def connected(self, wire: Wire) -> None:
        self.took(wire, bytes(640))
        super().connected(wire)


class NoTenant(Pipe):
    def bootstrap(self) -> Bootstrap:
        return Bootstrap(schema_version="v0", transport_kind="pipe", tenant_id="", requested_at_ms=1)


class DiesOfRefusal(Pipe):
    def turned_away(self, wire: Wire, refused: Refused) -> Wire:
        self.door = None
        raise refused


class LeavesRefused(Pipe):
    def turned_away(self, wire: Wire, refused: Refused) -> Wire:
        return wire


class HangsUpOnRefused(Pipe):
    """Without a word."""

    def turned_away(self, wire: Wire, refused: Refused) -> Wire:
        wire.close("")
        return wire


class KeepsRetry(Pipe):
    """Passes on why, and never when to come again."""

    def turned_away(self, wire: Wire, refused: Refused) -> Wire:
        raise Refused(refused.code, refused.message)


class Renames(Pipe):
    def turned_away(self, wire: Wire, refused: Refused) -> Wire:
        raise Refused("error", refused.message, refused.retry_after_ms)


class OpensAnother(Pipe):
    """Who comes back is a new caller."""

    async def again(self, former: Wire) -> Wire:
        return await self.connect()


class EndsAtOnce(Pipe):
    """Takes a lost line for a good-bye."""

    def gone(self, wire: Wire, state: ConnectionState) -> None:
        super().gone(wire, ConnectionState.ENDED)


class KeepsFormer(Pipe):
    """Does not tell the session of its caller's new line."""

    async def again(self, former: Wire) -> Wire:
        seat = former.seat
        assert seat is not None
        seat.attach, attach = lambda line: None, seat.attach  # type: ignore[method-assign]
        try:
            return await super().again(former)
        finally:
            seat.attach = attach  # type: ignore[method-assign]


class ForgetsTheTurn(Pipe):
    """What goes on over a new line is heard, and not taken for a turn."""

    async def again(self, former: Wire) -> Wire:
        wire = await super().again(former)
        wire.__dict__["play"] = lambda event: None
        return wire


class FormerEnds(Pipe):
    """The end of a former line is told to the session that goes on over another."""

    class wire(Wire):  # noqa: N801
        async def leave(self) -> None:
            state = ConnectionState.DISCONNECTED if self.closed else ConnectionState.ENDED
            self.pipe.gone(self, state)


class RaisesTheDead(Pipe):
    async def again(self, former: Wire) -> Wire:
        wire = self.wire(self)
        wire.seat = former.seat
        self.wires.append(wire)
        former.close("taken over")
        assert wire.seat is not None
        wire.seat.attach(wire)
        self.connected(wire)
        return wire


class CannotReturn(Pipe):
    """Says that its callers can come back, and they cannot."""

    async def again(self, former: Wire) -> Wire:
        raise NotApplicableError("not written yet")


class LosesKeys(Pipe):
    def said(self, wire: Wire, received: i.Input) -> None:
        if not isinstance(received, i.ControlReceived):
            super().said(wire, received)


class KeysLater(Pipe):
    """Words overtake keys."""

    def said(self, wire: Wire, received: i.Input) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.05 if isinstance(received, i.ControlReceived) else 0, super().said, wire, received)


class OneNumber(Pipe):
    def said(self, wire: Wire, received: i.Input) -> None:
        wire.words = 0
        super().said(wire, received)


class Ascii(Pipe):
    def said(self, wire: Wire, received: i.Input) -> None:
        if isinstance(received, i.TextReceived):
            text = received.text.encode("ascii", "replace").decode()
            received = i.TextReceived(text, received.transport_sequence)
        super().said(wire, received)


class NeverReports(Pipe):
    class wire(Wire):  # noqa: N801
        def tick(self) -> None: ...


class ReportsTwice(Pipe):
    class wire(Wire):  # noqa: N801
        def report(self, report: Delivery) -> i.DeliveryReported:
            told = super().report(report)
            if told.what == "completed":
                self.pipe.tell(self, told)
            return told


class ReportsWhatCame(Pipe):
    """Not what was heard."""

    class wire(Wire):  # noqa: N801
        def report(self, report: Delivery) -> i.DeliveryReported:
            came = sum(payload.samples for payload in self.heard if isinstance(payload, Audio))
            return i.DeliveryReported(report.what, report.turn_id, came // 16 + 200)


class ReportsLess(Pipe):
    class wire(Wire):  # noqa: N801
        def report(self, report: Delivery) -> i.DeliveryReported:
            return i.DeliveryReported(report.what, report.turn_id, 1_000 - report.heard_ms)


class PlaysOn(Pipe):
    class wire(Wire):  # noqa: N801
        def pause(self, turn_id: str) -> None: ...


class PausesForGood(Pipe):
    class wire(Wire):  # noqa: N801
        def resume(self, turn_id: str) -> None: ...


class PauseIsStop(Pipe):
    class wire(Wire):  # noqa: N801
        def pause(self, turn_id: str) -> None:
            self.stop(turn_id, 0)


class SkipsThePause(Pipe):
    """What would have sounded meanwhile is gone."""

    class wire(Wire):  # noqa: N801
        def pause(self, turn_id: str) -> None:
            super().pause(turn_id)
            del self.playout._sound[-8_000:]


class NeverStops(Pipe):
    class wire(Wire):  # noqa: N801
        def stop(self, turn_id: str, keep_ms: int) -> None: ...


class StopsForGood(Pipe):
    """After one turn was stopped it is mute."""

    class wire(Wire):  # noqa: N801
        stopped = False

        def stop(self, turn_id: str, keep_ms: int) -> None:
            self.stopped = True
            super().stop(turn_id, keep_ms)

        def play(self, event: Event) -> None:
            if not self.stopped:
                super().play(event)


class Crossed(Pipe):
    """Everything comes into the session of whoever was last."""

    def took(self, wire: Wire, frame: bytes) -> None:
        super().took(self.wires[-1], frame)


class Repeats(Pipe):
    """A sequence number that stands still."""

    def took(self, wire: Wire, frame: bytes) -> None:
        super().took(wire, frame)
        wire.sequence = 0


class Shuffles(Pipe):
    held: bytes | None = None

    def took(self, wire: Wire, frame: bytes) -> None:
        held, self.held = self.held, None
        if held is None:
            self.held = frame
            return
        super().took(wire, frame)
        super().took(wire, held)


class GivesUp(Pipe):
    """Takes a full session for a dead one."""

    def took(self, wire: Wire, frame: bytes) -> None:
        assert wire.seat is not None
        if not getattr(wire, "dead", False):
            wire.__dict__["dead"] = not wire.seat.ingest(i.MalformedReceived("probe", "$", ""))
        if not getattr(wire, "dead", False):
            super().took(wire, frame)


class Poisoned(Pipe):
    def garbage(self, wire: Wire) -> None:
        self.door = None
        for other in self.wires:
            other.close("protocol error")
            other.seat = DEAF

    def tell(self, wire: Wire, received: i.Input) -> bool:
        return wire.seat is not DEAF and super().tell(wire, received)


DEAF: Any = object()


class RaisingLine(Pipe):
    class wire(Wire):  # noqa: N801
        def stop(self, turn_id: str, keep_ms: int) -> None:
            raise BrokenPipeError("the socket is closed")


class SendsAfterClose(Pipe):
    class wire(Wire):  # noqa: N801
        def send(self, event: Event) -> None:
            self.heard.append(event.payload)
            self.play(event)


class KeepsOpen(Pipe):
    class wire(Wire):  # noqa: N801
        def close(self, reason: str) -> None:
            if reason != "over":
                super().close(reason)


class LastFirst(Pipe):
    class wire(Wire):  # noqa: N801
        def send(self, event: Event) -> None:
            if self.closed is None:
                self.heard.insert(0, event.payload)
                self.play(event)


class Mute(Pipe):
    class wire(Wire):  # noqa: N801
        def announce(self, event: Event) -> None: ...


class Forgets(Pipe):
    def gone(self, wire: Wire, state: ConnectionState) -> None:
        wire.close("gone")


class Leaks(Pipe):
    async def connect(self) -> Wire:
        wire = await super().connect()
        wire.__dict__["task"] = asyncio.get_running_loop().create_task(asyncio.sleep(1_000))
        return wire


class StaysOpen(Pipe):
    async def stop(self, reason: str) -> None:
        for wire in self.wires:
            wire.close(reason)


WHY = "tells whom it sends away why, and when to come again"
AWAY = "sends away whom the door refuses"
BACK = "takes a caller back into its session"
LAST = "gives the line to who came last"
OVER = "takes nobody back into a session that is over"
WORDS = "hands in words and keys in order"
TOLD = "tells what became of a turn"
HOLDS = "holds a turn, and lets it go on"
THROWS = "throws away what was stopped"
ASKS = "asks for a session, and says that its caller is there"
HEARS = "hands in audio whole and in order"
APART = "keeps callers apart"


@pytest.mark.parametrize(
    ("kind", "caught"),
    [
        (Pipe, []),
        (FirstAudio, [ASKS]),
        (NoTenant, [ASKS]),
        (DiesOfRefusal, [AWAY, WHY]),
        (LeavesRefused, [AWAY, WHY]),
        (HangsUpOnRefused, [WHY]),
        (KeepsRetry, [WHY]),
        (Renames, [WHY]),
        (OpensAnother, [BACK, LAST, OVER]),
        (EndsAtOnce, [BACK]),
        (KeepsFormer, [BACK]),
        (ForgetsTheTurn, [BACK]),
        (FormerEnds, [LAST]),
        (RaisesTheDead, [OVER]),
        (CannotReturn, [BACK, LAST]),
        (LosesKeys, [WORDS]),
        (KeysLater, [WORDS]),
        (OneNumber, [WORDS]),
        (Ascii, [WORDS]),
        (NeverReports, [BACK, TOLD, HOLDS, THROWS]),
        (ReportsTwice, [TOLD]),
        (ReportsWhatCame, [TOLD, THROWS]),
        (ReportsLess, [TOLD, THROWS]),
        (PlaysOn, [HOLDS]),
        (PausesForGood, [HOLDS]),
        (PauseIsStop, [HOLDS]),
        (SkipsThePause, [HOLDS]),
        (NeverStops, [THROWS]),
        (StopsForGood, [THROWS]),
        (Crossed, [APART]),
        (Repeats, [HEARS]),
        (Shuffles, [HEARS]),
        (GivesUp, ["goes on when a session had no room"]),
        (Poisoned, ["survives garbage"]),
        (RaisingLine, [THROWS, "has lines that raise nothing"]),
        (SendsAfterClose, ["hangs up when told, and is silent then"]),
        (KeepsOpen, [OVER, "hangs up when told, and is silent then", "stops"]),
        (LastFirst, ["passes on audio in order"]),
        (Mute, ["passes on signals"]),
        (Forgets, [BACK, OVER, "tells that a caller hung up", "tells that a caller vanished"]),
        (Leaks, ["stops"]),
        (StaysOpen, ["stops"]),
    ],
)
def test_a_broken_transport_is_caught_by_exactly_its_checks(kind: type[Pipe], caught: list[str]) -> None:
    def make() -> suite.TransportTarget:
        pipe = kind()
        return suite.TransportTarget(transport=pipe, connect=pipe.connect)

    report = run_suite(suite.conformance(make), "transport", run_virtual)
    assert report.failed() == caught, report.reasons()
