"""A spool for tests: disks that break their word, a writer in virtual time that may be slow, and its files read again."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from rspp.contract.evidence import TurnEvidence
from rspp.contract.words import RecordingLevel
from rspp.kernel import inputs as i
from rspp.spec import GraphDefinition, voice_template
from rspp.testing.conformance.recorder import sample
from rspp.testing.rig import open_request
from rspp.timeline.ports import Everything
from rspp.timeline.recorders import Recorders, Sampling
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.segments import LOCK, Segment, _boots, _files, _locked, read_segment
from rspp.timeline.session import SessionRecorder
from rspp.timeline.spool import Spool, SpoolSettings
from rspp.timeline.writer import MachineDisk, Pen, Settle, Work


class BadDisk(MachineDisk):
    """The machine's disk, of which each call can be made to fail, or a write to be short."""

    def __init__(self) -> None:
        self.fails: dict[str, int] = {}  # call -> errno
        self.bytes_left: int | None = None  # then it is full
        self.chunk: int | None = None  # the most that one write takes
        self.calls: list[str] = []

    def _may(self, call: str) -> None:
        self.calls.append(call)
        if call in self.fails:
            raise OSError(self.fails[call], call)

    def open(self, path: Path, *, new: bool) -> int:
        self._may("open")
        return super().open(path, new=new)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._may("write")
        size = len(data) if self.chunk is None else min(self.chunk, len(data))
        if self.bytes_left is not None:
            if not self.bytes_left:
                raise OSError(errno.ENOSPC, "full")
            size = min(size, self.bytes_left)
            self.bytes_left -= size
        return super().write(fd, data[:size])

    def cut(self, fd: int, size: int) -> None:
        self._may("cut")
        super().cut(fd, size)

    def sync(self, fd: int) -> None:
        self._may("sync")
        super().sync(fd)


class SlowHand:
    """A writer in virtual time, which takes `delay_s` for each piece of work, and for ever while it hangs."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.hangs = False
        self._queue: list[Work | None] = []
        self._busy = False

    def __call__(self, pen: Pen, loop: asyncio.AbstractEventLoop, settle: Settle) -> SlowHand:
        self._pen, self._loop, self._settle = pen, loop, settle
        return self

    def give(self, works: Sequence[Work]) -> None:
        self._queue += works
        self._go_on()

    def finish(self) -> None:
        self._queue.append(None)
        self._go_on()

    def recover(self) -> None:
        self.hangs, self.delay_s = False, 0.0
        self._go_on()

    def _go_on(self) -> None:
        if self._queue and not self._busy and not self.hangs:
            self._busy = True
            self._loop.call_later(self.delay_s, self._do)

    def _do(self) -> None:
        self._busy = False
        if self.hangs:
            return
        work = self._queue.pop(0)
        self._settle([] if work is None else [(work, *self._pen.do(work))])
        self._go_on()


def graph_at(level: RecordingLevel, graph: GraphDefinition | None = None) -> GraphDefinition:
    graph = graph or voice_template()
    policy = msgspec.structs.replace(graph.recording_policy, level=level)
    return msgspec.structs.replace(graph, recording_policy=policy)


def recorders(spool: Spool, sampling: Sampling | None = None) -> Recorders:
    return Recorders(spool, lambda request, graph: Everything(), sampling, wall_ms=lambda: 1)


def begun(spool: Spool, session_id: str = "s1", level: RecordingLevel = RecordingLevel.L1) -> SessionRecorder:
    """A session that is being recorded, in which nothing has happened yet."""
    request = msgspec.structs.replace(open_request(), session_id=session_id)
    recorder = recorders(spool).begin(request, graph_at(level))
    assert recorder is not None
    recorder.opened(request, graph_at(level))
    return recorder


def segments_in(data: Path) -> list[Segment]:
    """All that stands under a data folder, in order, whoever holds it."""
    found = [read_segment(path) for path in sorted(data.glob("spool/*/*/*.seg"))]
    return [segment for segment in found if segment is not None]


def leftovers(data: Path) -> list[Segment]:
    """What processes that are no more have left, as it stands; nothing is taken over or changed."""
    found = []
    for path in _boots(data):
        lock = _locked(path / LOCK)
        if lock is not None:
            found += [segment for file in _files(path) if (segment := read_segment(file)) is not None]
            os.close(lock)
    return found


def recordings_in(data: Path) -> dict[str, Recording]:
    """Session id -> what is on disk of it."""
    pieces = defaultdict(list)
    for segment in sorted(segments_in(data), key=lambda one: one.part):
        pieces[segment.session_id].append(unframe(segment.read()))
    return {session_id: assemble(found) for session_id, found in pieces.items()}


def evidence(number: int = 1, session_id: str = "s1") -> TurnEvidence:
    return msgspec.structs.replace(sample(number), session_id=session_id)


class Told:
    """What a recorder tells its session."""

    def __init__(self) -> None:
        self.inputs: list[i.Input] = []

    def __call__(self, received: i.Input) -> bool:
        self.inputs.append(received)
        return True

    @property
    def stored(self) -> dict[str, str | None]:
        """Record id -> why it is not kept, or None."""
        return {
            one.record_id: one.reason if not one.ok else None
            for one in self.inputs
            if isinstance(one, i.EvidenceStored)
        }

    @property
    def pressures(self) -> list[i.RecorderPressed]:
        return [one for one in self.inputs if isinstance(one, i.RecorderPressed)]


async def until(come: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for it, in real time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not come():
        assert loop.time() < deadline, "it did not come"
        await asyncio.sleep(0.001)


SMALL = SpoolSettings(detail_records_max=4, reserved_records_max=8)
