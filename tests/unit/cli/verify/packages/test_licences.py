"""A licence's name becomes an expression, and an expression is allowed or not."""

from __future__ import annotations

import pytest

from rspp.cli.verify.packages.licences import is_allowed, spdx


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("MIT", "MIT"),
        ("MIT License", "MIT"),
        ("Apache 2.0", "Apache-2.0"),
        ("BSD 2-Clause License", "BSD-2-Clause"),
        ("3-Clause  BSD License", "BSD-3-Clause"),
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("LGPL-2.1-only", "LGPL-2.1-only"),
        ("see the file", ""),
        ("", ""),
        ("x" * 5_000, ""),
        ("proprietary", ""),
    ],
)
def test_a_name_in_use_becomes_an_expression(name: str, expression: str) -> None:
    assert spdx(name) == expression


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("mit", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT AND (GPL-3.0-only OR Apache-2.0)", True),
        ("GPL-3.0-only OR GPL-2.0-only AND MIT", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("MIT AND", False),
        ("MIT WITH", False),
        ("OR MIT", False),
        ("(MIT", False),
        ("MIT MIT", False),
        ("(" * 100 + "MIT" + ")" * 100, False),
        ("", False),
        ("MIT; rm", False),
    ],
)
def test_of_or_one_is_enough_and_of_and_each_is_needed(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) is allowed


def test_an_exception_is_for_the_licence_that_it_names() -> None:
    assert is_allowed("MPL-2.0", ["MPL-2.0"])
    assert is_allowed("MPL-2.0 AND MIT", ["MPL-2.0"])
    assert not is_allowed("GPL-3.0-only", ["MPL-2.0"])
