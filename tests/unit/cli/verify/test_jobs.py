"""An engine that crashes, hangs, lies or says nothing is a fault with its reason, and never a pass."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from rspp.cli.verify import jobs
from rspp.cli.verify.engine import Ground
from tests.unit.cli.verify.planted_engines import PLAN

ROOT: Final = str(Path(__file__).parents[4])
AT: Final = "tests.unit.cli.verify.planted_engines:PLAN"
DEADLINE_S: Final = 20.0


def ran(
    name: str, folder: Path, *, timeout_s: float = DEADLINE_S, said: list[str] | None = None
) -> jobs.Ended:
    heard = said if said is not None else []
    ground = Ground(folder=folder / "ground", out=folder / "out", level="quick", say=heard.append)
    ground.folder.mkdir(exist_ok=True)
    engine = next(one for one in PLAN if one.name == name)
    return jobs.run(engine, ground, timeout_s=timeout_s, plan=AT, paths=(ROOT,))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int) -> bool:
    until = time.monotonic() + DEADLINE_S
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not is_alive(pid)


def test_what_an_engine_says_comes_through_with_its_progress(tmp_path: Path) -> None:
    said: list[str] = []
    ended = ran("passes", tmp_path, said=said)
    assert (ended.code, ended.outcome.verdict, ended.outcome.facts) == ("", "pass", {"level": "quick"})
    assert said == ["looking"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", "ValueError: no such thing in ./deep/inside"),
        ("ends_without_a_word", "without a whole outcome"),
        ("is_killed", "was ended by SIGKILL"),
        ("passes_with_findings", "says pass and has 1 findings"),
        ("fails_for_nothing", "says nothing that was found"),
        ("is_torn", "without a whole outcome"),
        ("is_forged", "an outcome that is not its own"),
    ],
)
def test_what_breaks_an_engine_is_no_pass_and_says_why(name: str, words: str, tmp_path: Path) -> None:
    ended = ran(name, tmp_path)
    assert (ended.code, ended.outcome.verdict) == (jobs.BROKEN, "fail")
    (found,) = ended.outcome.found
    assert words in found.what
    assert str(tmp_path) not in found.what
    assert "engine.log" in found.fix


@pytest.mark.slow
def test_an_old_outcome_is_not_taken_for_todays(tmp_path: Path) -> None:
    assert ran("passes", tmp_path).outcome.verdict == "pass"
    assert ran("ends_without_a_word", tmp_path).code == jobs.BROKEN


def test_a_checkout_is_looked_at_by_its_own_code_or_not_at_all(tmp_path: Path) -> None:
    """The same, but for a folder of code that is not the one that runs: nothing was seen of it, so nothing passes."""
    own = tmp_path / "rspp/src/rspp"
    own.mkdir(parents=True)
    (own / "__init__.py").touch()
    (tmp_path / "rspp/pyproject.toml").touch()
    with pytest.raises(SystemExit, match="not the one of the checkout"):
        jobs.check_own(tmp_path / "rspp")
    jobs.check_own(Path(ROOT))
    jobs.check_own(tmp_path)


@pytest.mark.slow
def test_who_hangs_is_ended_at_the_deadline_with_all_that_it_began(tmp_path: Path) -> None:
    ended = ran("hangs", tmp_path, timeout_s=0.8)
    assert (ended.code, ended.outcome.verdict) == (jobs.TIMEOUT, "fail")
    assert "longer than 0.8 s" in ended.outcome.found[0].what
    assert gone(int((tmp_path / "out/inner.pid").read_text()))


@pytest.mark.slow
def test_an_engine_does_not_outlive_who_asked(tmp_path: Path) -> None:
    """Whoever asked is killed, without a chance to end anything."""
    program = (
        "import sys; from pathlib import Path; from tests.unit.cli.verify import test_jobs as t;"
        f"t.ran('hangs', Path({str(tmp_path)!r}))"
    )
    paths = os.pathsep.join((ROOT, str(Path(jobs.__file__).parents[3])))
    asking = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": paths})
    try:
        inner = tmp_path / "out/inner.pid"
        until = time.monotonic() + DEADLINE_S
        while not (inner.is_file() and inner.read_text()) and time.monotonic() < until:
            time.sleep(0.01)
        pid = int(inner.read_text())
        assert is_alive(pid)
    finally:
        asking.kill()
        asking.wait()
    assert gone(pid)
