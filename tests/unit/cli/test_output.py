"""What a command prints is the same to the byte for the same data."""

from __future__ import annotations

import json

import msgspec
import pytest

from rspp.cli.output import console, emit_json, print_table


class Point(msgspec.Struct):
    y: int
    x: int


def test_json_has_sorted_keys_and_one_closing_newline(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"b": Point(y=1, x=2), "a": [1, None, "é"]})
    out = capsys.readouterr().out
    assert out.endswith("}\n")
    assert not out.endswith("\n\n")
    assert list(json.loads(out)) == ["a", "b"]
    assert list(json.loads(out)["b"]) == ["x", "y"]
    assert "é" in out


def test_a_table_is_plain_text_when_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        ["field", "count"], [["nodes[0].kind", 3], ["[bold]", None]], title="Faults", numbers=["count"]
    )
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "nodes[0].kind" in out
    assert "[bold]" in out
    assert out.startswith("Faults")


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert console().no_color
