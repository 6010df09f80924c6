"""A run ends in PASS with a proof of everything, or says what is wrong, and goes on from there without doing work twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
import pytest

from rspp.cli.verify import keeping
from rspp.cli.verify.asked import survey
from rspp.cli.verify.report import VerifyReport
from rspp.cli.verify.run import verify
from rspp.contract.errors import MisuseError, RsppError
from rspp.manifest import Manifest
from rspp.manifest.document import Ran, ResultStatus, is_met
from tests.unit.cli.verify.planted_engines import INTERRUPTED, PLAN, RUNS
from tests.unit.cli.verify.running import NO_GO, ROOT, Project

DEADLINE_S: Final = 20.0


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.slow
def test_a_pass_is_proven_by_a_report_of_each_engine(project: Project) -> None:
    report = project.verify()
    document = project.manifest.document
    assert (report.verdict, report.whole, [one.verdict for one in report.engines]) == (
        "pass",
        True,
        ["pass"] * 3,
    )
    assert document.LAST_RESULT.STATUS is ResultStatus.PASS
    assert document.ROUTING.REQUIRED_ENG_KEYS == ("KEY:ENG.FIRST", "KEY:ENG.SECOND", "KEY:ENG.THIRD")
    assert document.ROUTING.NO_GO_LIST == NO_GO
    assert {one.output for one in document.LEDGERS.OUTPUT_LEDGER} == {
        "GROUND",
        "REPORT.FIRST",
        "REPORT.SECOND",
        "REPORT.THIRD",
        "VAL_REPORT",
        "VERIFY_REPORT",
    }
    assert project.manifest.validate().ok
    kept = project.work / "steps" / report.step / "report.json"
    assert msgspec.json.decode(kept.read_bytes(), type=VerifyReport) == report
    assert project.verify().step == "2"
    assert project.runs == {"first": 2, "second": 2, "third": 2}
    # A proof that is changed afterwards is none any more.
    report = msgspec.structs.replace(report, step="2")
    (project.work / "steps" / report.step / "second.json").write_text("{}")
    assert not project.manifest.validate().ok


@pytest.mark.slow
def test_the_first_failure_ends_the_run_and_says_everything_that_is_needed(project: Project) -> None:
    project.named("second", "third")
    report = project.verify()
    document = project.manifest.document
    assert (report.verdict, report.fail_code) == ("fail", "second_found")
    assert [one.name for one in report.engines] == ["first", "second"]
    assert [(one.name, one.why) for one in report.left] == [("third", "not reached")]
    assert document.LAST_RESULT.FAIL_CODE == "second_found"
    assert document.LAST_RESULT.FIX_LIST == ("second: fault.txt:1: take second out",)
    assert document.RESUME.RESUME_REQUIREMENTS == ("engine second: it passes again (second_found)",)
    assert not document.RESUME.RESUME_ALLOWED
    status = {one.eng_key: one.status for one in document.LEDGERS.ENGINE_RUN_LEDGER.entries}
    assert status["KEY:ENG.SECOND"] is Ran.FAILED


@pytest.mark.slow
def test_what_failed_is_tried_before_everything_runs_again(project: Project) -> None:
    project.named("second")
    project.verify()
    with pytest.raises(MisuseError, match="is failed; go on with --resume"):
        project.verify()
    still = project.verify(resume=True)
    assert (still.verdict, still.fail_code, still.step) == ("fail", "second_found", "1")
    assert project.runs == {"first": 1, "second": 2}
    project.named()
    report = project.verify(resume=True)
    assert (report.verdict, report.step) == ("pass", "2")
    # The one that failed was tried, and then all of them ran: nothing of the step that failed counts.
    assert project.runs == {"first": 2, "second": 4, "third": 1}
    assert not any(one.reused for one in report.engines)
    assert project.manifest.validate().ok


@pytest.mark.slow
@pytest.mark.long
def test_a_requirement_that_is_met_names_the_report_that_shows_it(project: Project) -> None:
    project.named("first", "third")
    both = project.verify(go_on=True)
    assert [one.verdict for one in both.engines] == ["fail", "pass", "fail"]
    assert len(both.requirements) == 2
    project.named("third")
    assert project.verify(resume=True, go_on=True).requirements == (
        "engine third: it passes again (third_found)",
    )
    met = [one for one in project.manifest.document.RESUME.RESUME_REQUIREMENTS if is_met(one)]
    assert len(met) == 1
    assert "steps/1/probe-1/first.json#sha256=" in met[0]


@pytest.mark.slow
def test_sources_that_an_engine_changes_stop_the_run(project: Project) -> None:
    report = project.verify(PLAN, only=("writes_a_source",))
    assert (report.verdict, report.fail_code) == ("stopped", "verify_ground_changed")
    # The digest of all files says so; with it forgotten, the manifest's own guard does.
    assert project.manifest.document.LAST_RESULT.STATUS is ResultStatus.STOP_GAP


@pytest.mark.slow
@pytest.mark.long
def test_the_manifest_refuses_a_pass_over_a_source_that_was_changed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rspp.cli.verify.asked.digest_of", lambda *_: "0" * 64)
    report = project.verify(PLAN, only=("writes_a_source",))
    assert (report.verdict, report.fail_code) == ("stopped", "verify_ground_changed")
    assert any("pipeline.yaml" in reason for reason in report.reasons)


@pytest.mark.slow
def test_an_engine_that_breaks_fails_the_run_with_its_own_code(project: Project) -> None:
    report = project.verify(PLAN, only=("is_killed", "raises", "skips"), go_on=True)
    assert (report.verdict, report.fail_code) == ("fail", "engine_broken")
    assert [one.fail_code for one in report.engines] == ["engine_broken", "engine_broken", ""]
    assert project.manifest.document.LAST_RESULT.FAIL_CODE == "engine_broken"


@pytest.mark.slow
@pytest.mark.long
def test_what_was_left_out_keeps_full_from_passing_and_is_run_to_go_on(project: Project) -> None:
    assert project.verify(skip=("third",)).verdict == "pass"
    report = project.verify(level="full", skip=("third",))
    assert (report.verdict, report.fail_code, report.whole) == ("stopped", "verify_incomplete", False)
    assert report.requirements == ("engine third: it runs and passes",)
    assert project.verify(level="full", resume=True).verdict == "pass"


@pytest.mark.slow
@pytest.mark.long
def test_an_engine_without_anything_to_look_at_is_no_pass(project: Project) -> None:
    report = project.verify(PLAN, only=("passes", "skips"))
    assert (report.verdict, report.fail_code) == ("stopped", "verify_incomplete")


@pytest.mark.slow
def test_the_run_of_another_project_is_not_gone_on_with(project: Project) -> None:
    project.named("second")
    project.verify()
    other = project.folder.with_name("other")
    project.folder.rename(other)
    project.folder = other
    with pytest.raises(MisuseError, match="is of shop, not of other"):
        project.verify(resume=True)


def test_what_the_run_writes_into_the_project_changes_nothing_of_it(project: Project) -> None:
    project.work = project.folder / "out"
    project.work.mkdir()
    report = project.verify(RUNS[:1], own=("out/",))
    assert (report.verdict, report.files) == ("pass", 1)


def test_what_was_seen_is_the_files_what_was_named_beside_them_and_who_looked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = project.counts / "named"
    named.mkdir()
    (named / "a.rspp").write_text("a")
    asked = msgspec.structs.replace(project.asked(), options={"recordings": str(named)})
    before = survey(asked)
    assert survey(asked) == before
    (named / "a.rspp").write_text("b")
    other = survey(asked)
    assert (other.digest, other == before) == (before.digest, False)
    # What a project itself keeps under that name is judged too, though git may be told to ignore it.
    plain = survey(project.asked())
    (project.folder / "recordings").mkdir()
    (project.folder / "recordings/.gitignore").write_text("*\n")
    kept = survey(project.asked())
    assert kept != plain
    (project.counts / "site/more-1.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(project.counts / "site"))
    assert survey(project.asked()) != kept


# ---- killed in the middle --------------------------------------------------------------------------------------------

PROGRAM: Final = """
from pathlib import Path
from tests.unit.cli.verify.planted_engines import INTERRUPTED
from tests.unit.cli.verify.running import Project
Project(Path({home!r})).verify(INTERRUPTED, timeout_s=60)
"""


def interrupt(project: Project) -> None:
    """A run that is killed while its third engine is at work."""
    paths = os.pathsep.join((ROOT, *sys.path))
    program = PROGRAM.format(home=str(project.folder.parent))
    running = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": paths})
    try:
        until = time.monotonic() + DEADLINE_S
        while not (project.counts / "waiting").exists():
            assert time.monotonic() < until
            assert running.poll() is None
            time.sleep(0.01)
        with pytest.raises(RsppError, match="rspp verify quick"):
            verify(
                project.asked(INTERRUPTED, resume=True),
                Manifest(project.work / keeping.MANIFEST, lock_wait_s=0),
            )
    finally:
        running.kill()
        running.wait()
    assert project.runs == {"first": 1, "second": 1}


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_step_and_runs_nothing_twice_that_passed(project: Project) -> None:
    interrupt(project)
    with pytest.raises(MisuseError, match="is running; go on with --resume"):
        project.verify(INTERRUPTED)
    (project.counts / "go").touch()
    report = project.verify(INTERRUPTED, resume=True)
    assert (report.verdict, report.step) == ("pass", "1")
    assert [one.reused for one in report.engines] == [True, True, False]
    assert project.runs == {"first": 1, "second": 1, "third": 1}
    assert project.manifest.validate().ok


@pytest.mark.slow
@pytest.mark.long
def test_over_other_files_a_killed_run_begins_anew_and_says_so(project: Project) -> None:
    interrupt(project)
    (project.counts / "go").touch()
    (project.folder / "new.txt").write_text("new")
    report = project.verify(INTERRUPTED, resume=True)
    assert (report.verdict, report.step) == ("pass", "2")
    assert not any(one.reused for one in report.engines)
    assert project.runs == {"first": 2, "second": 2, "third": 1}
    assert any("everything runs again" in one for one in project.said)


@pytest.mark.slow
@pytest.mark.long
def test_a_report_that_was_touched_is_not_taken_for_what_was_said(project: Project) -> None:
    interrupt(project)
    (project.counts / "go").touch()
    path = project.work / "steps/1/first.json"
    path.write_bytes(path.read_bytes() + b" ")
    report = project.verify(INTERRUPTED, resume=True)
    assert (report.verdict, [one.reused for one in report.engines]) == ("pass", [False, True, False])


def test_who_comes_second_is_told_who_holds_it(project: Project) -> None:
    second = Manifest(project.manifest.path, root=project.folder, lock_wait_s=0)
    with project.manifest.hold("something else"), pytest.raises(RsppError, match="something else"):
        verify(project.asked(), second)
    assert project.runs == {}
