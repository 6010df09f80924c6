"""NO_GO_LIST: what a pattern holds, and that no way of writing a path leads around it."""

from __future__ import annotations

import time

import pytest

from rspp.manifest.forbidden import guard, is_absolute, is_below, names_of, pattern_fault


def holds(pattern: str, path: str) -> bool:
    return guard([pattern])(path) == pattern


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a.py", "a.py"),
        ("a.py", "deep/down/a.py"),
        ("a.py", "a.py/below"),
        ("./a.py", "a.py"),
        ("docs/", "docs/x/y"),
        ("docs/", "some/docs/x"),
        ("src/*.py", "src/a.py"),
        ("src/*", "src/a/b/c"),
        ("src/**", "src/a/b/c"),
        ("src/**", "src"),
        ("src/**/a.py", "src/a.py"),
        ("src/**/a.py", "src/x/y/a.py"),
        ("**/a.py", "a.py"),
        ("**/a.py", "../x/a.py"),
        ("**", "anything/at/all"),
        (".", "anything/at/all"),
        ("*.key", "x/y/z.key"),
        ("?.key", "a.key"),
        ("[ab].key", "b.key"),
        ("src/**/b/**/c", "src/b/x/b/y/c"),
        ("../other/*", "../other/x"),
        ("src\\*.py", "src/a.py"),
        ("src//./x", "src/x"),
        ("ÄRGER/*", "a\u0308rger/x"),
        ("straße", "STRASSE"),
        ("src/a.py", "SRC/A.PY"),
        ("src/a.py", "./src/a.py"),
        ("src/a.py", "src//a.py"),
        ("src/a.py", "src/./a.py"),
        ("src/a.py", "x/../src/a.py"),
        ("src/a.py", "src/x/../a.py"),
        ("src/a.py", "src\\a.py"),
        ("src/a.py", "src/a.py/"),
    ],
)
def test_a_pattern_holds_what_it_means_however_the_path_is_written(pattern: str, path: str) -> None:
    assert holds(pattern, path)
    names = names_of(path)
    assert all(guard([pattern]).enters("/".join(names[:count])) for count in range(1, len(names)))


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [("./a.py", "node_modules"), ("./src/**/*.py", ".venv"), ("src/*.py", "src/deep"), ("./a/*/c", "a/b/d")],
)
def test_a_folder_where_no_pattern_goes_is_not_looked_at(pattern: str, folder: str) -> None:
    assert not guard([pattern]).enters(folder)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a.py", "b.py"),
        ("a.py", "a.pyc"),
        ("./a.py", "deep/a.py"),
        ("src/*.py", "src/x/a.txt"),
        ("src/a.py", "other/src/a.py"),
        ("src/a.py", "src"),
        ("src/a.py", "src/../a.py"),
        ("src/**/a.py", "src/x/b.py"),
        ("?.key", "ab.key"),
        ("*.key", "key"),
        ("../other/*", "other/x"),
    ],
)
def test_a_pattern_holds_nothing_else(pattern: str, path: str) -> None:
    assert not holds(pattern, path)


def test_the_first_pattern_that_holds_is_named_as_it_is_written() -> None:
    held = guard(["x", "./SRC/*", "src/**"])
    assert held("src/a") == "./SRC/*"
    assert held("y") == ""
    assert guard([])("y") == ""


@pytest.mark.parametrize("path", ["/a", "\\a", "//a", "C:/a", "c:a", "\\\\server\\a"])
def test_a_path_from_a_disks_root_is_told(path: str) -> None:
    assert is_absolute(path)
    assert pattern_fault(path)


@pytest.mark.parametrize("pattern", ["", "  ", "a/..", "*/../b", "**/..", "../a/../b"])
def test_a_pattern_that_cannot_be_worked_out_is_told(pattern: str) -> None:
    assert pattern_fault(pattern)


@pytest.mark.parametrize("pattern", ["a", "./a", "../a", "../../a/**", "..a", "a..b/c"])
def test_a_sound_pattern_has_no_fault(pattern: str) -> None:
    assert pattern_fault(pattern) == ""
    assert not is_absolute(pattern)


def test_names_are_the_same_for_every_way_to_write_a_path() -> None:
    assert names_of("./A//b/../c/") == ("a", "c")
    assert names_of("../x/../../y") == ("..", "..", "y")
    assert names_of(".") == names_of("") == names_of("a/..") == ()
    assert is_below("a/b/c", "A/./b")
    assert is_below("a", "a")
    assert not is_below("ab", "a")


def test_a_pattern_full_of_stars_takes_no_long_time() -> None:
    held = guard(["/".join(["**", "*a*a*a*a*b"] * 12)])
    begun = time.process_time()
    assert held("/".join(["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] * 60)) == ""
    assert time.process_time() - begun < 1
