"""`rspp bench gates` leaves a corpus that goes through every gate, in one line with the command that judges it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from rspp.cli.bench import command as bench
from rspp.cli.gates import command as gates


@pytest.mark.slow
def test_its_corpus_has_samples_for_every_gate_and_is_whole(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    made = CliRunner().invoke(bench, ["gates", str(corpus), "--sessions", "5", "--turns", "2", "--json"])
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert (told["recordings"], told["turns"]) == (5, 10)
    judged = CliRunner().invoke(gates, [str(corpus), "--json"])
    report = json.loads(judged.stdout)
    assert all(gate["samples"] for gate in report["gates"])
    assert all(gate["violations"] == [] for gate in report["gates"])
    assert [gate["passed"] for gate in report["gates"] if gate["number"] in (4, 5, 6)] == [True] * 3
    assert {one["whole"] for one in report["subjects"]} == {True}
    assert next(one for one in report["side"] if one["name"] == "replay_order_mismatch_count")["value"] == 0
    assert (corpus / "overhead.jsonl").exists()


def test_a_load_without_callers_is_wrong_usage(tmp_path: Path) -> None:
    assert CliRunner().invoke(bench, ["gates", str(tmp_path), "--sessions", "0"]).exit_code == 2
