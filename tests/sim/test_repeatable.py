"""A seed is a session: the same again on repeat, in another process, under another hash seed, over any processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from rspp.sim.run import run_sessions
from rspp.sim.scenario import draw
from rspp.sim.session import run_session

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

SESSIONS = 6


def in_another_process(hash_seed: str, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "rspp.cli.main", "sim", "run", "--json", *options],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_a_run_is_the_same_on_repeat_and_another_seed_is_another_run() -> None:
    first, again, other = (run_sessions(seed, range(SESSIONS)) for seed in (3, 3, 4))
    assert first.digest == again.digest
    assert (first.turns, first.aborts, first.faults_by_name) == (
        again.turns,
        again.aborts,
        again.faults_by_name,
    )
    assert first.digest != other.digest


@pytest.mark.slow
def test_a_run_is_the_same_under_any_hash_seed_and_over_two_processes() -> None:
    options = ("--sessions", str(SESSIONS), "--seed", "3")
    digests = {
        in_another_process("1", *options)["digest"],
        in_another_process("2", *options, "--procs", "2")["digest"],
        run_sessions(3, range(SESSIONS)).digest,
    }
    assert len(digests) == 1


def test_one_session_alone_is_the_session_of_the_run() -> None:
    alone = run_session(draw(3, 4))
    amid = [run_session(draw(3, number)) for number in range(SESSIONS)][4]
    assert alone.digest == amid.digest
    assert draw(3, 4).command == "rspp sim run --seed 3 --session 4 --faults all"


def test_the_report_has_the_keys_that_were_promised() -> None:
    report = in_another_process("0", "--session", "0", "--faults", "none")
    promised = {
        *("sessions", "turns", "commits", "aborts", "interruptions", "faults"),
        *("sim_seconds", "cpu_seconds", "digest", "violations"),
    }
    assert promised <= report.keys()
    assert list(report["faults"]) == [f"F{n}" for n in range(1, 9)]
    assert report["violations"] == []


@pytest.mark.long
@pytest.mark.slow
def test_a_hundred_sessions_are_the_same_over_one_and_two_processes() -> None:
    one, two = run_sessions(11, range(100)), run_sessions(11, range(100), procs=2)
    assert one.digest == two.digest
    assert one.violations == []
