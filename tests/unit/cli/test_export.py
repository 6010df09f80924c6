"""`rspp export` and `rspp import`: out and in again without a loss, and nothing in that is no recording."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from rspp.timeline.access import os_user
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from tests.unit.cli.test_timeline import rspp
from tests.unit.timeline.calls import replayed, simulated_bytes

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "call.rspp"
    path.write_bytes(simulated_bytes(7, 0))
    return path


def tenant(file: Path) -> str:
    return assemble([unframe(file.read_bytes())]).tenant_id


def test_a_recording_that_went_out_and_in_and_out_again_is_the_same_and_replays_the_same(
    file: Path, tmp_path: Path
) -> None:
    data, again = tmp_path / "data", tmp_path / "again.rspp"
    taken = rspp("import", file, "--data", data, "--json")
    assert taken.exit_code == 0, taken.output
    assert json.loads(taken.stdout)["imported"][0]["new"] is True
    out = rspp("export", "s0", "--data", data, "--tenant", tenant(file), "--out", again)
    assert out.exit_code == 0, out.output
    assert again.read_bytes() == file.read_bytes()
    recording = assemble([unframe(again.read_bytes())])
    assert recording.end is not None
    assert replayed(recording).digest == recording.end.digest


def test_rows_are_equal_in_json_lines_and_in_parquet(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.rspp"
    other.write_bytes(simulated_bytes(7, 2))
    for form in ("jsonl", "parquet"):
        found = rspp("export", file, other, "--format", form, "--out", tmp_path / f"rows.{form}")
        assert found.exit_code == 0, found.output
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    table = pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    for row in table:
        row["facts"] = json.loads(row["facts"])
    assert table == [
        {k: v for k, v in line.items() if k != "record"} for line in lines if line["record"] == "row"
    ]
    assert {row["session"] for row in table} == {"s0", "s2"}


def test_json_lines_go_to_stdout_for_other_tools(file: Path) -> None:
    found = rspp("export", file, "--format", "jsonl", "--out", "-")
    assert found.exit_code == 0
    assert [json.loads(line)["record"] for line in found.stdout.splitlines()[:3]] == [
        "header",
        "session",
        "row",
    ]
    assert "rows to -" in found.stderr


def test_several_recordings_go_to_a_folder(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.rspp"
    other.write_bytes(simulated_bytes(7, 2))
    found = rspp("export", file, other, "--out", tmp_path / "out")
    assert found.exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"s0.rspp", "s2.rspp"}
    assert rspp("export", file, other, "--out", "-").exit_code == 2


@pytest.mark.parametrize("form", ["rspp", "jsonl", "parquet"])
def test_what_cannot_be_read_is_not_exported_and_leaves_no_file(tmp_path: Path, form: str) -> None:
    file = tmp_path / "broken.rspp"
    file.write_bytes(simulated_bytes(7, 0)[:100] + b"x" + simulated_bytes(7, 0)[101:])
    out = tmp_path / "out"
    for reference in (str(file), "nobody"):
        found = rspp("export", reference, "--format", form, "--out", out / "a", "--data", tmp_path / "data")
        assert found.exit_code == 1
        assert "Error: " in found.output
    assert not out.exists() or not list(out.iterdir())


def test_a_session_of_another_tenant_does_not_go_out(file: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert rspp("import", file, "--data", data).exit_code == 0
    for arguments in ((), ("--tenant", "somebody-else")):
        for form in ("rspp", "jsonl"):
            out = tmp_path / f"{form}.out"
            found = rspp("export", "s0", "--data", data, "--format", form, "--out", out, *arguments)
            assert found.exit_code == 1
            assert not out.exists()


def test_whoever_may_not_see_all_of_it_gets_rows_but_not_the_recording(file: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert rspp("import", file, "--data", data).exit_code == 0
    (data / "access.yaml").write_text(
        json.dumps(
            {
                "name": "narrow",
                "tenants": {
                    tenant(file): {
                        "principals": {os_user(): ["operator"]},
                        "grants": [{"roles": ["operator"], "purposes": ["debug"], "fidelity": "L1"}],
                    }
                },
            }
        )
    )
    where = ("--data", data, "--tenant", tenant(file))
    refused = rspp("export", "s0", *where, "--out", tmp_path / "x.rspp")
    assert refused.exit_code == 1
    assert "not all of it may be seen" in refused.output
    rows = rspp("export", "s0", *where, "--format", "jsonl", "--out", tmp_path / "x.jsonl")
    assert rows.exit_code == 0, rows.output
    text = (tmp_path / "x.jsonl").read_text()
    assert "(withheld, " in text
    assert "Yes, there is." not in text
    assert "cancellation policy" not in text


def test_an_import_takes_all_files_or_none(file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.rspp"
    broken.write_bytes(b"this is a letter to my aunt")
    data = tmp_path / "data"
    found = rspp("import", file, broken, "--data", data)
    assert found.exit_code == 1
    assert "broken.rspp is no whole recording" in found.output
    assert "nothing was stored" in found.output
    assert not data.exists()
    assert rspp("import", file, "--data", data, "--tenant", "somebody-else").exit_code == 1


def test_a_torn_tail_is_said_and_the_second_time_it_is_there_already(file: Path, tmp_path: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])
    data = tmp_path / "data"
    first = rspp("import", file, "--data", data)
    assert first.exit_code == 0
    assert "a torn tail of " in first.output
    assert "is here already" in rspp("import", file, "--data", data).output


def test_a_data_folder_that_cannot_be_written_is_wrong_usage(file: Path) -> None:
    found = rspp("import", file, "--data", file / "data")
    assert found.exit_code == 2


def test_without_its_library_parquet_says_what_to_install(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    out = tmp_path / "rows.parquet"
    result = rspp("export", file, "--format", "parquet", "--out", out)
    assert result.exit_code == 1
    assert "rspp[parquet]" in result.output
    assert list(tmp_path.iterdir()) == [file]
