"""Every wrong spec says in its own head what is wrong with it and where; lint must say exactly that, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rspp.cli.lint import problems_of
from rspp.spec import load

SPECS = Path(__file__).parents[2] / "specs"
WRONG = sorted((SPECS / "wrong").glob("*.yaml"))
GOOD = sorted((SPECS / "good").glob("*.yaml"))
EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
EXPECT = re.compile(r"# expect: (\d+):(\d+) (\w+) (.+)")


def name(path: Path) -> str:
    return path.stem


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len(WRONG) >= 60
    assert len(GOOD) >= 5


@pytest.mark.parametrize("path", WRONG, ids=name)
def test_a_wrong_spec_is_reported_where_it_is_wrong_and_nowhere_else(path: Path) -> None:
    expected = [
        (int(line), int(column), code, piece)
        for line, column, code, piece in EXPECT.findall(path.read_text(encoding="utf-8"))
    ]
    assert expected, f"{path} does not say what is wrong with it"
    found = problems_of(path)
    assert [(p.line, p.column, p.code) for p in found] == [one[:3] for one in expected], "\n".join(
        map(str, found)
    )
    for problem, (*_, piece) in zip(found, expected, strict=True):
        assert piece in str(problem)


@pytest.mark.parametrize("path", GOOD + EXAMPLES, ids=name)
def test_a_good_spec_is_silent_in_strict_mode(path: Path) -> None:
    assert [str(problem) for problem in problems_of(path)] == []
    assert load(path.read_text(encoding="utf-8")).graph is not None
