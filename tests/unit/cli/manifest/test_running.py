"""A command that is run as proof: what it wrote and how it ended is kept, and what the ledger says of it is that."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rspp.cli.manifest import proof
from tests.unit.cli.manifest.working import BUILD, WORDS, Work

pytestmark = pytest.mark.slow  # processes, or stores
RSPP = [sys.executable, "-c", "from rspp.cli.manifest import command; command(prog_name='rspp manifest')"]


def entry(work: Work, key: str = BUILD) -> dict[str, Any]:
    ledger = work.show()["document"]["LEDGERS"]["ENGINE_RUN_LEDGER"]["entries"]
    found: dict[str, Any] = next(one for one in ledger if one["eng_key"] == key)
    return found


def content(work: Work, ref: str) -> bytes:
    """The file of a reference, whose digest must be what it says."""
    path, _, sha256 = ref.partition("#sha256=")
    data = (work.folder / path).read_bytes()
    assert hashlib.sha256(data).hexdigest() == sha256
    return data


def record(work: Work, key: str = BUILD) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(content(work, entry(work, key)["outputs_produced"][1]))
    return found


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_what_it_wrote_is_kept_with_its_digest_and_how_it_ended_is_in_the_ledger(work: Work) -> None:
    work.begin()
    result = work.run("engine", BUILD, "--run", "--note", "first", "--", "sh", "-c", "echo out; echo err >&2")
    assert result.exit_code == 0
    assert result.stderr == "out\nerr\n", "whoever watches sees it"
    found = entry(work)
    assert found["status"] == "ran"
    assert found["notes"].startswith("exit status 0 after ")
    assert found["notes"].endswith("; first")
    assert content(work, found["outputs_produced"][0]) == b"out\nerr\n"
    said = record(work)
    assert said["command"] == ["sh", "-c", "echo out; echo err >&2"]
    assert (said["session"], said["step"], said["key"], said["validator"]) == ("greeting", "1", BUILD, False)
    assert (said["ran"]["end"], said["ran"]["exit_status"]) == ("exited", 0)


@pytest.mark.parametrize(
    ("command", "notes"),
    [
        (("false",), "exit status 1 after"),
        (("sh", "-c", "exit 7"), "exit status 7 after"),
        (("sh", "-c", "kill -9 $$"), "ended by signal 9 after"),
        (("no-such-program-here",), "could not be started: No such file or directory"),
        (("/",), "could not be started:"),
    ],
)
def test_what_does_not_end_with_0_has_failed(work: Work, command: tuple[str, ...], notes: str) -> None:
    work.begin()
    work.refused("engine", BUILD, "--run", "--", *command, says=[notes])
    assert entry(work)["status"] == "failed"
    assert entry(work)["notes"].startswith(notes)
    work.refused("result", "pass", "--done", says=[f"the engine {BUILD} failed"])
    work.done("engine", BUILD, "--run", "--", "true")
    assert entry(work)["status"] == "ran"


def test_run_again_the_files_of_the_first_run_stay_as_they_are(work: Work) -> None:
    work.begin()
    work.done("engine", BUILD, "--run", "--", "echo", "first")
    first = entry(work)["outputs_produced"]
    work.done("engine", BUILD, "--run", "--", "echo", "second")
    assert content(work, first[0]) == b"first\n"
    assert content(work, entry(work)["outputs_produced"][0]) == b"second\n"


def test_it_is_ended_when_it_takes_too_long_with_all_that_it_started(work: Work) -> None:
    work.begin()
    work.refused(
        "engine",
        BUILD,
        "--run",
        "--limit",
        "0.3",
        "--",
        "sh",
        "-c",
        "sleep 60 & echo $! > pid; wait",
        says=["too long"],
    )
    assert entry(work)["status"] == "failed"
    child = int((work.folder / "pid").read_text(encoding="utf-8"))
    until(lambda: not alive(child))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_it_leaves_running_is_ended_with_it_so_that_its_words_stay_what_they_were(work: Work) -> None:
    work.begin()
    work.done("engine", BUILD, "--run", "--", "sh", "-c", "(sleep 60; echo late) & echo $! > pid; echo now")
    child = int((work.folder / "pid").read_text(encoding="utf-8"))
    until(lambda: not alive(child))
    assert content(work, entry(work)["outputs_produced"][0]) == b"now\n"


def test_what_writes_without_end_is_ended_and_its_file_has_a_bound(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "OUTPUT_BYTES_MAX", 100_000)
    work.begin()
    work.refused("engine", BUILD, "--run", "--", "yes", says=["wrote more than 100000 bytes"])
    assert len(content(work, entry(work)["outputs_produced"][0])) == 100_000


def test_a_secret_on_the_command_line_is_not_written_down(work: Work) -> None:
    work.begin()
    secret = "ghp_" + "a1B2" * 9
    work.done(
        "engine",
        BUILD,
        "--run",
        "--",
        "sh",
        "-c",
        "true",
        f"--token={secret}",
        f"https://user:{secret}@example.com/",
    )
    for path in work.folder.rglob("*"):
        if path.is_file():
            assert secret not in path.read_text(encoding="utf-8", errors="replace"), path


def test_a_file_that_was_to_be_made_and_was_not_makes_it_a_failure(work: Work) -> None:
    work.begin()
    work.refused("engine", BUILD, "--run", "--output", "made.txt", "--", "true", says=["made.txt"])
    assert entry(work)["status"] == "failed"
    work.done("engine", BUILD, "--run", "--output", "made.txt", "--", "sh", "-c", "echo x > made.txt")
    assert content(work, entry(work)["outputs_produced"][2]) == b"x\n"


def test_it_can_ask_nothing_and_no_shell_reads_it(work: Work) -> None:
    work.begin()
    asking = [*RSPP, "engine", "--no-journal", BUILD, "--run", "--", "sh", "-c", "cat; echo end"]
    subprocess.run(
        asking, cwd=work.folder, input=b"from outside", capture_output=True, check=True, timeout=30
    )
    assert content(work, entry(work)["outputs_produced"][0]) == b"end\n"
    work.done("engine", BUILD, "--run", "--", "echo", "$(touch touched)", "--help", "; touch touched")
    assert content(work, entry(work)["outputs_produced"][0]) == b"$(touch touched) --help ; touch touched\n"
    assert not (work.folder / "touched").exists()


def test_bytes_that_are_no_text_are_kept_as_they_are(work: Work) -> None:
    work.begin()
    result = work.run("engine", BUILD, "--run", "--", "printf", r"\377\000\033[31m")
    assert result.exit_code == 0
    assert content(work, entry(work)["outputs_produced"][0]) == b"\xff\x00\x1b[31m"


@pytest.mark.parametrize("key", ["../../outside", "a/b", ".hidden", "ключ", "K" * 190, "a*?:b"])
def test_a_key_of_any_kind_makes_a_file_below_the_step(work: Work, key: str) -> None:
    work.begin()
    work.done("engine", key, "--run", "--", "true")
    path = entry(work, key)["outputs_produced"][0].partition("#")[0]
    assert Path(path).parent == Path("proof/greeting/1")
    assert len(Path(path).name) < 120


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_told_to_end_it_ends_the_command_and_records_that_it_was_interrupted(work: Work, told: int) -> None:
    work.begin()
    running = subprocess.Popen(
        [*RSPP, "engine", "--no-journal", BUILD, "--run", "--", "sh", "-c", "echo $$ > pid; exec sleep 60"],
        cwd=work.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(
            lambda: (work.folder / "pid").exists() and (work.folder / "pid").read_text(encoding="utf-8") != ""
        )
        child = int((work.folder / "pid").read_text(encoding="utf-8"))
        running.send_signal(told)
        out, err = running.communicate(timeout=10)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 1, (out, err)
    assert "interrupted after" in out
    assert entry(work)["status"] == "failed"
    until(lambda: not alive(child))


def test_while_it_runs_nobody_else_writes_and_is_told_who_does_and_since_when(work: Work) -> None:
    work.begin()
    running = subprocess.Popen(
        [*RSPP, "engine", "--no-journal", BUILD, "--run", "--", "sh", "-c", "echo > began; while [ ! -e go ]; do sleep 0.02; done"],
        cwd=work.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until((work.folder / "began").exists)
        said = work.refused(
            "role", "QA", "--ran", "--wait", "0.1", says=["manifest_locked", f"process {running.pid}"]
        )
        assert "second" in said, "since when"
        assert f"engine {BUILD}" in said, "what for"
        assert work.show()["state"] == "running", "who only looks waits for nobody"
        (work.folder / "go").touch()
        assert running.wait(10) == 0
    finally:
        running.kill()
        running.communicate()
    work.done("role", "QA", "--ran")


def test_a_writer_that_died_with_the_lock_is_taken_over(work: Work) -> None:
    work.begin()
    running = subprocess.Popen(
        [*RSPP, "engine", "--no-journal", BUILD, "--run", "--", "sh", "-c", "echo $$ > pid; exec sleep 60"],
        cwd=work.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: (work.folder / "pid").exists() and (work.folder / "pid").read_text(encoding="utf-8") != "")
    running.kill()
    running.wait()
    os.killpg(int((work.folder / "pid").read_text(encoding="utf-8")), signal.SIGKILL)
    work.done("role", "QA", "--ran")
    assert BUILD not in str(work.show()["document"]["LEDGERS"]["ENGINE_RUN_LEDGER"]["entries"]), (
        "it proved nothing"
    )
    assert work.json("validate")["ok"]


def test_a_check_that_fails_ends_with_1_and_its_verdict_is_in_the_answer(work: Work) -> None:
    work.begin()
    told = work.json("check", WORDS, "--", "false", status=1)
    assert (told["verdict"], told["run"]["ran"]["exit_status"], told["run"]["validator"]) == ("fail", 1, True)
