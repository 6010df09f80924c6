"""What every Transport must do: bring callers, hand in what they send in order, pass on what is said to them, and let go.

    checks = transport.conformance(lambda: TransportTarget(transport=WebSocketTransport(...), connect=dial))

`connect` is the other side: it brings a caller of the transport's own kind, as a `Peer`, once the transport is started.
What it must do about sessions stands in `transport_session`, about the playing of turns in `transport_playback`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from rspp.contract.signals import SignalName
from rspp.contract.streams import AudioStreamCheck
from rspp.kernel import inputs as i
from rspp.testing.conformance import transport_playback, transport_session
from rspp.testing.conformance.checks import Check, CheckFailedError, NotApplicableError, require
from rspp.testing.conformance.fake_door import FakeSeat
from rspp.testing.conformance.transport_bench import (
    GONE,
    VOICE,
    VOICE_MS,
    Bench,
    Body,
    Peer,
    Row,
    TransportTarget,
    sound_in,
    sound_ms,
    sound_out,
)
from rspp.testing.conformance.trial import FRAME_MS

__all__ = ["Bench", "Peer", "TransportTarget", "conformance"]


def conformance(make: Callable[[], TransportTarget]) -> list[Check]:
    """The suite. Each check starts a fresh transport and stops it."""
    return [
        Check(category, name, _bound(body, make)) for category, name, body in (*transport_session.ROWS, *ROWS)
    ]


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


# ---- what comes in --------------------------------------------------------------------------------------------------


async def _hears(bench: Bench) -> None:
    """A caller's audio comes in whole, in order, under rising sequence numbers."""
    peer, seat = await bench.caller()
    await peer.speak(VOICE)
    wanted = b"".join(VOICE)
    exact = bench.target.exact
    await bench.until(
        lambda: wanted in sound_in(seat) if exact else len(sound_in(seat)) >= len(wanted),
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
    await bench.until(
        lambda: any(sound_in(seat)), "after the session had no room for a while, nothing came in"
    )


async def _survives_garbage(bench: Bench) -> None:
    """Bytes that mean nothing cost their sender at most; others do not notice."""
    bad, _ = await bench.caller()
    good, seat = await bench.caller()
    await bad.garbage()
    await bench.settle()
    await good.speak(VOICE)
    await bench.until(lambda: any(sound_in(seat)), "after one caller's garbage another is not heard")
    await bench.caller()


async def _takes_words(bench: Bench) -> None:
    """What a caller types and presses comes in as it was sent, in order, under rising sequence numbers."""
    info = bench.target.transport.info
    if not info.ingress_control:
        raise NotApplicableError("its info says that callers control nothing")
    peer, seat = await bench.caller()
    claims = "callers can type and press keys"
    for number in range(3):
        await bench.can(peer.write(f"word {number}, \u00e4\U0001f600"), claims)
        await bench.can(peer.press(str(number)), claims)
    await bench.until(lambda: len(seat.words) == 6, "what a caller typed and pressed did not come in whole")
    found = [one.text if isinstance(one, i.TextReceived) else (one.signal, one.value) for one in seat.words]
    wanted: list[object] = []
    for number in range(3):
        wanted += [f"word {number}, \u00e4\U0001f600", ("digit", str(number))]
    require(found == wanted, f"what a caller typed and pressed came in as {found}")
    numbers = [one.transport_sequence for one in seat.words]
    require(numbers == sorted(set(numbers)), "the sequence numbers of words and keys do not rise")


# ---- what goes out --------------------------------------------------------------------------------------------------


async def _speaks(bench: Bench) -> None:
    """What is sent to the line comes to the caller, in order."""
    peer, seat = await bench.caller()
    seat.say(VOICE, end=True)
    wanted = b"".join(VOICE)
    # A codec that changes the samples may lose a part of a frame where the sound begins.
    least_ms = VOICE_MS if bench.target.exact else VOICE_MS - FRAME_MS
    await bench.until(lambda: sound_ms(peer) >= least_ms, "not all that was said came to the caller")
    if bench.target.exact:
        require(sound_out(peer) == wanted, "what was said came changed, or in another order")


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
    with suppress(NotApplicableError):
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
    require(not sound_out(peer), "after the line was closed it still sent audio")


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


ROWS: Final[Sequence[Row]] = [
    ("ingress", "hands in audio whole and in order", _hears),
    ("ingress", "goes on when a session had no room", _goes_on),
    ("ingress", "hands in words and keys in order", _takes_words),
    ("ingress", "survives garbage", _survives_garbage),
    ("egress", "passes on audio in order", _speaks),
    ("egress", "passes on signals", _announces),
    *transport_playback.ROWS,
    ("line", "has lines that raise nothing", _calm_line),
    ("line", "hangs up when told, and is silent then", _hangs_up),
    ("ending", "tells that a caller hung up", _left),
    ("ending", "tells that a caller vanished", _vanished),
    ("ending", "stops", _stops),
]
