"""The page about security says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rspp.contract.codes import CODES
from rspp.control.security.keyring import STALE_MS_MAX
from rspp.control.security.keys import DAY_MS, KeyPolicy
from rspp.control.security.roles import FLEET, TABLE, Permission, Role
from rspp.control.security.tokens import LIFETIMES_MS_MAX, TOKEN_CHARACTERS_MAX

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text()


def test_the_table_of_roles_is_the_one_in_force() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| `[a-z]+\.[a-z]+` \|", line)]
    due = []
    for permission in Permission:
        marks = " | ".join("yes" if permission in TABLE[role] else "" for role in Role)
        scope = "fleet" if permission in FLEET else "tenant"
        due.append(f"| `{permission}` | {marks} | {scope} |")
    assert rows == due


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"{TOKEN_CHARACTERS_MAX:,} characters" in PAGE
    assert LIFETIMES_MS_MAX == {"route": 5 * 60_000, "principal": 12 * 3_600_000}
    policy = KeyPolicy()
    assert (policy.age_ms_max, policy.propagation_ms, policy.notice_ms) == (30 * DAY_MS, 60_000, DAY_MS)
    assert STALE_MS_MAX == 5 * 60_000


@pytest.mark.parametrize("code", sorted(set(re.findall(r"`((?:token|approval|principal)_[a-z_]+)`", PAGE))))
def test_every_code_that_is_named_is_in_the_table(code: str) -> None:
    assert code in CODES


def test_every_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"`(control/[a-z_/]+(?:\.py)?)`", PAGE))
    assert len(named) > 8
    assert [name for name in sorted(named) if not (ROOT / "src" / "rspp" / name).exists()] == []
