"""Whatever dies, and whenever: the file is the old one or the new one, the trace verifies or names its torn line, and the next
writer goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from rspp.manifest import Manifest, form
from rspp.manifest.checking import CUT_SHORT, TORN, Validated
from rspp.manifest.document import Document, Ran, StepStatus, digest
from rspp.manifest.trace import Trace
from rspp.manifest.updates import EngineTold, RequirementMet, Resulted, Routed, StepBegun, Update
from tests.unit.manifest.dying import DiedError, DyingDisk, ground, script

NAMES = ("RUNTIME_MANIFEST.yaml", "work.md")


def do(path: Path, updates: Sequence[Update], disk: DyingDisk) -> Manifest:
    """Say these until all are said or the world ends; the lock is then as death leaves it."""
    manifest = Manifest(path, port=disk, by="first")
    disk.dying = manifest._lock._forget
    for update in updates:
        manifest.say(update)
    return manifest


def check_left(path: Path) -> Validated:
    """What a death may leave behind, and no more."""
    validated = Manifest(path).validate()
    trace = Trace(path.with_name("TRACE" if path.stem == "RUNTIME_MANIFEST" else f"{path.stem}.TRACE"))
    folded = trace.folded()
    assert folded.fault is None
    if folded.torn is not None:
        torn = next(fault for fault in validated.faults if fault.code == TORN)
        tail = trace.path.read_bytes()[folded.size :]
        assert (torn.line, f"{len(tail)} bytes" in torn.message) == (folded.lines + 1, True)
    if not path.exists():
        assert folded.lines <= 1
        return validated
    read = form.read(path.read_bytes().decode(), path.name)
    assert read.faults == ()
    assert read.document is not None
    now = digest(read.document)
    assert now in (folded.state, folded.state_before) or (
        folded.lines <= 1 and not read.document.SESSION.SESSION_ID
    )
    assert {fault.code for fault in validated.faults} <= {CUT_SHORT, TORN}
    return validated


def same(document: Document) -> str:
    """What a document says, without what chance made of it."""
    text = form.blank(document)
    for secret in (document.RESUME.RESUME_TOKEN, document.LEDGERS.ENGINE_RUN_LEDGER.run_id):
        text = text.replace(secret, "") if secret else text
    return text


def end_at_each_step(folder: Path, name: str, before: int, after: int, *, half: bool) -> Counter[str]:
    """The updates up to `before` are done; those up to `after` are cut at each of their steps in turn, and then finished."""
    path = ground(folder / "start", name)
    updates = script(path.parent)
    do(path, updates[:before], DyingDisk())
    left: Counter[str] = Counter()
    for step in range(1000):
        here = shutil.copytree(path.parent, folder / f"at-{step}", symlinks=True) / name
        disk = DyingDisk(step, half=half)
        try:
            whole = do(here, updates[before:after], disk)
        except DiedError:
            left.update(fault.code for fault in check_left(here).faults)
            finish(here, updates[:after])
            shutil.rmtree(here.parent)
            continue
        assert step > 10 * (after - before)  # every one of its steps was the last of some world
        finish(here, updates[:after])
        assert same(whole.document) == same(Manifest(here).document)
        break
    return left


def finish(path: Path, updates: Sequence[Update]) -> None:
    """The next writer goes on where the first one died, and ends where it would have."""
    said = Trace(Manifest(path)._trace.path).folded().lines
    manifest = do(path, updates[said:], DyingDisk())
    manifest.mended()
    lines = list(manifest.trace())
    assert [line.what for line in lines] == [type(one).__struct_config__.tag for one in updates]
    assert manifest.validate().faults == ()
    assert manifest.document == Trace(manifest._trace.path).folded().document
    entries = manifest._changelog.path.read_text() if manifest._changelog.path.exists() else ""
    results = [line for line in lines if line.what == "result"]
    assert [entries.count(f"<!-- trace {line.n} {line.sum[:16]} -->") for line in results] == [1] * len(
        results
    )
    assert entries.count("## Step") == len(results)
    if path.suffix == ".md":
        text = path.read_bytes()
        assert text.startswith(b"# Work\r\n\r\nWhat we do here.  \r\n\r\n```yaml\r\n")
        assert text.endswith(b"```\r\n\r\nEND.")
        assert b"\n" not in text.replace(b"\r\n", b"")


@pytest.mark.parametrize("half", [False, True], ids=["before", "halfway"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("before", "after"), [(0, 1), (4, 5)], ids=["init", "result"])
def test_an_update_that_is_cut_at_any_of_its_steps_is_finished_by_the_next_writer(
    tmp_path: Path, name: str, before: int, after: int, half: bool
) -> None:
    left = end_at_each_step(tmp_path, name, before, after, half=half)
    assert left[CUT_SHORT] or before == 0
    if half:
        assert left[TORN] == 1


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("half", [False, True], ids=["before", "halfway"])
@pytest.mark.parametrize("name", NAMES)
def test_a_session_that_is_cut_at_any_step_of_any_update_ends_as_if_it_had_not_been(
    tmp_path: Path, name: str, half: bool
) -> None:
    left = end_at_each_step(tmp_path, name, 0, 8, half=half)
    assert left[CUT_SHORT] >= 7  # once for each update but the first, which leaves no file


def test_what_was_mended_is_told_in_the_next_line(tmp_path: Path) -> None:
    path = ground(tmp_path / "work", NAMES[0])
    updates = script(path.parent)
    port = DyingDisk()
    do(path, updates[:2], port)
    last_rename = max(at for at, step in enumerate(port.steps) if step.startswith("rename"))
    shutil.rmtree(path.parent)
    ground(path.parent, path.name)
    script(path.parent)
    with suppress(DiedError):
        do(path, updates[:2], DyingDisk(last_rename))
    validated = Manifest(path).validate()
    assert [fault.code for fault in validated.faults] == [CUT_SHORT]
    assert "line 2 of TRACE" in validated.faults[0].message
    trace = path.with_name("TRACE")
    with trace.open("ab") as file:
        file.write(b'{"n":3,"at":"half of a lin')
    torn = next(fault for fault in Manifest(path).validate().faults if fault.code == TORN)
    assert (torn.file, torn.line) == ("TRACE", 3)
    assert "26 bytes" in torn.message
    manifest = Manifest(path, port=DyingDisk(), by="second")
    manifest.mended()
    manifest.say(updates[2])
    (*_, last) = manifest.trace()
    assert last.n == 3
    assert (last.seen["cut"]["line"], last.seen["cut"]["bytes"]) == (3, 26)
    assert last.seen["completed"] == 2
    assert last.seen["took_over"]["name"] == "first"
    assert manifest.validate().ok


# --- real processes, really killed ----------------------------------------------------------------------------------


def work_for_ever(path: Path, begun: int) -> None:
    """What a killed process does: one step after another, each failing and being mended."""
    manifest = Manifest(path, by="killed", lock_wait_s=5.0)
    (path.parent / "proof.txt").write_text("mended")
    ref = manifest.ref("proof.txt")
    document = manifest.mended()
    os.write(begun, b".")
    while True:
        for update in next_updates(document, ref):
            document = manifest.say(update)
            os.write(begun, b".")


def next_updates(document: Document, ref: str) -> tuple[Update, ...]:
    """What may be said now."""
    step = document.CURRENT_STEP
    if not step.STEP_ID or document.RESUME.RESUME_ALLOWED:
        return (StepBegun(goal="a step", signal="go" if step.STEP_ID else ""),)
    if step.STEP_STATUS is not StepStatus.RUNNING:
        return (RequirementMet(requirement="1", ref=ref),)
    if not document.LEDGERS.ENGINE_RUN_LEDGER.run_id:
        return (Routed(routing=document.ROUTING),)
    if not document.LEDGERS.ENGINE_RUN_LEDGER.entries:
        return (EngineTold(key="KEY:ENG.A", status=Ran.RAN, notes="x" * 500),)
    return (
        Resulted(status=StepStatus.FAIL, fail_code="broken", reasons=("y" * 300,), requirements=("mend it",)),
    )


def kill_often(folder: Path, name: str, kills: int, seed: int) -> Counter[str]:
    """Kill a real process that writes, again and again; each goes on where the one before died."""
    chance, left = random.Random(seed), Counter[str]()
    path = folder
    for kill in range(kills):
        if kill % 25 == 0:  # a new session, so that its trace stays short
            path = ground(folder / f"{seed}-{kill}", name)
            Manifest.create(path, "s-1")
        before = Trace(Manifest(path)._trace.path).folded().lines
        hears, says = os.pipe()
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                os.close(hears)
                work_for_ever(path, says)
            os._exit(1)
        os.close(says)
        for _ in range(chance.randint(1, 4)):  # up to three updates are done, and it dies in the next
            assert os.read(hears, 1) == b"."
        signal.sigtimedwait([], chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.close(hears)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        validated = check_left(path)
        left.update({fault.code for fault in validated.faults} or {"clean"})
        left["beside"] += path.with_name(f".{path.name}.new").exists()
        left["lines"] += Trace(Manifest(path)._trace.path).folded().lines - before
        if kill % 25 == 24 or kill == kills - 1:
            check_end(path)
    return left


def check_end(path: Path) -> None:
    """The last writer goes on, and everything verifies."""
    manifest = Manifest(path, by="last")
    document = manifest.mended()
    for _ in range(8):
        for update in next_updates(document, manifest.ref("proof.txt")):
            document = manifest.say(update)
    assert manifest.validate().ok
    lines = list(manifest.trace())
    results = [line for line in lines if line.what == "result"]
    entries = manifest._changelog.path.read_text()
    assert len(results) == entries.count("## Step") == entries.count("<!-- trace ")
    assert sum(line.seen.get("took_over", {}).get("name") == "killed" for line in lines) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_writer_leaves_a_whole_file_and_the_next_one_goes_on(tmp_path: Path, name: str) -> None:
    left = kill_often(tmp_path, name, 10, seed=7)
    assert left["lines"] >= 10


@pytest.mark.slow
@pytest.mark.long
def test_five_hundred_kills_never_leave_a_mixture(tmp_path: Path) -> None:
    left = sum((kill_often(tmp_path, name, 250, seed) for seed, name in enumerate(NAMES)), Counter[str]())
    assert left["lines"] > 400
    assert left["beside"] > 10  # they died while they wrote, and not only between
