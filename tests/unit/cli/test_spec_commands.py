"""The commands that read specs: what they print, how they end, and that they name the place of each fault."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from rspp.cli import docs, graph, lint, validate

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "voice-full.yaml"
WRONG = ROOT / "tests" / "specs" / "wrong"
WARNING_ONLY = WRONG / "node-version-missing.yaml"


def run(command: click.Command, *arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


@pytest.mark.proves("F-001")
def test_strict_lint_of_a_good_spec_is_silent_and_succeeds() -> None:
    result = run(lint.command, "--strict", EXAMPLE)
    assert (result.exit_code, result.output) == (0, "1 file: 0 errors, 0 warnings\n")


@pytest.mark.proves("F-001")
def test_a_broken_node_and_a_broken_edge_are_one_error_each_at_their_file_line_and_field(
    tmp_path: Path,
) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    text = text.replace("cancel: hard", "cancel: medium").replace("to: speaker.audio", "to: speaker.text")
    spec = tmp_path / "broken.yaml"
    spec.write_text(text, encoding="utf-8")
    lines = text.splitlines()
    node = next(n for n, line in enumerate(lines, 1) if "cancel: medium" in line)
    edge = next(n for n, line in enumerate(lines, 1) if "to: speaker.text" in line and "tts" in lines[n - 2])
    result = run(lint.command, spec)
    assert result.exit_code == 1
    first, second, last = result.output.splitlines()
    assert first.startswith(f"{spec}:{node}:13: error[unknown_word] nodes.tts.cancel: ")
    assert second.startswith(f"{spec}:{edge}:9: error[kind_mismatch] edges[6].to: ")
    assert last == "1 file: 2 errors, 0 warnings"


@pytest.mark.proves("F-126")
@pytest.mark.parametrize(
    ("command", "strict", "relaxed"),
    [(lint.command, "--strict", None), (validate.command, "--strict", "--relaxed")],
)
def test_a_file_with_only_warnings_fails_strict_and_passes_relaxed(
    command: click.Command, strict: str, relaxed: str | None
) -> None:
    assert run(command, strict, WARNING_ONLY).exit_code == 1
    assert run(command, *([relaxed] if relaxed else []), WARNING_ONLY).exit_code == 0


@pytest.mark.proves("F-126")
@pytest.mark.parametrize("path", sorted(WRONG.glob("*.yaml")), ids=lambda path: path.stem)
def test_both_commands_name_the_field_and_the_fix_of_a_broken_spec(path: Path) -> None:
    results = [run(command, "--strict", "--json", path) for command in (lint.command, validate.command)]
    assert [result.exit_code for result in results] == [1, 1]
    found, again = (json.loads(result.output)["problems"] for result in results)
    assert found == again
    # A fault of the text itself has a line but no field; every other names its field.
    textual = {
        "yaml_syntax",
        "empty",
        "not_a_mapping",
        "many_documents",
        "too_deep",
        "too_large",
        "bad_alias",
        "tag",
    }
    textual |= {
        "merge_key",
        "key_not_text",
        "duplicate_key",
        "not_finite",
        "number_too_large",
        "missing_field",
    }
    assert all(problem["path"] or problem["code"] in textual for problem in found)


@pytest.mark.proves("F-126")
def test_broken_policies_are_named_by_field_and_good_ones_pass_both_modes(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("policies:\n  overlap: queue\n", encoding="utf-8")
    bad.write_text("policies:\n  overlap: queu\n  turn_taking: {onset_ms: 0}\n", encoding="utf-8")
    for mode in ([], ["--strict"]):
        assert run(lint.command, *mode, "--layer", good).exit_code == 0
        assert run(validate.command, *mode, "--layer", f"tenant={good}", EXAMPLE).exit_code == 0
        assert run(lint.command, *mode, EXAMPLE).exit_code == 0
        assert run(validate.command, *mode, EXAMPLE).exit_code == 0
        result = run(lint.command, *mode, "--layer", bad)
        assert result.exit_code == 1
        assert "policies.overlap" in result.output
        assert "Did you mean 'queue'?" in result.output
        assert "policies.turn_taking.onset_ms" in result.output
        result = run(validate.command, *mode, "--layer", f"tenant={bad}", EXAMPLE)
        assert (result.exit_code, f"{bad}:2:" in result.output) == (1, True)


def test_validate_shows_every_setting_with_its_origin(tmp_path: Path) -> None:
    layer = tmp_path / "prod.yaml"
    layer.write_text("budgets: {turn_budget_ms: 1700}\n", encoding="utf-8")
    result = run(validate.command, EXAMPLE, "--layer", f"env={layer}", "--show-resolved", "--json")
    rows = {row["path"]: row for row in json.loads(result.output)["files"][0]["resolved"]}
    assert rows["budgets.turn_budget_ms"] == {
        "path": "budgets.turn_budget_ms",
        "value": 1700,
        "origin": "layer/environment",
    }
    assert rows["policies.turn_taking.silence_ms_min"]["origin"] == "explicit"
    assert rows["policies.playout.lead_ms"]["origin"] == "execution_profile/simple/v1"
    shown = run(validate.command, EXAMPLE, "--layer", f"env={layer}", "--show-resolved").output
    assert "layer/environment" in shown


@pytest.mark.parametrize("layer", ["prod=x", "env", "env=/nowhere.yaml"])
def test_a_wrongly_named_layer_is_a_usage_error(layer: str) -> None:
    assert run(validate.command, EXAMPLE, "--layer", layer).exit_code == 2


@pytest.mark.parametrize("command", [lint.command, validate.command, graph.command])
def test_a_file_that_is_not_there_is_a_usage_error(command: click.Command) -> None:
    assert run(command, "/nowhere.yaml").exit_code == 2


def test_bytes_that_are_no_text_are_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    spec = tmp_path / "bytes.yaml"
    spec.write_bytes(b"\xff\xfe\x00pipeline")
    assert run(lint.command, spec).exit_code == 1


@pytest.mark.parametrize(
    ("form", "piece"), [("text", "caller  ["), ("mermaid", "flowchart LR"), ("svg", "<svg ")]
)
def test_graph_draws_in_each_form(form: str, piece: str, tmp_path: Path) -> None:
    result = run(graph.command, EXAMPLE, "--format", form)
    assert (result.exit_code, piece in result.output) == (0, True)
    out = tmp_path / "drawing"
    assert run(graph.command, EXAMPLE, "--format", form, "--out", out).exit_code == 0
    assert out.read_text(encoding="utf-8") == result.output


def test_graph_of_a_broken_spec_prints_its_problems() -> None:
    result = run(graph.command, WRONG / "edge-cycle.yaml")
    assert (result.exit_code, "error[cycle]" in result.output) == (1, True)


def test_docs_writes_every_page_and_check_notices_a_stale_one(tmp_path: Path) -> None:
    out = tmp_path / "docs" / "reference"
    assert run(docs.command, "--out", out, "--check").exit_code == 1
    assert run(docs.command, "--out", out).exit_code == 0
    assert run(docs.command, "--out", out, "--check").exit_code == 0
    page = tmp_path / "docs" / "profile-simple-v1.md"
    page.write_text(page.read_text(encoding="utf-8").replace("2000", "2001"), encoding="utf-8")
    result = run(docs.command, "--out", out, "--check")
    assert (result.exit_code, "profile-simple-v1.md is stale" in result.output) == (1, True)


def test_the_pages_in_the_repository_are_what_the_code_says() -> None:
    result = run(docs.command, "--out", ROOT / "docs" / "reference", "--check")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", [lint.command, validate.command, graph.command, docs.command])
def test_help_teaches_by_an_example(command: click.Command) -> None:
    assert "Examples:" in run(command, "--help").output
