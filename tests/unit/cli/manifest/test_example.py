"""The example and the page of the docs are whole sessions, and do what they say, as they are written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.manifest.working import Work

ROOT = Path(__file__).parents[4]
EXAMPLE = ROOT / "examples" / "manifest"
PAGE = ROOT / "docs" / "manifest.md"
PROGRAM = (
    "import sys; from rspp.cli.manifest import command; sys.argv.pop(1); command(prog_name='rspp manifest')"
)


def ran(script: Path | str, work: Work) -> str:
    """What a script says that is run in an empty folder, with `rspp` on its path; it must end with 0."""
    tools = work.folder / "tools"
    tools.mkdir()
    rspp = tools / "rspp"
    rspp.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{PROGRAM}" "$@"\n', encoding="utf-8")
    rspp.chmod(0o755)
    (work.folder / "work").mkdir()
    done = subprocess.run(
        ["sh", str(script)] if isinstance(script, Path) else ["sh", "-euc", script],
        cwd=work.folder / "work",
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def results(work: Work) -> list[str]:
    where = ("--file", "work/RUNTIME_MANIFEST.yaml")
    assert work.json("validate", *where)["ok"]
    return [
        line["says"]["status"] for line in work.json("trace", *where)["lines"] if line["what"] == "result"
    ]


def blocks(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.long
def test_the_session_of_the_example_runs_as_it_is_written(work: Work) -> None:
    said = ran(EXAMPLE / "session.sh", work)
    assert "the check found a fault, as it should" in said
    assert "and PASS is refused, as it should be" in said
    assert "done; nothing is left" in said
    assert results(work) == ["PASS", "PASS"]
    text = (work.folder / "work" / "greeting.txt").read_text(encoding="utf-8")
    assert text == "Good morning, Ada, it is nine o'clock\n"
    assert (work.folder / "work" / ".rspp" / "control.db").exists()


@pytest.mark.slow
@pytest.mark.long
def test_the_session_of_the_page_runs_as_it_is_written(work: Work) -> None:
    first, *session = blocks("sh")
    ran("\n".join([*session, first]), work)
    assert results(work) == ["PASS", "FAIL"]


def test_the_python_of_the_page_runs_as_it_is_written(work: Work) -> None:
    (source,) = blocks("python")
    (work.folder / "work").mkdir()
    exec(compile(source, str(PAGE), "exec"), {})
    told = work.json("show", "--file", "work/RUNTIME_MANIFEST.yaml")
    assert told["state"] == "stopped"
    assert told["document"]["RESUME"]["RESUME_REQUIREMENTS"] == ["somebody has read it aloud"]


def test_every_command_of_page_and_example_is_one_that_there_is(work: Work) -> None:
    """Cheaper than running them: each verb and each option is known to `--help`."""
    text = "\n".join([*blocks("sh"), (EXAMPLE / "session.sh").read_text(encoding="utf-8")]).replace(
        "\\\n", " "
    )
    found = re.findall(r"^rspp manifest (.*)$", text, re.MULTILINE)
    assert len(found) > 30
    for line in found:
        words = shlex.split(line.partition(" -- ")[0].partition(" || ")[0], comments=True)
        verb = words[: 2 if words[0] in ("step", "result") else 1]
        known = work.done(*verb, "--help")
        for option in (word for word in words if word.startswith("--")):
            assert f"{option} " in known or f"{option}\n" in known, (line, option)
