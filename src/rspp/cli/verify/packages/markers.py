"""A marker says where a pin applies: `sys_platform == 'win32' and python_version < '3.13'`."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Mapping
from typing import Final

from rspp.cli.verify.packages.versions import Version, takes

MARKER_CHARACTERS_MAX: Final = 2_048
DEPTH_MAX: Final = 16

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<sign>===|==|!=|~=|<=|>=|<|>|\bnot\s+in\b|\bin\b)|(?P<word>\b(?:and|or)\b)|(?P<paren>[()])"
    r"|(?P<text>\"[^\"]*\"|'[^']*')|(?P<name>[a-z_.]+))"
)
_VERSIONS: Final = frozenset(
    {"python_version", "python_full_version", "implementation_version", "platform_release"}
)

Values = Mapping[str, str]
_Told = bool


def here() -> dict[str, str]:
    """What markers may ask of this machine and this Python."""
    named = sys.implementation.version
    return {
        "os_name": os.name,
        "sys_platform": sys.platform,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_version": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "python_full_version": platform.python_version(),
        "implementation_name": sys.implementation.name,
        "implementation_version": f"{named.major}.{named.minor}.{named.micro}",
        "extra": "",
    }


def applies(marker: str, values: Values) -> bool:
    """Does what is marked so apply where the values are these? Raises ValueError for what is no marker."""
    if not marker.strip():
        return True
    reader = _Reader(marker, values)
    told = reader.either(0)
    reader.end()
    return told


class _Reader:
    """A marker, read from its left; `or` binds least."""

    def __init__(self, marker: str, values: Values) -> None:
        self._words = _tokens(marker)
        self._marker = marker
        self._values = values
        self._at = 0

    def either(self, depth: int) -> _Told:
        told = self._both(depth)
        while self._next("word") == "or":
            self._at += 1
            told = self._both(depth) or told
        return told

    def _both(self, depth: int) -> _Told:
        told = self._one(depth)
        while self._next("word") == "and":
            self._at += 1
            told = self._one(depth) and told
        return told

    def _one(self, depth: int) -> _Told:
        if self._next("paren") != "(":
            return self._compared()
        if depth >= DEPTH_MAX:
            raise self._wrong()
        self._at += 1
        told = self.either(depth + 1)
        if self._next("paren") != ")":
            raise self._wrong()
        self._at += 1
        return told

    def _compared(self) -> _Told:
        left_name, left = self._value()
        sign = re.sub(r"\s+", " ", self._take("sign"))
        right_name, right = self._value()
        if sign in {"in", "not in"}:
            return (left in right) is (sign == "in")
        if {left_name, right_name} & _VERSIONS:
            return _versions(left, sign, right)
        return _texts(left, sign, right)

    def _value(self) -> tuple[str, str]:
        text = self._next("text")
        if text:
            self._at += 1
            return "", text[1:-1]
        name = self._take("name")
        if name not in self._values:
            raise self._wrong()
        return name, self._values[name]

    def _next(self, kind: str) -> str:
        if self._at < len(self._words) and self._words[self._at][0] == kind:
            return self._words[self._at][1]
        return ""

    def _take(self, kind: str) -> str:
        taken = self._next(kind)
        if not taken:
            raise self._wrong()
        self._at += 1
        return taken

    def end(self) -> None:
        if self._at != len(self._words):
            raise self._wrong()

    def _wrong(self) -> ValueError:
        return ValueError(f"{self._marker[:80]!r} is no marker")


def _tokens(marker: str) -> list[tuple[str, str]]:
    if len(marker) > MARKER_CHARACTERS_MAX:
        raise ValueError(f"a marker of {len(marker)} characters, more than {MARKER_CHARACTERS_MAX}")
    words, at = [], 0  # bounded: by the marker
    while at < len(marker.rstrip()):
        found = _TOKEN.match(marker, at)
        if found is None or found.lastgroup is None:
            raise ValueError(f"{marker[:80]!r} is no marker")
        words.append((found.lastgroup, found[found.lastgroup]))
        at = found.end()
    return words


def _versions(left: str, sign: str, right: str) -> bool:
    try:
        return takes(f"{sign}{right}", Version(left))
    except ValueError:
        return _texts(left, sign, right)


_TEXTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "==": lambda left, right: left == right,
    "===": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    ">": lambda left, right: left > right,
    "<=": lambda left, right: left <= right,
    ">=": lambda left, right: left >= right,
}


def _texts(left: str, sign: str, right: str) -> bool:
    if sign not in _TEXTS:
        raise ValueError(f"{sign} compares no texts")
    return _TEXTS[sign](left, right)
