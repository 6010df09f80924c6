"""A project that was just begun passes its own test and its own lint, and nothing of yours is overwritten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rspp.cli.init import command, files, name_of
from rspp.host.discovery import discover
from rspp.spec import load


def begin(folder: Path) -> Result:
    return CliRunner().invoke(command, [str(folder)])


def test_it_writes_a_pipeline_that_lints_and_compiles_with_its_node(tmp_path: Path) -> None:
    folder = tmp_path / "front desk"
    result = begin(folder)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in folder.iterdir()) == sorted(files("x"))
    text = (folder / "pipeline.yaml").read_text()
    found = discover(text, search_path=[folder])
    loaded = load(text, catalog=found.catalog)
    assert (found.problems, loaded.problems) == ((), ())
    assert loaded.graph is not None
    assert loaded.graph.pipeline == "front-desk"
    assert "spelling:Speller@v1" in found.nodes
    sys.modules.pop("spelling")


def test_nothing_is_overwritten_and_then_nothing_is_written(tmp_path: Path) -> None:
    mine = tmp_path / "spelling.py"
    mine.write_text("mine")
    result = begin(tmp_path)
    assert result.exit_code == 2
    assert "spelling.py already" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["spelling.py"]
    assert mine.read_text() == "mine"


def test_a_link_that_leads_nowhere_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "README.md").symlink_to(tmp_path / "elsewhere")
    assert begin(tmp_path).exit_code == 2


def test_a_second_time_is_refused(tmp_path: Path) -> None:
    assert begin(tmp_path / "p").exit_code == 0
    assert begin(tmp_path / "p").exit_code == 2


def test_a_folder_that_cannot_be_made_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert begin(tmp_path / "file" / "inside").exit_code == 2


@pytest.mark.parametrize(
    ("folder", "name"),
    [("my desk", "my-desk"), ("2nd", "pipeline-2nd"), ("...", "pipeline"), ("a" * 99, "a" * 64)],
)
def test_the_pipeline_is_called_as_its_folder_in_letters_that_a_name_may_have(folder: str, name: str) -> None:
    assert name_of(Path("/x") / folder) == name


@pytest.mark.slow
def test_the_generated_test_passes_and_the_generated_pipeline_lints_in_strict_mode(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    assert begin(folder).exit_code == 0
    tested = run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "4 passed" in tested
    assert "0 errors, 0 warnings" in run(folder, "-m", "rspp.cli.main", "lint", "--strict", "pipeline.yaml")
    node = folder / "spelling.py"
    node.write_text(node.read_text().replace('version="v1"', 'version="v2"'))
    changed = subprocess.run(
        [sys.executable, "-m", "rspp.cli.main", "lint", "pipeline.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert changed.returncode == 1
    assert "version v1 is pinned, installed is v2" in changed.stdout


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
