"""`rspp sim` for people and for programs."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from rspp.cli.main import main
from rspp.sim.faults import FAULTS


def rspp(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["sim", *arguments])
    return result.exit_code, result.output


def test_a_run_prints_a_table_and_says_that_nothing_was_violated() -> None:
    status, output = rspp("run", "--sessions", "2", "--faults", "none")
    assert status == 0
    assert "nothing was violated" in output
    assert "digest" in output


def test_a_fault_that_does_not_exist_is_refused_by_name() -> None:
    status, output = rspp("run", "--faults", "F3,storm")
    assert status == 2
    assert "'storm'" in output


def test_the_faults_are_listed_with_class_and_meaning() -> None:
    status, output = rspp("faults", "--json")
    assert status == 0
    assert [row["name"] for row in json.loads(output)] == list(FAULTS)
    assert all(row["meaning"] for row in json.loads(output))


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_demo_tells_of_a_failure_a_switch_a_cough_and_an_interruption(seed: str) -> None:
    status, output = rspp("demo", "--seed", seed, "--no-color")
    assert status == 0
    for said in (
        "gives up on llm-a, goes on with llm-b",
        "it was no interruption",
        "an interruption: the caller takes the floor",
        "ms after the caller's first sound",
        "nothing that must hold was violated",
    ):
        assert said in output
    assert "\x1b[" not in output
