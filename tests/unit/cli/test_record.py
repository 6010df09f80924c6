"""`rspp sim record`: a simulated call becomes a file that can be read and replayed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from rspp.cli.main import main
from rspp.kernel.journal import encoding_of, read
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


def test_a_journal_holds_every_input_of_the_call(tmp_path: Path) -> None:
    file = tmp_path / "call.jsonl"
    result = CliRunner().invoke(main, ["sim", "record", str(file), "--session", "3", "--json"])
    said = json.loads(result.output)
    assert result.exit_code == (0 if said["replays"] else 1)
    recorded = read(file.read_bytes(), encoding_of(file.name))
    assert len(recorded.inputs) == said["inputs"] > 0
    assert not recorded.torn


@pytest.mark.parametrize("session", range(4))
def test_a_recording_replays_whatever_failed_in_the_call(tmp_path: Path, session: int) -> None:
    file = tmp_path / "call.rspp"
    arguments = ["sim", "record", str(file), "--session", str(session), "--faults", "all", "--json"]
    result = CliRunner().invoke(main, arguments)
    said = json.loads(result.stdout)
    assert (result.exit_code, said["replays"]) == (0, True)
    recording = assemble([unframe(file.read_bytes())])
    assert recording.whole
    assert len(recording.inputs) == said["inputs"] > 0
    fed = CliRunner().invoke(main, ["kernel", "run", str(file), "--json"])
    assert fed.exit_code == 0, fed.output
    assert json.loads(fed.stdout)["inputs"] == said["inputs"]


def test_calls_of_a_simulation_are_recorded_one_file_a_kernel_on_one_process_or_two(tmp_path: Path) -> None:
    found = []
    for procs in ("1", "2"):
        folder = tmp_path / procs
        arguments = ["sim", "run", "--sessions", "2", "--procs", procs, "--record", str(folder), "--json"]
        assert CliRunner().invoke(main, arguments).exit_code == 0
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert found[0] == found[1]
    assert {"sim-1-0-0.rspp", "sim-1-1-0.rspp"} <= found[0].keys()


def test_a_name_of_another_ending_is_wrong_usage(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["sim", "record", str(tmp_path / "call.txt")])
    assert result.exit_code == 2
    assert "ends in .jsonl or .rspp" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["sim", "record", "{}/x/call.rspp"],
        ["graph", "examples/voice-minimal.yaml", "--out", "{}/x/graph.txt"],
        ["schema", "export", "{}/x"],
        ["docs", "--out", "{}/x"],
        ["kernel", "diagrams", "--out", "{}/x"],
    ],
)
def test_a_place_that_cannot_be_written_to_is_wrong_usage_with_a_remedy(
    tmp_path: Path, arguments: list[str]
) -> None:
    place = tmp_path / "a_file"
    place.write_text("", encoding="utf-8")
    result = CliRunner().invoke(main, [argument.format(place) for argument in arguments])
    assert result.exit_code == 2, result.output
    assert "cannot write" in result.output
    assert "Name another place" in result.output


def test_examples_in_a_help_text_keep_their_lines() -> None:
    output = CliRunner().invoke(main, ["sim", "record", "--help"]).output
    assert "\\b" not in output
    assert "    rspp sim record call.jsonl\n" in output
