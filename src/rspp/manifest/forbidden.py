"""NO_GO_LIST: files that a step must leave alone. However a file is called, a pattern that means it holds it.

A pattern is made of names between `/`: `*` and `?` stand for characters within a name, `**` for any number of names, none
too. A pattern of one name holds at any depth; one with a `/` before its end begins at the folder, so `./NAME` is the one at
its top. What a pattern holds, it holds with everything below it. Case, `./`, `//`, backslashes and `..` make no difference:
names are compared as a disk would that does not tell case apart.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

_ANY: Final = "**"

Names = tuple[str, ...]


def names_of(path: str) -> Names:
    """A path's names, without the ways to write one path differently; `..` stays only where it leaves the folder."""
    names: list[str] = []
    for name in _plain(path).split("/"):
        if name in ("", "."):
            continue
        if name == ".." and names and names[-1] != "..":
            names.pop()
        else:
            names.append(name)
    return tuple(names)


def is_absolute(path: str) -> bool:
    """Whether a path begins at a disk's root, on any system."""
    return path.replace("\\", "/").startswith("/") or path[1:2] == ":"


def pattern_fault(pattern: str) -> str:
    """Why a pattern would hold nothing, or not what it seems to; "" where it is sound."""
    names = [name for name in pattern.replace("\\", "/").split("/") if name not in ("", ".")]
    if not pattern.strip():
        return "a pattern is empty"
    if is_absolute(pattern):
        return f"{pattern} begins at the disk's root; patterns begin at the folder"
    if ".." in _after_climbing(names):
        return f"{pattern} goes up after it went down; say where it ends"
    return ""


class Holding:
    """What says of a path which pattern holds it: the first one as it is written, or "" where none does."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._wanted = tuple((pattern, _wanted(pattern)) for pattern in patterns)

    def __call__(self, path: str) -> str:
        names = names_of(path)
        return next((pattern for pattern, want in self._wanted if _holds(want, names)), "")

    def reaches(self, path: str) -> bool:
        """Whether a pattern means a folder itself or, by that folder's name, something below it: `**` alone names nothing."""
        names = names_of(path)
        return any(_holds(want, names) or _leads(want, names) for _, want in self._wanted)

    def enters(self, path: str) -> bool:
        """Whether a pattern may hold anything in a folder: where none does, nobody has to look."""
        names = names_of(path)
        return any(_holds(want, names) or _reached_by(want, names) for _, want in self._wanted)


def guard(patterns: Iterable[str]) -> Holding:
    return Holding(patterns)


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder itself or lies anywhere below it."""
    above = names_of(folder)
    return names_of(path)[: len(above)] == above


def _after_climbing(names: list[str]) -> list[str]:
    climbs = next((at for at, name in enumerate(names) if name != ".."), len(names))
    return names[climbs:]


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold()).replace("\\", "/")


def _wanted(pattern: str) -> Names:
    names = names_of(pattern)
    return names if "/" in _plain(pattern).rstrip("/") else (_ANY, *names)


def _holds(want: Names, names: Names) -> bool:
    """Whether the pattern fits the path or a folder above it. The places reached in the pattern are kept, not tried again."""
    places = _reached({0}, want)
    for name in names:
        if len(want) in places:
            return True
        places = _after(places, name, want)
    return len(want) in places


def _leads(want: Names, names: Names) -> bool:
    """Whether the pattern goes on below a folder whose name it has said, and not only passed over by a `**` at its beginning."""
    passed = max(_reached({0}, want))
    return any(place > passed for place in _reached_by(want, names))


def _reached_by(want: Names, names: Names) -> set[int]:
    """The places in a pattern behind these names; none where the pattern is over, or goes another way."""
    places = _reached({0}, want)
    for name in names:
        places = _after(places, name, want)
    return places


def _after(places: set[int], name: str, want: Names) -> set[int]:
    """The places reached with one name more."""
    after = {
        place if want[place] == _ANY else place + 1
        for place in places
        if place < len(want) and (want[place] == _ANY or fnmatchcase(name, want[place]))
    }
    return _reached(after, want)


def _reached(places: set[int], want: Names) -> set[int]:
    """With the places behind each `**`, which may stand for nothing."""
    reached = set(places)
    for start in sorted(places):
        place = start
        while place < len(want) and want[place] == _ANY:
            place += 1
            reached.add(place)
    return reached


__all__ = ["guard", "is_absolute", "is_below", "names_of", "pattern_fault"]
