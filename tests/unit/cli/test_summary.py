"""`rspp summary` prints what the recording comes to, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.test_timeline import rspp
from tests.unit.timeline.scripted import SESSION, TENANT, scripted_bytes


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "scripted.rspp"
    file.write_bytes(scripted_bytes())
    assert rspp("import", file, "--data", tmp_path / "data").exit_code == 0
    return tmp_path / "data"


@pytest.mark.proves("F-075")
def test_a_summary_equals_what_a_pencil_says_and_is_its_tenants_alone(data: Path, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(
        "{currency: EUR, prices: {llm-a: {per_1000_tokens: 10}, tts-a: {per_1000_characters: 1}}}"
    )
    found = rspp("summary", SESSION, "--data", data, "--tenant", TENANT, "--prices", prices, "--json")
    assert found.exit_code == 0, found.output
    one = json.loads(found.stdout)
    assert {name: one["turns"][name] for name in ("opened", "committed", "aborted", "interrupted")} == {
        "opened": 2,
        "committed": 1,
        "aborted": 1,
        "interrupted": 1,
    }
    assert one["tokens"] == 42
    assert one["audio"] == {"received_s": 1.0, "sent_s": 1.5, "heard_s": 1.3}
    assert one["cost"] == {"currency": "EUR", "total": 0.329, "unpriced": ["llm-b", "stt-a"]}
    assert one["latencies"]["whole"] == {"samples": 2, "p50_ms": 300.0, "p95_ms": 400.0}

    for arguments in (("--tenant", "tenant-b"), ()):
        denied = rspp("summary", SESSION, "--data", data, *arguments)
        assert denied.exit_code == 1
        assert "42" not in denied.output


def test_people_get_the_same_figures_and_what_is_unknown_is_said(data: Path) -> None:
    found = rspp("summary", SESSION, "--data", data, "--tenant", TENANT)
    assert found.exit_code == 0, found.output
    for said in (
        "2 turns: 1 committed, 1 aborted (1 cancelled)",
        "tokens 42",
        "heard 1.3 s",
        "1 timeout",
        "llm-b",
    ):
        assert said in found.output
    assert "EUR" not in found.output


@pytest.mark.parametrize("text", ["prices: {}", "{", "{currency: EUR, prices: {a: {per_hour: 1}}}"])
def test_a_broken_table_of_prices_is_wrong_usage(data: Path, tmp_path: Path, text: str) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(text)
    found = rspp("summary", SESSION, "--data", data, "--tenant", TENANT, "--prices", prices)
    assert found.exit_code == 2
    assert "prices.yaml" in found.output
