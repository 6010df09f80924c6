"""The page that describes the operations says what the table says."""

from __future__ import annotations

from pathlib import Path

from rspp.control.backup import RPO_MS, RTO_MS
from rspp.control.operations import OPERATIONS
from rspp.control.operations.page import BEGIN, END, markdown

PAGE = Path(__file__).parents[4] / "docs" / "control-api.md"


def test_the_table_of_the_docs_is_the_table_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    there = text[text.index(BEGIN) : text.index(END) + len(END) + 1]
    assert there == markdown(OPERATIONS), "replace it by what `rspp control operations --markdown` prints"


def test_the_promises_of_the_docs_are_those_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"at most {RPO_MS // 3_600_000} hours old" in text
    assert f"takes at most {RTO_MS // 1_000} seconds (RTO)" in text
