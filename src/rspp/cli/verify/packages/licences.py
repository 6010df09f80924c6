"""What a licence is called: packages say it in four ways, and all of them end in an SPDX expression, or in nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from rspp.cli.verify.packages.environment import Installed

EXPRESSION_CHARACTERS_MAX: Final = 512
DEPTH_MAX: Final = 16
LICENCE_FILE_CHARACTERS_MAX: Final = 400

# They ask for a notice, and for nothing of whoever links, ships or serves the work.
ALLOWED: Final = frozenset(
    {
        "MIT",
        "MIT-0",
        "0BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "Apache-2.0",
        "ISC",
        "Zlib",
        "PSF-2.0",
        "Python-2.0",
    }
    | {"CC0-1.0", "Unlicense", "BSL-1.0", "BlueOak-1.0.0", "HPND", "NCSA", "PostgreSQL"}
)
# Names in use before there were expressions. "BSD" alone leaves the number of clauses open: both are allowed, the longer is told.
_NAMES: Final[Mapping[str, str]] = {
    "mit": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "the mit license (mit)": "MIT",
    "expat": "MIT",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "3-clause bsd": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "2-clause bsd license": "BSD-2-Clause",
    "simplified bsd": "BSD-2-Clause",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "psf": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl 2.0": "MPL-2.0",
    "the unlicense (unlicense)": "Unlicense",
    "zlib/libpng license": "Zlib",
    "gnu general public license v2 (gplv2)": "GPL-2.0-only",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu affero general public license v3": "AGPL-3.0-only",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "gplv3": "GPL-3.0-only",
    "agplv3": "AGPL-3.0-only",
    "lgplv3": "LGPL-3.0-only",
}
_WORD: Final = re.compile(r"\s*([()]|[A-Za-z0-9.+:_-]+)")
_CLASSIFIER: Final = "License :: OSI Approved :: "


def licence_of(package: Installed) -> str:
    """Its SPDX expression: as it is said; else by the old names; else by its licence's first line; else empty."""
    told = package.distribution.metadata
    said, named = _field(package, "License-Expression"), spdx(_field(package, "License"))
    if said or named:
        return said or named
    classified = [
        one.removeprefix(_CLASSIFIER)
        for one in told.get_all("Classifier") or []
        if one.startswith(_CLASSIFIER)
    ]
    known = [spdx(one) for one in classified]
    if known and all(known):
        return " AND ".join(sorted(set(known)))
    return _titled(package)


def _field(package: Installed, name: str) -> str:
    return next(iter(package.distribution.metadata.get_all(name) or ()), "").strip()


def spdx(name: str) -> str:
    """An expression, or a name in use, as an expression; empty for a text that is neither."""
    name = " ".join(name.split())
    if not name or len(name) > EXPRESSION_CHARACTERS_MAX:
        return ""
    if name.lower() in _NAMES:
        return _NAMES[name.lower()]
    return name if re.fullmatch(r"[A-Za-z0-9.-]*\d[A-Za-z0-9.+-]*", name) or is_expression(name) else ""


def is_expression(text: str) -> bool:
    """Is it put together of licences, and not only a word that somebody wrote?"""
    return re.search(r"\b(?:AND|OR|WITH)\b", text) is not None and terms(text, lambda _: True) is not None


def _titled(package: Installed) -> str:
    """The title of a licence that the package carries. Of several, all must be known."""
    titles = []  # bounded: by the package's records
    for file in package.distribution.metadata.get_all("License-File") or []:
        for folder in ("licenses/", ""):
            text = package.distribution.read_text(f"{folder}{file}")
            if text:
                first = next(
                    (line for line in text[:LICENCE_FILE_CHARACTERS_MAX].splitlines() if line.strip()), ""
                )
                titles.append(spdx(first.strip(" \t#*=")))
                break
    return " AND ".join(sorted(set(titles))) if titles and all(titles) else ""


def is_allowed(expression: str, also: Iterable[str] = ()) -> bool:
    """May it be used? Of what `OR` joins one is enough; of what `AND` joins each is needed."""
    allowed = {one.lower() for one in ALLOWED} | {one.lower() for one in also}
    return terms(expression, lambda one: one.lower() in allowed) is True


def terms(expression: str, is_good: Callable[[str], bool]) -> bool | None:
    """The expression's answer, its licences answered for by `is_good`; None for a text that is no expression."""
    if len(expression) > EXPRESSION_CHARACTERS_MAX:
        return None
    words, at = [], 0  # bounded: by the expression
    while at < len(expression.rstrip()):
        found = _WORD.match(expression, at)
        if found is None:
            return None
        words.append(found[1])
        at = found.end()
    try:
        answer, end = _either(words, 0, is_good, 0)
    except (IndexError, RecursionError):
        return None
    return answer if end == len(words) else None


def _either(words: list[str], at: int, is_good: Callable[[str], bool], depth: int) -> tuple[bool, int]:
    good, at = _both(words, at, is_good, depth)
    while at < len(words) and words[at].upper() == "OR":
        more, at = _both(words, at + 1, is_good, depth)
        good = good or more
    return good, at


def _both(words: list[str], at: int, is_good: Callable[[str], bool], depth: int) -> tuple[bool, int]:
    good, at = _one(words, at, is_good, depth)
    while at < len(words) and words[at].upper() == "AND":
        more, at = _one(words, at + 1, is_good, depth)
        good = good and more
    return good, at


def _one(words: list[str], at: int, is_good: Callable[[str], bool], depth: int) -> tuple[bool, int]:
    if words[at] == "(":
        if depth >= DEPTH_MAX:
            raise IndexError(depth)
        good, at = _either(words, at + 1, is_good, depth + 1)
        if words[at] != ")":
            raise IndexError(at)
        return good, at + 1
    if words[at] == ")" or words[at].upper() in {"AND", "OR", "WITH"}:
        raise IndexError(at)
    # An exception only ever gives more rights than its licence.
    end = at + 3 if at + 1 < len(words) and words[at + 1].upper() == "WITH" else at + 1
    if end == at + 3:
        _ = words[at + 2]
    return is_good(words[at]), end
