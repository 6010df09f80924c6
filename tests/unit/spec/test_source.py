"""Text is read as data: everything knows its place, nothing is executed, and nothing escapes but problems."""

from __future__ import annotations

import pytest

from rspp.spec import load, source
from rspp.spec.problem import Mark


def tree(text: str) -> source.Mapping:
    read = source.read(text, "f.yaml")
    assert read.findings.problems == []
    assert read.root is not None
    return read.root


def test_every_value_and_key_knows_its_line_and_column() -> None:
    root = tree("a: 1\nb:\n  - x\n  - {c: true}\n")
    assert root.keys_at == {"a": Mark(1, 1), "b": Mark(2, 1)}
    items = root.entries["b"]
    assert isinstance(items, source.Sequence)
    assert [item.at for item in items.items] == [Mark(3, 5), Mark(4, 5)]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1),
        ("-07", -7),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("null", None),
        ("yes", "yes"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("'1'", "1"),
        ("12:30", "12:30"),
    ],
)
def test_scalars_follow_the_core_schema(written: str, value: object) -> None:
    assert source.plain(tree(f"a: {written}\n")) == {"a": value}


def test_comments_are_kept_with_their_places_and_a_hash_inside_a_text_is_none() -> None:
    text = "# top\na: 'x # y'  # why\nb: |\n  # text\nc: d#e\n"
    read = source.read(text, "f.yaml")
    assert [(c.text, c.at.line) for c in read.comments] == [("top", 1), ("why", 2)]


def test_an_alias_repeats_a_value_at_its_own_path() -> None:
    assert source.plain(tree("a: &x [1, 2]\nb: *x\n")) == {"a": [1, 2], "b": [1, 2]}


def test_text_beyond_the_limit_is_not_parsed_at_all() -> None:
    problems = load("x" * (source.TEXT_CHARACTERS_MAX + 1)).problems
    assert [problem.code for problem in problems] == ["too_large"]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n...\n", "\ufeff"])
def test_an_empty_text_is_told_what_the_least_is(text: str) -> None:
    assert "template: voice" in str(load(text).problems[0])


def test_problems_before_and_after_a_refused_value_are_all_there() -> None:
    codes = [problem.code for problem in load("pipeline: p\nversion: 1\nx: .nan\ny: !!z 1\n").problems]
    assert {"wrong_type", "not_finite", "tag", "unknown_key"} <= set(codes)
