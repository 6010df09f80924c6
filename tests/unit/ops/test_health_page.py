"""The page about health says what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rspp.contract.codes import CODES
from rspp.ops.health import REASONS_MAX
from rspp.ops.offers import OFFERS
from rspp.ops.reasons import REASONS

PAGE = (Path(__file__).parents[3] / "docs" / "health.md").read_text(encoding="utf-8")


def rows(title: str) -> list[str]:
    section = PAGE[PAGE.index(f"## {title}") :].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


def test_the_table_of_reasons_is_the_one_of_the_code() -> None:
    due = []
    for code, one in REASONS.items():
        can = ", ".join(f"`{offer.kind}`" for offer in one.offers) or f"nothing: {one.none_because}"
        due.append(f"| `{code}` | {one.says} | {can} |")
    assert rows("Reasons") == due


def test_the_table_of_actions_is_the_one_of_the_code() -> None:
    assert rows("Actions") == [
        f"| `{one.kind}` | {one.title} | `{one.operation}` | {one.role}: `{one.permission}` | {one.risk} |"
        for one in OFFERS
    ]


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"at most {REASONS_MAX} reasons in a surface" in PAGE


@pytest.mark.parametrize(
    "code",
    sorted(set(re.findall(r"`((?:action|worker_not|approval|command)_[a-z_]+)`", PAGE)) - set(REASONS)),
)
def test_every_code_that_is_named_is_in_the_table(code: str) -> None:
    assert code in CODES
