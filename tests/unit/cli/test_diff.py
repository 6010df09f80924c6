"""`rspp diff`: what differs is told to people, to programs and on a page; the exit status says whether it was expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from rspp.cli import diff
from rspp.contract.event import NS_PER_MS
from rspp.kernel.trace import Item
from tests.unit.timeline.calls import simulated_bytes
from tests.unit.timeline.diff.planted import rewritten

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

replace = msgspec.structs.replace


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(diff.command, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def call(tmp_path: Path) -> Path:
    path = tmp_path / "call.rspp"
    path.write_bytes(simulated_bytes(7, 0))
    return path


def planted(call: Path) -> Path:
    """Another text, another time, another provider: each once, each in another turn."""

    def change(item: Item) -> Item:
        if (item.what, item.name, item.turn) == ("invoke", "llm", "s0/turn-1"):
            return replace(item, facts={**item.facts, "provider": "llm-z"})
        if (item.what, item.name, item.turn) == ("signal", "playback_completed", "s0/turn-2"):
            return replace(item, at=item.at + 200 * NS_PER_MS)
        is_said = (item.what, item.name, item.turn) == ("send", "text", "s0/turn-3")
        if is_said and item.facts.get("role") == "assistant" and not item.facts.get("segment"):
            return replace(item, facts={**item.facts, "shape": item.facts["shape"] ^ 1})
        return item

    path = call.with_name("planted.rspp")
    path.write_bytes(rewritten(call.read_bytes(), change))
    return path


def report(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.proves("F-077")
def test_one_change_of_outputs_timings_and_providers_each_is_listed_and_nothing_else(call: Path) -> None:
    same = run(call, call, "--json")
    assert (same.exit_code, report(same)["ok"], report(same)["divergences"]) == (0, True, [])
    again = run(call, f"{call}@replay", "--json")
    assert (again.exit_code, report(again)["total"]) == (0, 0)

    result = run(call, planted(call), "--json")
    assert result.exit_code == 1
    assert [(one["class"], one["scope"], one["field"]) for one in report(result)["divergences"]] == [
        ("PROVIDER_CHOICE_DIVERGENCE", "turn:s0/turn-1", "provider"),
        ("TIMING_DIVERGENCE", "turn:s0/turn-2", "at"),
        ("OUTCOME_DIVERGENCE", "turn:s0/turn-3", "shape"),
    ]
    assert report(result)["divergences"][1]["diff_ms"] == 200.0
    assert {"expected", "got", "turns", "counts", "verdict", "tolerance"} <= set(report(result))


def test_the_turns_stand_side_by_side_with_words_latencies_and_providers(call: Path) -> None:
    first = report(run(call, f"{call}@replay", "--json"))["turns"][0]
    assert first["expected"]["said"] == first["got"]["said"] != ""
    assert first["expected"]["heard"]
    assert first["same_text"] is True
    assert first["expected"]["providers"] == {"llm": ["llm-a"], "tts": ["tts-a"]}
    assert set(first["stages_apart_ms"].values()) == {0.0}


def test_people_are_told_the_class_the_place_and_what_was_expected(call: Path) -> None:
    result = run(call, planted(call))
    assert result.exit_code == 1
    for word in ("provider_choice", "turn:s0/turn-1", "llm-a", "llm-z", "timing", "3 divergences"):
        assert word in result.output
    assert "no divergence" in run(call, call).output


def test_a_greater_tolerance_and_what_is_expected_or_ignored_change_the_status(
    call: Path, tmp_path: Path
) -> None:
    other = planted(call)
    meant = tmp_path / "meant.yaml"
    meant.write_text(
        "divergences:\n"
        "  - {class: PROVIDER_CHOICE_DIVERGENCE, scope: 'turn:*'}\n"
        "  - {class: OUTCOME_DIVERGENCE, scope: 'turn:s0/turn-3'}\n"
    )
    assert run(call, other, "--expect", meant).exit_code == 1
    assert run(call, other, "--expect", meant, "--tolerance-ms", 250).exit_code == 0
    assert (
        run(call, other, "--ignore", "outcome", "--ignore", "timing", "--ignore", "provider-choice").exit_code
        == 0
    )
    assert run(call, call, "--expect", meant).exit_code == 1  # what was expected did not come


def test_a_page_is_written(call: Path, tmp_path: Path) -> None:
    page = tmp_path / "diff.html"
    assert run(call, planted(call), "--html", page).exit_code == 1
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    "arguments",
    [["--ignore", "mood"], ["--ignore", "authority"], ["--tolerance-ms", "-1"], ["--expect", "no-such-file"]],
)
def test_wrong_usage_ends_with_2(call: Path, arguments: list[str]) -> None:
    assert run(call, call, *arguments).exit_code == 2


def test_an_expectation_that_means_nothing_ends_with_2(call: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("divergences: [{class: 3}]")
    assert run(call, call, "--expect", bad).exit_code == 2


def test_a_recording_that_is_none_or_not_there_is_said(call: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.rspp"
    broken.write_bytes(b"\0" * 64)
    assert run(call, broken).exit_code == 1
    assert run(call, "no-such-session", "--data", tmp_path).exit_code == 1
