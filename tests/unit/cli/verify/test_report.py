"""The report says the same to machines as the table to people, whatever words the findings have in them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec

from rspp.cli.verify import keeping
from rspp.cli.verify.engine import Engine, Found, Outcome
from rspp.cli.verify.report import FORMAT, Left, VerifyReport, junit, of_engine, read_engine, write
from rspp.manifest.lock import Lock

ENGINE = Engine(
    key="KEY:ENG.A",
    name="a",
    summary="a",
    levels=frozenset({"quick"}),
    fail_code="a_wrong",
    run=lambda ground: Outcome(verdict="pass", summary=""),
)
HOSTILE = 'a "fault" <b>&\x00\x1b\ufffe\n'


def whole(folder: Path) -> VerifyReport:
    found = (Found(what=HOSTILE, fix="mend & go", where="x<y>.py"),)
    failed = Outcome(
        verdict="fail", summary=HOSTILE, found=found, files=(folder / "deep/log", Path("/etc/x"))
    )
    passed = Outcome(verdict="pass", summary="well")
    return VerifyReport(
        session="s",
        step="1",
        level="quick",
        project="shop",
        ground="0" * 64,
        files=3,
        runtime="installed 1",
        began_wall_ms=1_000,
        ended_wall_ms=3_500,
        verdict="fail",
        whole=True,
        fail_code="a_wrong",
        reasons=("a: 1 fault",),
        fixes=("mend",),
        engines=(
            of_engine(ENGINE, failed, "", folder, seconds=1.5),
            of_engine(ENGINE, passed, "", folder),
            of_engine(ENGINE, Outcome(verdict="skipped", summary="nothing"), "", folder),
        ),
        left=(Left(name="b", why="not reached"),),
    )


def test_a_build_server_reads_failures_with_their_fixes(tmp_path: Path) -> None:
    suite = ET.fromstring(junit(whole(tmp_path)))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "2", "2")
    first = suite[0]
    failure = first.find("failure")
    assert failure is not None
    assert failure.get("type") == "a_wrong"
    assert "fix: mend & go" in str(failure.get("message"))
    assert [one.get("name") for one in suite] == ["a", "a", "a", "b", "run"]


def test_a_report_is_read_as_it_was_written_and_names_no_file_outside(tmp_path: Path) -> None:
    report = whole(tmp_path)
    path = write(tmp_path / "deep/report.json", report)
    assert msgspec.json.decode(path.read_bytes(), type=VerifyReport) == report
    assert report.schema == FORMAT
    assert report.engines[0].files == ("deep/log", "x")
    assert (report.engines[0].fail_code, report.engines[1].fail_code) == ("a_wrong", "")
    one = write(tmp_path / "a.json", report.engines[0])
    assert read_engine(one) == report.engines[0]
    one.write_bytes(one.read_bytes()[:-20])
    assert read_engine(one) is None
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_newest_run_is_latest_and_the_oldest_beyond_twenty_go(tmp_path: Path) -> None:
    names = [keeping.fresh_session("quick", 1_000 * number) for number in range(keeping.KEPT_MAX + 3)]
    assert names == sorted(set(names))
    for name in names:
        (keeping.fresh_folder(tmp_path, name) / keeping.MANIFEST).touch()
    (tmp_path / keeping.HOME / "verify-of-mine").mkdir()
    assert keeping.latest(tmp_path).name == names[-1]
    # Not even an old one goes while somebody writes in it.
    held = Lock(
        tmp_path / keeping.HOME / names[0] / "RUNTIME_MANIFEST.lock", "anna", clock=lambda: 0, wait_s=0
    )
    held.take("a long run")
    assert keeping.prune(tmp_path) == tuple(names[1:3])
    held.give_back()
    assert keeping.prune(tmp_path) == (names[0],)
    left = {one.name for one in (tmp_path / keeping.HOME).iterdir() if not one.name.startswith(".")}
    assert left == {*names[3:], keeping.LATEST, "verify-of-mine"}
    assert keeping.prune(tmp_path) == ()
