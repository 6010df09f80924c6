"""One writer: the next is told who has the lock, for what and since when; who died with it is taken over and told."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rspp.manifest import Manifest
from rspp.manifest.faults import ManifestError
from rspp.manifest.lock import Lock, _ago
from rspp.manifest.updates import StepBegun

NOW_MS = 1_760_000_000_000


def lock_of(path: Path, by: str = "anna", *, now_ms: int = NOW_MS, take_over: bool = False) -> Lock:
    return Lock(path, by, clock=lambda: now_ms, wait_s=0.0, take_over=take_over)


def refused(lock: Lock) -> ManifestError:
    with pytest.raises(ManifestError) as refusal:
        lock.take("to try")
    assert not lock.is_held
    return refusal.value


def test_the_second_is_refused_with_the_name_the_purpose_and_the_age(tmp_path: Path) -> None:
    first = lock_of(tmp_path / "l")
    first.take("release run voice")
    error = refused(lock_of(tmp_path / "l", "boris", now_ms=NOW_MS + 125_000))
    assert error.code == "manifest_locked"
    assert "anna" in error.message
    assert f"process {os.getpid()}, which is this very process" in error.message
    assert "since 2 minutes: release run voice" in error.message
    first.give_back()
    assert (tmp_path / "l").read_bytes() == b""  # never removed, and empty when nobody has it
    second = lock_of(tmp_path / "l", "boris")
    assert second.take("to try") is None
    second.give_back()


def test_the_second_waits_as_long_as_it_was_told_to(tmp_path: Path) -> None:
    first = lock_of(tmp_path / "l")
    first.take("soon done")
    threading.Timer(0.1, first.give_back).start()
    second = Lock(tmp_path / "l", "boris", clock=lambda: NOW_MS, wait_s=20.0)
    assert second.take("to try") is None
    second.give_back()


def test_what_a_dead_holder_left_is_taken_over_and_told(tmp_path: Path) -> None:
    first = lock_of(tmp_path / "l")
    first.take("release run voice")
    first._forget()
    left = lock_of(tmp_path / "l", "boris").take("to go on")
    assert left is not None
    assert (left.name, left.pid, left.purpose, left.host) == (
        "anna",
        os.getpid(),
        "release run voice",
        socket.gethostname(),
    )
    assert left.started.isdigit()


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"name":1}', b"[]" * 3000, b"null"])
def test_what_cannot_be_read_in_the_lock_is_taken_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "l").write_bytes(content)
    left = lock_of(tmp_path / "l").take("to go on")
    assert left is not None
    assert left.name == "somebody"


def test_another_host_s_lock_is_only_taken_over_by_word(tmp_path: Path) -> None:
    holder = {
        "name": "clara",
        "host": "other",
        "pid": 7,
        "started": "1",
        "since_ms": NOW_MS - 7_200_000,
        "purpose": "verify",
    }
    (tmp_path / "l").write_text(json.dumps(holder))
    error = refused(lock_of(tmp_path / "l"))
    assert error.code == "manifest_lock_foreign"
    for part in ("clara", "other", "2 hours", "verify", "--take-over"):
        assert part in error.message
    assert json.loads((tmp_path / "l").read_text()) == holder  # as it was
    left = lock_of(tmp_path / "l", take_over=True).take("to go on")
    assert left is not None
    assert left.host == "other"


def test_who_was_taken_over_is_told_in_the_next_line_whoever_says_it(tmp_path: Path) -> None:
    Manifest.create(tmp_path / "m.yaml", "s-1")
    holder = {"name": "clara", "host": "other", "pid": 7, "started": "1", "since_ms": 1, "purpose": "verify"}
    (tmp_path / "m.lock").write_text(json.dumps(holder))
    with pytest.raises(ManifestError, match="take_over"):
        Manifest(tmp_path / "m.yaml").mended()
    with Manifest(tmp_path / "m.yaml", by="anna", take_over=True).hold("to take it over"):
        pass
    later = Manifest(tmp_path / "m.yaml", by="boris")
    later.say(StepBegun(goal="a"))
    line = list(later.trace())[-1]
    told = line.seen["took_over"]
    assert (line.by, told["name"], told["host"], told["taken_by"]) == ("boris", "clara", "other", "anna")
    assert (tmp_path / "m.lock").read_bytes() == b""


def test_a_lock_whose_file_was_replaced_is_ours_no_more(tmp_path: Path) -> None:
    first = lock_of(tmp_path / "l")
    first.take("a long run")
    first.check()
    (tmp_path / "l").unlink()
    with pytest.raises(ManifestError, match="removed or replaced"):
        first.check()
    second = lock_of(tmp_path / "l", "boris")
    second.take("to try")
    with pytest.raises(ManifestError, match="removed or replaced"):
        first.check()
    second.check()


@pytest.mark.parametrize("kind", ["folder", "link", "none"])
def test_what_is_no_lock_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "l"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path = tmp_path / "gone" / "l"
    assert refused(lock_of(path)).code == "manifest_unwritable"
    assert not (tmp_path / "elsewhere").exists()


def test_an_age_is_said_as_people_say_it() -> None:
    ages = {
        0: "0 seconds",
        1_000: "1 second",
        61_000: "1 minute",
        7_200_000: "2 hours",
        90_000_000: "1 day",
        -5: "0 seconds",
    }
    assert {ms: _ago(ms) for ms in ages} == ages


# --- real processes -------------------------------------------------------------------------------------------------

HOLD = """
import sys
from rspp.manifest import Manifest
with Manifest(sys.argv[1], by="anna").hold("release run voice"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_of_two_people_at_once_the_second_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "RUNTIME_MANIFEST.yaml"
    Manifest.create(path, "s-1")
    before = path.read_bytes(), (tmp_path / "TRACE").read_bytes()
    second = Manifest(path, by="boris", lock_wait_s=0.05)
    with holding(path) as process:
        with pytest.raises(ManifestError) as refusal:
            second.say(StepBegun(goal="mine"))
        for part in ("anna", f"process {process.pid}", "release run voice", "second"):
            assert part in refusal.value.message
        assert (path.read_bytes(), (tmp_path / "TRACE").read_bytes()) == before
        assert second.validate().ok  # reading needs no lock
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        second.say(StepBegun(goal="mine"))
    line = list(second.trace())[-1]
    assert (line.by, line.seen["took_over"]["name"], line.seen["took_over"]["pid"]) == (
        "boris",
        "anna",
        process.pid,
    )


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    manifest = Manifest.create(tmp_path / "m.yaml", "s-1", by="anna", lock_wait_s=0.0)
    context = multiprocessing.get_context("fork")
    go, done = context.Event(), context.Queue()

    def child() -> None:
        try:
            manifest.say(StepBegun(goal="the child's"))
        except ManifestError as error:
            done.put(error.code)
        go.wait(20)

    with manifest.hold("the parent's run"):
        process = context.Process(target=child)
        process.start()
        assert done.get(timeout=20) == "manifest_locked"
        assert json.loads((tmp_path / "m.lock").read_text())["purpose"] == "the parent's run"
        manifest.say(StepBegun(goal="the parent's"))
    # The child still lives, and what it has of its parent's does not hold the lock.
    other = Manifest(tmp_path / "m.yaml", by="boris", lock_wait_s=0.0)
    with other.hold("a third"):
        pass
    go.set()
    process.join(20)
    assert process.exitcode == 0


def test_two_objects_in_one_process_are_two_people(tmp_path: Path) -> None:
    first = Manifest.create(tmp_path / "m.yaml", "s-1", by="anna")
    second = Manifest(tmp_path / "m.yaml", by="boris", lock_wait_s=0.0)
    with (
        first.hold("a run"),
        first.hold("the same run, once more"),
        pytest.raises(ManifestError, match="which is this very process"),
    ):
        second.say(StepBegun(goal="mine"))
    second.say(StepBegun(goal="mine"))
    assert first.document.CURRENT_STEP.STEP_GOAL == "mine"
