"""`rspp sim record`: a simulated call becomes a file that can be read and replayed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from rspp.cli.main import main
from rspp.kernel.journal import encoding_of, read


@pytest.mark.parametrize("name", ["call.jsonl", "call.rspp"])
def test_the_file_holds_every_input_of_the_call(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    result = CliRunner().invoke(main, ["sim", "record", str(file), "--session", "3", "--json"])
    said = json.loads(result.output)
    assert result.exit_code == (0 if said["replays"] else 1)
    recorded = read(file.read_bytes(), encoding_of(name))
    assert len(recorded.inputs) == said["inputs"] > 0
    assert not recorded.torn


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
