"""A lock of npm pins every package to one version and to its digest, and names no place to fetch it from."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.verify.engine import Found

FILE: Final = "package-lock.json"
BYTES_MAX: Final = 32 * 1024 * 1024
_DIGESTS: Final = {"sha512": 64, "sha384": 48, "sha256": 32}
_FIX: Final = (
    "Set `omit-lockfile-registry-resolved=true` in .npmrc and write the lock anew with `npm install`."
)


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str
    licence: str


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    file: str  # from the project's folder
    pins: tuple[Pinned, ...]
    found: tuple[Found, ...]


def locks_below(folder: Path) -> Iterator[Path]:
    """The project's locks of npm: its own, and those of the folders in it."""
    for place in (folder, *sorted(one for one in folder.iterdir() if one.is_dir() and not one.is_symlink())):
        if place.name != "node_modules" and (place / FILE).is_file():
            yield place / FILE


def lock_of(path: Path, name: str) -> Lock:
    """What it pins, and what of it pins less than it must."""
    tree, why = _tree(path)
    packages = tree.get("packages")
    if not why and (tree.get("lockfileVersion") not in {2, 3} or not isinstance(packages, dict)):
        why = "only versions 2 and 3 of the form are understood"
    if why or not isinstance(packages, dict):
        found = Found(
            where=name, what=f"The lock cannot be read: {why}.", fix="Write it anew with `npm install`."
        )
        return Lock(file=name, pins=(), found=(found,))
    pins, wrong = [], list(_undeclared(path, name, packages))  # bounded: by the file
    for key, entry in packages.items():
        if key == "" or (isinstance(entry, dict) and entry.get("inBundle") is True):
            continue  # the project itself; and what another package's own digest covers
        fault = _fault(entry)
        if fault:
            wrong.append(Found(where=name, what=f"{_named(key)} {fault}.", fix=_FIX))
        if isinstance(entry, dict) and isinstance(entry.get("version"), str):
            licence = entry.get("license")
            licence = licence if isinstance(licence, str) else ""
            pins.append(Pinned(name=_named(key), version=entry["version"], licence=licence))
    return Lock(file=name, pins=tuple(pins), found=tuple(wrong))


def _tree(path: Path) -> tuple[Mapping[str, Any], str]:
    try:
        with path.open("rb") as opened:
            raw = opened.read(BYTES_MAX + 1)
        tree = msgspec.json.decode(raw) if len(raw) <= BYTES_MAX else None
    except (msgspec.DecodeError, OSError, RecursionError) as wrong:
        return {}, str(wrong)
    return (tree, "") if isinstance(tree, dict) else ({}, "it is no JSON object, or too large")


def _named(key: str) -> str:
    return key.rpartition("node_modules/")[2][:120]


def _fault(entry: object) -> str:
    if not isinstance(entry, dict):
        return "is no entry"
    if entry.get("link") is True:
        return "is a link to a folder, which no digest covers"
    if not isinstance(entry.get("version"), str) or not re.match(r"\d", entry["version"]):
        return "has no version"
    if not _is_digest(entry.get("integrity")):
        return "has no digest: whatever the registry hands out would be taken"
    if "resolved" in entry:
        return "names the place it comes from"
    return ""


def _is_digest(text: object) -> bool:
    """One strong digest is enough; npm takes the strongest."""
    for one in str(text).split():
        kind, _, value = one.partition("-")
        try:
            size = len(base64.b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            continue
        if _DIGESTS.get(kind) == size:
            return True
    return False


def _undeclared(path: Path, name: str, packages: Mapping[str, Any]) -> Iterator[Found]:
    """What package.json asks for is what the lock was written for."""
    beside = path.with_name("package.json")
    asked, why = _tree(beside) if beside.is_file() else ({}, "it is not there")
    if why:
        yield Found(
            where=name, what=f"package.json beside the lock cannot be read: {why}.", fix="Restore it."
        )
        return
    root = packages.get("")
    root = root if isinstance(root, dict) else {}
    for table in ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies"):
        wanted, locked = asked.get(table) or {}, root.get(table) or {}
        if wanted != locked:
            names = ", ".join(sorted(_names(wanted, locked)))[:200]
            what = f"package.json asks in {table} for something else than the lock was written for: {names}."
            yield Found(where=name, what=what, fix="Write the lock anew with `npm install`.")
        for one in wanted if isinstance(wanted, dict) and table != "peerDependencies" else ():
            if f"node_modules/{one}" not in packages:
                what = f"{one} is asked for in {table} and not in the lock."
                yield Found(where=name, what=what, fix="Write the lock anew with `npm install`.")


def _names(wanted: object, locked: object) -> set[str]:
    one = dict(wanted) if isinstance(wanted, dict) else {}
    other = dict(locked) if isinstance(locked, dict) else {}
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
