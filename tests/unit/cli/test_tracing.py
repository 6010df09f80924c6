"""`--otlp` from the command line: spans of a real run reach a collector, and an address that is none is said at once."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from rspp.cli.serve_settings import Work, as_json, as_work
from rspp.cli.tracing import Tracing
from rspp.contract.words import InBand
from tests.unit.adapters.telemetry.collector import attributes_of, collecting
from tests.unit.host.stage import SPEC


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "p.yaml").write_text(SPEC)
    with wave.open(str(folder / "q.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\x00\x20" * 16_000)
    words = ["run", str(folder / "p.yaml"), "--wav", str(folder / "q.wav"), "--data", str(folder / "data")]
    program = "from rspp.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *words, "--pace", "max", *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
@pytest.mark.proves("F-070")
def test_a_call_from_the_command_line_is_traced_and_its_log_is_json(tmp_path: Path) -> None:
    with collecting() as collector:
        done = run(tmp_path, "--otlp", collector.url, "--json", "--verbose")
    assert done.returncode == 0, done.stderr
    session_id = json.loads(done.stdout)["session_id"]
    assert {attributes_of(span)["session_id"] for span in collector.spans} == {session_id}
    assert {"turn", "session", "node llm", "chat scripted-llm", "node segmenter"} <= {
        s.name for s in collector.spans
    }
    assert not any(b"gen_ai.input.messages" in body for body in collector.raw)
    logged = [line for line in done.stderr.splitlines() if line.startswith("{")]
    assert all({"time", "level", "logger", "message"} <= set(json.loads(line)) for line in logged)


@pytest.mark.slow
def test_metrics_are_among_a_calls_own_events_as_was_asked_for(tmp_path: Path) -> None:
    done = run(tmp_path, "--json", "--in-band-metrics", "all")
    assert done.returncode == 0, done.stderr
    words = [json.loads(done.stdout)["session_id"], "--data", str(tmp_path / "data"), "--json"]
    program = "from rspp.cli.main import main; main()"
    shown = subprocess.run(
        [sys.executable, "-c", program, "timeline", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert all(
        name in shown.stdout for name in ("edge_latency_ms", "node_queue_depth", "turn_first_output_ms")
    )


@pytest.mark.slow
def test_an_address_that_is_none_ends_the_command_before_anything_is_loaded_or_said(tmp_path: Path) -> None:
    done = run(tmp_path, "--otlp", "collector:4318")
    assert done.returncode == 2
    assert "--otlp" in done.stderr
    assert "http://HOST:PORT" in done.stderr


def test_what_a_supervisor_was_asked_for_reaches_its_workers() -> None:
    work = Work(store="sqlite:///x", data="d", otlp="http://c:4318", trace_sample=7, trace_content=True)
    assert as_work(as_json(work)).tracing == Tracing(otlp="http://c:4318", trace_sample=7, trace_content=True)
    loud = Work(store="sqlite:///x", data="d", in_band_metrics=InBand.ALL)
    assert as_work(as_json(loud)).tracing.in_band_metrics is InBand.ALL
    assert as_work(as_json(Work(store="sqlite:///x", data="d"))).tracing == Tracing()
