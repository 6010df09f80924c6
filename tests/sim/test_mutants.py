"""A planted bug must be caught by the checker of the invariant that it breaks, and the clean kernel must be clean."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from rspp.cli.main import main
from rspp.kernel.buffers import EdgeQueue
from rspp.kernel.invariants import INVARIANTS
from rspp.sim.mutants import MUTANTS, clean_violations, hunt, planted, violations

QUICK = (
    "fence_off_by_one",
    "second_terminal",
    "stale_epoch_accepted",
    "telemetry_before_control",
    "unbounded_edge",
)


def test_every_invariant_has_a_bug_that_breaks_it_and_there_are_thirty_at_least() -> None:
    assert {mutant.inv for mutant in MUTANTS} == set(INVARIANTS)
    assert len(MUTANTS) >= 30
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught_by_the_checker_of_its_invariant(name: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    outcome = hunt(mutant, lambda number, faults: violations(1, number, faults), 40)
    assert outcome.caught
    assert clean_violations(1, [outcome]) == 0


def test_a_mutant_that_nobody_catches_is_said_to_have_survived() -> None:
    harmless = next(mutant for mutant in MUTANTS if mutant.name == "second_terminal")
    outcome = hunt(harmless, lambda number, faults: [("INV-99", "another")], 3)
    assert not outcome.caught
    assert outcome.checker is None
    assert outcome.sessions == 3


def test_the_kernel_is_whole_again_when_the_bug_is_taken_out() -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "unbounded_edge")
    whole = EdgeQueue.__dict__["_full"]
    with planted(mutant):
        assert EdgeQueue.__dict__["_full"] is not whole
    assert EdgeQueue.__dict__["_full"] is whole


@pytest.mark.slow
def test_all_mutants_are_caught_and_the_clean_kernel_passes_their_sessions() -> None:
    result = CliRunner().invoke(main, ["sim", "mutants", "--json", "--seed", "1"])
    assert result.exit_code == 0, result.output[-2000:]
    report = json.loads(result.stdout)
    assert [one["name"] for one in report["mutants"] if not one["caught"]] == []
    assert report["clean_violations"] == 0
