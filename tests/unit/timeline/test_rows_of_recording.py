"""How recording and export fare, as an operator is told: full, late, failing, at a lower level; and well again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rspp.contract.errors import PeerFault
from rspp.contract.surface import Level, Row
from rspp.contract.words import RecordingLevel
from rspp.testing.store import MemoryStore
from rspp.timeline.export import LAGGING_MS, Exporter, ExportSettings
from rspp.timeline.meters import RecorderMeters
from rspp.timeline.spool import Spool
from tests.unit.timeline.test_spool import DETAIL, Quiet, spool_in, virtual


def only(rows: list[Row]) -> Row:
    (row,) = rows
    return row


def how(spool: Spool) -> tuple[str, Level, str]:
    row = only(spool.rows())
    return row.state, row.level, row.reason


def test_the_disks_share_is_told_of_before_it_is_used_up_and_when_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        spool = spool_in(tmp_path, kept_bytes_max=5 * len(DETAIL))
        member = spool.open("s1", "t1", Quiet)
        seen = [how(spool)]
        while member.append(DETAIL):
            assert await spool.drained()
            if how(spool) != seen[-1]:
                seen.append(how(spool))
        assert seen == [
            ("recording", Level.OK, ""),
            ("nearly_full", Level.NOTICE, "recordings_nearly_full"),
            ("full", Level.FAILED, "recordings_full"),
        ]
        member.close()
        assert await spool.drained()
        for segment in spool.sealed():
            spool.release(segment)
        assert how(spool)[0] == "recording"
        assert await spool.close()

    virtual(main)


def test_a_session_below_its_level_is_told_of_until_it_is_back_or_over(tmp_path: Path) -> None:
    async def main() -> None:
        meters = RecorderMeters()
        spool = Spool(tmp_path, meters=meters)
        l0, l1, l2 = RecordingLevel.L0, RecordingLevel.L1, RecordingLevel.L2
        meters.changed("a", l2, l1, "lag", 1)
        meters.changed("a", l1, l0, "lag", 2)
        meters.changed("b", l1, l0, "lag", 3)
        assert how(spool) == ("reduced", Level.DEGRADED, "recording_downgraded")
        meters.changed("a", l0, l1, "lag", 4)
        meters.changed("a", l1, l2, "lag", 5)
        assert how(spool)[0] == "reduced"
        meters.ended("b")
        assert how(spool)[0] == "recording"

    virtual(main)


class Away(MemoryStore):
    async def put_blob(self, name: str, data: bytes) -> None:
        raise PeerFault("store_unreachable", f"{name} {len(data)}")


def test_an_export_that_fails_again_and_again_says_why_and_how_much_waits_about(tmp_path: Path) -> None:
    async def main() -> None:
        spool = spool_in(tmp_path)
        exporter = Exporter(Away(), spool, ExportSettings(pause_ms=1))
        assert only(exporter.rows()).state == "idle"
        for number in range(12):
            member = spool.open(f"s{number}", "t1", Quiet)
            member.append(DETAIL)
            member.close()
        assert await spool.drained()
        segment = spool.sealed()[0]
        for tries in range(3):
            assert only(exporter.rows()).reason != "export_failing", tries
            await exporter._try(segment)
            exporter._next()
        row = only(exporter.rows())
        assert (row.state, row.level, row.reason) == ("failing", Level.DEGRADED, "export_failing")
        assert "store_unreachable" in row.message
        assert row.facts["waiting_from"] == 10
        assert await spool.close()

    asyncio.run(main())  # in real time: a try is a thread's, and virtual time would not wait for it


def test_what_waits_for_long_is_told_of_although_nothing_fails(tmp_path: Path) -> None:
    async def main() -> None:
        spool = spool_in(tmp_path)
        exporter = Exporter(MemoryStore(), spool)
        exporter._seen = {Path("a"): -LAGGING_MS / 1000 - 10**9}
        assert only(exporter.rows()).reason == "export_lagging"
        assert await spool.close()

    virtual(main)
