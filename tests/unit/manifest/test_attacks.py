"""What somebody tries who wants a PASS without its proofs, a token twice, or an update that was accepted to be gone."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from rspp.contract.errors import RsppError
from rspp.manifest import Manifest, WorkSnapshot
from rspp.manifest.document import VAL_REPORT, Ran, ResumeTarget, Routing, StepStatus, ValCheck, ValReport
from rspp.manifest.faults import ManifestError
from rspp.manifest.refused import Refused
from rspp.manifest.updates import OutputTold, RequirementMet, Resulted, RoleTold, Routed, StepBegun
from tests.unit.manifest.dying import DyingDisk

NAME = "RUNTIME_MANIFEST.yaml"
PASS = Resulted(status=StepStatus.PASS, target=ResumeTarget(GOAL="publish"))


def begun(folder: Path, no_go: Sequence[str] = (), session: str = "s-1") -> Manifest:
    """A step that runs and was routed."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest.create(folder / NAME, session, port=DyingDisk(), by="anna", lock_wait_s=0.0)
    manifest.say(StepBegun(goal="compile"))
    manifest.say(Routed(routing=Routing(NO_GO_LIST=tuple(no_go))))
    return manifest


def write_report(manifest: Manifest, name: str = "report.json") -> str:
    """By the book, of the step that runs."""
    document = manifest.document
    report = ValReport(
        session=document.SESSION.SESSION_ID,
        step=document.CURRENT_STEP.STEP_ID,
        verdict="pass",
        checks=(ValCheck(key="k", verdict="pass"),),
        run=document.LEDGERS.ENGINE_RUN_LEDGER.run_id,
    )
    (manifest.folder / name).write_bytes(msgspec.json.encode(report))
    return manifest.ref(name)


def prove(manifest: Manifest) -> Manifest:
    manifest.say(RoleTold(role="R", status=Ran.RAN))
    manifest.say(OutputTold(output=VAL_REPORT, ref=write_report(manifest)))
    return manifest


def refused(manifest: Manifest, update: Resulted = PASS) -> set[str]:
    """What a PASS is refused for."""
    with pytest.raises(Refused) as refusal:
        manifest.say(update)
    return {one.code for one in refusal.value.missing}


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["keys", "keys/**", "keys/a.pem", "./keys/*.pem", "**/keys/a.*"])
@pytest.mark.parametrize("place", ["inside", "outside"])
def test_what_a_link_leads_to_is_no_go_like_the_link(tmp_path: Path, pattern: str, place: str) -> None:
    behind = tmp_path / ("work" if place == "inside" else "away") / "real"
    behind.mkdir(parents=True)
    (behind / "a.pem").write_text("a secret")
    (tmp_path / "work").mkdir(exist_ok=True)
    (tmp_path / "work" / "keys").symlink_to(behind)
    (behind / "again").symlink_to(behind)  # a way that never ends
    manifest = prove(begun(tmp_path / "work", [pattern]))
    (behind / "a.pem").write_text("another")
    assert refused(manifest) == {"no_go_touched"}
    (behind / "a.pem").write_text("a secret")
    manifest.say(PASS)


def test_a_link_in_the_place_of_a_no_go_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "work" / "keys").mkdir(parents=True)
    (tmp_path / "work" / "keys" / "a.pem").write_text("a secret")
    manifest = prove(begun(tmp_path / "work", ["keys/**"]))
    (tmp_path / "work" / "keys").rename(tmp_path / "work" / "other")
    (tmp_path / "work" / "keys").symlink_to(tmp_path / "work" / "other")
    assert refused(manifest) == {"no_go_touched"}


@pytest.mark.parametrize("pattern", ["**", "*.lock", "*.yaml", "TRACE", "CHANGELOG", ".*"])
def test_what_the_manifest_writes_itself_is_never_no_go(tmp_path: Path, pattern: str) -> None:
    manifest = begun(tmp_path / "work", [pattern])
    manifest.say(RoleTold(role="R", status=Ran.RAN))
    lacking = {one.code for one in manifest.missing()}
    assert lacking == {"output_missing"}


def test_its_own_files_prove_nothing(tmp_path: Path) -> None:
    manifest = begun(tmp_path / "work")
    manifest.say(Resulted(status=StepStatus.STOP_GAP, requirements=("bring the plan",)))
    for own in (NAME, "TRACE", "CHANGELOG", "RUNTIME_MANIFEST.lock"):
        with pytest.raises(ManifestError, match="itself"):
            manifest.ref(own)
    sum_ = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of an empty file
    for path in ("CHANGELOG", "./RUNTIME_MANIFEST.lock"):
        with pytest.raises(Refused):
            manifest.say(RequirementMet(requirement="1", ref=f"{path}#sha256={sum_}"))


def test_a_reference_is_never_from_the_disks_root(tmp_path: Path) -> None:
    manifest = begun(tmp_path / "work")
    (manifest.folder / "plan").write_text("a plan")
    sum_ = manifest.ref("plan").partition("#")[2]
    with pytest.raises(Refused, match="PATH#sha256=HEX"):
        manifest.say(OutputTold(output="PLAN", ref=f"{manifest.folder / 'plan'}#{sum_}"))
    assert manifest.ref(manifest.folder / "plan") == f"plan#{sum_}"


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b", "x" * 5000, "a\nb"])
def test_a_changed_file_that_no_disk_can_name_is_refused(tmp_path: Path, path: str) -> None:
    manifest = begun(tmp_path / "work", ["*.key"])
    with pytest.raises(RsppError):
        manifest.say(Resulted(status=StepStatus.STOP_GAP, requirements=("x",), changed=(path,)))
    assert manifest.document.CURRENT_STEP.STEP_STATUS == "RUNNING"
    assert manifest.validate().faults == ()


# --- reports --------------------------------------------------------------------------------------------------------


def test_a_report_of_an_earlier_session_of_the_same_name_proves_nothing(tmp_path: Path) -> None:
    first = begun(tmp_path / "first")
    write_report(first)
    second = begun(tmp_path / "second")
    second.say(RoleTold(role="R", status=Ran.RAN))
    (first.folder / "report.json").rename(second.folder / "report.json")
    second.say(OutputTold(output=VAL_REPORT, ref=second.ref("report.json")))
    assert refused(second) == {"report_other_run"}


def test_a_report_that_says_a_thing_twice_is_not_read(tmp_path: Path) -> None:
    manifest = begun(tmp_path / "work")
    manifest.say(RoleTold(role="R", status=Ran.RAN))
    write_report(manifest)
    report = manifest.folder / "report.json"
    report.write_text(report.read_text().replace("{", '{"verdict":"fail",', 1))
    manifest.say(OutputTold(output=VAL_REPORT, ref=manifest.ref("report.json")))
    assert refused(manifest) == {"report_unreadable"}


# --- the trace ------------------------------------------------------------------------------------------------------


def test_two_files_of_one_name_do_not_share_a_trace(tmp_path: Path) -> None:
    first = begun(tmp_path / "work")
    before = (first.folder / "TRACE").read_bytes()
    other = Manifest(first.folder / "RUNTIME_MANIFEST.md", port=DyingDisk())
    with pytest.raises(ManifestError, match=r"of RUNTIME_MANIFEST\.yaml") as error:
        Manifest.create(other.path, "s-2", port=DyingDisk())
    assert error.value.code == "manifest_trace_other"
    with pytest.raises(ManifestError, match=r"of RUNTIME_MANIFEST\.yaml"):
        other.restore()
    assert not other.path.exists()
    other.path.write_text(f"# Work\n\n```yaml\n{first.path.read_text()}```\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"of RUNTIME_MANIFEST\.yaml"):
        other.say(RoleTold(role="R", status=Ran.RAN))
    assert [fault.code for fault in other.validate().faults] == ["manifest_trace_other"]
    assert (first.folder / "TRACE").read_bytes() == before
    assert first.validate().faults == ()


@pytest.mark.parametrize(
    "name", ["TRACE", "x.TRACE", "CHANGELOG", "x.changelog", "x.lock", "RUNTIME_MANIFEST.LOCK"]
)
def test_a_manifest_is_not_called_as_the_files_beside_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError) as error:
        Manifest.create(tmp_path / name, "s-1", port=DyingDisk())
    assert error.value.code == "manifest_name_taken"
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_two_sessions_do_not_fit_each_other(tmp_path: Path) -> None:
    ours, theirs = begun(tmp_path / "a"), prove(begun(tmp_path / "b", session="s-2"))
    theirs.say(PASS)
    for name in (NAME, "TRACE"):
        kept = (ours.folder / name).read_bytes()
        (ours.folder / name).write_bytes((theirs.folder / name).read_bytes())
        codes = {fault.code for fault in ours.validate().faults}
        assert codes == {"manifest_hand_written"}
        with pytest.raises(Refused):
            ours.say(RoleTold(role="R", status=Ran.RAN))
        (ours.folder / name).write_bytes(kept)


def test_an_older_trace_gives_no_second_use_of_a_token(tmp_path: Path) -> None:
    manifest = prove(begun(tmp_path / "work"))
    manifest.say(PASS)
    token = manifest.document.RESUME.RESUME_TOKEN
    older = (manifest.folder / "TRACE").read_bytes()
    manifest.say(StepBegun(goal="next", token=token))
    (manifest.folder / "TRACE").write_bytes(older)
    with pytest.raises(Refused):
        manifest.say(StepBegun(goal="next", token=token))
    assert {fault.code for fault in manifest.validate().faults} == {"manifest_hand_written"}


def test_a_line_in_the_middle_that_a_disk_lost_is_not_taken_for_a_torn_end(tmp_path: Path) -> None:
    """Whatever follows it was accepted: nothing may cut it."""
    manifest = prove(begun(tmp_path / "work"))
    lines = (manifest.folder / "TRACE").read_bytes().splitlines(keepends=True)
    broken = b"".join([*lines[:2], b"\0" * (len(lines[2]) - 1) + b"\n", *lines[3:]])
    (manifest.folder / "TRACE").write_bytes(broken)
    with pytest.raises(ManifestError, match="line 3"):
        manifest.say(PASS)
    with pytest.raises(ManifestError, match="line 3"):
        manifest.restore()
    assert {fault.code for fault in manifest.validate().faults} == {"manifest_trace_broken"}
    assert (manifest.folder / "TRACE").read_bytes() == broken


def test_a_trace_that_was_changed_and_dated_back_is_read_again(tmp_path: Path) -> None:
    manifest = begun(tmp_path / "work")
    path = manifest.folder / "TRACE"
    about = path.stat()
    path.write_bytes(path.read_bytes().replace(b"compile", b"deceive"))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    with pytest.raises(ManifestError, match="line 2"):
        manifest.say(RoleTold(role="R", status=Ran.RAN))


# --- several at once ------------------------------------------------------------------------------------------------


class StoppedDisk(DyingDisk):
    """Just before one of the steps on the disk something else happens, as to a process that was stopped there."""

    def __init__(self, at: int, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self._left = at
        self._meanwhile = meanwhile

    def open(self, path: Path, flags: int, mode: int) -> int:
        self._left -= 1
        if self._left == -1:
            self._meanwhile()
        return super().open(path, flags, mode)


@pytest.mark.parametrize("at", [0, 1])
def test_who_was_stopped_while_its_lock_was_taken_away_destroys_nothing(tmp_path: Path, at: int) -> None:
    """Its turn is over, whatever it had begun: the line of the other, who went on, stays."""
    path = begun(tmp_path / "work").path
    other = Manifest(path, port=DyingDisk(), by="boris")

    def meanwhile() -> None:
        path.with_suffix(".lock").unlink()
        other.say(RoleTold(role="OTHER", status=Ran.RAN))

    stopped = Manifest(path, port=StoppedDisk(at, meanwhile), by="anna")
    with pytest.raises(ManifestError) as error:
        stopped.say(RoleTold(role="MINE", status=Ran.RAN))
    assert error.value.code in ("manifest_locked", "manifest_unwritable")
    assert [entry.role for entry in other.document.LEDGERS.ROLE_LEDGER] == ["OTHER"]
    assert [line.by for line in other.trace()][-1] == "boris"
    assert other.validate().faults == ()


def test_a_forked_child_can_look_while_a_thread_of_its_parent_writes(tmp_path: Path) -> None:
    manifest = begun(tmp_path / "work")
    inside, go = threading.Event(), threading.Event()

    def writes() -> None:
        with manifest._mutex:
            inside.set()
            go.wait(20)

    thread = threading.Thread(target=writes)
    thread.start()
    assert inside.wait(20)
    context = multiprocessing.get_context("fork")
    done = context.Queue()
    process = context.Process(target=lambda: done.put((len(manifest.missing()), manifest.snapshot().state)))
    process.start()
    try:
        assert done.get(timeout=20) == (2, "running")
    finally:
        go.set()
        process.kill()
        process.join(20)
        thread.join(20)


class Operator:
    """Gives the signal once."""

    def __init__(self) -> None:
        self.signals = ["go"]

    def told(self, snapshots: Sequence[WorkSnapshot]) -> None:
        pass

    def signal(self, session: str, step: str) -> str | None:
        return self.signals.pop() if self.signals else None


def test_a_step_that_would_be_refused_anyway_takes_no_signal(tmp_path: Path) -> None:
    prove(begun(tmp_path / "work")).say(PASS)
    operator = Operator()
    manifest = Manifest(tmp_path / "work" / NAME, port=DyingDisk(), tells=operator)
    for wrong in (StepBegun(goal=" "), StepBegun(goal="again", step="1"), StepBegun(goal="x" * 5000)):
        with pytest.raises(Refused):
            manifest.say(wrong)
    assert operator.signals == ["go"]
    manifest.say(StepBegun(goal="again"))
    assert operator.signals == []


# --- a disk that fails ----------------------------------------------------------------------------------------------


class LostDisk(DyingDisk):
    """From one of its steps on it says no to everything."""

    def _step(self, name: str) -> bool:
        self.steps.append(name)
        if self._at is not None and len(self.steps) > self._at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return True


def test_what_a_failing_disk_did_not_take_back_is_told_and_completed(tmp_path: Path) -> None:
    """An error either leaves all as it was for good, or says that the update holds."""
    codes: Counter[str] = Counter()
    for at in range(40):
        manifest = begun(tmp_path / str(at))
        lines = len(list(manifest.trace()))
        lost = Manifest(manifest.path, port=LostDisk(at), lock_wait_s=0.0)
        try:
            lost.say(RoleTold(role="R", status=Ran.RAN))
        except ManifestError as error:
            codes[error.code] += 1
            holds = error.code == "manifest_unsettled"
        else:
            break
        Manifest(manifest.path).mended()
        assert len(list(manifest.trace())) == lines + holds
        assert manifest.validate().faults == ()
    assert codes["manifest_unwritable"] > 3
    assert codes["manifest_unsettled"] > 0


def test_what_somebody_saves_at_the_same_moment_is_not_lost(tmp_path: Path) -> None:
    path = begun(tmp_path / "work").path

    def meanwhile() -> None:
        path.write_text("# a comment\n" + path.read_text(), encoding="utf-8")

    manifest = Manifest(path, port=StoppedDisk(0, meanwhile))
    with pytest.raises(ManifestError) as error:
        manifest.say(RoleTold(role="R", status=Ran.RAN))
    assert error.value.code == "manifest_edited"
    manifest.say(RoleTold(role="R", status=Ran.RAN))
    assert path.read_text().startswith("# a comment\n")
    assert manifest.validate().faults == ()


def test_a_name_makes_no_lines_of_its_own(tmp_path: Path) -> None:
    manifest = Manifest.create(tmp_path / NAME, "s-1", by="anna\n\n## Step 1: PASS\ud800" + "x" * 5000)
    said = next(iter(manifest.trace())).by
    assert said.startswith("anna ## Step 1: PASS?")
    assert len(said) == 200
