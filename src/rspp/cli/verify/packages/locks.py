"""A lock pins every package to one version and to the digests of its files, and names no place to fetch them from.

Two forms are understood: pip's requirements with hashes (`requirements.lock`, `requirements.txt`), and `uv.lock`. Of any
other it is said that nobody looked.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.verify.engine import Found
from rspp.cli.verify.packages.declared import canonical
from rspp.cli.verify.packages.markers import applies
from rspp.cli.verify.packages.versions import Version

BYTES_MAX: Final = 32 * 1024 * 1024
UNDERSTOOD: Final = ("requirements.lock", "uv.lock", "requirements.txt")
OTHERS: Final = ("poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml", "conda-lock.yml")

_PIN: Final = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[[^\]]*\])?\s*"
    r"(?P<wanted>[^;\s][^;]*?)?\s*(?:;\s*(?P<marker>.*))?"
)
_HASH: Final = re.compile(r"--hash[= ]\s*(\S+)")
_STRONG: Final = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
# They say how what is pinned is installed, and fetch nothing.
_HARMLESS: Final = ("--require-hashes", "--only-binary", "--no-binary")
_FIX_LINE: Final = (
    "Pin it as `name==version` with its sha256 (`uv pip compile --generate-hashes` writes such lines)."
)
_FIX_PLACE: Final = (
    "Take the place out of the lock; packages come from the registry that the machine is set up for."
)


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """One package at one version, and where it applies."""

    name: str
    version: str
    marker: str
    line: int


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    pins: tuple[Pin, ...]
    found: tuple[Found, ...]

    def here(self, values: Mapping[str, str]) -> dict[str, Pin]:
        """The pins that apply on this machine, by name."""
        pins: dict[str, Pin] = {}
        for pin in self.pins:
            if applies(pin.marker, values):
                pins.setdefault(pin.name, pin)  # a second one is a fault, and told as one
        return pins


def file_of(folder: Path) -> str | None:
    """Which lock the project has: the first that is understood."""
    return next((name for name in UNDERSTOOD if (folder / name).is_file()), None)


def lock_of(folder: Path, file: str, own: str, values: Mapping[str, str]) -> Lock:
    """What the lock pins, and every line of it that pins less than it must. `own` is the project itself."""
    with (folder / file).open("rb") as opened:
        raw = opened.read(BYTES_MAX + 1)
    if len(raw) > BYTES_MAX:
        return _unread(file, f"it has more than {BYTES_MAX} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return _unread(file, "it is not UTF-8")
    lock = _uv(file, text, own) if file == "uv.lock" else _requirements(file, text)
    return _once_each(lock, values)


def _unread(file: str, why: str) -> Lock:
    found = Found(where=file, what=f"The lock cannot be read: {why}.", fix="Write the lock anew.")
    return Lock(file=file, pins=(), found=(found,))


def _once_each(lock: Lock, values: Mapping[str, str]) -> Lock:
    """Of one package only one version may apply on one machine; a marker must be one that is understood."""
    seen: dict[str, Pin] = {}
    pins, wrong = [], list(lock.found)  # bounded: by the lock
    for pin in lock.pins:
        where = f"{lock.file}:{pin.line}" if pin.line else lock.file
        try:
            mine = applies(pin.marker, values)
        except ValueError as fault:
            wrong.append(
                Found(where=where, what=f"{pin.name}: {fault}.", fix="Write the marker as PEP 508 says.")
            )
            continue
        if mine and pin.name in seen:
            what = f"{pin.name} is pinned twice: {seen[pin.name].version} and {pin.version}."
            wrong.append(
                Found(where=where, what=what, fix="Leave one of the two, or tell them apart by markers.")
            )
        if mine:
            seen.setdefault(pin.name, pin)
        pins.append(pin)
    return Lock(file=lock.file, pins=tuple(pins), found=tuple(wrong))


# --- pip's form ------------------------------------------------------------------------------------------------


def _requirements(file: str, text: str) -> Lock:
    pins, found = [], []  # bounded: by the file
    for number, line in _joined(text):
        read = _requirement(line, number)
        if isinstance(read, Pin):
            pins.append(read)
        elif read is not None:
            what, fix = read
            found.append(Found(where=f"{file}:{number}", what=what, fix=fix))
    return Lock(file=file, pins=tuple(pins), found=tuple(found))


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Lines as they are meant: joined where one goes on, without remarks, each with the number of its first."""
    parts: list[str] = []
    begun = 1
    for number, line in enumerate(text.splitlines(), 1):
        begun = begun if parts else number
        goes_on = line.endswith("\\")
        parts.append(re.sub(r"(?:^|\s)#.*$", "", line.removesuffix("\\")).strip())
        if goes_on:
            continue
        if any(parts):
            yield begun, " ".join(filter(None, parts))
        parts = []
    if any(parts):
        yield begun, " ".join(filter(None, parts))


def _requirement(line: str, number: int) -> Pin | tuple[str, str] | None:
    if line.startswith("-"):
        return _option(line)
    hashes = _HASH.findall(line)
    rest = " ".join(_HASH.sub("", line).split())
    if "://" in rest or "@" in rest.partition(";")[0] or rest.startswith((".", "/", "\\")):
        return "A package from a place of its own, and not from the registry.", _FIX_LINE
    found = _PIN.fullmatch(rest)
    if found is None:
        return f"{rest[:60]!r} is no requirement.", _FIX_LINE
    wanted = (found["wanted"] or "").strip()
    version = wanted.removeprefix("==").strip()
    if not _is_pinned(wanted, version):
        said = wanted[:40] or "no version"
        return f"{found['name']} is not pinned to one version ({said}).", _FIX_LINE
    if not hashes:
        return (
            f"{found['name']}=={version} has no hash: whatever the registry hands out would be taken.",
            _FIX_LINE,
        )
    if weak := [one for one in hashes if _STRONG.fullmatch(one) is None]:
        return f"{found['name']}=={version} has a hash that proves nothing ({weak[0][:20]}).", _FIX_LINE
    return Pin(name=canonical(found["name"]), version=version, marker=found["marker"] or "", line=number)


def _is_pinned(wanted: str, version: str) -> bool:
    if not wanted.startswith("==") or wanted.startswith("===") or "*" in version or "," in version:
        return False
    try:
        Version(version)
    except ValueError:
        return False
    return True


def _option(line: str) -> tuple[str, str] | None:
    word = re.split(r"[\s=]", line, maxsplit=1)[0]
    if word in _HARMLESS:
        return None
    if word in {"-e", "--editable"}:
        return "An editable package: what it is changes with its folder.", _FIX_LINE
    if word in {"-r", "--requirement", "-c", "--constraint"}:
        return f"{word} points to another file, and a lock is one file.", "Write everything into one lock."
    return f"The option {word[:40]} says where packages come from, or is not understood.", _FIX_PLACE


# --- uv.lock ---------------------------------------------------------------------------------------------------


def _uv(file: str, text: str, own: str) -> Lock:
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as wrong:
        return _unread(file, str(wrong))
    pins, found = [], []  # bounded: by the file
    packages = tree.get("package", [])
    for entry in packages if isinstance(packages, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            return _unread(file, "a package without a name")
        name, source = canonical(entry["name"]), entry.get("source", {})
        if name == own and isinstance(source, dict) and {"editable", "virtual", "directory"} & set(source):
            continue
        fault = _uv_fault(name, entry, source)
        if fault:
            found.append(Found(where=file, what=fault, fix="Lock it from the registry, with its hashes."))
        else:
            pins.append(Pin(name=name, version=entry["version"], marker=_uv_marker(entry), line=0))
    return Lock(file=file, pins=tuple(pins), found=tuple(found))


def _uv_fault(name: str, entry: Mapping[str, Any], source: object) -> str:
    if not isinstance(source, dict) or set(source) != {"registry"}:
        kinds = ", ".join(source) if isinstance(source, dict) else "unknown"
        return f"{name} comes from a place of its own ({kinds}), and not from the registry."
    if not _is_pinned(f"=={entry.get('version', '')}", str(entry.get("version", ""))):
        return f"{name} is not pinned to one version."
    files = [*entry.get("wheels", []), *([entry["sdist"]] if "sdist" in entry else [])]
    if not files:
        return f"{name} has no file."
    if any(not isinstance(one, dict) or _STRONG.fullmatch(str(one.get("hash"))) is None for one in files):
        return f"{name} has a file without a hash."
    return ""


def _uv_marker(entry: Mapping[str, Any]) -> str:
    """Where one package has several versions, the lock says for each where it applies."""
    markers = entry.get("resolution-markers", [])
    return " or ".join(f"({one})" for one in markers) if isinstance(markers, list) else ""
