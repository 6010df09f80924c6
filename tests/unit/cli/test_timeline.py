"""`rspp timeline` shows a recorded session to those who may see it, and exactly the rows that were asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from rspp.cli.main import main
from rspp.timeline import records as r
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from tests.unit.timeline.calls import simulated_bytes


def rspp(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with the recordings of two tenants."""
    for number in (0, 3):
        file = tmp_path / f"{number}.rspp"
        file.write_bytes(simulated_bytes(7, number, "all"))
        found = rspp("import", file, "--data", tmp_path / "data")
        assert found.exit_code == 0, found.output
    return tmp_path / "data"


def tenant_of(number: int) -> str:
    return assemble([unframe(simulated_bytes(7, number, "all"))]).tenant_id


def rows_of(data: Path, *arguments: str) -> list[dict[str, Any]]:
    found = rspp(
        "timeline", "s3", "--data", data, "--tenant", tenant_of(3), "--json", "--no-replay", *arguments
    )
    assert found.exit_code == 0, found.output
    rows: list[dict[str, Any]] = json.loads(found.stdout)["rows"]
    return rows


@pytest.mark.slow
@pytest.mark.proves("F-074")
def test_a_recorded_session_is_shown_sorted_labelled_and_filtered_to_those_who_may_see_it(data: Path) -> None:
    rows = rows_of(data)
    assert [row["row"] for row in rows] == list(range(1, len(rows) + 1))
    times = [row["time_ms"] for row in rows]
    assert times == sorted(times)
    assert {row["node"] for row in rows} >= {"caller", "stt", "llm", "segmenter", "tts", "speaker", "vad"}
    for option, value, field in (
        ("--kind", "signal", "kind"),
        ("--kind", "call_produced", "kind"),
        ("--node", "tts", "node"),
        ("--lane", "data", "lane"),
        ("--turn", "s3/turn-2", "turn"),
    ):
        expected = [row for row in rows if row[field] == value]
        assert expected
        assert rows_of(data, option, value) == expected
    two = rows_of(data, "--signal", "turn_open", "--signal", "close")
    assert two == [row for row in rows if row["kind"] == "signal" and row["name"] in ("turn_open", "close")]
    assert rows_of(data, "--turn", "2") == rows_of(data, "--turn", "s3/turn-2")
    late = rows_of(data, "--from", "10", "--to", "12")
    assert late == [
        row for row in rows if row["time_ms"] + row["duration_ms"] >= 10_000 and row["time_ms"] <= 12_000
    ]
    assert len(late) < len(rows)

    for arguments in (
        ("nobody", "--tenant", tenant_of(3)),
        ("s3", "--tenant", "somebody-else"),
        ("s3",),
        ("s3", "--tenant", tenant_of(3), "--purpose", "marketing"),
        ("s3", "--tenant", tenant_of(3), "--role", "intern"),
    ):
        refused = rspp("timeline", *arguments, "--data", data)
        assert refused.exit_code == 1
        assert "Error: " in refused.output
        assert "turn_open" not in refused.output


def test_people_get_rows_charts_and_a_foot(tmp_path: Path) -> None:
    file = tmp_path / "call.rspp"
    file.write_bytes(simulated_bytes(7, 0))
    found = rspp("timeline", file, "--lane", "control")
    assert found.exit_code == 0
    assert "time s  cdt  node" in found.output
    assert "  *..  " in found.output
    assert "  .>.  " not in found.output
    assert "endpointing        320.0     ####" in found.output
    assert "the kernel, run again, comes to the same" in found.output


def test_the_charts_are_of_the_turns_that_were_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "call.rspp"
    file.write_bytes(simulated_bytes(7, 0))
    for options, numbers in (((), [1, 2, 3]), (("--turn", "2"), [2]), (("--to", "4"), [1])):
        shown = rspp("timeline", file, *options).stdout
        assert [n for n in (1, 2, 3) if f"\nturn {n}  " in shown] == numbers


def test_without_a_replay_only_what_stands_in_the_recording_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "call.rspp"
    file.write_bytes(simulated_bytes(7, 0))
    found = rspp("timeline", file, "--no-replay", "--json")
    shown = json.loads(found.stdout)
    assert shown["head"]["digest_replayed"] is None
    assert all(row["text"] is None for row in shown["rows"] if row["kind"] == "send")
    assert shown["turns"][0]["replied"] == (
        "Yes, there is. It is just behind the station, and it is free after six."
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--kind", "signals"), "there is no 'signals'"),
        (("--node", "nobody"), "there is no 'nobody'; there are: caller, "),
        (("--turn", "99"), "the turns are numbered 1 to 3"),
        (("--signal", "ring"), "there is no 'ring'"),
        (("--lane", "fast"), "'fast' is not one of"),
        (("--from", "-1"), "-1.0 is not in the range"),
    ],
)
def test_a_filter_for_what_cannot_be_is_wrong_usage(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "call.rspp"
    file.write_bytes(simulated_bytes(7, 0))
    found = rspp("timeline", file, *arguments)
    assert found.exit_code == 2
    assert said in found.output


def test_a_page_is_written_and_the_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "call.rspp"
    file.write_bytes(simulated_bytes(7, 0))
    page = tmp_path / "pages" / "call.html"
    found = rspp("timeline", file, "--html", page)
    assert found.exit_code == 0
    assert page.read_text().startswith("<!doctype html>")
    refused = rspp("timeline", file, "--html", file / "x.html")
    assert refused.exit_code == 2
    assert "cannot write" in refused.output


def test_a_recording_that_the_kernel_does_not_repeat_is_a_problem(tmp_path: Path) -> None:
    data = simulated_bytes(7, 0)
    records = unframe(data).records
    end = records[-1]
    assert isinstance(end, r.End)
    file = tmp_path / "call.rspp"
    file.write_bytes(b"".join(map(r.frame, [*records[:-1], msgspec.structs.replace(end, digest="0" * 64)])))
    assert rspp("timeline", file).exit_code == 1


@pytest.mark.parametrize("content", [b"", b"not a recording at all", bytes(100)])
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "call.rspp"
    file.write_bytes(content)
    found = rspp("timeline", file)
    assert found.exit_code == 1
    assert "Error: " in found.output
