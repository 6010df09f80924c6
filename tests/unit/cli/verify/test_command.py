"""`rspp verify`: what applies is what is there, the report goes where it was asked for, and the status says how it ended."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from rspp.cli.main import main as rspp
from rspp.cli.verify import keeping
from rspp.cli.verify import main as module
from rspp.cli.verify.main import command, no_go
from rspp.cli.verify.plan import LEVELS, PLAN
from rspp.manifest import Manifest
from rspp.manifest.document import StepStatus

GOOD: Final = (
    "pipeline: shop\nversion: v1\ntemplate: voice\n"
    "providers: {stt: scripted-stt, llm: scripted-llm, tts: scripted-tts}\n"
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RSPP_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "shop.yaml").write_text(GOOD)
    return folder


def verified(*words: object) -> Result:
    return CliRunner().invoke(command, [*map(str, words)])


def test_every_engine_has_a_key_a_code_and_a_name_of_its_own() -> None:
    for field in ("key", "name", "fail_code"):
        values = [getattr(one, field) for one in PLAN]
        assert len(set(values)) == len(values)
    assert {one.name for one in PLAN if "quick" in one.levels} < {
        one.name for one in PLAN if "full" in one.levels
    }
    assert all(one.key == f"KEY:ENG.{one.name.upper()}" and one.summary for one in PLAN)


def test_the_page_names_every_engine_with_its_levels_and_its_code() -> None:
    page = (Path(module.__file__).parents[4] / "docs/verify.md").read_text()
    for one in PLAN:
        levels = ", ".join(level for level in LEVELS if level in one.levels)
        row = next(line for line in page.splitlines() if line.startswith(f"| `{one.name}` | {levels} |"))
        assert row.endswith(f"| `{one.fail_code}` |")


def test_the_list_says_what_applies_here(project: Path) -> None:
    rows: list[dict[str, Any]] = json.loads(verified("--list", "--json", "quick", project).stdout)
    here = {row["name"]: bool(row["here"]) for row in rows}
    assert (here["contract"], here["simulator"], here["gates"]) == (True, False, False)
    assert "simulator" in verified("--list").stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "say which level"),
        (("quickest", "."), "is not one of"),
        (("quick", "/no/such/folder"), "does not exist"),
        (("quick", ".", "--only", "nothing"), "is not one of"),
        (("quick", ".", "--timeout", "0"), "0"),
        (("quick", ".", "--only", "contract", "--only", "installed"), "installed is no engine of quick"),
    ],
)
def test_wrong_use_is_told_from_a_problem(project: Path, words: tuple[str, ...], told: str) -> None:
    result = verified(*words)
    assert result.exit_code == 2
    assert told in result.output


def test_a_run_writes_neither_among_what_it_verifies_nor_among_what_is_somebodys(project: Path) -> None:
    for work, told in ((project, "is the folder that is verified"), (project.parent, "and no run: name")):
        result = verified("quick", project, "--work", work)
        assert (result.exit_code, told in result.output) == (2, True), result.output
    assert sorted(one.name for one in project.iterdir()) == ["shop.yaml"]


def test_a_disk_that_says_no_is_told_in_a_sentence(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("rspp.cli.verify.step.write", full)
    result = verified("quick", project, "--only", "contract", "--no-journal")
    assert result.exit_code == 1
    assert "No space left on device" in result.output


def test_there_is_nothing_to_go_on_with_before_the_first_run(project: Path) -> None:
    result = verified("quick", project, "--resume")
    assert result.exit_code == 1
    assert "verify_no_session" in result.output


def test_no_go_names_what_a_project_has(project: Path) -> None:
    (project / "requirements.lock").touch()
    (project / "odd[1].yaml").write_text(GOOD)
    assert no_go(project) == ("./requirements.lock", "./shop.yaml")
    assert "./src/**/*.py" in no_go(Path(module.__file__).parents[4])


def test_an_empty_folder_passes_nothing(project: Path) -> None:
    (project / "shop.yaml").unlink()
    result = verified("quick", project)
    assert result.exit_code == 1
    assert "STOP_GAP verify_nothing" in result.stdout


@pytest.mark.slow
def test_a_project_passes_and_fails_and_goes_on(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    words = ("quick", project, "--only", "contract", "--junit", tmp_path / "verify.xml", "--out", out)
    (project / "shop.yaml").write_text(GOOD.replace("voice", "dance"))
    result = verified(*words)
    report = json.loads(out.read_text())
    assert (result.exit_code, report["schema"]) == (1, "rspp-verify-report-v1")
    assert (report["verdict"], report["fail_code"]) == ("fail", "contract_broken")
    assert report["engines"][0]["found"][0]["where"].startswith("shop.yaml:3:")
    suite = ET.parse(tmp_path / "verify.xml").getroot()
    assert [one.get("name") for one in suite if one.find("failure") is not None] == ["contract", "run"]
    # What was said of this run has to be said again to go on with it.
    assert f"then: rspp verify quick {project} --only contract --resume" in result.stdout
    (project / "shop.yaml").write_text(GOOD)
    result = verified("quick", project, "--only", "contract", "--resume", "--json")
    assert result.exit_code == 0, result.output
    assert (json.loads(result.stdout)["verdict"], json.loads(result.stdout)["step"]) == ("pass", "2")
    assert verified("full", project, "--resume").exit_code == 2
    # The journal of the data folder's store knows of both steps.
    told = CliRunner().invoke(rspp, ["runtime", "state-journal", "--json", "--data", str(tmp_path / "data")])
    states = [one["metadata"]["state"] for one in json.loads(told.stdout)["items"]]
    assert ("failed" in states, states[-1]) == (True, "done")


@pytest.mark.slow
@pytest.mark.long
def test_who_is_interrupted_ends_all_and_may_go_on(project: Path, tmp_path: Path) -> None:
    program = "from rspp.cli.verify.main import command; command()"
    words = ["quick", str(project), "--only", "conformance"]
    running = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ},
    )
    try:
        assert running.stderr is not None
        assert any(b"conformance: node" in line for line in running.stderr)
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read()
        assert running.wait(20) == 1
    finally:
        running.kill()
        running.wait()
        running.stderr.close()  # type: ignore[union-attr]
    assert b"interrupted; `--resume` goes on" in rest
    manifest = Manifest(keeping.latest(tmp_path / "data") / keeping.MANIFEST, root=project, lock_wait_s=0)
    assert manifest.document.CURRENT_STEP.STEP_STATUS is StepStatus.RUNNING
    with manifest.hold("somebody else"):
        pass
