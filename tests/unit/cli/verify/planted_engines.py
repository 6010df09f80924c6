"""Engines that go wrong in every way there is, run in processes of their own by the tests beside this file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rspp.cli.verify.engine import Engine, Found, Ground, Level, Outcome

FLAG: Final = "fault.txt"  # in the ground: who is named in it fails
LEVELS: Final[frozenset[Level]] = frozenset({"quick", "full"})


def passes(ground: Ground) -> Outcome:
    ground.say("looking")
    return Outcome(verdict="pass", summary="nothing is wrong", facts={"level": ground.level})


def asks_the_ground(name: str) -> Callable[[Ground], Outcome]:
    """Fails as long as the ground names it, and counts how often it was run."""

    def run(ground: Ground) -> Outcome:
        counted = Path(str(ground.options["counts"])) / name
        with counted.open("a") as file:
            file.write("x")
        flag = ground.folder / FLAG
        if flag.exists() and name in flag.read_text():
            found = (Found(what=f"{name} is named", fix=f"take {name} out", where=f"{FLAG}:1"),)
            return Outcome(verdict="fail", summary="1 fault", found=found)
        return Outcome(verdict="pass", summary="nothing is wrong")

    return run


def waits_for_a_go(ground: Ground) -> Outcome:
    """Does not end before somebody says so."""
    counts = Path(str(ground.options["counts"]))
    (counts / "waiting").touch()
    while not (counts / "go").exists():
        time.sleep(0.01)
    return asks_the_ground("third")(ground)


def writes_a_source(ground: Ground) -> Outcome:
    (ground.folder / "pipeline.yaml").write_text("pipeline: other\n")
    return Outcome(verdict="pass", summary="nothing is wrong")


def raises(ground: Ground) -> Outcome:
    raise ValueError(f"no such thing in {ground.folder}/deep/inside")


def ends_without_a_word(ground: Ground) -> Outcome:
    os._exit(0)


def is_killed(ground: Ground) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it goes on after its end")


def hangs(ground: Ground) -> Outcome:
    inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (ground.out / "inner.pid").write_text(str(inner.pid))
    ground.say("waiting")
    time.sleep(600)
    raise AssertionError("it was not ended")


def passes_with_findings(ground: Ground) -> Outcome:
    return Outcome(verdict="pass", summary="all well", found=(Found(what="a fault", fix="mend it"),))


def fails_for_nothing(ground: Ground) -> Outcome:
    return Outcome(verdict="fail", summary="it fails")


def is_torn(ground: Ground) -> Outcome:
    (ground.out / "outcome.json").write_text('{"verdict": "pass", "summ')
    os._exit(0)


def is_forged(ground: Ground) -> Outcome:
    """Something that it began writes an outcome in its place, and ends it."""
    program = "import os, pathlib; pathlib.Path('outcome.json').write_text(os.environ['FORGED'])"
    said = b'{"word": "guessed", "outcome": {"verdict": "pass", "summary": "all well"}}'
    subprocess.run([sys.executable, "-c", program], env={"FORGED": said.decode()}, check=True)
    os._exit(0)


def skips(ground: Ground) -> Outcome:
    return Outcome(verdict="skipped", summary="nothing to look at")


def _engine(name: str, run: Callable[[Ground], Outcome]) -> Engine:
    return Engine(
        key=f"KEY:ENG.{name.upper()}",
        name=name,
        summary=name,
        levels=LEVELS,
        fail_code=f"{name}_found",
        run=run,
    )


PLAN: Final = tuple(
    _engine(one.__name__, one)
    for one in (
        passes,
        raises,
        ends_without_a_word,
        is_killed,
        hangs,
        passes_with_findings,
        fails_for_nothing,
        is_torn,
        is_forged,
        skips,
        writes_a_source,
    )
)
RUNS: Final = (
    _engine("first", asks_the_ground("first")),
    _engine("second", asks_the_ground("second")),
    _engine("third", asks_the_ground("third")),
)
INTERRUPTED: Final = (
    _engine("first", asks_the_ground("first")),
    _engine("second", asks_the_ground("second")),
    _engine("third", waits_for_a_go),
)
