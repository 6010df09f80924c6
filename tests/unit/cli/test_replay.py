"""`rspp replay`: what it refuses, what it prints, and that a process more or less changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rspp.cli import run_call
from rspp.cli.main import main
from rspp.cli.replay import command
from rspp.contract.words import RecordingLevel
from rspp.host.registry import ProviderKind
from rspp.kernel.determinism import seed_of
from rspp.kernel.session import SessionKernel
from rspp.kernel.trace import Item
from rspp.media.wav import Sound, write_wav
from rspp.testing.clock import VirtualLoop
from rspp.testing.scripted.tts import tone
from tests.unit.cli.replaying import facts, replayed
from tests.unit.timeline.calls import simulated_bytes
from tests.unit.timeline.replay.altered import nth_item, read, replace, with_evidence, with_items, with_plans

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


def instead(one: Item, other: Item | None, item: Item) -> Item | None:
    return other if item == one else item


def altered(path: Path, data: bytes) -> Path:
    changed = path.with_name("altered.rspp")
    changed.write_bytes(data)
    return changed


def in_a_process(*arguments: object, cwd: Path, seed: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "rspp.cli.main", "replay", *map(str, arguments), "--json"],
        cwd=cwd,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# ---- the mode ------------------------------------------------------------------------------------------------------


def test_without_a_mode_it_is_refused_and_the_three_are_explained(call: Path) -> None:
    result = replayed(call)
    assert result.exit_code == 2
    for mode in ("re-simulate", "playback", "live-providers"):
        assert mode in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--mode", "simulate"),
        ("--mode", "re_simulate_nodes"),
        ("--mode", "playback", "--decisions", "recompute-decisions"),
        ("--mode", "re-simulate", "--decisions", "replay-decisions", "--provider", "llm=other"),
        ("--mode", "playback", "--provider", "llm=other"),
        ("--mode", "re-simulate", "--provider", "llm"),
        ("--mode", "re-simulate", "--provider", "smell=nose"),
        ("--mode", "re-simulate", "--live", "llm"),
        ("--mode", "re-simulate", "--decisions-only"),
        ("--mode", "re-simulate", "--decisions", "recompute-decisions", "--step", "3"),
        ("--mode", "live-providers", "--step", "3"),
        ("--mode", "re-simulate", "--until", "teatime"),
        ("--mode", "re-simulate", "--break", "bargein"),
        ("--mode", "re-simulate", "--step", "0"),
        ("--mode", "re-simulate", "--pace", "3"),
        ("--mode", "live-providers", "--live", "smell"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(call: Path, arguments: tuple[str, ...]) -> None:
    assert replayed(call, *arguments).exit_code == 2


def test_a_place_that_never_comes_is_said(call: Path) -> None:
    result = replayed(call, "--mode", "re-simulate", "--until", "turn:99")
    assert result.exit_code == 0
    assert "turn:99 did not come" in result.stderr


@pytest.mark.proves("F-151")
def test_both_modes_are_stamped_on_what_they_tell_and_a_playback_calls_nobody(
    call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "l0.rspp"
    empty.write_bytes(simulated_bytes(level=RecordingLevel.L0))
    simulated = facts(call, "--mode", "re-simulate", "--items")
    stamp = ("re_simulate_nodes", "replay_decisions")
    assert (simulated["mode"], simulated["decisions"]) == stamp
    assert {(one["mode"], one["decisions"]) for one in simulated["items"]} == {stamp}

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a playback ran something")

    monkeypatch.setattr(SessionKernel, "__init__", refused)
    monkeypatch.setattr(ProviderKind, "__new__", refused)
    played = facts(call, "--mode", "playback", "--items")
    stamp = ("playback_recorded_provider_outputs", "replay_decisions")
    assert {(one["mode"], one["decisions"]) for one in played["items"] + played["outputs"]} == {stamp}
    assert "provider_calls" not in played
    assert played["outputs"]
    assert replayed(call).exit_code == 2
    result = replayed(empty, "--mode", "playback")
    assert result.exit_code == 1
    assert "replay_outputs_missing" in result.output
    walked = facts(empty, "--mode", "playback", "--decisions-only", "--items")
    assert walked["items"]
    assert walked["outputs"] == []


# ---- exactly -------------------------------------------------------------------------------------------------------


def test_an_exact_replay_says_what_it_found(call: Path) -> None:
    found = facts(call, "--mode", "re-simulate")
    assert found["divergences"] == 0
    assert found["first_divergence"] is None
    assert found["digest_recorded"] == found["digest_replayed"]
    assert found["steps"] == found["replayed_through"]
    assert found["why"] == "whole"
    assert found["recorded_seconds"] > 10
    assert set(found["withheld"]) == {"texts", "audio"}
    assert found["cpu_seconds"] < 5
    told = replayed(call, "--mode", "re-simulate")
    assert told.exit_code == 0
    assert found["digest_replayed"] in told.output


@pytest.mark.proves("F-029")
def test_a_recording_is_replayed_equal_and_a_changed_event_is_found_at_its_place(call: Path) -> None:
    whole = facts(call, "--mode", "re-simulate", "--items")
    data = call.read_bytes()
    recorded = facts(call, "--mode", "playback", "--items")
    untimed = [{k: v for k, v in one.items() if k != "mode"} for one in whole["items"]]
    assert untimed == [{k: v for k, v in one.items() if k != "mode"} for one in recorded["items"]]
    number, one = nth_item(data, "send", "text", 3)
    path = call
    for change in (None, replace(one, facts={**one.facts, "chars": 1})):
        path = altered(call, with_items(data, partial(instead, one, change)))
        first = facts(path, "--mode", "re-simulate", status=1)["first_divergence"]
        assert first["position"]["step"] == one.step
        assert first["position"]["item"] == number
        assert first["class"] == "OUTCOME_DIVERGENCE"
    assert "OUTCOME_DIVERGENCE at step" in replayed(path, "--mode", "re-simulate").output


def test_the_digest_is_the_same_in_other_processes_under_other_hash_seeds_from_another_folder(
    call: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    copy = elsewhere / "exported.rspp"
    copy.write_bytes(call.read_bytes())
    here = facts(call, "--mode", "re-simulate")
    digests = {
        in_a_process(copy.name, "--mode", "re-simulate", cwd=elsewhere, seed=seed)["digest_replayed"]
        for seed in ("1", "4242")
    }
    assert digests == {here["digest_replayed"]}


@pytest.mark.proves("F-152")
def test_a_replay_pauses_and_goes_on_in_another_process(call: Path, tmp_path: Path) -> None:
    whole = facts(call, "--mode", "re-simulate", "--items")
    cursor, last = tmp_path / "cursor.json", tmp_path / "last.json"
    event = next(one for one in whole["items"] if one["name"] == "turn_open" and one["turn"].endswith("-2"))
    first = facts(
        call, "--mode", "re-simulate", "--items", "--until", f"event:{event['seq']}", "--save", cursor
    )
    assert first["cursor"] == json.loads(cursor.read_text())
    assert first["cursor"]["step"] == event["step"]
    second = in_a_process(
        call, "--mode", "re-simulate", "--items", "--cursor", cursor, "--save", last, cwd=tmp_path, seed="7"
    )
    assert first["items"] + second["items"] == whole["items"]
    assert second["digest_replayed"] == whole["digest_replayed"]
    other = tmp_path / "other.rspp"
    other.write_bytes(simulated_bytes(7, 1))
    assert "cursor_other_recording" in replayed(other, "--mode", "re-simulate", "--cursor", cursor).output
    past = {**first["cursor"], "step": whole["steps"] + 1}
    cursor.write_text(json.dumps(past))
    result = replayed(call, "--mode", "re-simulate", "--cursor", cursor)
    assert result.exit_code == 1
    assert "cursor_past_end" in result.output


def test_a_person_can_step_by_hand(call: Path, tmp_path: Path) -> None:
    saved = tmp_path / "here.json"
    typed = "n 3\nb turn_open\nc\np\nwhat\nb nonsense\nu turn:2\nq\n"
    result = CliRunner().invoke(
        command, [str(call), "--mode", "re-simulate", "-i", "--save", str(saved)], input=typed
    )
    assert result.exit_code == 0, result.output
    assert "stopped: signal:turn_open" in result.output
    assert "session ACTIVE" in result.output
    assert "signal_unknown" in result.output
    assert "stopped: turn:2" in result.output
    assert json.loads(saved.read_text())["step"] > 100


@pytest.mark.slow
@pytest.mark.proves("NF-009")
def test_twenty_replays_keep_one_order_and_what_leaves_its_tolerance_is_listed(call: Path) -> None:
    runs = [facts(call, "--mode", "re-simulate", "--items") for _ in range(20)]
    assert all(run["items"] == runs[0]["items"] for run in runs)
    assert {run["divergences"] + run["tolerated"] for run in runs} == {0}
    data = call.read_bytes()
    _, sent = nth_item(data, "send", "text", 2)
    words = replace(sent, facts={**sent.facts, "chars": sent.facts["chars"] + 9})
    for changed, status in (
        (replace(sent, at=sent.at + 14_000_000), 0),
        (replace(sent, at=sent.at + 40_000_000), 1),
        (words, 1),
    ):
        path = altered(call, with_items(data, partial(instead, sent, changed)))
        found = facts(path, "--mode", "re-simulate", status=status)
        assert len(found["differences"]) == status
    path = altered(call, with_items(data, partial(instead, sent, replace(sent, at=sent.at + 40_000_000))))
    assert facts(path, "--mode", "re-simulate", "--tolerance-ms", 50)["tolerated"] == 1
    assert facts(path, "--mode", "re-simulate", "--tolerance-ms", 0, status=1)["divergences"] == 1


# ---- evidence ------------------------------------------------------------------------------------------------------


@pytest.mark.proves("F-149")
def test_plans_are_whole_and_a_tampered_plan_or_a_missing_snapshot_is_refused(call: Path) -> None:
    found = facts(call, "--mode", "re-simulate")  # which resolves every plan again, and compares its hash
    assert found["problems"] == []
    assert found["divergences"] == 0
    data = call.read_bytes()
    tampered = altered(call, with_plans(data, lambda one: replace(one, provider_bindings={"llm": ("mine",)})))
    missing = with_evidence(data, lambda one: replace(one, snapshot_provenance=None))
    for mode in ("re-simulate", "playback"):
        result = replayed(tampered, "--mode", mode)
        assert result.exit_code == 1
        assert "plan_tampered" in result.output
    result = replayed(altered(call, missing), "--mode", "re-simulate")
    assert result.exit_code == 1
    assert "snapshot_missing" in result.output


MERGING = """
pipeline: keyed
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  end_of_turn: {type: end_of_turn, version: v1}
  stt: {type: stt, version: v1}
  digits: {type: dtmf_collector, version: v1, config: {digits_max: 6}}
  utterance: {type: merge, version: v1, merge: {order: source_priority, window_ms: 40}}
  llm: {type: llm, version: v1}
  segmenter: {type: segmenter, version: v1}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: [vad, end_of_turn, stt]}
  - {from: caller.control, to: digits}
  - {from: stt.final, to: utterance.speech}
  - {from: digits, to: utterance.keys}
  - {from: utterance, to: llm}
  - {from: llm, to: segmenter}
  - {from: segmenter, to: [tts, speaker.text]}
  - {from: tts, to: speaker.audio}
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
"""


@pytest.mark.proves("F-150")
def test_the_determinism_context_of_a_turn_with_a_merge_is_whole_and_missed_when_it_is_not(
    tmp_path: Path,
) -> None:
    spec, question, recording = tmp_path / "keyed.yaml", tmp_path / "question.wav", tmp_path / "keyed.rspp"
    spec.write_text(MERGING)
    write_wav(question, Sound(bytes(6_400) + tone(300, 16_000, 9_000), 16_000))
    made = CliRunner().invoke(
        main, ["run", str(spec), "--wav", str(question), "--record", str(recording), "--json"]
    )
    assert made.exit_code == 0, made.output
    exported = read(recording.read_bytes())
    (evidence,) = exported.evidence.values()
    plan = exported.plans[evidence.turn_id]
    assert evidence.determinism_seed == seed_of(plan.plan_hash, evidence.lease_epoch_at_turn_open or 0)
    assert (evidence.merge_rule_id, evidence.merge_rule_version) == ("default-merge-rule", "v1.0.0")
    assert evidence.ordering_markers == ("runtime_sequence", "event_id")
    asked = [item for item in exported.items if item.what == "invoke" and item.turn == evidence.turn_id]
    assert {item.name for item in asked} == {"llm", "tts"}
    outside = [(one.input_key, one.source) for one in evidence.nondeterministic_inputs]
    assert sorted(outside) == sorted((item.facts["call"], "external_call") for item in asked)
    assert facts(recording, "--mode", "re-simulate")["problems"] == []
    stripped = with_evidence(recording.read_bytes(), lambda one: replace(one, determinism_seed=None))
    found = facts(altered(recording, stripped), "--mode", "re-simulate", status=1)
    assert {one["code"] for one in found["problems"]} == {"determinism_context_incomplete"}


def test_a_thousand_recorded_seconds_take_less_than_five_seconds_of_cpu(tmp_path: Path) -> None:
    recorded = spent = 0.0
    for session in range(3):
        path = tmp_path / f"{session}.rspp"
        path.write_bytes(simulated_bytes(21, session, "all"))
        found = facts(path, "--mode", "re-simulate")
        recorded += found["recorded_seconds"]
        spent += found["cpu_seconds"]
    assert spent / recorded * 1_000 < 5
