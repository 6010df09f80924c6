"""What pyproject.toml asks for, read as what it is: a list of names, the versions that will do, and where."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

FILE: Final = "pyproject.toml"
BYTES_MAX: Final = 1024 * 1024
LINE_CHARACTERS_MAX: Final = 2_000

_REQUIREMENT: Final = re.compile(
    r"\s*(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?"
    r"\s*(?:@\s*(?P<url>\S+)|\(?(?P<wanted>[^;@()]*)\)?)\s*(?:;(?P<marker>.*))?\s*"
)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what a project needs."""

    name: str
    wanted: str  # `>=1.2,<2`; empty: any
    where: str  # the table it stands in
    url: str = ""


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""  # the project's own
    asked: tuple[Asked, ...] = ()
    wrong: tuple[str, ...] = ()  # what could not be read


def canonical(name: str) -> str:
    """`Ruamel_YAML` and `ruamel.yaml` are one package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared_in(folder: Path) -> Declared | None:
    """What the project asks for; None where it has no pyproject.toml."""
    file = folder / FILE
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        raw = opened.read(BYTES_MAX + 1)
    if len(raw) > BYTES_MAX:
        return Declared(wrong=(f"{FILE} has more than {BYTES_MAX} bytes",))
    try:
        tree = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as wrong:
        return Declared(wrong=(f"{FILE} cannot be read: {wrong}",))
    return _declared(tree)


def _declared(tree: Mapping[str, Any]) -> Declared:
    project = _table(tree.get("project"))
    own = canonical(str(project.get("name", "")))
    asked, wrong = [], []  # bounded: by the file
    for where, line in _lines(tree, project):
        # With single blanks: many of them in a row could be taken apart in too many ways.
        plain = " ".join(line.split())[:LINE_CHARACTERS_MAX] if isinstance(line, str) else ""
        found = _REQUIREMENT.fullmatch(plain)
        if found is None:
            wrong.append(f"{where}: {str(line)[:80]!r} is no requirement")
        elif canonical(found["name"]) != own:  # extras of the project itself are in its own tables
            wanted = (found["wanted"] or "").strip()
            one = Asked(name=canonical(found["name"]), wanted=wanted, where=where, url=found["url"] or "")
            asked.append(one)
    return Declared(name=own, asked=tuple(asked), wrong=tuple(wrong))


def _lines(tree: Mapping[str, Any], project: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for line in _list(project.get("dependencies")):
        yield "project.dependencies", line
    for extra, lines in _table(project.get("optional-dependencies")).items():
        for line in _list(lines):
            yield f"project.optional-dependencies.{extra}", line
    for group, lines in _table(tree.get("dependency-groups")).items():
        for line in _list(lines):
            # Another group's lines stand in that group.
            if not (isinstance(line, dict) and set(line) == {"include-group"}):
                yield f"dependency-groups.{group}", line


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
