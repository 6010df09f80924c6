"""A loudspeaker without sound: plays frames at the pace of a clock, stands still when told, and says what it has played.

Time is handed in, as nanoseconds. A frame that comes when the last one is over has been late, and the ear noticed: the
silence counts as an underrun, not as something heard. Reports say what was really played, never what was received.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rspp.contract.wire import Delivery

NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
# No server may fill a client's memory: what is further ahead than this is not kept.
AHEAD_S_MAX: Final = 60


class Stats(msgspec.Struct):
    """What the ear noticed, over the whole call."""

    underruns: int = 0
    late_ns_max: int = 0
    gap_samples: int = 0
    late_samples: int = 0  # came after their moment
    refused_samples: int = 0  # too far ahead, or of a turn that was stopped


class Playout:
    """Plays one turn at a time; a new turn ends the one before it."""

    def __init__(self, rate: int, *, prebuffer_ms: int = 0, position_ms: int = 200) -> None:
        self.rate = rate
        self.stats = Stats()
        self.turn_id: str | None = None
        self._prebuffer = prebuffer_ms * rate // 1000
        self._position_ns = position_ms * NS_PER_MS
        self._reports: list[Delivery] = []  # bounded: a few a tick, taken after each
        self._begin(None)

    def _begin(self, turn_id: str | None) -> None:
        self.turn_id = turn_id
        self._sound = bytearray()  # bounded: AHEAD_S_MAX; what is ahead of the head
        self._origin: int | None = None  # where the stream begins for us
        self._head = 0  # the next sample to play
        self._at = 0  # when the head stood there
        self._rest_ns = 0  # time that has passed and was no whole sample
        self._end: int | None = None
        self._playing = self._paused = self._stopped = self._done = False
        self._starved_at: int | None = None
        self._reported_at = 0

    # ---- what comes ----------------------------------------------------------------------------------------------

    def start(self, now: int, turn_id: str) -> None:
        """Frames of this turn follow. Told again after a reconnect, it goes on where it was, paused or not: the command to go
        on may have been lost with the former line.
        """
        if turn_id == self.turn_id:
            self.resume(now, turn_id)
            return
        self.advance(now)
        self._begin(turn_id)

    def frame(self, now: int, place: int, pcm: bytes, end: bool = False) -> bytes:
        """Take PCM16 of the current turn; gives what was played meanwhile."""
        played = self.advance(now)
        samples = len(pcm) // 2
        if self._stopped or self.turn_id is None:
            self.stats.refused_samples += samples
            return played
        if self._origin is None:
            self._origin = self._head = place
            self._report("accepted")
        if samples:
            self._put(place, pcm)
        if end:
            self._end = place + samples
        self._go(now)
        return played

    def pause(self, now: int, turn_id: str) -> bytes:
        played = self.advance(now)
        if turn_id == self.turn_id:
            self._paused = True
        return played

    def resume(self, now: int, turn_id: str) -> bytes:
        played = self.advance(now)
        if turn_id == self.turn_id and self._paused:
            self._paused = False
            self._at = now
        return played

    def stop(self, now: int, turn_id: str, keep_ms: int = 0) -> bytes:
        """Throw away what is not played yet, but for `keep_ms` past the head."""
        played = self.advance(now)
        if turn_id == self.turn_id and not self._stopped:
            self._stopped, self._paused, self._at = True, False, now
            # What has not begun is not to be kept: it would never begin.
            del self._sound[2 * (keep_ms * self.rate // 1000) * self._playing :]
            self._report("position")
        return played

    # ---- the clock -----------------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Is there anything left that time will change?"""
        return self.turn_id is not None and self._origin is not None and not self._done

    @property
    def audible(self) -> bool:
        return self._playing and not self._paused and bool(self._sound)

    @property
    def heard_ms(self) -> int:
        """How much of the turn has been played."""
        return self._head * 1000 // self.rate

    @property
    def buffered_ms(self) -> int:
        return len(self._sound) * 500 // self.rate

    def advance(self, now: int) -> bytes:
        """Play up to now; gives the sound that was played."""
        played = self._play(now) if self._playing and not self._paused else b""
        if self._origin is not None and self._over():
            self._finish()
        elif self._playing and not self._paused and now - self._reported_at >= self._position_ns:
            self._reported_at = now
            self._report("position")
        return played

    def reports(self) -> list[Delivery]:
        """What has to be told to the server, each once."""
        due, self._reports = self._reports, []
        return due

    def _play(self, now: int) -> bytes:
        elapsed = now - self._at + self._rest_ns
        due = max(0, elapsed * self.rate // NS_PER_S)
        there = len(self._sound) // 2
        if due < there:
            self._rest_ns = elapsed - due * NS_PER_S // self.rate
        elif self._starved_at is None:
            # It ran dry somewhere between then and now.
            self._starved_at = self._at + (there * NS_PER_S // self.rate) - self._rest_ns
            self._rest_ns = 0
        played = bytes(self._sound[: 2 * min(due, there)])
        del self._sound[: len(played)]
        self._head += len(played) // 2
        self._at = now
        return played

    def _put(self, place: int, pcm: bytes) -> None:
        """Lay the sound at its place: a gap before it is silence, what is past is not played any more."""
        edge = self._head + len(self._sound) // 2
        if place < edge:
            late = min(edge - place, len(pcm) // 2)
            self.stats.late_samples += late
            pcm, place = pcm[2 * late :], place + late
        ahead = place + len(pcm) // 2 - self._head
        if ahead > AHEAD_S_MAX * self.rate:
            self.stats.refused_samples += len(pcm) // 2
            return
        gap = max(0, place - edge) if pcm else 0
        self.stats.gap_samples += gap
        self._sound += bytes(2 * gap) + pcm

    def _go(self, now: int) -> None:
        """Begin, or go on after a silence that should not have been."""
        if not self._sound:
            return
        if not self._playing:
            if len(self._sound) // 2 >= self._prebuffer or self._end is not None:
                self._playing, self._at, self._reported_at = True, now, now
                self._report("started")
        elif self._starved_at is not None and not self._paused:
            self.stats.underruns += 1
            self.stats.late_ns_max = max(self.stats.late_ns_max, now - self._starved_at)
        self._starved_at = None

    def _over(self) -> bool:
        if self._sound or self._done:
            return False
        return self._stopped or (self._end is not None and self._head >= self._end)

    def _finish(self) -> None:
        self._done, self._playing = True, False
        self._report("position" if self._stopped else "completed")

    def _report(self, what: str) -> None:
        assert self.turn_id is not None
        heard = self.heard_ms if what in ("position", "completed") else 0
        self._reports.append(Delivery(what=what, turn_id=self.turn_id, heard_ms=heard))  # type: ignore[arg-type]
