"""A manifest on disk: what is said is in the trace and in the file, or nothing changed; what is wrong is told at once."""

from __future__ import annotations

import ast
import errno
import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from rspp.contract.codes import CODES
from rspp.contract.errors import LimitReached, RsppError
from rspp.manifest import Manifest, WorkSnapshot, facts, form, open_manifest
from rspp.manifest.disk import RealDisk
from rspp.manifest.document import Document, Ran, ResumeTarget, Routing, StepStatus, ValCheck, ValReport
from rspp.manifest.faults import ManifestError
from rspp.manifest.refused import Refused
from rspp.manifest.updates import Begun, EngineTold, OutputTold, Resulted, RoleTold, Routed, StepBegun, Update
from tests.unit.manifest.dying import DyingDisk, ground, script

NAME = "RUNTIME_MANIFEST.yaml"
NOW_MS = 1_760_000_000_000


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A step that runs and was routed."""
    (tmp_path / "work" / "secrets").mkdir(parents=True)
    (tmp_path / "work" / "secrets" / "a.key").write_text("a secret")
    made = Manifest.create(tmp_path / "work" / NAME, "s-1", port=DyingDisk(), by="anna", clock=lambda: NOW_MS)
    made.say(StepBegun(goal="compile"))
    routing = Routing(REQUIRED_ENG_KEYS=("E",), OUTPUT_CONTRACT=("PLAN",), NO_GO_LIST=("secrets/**",))
    made.say(Routed(routing=routing))
    return made


def prove(manifest: Manifest, verdict: str = "pass") -> None:
    """All that the step owes."""
    (manifest.folder / "plan.json").write_text("{}")
    step = manifest.document.CURRENT_STEP.STEP_ID
    report = ValReport(
        session="s-1", step=step, verdict=verdict, checks=(ValCheck(key="k", verdict=verdict),)
    )
    (manifest.folder / "report.json").write_bytes(msgspec.json.encode(report))
    manifest.say(EngineTold(key="E", status=Ran.RAN, outputs=("PLAN",)))
    manifest.say(OutputTold(output="PLAN", ref=manifest.ref("plan.json")))
    manifest.say(OutputTold(output="VAL_REPORT", ref=manifest.ref("report.json")))


PASS = Resulted(status=StepStatus.PASS, target=ResumeTarget(GOAL="publish"))


def all_of(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".lock"
    }


def test_what_is_said_is_in_the_file_and_in_the_trace(manifest: Manifest) -> None:
    prove(manifest)
    document = manifest.say(PASS)
    assert document == manifest.document == open_manifest(manifest.folder).document
    assert document.CURRENT_STEP.STEP_STATUS == "PASS"
    assert document.SESSION.UPDATED_AT == "2025-10-09"
    assert document.PATCH_TRACKING.CHANGELOG_REF == "CHANGELOG"
    assert [line.what for line in manifest.trace()] == [
        "init",
        "step",
        "route",
        "engine",
        "output",
        "output",
        "result",
    ]
    assert manifest.validate().ok
    assert manifest.missing() == ()


def test_pass_is_refused_with_everything_that_is_missing_and_nothing_is_written(manifest: Manifest) -> None:
    before = all_of(manifest.folder)
    with pytest.raises(Refused) as refusal:
        manifest.say(PASS)
    assert {one.code for one in refusal.value.missing} == {"engine_missing", "nothing_ran", "output_missing"}
    assert all_of(manifest.folder) == before
    assert {one.code for one in manifest.missing()} == {one.code for one in refusal.value.missing}


def test_a_file_that_changed_since_it_was_named_proves_nothing(manifest: Manifest) -> None:
    prove(manifest)
    (manifest.folder / "plan.json").write_text("[]")
    with pytest.raises(Refused, match="plan"):
        manifest.say(PASS)
    (manifest.folder / "plan.json").write_text("{}")
    manifest.say(PASS)
    (manifest.folder / "plan.json").unlink()
    validated = manifest.validate()
    assert not validated.ok
    assert [one.code for one in validated.missing] == ["ref_unresolved"]


@pytest.mark.parametrize("how", ["change", "remove", "add", "link"])
def test_whoever_touches_what_is_no_go_gets_no_pass(manifest: Manifest, how: str) -> None:
    prove(manifest)
    held = manifest.folder / "secrets" / "a.key"
    if how == "change":
        held.write_text("another")
    elif how == "add":
        (held.parent / "b.key").write_text("new")
    else:
        held.unlink()
        if how == "link":
            (manifest.folder / "copy").write_text("a secret")
            held.symlink_to(manifest.folder / "copy")
    with pytest.raises(Refused) as refusal:
        manifest.say(PASS)
    assert {one.code for one in refusal.value.missing} == {"no_go_touched"}
    for line in manifest.trace():
        if line.what == "route":
            assert line.seen["guarded"] == {"secrets/a.key": hashlib.sha256(b"a secret").hexdigest()}


def test_what_no_pattern_means_is_not_counted_and_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "node_modules/deep").mkdir(parents=True)
    for number in range(20):
        (tmp_path / f"node_modules/deep/{number}.js").touch()
    (tmp_path / "shop.yaml").write_text("pipeline: shop")
    monkeypatch.setattr(facts, "WALKED_FILES_MAX", 12)
    (tmp_path / ".rspp/verify/one").mkdir(parents=True)
    made = Manifest.create(tmp_path / ".rspp/verify/one" / NAME, "s-1", root=tmp_path)
    made.say(StepBegun(goal="verify"))
    made.say(Routed(routing=Routing(REQUIRED_ENG_KEYS=("E",), NO_GO_LIST=("./shop.yaml", "./src/**/*.py"))))
    guarded = [line.seen["guarded"] for line in made.trace() if "guarded" in line.seen]
    assert guarded == [{"shop.yaml": hashlib.sha256(b"pipeline: shop").hexdigest()}]


def test_more_no_go_files_than_are_compared_are_told(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest.say(Resulted(status=StepStatus.STOP_GAP, requirements=("x",)))
    other = Manifest.create(manifest.folder / "other.yaml", "s-2", port=DyingDisk())
    other.say(StepBegun(goal="a"))
    monkeypatch.setattr(facts, "GUARDED_FILES_MAX", 2)
    with pytest.raises(LimitReached, match="more than 2 files"):
        other.say(Routed(routing=Routing(NO_GO_LIST=("**",))))
    monkeypatch.setattr(facts, "WALKED_FILES_MAX", 3)
    with pytest.raises(LimitReached, match="more than 3 files"):
        other.say(Routed(routing=Routing(NO_GO_LIST=("nothing.here",))))
    assert len(list(other.trace())) == 2


def test_a_reference_must_stay_below_the_folder_or_the_root(tmp_path: Path) -> None:
    (tmp_path / "project" / "work").mkdir(parents=True)
    (tmp_path / "outside.txt").write_text("x")
    (tmp_path / "project" / "plan.json").write_text("{}")
    inside, outside = tmp_path / "project" / "work", tmp_path / "outside.txt"
    (inside / "link").symlink_to(outside)
    (inside / "folder").mkdir()
    alone = Manifest(inside / NAME)
    rooted = Manifest(inside / NAME, root=tmp_path / "project")
    assert rooted.ref("../plan.json") == f"../plan.json#sha256={hashlib.sha256(b'{}').hexdigest()}"
    assert rooted.ref(tmp_path / "project" / "plan.json") == rooted.ref("../plan.json")
    for path in ("../plan.json", "../../outside.txt", outside, "link", "a\nb"):
        with pytest.raises(ManifestError, match="outside"):
            alone.ref(path)
    for path in ("folder", "nothing", "x" * 300):
        with pytest.raises(ManifestError, match="no file"):
            alone.ref(path)


# --- by hand --------------------------------------------------------------------------------------------------------


def by_hand(manifest: Manifest, old: str, new: str) -> None:
    text = manifest.path.read_text()
    assert old in text
    manifest.path.write_text(text.replace(old, new))


def test_a_pass_that_was_written_by_hand_is_told_with_all_that_it_lacks(manifest: Manifest) -> None:
    by_hand(manifest, 'STEP_STATUS: "RUNNING"', 'STEP_STATUS: "PASS"')
    validated = manifest.validate()
    assert not validated.ok
    edited = next(fault for fault in validated.faults if fault.code == "manifest_hand_written")
    assert (edited.key, edited.line, edited.file) == ("CURRENT_STEP", 8, NAME)
    assert {"engine_missing", "output_missing", "hand_written"} <= {one.code for one in validated.missing}
    for update in (RoleTold(role="QA", status=Ran.RAN), PASS):
        with pytest.raises(RsppError, match=r"--restore|contradicts"):
            manifest.say(update)
    assert manifest.restore().CURRENT_STEP.STEP_STATUS == "RUNNING"
    assert manifest.validate().ok
    manifest.say(EngineTold(key="E", status=Ran.RAN))


def test_comments_may_be_written_by_hand_and_stay(manifest: Manifest) -> None:
    by_hand(manifest, "ROUTING:\n", "# ours\nROUTING:  # and this\n")
    manifest.say(EngineTold(key="E", status=Ran.RAN))
    assert manifest.validate().ok
    by_hand(manifest, 'DOMAIN: ""', "DOMAIN: hand")
    manifest.restore()
    text = manifest.path.read_text()
    assert "# ours\nROUTING:  # and this\n" in text
    assert 'DOMAIN: ""' in text


def test_a_file_with_faults_is_told_with_all_of_them_and_is_not_written(manifest: Manifest) -> None:
    by_hand(manifest, "OWNER:", "OWNR:")
    by_hand(manifest, "REQUIRED_IDX: []", "REQUIRED_IDX: 1")
    before = all_of(manifest.folder)
    for ask in (lambda: manifest.document, manifest.missing, lambda: manifest.say(PASS)):
        with pytest.raises(ManifestError) as error:
            ask()
        assert [fault.key for fault in error.value.faults] == [
            "SESSION.OWNER",
            "SESSION.OWNR",
            "ROUTING.REQUIRED_IDX",
        ]
    assert [fault.line for fault in manifest.validate().faults] == [1, 5, 22]
    assert all_of(manifest.folder) == before
    assert manifest.restore() == manifest.document


def test_a_trace_that_was_changed_is_told_with_its_line_and_stops_everything(manifest: Manifest) -> None:
    trace = manifest.folder / "TRACE"
    trace.write_bytes(trace.read_bytes().replace(b'"by":"anna","what":"step"', b'"by":"boris","what":"step"'))
    assert [(fault.code, fault.line) for fault in manifest.validate().faults] == [
        ("manifest_trace_broken", 2)
    ]
    for ask in (lambda: manifest.say(PASS), manifest.restore, lambda: list(manifest.trace())):
        with pytest.raises(ManifestError) as error:
            ask()
        assert error.value.code == "manifest_trace_broken"
        assert "line 2" in error.value.message
    assert "trace_broken" in {one.code for one in manifest.missing()}


def test_what_is_gone_is_told(manifest: Manifest) -> None:
    kept = manifest.path.read_bytes()
    manifest.path.unlink()
    with pytest.raises(ManifestError, match="--restore"):
        _ = manifest.document
    with pytest.raises(ManifestError, match="--restore"):
        manifest.say(PASS)
    assert [fault.code for fault in manifest.validate().faults] == ["manifest_missing"]
    manifest.restore()
    assert form.read(manifest.path.read_text(), NAME) == form.read(kept.decode(), NAME)
    (manifest.folder / "TRACE").unlink()
    assert [fault.code for fault in manifest.validate().faults] == ["manifest_trace_missing"]
    with pytest.raises(RsppError, match="trace"):
        manifest.say(EngineTold(key="E", status=Ran.RAN))
    with pytest.raises(ManifestError, match="no trace"):
        manifest.restore()


# --- beginning ------------------------------------------------------------------------------------------------------


def test_a_session_begins_once(manifest: Manifest) -> None:
    before = all_of(manifest.folder)
    with pytest.raises(Refused, match="s-1"):
        Manifest.create(manifest.path, "s-2")
    assert all_of(manifest.folder) == before
    with pytest.raises(ManifestError, match="rspp manifest init"):
        _ = Manifest(manifest.folder / "none.yaml").document
    with pytest.raises(ManifestError, match="folder is not there"):
        Manifest.create(manifest.folder / "none" / NAME, "s-2")


def test_a_session_begins_in_a_markdown_file_that_holds_the_blank_one(tmp_path: Path) -> None:
    path = ground(tmp_path / "work", "08__RUNTIME_MANIFEST.md")
    made = Manifest.create(path, "s-1", port=DyingDisk())
    assert (path.parent / "08__RUNTIME_MANIFEST.TRACE").exists()
    assert path.read_bytes().startswith("# Work\r\n\r\nWhat we do here.  \r\n".encode("ascii"))
    assert made.validate().ok


# --- when the disk says no ------------------------------------------------------------------------------------------


class NoDisk(DyingDisk):
    """Says no at the step of that number, once."""

    def __init__(self, at: int, number: int) -> None:
        super().__init__()
        self.fails_at = at
        self._errno = number

    def _step(self, name: str) -> bool:
        super()._step(name)
        if len(self.steps) == self.fails_at + 1:
            raise OSError(self._errno, os.strerror(self._errno))
        return True


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.ENOSPC, "disk is full"), (errno.EIO, "error"), (errno.EROFS, "by you"), (errno.EACCES, "by you")],
)
def test_a_disk_that_says_no_at_any_step_leaves_nothing_half_done(
    tmp_path: Path, number: int, says: str
) -> None:
    path = ground(tmp_path / "work", NAME)
    updates = script(path.parent)
    for update in updates[:2]:
        Manifest(path, port=DyingDisk()).say(update)
    before, refusals = all_of(path.parent), 0
    while (error := refusal_of(Manifest(path, port=NoDisk(refusals, number)), updates[2])) is not None:
        refusals += 1
        assert error.code == "manifest_unwritable"
        assert says in error.message
        assert {
            name: data for name, data in all_of(path.parent).items() if not name.startswith(".")
        } == before
        assert Manifest(path).validate().faults == ()
    assert refusals >= 7
    assert len(list(Manifest(path).trace())) == 3
    assert Manifest(path).validate().ok


def refusal_of(manifest: Manifest, update: Update) -> ManifestError | None:
    try:
        manifest.say(update)
    except ManifestError as error:
        return error
    return None


@pytest.mark.parametrize("name", [NAME, "TRACE"])
@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_stands_in_the_place_of_a_file_is_told_and_left_alone(
    manifest: Manifest, name: str, kind: str
) -> None:
    path = manifest.folder / name
    path.rename(path.with_name("away"))
    if kind == "link":
        path.symlink_to("away")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    before = (manifest.folder / "away").read_bytes()
    with pytest.raises(ManifestError) as error:
        manifest.say(EngineTold(key="E", status=Ran.RAN))
    assert error.value.code == "manifest_unwritable"
    assert not manifest.validate().ok
    assert (manifest.folder / "away").read_bytes() == before


def test_the_file_keeps_its_mode(manifest: Manifest) -> None:
    manifest.path.chmod(0o640)
    manifest.say(EngineTold(key="E", status=Ran.RAN))
    assert manifest.path.stat().st_mode & 0o777 == 0o640


# --- who is told ----------------------------------------------------------------------------------------------------


class Watches:
    """Takes what it is told, or fails."""

    def __init__(self) -> None:
        self.got: list[WorkSnapshot] = []
        self.away = False
        self.asked: list[tuple[str, str]] = []

    def told(self, snapshots: Sequence[WorkSnapshot]) -> None:
        if self.away:
            raise ConnectionError("the store is away")
        self.got += snapshots

    def signal(self, session: str, step: str) -> str | None:
        self.asked.append((session, step))
        return "go" if not self.away else None


def test_each_line_is_told_once_and_in_order_whatever_the_store_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = ground(tmp_path / "work", NAME)
    watches, updates = Watches(), script(path.parent)
    manifest = Manifest(path, port=DyingDisk(), tells=watches, by="anna", clock=lambda: NOW_MS)
    with caplog.at_level(logging.WARNING, "rspp.manifest.teller"):
        for number, update in enumerate(updates, start=1):
            watches.away = 3 <= number <= 5
            manifest.say(update)
    assert [snapshot.line for snapshot in watches.got] == list(range(1, 9))
    assert caplog.text.count("the store is away") == 1
    assert [snapshot.state for snapshot in watches.got] == [
        "blank", "running", "running", "running", "failed", "waiting", "running", "stopped",
    ]  # fmt: skip
    failed = watches.got[4]
    assert (failed.id, failed.step, failed.reason, failed.author) == ("s-1", "1", "it broke", "anna")
    assert (failed.folder, failed.steps, failed.steps_done) == ("work", 1, 0)
    assert [len(snapshot.missing) for snapshot in watches.got[:4]] == [
        0,
        3,
        0,
        0,
    ]  # nobody knows it of a line told late
    assert watches.got[-1] == manifest.snapshot()
    later = Watches()
    Manifest(path, port=DyingDisk(), tells=later).mended()
    assert [snapshot.trace for snapshot in later.got] == [snapshot.trace for snapshot in watches.got]


def test_a_step_without_a_key_asks_whether_an_operator_signalled(tmp_path: Path) -> None:
    path = ground(tmp_path / "work", NAME)
    watches, updates = Watches(), script(path.parent)
    manifest = Manifest(path, port=DyingDisk(), tells=watches)
    for update in updates[:6]:
        manifest.say(update)
    assert watches.asked == []
    watches.away = True
    with pytest.raises(Refused, match="signal"):
        manifest.say(StepBegun(goal="again"))
    watches.away = False
    manifest.say(StepBegun(goal="again"))
    assert watches.asked == [("s-1", "1"), ("s-1", "1")]
    assert list(manifest.trace())[-1].says["signal"] == "go"


def test_a_token_opens_one_step(tmp_path: Path) -> None:
    path = ground(tmp_path / "work", NAME)
    manifest = Manifest(path, port=DyingDisk())
    updates = script(path.parent)
    for update in updates[:6]:
        manifest.say(update)
    token = manifest.document.RESUME.RESUME_TOKEN
    with pytest.raises(Refused, match="token"):
        manifest.say(StepBegun(goal="again", token="0" * 30))
    manifest.say(StepBegun(goal="again", token=token))
    manifest.say(updates[7])
    with pytest.raises(Refused):
        manifest.say(StepBegun(goal="again", token=token))


# --- several at once ------------------------------------------------------------------------------------------------


def at_once(count: int, work: Callable[[int], None]) -> list[BaseException]:
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except RsppError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return errors


def test_threads_share_one_manifest(manifest: Manifest) -> None:
    def work(number: int) -> None:
        manifest.say(RoleTold(role=f"R{number}", status=Ran.RAN))
        assert manifest.document.CURRENT_STEP.STEP_ID

    with manifest.hold("all of them"):
        assert at_once(8, work) == []
    assert len(manifest.document.LEDGERS.ROLE_LEDGER) == 8
    assert manifest.validate().ok
    assert (manifest.folder / "RUNTIME_MANIFEST.lock").read_bytes() == b""


def test_every_code_is_in_the_table() -> None:
    """Of faults as of errors: those are constants here that begin with the room's name."""
    words = {
        node.value
        for path in Path(form.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    codes = {word for word in words if re.fullmatch(r"manifest_[a-z_]+", word)} - {"manifest_"}
    assert len(codes) > 40
    assert codes - set(CODES) == set()


def test_text_that_cannot_be_written_is_refused(manifest: Manifest) -> None:
    before = all_of(manifest.folder)
    with pytest.raises(RsppError) as error:
        manifest.say(RoleTold(role="QA", status=Ran.RAN, notes="\udc80"))
    assert error.value.code in ("text_not_utf8", "value_invalid")
    with pytest.raises(RsppError):
        manifest.say(RoleTold(role="QA", status=Ran.RAN, notes="a\nb"))
    assert all_of(manifest.folder) == before


def test_a_blank_file_without_a_session_takes_nothing_but_a_session(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(form.blank())
    manifest = Manifest(tmp_path / NAME, port=RealDisk())
    assert manifest.document == Document()
    assert manifest.validate().ok
    assert manifest.snapshot().state == "blank"
    with pytest.raises(RsppError):
        manifest.say(StepBegun(goal="a"))
    manifest.say(Begun(session="s-1"))
    assert manifest.validate().ok
