"""A folder with a manifest in it, and every verb of the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from rspp.cli.manifest import command

READERS = ("show", "validate", "trace")
PAIRS = ("step", "result")
BUILD, WORDS = "KEY:ENG.BUILD", "KEY:VAL.WORDS"
CLOCK = "clock.md"  # a file that shows that a requirement is met


class Work:
    """Says verbs in a folder of its own; no journal is told unless a test wants one."""

    def __init__(self, folder: Path, begun: Path | None = None) -> None:
        self.folder = folder
        self._begun = begun  # a folder in which `begin` was done already: a manifest may be moved

    def run(self, *words: str, journal: bool = False, stdin: str | bytes | None = None) -> Result:
        said = list(words)
        if not journal and said[0] not in READERS and "--help" not in said:
            at = 2 if said[0] in PAIRS else 1
            said[at:at] = ["--no-journal"]
        return CliRunner().invoke(command, said, input=stdin)

    def done(self, *words: str, **how: Any) -> str:
        """It must end with 0."""
        result = self.run(*words, **how)
        assert result.exit_code == 0, (words, result.output, result.exception)
        return result.output

    def refused(self, *words: str, status: int = 1, says: Sequence[str] = (), **how: Any) -> str:
        """It must end with this status, say these, and be no traceback."""
        result = self.run(*words, **how)
        assert result.exit_code == status, (words, result.output, result.exception)
        assert isinstance(result.exception, SystemExit), result.exception
        for one in says:
            assert one in result.output, (one, result.output)
        return result.output

    def json(self, *words: str, status: int = 0) -> Any:
        result = self.run(*_with_json(words))
        assert result.exit_code == status, (words, result.output, result.exception)
        return json.loads(result.stdout)

    def show(self) -> Any:
        return self.json("show")

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    @property
    def file(self) -> Path:
        return self.folder / "RUNTIME_MANIFEST.yaml"

    def begin(self, *options: str) -> None:
        """A session with a step that runs and is routed: one engine, one validator, and what the options say."""
        if self._begun is not None and not options:
            shutil.copytree(self._begun, self.folder, dirs_exist_ok=True)
            return
        self.done("init", "--session", "greeting")
        self.done("step", "begin", "--goal", "It is polite")
        self.done("route", "--engine", BUILD, "--validator", WORDS, *options)

    def meet(self, *more: str, **how: Any) -> None:
        """The one requirement of the last result."""
        self.write(CLOCK, "the one in the hall")
        self.done("resume", "--met", "1", "--ref", CLOCK, *more, **how)

    def prove(self) -> None:
        """All that the step of `begin` needs for PASS."""
        self.done("engine", BUILD, "--run", "--", "true")
        self.done("check", WORDS, "--", "true")
        self.done("report")


def _with_json(words: Sequence[str]) -> list[str]:
    said = list(words)
    at = said.index("--") if "--" in said else len(said)
    said[at:at] = ["--json"]
    return said
