"""The local append of a process: bounded, never waiting, evidence before detail, and all of it found again."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from rspp.contract.errors import LimitReached, MisuseError
from rspp.contract.words import RecordingLevel
from rspp.testing.clock import run_virtual
from rspp.testing.rig import open_request
from rspp.timeline import catalogue
from rspp.timeline import records as r
from rspp.timeline.recorders import Recorders, Sampling
from rspp.timeline.segments import Segment, safe_name
from rspp.timeline.spool import SessionAppend, Spool, SpoolSettings
from rspp.timeline.writer import Inline, MachineDisk
from tests.unit.timeline.spooling import (
    BadDisk,
    SlowHand,
    Told,
    begun,
    evidence,
    graph_at,
    leftovers,
    recorders,
    recordings_in,
    segments_in,
    until,
)

DETAIL = r.frame(r.Gap(step=1, at=0, reason="detail" * 20))


PART = r.frame(r.Part(session_id="s1", tenant_id="t1", run="0-1.000001", number=1))


def _later(tag: bytes) -> bytes:
    """A record of a kind that this version does not know."""
    return catalogue.framed(b"\x81\xa1r" + bytes([0xA0 + len(tag)]) + tag)


class Quiet:
    """A member that only keeps its append."""

    def __init__(self, append: SessionAppend) -> None:
        self.append = append.append
        self.close = append.close
        self.pulses: list[tuple[float, int]] = []

    def pulse(self, fill: float, lag_ms: int) -> None:
        self.pulses.append((fill, lag_ms))


def spool_in(data: Path, **settings: Any) -> Spool:
    """One that writes in virtual time."""
    spool = Spool(data, SpoolSettings(**settings), hand=Inline)
    spool.start()
    return spool


def virtual(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtual(main())


# ---- what is taken is kept ------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_what_was_taken_is_in_the_file_before_anybody_is_told_so_and_on_the_loops_own_thread(
    tmp_path: Path, run: Callable[[Any], None]
) -> None:
    async def main() -> None:
        spool = Spool(tmp_path)
        spool.start()
        told: list[tuple[str | None, int, bool]] = []
        member = spool.open("s1", "t1", Quiet)

        def kept(why: str | None) -> None:
            there = any(DETAIL in path.read_bytes() for path in tmp_path.glob("spool/*/*/*.seg"))
            told.append((why, threading.get_ident(), there))

        assert member.append(DETAIL, reserved=True, kept=kept)
        assert told == [], "it answers later, never within the call"
        await until(lambda: bool(told))
        assert told == [(None, threading.get_ident(), True)]
        assert await spool.close()

    run(main())


def test_a_full_queue_of_detail_leaves_the_room_of_evidence_alone_and_is_refused_itself(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        hand = SlowHand()
        hand.hangs = True
        settings = SpoolSettings(detail_records_max=4, reserved_records_max=3)
        spool = Spool(tmp_path, settings, hand=hand)
        spool.start()
        member = spool.open("s1", "t1", Quiet)
        assert [member.append(DETAIL) for _ in range(6)] == [True] * 4 + [False] * 2
        assert spool.fill == 1.0
        assert [member.append(DETAIL, reserved=True) for _ in range(4)] == [True] * 3 + [False]
        hand.recover()
        assert await spool.drained()
        assert spool.fill < 1e-6
        assert member.append(DETAIL)
        assert await spool.close()

    virtual(main)


def test_bytes_are_bounded_as_records_are(tmp_path: Path) -> None:
    async def main() -> None:
        hand = SlowHand()
        hand.hangs = True
        spool = Spool(tmp_path, SpoolSettings(detail_bytes_max=2 * len(DETAIL)), hand=hand)
        spool.start()
        member = spool.open("s1", "t1", Quiet)
        assert [member.append(DETAIL) for _ in range(3)] == [True, True, False]
        hand.recover()
        assert await spool.close()

    virtual(main)


def test_what_nobody_takes_away_fills_the_disks_share_and_costs_detail_first(tmp_path: Path) -> None:
    async def main() -> None:
        spool = spool_in(tmp_path, kept_bytes_max=2 * len(DETAIL))
        member = spool.open("s1", "t1", Quiet)
        for _ in range(2):
            assert member.append(DETAIL)
            assert await spool.drained()
        assert spool.fill >= 1.0
        assert not member.append(DETAIL)
        assert member.append(DETAIL, reserved=True)
        member.close()
        assert await spool.drained()
        for segment in spool.sealed():
            spool.release(segment)
        assert spool.fill < 0.5
        assert await spool.close()

    virtual(main)


# ---- segments ------------------------------------------------------------------------------------------------------


def test_a_segment_ends_when_it_is_big_enough_and_none_is_bigger(tmp_path: Path) -> None:
    async def main() -> None:
        spool = spool_in(tmp_path, segment_bytes_max=4 * len(DETAIL))
        member = spool.open("s1", "t1", Quiet)
        for _ in range(10):
            assert member.append(DETAIL)
        assert await spool.drained()
        assert [segment.number for segment in spool.sealed()] == [1, 2]
        member.close()
        assert await spool.drained()
        counts = [len(r.unframe(segment.read()).records) for segment in spool.sealed()]
        assert counts == [5, 5, 3], "whose it is, and four, four and two"
        assert await spool.close()

    virtual(main)


def test_a_segment_ends_when_it_is_old_enough_while_its_call_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        heard: list[Segment] = []
        spool = spool_in(tmp_path, segment_age_ms=2_000)
        spool.on_sealed = heard.append
        member = spool.open("s1", "t1", Quiet)
        assert member.append(DETAIL)
        await asyncio.sleep(1.9)
        assert heard == []
        await asyncio.sleep(0.8)
        assert heard == spool.sealed() != []
        await asyncio.sleep(10)
        assert len(heard) == 1, "an empty one is none"
        assert await spool.close()

    virtual(main)


def test_what_is_released_is_gone_and_so_is_the_folder_with_the_last(tmp_path: Path) -> None:
    async def main() -> None:
        spool = spool_in(tmp_path)
        member = spool.open("s1", "t1", Quiet)
        member.append(DETAIL)
        member.close()
        assert await spool.drained()
        (segment,) = spool.sealed()
        for _ in range(2):
            spool.release(segment)
        assert spool.sealed() == []
        assert await spool.close()

    virtual(main)
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_is_not_released_waits_for_the_next_process(tmp_path: Path) -> None:
    async def main() -> None:
        spool = spool_in(tmp_path)
        member = spool.open("s1", "t1", Quiet)
        member.append(DETAIL)
        assert leftovers(tmp_path) == [], "a living process has left nothing"
        assert await spool.close()

    virtual(main)
    (left,) = leftovers(tmp_path)
    torn = left.path.read_bytes() + DETAIL[:7]
    left.path.write_bytes(torn)

    async def then() -> None:
        heard: list[Segment] = []
        spool = spool_in(tmp_path)
        spool.on_sealed = heard.append
        other = spool_in(tmp_path)
        assert spool.adopt() == spool.sealed() == [left]
        assert other.adopt() == [], "what one process has taken over no other takes"
        await asyncio.sleep(0)
        assert heard == [left]
        assert left.path.stat().st_size == left.size, "the torn tail is cut off"
        spool.release(left)
        assert await spool.close()
        assert await other.close()

    virtual(then)
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, DETAIL[:20], PART, PART + DETAIL[:9]],
    ids=["empty", "zeros", "torn", "nothing else", "nothing else whole"],
)
def test_a_file_that_says_whose_it_is_at_most_is_no_segment_and_is_removed(
    tmp_path: Path, content: bytes
) -> None:
    folder = tmp_path / "spool" / "0-1" / "s"
    folder.mkdir(parents=True)
    (folder / "000001.seg").write_bytes(content)
    assert leftovers(tmp_path) == []

    async def main() -> None:
        spool = spool_in(tmp_path)
        assert spool.adopt() == []
        assert await spool.close()

    virtual(main)
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        DETAIL,
        b"\0\0\0\1" + PART[4:] + DETAIL,
        _later(b"owner") + DETAIL,
        r.frame(r.Part(session_id="s1", tenant_id="t1", run="0-2.000001", number=1)) + DETAIL,
        r.frame(r.Part(session_id="s1", tenant_id="t1", run="*", number=1)) + DETAIL,
    ],
    ids=["nobody's", "broken at once", "a later version's", "another folder's", "a pattern"],
)
def test_what_is_not_understood_is_no_segment_and_stays_where_it_is(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "spool" / "0-1" / "s"
    folder.mkdir(parents=True)
    (folder / "000001.seg").write_bytes(content)

    async def main() -> None:
        spool = spool_in(tmp_path)
        assert spool.adopt() == []
        assert await spool.close()

    virtual(main)
    assert (folder / "000001.seg").read_bytes() == content


def test_a_broken_segment_is_read_up_to_the_fault_and_kept_whole(tmp_path: Path) -> None:
    async def main() -> None:
        spool = spool_in(tmp_path)
        member = spool.open("s1", "t1", Quiet)
        for _ in range(3):
            member.append(DETAIL)
        assert await spool.close()

    virtual(main)
    (left,) = leftovers(tmp_path)
    data = bytearray(left.path.read_bytes())
    data[left.size - len(DETAIL) - 3] ^= 1
    left.path.write_bytes(data)
    (found,) = leftovers(tmp_path)
    assert found.damaged is not None
    assert found.size == left.size - 2 * len(DETAIL)
    assert found.path.stat().st_size == len(data)


@pytest.mark.parametrize(
    ("one", "other"),
    [("a/b", "a_b"), ("A", "a"), ("../../x", "x"), ("s" * 300, "s" * 301), ("\udcff", "\udcfe"), (".", "..")],
)
def test_session_names_become_folders_that_are_never_another_sessions(one: str, other: str) -> None:
    names = {safe_name(one), safe_name(other)}
    assert len(names) == 2
    assert all(len(name) < 64 and "/" not in name and not name.startswith(".") for name in names)


# ---- a disk that breaks its word ---------------------------------------------------------------------------------------


def test_a_disk_that_hangs_keeps_nobody_waiting_and_whoever_asked_is_told_in_the_end(tmp_path: Path) -> None:
    class Hanging(MachineDisk):
        gate = threading.Event()

        def write(self, fd: int, data: bytes | memoryview) -> int:
            self.gate.wait(20)
            return super().write(fd, data)

    async def main() -> None:
        disk = Hanging()
        spool = Spool(tmp_path, disk=disk)
        spool.start()
        told = Told()
        recorder = begun(spool)
        recorder.attach(told)
        began = time.monotonic()
        assert recorder.evidence("r1", evidence(1)) == "later"
        assert time.monotonic() - began < 0.5
        await asyncio.sleep(0.05)
        assert spool.lag_ms >= 40, "a disk that is late is a lag like any other"
        assert not await spool.close(deadline_ms=50)
        assert time.monotonic() - began < 2
        assert told.stored == {"r1": "recorder_closed"}
        disk.gate.set()
        await asyncio.sleep(0.05)

    asyncio.run(main())


def test_a_folder_in_which_nothing_can_be_made_says_so_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file stands where the folder should")

    async def main() -> None:
        with pytest.raises(LimitReached, match="spool_unusable"):
            Spool(tmp_path).start()

    asyncio.run(main())


def test_nothing_is_taken_after_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        spool = spool_in(tmp_path)
        member = spool.open("s1", "t1", Quiet)
        member.close()
        member.close()
        assert not member.append(DETAIL, reserved=True)
        other = spool.open("s2", "t1", Quiet)
        assert await spool.close()
        assert await spool.close()
        assert not other.append(DETAIL)
        other.close()

    virtual(main)


def test_each_member_has_its_pulse_five_times_a_second_and_nobody_else_has_one(tmp_path: Path) -> None:
    async def main() -> None:
        spool = spool_in(tmp_path)
        members = [spool.open(f"s{n}", "t1", Quiet) for n in range(7)]
        spool.lag(1_234)
        await asyncio.sleep(1.01)
        assert {len(member.pulses) for member in members} <= {4, 5, 6}
        assert members[0].pulses[-1] == (0.0, 1_234)
        members[0].close()
        count = len(members[0].pulses)
        await asyncio.sleep(1)
        assert len(members[0].pulses) == count
        assert await spool.close()

    virtual(main)


# ---- who is recorded ---------------------------------------------------------------------------------------------------


def play(
    made: Recorders, session_id: str, tenant_id: str = "t1", level: RecordingLevel = RecordingLevel.L1
) -> str | None:
    """One turn's evidence in a session of its own; what was answered."""
    request = msgspec.structs.replace(open_request(), session_id=session_id, tenant_id=tenant_id)
    recorder = made(session_id)
    recorder.opened(request, graph_at(level))
    answer = recorder.evidence("r1", evidence(1, session_id))
    recorder.closed()
    return answer


@pytest.mark.slow
def test_a_quarter_of_the_sessions_is_recorded_and_the_others_leave_no_file(tmp_path: Path) -> None:
    async def main() -> None:
        spool = spool_in(tmp_path)
        made = recorders(spool, Sampling(rate=0.25))
        answers = [play(made, f"session-{n}") for n in range(400)]
        assert await spool.drained()
        found = recordings_in(tmp_path)
        # Five standard deviations of a binomial draw around 100.
        assert 57 <= len(found) <= 143
        assert answers.count("later") == len(found)
        assert answers.count(None) == 400 - len(found) == spool.meters.sessions_unsampled_total
        assert len(segments_in(tmp_path)) == len(found)
        assert {one.head.sampled for one in found.values()} == {"rate:0.25"}
        again = Sampling(rate=0.25)
        assert set(found) == {f"session-{n}" for n in range(400) if again.why(f"session-{n}", "t1")}
        assert await spool.close()

    virtual(main)


def test_tenants_have_their_own_rate_and_level_and_forced_sessions_are_always_recorded(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        spool = spool_in(tmp_path)
        sampling = Sampling(
            rate=0.0,
            tenant_rates={"all": 1.0},
            tenant_levels_max={"low": RecordingLevel.L0},
            forced=frozenset({"f1", "f2"}),
        )
        made = recorders(spool, sampling)
        for session_id, tenant_id in (("n", "t1"), ("a", "all"), ("f1", "t1"), ("f2", "low")):
            play(made, session_id, tenant_id, RecordingLevel.L2)
        assert await spool.drained()
        heads = {name: (one.head.sampled, one.head.level) for name, one in recordings_in(tmp_path).items()}
        assert heads == {"a": ("all", "L2"), "f1": ("forced", "L2"), "f2": ("forced", "L0")}
        assert await spool.close()

    virtual(main)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(MisuseError, match="sampling_invalid"):
        Sampling(tenant_rates={"t": rate})


def test_a_session_that_is_opened_twice_is_two_runs_whose_parts_do_not_mix(tmp_path: Path) -> None:
    async def main() -> None:
        spool = spool_in(tmp_path)
        for _ in range(2):
            begun(spool).closed()
        assert await spool.drained()
        first, second = segments_in(tmp_path)
        assert first.session_id == second.session_id
        assert first.run != second.run
        assert first.part < second.part
        assert await spool.close()

    virtual(main)


def test_a_read_only_disk_refuses_evidence_with_its_reason_and_recovers(tmp_path: Path) -> None:
    async def main() -> None:
        disk = BadDisk()
        spool = Spool(tmp_path, disk=disk, hand=Inline)
        spool.start()
        told = Told()
        recorder = begun(spool)
        recorder.attach(told)
        assert await spool.drained()
        disk.fails = {"write": errno.EROFS, "cut": errno.EROFS, "open": errno.EROFS}
        assert recorder.evidence("r1", evidence(1)) == "later"
        assert await spool.drained()
        disk.fails = {}
        assert recorder.evidence("r2", evidence(2)) == "later"
        assert await spool.drained()
        assert told.stored == {"r1": "read_only", "r2": None}
        assert spool.meters.evidence_refused_total == {"read_only": 1}
        recorder.closed()
        assert await spool.drained()
        assert list(recordings_in(tmp_path)["s1"].evidence) == ["r2"]
        assert await spool.close()

    virtual(main)


def test_a_process_has_one_thread_and_its_own_folder_locked(tmp_path: Path) -> None:
    async def main() -> None:
        before = threading.active_count()
        spool = Spool(tmp_path)
        spool.start()
        for number in range(20):
            begun(spool, f"s{number}")
        assert threading.active_count() == before + 1
        (boot,) = (tmp_path / "spool").iterdir()
        assert boot.name.endswith(f"-{os.getpid()}")
        assert await spool.close()
        assert leftovers(tmp_path) != []

    asyncio.run(main())
