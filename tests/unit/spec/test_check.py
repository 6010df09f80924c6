"""A field that does not fit is reported where it stands, once, and the rest is still read."""

from __future__ import annotations

import msgspec
from msgspec import inspect

from rspp.spec import source
from rspp.spec.check import read
from rspp.spec.problem import Problem, dotted


class Inner(msgspec.Struct, frozen=True):
    size: int
    tags: tuple[str, ...] = ()


class Outer(msgspec.Struct, frozen=True):
    name: str
    inner: Inner | None = None
    many: dict[str, Inner] = {}
    either: str | tuple[str, ...] = ""
    ratio: float = 1.0


def check(text: str) -> tuple[object, list[Problem]]:
    found = source.read(text, "f.yaml")
    assert found.root is not None
    value = read(found.root, inspect.type_info(Outer), (), found.findings)
    return value, found.findings.problems


def test_a_fitting_tree_becomes_the_record() -> None:
    value, problems = check("name: n\ninner: {size: 1, tags: [a]}\neither: [x, y]\nratio: 2\n")
    assert problems == []
    assert value == Outer(name="n", inner=Inner(size=1, tags=("a",)), either=("x", "y"), ratio=2.0)


def test_all_faults_are_reported_and_what_is_sound_is_kept() -> None:
    value, problems = check("name: n\nmany:\n  a: {size: x}\n  b: {size: 2}\n  c: {}\nratio: fast\n")
    assert [(p.line, p.path) for p in problems] == [(3, "many.a.size"), (5, "many.c"), (6, "ratio")]
    assert value == Outer(name="n", many={"b": Inner(size=2)})


def test_a_misspelt_required_field_is_one_fault() -> None:
    value, problems = check("nam: n\n")
    assert value is msgspec.UNSET
    assert [p.code for p in problems] == ["unknown_key"]
    assert "Did you mean 'name'?" in str(problems[0])


def test_a_number_where_text_is_due_shows_how_to_quote_it() -> None:
    _, problems = check("name: 1.0\n")
    assert (
        str(problems[0]) == 'f.yaml:1:7: error[wrong_type] name: expected text, found 1.0. Quote it: "1.0".'
    )


def test_true_is_not_an_integer() -> None:
    _, problems = check("name: n\ninner: {size: true}\n")
    assert problems[0].path == "inner.size"


def test_paths_are_written_as_people_write_them() -> None:
    assert dotted(("edges", 3, "buffer", "strategy")) == "edges[3].buffer.strategy"
