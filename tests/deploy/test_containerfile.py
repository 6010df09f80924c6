"""The image is what the lock says: its first step makes a version of every package, in the very words of the file."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from tools.validate_deploy import ROOT

FILE = (ROOT / "deploy" / "Containerfile").read_text()


def test_its_constraints_have_one_version_of_every_package_that_is_needed(tmp_path: Path) -> None:
    (step,) = re.findall(r"^RUN (sed .*constraints\.txt)$", FILE, re.MULTILINE)
    (tmp_path / "requirements.lock").write_text((ROOT / "requirements.lock").read_text())
    subprocess.run(step, shell=True, cwd=tmp_path, check=True)
    lines = (tmp_path / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][^ ]*( ; .+[^\\ ])?", line) for line in lines), lines
    locked = {line.partition("==")[0] for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [
        *project["dependencies"],
        *(name for extra in ("cluster", "opus") for name in extras.get(extra, ())),
    ]
    named = {re.split(r"[>=;\[ ]", name)[0].lower().replace(".", "-") for name in needed}
    assert named <= locked


def test_it_runs_as_nobody_in_particular_and_asks_the_registry_alone() -> None:
    assert re.search(r"^USER 10001:10001$", FILE, re.MULTILINE)
    assert FILE.count("\nFROM ") == 2
    steps = re.findall(r"^RUN (.*(?:\\\n.*)*)", FILE, re.MULTILINE)
    assert not any(word in step for step in steps for word in ("curl", "wget", "git ", "apt", "http"))
    assert "--no-index" in FILE
