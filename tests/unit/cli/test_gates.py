"""`rspp gates`: a table and a verdict for people, a report for programs, an exit status for a release."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from rspp.cli.gates import command
from rspp.cli.recorded import Choice, Recorded
from rspp.host.overhead import SAMPLES_MIN, FileSink, Window
from rspp.timeline import records as r
from tests.unit.timeline.gates.load import amended, spoiled, usual

WINDOW = Window(
    began_wall_ms=1,
    window_ms=10_000,
    samples=SAMPLES_MIN,
    sessions=2,
    mean_us=8.0,
    p50_us=6.0,
    p95_us=20.0,
    p99_us=30.0,
    largest_us=90.0,
    budget_us=12.0,
    budget_p95_us=48.0,
)


def run(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, data in enumerate(usual()):
        (folder / f"{number}.rspp").write_bytes(data)
    return folder


def test_a_corpus_that_passes_ends_with_0_and_says_so(corpus: Path) -> None:
    done = run(corpus)
    assert done.exit_code == 0, done.output
    assert "3 recordings, 6 accepted turns" in done.stdout
    assert done.stdout.count("pass") == 8
    assert "replay_order_mismatch_count" in done.stdout
    assert "target 2000 ms met" in done.stdout
    assert done.stdout.rstrip().endswith("all gates passed")


def test_a_failed_gate_ends_with_1_and_names_turn_and_anchor(corpus: Path) -> None:
    (corpus / "0.rspp").write_bytes(amended(usual()[0], "s-1/turn-1", turn_open_at=None))
    done = run(corpus, "--no-replay")
    assert done.exit_code == 1
    assert "gate 1: s-1/turn-1: turn_open_at: missing" in done.stdout
    assert done.stdout.rstrip().endswith("not to be released")


def test_files_and_folders_may_be_named_together_and_nothing_counts_twice(corpus: Path) -> None:
    done = run(corpus, corpus / "1.rspp", "--no-replay")
    assert "3 recordings, 6 accepted turns, 1 given twice and counted once" in done.stdout


def test_a_report_is_written_and_checked_while_it_is_fresh(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports" / "gates.json"
    assert run(corpus, "--no-replay", "--out", out).exit_code == 0
    assert run("--check", out).exit_code == 0
    report = json.loads(out.read_text())
    for changes, says in (
        ({"made_wall_ms": report["made_wall_ms"] - 25 * 3_600_000}, "25.0 hours old"),
        ({"gates": report["gates"][1:]}, "not every gate"),
        ({"thresholds": report["thresholds"] | {"end_to_end_p95_ms": 9e9}}, "looser"),
        ({"subjects": []}, "changed after it was made"),
        ({"format": "rspp-gates-v9"}, "rspp-gates-v9"),
    ):
        out.write_text(json.dumps(report | changes))
        done = run("--check", out)
        assert done.exit_code == 1
        assert says in done.stdout
        assert "unfit for a release" in done.stdout
    found = json.loads(run("--check", out, "--json").stdout)
    assert (found["fit"], len(found["problems"])) == (False, 1)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff\xfe", b'{"format":"rspp-gates-v1"}'])
def test_what_is_no_report_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "no.json"
    path.write_bytes(text)
    done = run("--check", path)
    assert done.exit_code == 1
    assert "is no report" in done.output


def test_looser_limits_are_shown_and_make_the_report_unfit(corpus: Path, tmp_path: Path) -> None:
    limits, out = tmp_path / "limits.yaml", tmp_path / "gates.json"
    limits.write_text("end_to_end_p95_ms: 2500\nopen_decision_p95_ms: 60\n")
    done = run(corpus, "--no-replay", "--thresholds", limits, "--out", out)
    assert done.exit_code == 0
    assert "not the contract's: end_to_end_p95_ms is 2500, looser than 2000" in done.stdout
    assert "open_decision_p95_ms is 60, stricter than 120" in done.stdout
    assert run("--check", out).exit_code == 1


@pytest.mark.parametrize(
    "text",
    [
        "end_to_end: 5",
        "end_to_end_p95_ms: fast",
        "- 1",
        "a: [",
        "end_to_end_p95_ms: -1",
        "end_to_end_p95_ms: .inf",
        "end_to_end_p95_ms: .nan",
        "end_to_end_p95_ms: '1500'",
        "end_to_end_p95_ms: yes",
        "false",
        "[]",
        "a: &a [*a]",
        "[" * 500,
    ],
)
def test_limits_that_are_none_are_wrong_usage(corpus: Path, tmp_path: Path, text: str) -> None:
    limits = tmp_path / "limits.yaml"
    limits.write_text(text)
    assert run(corpus, "--thresholds", limits).exit_code == 2


def test_a_pipelines_own_target_may_be_put_in_place_of_the_recorded_ones(
    corpus: Path, tmp_path: Path
) -> None:
    spec = tmp_path / "p.yaml"
    spec.write_text(
        "pipeline: p\nversion: v1\ntemplate: voice\nproviders: {stt: a, llm: b, tts: c}\n"
        "targets: {end_to_end_p95_ms: 800, alert_window_turns: 5}\n"
    )
    done = run(corpus, "--no-replay", "--profile", spec)
    assert "target 800 ms missed" in done.stdout
    assert "alert end_to_end_p95_above_target" in done.stdout
    spec.write_text("pipeline: p\n")
    assert run(corpus, "--profile", spec).exit_code == 2


def test_the_stored_overhead_is_held_to_its_budget(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "overhead.jsonl"
    good, slow = (
        msgspec.json.encode(WINDOW),
        msgspec.json.encode(msgspec.structs.replace(WINDOW, mean_us=13.0)),
    )
    for content, status, says in (
        (good + b"\n" + good + b"\n", 0, "2 windows, worst mean 8 us of 12"),
        (good + b"\n" + slow + b"\n", 1, "1 above: FAIL"),
        (b"", 1, "0 windows"),
        (good + b"\n" + slow[:20], 0, "1 windows"),
    ):
        path.write_bytes(content)
        done = run(corpus, "--no-replay", "--overhead", path)
        assert (done.exit_code, says in done.stdout) == (status, True), done.output
        assert run(corpus, "--no-replay", "--overhead", tmp_path).exit_code == status
    path.write_bytes(b"nonsense\n" + good + b"\n")
    assert "overhead[0]" in run(corpus, "--no-replay", "--overhead", path).output


def test_nothing_named_and_what_is_not_there_is_told(corpus: Path, tmp_path: Path) -> None:
    assert run().exit_code == 2
    out = tmp_path / "gates.json"
    run(corpus, "--no-replay", "--out", out)
    assert "takes neither recordings" in run(corpus, "--check", out).output
    assert run("--check", out, "--out", out).exit_code == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(empty).exit_code == 1
    assert run("no-such-session", "--data", tmp_path).exit_code == 1


def test_bytes_that_are_no_recording_are_told_by_their_file(corpus: Path) -> None:
    for data in (b"", b"\0" * 40, os.urandom(4_096), usual()[0][:7], b"\xff" * 64):
        (corpus / "0.rspp").write_bytes(data)
        done = run(corpus, "--no-replay")
        assert done.exit_code == 1
        assert "0.rspp" in done.output
        assert "Traceback" not in done.output


def test_a_trace_that_no_kernel_could_have_left_is_told(corpus: Path) -> None:
    def nonsense(record: r.AnyRecord) -> r.AnyRecord:
        if not isinstance(record, r.Trace):
            return record
        items = [msgspec.structs.replace(one, facts=one.facts | {"detail": [1]}) for one in record.items]
        return msgspec.structs.replace(record, items=items)

    (corpus / "0.rspp").write_bytes(spoiled(usual()[0], nonsense))
    done = run(corpus, "--no-replay")
    assert (done.exit_code, "Error: s-1: malformed at items[0].facts" in done.output) == (1, True), (
        done.output
    )


def test_a_listening_run_meters_the_kernel_beside_its_recordings_and_not_without_them(tmp_path: Path) -> None:
    assert isinstance(Recorded(Choice(data=tmp_path)).overhead, FileSink)
    assert Recorded(Choice(data=tmp_path, level="off")).overhead is None
