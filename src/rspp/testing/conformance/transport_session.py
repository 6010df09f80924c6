"""Whom a transport lets in, and whom it takes back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from rspp.contract.words import CORE_SCHEMA_VERSION, Codec, ConnectionState
from rspp.host.ports import Refused
from rspp.kernel import inputs as i
from rspp.testing.conformance.checks import NotApplicableError, require
from rspp.testing.conformance.transport_bench import GONE, VOICE, Bench, Peer, Row, sound_in, sound_out

RETRY_MS: Final = 1_500


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
    await bench.until(lambda: any(sound_in(first)), "the first caller is not heard")
    first.say(VOICE)
    await bench.until(lambda: sound_out(one), "the first caller hears nothing")
    await bench.settle()
    require(not any(sound_in(second)), "what one caller said came into the session of another")
    require(not sound_out(other), "what was said to one caller another heard")


async def _refused(bench: Bench) -> None:
    """A caller whom the door refuses is sent away; the next is let in."""
    bench.door.refusing = Refused("capacity_reject", "no place is free", RETRY_MS)
    with suppress(ConnectionError):  # what it is told is the next check's affair
        await bench.turned_away(bench.target.connect(), "a caller was refused")
    require(not bench.door.seats, "a caller was refused, and has a session")
    bench.door.refusing = None
    await bench.caller()


async def _refused_why(bench: Bench) -> None:
    """Who is not let in learns the door's code, and when to try again."""
    for retry_ms in (RETRY_MS, None):
        bench.door.refusing = Refused("capacity_reject", "no place is free", retry_ms)
        told = await bench.turned_away(bench.target.connect(), "a caller was refused")
        require(
            told.code == "capacity_reject", f"refused for capacity_reject, a caller was told {told.code!r}"
        )
        found = told.retry_after_ms
        require(found == retry_ms, f"to be told to try again after {retry_ms} ms, it was told {found}")


# ---- coming back ----------------------------------------------------------------------------------------------------


async def _comes_back(bench: Bench) -> None:
    """Who lost its line finds its session waiting, and is heard in it and hears it, over the new line alone.

    A turn in the middle of which that happened goes on to its end.
    """
    _must_reconnect(bench)
    peer, seat = await bench.caller()
    seat.say(VOICE[:5])
    await bench.until(lambda: sound_out(peer), "a caller hears nothing of its session")
    await peer.vanish()
    await bench.until(lambda: seat.states[-1] in GONE, "a caller vanished, and the session was not told")
    require(
        ConnectionState.ENDED not in seat.states, "a caller that may come back was taken for gone for good"
    )
    back = await _back(bench, peer)
    before, played = len(sound_in(seat)), len(sound_out(peer))
    await back.speak(VOICE)
    await bench.until(lambda: len(sound_in(seat)) > before, "who came back is not heard in its session")
    seat.say(VOICE[5:], end=True)
    await bench.until(lambda: sound_out(back), "who came back hears nothing of its session")
    if bench.target.transport.info.playback_reports:
        await bench.until(
            lambda: any(report.what == "completed" for report in seat.reports),
            "of a turn that went on over a new line the session was not told that it was played",
        )
    require(len(sound_out(peer)) == played, "what is said to who came back goes to the former line")


async def _line_is_taken(bench: Bench) -> None:
    """The last who comes has the line; the former one is closed, and its end is not the session's."""
    _must_reconnect(bench)
    peer, seat = await bench.caller()
    back = await _back(bench, peer)
    await bench.until(lambda: peer.closed is not None, "a line was taken over, and the former one left open")
    with suppress(NotApplicableError):
        await peer.leave()
    await bench.settle()
    require(
        seat.states[-1] is ConnectionState.CONNECTED, f"the end of a former line made it {seat.states[-1]}"
    )
    require(back.closed is None, "the end of a former line closed the new one")


async def _no_way_back(bench: Bench) -> None:
    """A session that is over takes nobody back, whether its host or its caller ended it."""
    _must_reconnect(bench)
    ended, seat = await bench.caller()
    seat.ended = True
    seat.line.close("over")
    await bench.until(lambda: ended.closed is not None, "the line was closed, and the caller does not know")
    left, other = await bench.caller()
    await left.leave()
    await bench.until(lambda: other.states[-1] in GONE, "a caller hung up, and the session was not told")
    await bench.settle()  # the session itself is over a moment later
    for peer, whose in ((ended, seat), (left, other)):
        known = len(whose.states)
        await bench.turned_away(peer.come_back(), "a caller came back to a session that is over")
        require(len(whose.states) == known, "a session that is over was told that its caller is back")
    require(len(bench.door.seats) == 2, "who came back to a session that is over was given another")


def _must_reconnect(bench: Bench) -> None:
    if not bench.target.transport.info.reconnect:
        raise NotApplicableError("its info says that nobody can come back")


async def _back(bench: Bench, peer: Peer) -> Peer:
    """A caller over another line, in the session it had."""
    seat, known = bench.door.seats[-1], len(bench.door.seats)
    told = len(seat.states)
    backs: list[Peer] = []

    async def come() -> None:
        backs.append(await peer.come_back())

    await bench.can(come(), "callers can come back")
    require(len(bench.door.seats) == known, "a caller came back, and was given another session")
    await bench.until(
        lambda: len(seat.states) > told and seat.states[-1] is ConnectionState.CONNECTED,
        "a caller came back, and its session was not told",
    )
    return backs[0]


ROWS: Final[Sequence[Row]] = [
    ("session", "says what it can do", _describes),
    ("session", "asks for a session, and says that its caller is there", _asks),
    ("session", "keeps callers apart", _apart),
    ("session", "sends away whom the door refuses", _refused),
    ("session", "tells whom it sends away why, and when to come again", _refused_why),
    ("session", "takes a caller back into its session", _comes_back),
    ("session", "gives the line to who came last", _line_is_taken),
    ("session", "takes nobody back into a session that is over", _no_way_back),
]
