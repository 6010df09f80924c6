"""Every recorder that a session may be given keeps to its port; the journal on a disk that fills up, too."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rspp.host.ports import Recorder
from rspp.host.recorder import EVIDENCE_MAX, JournalRecorder, MemoryRecorder
from rspp.testing.conformance import recorder as suite
from rspp.testing.conformance import run_suite
from rspp.testing.conformance.profiles import certify
from rspp.testing.judge import Judge
from rspp.timeline.ports import Everything
from rspp.timeline.recorders import Recorders
from rspp.timeline.records import AnyRecord, Close, Evidence, unframe
from rspp.timeline.spool import Spool
from rspp.timeline.writer import MachineDisk

Make = Callable[[Path], suite.RecorderTarget]


def filled(recorder: Recorder) -> Callable[[], None]:
    """As many turns as it keeps."""

    def fill() -> None:
        for number in range(EVIDENCE_MAX):
            recorder.evidence(f"earlier-{number}", suite.sample(number))

    return fill


def memory(_: Path) -> suite.RecorderTarget:
    made = MemoryRecorder()
    return suite.RecorderTarget(
        recorder=made, kept=lambda: made._kept, stamps=lambda: made.stamps, breaks=filled(made)
    )


def judge(_: Path) -> suite.RecorderTarget:
    made = Judge("s1")
    return suite.RecorderTarget(
        recorder=made, kept=lambda: made.memory._kept, stamps=lambda: made.memory.stamps, breaks=filled(made)
    )


def journal(name: str) -> Make:
    def make(folder: Path) -> suite.RecorderTarget:
        made = JournalRecorder(folder / name)

        def no_space() -> None:
            """From now on its file is one that takes nothing."""
            assert made._file is not None
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, made._file.fileno())
            os.close(full)

        return suite.RecorderTarget(
            recorder=made, kept=lambda: made._memory._kept, stamps=lambda: made.stamps, breaks=no_space
        )

    return make


class NoSpace(MachineDisk):
    """The machine's disk, until it is full."""

    full = False

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        return super().write(fd, data)


def spooled(folder: Path) -> suite.RecorderTarget:
    """The recorder that production has, with its thread and its files."""
    disk = NoSpace()
    spool = Spool(folder, disk=disk)
    spool.start()
    made = Recorders(spool, lambda request, graph: Everything())("s1")

    def read() -> list[AnyRecord]:
        found: list[AnyRecord] = []
        for path in sorted(folder.glob("spool/*/*/*.seg")):
            found += unframe(path.read_bytes()).records
        return found

    return suite.RecorderTarget(
        recorder=made,
        kept=lambda: {one.record_id: one.evidence for one in read() if isinstance(one, Evidence)},
        stamps=lambda: {one.record_id: one.stamp for one in read() if isinstance(one, Close)},
        breaks=lambda: setattr(disk, "full", True),
    )


@pytest.mark.parametrize(
    "make",
    [spooled, memory, judge, journal("call.jsonl"), journal("call.rspp")],
    ids=["spool", "memory", "judge", "journal as JSON", "journal as MessagePack"],
)
def test_it_conforms(make: Make, tmp_path: Path) -> None:
    numbers = itertools.count()

    def fresh() -> suite.RecorderTarget:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return make(folder)

    report = run_suite(suite.conformance(fresh), "recorder")
    assert report.conforms, report.reasons()
    assert certify(report).certified
