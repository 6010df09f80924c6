"""A process that serves no calls leaves the CPU to those that do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from rspp.cli.console import command as console
from rspp.control.supervisor.parenthood import STEPS_BACK

STEPPING = """
import os, subprocess, sys
from rspp.control.supervisor.parenthood import step_back
step_back()
subprocess.run([sys.executable, "-c", "import os; os.write(1, str(os.nice(0)).encode())"], check=True)
"""


def test_who_steps_back_does_so_with_all_that_it_begins() -> None:
    here = os.nice(0)
    done = subprocess.run([sys.executable, "-c", STEPPING], check=True, capture_output=True, timeout=30)
    assert int(done.stdout) == min(19, here + STEPS_BACK)
    assert os.nice(0) == here


@pytest.mark.parametrize(("beside", "stepped"), [(["--with-parent", "1"], 1), ([], 0)])
def test_a_console_steps_back_beside_calls_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, beside: list[str], stepped: int
) -> None:
    steps: list[None] = []
    monkeypatch.setattr("rspp.cli.control.serve.die_with_parent", lambda _: True)
    monkeypatch.setattr("rspp.cli.control.serve.step_back", lambda: steps.append(None))
    refused = CliRunner().invoke(console, ["--listen", "nowhere", "--store", "sqlite:///x.db", *beside])
    assert refused.exit_code != 0
    assert len(steps) == stepped
