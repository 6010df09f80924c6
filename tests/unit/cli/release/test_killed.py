"""A release that is stopped at every step, or killed anywhere, comes to the same end, and does nothing twice that passed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from rspp.cli.release.going import How
from rspp.cli.release.progress import Attempt
from rspp.cli.release.settings import FILE, release_folder
from rspp.cli.release.steps import STEPS, StepName, plan
from rspp.manifest.document import StepStatus
from tests.unit.cli.release.stage import PIPELINE, TENANT, Copy, Stage

ROOT = Path(__file__).parents[4]
SEED = 20_260_407
KILLS_MAX = 100


def check_end(stage: Stage, version: str, *, kills: int = 0) -> None:
    """The same end, however it was reached: each step passed once, one publication, ledgers and log of one mind."""
    folder = release_folder(stage.data, PIPELINE, version)
    work, settings = stage.work(folder), stage.settings(folder)
    so_far = work.attempts()
    assert [(one.name, one.passed) for one in so_far] == [(step.name, True) for step in plan(settings)]
    assert work.state == "done"
    validated = work.manifest.validate()
    assert (validated.faults, validated.missing) == ((), ())
    for one in so_far:
        check_once(one)
    published = [one for one in stage.audit("pipelines.publish") if settings.begun_wall_ms <= one.at_wall_ms]
    assert len(published) <= 1, "published twice"
    assert published or kills, "nobody was killed, and the publication is not on record"
    there = stage.ask("pipelines.show", pipeline=PIPELINE, version=version)["published"]
    assert there["sha256"] == settings.spec_sha256
    assert stage.ask("rollout.show", pipeline=PIPELINE)["rollout"]["base"] == version
    for action in ("rollout.begin", "rollout.canary", "rollout.promote"):
        own = [one for one in stage.audit(action) if settings.session in one.facts["reason"]]
        assert len(own) <= 1, f"{action} done {len(own)} times"
    assert stage.differences(folder) == ()
    assert json.loads((folder / "release.json").read_text())["audit"]["differences"] == []


def check_once(one: Attempt) -> None:
    """What an engine said it ran was said once: nobody ran it again after that."""
    told = Counter(entry.key for entry in one.engines)
    assert told[STEPS[one.name].engine] == 1, f"{one.name}: {told}"
    assert one.result is not None
    assert one.result.status is StepStatus.PASS


@pytest.mark.slow
def test_stopped_after_every_step_in_turn_it_comes_to_the_same_end(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.plant("v1", [("closed", 1)])
    folder = stage.begin("v1", sessions_min=1)
    names = [step.name for step in plan(stage.settings(folder))]
    for number, name in enumerate(names, 1):
        ended = stage.go(folder, stop_after=name)
        assert ended.how is How.WAITS, ended
        assert [one.name for one in stage.work(folder).attempts()] == names[:number]
    assert stage.go(folder).how is How.RELEASED
    check_end(stage, "v1")


# ---- kill -9 -----------------------------------------------------------------------------------------------------------


class Runner:
    """A process that forks releases; each can be killed."""

    def __init__(self, process: subprocess.Popen[str], stage: Stage) -> None:
        self._process, self.stage = process, stage

    def start(self, *words: str, dies_at: int = 0) -> int:
        return self._asked(json.dumps([dies_at, words]))

    def status(self) -> int:
        return self._asked("")

    def _asked(self, line: str) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def begin_or_resume(self, version: str) -> int:
        """As a person would: resumed once it was begun."""
        stage = self.stage
        to = ("--store", stage.url, "--data", str(stage.data), "--tell", "none")
        if (release_folder(stage.data, PIPELINE, version) / FILE).exists():
            return self.start("resume", f"{PIPELINE}@{version}", *to)
        held_to = ("--corpus", str(stage.corpus), "--gates", str(stage.gates), "--any-gates")
        watched = (
            "--observe",
            "200ms",
            "--every",
            "50ms",
            "--min-sessions",
            "2",
            "--canary",
            "20",
            "--tenants",
            TENANT,
        )
        return self.start("run", str(stage.spec(version)), *held_to, *watched, *to)


@contextmanager
def runner(stage: Stage) -> Iterator[Runner]:
    log = stage.folder / "releases.log"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.cli.release.runner", str(log)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield Runner(process, stage)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def released_under_fire(runner: Runner, version: str, kills: int, random: Random, span_s: float) -> int:
    """Killed so often, or until it has come to its end, and then let through; how often it was."""
    runner.stage.plant(version, [("closed", 1), ("closed", 2), ("", 1)], name=version)
    done = 0
    while True:
        pid = runner.begin_or_resume(version)
        if done < kills:
            time.sleep(random.uniform(0.0, span_s))
            os.kill(pid, signal.SIGKILL)
        status = runner.status()
        if status == -signal.SIGKILL:
            done += 1
            continue
        assert status == 0, (runner.stage.folder / "releases.log").read_text()[-3_000:]
        return done


@pytest.mark.slow
def test_killed_up_to_twice_it_comes_to_the_same_end(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    with runner(stage) as forks:
        killed = released_under_fire(forks, "v1", 2, Random(SEED), 0.4)
    assert killed, "a quick machine may come to the end before the second, and none before the first"
    check_end(stage, "v1", kills=killed)


@pytest.mark.slow
@pytest.mark.long
def test_killed_a_hundred_times_at_random_it_comes_to_the_same_end(tmp_path: Path) -> None:
    """Many releases, one version after the other; the first begins the rollout, all others go out as canaries."""
    stage, random = Stage(tmp_path), Random(SEED)
    killed = number = 0
    with runner(stage) as forks:
        while killed < KILLS_MAX:
            number += 1
            now = released_under_fire(forks, f"v{number}", KILLS_MAX - killed, random, 1.5)
            check_end(stage, f"v{number}", kills=now)
            killed += now
    assert killed == KILLS_MAX
    assert number >= 3, "the kills should hit releases of both kinds"
    assert len(stage.audit("pipelines.publish")) <= number


WRITES_MAX = 200


@pytest.mark.slow
@pytest.mark.long
def test_killed_at_every_single_write_to_the_store_it_does_each_change_once(tmp_path: Path) -> None:
    """The narrowest places: between a change and the words about it in the audit log, before and after."""
    stage = Stage(tmp_path / "first")
    stage.ask("pipelines.publish", text=stage.spec("v1").read_text())
    stage.ask("rollout.begin", pipeline=PIPELINE, version="v1", reason="first")
    stage.go(stage.begin("v2", direct=True), stop_after=StepName.APPROVAL)
    for write in range(1, WRITES_MAX):
        copy = Copy(stage, tmp_path / f"at-{write}")
        words = ("resume", f"{PIPELINE}@v2", "--store", copy.url, "--data", str(copy.data), "--tell", "none")
        with runner(copy) as forks:
            forks.start(*words, dies_at=write)
            killed = forks.status() == -signal.SIGKILL
            if killed:
                forks.start(*words)
                assert forks.status() == 0, (copy.folder / "releases.log").read_text()[-2_000:]
        check_end(copy, "v2", kills=int(killed))
        if not killed:
            assert write > 10, "a release writes more than that"
            return
    raise AssertionError("it never came to its end by itself")
