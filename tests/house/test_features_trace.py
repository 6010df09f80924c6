"""A feature row is proven by tests that passed, and by nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools import features

ROOT = Path(__file__).resolve().parents[2]

A = features.Row("F-001", "contract", "core", "must", "proof")
B = features.Row("F-002", "kernel", "core", "must", "proof")


def states(proofs: dict[str, list[str]], outcomes: dict[str, str]) -> list[str]:
    return [standing.state for standing in features.assess([A, B], proofs, outcomes)]


def test_a_row_that_no_test_claims_is_open() -> None:
    assert states({}, {"t.py::gone": "passed"}) == ["open", "open"]


def test_a_row_is_proven_when_all_its_tests_passed() -> None:
    proofs = {"t.py::one": ["F-001", "F-002"], "t.py::two": ["F-002"]}
    assert states(proofs, {"t.py::one": "passed", "t.py::two": "passed"}) == ["proven", "proven"]


def test_one_test_without_an_outcome_leaves_a_row_not_run_and_one_failure_fails_it() -> None:
    proofs = {"t.py::one": ["F-001"], "t.py::two": ["F-001"], "t.py::three": ["F-001"]}
    assert states(proofs, {"t.py::one": "passed", "t.py::two": "skipped"})[0] == "not run"
    assert states(proofs, {"t.py::one": "passed", "t.py::two": "failed"})[0] == "failing"


def test_the_worst_phase_of_a_test_counts() -> None:
    assert features.worse(None, "passed") == "passed"
    assert features.worse("passed", "failed") == "failed"
    assert features.worse("failed", "passed") == "failed"
    assert features.worse("passed", "skipped") == "skipped"


def test_the_report_names_tests_of_claimed_rows_and_lists_the_open_ones() -> None:
    standings = features.assess([A, B], {"t.py::one": ["F-001"]}, {"t.py::one": "passed"})
    text = features.as_text(standings)
    assert "contract: 1 proven\n  F-001  proven\n         t.py::one\n" in text
    assert "kernel: 1 open\n  open   F-002\n" in text
    assert text.endswith("all 2 rows: 1 proven, 1 open")
    document = json.loads(features.as_json(standings))
    assert document["totals"] == {"proven": 1, "failing": 0, "not run": 0, "open": 1}
    assert document["rows"][0]["tests"] == ["t.py::one"]


def test_the_table_has_five_columns_and_no_id_twice() -> None:
    assert len(features.read_rows()) > 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id\tmust\n", ":1: the columns"),
        ("id\tarea\tphase\tmust\tproof\nF-001\tkernel\n", ":2: 2 columns, not 5"),
        ("id\tarea\tphase\tmust\tproof\nF-001\ta\tb\tc\td\nF-001\ta\tb\tc\td\n", ":3: F-001 is there twice"),
    ],
)
def test_a_broken_table_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "features.tsv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        features.read_rows(table)


# --- the plugin, in a project of its own with our conftest ------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with our plugin and a table of two rows."""
    for folder in ("tools", "tests", "docs"):
        (tmp_path / folder).mkdir()
    for name in ("tools/features.py", "tests/conftest.py"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    header = "\t".join(features.COLUMNS)
    rows = "\n".join("\t".join(row) for row in (A, B))
    (tmp_path / "docs" / "features.tsv").write_text(f"{header}\n{rows}\n", encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\npythonpath = .\ntestpaths = tests\naddopts = --strict-markers --import-mode=importlib\n"
        "markers =\n    proves(*feature_ids)\n",
        encoding="utf-8",
    )
    return tmp_path


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=project, text=True, capture_output=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "with workers"])
@pytest.mark.long
def test_a_run_is_remembered_and_reported(project: Path, workers: list[str]) -> None:
    (project / "tests" / "test_x.py").write_text(
        "import pytest\n"
        "@pytest.mark.proves('F-001')\n"
        "def test_good(): pass\n"
        "@pytest.mark.proves('F-002')\n"
        "def test_bad(): assert False\n",
        encoding="utf-8",
    )
    before = json.loads(run(project, "tools/features.py", "--json").stdout)
    assert [row["state"] for row in before["rows"]] == ["not run", "not run"]

    assert run(project, "-m", "pytest", "-q", *workers).returncode == 1
    reported = run(project, "tools/features.py", "--json")
    assert reported.returncode == 1
    after = json.loads(reported.stdout)
    assert [row["state"] for row in after["rows"]] == ["proven", "failing"]
    assert after["rows"][0]["tests"] == ["tests/test_x.py::test_good"]

    kernel_only = run(project, "tools/features.py", "--area", "kernel").stdout
    assert "F-002" in kernel_only
    assert "F-001" not in kernel_only


@pytest.mark.slow
def test_run_runs_the_proving_tests_first(project: Path) -> None:
    (project / "tests" / "test_x.py").write_text(
        "import pytest\n"
        "@pytest.mark.proves('F-001')\n"
        "def test_good(): pass\n"
        "def test_other(): assert False\n",
        encoding="utf-8",
    )
    done = run(project, "tools/features.py", "--run", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["state"] for row in json.loads(done.stdout)["rows"]] == ["proven", "open"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "with workers"])
def test_an_unknown_row_is_a_collection_error(project: Path, workers: list[str]) -> None:
    (project / "tests" / "test_x.py").write_text(
        "import pytest\n@pytest.mark.proves('F-999')\ndef test_good(): pass\n", encoding="utf-8"
    )
    done = run(project, "-m", "pytest", "-q", *workers)
    assert done.returncode != 0
    assert "test_good proves 'F-999', which docs/features.tsv does not have" in done.stdout
