"""The pen puts whole records into files, or nothing and a reason; nothing that a disk does is an exception."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from rspp.timeline import writer as w
from rspp.timeline.records import Gap, frame, unframe
from rspp.timeline.segments import Segment, read_segment
from rspp.timeline.writer import Pen, Stream, Sync, Work
from tests.unit.timeline.spooling import BadDisk


def gap(number: int) -> bytes:
    return frame(Gap(step=number, at=0, reason="x" * 50))


def stream_in(folder: Path) -> Stream:
    return Stream(folder / "0-1" / "s", "s1", "t1", "0-1.000001")


def put(pen: Pen, stream: Stream, number: int, *, reserved: bool = False) -> str | None:
    why, _ = pen.do(Work(stream, gap(number), reserved=reserved))
    return why


def seal(pen: Pen, stream: Stream) -> list[Segment]:
    return pen.do(Work(stream, None))[1]


def steps(path: Path) -> list[int]:
    frames = unframe(path.read_bytes())
    assert not frames.torn
    return [record.step for record in frames.records if isinstance(record, Gap)]


def test_a_segment_says_whose_it_is_and_holds_what_was_put_into_it(tmp_path: Path) -> None:
    pen, stream = Pen(BadDisk()), stream_in(tmp_path)
    assert [put(pen, stream, number) for number in (1, 2)] == [None, None]
    (segment,) = seal(pen, stream)
    assert (segment.session_id, segment.tenant_id, segment.part) == ("s1", "t1", "0-1.000001-000001")
    assert segment == read_segment(segment.path)
    assert steps(segment.path) == [1, 2]


def test_a_disk_that_takes_a_little_at_a_time_gets_it_all(tmp_path: Path) -> None:
    disk = BadDisk()
    disk.chunk = 3
    pen, stream = Pen(disk), stream_in(tmp_path)
    assert put(pen, stream, 1) is None
    assert steps(stream.path) == [1]


@pytest.mark.parametrize("left", [0, 1, 30, 70])
def test_what_a_full_disk_took_half_of_is_cut_off_and_what_stood_before_stays(
    tmp_path: Path, left: int
) -> None:
    disk = BadDisk()
    pen, stream = Pen(disk), stream_in(tmp_path)
    put(pen, stream, 1)
    disk.bytes_left = left
    assert put(pen, stream, 2) == w.DISK_FULL
    assert steps(stream.path) == [1]
    disk.bytes_left = None
    assert put(pen, stream, 3) is None
    assert steps(stream.path) == [1, 3]


def test_a_disk_that_does_not_even_cut_gets_the_next_segment(tmp_path: Path) -> None:
    disk = BadDisk()
    pen, stream = Pen(disk), stream_in(tmp_path)
    put(pen, stream, 1)
    disk.bytes_left, disk.fails = 20, {"cut": errno.EIO}
    why, sealed = pen.do(Work(stream, gap(2)))
    assert why == w.DISK_FULL
    disk.bytes_left, disk.fails = None, {}
    assert put(pen, stream, 3) is None
    (second,) = seal(pen, stream)
    assert second.number == 2
    assert [len(unframe(one.read()).records) for one in (*sealed, second)] == [2, 2]
    assert sealed[0].path.stat().st_size > sealed[0].size, "the torn tail stands behind what counts"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, w.DISK_FULL),
        (errno.EDQUOT, w.DISK_FULL),
        (errno.EROFS, w.READ_ONLY),
        (errno.EACCES, w.READ_ONLY),
        (errno.EIO, w.DISK_ERROR),
        (errno.EMFILE, w.DISK_ERROR),
    ],
)
@pytest.mark.parametrize("call", ["open", "write", "sync"])
def test_each_fault_of_a_disk_has_its_reason_and_passes(
    tmp_path: Path, call: str, number: int, reason: str
) -> None:
    disk = BadDisk()
    pen, stream = Pen(disk, Sync.ALWAYS), stream_in(tmp_path)
    disk.fails = {call: number}
    assert put(pen, stream, 1) == reason
    disk.fails = {}
    assert put(pen, stream, 2) is None
    assert steps(stream.path) == [2]


def test_evidence_that_goes_into_a_file_that_was_removed_is_not_called_kept(tmp_path: Path) -> None:
    pen, stream = Pen(BadDisk()), stream_in(tmp_path)
    put(pen, stream, 1)
    shutil.rmtree(stream.folder)
    assert put(pen, stream, 2, reserved=True) == w.DISK_ERROR
    assert put(pen, stream, 3) is None
    (segment,) = seal(pen, stream)
    assert segment.number == 2
    assert steps(segment.path) == [3]


def test_more_sessions_than_files_may_be_open_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(w, "FILES_OPEN_MAX", 2)
    pen = Pen(BadDisk())
    streams = [Stream(tmp_path / str(n), f"s{n}", "t", "run") for n in range(5)]
    for number in (1, 2, 3):
        for stream in streams:
            assert put(pen, stream, number) is None
        assert sum(stream.fd is not None for stream in streams) == 2
    assert [steps(stream.path) for stream in streams] == [[1, 2, 3]] * 5
    pen.close()
    assert all(stream.fd is None for stream in streams)


@pytest.mark.parametrize(("sync", "waits"), [(Sync.NEVER, 0), (Sync.EVIDENCE, 1), (Sync.ALWAYS, 2)], ids=str)
def test_the_disk_is_waited_for_as_the_setting_says(tmp_path: Path, sync: Sync, waits: int) -> None:
    disk = BadDisk()
    pen, stream = Pen(disk, sync), stream_in(tmp_path)
    put(pen, stream, 1)
    put(pen, stream, 2, reserved=True)
    assert disk.calls.count("sync") == waits


def test_a_device_that_is_really_full_is_told_from_the_machine_itself(tmp_path: Path) -> None:
    disk = w.MachineDisk()
    pen, stream = Pen(disk), stream_in(tmp_path)
    put(pen, stream, 1)
    assert stream.fd is not None
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, stream.fd)
    os.close(full)
    assert put(pen, stream, 2) == w.DISK_FULL
    assert put(pen, stream, 3) is None
    assert read_segment(stream.path) is not None
