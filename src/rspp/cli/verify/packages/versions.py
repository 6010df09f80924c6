"""Versions are ordered as PEP 440 orders them, and a specifier takes those that it says and no other.

The program that checks dependencies needs no dependency for it: what it reads are other people's files, and whether a
package is affected may not hang on what happens to be installed.
"""

from __future__ import annotations

import re
from functools import total_ordering
from typing import Final

VERSION_CHARACTERS_MAX: Final = 128

_VERSION: Final = re.compile(
    r"\s*v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>alpha|beta|preview|pre|a|b|c|rc)[-_.]?(?P<pre_n>\d*))?"
    r"(?:-(?P<implicit>\d+)|(?P<post>[-_.]?(?:post|rev|r)[-_.]?(?P<post_n>\d*)))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<dev_n>\d*))?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*",
    re.IGNORECASE | re.ASCII,
)
_PRE: Final = {
    "alpha": "a",
    "a": "a",
    "beta": "b",
    "b": "b",
    "c": "rc",
    "rc": "rc",
    "pre": "rc",
    "preview": "rc",
}
_FIRST: Final = (-1,)  # below everything that a part may be
_LAST: Final = (2,)
_CLAUSE: Final = re.compile(r"\s*(===|==|!=|~=|<=|>=|<|>)\s*([^\s,;]+)\s*")

Part = tuple[int | str, ...]


@total_ordering
class Version:
    """One version. Raises ValueError for a text that is none."""

    __slots__ = ("dev", "epoch", "key", "local", "post", "pre", "release", "text")

    def __init__(self, text: str) -> None:
        found = _VERSION.fullmatch(text) if len(text) <= VERSION_CHARACTERS_MAX else None
        if found is None:
            raise ValueError(f"{text[:40]!r} is no version")
        self.text = text.strip()
        self.epoch = int(found["epoch"] or 0)
        self.release = tuple(map(int, found["release"].split(".")))
        self.pre = (_PRE[found["pre"].lower()], int(found["pre_n"] or 0)) if found["pre"] else None
        has_post = found["post"] is not None or found["implicit"] is not None
        self.post = int(found["implicit"] or found["post_n"] or 0) if has_post else None
        self.dev = int(found["dev_n"] or 0) if found["dev"] is not None else None
        self.local = tuple(re.split(r"[-_.]", found["local"].lower())) if found["local"] else ()
        self.key = self._key()

    def _key(self) -> tuple[int, tuple[int, ...], Part, Part, Part, tuple[Part, ...]]:
        """A development release comes before what it leads to, a local build after what it was built from."""
        if self.pre is not None:
            pre: Part = (1, *self.pre)
        else:
            pre = _FIRST if self.post is None and self.dev is not None else _LAST
        post = _FIRST if self.post is None else (self.post,)
        dev: Part = (1, 0) if self.dev is None else (0, self.dev)
        local = tuple((1, int(one)) if one.isdigit() else (0, one) for one in self.local)
        return self.epoch, _trimmed(self.release), pre, post, dev, local

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self.key == other.key

    def __lt__(self, other: Version) -> bool:
        return self.key < other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return self.text

    @property
    def public(self) -> Version:
        """Without what somebody's own build added."""
        return Version(self.text.partition("+")[0]) if self.local else self


def _trimmed(release: tuple[int, ...]) -> tuple[int, ...]:
    """`1.0` is `1`."""
    end = len(release)
    while end > 1 and release[end - 1] == 0:
        end -= 1
    return release[:end]


def clauses(specifier: str) -> tuple[tuple[str, str], ...]:
    """`>=1.2, <2` as its parts. Raises ValueError for what is no specifier."""
    parts = [part for part in specifier.split(",") if part.strip()]
    found = [_CLAUSE.fullmatch(part) for part in parts]
    if not all(found):
        raise ValueError(f"{specifier[:80]!r} is no version specifier")
    return tuple((one[1], one[2]) for one in found if one is not None)


def takes(specifier: str, version: Version) -> bool:
    """Is the version one of those that the specifier means? A pin to a pre-release is meant, so those count."""
    return all(_takes(sign, wanted, version) for sign, wanted in clauses(specifier))


def _takes(sign: str, wanted: str, version: Version) -> bool:
    if sign == "===":
        return version.text.lower() == wanted.lower()
    if wanted.endswith(".*"):
        if sign not in {"==", "!="}:
            raise ValueError(f"{sign}{wanted} is no version specifier")
        return _begins(version, Version(wanted[:-2])) is (sign == "==")
    bound = Version(wanted)
    if sign == "~=":
        if len(bound.release) < 2:
            raise ValueError(f"~={wanted} is no version specifier")
        return version.public >= bound and _begins(version, bound, len(bound.release) - 1)
    mine = version if bound.local else version.public
    match sign:
        case "==":
            return mine == bound
        case "!=":
            return mine != bound
        case "<=":
            return version.public <= bound
        case ">=":
            return version.public >= bound
        case "<":
            return version < _earliest(bound)
        case _:
            return version > bound and not _is_of(version, bound)


def _begins(version: Version, with_: Version, parts: int | None = None) -> bool:
    wanted = with_.release[:parts]
    have = version.release + (0,) * (len(wanted) - len(version.release))
    if version.epoch != with_.epoch or have[: len(wanted)] != wanted:
        return False
    # `==1.0rc1.*` is not written by anybody, and means nothing.
    return parts is not None or with_.pre is None


def _earliest(bound: Version) -> Version:
    """`<2` does not mean what leads to 2; `<2rc1` does mean what comes before it."""
    return bound if bound.pre is not None or bound.dev is not None else Version(f"{bound.text}.dev0")


def _is_of(version: Version, bound: Version) -> bool:
    """`>2` means neither the corrections of 2 nor somebody's own build of it."""
    if bound.post is not None or bound.dev is not None:
        return version.public == bound
    same_release = version.epoch == bound.epoch and _trimmed(version.release) == _trimmed(bound.release)
    return same_release and version.pre == bound.pre
