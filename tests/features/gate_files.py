"""The release command, as a release would call it: recordings in files, its report and its exit status."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from rspp.cli.gates import command


def release(tmp_path: Path, recordings: Iterable[bytes], *words: str) -> tuple[int, dict[str, Any]]:
    """Judge these recordings; the exit status and the report."""
    folder = tmp_path / "corpus"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for number, data in enumerate(recordings):
        (folder / f"{number}.rspp").write_bytes(data)
    done = CliRunner().invoke(command, [str(folder), "--no-replay", "--json", *words])
    assert done.exit_code in (0, 1), done.output
    return done.exit_code, json.loads(done.stdout)


def gate_of(report: dict[str, Any], number: int) -> dict[str, Any]:
    return next(one for one in report["gates"] if one["number"] == number)


def same_failure(tmp_path: Path, recordings: Iterable[bytes], number: int, *words: str) -> dict[str, Any]:
    """The gate fails, the same way each time, and the release command ends with a status other than 0."""
    held = list(recordings)
    status, report = release(tmp_path, held, *words)
    again, same = release(tmp_path, held, *words)
    gate = gate_of(report, number)
    assert (status, again) == (1, 1)
    assert not gate["passed"]
    assert gate == gate_of(same, number)
    return gate
