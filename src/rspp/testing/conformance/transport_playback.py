"""What a transport does with the audio of a turn: plays it, holds it, throws it away, and tells what became of it.

All of it is seen in the caller's own reports. A transport whose info promises none is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from rspp.testing.conformance.checks import NotApplicableError, require
from rspp.testing.conformance.fake_door import FakeSeat
from rspp.testing.conformance.transport_bench import Bench, Row
from rspp.testing.conformance.trial import FRAME_MS, hum

ANSWER_MS: Final = 500
ANSWER: Final = tuple(frame.data for frame in hum(ANSWER_MS))
ORDER: Final = ("accepted", "started", "position", "completed")


async def _reports(bench: Bench) -> None:
    """Of each turn: that it was accepted, began, and was played whole, in this order, with times that never fall."""
    seat = await _answering(bench)
    await bench.until(lambda: "completed" in _whats(seat), "a turn was played, and the session was not told")
    await bench.settle()
    seat.next_turn()
    seat.say(ANSWER, end=True)
    await bench.until(lambda: "completed" in _whats(seat), "of a second turn the session was not told")
    for turn_id in ("turn-1", "turn-2"):
        reports = [report for report in seat.reports if report.turn_id == turn_id]
        whats, heard = [report.what for report in reports], [report.heard_ms for report in reports]
        require(
            whats == sorted(whats, key=ORDER.index), f"reports of a turn out of order: {', '.join(whats)}"
        )
        once = [what for what in ("accepted", "started", "completed") if whats.count(what) != 1]
        require(not once, f"not reported exactly once: {', '.join(once)}")
        require(heard == sorted(heard), f"what was heard of a turn became less: {heard}")
        off = abs(heard[-1] - ANSWER_MS)
        require(off <= FRAME_MS, f"of {ANSWER_MS} ms that were played whole {heard[-1]} were reported")


async def _holds(bench: Bench) -> None:
    """Paused, nothing more of the turn is played; then it goes on where it was, and is played whole."""
    seat = await _answering(bench)
    seat.line.pause("turn-1")
    await bench.settle()
    held = seat.heard_ms
    await asyncio.sleep(ANSWER_MS / 1000)
    require(
        seat.heard_ms <= held + FRAME_MS and "completed" not in _whats(seat), "paused, a turn was played on"
    )
    seat.line.resume("turn-1")
    await bench.until(lambda: "completed" in _whats(seat), "after a pause a turn did not go on to its end")
    missing = ANSWER_MS - seat.heard_ms
    require(missing <= FRAME_MS, f"in a pause {missing} ms of a turn were lost")


async def _throws_away(bench: Bench) -> None:
    """Stopped, a turn is heard no more, and never completed; the next one is played as if it had not been."""
    seat = await _answering(bench)
    seat.line.stop("turn-1", 0)
    seat.say(ANSWER[:1])  # was on its way
    await asyncio.sleep(ANSWER_MS / 1000)
    await bench.settle()
    require("completed" not in _whats(seat), "a turn that was stopped was reported as played whole")
    require(seat.heard_ms < ANSWER_MS, "a turn was stopped, and played to its end")
    seat.next_turn()
    seat.say(ANSWER, end=True)
    await bench.until(lambda: "completed" in _whats(seat), "after a turn was stopped the next is not played")


async def _answering(bench: Bench) -> FakeSeat:
    """A session whose answer has begun to sound at its caller."""
    info = bench.target.transport.info
    if not (info.playback_reports and info.egress_audio):
        raise NotApplicableError("its info says that it reports no playback")
    _, seat = await bench.caller()
    seat.say(ANSWER, end=True)
    await bench.until(
        lambda: "started" in _whats(seat), "a turn began to sound, and the session was not told"
    )
    return seat


def _whats(seat: FakeSeat) -> list[str]:
    """What was reported of the turn that is being spoken."""
    return [report.what for report in seat.reports if report.turn_id == seat.turn_id]


ROWS: Final[Sequence[Row]] = [
    ("line", "tells what became of a turn", _reports),
    ("line", "holds a turn, and lets it go on", _holds),
    ("line", "throws away what was stopped", _throws_away),
]
