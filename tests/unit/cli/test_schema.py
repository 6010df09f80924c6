"""`rspp schema` writes what the runtime uses, and fails exactly when a change breaks peers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rspp.cli.schema import command
from rspp.contract.schema import schemas


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def released(tmp_path: Path) -> Path:
    assert run("export", tmp_path / "released").exit_code == 0
    return tmp_path / "released"


def spoiled(released: Path, name: str, **more: Any) -> Path:
    """A copy of the released schemas in which the envelope has lost a field that was due."""
    new = released.parent / name
    run("export", new)
    file = new / "envelope.schema.json"
    envelope = json.loads(file.read_text())
    del envelope["properties"]["event_id"]
    envelope["required"].remove("event_id")
    file.write_text(json.dumps({**envelope, **more}))
    return new


def test_export_writes_every_schema_with_an_index_of_hashes(released: Path) -> None:
    index = json.loads((released / "index.json").read_text())
    assert {row["name"]: row["hash"] for row in index} == {
        name: one["x-content-hash"] for name, one in schemas().items()
    }
    for row in index:
        assert json.loads((released / row["file"]).read_text()) == schemas()[row["name"]]


def test_the_same_schemas_pass(released: Path) -> None:
    result = run("check", released, released)
    assert (result.exit_code, result.output) == (0, "0 changes, 0 of them breaking\n")


def test_a_breaking_change_fails_and_names_field_and_rule(released: Path) -> None:
    result = run("check", released, spoiled(released, "new"))
    assert result.exit_code == 1
    assert "envelope: breaking: event_id: required_field_removed" in result.output


def test_the_same_change_under_a_new_major_version_passes(released: Path) -> None:
    new = spoiled(released, "new", **{"$id": "rspp:envelope:v2.0"})
    assert run("check", released, new).exit_code == 0


def test_two_files_can_be_compared_and_the_result_read_by_programs(released: Path) -> None:
    new = spoiled(released, "new")
    name = "envelope.schema.json"
    result = run("check", released / name, new / name, "--json")
    told = json.loads(result.output)
    assert result.exit_code == 1
    assert told["breaking"] == 1
    assert told["changes"]["envelope"][0]["path"] == "event_id"


def test_what_cannot_be_compared_is_a_usage_error(released: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "x.schema.json"
    broken.write_text("{")
    assert run("check", released, released / "index.json").exit_code == 2
    assert run("check", released, tmp_path / "empty").exit_code == 2
    assert run("check", released, tmp_path / "nowhere").exit_code == 2
    assert run("check", broken, broken).exit_code == 2
    broken.write_text('{"$ref": "#/nowhere"}')
    assert run("check", broken, broken).exit_code == 2
