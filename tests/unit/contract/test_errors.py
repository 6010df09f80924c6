"""Errors are told apart by who must act, and each code says what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rspp.contract.codec import CodecError
from rspp.contract.codes_of_work import CODES_OF_WORK
from rspp.contract.errors import (
    CODES,
    ERROR_CLASSES,
    Divergence,
    ErrorClassName,
    InvariantBreach,
    LimitReached,
    MisuseError,
    PeerFault,
    Retry,
    RsppError,
)

SOURCES = Path(__file__).parents[3] / "src" / "rspp"
# Whoever is called by one of these names is given a code first.
TAKES_A_CODE = {
    "Violation",
    "Rule",
    "CodecError",
    "MisuseError",
    "InvariantBreach",
    "LimitReached",
    "ManifestError",
    "PeerFault",
    "Refusal",
    "Refused",
    "refuse",
}
# A spec's problems have codes of their own; the testing kit plays strangers, who have theirs.
ROOMS_OF_CODES = ("adapters", "client", "cli", "contract", "host", "kernel", "manifest", "media", "nodes")


def codes_in(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        first = node.args[0]
        if name in TAKES_A_CODE and isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value


def test_every_code_that_is_given_is_in_the_table() -> None:
    files = sorted(path for room in ROOMS_OF_CODES for path in (SOURCES / room).rglob("*.py"))
    given = {(code, path.name) for path in files for code in codes_in(path.read_text())}
    assert len(given) > 50
    assert sorted(one for one in given if one[0] not in CODES) == []


def test_the_branches_of_the_tree_do_not_touch() -> None:
    branches = (MisuseError, PeerFault, LimitReached, InvariantBreach, Divergence)
    assert all(branch.__bases__ == (RsppError,) for branch in branches)
    assert issubclass(CodecError, PeerFault)


def test_an_error_says_its_code_its_place_and_its_sentence() -> None:
    error = MisuseError("state_full", "remove a key first", "state.session")
    assert str(error) == "state_full at state.session: remove a key first"
    assert str(MisuseError("state_full", "remove a key first")) == "state_full: remove a key first"


def test_a_divergence_says_where_what_was_expected_and_what_came() -> None:
    error = Divergence(7, "commit", "abort")
    assert (error.position, error.expected, error.got) == (7, "commit", "abort")
    assert error.code in CODES


def test_no_code_stands_twice() -> None:
    for file in ("codes.py", "codes_of_work.py"):
        table = next(
            node.value
            for node in ast.parse((SOURCES / "contract" / file).read_text()).body
            if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict)
        )
        own = [str(key.value) for key in table.keys if isinstance(key, ast.Constant)]
        others = set(CODES_OF_WORK) if file == "codes.py" else set()
        assert sorted(own) == sorted(set(own) - others)


@pytest.mark.parametrize("code", CODES)
def test_each_code_is_a_plain_word_and_says_what_it_means_and_what_to_do(code: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", code)
    assert CODES[code].meaning.endswith(".")
    assert CODES[code].remedy.endswith(".")


@pytest.mark.parametrize("name", ErrorClassName)
def test_each_error_class_has_an_action_its_evidence_and_a_code(name: ErrorClassName) -> None:
    entry = ERROR_CLASSES[name]
    assert entry.default_action
    assert entry.evidence
    assert name.value in CODES


def test_only_what_a_provider_did_may_be_retried() -> None:
    retried = {name for name, entry in ERROR_CLASSES.items() if entry.retry is not Retry.NO}
    assert retried == {ErrorClassName.PROVIDER_TIMEOUT, ErrorClassName.PROVIDER_OVERLOAD}
