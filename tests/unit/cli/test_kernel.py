"""`rspp kernel`: a journal is fed to a fresh kernel; the drawings are written or compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rspp.cli import kernel
from rspp.cli.bench_call import inbound, request
from rspp.contract.words import ConnectionState
from rspp.kernel.inputs import CloseRequested, ConnectionChanged, Input
from rspp.kernel.journal import Encoding, write_header, write_input
from rspp.spec import voice_template

START = request().anchor.monotonic


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(kernel.command, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


@pytest.fixture(params=list(Encoding))
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(tmp_path, request.param)


def write(folder: Path, encoding: Encoding) -> Path:
    frames: list[tuple[int, Input]] = [(at, one) for at, *both in inbound(5, START) for one in both]
    connected = (START, ConnectionChanged(ConnectionState.CONNECTED))
    inputs = [connected, *frames, (START + 10**9, CloseRequested("done"))]
    path = folder / f"call.{encoding.value}"
    records = [write_input(at, one, encoding) for at, one in inputs]
    path.write_bytes(write_header(request(), voice_template(), encoding) + b"".join(records))
    return path


def test_the_json_output_counts_and_digests_what_the_kernel_did(file: Path) -> None:
    found = json.loads(run("run", file, "--json").output)
    assert (found["inputs"], found["torn"], found["ended"]) == (12, False, True)
    assert found["effects"] == sum(found["counts"].values())
    assert found["counts"]["invoke"] == 3
    assert len(found["digest"]) == 64


def test_both_encodings_of_one_call_have_one_digest(tmp_path: Path) -> None:
    digests = {json.loads(run("run", write(tmp_path, one), "--json").output)["digest"] for one in Encoding}
    assert len(digests) == 1


def test_the_effects_are_listed_with_time_lane_and_summary(file: Path) -> None:
    output = run("run", file, "--effects").output
    assert "session_started" in output
    assert "digest" in output
    rows = [row for row in (line.split() for line in output.splitlines()) if row[2:3] == ["invoke"]]
    assert [row[1] for row in rows] == ["data"] * 3


def test_upto_stops_early(file: Path) -> None:
    found = json.loads(run("run", file, "--json", "--upto", 1, "--effects").output)
    assert (found["inputs"], found["ended"]) == (1, False)
    assert len(found["effect_list"]) == found["effects"]


def test_a_torn_file_is_replayed_as_far_as_it_goes_and_says_so(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])
    found = json.loads(run("run", file, "--json").output)
    assert (found["inputs"], found["torn"]) == (11, True)
    assert "torn" in run("run", file).output


@pytest.mark.parametrize("name", ["call.rspp", "call.jsonl", "call.wav"])
def test_a_file_that_is_no_journal_is_refused_with_its_code(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"RIFF" * 10)
    result = run("run", path)
    assert result.exit_code == 1
    assert any(code in result.output for code in ("payload_too_large", "truncated", "encoding_unsupported"))


def test_diagrams_are_written_then_current_then_stale_when_changed(tmp_path: Path) -> None:
    page = tmp_path / "lifecycles.md"
    assert run("diagrams", "--out", tmp_path, "--check").exit_code == 1
    assert run("diagrams", "--out", tmp_path).exit_code == 0
    assert run("diagrams", "--out", tmp_path, "--check").exit_code == 0
    page.write_text(page.read_text().replace("ACTIVE", "AWAKE"))
    stale = run("diagrams", "--out", tmp_path, "--check")
    assert (stale.exit_code, "stale" in stale.output) == (1, True)
