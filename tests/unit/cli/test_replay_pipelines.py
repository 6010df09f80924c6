"""`rspp replay` under another pipeline, with another provider, with nodes of one's own, and live."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from rspp.cli import run_call
from rspp.cli.main import main
from rspp.testing.clock import VirtualLoop
from tests.unit.cli.replaying import desk_at, facts, replayed
from tests.unit.timeline.calls import simulated_bytes

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are made in virtual time."""
    monkeypatch.setattr(run_call, "new_loop", lambda speed: VirtualLoop())
    monkeypatch.setattr("rspp.cli.replay_live.new_loop", lambda speed: VirtualLoop())


@pytest.fixture
def call(tmp_path: Path) -> Path:
    path = tmp_path / "call.rspp"
    path.write_bytes(simulated_bytes())
    return path


@pytest.fixture
def desk(tmp_path: Path) -> tuple[Path, Path]:
    """A pipeline with a node of its own, and a call that was really made with it."""
    return desk_at(tmp_path, "L1")


def test_nodes_of_ones_own_are_found_where_it_is_said_and_missed_by_name(
    desk: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, recording = desk
    monkeypatch.chdir(tmp_path)
    result = replayed(recording, "--mode", "re-simulate")
    assert result.exit_code == 1
    assert "node_unknown" in result.output
    assert "--nodes" in result.output
    assert facts(recording, "--mode", "re-simulate", "--nodes", spec.parent)["divergences"] == 0
    monkeypatch.chdir(spec.parent)
    assert facts(recording, "--mode", "re-simulate")["divergences"] == 0


@pytest.mark.proves("F-072")
def test_another_version_differs_where_it_was_altered_and_the_same_nowhere(
    desk: tuple[Path, Path], tmp_path: Path
) -> None:
    spec, recording = desk
    own = ("--nodes", spec.parent)
    same = facts(recording, "--mode", "re-simulate", "--pipeline", spec, *own)
    assert (same["divergences"], same["missing_outputs"]) == (0, [])
    assert same["decisions"] == "recompute_decisions"
    v2 = spec.with_name("v2.yaml")
    v2.write_text(
        spec.read_text().replace(
            "{type: llm, version: v1}", "{type: llm, version: v1, config: {temperature: 1}}"
        )
    )
    found = facts(recording, "--mode", "re-simulate", "--pipeline", v2, *own, status=1)
    assert "nodes[llm].config.temperature" in found["first_divergence"]["message"]
    assert found["report"]["turns"]
    deaf = spec.with_name("deaf.yaml")
    deaf.write_text(spec.read_text().replace("type: stt,", "type: custom, implementation: 'nobody:Ear',"))
    assert replayed(recording, "--mode", "re-simulate", "--pipeline", deaf, *own).exit_code == 1
    typed = spec.with_name("typed.yaml")
    lines = [line for line in spec.read_text().splitlines() if not line.startswith("  end_of_turn:")]
    without = "\n".join(lines).replace("end_of_turn.audio, ", "")
    typed.write_text(without.replace("end_of_turn: [scripted-end-of-turn], ", ""))
    result = replayed(recording, "--mode", "re-simulate", "--pipeline", typed, *own)
    assert result.exit_code == 1
    assert "replay_node_missing" in result.output
    assert "'end_of_turn'" in result.output


def test_another_provider_is_a_choice_that_differs(call: Path) -> None:
    found = facts(call, "--mode", "re-simulate", "--provider", "llm=other", status=1)
    assert found["report"]["counts"]["PROVIDER_CHOICE_DIVERGENCE"] > 0


def test_live_providers_are_called_and_the_call_is_kept(desk: tuple[Path, Path], tmp_path: Path) -> None:
    spec, recording = desk
    out = tmp_path / "again.rspp"
    result = replayed(
        recording,
        "--mode",
        "live-providers",
        "--pipeline",
        spec,
        "--nodes",
        spec.parent,
        "--out",
        out,
        "--json",
    )
    found = json.loads(result.stdout)
    assert found["mode"] == "live_providers"
    assert found["provider_calls"] == {"llm": 1, "tts": 1}
    assert facts(out, "--mode", "re-simulate", "--nodes", spec.parent)["divergences"] == 0
    deaf = replayed(recording, "--mode", "live-providers", "--pipeline", spec, "--live", "stt,llm,tts")
    assert deaf.exit_code == 1
    assert "replay_sound_missing" in deaf.output


def test_where_the_sound_was_kept_the_listeners_are_called_too(tmp_path: Path) -> None:
    policy = tmp_path / "open.yaml"
    policy.write_text("name: open\neverybody: {audio_raw: {L2: allow}}\n")
    spec, recording = desk_at(tmp_path, "L2", "--redaction", str(policy))
    result = replayed(
        recording,
        "--mode",
        "live-providers",
        "--pipeline",
        spec,
        "--live",
        "vad,end_of_turn,stt,llm,tts",
        "--json",
    )
    found = json.loads(result.stdout)
    assert found["provider_calls"] == {"vad": 1, "end_of_turn": 1, "stt": 1, "llm": 1, "tts": 1}
    assert found["played"] == []
    (turn,) = found["report"]["turns"]
    assert turn["same_text"]


def test_a_journal_of_a_pipeline_with_own_nodes_is_run_when_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, journal = desk_at(tmp_path, "L1", name="desk.jsonl")
    monkeypatch.chdir(tmp_path)
    missed = CliRunner().invoke(main, ["kernel", "run", str(journal)])
    assert missed.exit_code == 1
    assert "node_unknown" in missed.output
    run = CliRunner().invoke(main, ["kernel", "run", str(journal), "--nodes", str(spec.parent), "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["ended"]
