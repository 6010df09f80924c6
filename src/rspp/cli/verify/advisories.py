"""Known vulnerabilities, from files in the OSV form: which of them a version has. Nothing is fetched, and nothing broken is skipped.

What is withdrawn is no vulnerability. What cannot be read is a fault, for nobody knows what it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.verify.engine import Found
from rspp.cli.verify.packages.declared import canonical
from rspp.cli.verify.packages.versions import Version

ECOSYSTEM: Final = "PyPI"
FOLDER: Final = "advisories"  # beside the project's own files, where none other is given
ADVISORY_BYTES_MAX: Final = 16 * 1024 * 1024
ADVISORIES_MAX: Final = 500_000
SUMMARY_CHARACTERS_MAX: Final = 160


class Package(msgspec.Struct, frozen=True):
    ecosystem: str = ""
    name: str = ""


class Range(msgspec.Struct, frozen=True):
    type: str = ""
    events: tuple[dict[str, str], ...] = ()


class Affected(msgspec.Struct, frozen=True):
    package: Package = Package()
    ranges: tuple[Range, ...] = ()
    versions: tuple[str, ...] = ()


class Advisory(msgspec.Struct, frozen=True):
    """One of them. Its form has more fields, and will get more."""

    id: str
    summary: str = ""
    details: str = ""
    withdrawn: str | None = None
    aliases: tuple[str, ...] | None = None
    affected: tuple[Affected, ...] | None = None
    severity: tuple[dict[str, Any], ...] | None = None


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """All that a folder holds, by package; and what of it could not be read."""

    by_package: Mapping[str, tuple[Advisory, ...]]
    count: int  # of PyPI, in force
    withdrawn: int
    elsewhere: int  # of other ecosystems only
    wrong: tuple[Found, ...]


def folder_of(ground: Path, given: object) -> Path | None:
    """Where advisories are: as it was given, else the project's own folder; None where there is neither."""
    if given:
        return Path(str(given))
    return ground / FOLDER if (ground / FOLDER).is_dir() else None


def read_all(folder: Path) -> Known:
    """Every advisory below the folder."""
    if not folder.is_dir():
        return _nothing(folder, "There is no such folder of advisories.")
    kept: dict[str, list[Advisory]] = {}
    wrong: list[Found] = []  # bounded: by the folder's files, and those by the limit
    count = withdrawn = elsewhere = 0
    for number, file in enumerate(sorted(folder.rglob("*.json"))):
        if number >= ADVISORIES_MAX:
            what = f"More than {ADVISORIES_MAX} advisories; the rest was not read."
            wrong.append(Found(where=folder.name, what=what, fix="Keep those of PyPI alone."))
            break
        one = _read(file)
        if isinstance(one, str):
            what = f"This advisory cannot be read: {one}."
            wrong.append(Found(where=file.name, what=what, fix="Fetch it anew, or delete it."))
        elif one.withdrawn:
            withdrawn += 1
        elif names := {canonical(it.package.name) for it in one.affected or () if _is_ours(it)}:
            count += 1
            for name in names:
                kept.setdefault(name, []).append(one)
        else:
            elsewhere += 1
    if not (count or withdrawn or elsewhere or wrong):
        return _nothing(folder, "This folder holds no advisory.")
    by_package = {name: tuple(those) for name, those in kept.items()}
    return Known(
        by_package=by_package, count=count, withdrawn=withdrawn, elsewhere=elsewhere, wrong=tuple(wrong)
    )


def _nothing(folder: Path, what: str) -> Known:
    """Advisories were meant to be looked at: that there are none is no answer."""
    fix = "Give a folder with advisories in the OSV form, one JSON file each; or none at all."
    wrong = (Found(where=folder.name, what=what, fix=fix),)
    return Known(by_package={}, count=0, withdrawn=0, elsewhere=0, wrong=wrong)


def _read(file: Path) -> Advisory | str:
    try:
        with file.open("rb") as opened:
            raw = opened.read(ADVISORY_BYTES_MAX + 1)
        if len(raw) > ADVISORY_BYTES_MAX:
            return f"it has more than {ADVISORY_BYTES_MAX} bytes"
        one = msgspec.json.decode(raw, type=Advisory)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError, RecursionError) as wrong:
        return type(wrong).__name__ if isinstance(wrong, OSError) else str(wrong)
    try:
        for affected in one.affected or ():
            if _is_ours(affected):
                _ = [list(_ordered(it)) for it in affected.ranges if it.type == "ECOSYSTEM"]
    except ValueError as wrong:
        return str(wrong)
    return one


def _is_ours(affected: Affected) -> bool:
    return affected.package.ecosystem.partition(":")[0] == ECOSYSTEM


def affecting(known: Known, name: str, version: str) -> Iterator[Advisory]:
    """The advisories that this version of the package falls under."""
    for one in known.by_package.get(canonical(name), ()):
        if any(
            _is_affected(affected, version)
            for affected in one.affected or ()
            if _is_ours(affected) and canonical(affected.package.name) == canonical(name)
        ):
            yield one


def _is_affected(affected: Affected, text: str) -> bool:
    if text in affected.versions:
        return True
    try:
        version = Version(text)
    except ValueError:
        # It cannot be placed in a range, so it is said rather than left out.
        return bool(affected.ranges)
    if any(_same(version, one) for one in affected.versions):
        return True
    return any(_is_within(one, version) for one in affected.ranges if one.type == "ECOSYSTEM")


def _same(version: Version, text: str) -> bool:
    try:
        return Version(text) == version.public
    except ValueError:
        return False


def _is_within(range_: Range, version: Version) -> bool:
    """Events in their order turn it on and off; what is beyond every limit is not meant."""
    limits = [event["limit"] for event in range_.events if "limit" in event]
    if limits and not any(one == "*" or version < Version(one) for one in limits):
        return False
    within = False
    for _, _, kind, bound in _ordered(range_):
        if kind == "introduced" and (bound is None or version >= bound):
            within = True
        elif bound is not None and (version > bound or (kind == "fixed" and version == bound)):
            within = False
    return within


def _ordered(range_: Range) -> list[tuple[bool, Any, str, Version | None]]:
    """The events by version; `introduced: 0` is before every version. Raises ValueError for what is no version."""
    kinds = ("introduced", "fixed", "last_affected")
    told = [(kind, event[kind]) for event in range_.events for kind in kinds if kind in event]
    placed = [
        (False, (), kind, None) if kind == "introduced" and text == "0" else _placed(kind, Version(text))
        for kind, text in told
    ]
    # Where one version ends one range and begins another, it is in the second.
    return sorted(placed, key=lambda one: (one[0], one[1], one[2] == "introduced"))


def _placed(kind: str, version: Version) -> tuple[bool, Any, str, Version]:
    return True, version.key, kind, version


def fixed_in(advisory: Advisory, name: str, version: str) -> str:
    """The first version above this one that a range says is mended; empty where nobody says."""
    try:
        have = Version(version)
        above = [one for one in _fixes(advisory, name) if one > have]
    except ValueError:
        return ""
    return str(min(above)) if above else ""


def _fixes(advisory: Advisory, name: str) -> Iterator[Version]:
    for affected in advisory.affected or ():
        if _is_ours(affected) and canonical(affected.package.name) == canonical(name):
            for range_ in affected.ranges:
                if range_.type == "ECOSYSTEM":
                    yield from (Version(event["fixed"]) for event in range_.events if "fixed" in event)


def told(advisory: Advisory, name: str, version: str, where: str) -> Found:
    """A sentence for a person: what it is called everywhere, what it is, and the version to go to."""
    names = ", ".join([advisory.id, *(advisory.aliases or ())])[:120]
    about = " ".join((advisory.summary or advisory.details).split())[:SUMMARY_CHARACTERS_MAX]
    what = f"{name} {version} is affected by {names}{': ' + about if about else ''}."
    better = fixed_in(advisory, name, version)
    fix = f"Lock {name} at {better} or later." if better else f"Nobody tells of a mended {name}: replace it."
    fix += " Where it does not concern this project, say why in `verify.yaml` under `advisories`."
    return Found(where=where, what=what, fix=fix)


def names_of(advisories: Iterable[Advisory]) -> set[str]:
    return {name for one in advisories for name in (one.id, *(one.aliases or ()))}
