"""The local append of one process: every session's records go through it into files, and nobody ever waits.

    SessionRecorder -> SessionAppend.append -> room? -> Writer -> segment -> sealed -> the exporter -> release

What waits to be written is bounded in bytes and records; evidence has room of its own, so no amount of detail can starve it.
What was written and is not released yet is bounded, too: an export that stands still costs detail first. A segment is
sealed when it is big enough, when it is old enough (so that export can begin while a call goes on), and at its session's
end. One ticker for all sessions tells them how pressed the recorder is and has them hand on what lies there too long.

Everything here runs on the loop's thread. The files are read by `timeline.segments`, in this process or in the next.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from rspp.contract.errors import LimitReached
from rspp.contract.surface import Coverage, Fact, Level, Row, Surface, Truth
from rspp.host.conditions import kept, reader
from rspp.timeline.meters import RecorderMeters
from rspp.timeline.ports import CLOSED, Kept
from rspp.timeline.segments import Dead, Home, Segment, dead, safe_name
from rspp.timeline.writer import (
    Disk,
    Done,
    MachineDisk,
    Pen,
    Settle,
    Stream,
    Sync,
    Threaded,
    Work,
    Writer,
)

# Every session has its pulse once in this time, a few of them at each tick, so that they do not all flush at once.
PULSE_MS: Final = 200
TICKS: Final = 5
# From where on a pressed recorder says so in the log; each session has its own profile's thresholds.
FILL_LOGGED: Final = 0.5
LAG_LOGGED_MS: Final = 1_000
# Detail goes to the writer twice a second: waking it costs more than it writes. Evidence takes all that waits with it.
TICKS_A_LOT: Final = 500 // PULSE_MS * TICKS
# At most one word of it in a second, however it comes and goes.
TICKS_A_SNAPSHOT: Final = 1_000 // PULSE_MS * TICKS
CLOSE_MS: Final = 2_000
# Of a hundred parts of what may wait on disk: from here on somebody should know.
NEARLY_FULL: Final = 80


class SpoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How much may wait, how big and old a segment gets, and when the disk is waited for (see `Sync`).

    The contract's capacities, 512 details and 128 of evidence, are one recorder's. A detail here is a batch of up to 128
    inputs; the room for evidence is that of a process with many sessions.
    """

    detail_records_max: int = 512
    detail_bytes_max: int = 32 * 1024 * 1024
    reserved_records_max: int = 1_024
    reserved_bytes_max: int = 8 * 1024 * 1024
    kept_bytes_max: int = 4 * 1024 * 1024 * 1024  # on disk, until the exporter has released it
    segment_bytes_max: int = 1024 * 1024
    segment_age_ms: int = 30_000  # a file costs more to make than all that is written into it
    sync: Sync = Sync.NEVER


class Member(Protocol):
    """Whoever has a pulse: a session's recorder."""

    def pulse(self, fill: float, lag_ms: int) -> None: ...


M = TypeVar("M", bound=Member)
# Makes whoever writes: a thread, or `Inline` where time is virtual.
Hand = Callable[[Pen, asyncio.AbstractEventLoop, Settle], Writer]


class SessionAppend:
    """One recorder's way into the spool (`timeline.session.Append`)."""

    __slots__ = ("_spool", "bytes", "closed", "since", "slot", "stream")

    def __init__(self, spool: Spool, stream: Stream) -> None:
        self._spool = spool
        self.stream = stream
        self.bytes = 0  # in the segment that is being written
        self.since = 0.0  # when its first record was taken
        self.slot: dict[SessionAppend, Member] | None = None
        self.closed = False

    def append(self, data: bytes, *, reserved: bool = False, kept: Kept | None = None) -> bool:
        """Take these records if there is room; of what is refused here, `kept` hears nothing."""
        return self._spool._take(self, data, reserved, kept)

    def close(self) -> None:
        self._spool._left(self)


class _Room:
    """How much waits in one of the two queues."""

    __slots__ = ("bytes", "bytes_max", "records", "records_max")

    def __init__(self, records_max: int, bytes_max: int) -> None:
        self.records_max, self.bytes_max = records_max, bytes_max
        self.records = self.bytes = 0

    @property
    def fill(self) -> float:
        return max(self.records / self.records_max, self.bytes / self.bytes_max)

    def take(self, size: int) -> bool:
        if self.records >= self.records_max or self.bytes + size > self.bytes_max:
            return False
        self.records += 1
        self.bytes += size
        return True

    def leave(self, size: int) -> None:
        self.records -= 1
        self.bytes -= size


SURFACE: Final = Surface(
    name="recordings",
    owner=__name__,
    summary="How recording fares in each process: at the levels that were asked for, at lower ones, or not at all for want of room.",
    aggregate_type="recorder",
    storage="memory, said in kv:conditions",
    truth=Truth.CANONICAL,
    read="rspp recordings list",
    affects_health=True,
    affects_actions=True,
    coverage=Coverage.JOURNAL,
    kept=kept(),
    row=reader("recordings"),
)


class Spool:
    """One process's local append. `start` and `close` it in a running loop; between them it never raises."""

    def __init__(
        self,
        data: Path,
        settings: SpoolSettings | None = None,
        *,
        disk: Disk | None = None,
        hand: Hand = Threaded,
        meters: RecorderMeters | None = None,
        on_sealed: Callable[[Segment], None] | None = None,
    ) -> None:
        self.data = data
        self.settings = s = settings or SpoolSettings()
        self.meters = meters or RecorderMeters()
        self.on_sealed = on_sealed
        self._disk = disk or MachineDisk()
        self._hand = hand
        self._detail = _Room(s.detail_records_max, s.detail_bytes_max)
        self._reserved = _Room(s.reserved_records_max, s.reserved_bytes_max)
        self._waiting: deque[Work] = (
            deque()
        )  # bounded: by the two rooms, and the ends of segments between them
        self._lot: list[
            Work
        ] = []  # bounded: likewise; what the writer is given at the next tick, or with evidence
        self._sealed: dict[Path, Segment] = {}  # bounded: kept_bytes_max
        self._kept_bytes = 0
        self._adopted: list[Dead] = []  # bounded: by the folders of dead processes
        self._slots: tuple[dict[SessionAppend, Member], ...] = tuple({} for _ in range(TICKS))
        self._runs = self._ticks = 0
        self._ticker: asyncio.TimerHandle | None = None
        self._lag_ms = 0
        self._logged = False
        self._logged_at = -TICKS_A_SNAPSHOT
        self._home: Home | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: Writer | None = None
        self._finished: asyncio.Future[None] | None = None

    # ---- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Lock a folder of our own; raises LimitReached if the disk does not even let us do that."""
        self._loop = asyncio.get_running_loop()
        boot = f"{time.time_ns()}-{os.getpid()}"
        try:
            self._home = Home(self.data, boot)
        except OSError as error:
            why = f"nothing can be recorded under {self.data.name}: {error.strerror}"
            raise LimitReached("spool_unusable", why) from error
        self._finished = self._loop.create_future()
        self._writer = self._hand(Pen(self._disk, self.settings.sync), self._loop, self._settle)

    async def drained(self, deadline_ms: int = CLOSE_MS) -> bool:
        """Wait until all that was taken until now is in its file (or has failed); False if that took too long."""
        if not self._waiting:
            return True
        if self._writer is not None:
            self._hand_over(self._writer)
        last = self._waiting[-1]
        if last.settled is None:
            last.settled = asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait([last.settled], timeout=deadline_ms / 1000)
        return bool(done)

    async def close(self, deadline_ms: int = CLOSE_MS) -> bool:
        """Take nothing more, and wait for what was taken; False if the disk did not answer in time.

        What is not released stays in the folder, for the next process. If the disk hangs the lock stays, too.
        """
        writer, self._writer = self._writer, None
        if writer is None or self._finished is None:
            return True
        for slot in self._slots:
            for append in list(slot):
                self._left(append)
        self._hand_over(writer)
        if self._ticker is not None:
            self._ticker.cancel()
        writer.finish()
        done, _ = await asyncio.wait([self._finished], timeout=deadline_ms / 1000)
        if not done:
            self._give_up()
            return False
        for folder in (self._home, *self._adopted):
            if folder is not None:
                folder.close()
        self._adopted = []
        return True

    def _give_up(self) -> None:
        """Whoever waits for word of what the disk has not taken is told that nobody will ever know."""
        waiting, self._waiting = self._waiting, deque()  # bounded: it stays empty
        for work in waiting:
            if work.kept is not None:
                work.kept(CLOSED)

    # ---- sessions ----------------------------------------------------------------------------------------------------

    def open(self, session_id: str, tenant_id: str, member: Callable[[SessionAppend], M]) -> M:
        """A way in for one recorder, which is made with it and has its pulse until it closes it."""
        assert self._home is not None, "the spool was not started"
        self._runs += 1
        run = f"{self._home.boot}.{self._runs:06d}"
        folder = self._home.path / f"{safe_name(session_id)}.{self._runs}"
        append = SessionAppend(self, Stream(folder, session_id, tenant_id, run))
        made = member(append)
        append.slot = self._slots[self._runs % TICKS]
        append.slot[append] = made
        if self._ticker is None and self._loop is not None:
            self._ticker = self._loop.call_later(PULSE_MS / 1000 / TICKS, self._tick)
        return made

    def _take(self, append: SessionAppend, data: bytes, reserved: bool, kept: Kept | None) -> bool:
        size = len(data)
        writer, room = self._writer, self._reserved if reserved else self._detail
        if writer is None or append.closed or self._disk_is_full(reserved) or not room.take(size):
            return False
        if append.bytes + size > self.settings.segment_bytes_max:
            self._seal(append)
        if not append.bytes:
            append.since = self._now()
        append.bytes += size
        self._give(Work(append.stream, data, reserved=reserved, kept=kept))
        if reserved:
            self._hand_over(writer)
        return True

    def _disk_is_full(self, reserved: bool) -> bool:
        """Is as much on disk as may be, with nobody to take it away? Evidence has a little more than detail."""
        more = self.settings.reserved_bytes_max if reserved else 0
        return self._kept_bytes >= self.settings.kept_bytes_max + more

    def _give(self, work: Work) -> None:
        self._waiting.append(work)
        self._lot.append(work)

    def _hand_over(self, writer: Writer) -> None:
        if self._lot:
            lot, self._lot = self._lot, []
            now = self._now()
            for work in lot:
                work.at = now
            writer.give(lot)

    def _seal(self, append: SessionAppend) -> None:
        if append.bytes:
            append.bytes = 0
            self._give(Work(append.stream, None))

    def _left(self, append: SessionAppend) -> None:
        """The recorder's session is over: what it wrote is sealed, and handed over at once: there may be no next tick."""
        if append.closed:
            return
        append.closed = True
        self._seal(append)
        if append.slot is not None:
            append.slot.pop(append, None)
        if self._writer is not None:
            self._hand_over(self._writer)

    def _settle(self, done: Sequence[Done]) -> None:
        """What became of the work that was given, in its order; nothing at all means that it was the last."""
        if not done:
            if self._finished is not None and not self._finished.done():
                self._finished.set_result(None)
            return
        for work, why, sealed in done:
            if not self._waiting or self._waiting[0] is not work:
                return  # it was given up
            self._waiting.popleft()
            if work.data is not None:
                (self._reserved if work.reserved else self._detail).leave(len(work.data))
                if why is None:
                    self._kept_bytes += len(work.data)
                    self.meters.written_bytes_total += len(work.data)
                    self.meters.written_records_total += 1
            for segment in sealed:
                self._is_sealed(segment)
            if work.kept is not None:
                work.kept(why)
            if work.settled is not None and not work.settled.done():
                work.settled.set_result(None)

    # ---- for the exporter --------------------------------------------------------------------------------------------

    def sealed(self) -> list[Segment]:
        """Segments that nothing is added to any more and that are not released, in the order in which they were sealed."""
        return list(self._sealed.values())

    def release(self, segment: Segment) -> None:
        """It is kept elsewhere: remove it. A second time does nothing."""
        if self._sealed.pop(segment.path, None) is None:
            return
        self._kept_bytes = max(0, self._kept_bytes - segment.size)
        if self._writer is not None:
            self._give(Work(None, None, path=segment.path))
            self._hand_over(self._writer)

    def adopt(self) -> list[Segment]:
        """Take over what dead processes left, torn tails cut off: listed, and released, like our own.

        It reads the disk, so it may be called on another thread; `on_sealed` hears of them on the loop's.
        """
        assert self._loop is not None, "the spool was not started"
        found = []
        folders = dead(self.data)
        for folder in folders:
            found += folder.segments()
        # In this order: whoever sees that a folder is adopted sees what is in it.
        self._sealed.update((segment.path, segment) for segment in found)
        self._adopted += folders
        self._loop.call_soon_threadsafe(self._took_over, found)
        return found

    def _took_over(self, found: Sequence[Segment]) -> None:
        for segment in found:
            self._kept_bytes += segment.size
            if self.on_sealed is not None:
                self.on_sealed(segment)

    @property
    def adopted(self) -> frozenset[str]:
        """The boots of dead processes whose folders were taken over."""
        return frozenset(folder.path.name for folder in self._adopted)

    def lag(self, ms: int) -> None:
        """How far the export is behind: the age of the oldest segment that the store has not acknowledged."""
        self._lag_ms = ms

    def _is_sealed(self, segment: Segment) -> None:
        self._sealed[segment.path] = segment
        if self.on_sealed is not None:
            self.on_sealed(segment)

    # ---- pressure ----------------------------------------------------------------------------------------------------

    @property
    def fill(self) -> float:
        """How full what holds detail is, from 0 to 1: the queue to the disk, or the disk's share that is not exported yet."""
        return max(self._detail.fill, self._kept_bytes / self.settings.kept_bytes_max)

    @property
    def lag_ms(self) -> int:
        """How late the export is, or the disk itself: since when the writer has had the first piece that it is at."""
        if len(self._waiting) == len(self._lot):
            return self._lag_ms
        return max(self._lag_ms, int((self._now() - self._waiting[0].at) * 1000))

    def rows(self) -> list[Row]:
        """How recording fares here. Bytes tick, so of them only that they are (nearly) too many is told."""
        most, kept = self.settings.kept_bytes_max, self._kept_bytes
        reduced = len(self.meters.reduced)
        state, level, reason, message = "recording", Level.OK, "", ""
        if self._disk_is_full(False):
            state, level, reason = "full", Level.FAILED, "recordings_full"
            message = f"what waits for its export fills the {most} bytes that it may: no detail is recorded"
        elif reduced:
            state, level, reason = "reduced", Level.DEGRADED, "recording_downgraded"
            message = "sessions are recorded at a lower level than they began at, to keep up"
        elif kept * 100 >= most * NEARLY_FULL:
            state, level, reason = "nearly_full", Level.NOTICE, "recordings_nearly_full"
            message = (
                f"what waits for its export takes {NEARLY_FULL} % or more of the {most} bytes that it may"
            )
        facts: dict[str, Fact] = {"bytes_max": most, "reduced": bool(reduced)}
        return [Row(aggregate_id="", state=state, level=level, reason=reason, message=message, facts=facts)]

    def _tick(self) -> None:
        writer = self._writer
        if writer is None or self._loop is None or not any(self._slots):
            self._ticker = None
            return
        self._ticker = self._loop.call_later(PULSE_MS / 1000 / TICKS, self._tick)
        self._ticks += 1
        fill, lag_ms = self.fill, self.lag_ms
        self._log(fill, lag_ms)
        old = self._now() - self.settings.segment_age_ms / 1000
        for append, member in list(self._slots[self._ticks % TICKS].items()):
            member.pulse(fill, lag_ms)
            if append.bytes and append.since <= old:
                self._seal(append)
        if self._ticks % TICKS_A_LOT == 0:
            self._hand_over(writer)

    def _log(self, fill: float, lag_ms: int) -> None:
        pressed = fill >= FILL_LOGGED or lag_ms >= LAG_LOGGED_MS
        if pressed is not self._logged and self._ticks - self._logged_at >= TICKS_A_SNAPSHOT:
            self._logged, self._logged_at = pressed, self._ticks
            self.meters.pressed(fill, lag_ms, sum(map(len, self._slots)), over=not pressed)

    def _now(self) -> float:
        assert self._loop is not None, "the spool was not started"
        return self._loop.time()
