"""`rspp shrink`: writes a test that pytest runs, which fails until the failure is repaired."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rspp.cli import shrink
from tests.unit.timeline.calls import simulated_bytes


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(shrink.command, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def call(tmp_path: Path) -> Path:
    path = tmp_path / "call.rspp"
    path.write_bytes(simulated_bytes(7, 1, "all"))
    return path


@pytest.mark.slow
@pytest.mark.long
def test_the_test_that_is_written_is_run_by_pytest_and_fails_with_what_was_found(
    call: Path, tmp_path: Path
) -> None:
    out = tmp_path / "test_found.py"
    result = run(call, "--out", out, "--check", "signal barge_in", "--time-s", 3, "--json")
    facts = json.loads(result.stdout)
    assert result.exit_code == 0
    assert facts["inputs"] < facts["inputs_before"] / 10
    assert "inputs are left" in result.stderr
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(out)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "barge_in at" in done.stdout


def test_what_does_not_fail_ends_with_1_and_writes_nothing(call: Path, tmp_path: Path) -> None:
    out = tmp_path / "test_none.py"
    assert run(call, "--out", out).exit_code == 1
    assert not out.exists()
    assert not out.with_suffix(".rspp").exists()


@pytest.mark.parametrize("name", ["found.py", "test_found.txt", "test-found.py"])
def test_a_name_that_pytest_would_not_find_is_wrong_usage(call: Path, tmp_path: Path, name: str) -> None:
    assert run(call, "--out", tmp_path / name, "--check", "signal barge_in").exit_code == 2


def test_a_check_that_means_nothing_is_wrong_usage(call: Path, tmp_path: Path) -> None:
    assert run(call, "--out", tmp_path / "test_x.py", "--check", "mood").exit_code == 2


def test_hostile_words_stay_inside_the_test(call: Path, tmp_path: Path) -> None:
    out = tmp_path / "test_x.py"
    check = 'signal """\nimport os\n"""'
    assert run(call, "--out", out, "--check", check).exit_code == 1
    text = shrink.text_of("test_x", 's"""\n', check, 3, 9)
    compile(text, "test_x.py", "exec")
    assert "\nimport os" not in text
