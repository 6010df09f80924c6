"""The fingerprint moves with everything that could alter execution, and with nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from rspp.spec import GraphDefinition, SpecError, compile_text, load, voice_template
from rspp.spec.compile import fingerprint

FULL = (Path(__file__).parents[3] / "examples" / "voice-full.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# These three hear the whole call", "# Other words"),
        ("ticket: DESK-118", "ticket: DESK-119"),
        ("  team: guest-services\n", ""),
        ("pipeline: front-desk", "pipeline: back-desk"),
        ("profile: simple/v1", "profile: simple"),
        # Said explicitly what the profile says anyway: only the origin differs.
        ("  overlap: preempt\n", ""),
        ("    on_failure: fallback\n", ""),
    ],
)
def test_what_cannot_alter_execution_leaves_the_fingerprint(old: str, new: str) -> None:
    assert old in FULL
    assert compile_text(FULL.replace(old, new)).fingerprint == compile_text(FULL).fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("turn_budget_ms: 1900", "turn_budget_ms: 1901"),
        ("[llm-anthropic, llm-openai]", "[llm-openai, llm-anthropic]"),
        ("absent: take", "absent: skip"),
        ("coalesce_ms: 200", "coalesce_ms: 201"),
        ("markdown: strip", "markdown: keep"),
        ("cancel: hard", "cancel: soft"),
        ("on_cancel: clear", "on_cancel: drain"),
        ("tokens_max: 60", "tokens_max: 61"),
        ("Could you say it again?", "Again?"),
        ("type: tts\n    version: v1", "type: tts\n    version: v2"),
    ],
)
def test_what_can_alter_execution_moves_the_fingerprint(old: str, new: str) -> None:
    assert old in FULL
    assert compile_text(FULL.replace(old, new)).fingerprint != compile_text(FULL).fingerprint


def test_comments_and_metadata_are_kept_beside_the_graph() -> None:
    loaded = load(FULL)
    assert loaded.spec is not None
    assert loaded.spec.metadata == {"team": "guest-services", "ticket": "DESK-118"}
    assert any("hotel's front desk" in comment.text for comment in loaded.comments)


def test_a_compiled_graph_survives_being_written_and_read() -> None:
    graph = compile_text(FULL)
    again = msgspec.json.decode(msgspec.json.encode(graph), type=GraphDefinition)
    assert again == graph
    assert fingerprint(again) == graph.fingerprint


def test_the_fingerprint_does_not_depend_on_the_hash_seed() -> None:
    code = "from rspp.spec import voice_template; print(voice_template().fingerprint)"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert seen == {voice_template().fingerprint + "\n"}


def test_the_voice_template_is_what_kernel_tests_count_on() -> None:
    graph = voice_template()
    assert graph.turn_input == ("stt", "final")
    assert graph.providers["stt"] == ("stt-a", "stt-b")
    assert graph.ref == "graph/voice@v1"
    assert len(graph.fingerprint) == 64
    assert graph.streaming_handoff is None


def test_the_voice_template_takes_sections_of_policies_and_refuses_unknown_ones() -> None:
    graph = voice_template(
        {"stt": ["x"], "llm": ["y"], "tts": ["z"]}, turn_taking={"onset_ms": 40}, overlap="queue"
    )
    assert graph.policies.turn_taking.onset_ms == 40
    assert graph.policies.overlap == "queue"
    assert graph.providers["llm"] == ("y",)
    with pytest.raises(SpecError, match="unknown_key"):
        voice_template(turn_takin={})


def test_a_refused_spec_raises_with_every_problem() -> None:
    with pytest.raises(SpecError) as caught:
        compile_text("pipeline: p\nversion: v1\ntemplate: voice\n")
    assert [problem.code for problem in caught.value.problems] == ["provider_missing"] * 3


def test_every_edge_field_and_setting_has_an_origin() -> None:
    graph = compile_text(FULL)
    assert all(graph.defaulting_source.values())
    for edge in graph.edges:
        assert f"edges.{edge.id}.buffer.max_queue_ms" in graph.defaulting_source
