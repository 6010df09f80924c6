"""`rspp regress`: the status, the words and the files of a corpus that was done again."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from rspp.cli import regress
from rspp.cli.regress import junit_of, told
from rspp.sim.mutants import MUTANTS, planted
from rspp.sim.scenario import APOLOGY, draw
from rspp.spec import DEFAULT_PROVIDERS
from rspp.timeline.regress import Checked, Finding, Outcome
from tests.unit.timeline.calls import simulated_bytes

MUTANT = {mutant.name: mutant for mutant in MUTANTS}


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(regress.command, [*(str(argument) for argument in arguments), "--jobs", "1"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "call.rspp").write_bytes(simulated_bytes(7, 0))
    return tmp_path


def test_what_is_unchanged_passes_and_a_planted_bug_fails_with_session_class_and_line(folder: Path) -> None:
    assert run(folder).exit_code == 0
    junit = folder / "out.xml"
    with planted(MUTANT["never_closes"]):
        result = run(folder, "--junit", junit)
    assert result.exit_code == 1
    for word in (
        "call.rspp (s0): OUTCOME_DIVERGENCE",
        "turn:s0/turn-1",
        "signal close",
        "at input ",
        "1 fail",
    ):
        assert word in result.output
    suite = ET.fromstring(junit.read_text())
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert suite[0][0].get("type") == "OUTCOME_DIVERGENCE"


def test_a_corpus_of_nothing_fails(tmp_path: Path) -> None:
    assert run(tmp_path).exit_code == 1


def test_the_document_has_every_recording_and_the_latencies(folder: Path) -> None:
    document = json.loads(run(folder, "--json").stdout)
    assert document["ok"]
    assert document["recordings"][0]["digest_recorded"] == document["recordings"][0]["digest_replayed"]
    assert document["latency"]["whole"]["samples"] == 3


def test_a_baseline_is_written_when_asked_for_and_only_if_nothing_diverges(folder: Path) -> None:
    baseline = folder / "baseline.json"
    with planted(MUTANT["never_closes"]):
        assert run(folder, "--update").exit_code == 1
    assert not baseline.exists()
    assert run(folder, "--update").exit_code == 0
    assert baseline.exists()
    assert run(folder).exit_code == 0
    (folder / "call.rspp").unlink()
    assert run(folder).exit_code == 1


def spec_of(folder: Path, **segmenter: object) -> Path:
    """The pipeline of the simulated call, written out."""
    knobs = draw(7, 0, "none").knobs
    policies = {
        "turn_taking": {"interruption": knobs.interruption, "speculation": knobs.speculation},
        "overlap": knobs.overlap,
        "error_reply": {"text": APOLOGY if knobs.apology else ""},
        "degrade_on": ["tts"] if knobs.degrade_tts else [],
        "late_events": knobs.late_events,
    }
    spec = {"pipeline": "voice", "version": "v1", "template": "voice", "policies": {**policies, **segmenter}}
    spec["providers"] = {name: list(ids) for name, ids in DEFAULT_PROVIDERS.items()}
    path = folder / "v2.yaml"
    path.write_text(json.dumps(spec))
    return path


def test_the_same_pipeline_passes_and_a_slower_one_fails_by_its_latency(folder: Path) -> None:
    same = run(folder, "--pipeline", spec_of(folder), "--json")
    assert same.exit_code == 0, same.output
    one = json.loads(same.stdout)["recordings"][0]
    assert one["divergences"] == one["expected"]  # the plan is told by another hash: nothing else

    knobs = draw(7, 0, "none").knobs
    taking = {"interruption": knobs.interruption, "speculation": knobs.speculation, "silence_ms_min": 900}
    taking["silence_ms_max"] = 1500
    slower = run(folder, "--pipeline", spec_of(folder, turn_taking=taking))
    assert slower.exit_code == 1
    assert "LATENCY_REGRESSION whole.p50_ms session:s0" in slower.output

    (folder / "v2.yaml").write_text("pipeline: {")
    assert run(folder, "--pipeline", folder / "v2.yaml").exit_code == 1


def test_rules_that_mean_nothing_end_with_2(folder: Path) -> None:
    (folder / "regress.yaml").write_text("latency: {mood: {}}")
    assert run(folder).exit_code == 2
    assert run(folder / "nowhere").exit_code == 2


def test_hostile_names_stay_inside_their_xml() -> None:
    bad = Finding(kind="X", scope='"/><script>', why="\x00\x1b</testcase>", line="<&>")
    outcome = Outcome(recordings=[Checked(name='"<a>&', failures=[bad])], latency={}, failures=[])
    suite = ET.fromstring(junit_of("<&>", outcome))
    assert suite[0].get("name") == '"<a>&'
    assert "</testcase>" in (suite[0][0].get("message") or "")
    assert told(bad).startswith("X ")
