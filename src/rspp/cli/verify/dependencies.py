"""What a project depends on is pinned by digest, is what is installed, may be used, and has no fault that is known of.

Nothing is fetched: known faults come from files. Where none are given the summary says so, for an empty list proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.verify import advisories as osv
from rspp.cli.verify.engine import Engine, Found, Ground, Outcome
from rspp.cli.verify.packages import npm
from rspp.cli.verify.packages.declared import Declared, canonical, declared_in
from rspp.cli.verify.packages.environment import TOOLS, Installed, installed
from rspp.cli.verify.packages.licences import is_allowed, licence_of
from rspp.cli.verify.packages.locks import OTHERS, Lock, file_of, lock_of
from rspp.cli.verify.packages.markers import here
from rspp.cli.verify.packages.settings import Settings, settings_of
from rspp.cli.verify.packages.versions import Version, takes

REPORT: Final = "dependencies.json"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One package that counts: pinned, or installed."""

    name: str
    version: str
    licence: str | None  # None: it is not here, so nobody can say
    where: str


def run(ground: Ground) -> Outcome:
    settings, values = settings_of(ground.folder), here()
    present = installed()
    declared = declared_in(ground.folder)
    lock, found = _locked(ground.folder, declared, values)
    found += _environment(lock, present, declared, values) if lock else []
    locks = [npm.lock_of(path, _relative(ground.folder, path)) for path in npm.locks_below(ground.folder)]
    found += [one for each in locks for one in each.found]
    parts = _parts(lock, locks, present, declared)
    found += _licences(parts, settings)
    facts: dict[str, Any] = _facts(lock, locks, present, parts, values)
    known = _known(ground)
    if known is None:
        facts["advisories"] = None
        told = "no advisories were given, so nothing is said about known vulnerabilities"
    else:
        found += _advised(known, parts, settings)
        told = f"{known.count} advisories looked through"
        facts["advisories"] = {
            "in_force": known.count,
            "withdrawn": known.withdrawn,
            "elsewhere": known.elsewhere,
        }
    return _outcome(ground, found, facts, told)


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


# --- the lock --------------------------------------------------------------------------------------------------


def _locked(
    folder: Path, declared: Declared | None, values: Mapping[str, str]
) -> tuple[Lock | None, list[Found]]:
    asked = declared.asked if declared else ()
    found = [
        Found(
            where="pyproject.toml",
            what=f"{what}.",
            fix="Mend the line; PEP 508 and PEP 735 say how it is written.",
        )
        for what in (declared.wrong if declared else ())
    ]
    file = file_of(folder)
    if file is None:
        if asked:
            found.append(_unlocked(folder, len(asked)))
        return None, found
    lock = lock_of(folder, file, declared.name if declared else "", values)
    return lock, [*found, *lock.found, *_undeclared(lock, declared)]


def _unlocked(folder: Path, count: int) -> Found:
    other = next((name for name in OTHERS if (folder / name).is_file()), None)
    what = f"{count} dependencies are declared and no lock pins them"
    what += f"; {other} is a form that is not understood here." if other else "."
    fix = "Write one: `uv pip compile --universal --generate-hashes pyproject.toml -o requirements.lock`."
    return Found(where=other or "pyproject.toml", what=what, fix=fix)


def _undeclared(lock: Lock, declared: Declared | None) -> Iterator[Found]:
    """What is asked for is in the lock, at a version that will do."""
    pinned: dict[str, list[str]] = {}
    for pin in lock.pins:
        pinned.setdefault(pin.name, []).append(pin.version)
    for one in declared.asked if declared else ():
        where, have = f"pyproject.toml ({one.where})", pinned.get(one.name, [])
        if one.url:
            what = f"{one.name} is asked for from a place of its own, and not from the registry."
            yield Found(where=where, what=what, fix="Ask for it by name and version.")
        elif not have:
            what = f"{one.name} is declared and not in {lock.file}."
            yield Found(where=where, what=what, fix="Write the lock anew.")
        elif wrong := _unfit(one.wanted, have):
            what = f"{one.name} is pinned to {', '.join(wrong)}, which {one.wanted!r} does not take."
            yield Found(where=where, what=what, fix="Write the lock anew.")


def _unfit(wanted: str, versions: Sequence[str]) -> list[str]:
    try:
        return [one for one in versions if not takes(wanted, Version(one))]
    except ValueError:
        return list(versions)


# --- what is installed -----------------------------------------------------------------------------------------


def _environment(
    lock: Lock, present: Sequence[Installed], declared: Declared | None, values: Mapping[str, str]
) -> list[Found]:
    """What is installed here is what the lock pins. Something more is told among the facts."""
    have = {one.name: one for one in present}
    found = []  # bounded: by the lock
    for name, pin in sorted(lock.here(values).items()):
        where = f"{lock.file}:{pin.line}" if pin.line else lock.file
        if name not in have:
            what = f"{name} {pin.version} is in the lock and not installed."
            found.append(
                Found(where=where, what=what, fix=f"Install what {lock.file} says, with its hashes.")
            )
        elif _differs(have[name].version, pin.version):
            what = f"{name} {have[name].version} is installed, and the lock says {pin.version}."
            found.append(
                Found(where=where, what=what, fix=f"Install what {lock.file} says, with its hashes.")
            )
        elif have[name].is_editable and (declared is None or name != declared.name):
            what = f"{name} is installed from a folder, which no hash of the lock covers."
            found.append(
                Found(where=where, what=what, fix=f"Install what {lock.file} says, with its hashes.")
            )
    return found


def _differs(one: str, other: str) -> bool:
    try:
        return Version(one) != Version(other)
    except ValueError:
        return one != other


def _parts(
    lock: Lock | None,
    locks: Sequence[npm.Lock],
    present: Sequence[Installed],
    declared: Declared | None,
) -> list[Part]:
    """Everything whose licence and faults count, each version once. The project itself is no dependency."""
    own = declared.name if declared else ""
    parts: dict[tuple[str, str], Part] = {}
    for one in present:
        if one.name not in {own, "rspp"}:
            where = "installed"
            part = Part(name=one.name, version=one.version, licence=licence_of(one), where=where)
            parts[one.name, one.version] = part
    for pin in lock.pins if lock else ():
        where = f"{lock.file}:{pin.line}" if lock and pin.line else "lock"
        before = parts.get((pin.name, pin.version))
        licence = before.licence if before else None
        parts[pin.name, pin.version] = Part(name=pin.name, version=pin.version, licence=licence, where=where)
    each = [
        Part(name=f"npm:{pin.name}", version=pin.version, licence=pin.licence, where=one.file)
        for one in locks
        for pin in one.pins
    ]
    return [*(parts[key] for key in sorted(parts)), *each]


# --- licences --------------------------------------------------------------------------------------------------


def _licences(parts: Sequence[Part], settings: Settings) -> Iterator[Found]:
    used: set[tuple[int, str]] = set()
    for part in parts:
        if part.licence is None:
            continue  # not installed here: told among the facts
        also = []  # bounded: by the settings
        for number, terms in enumerate(settings.licences):
            for pattern in terms.packages:
                if fnmatchcase(part.name, pattern) and (part.licence == "" or not is_allowed(part.licence)):
                    also.append(terms.licence)
                    used.add((number, pattern))
        if (not part.licence and also) or is_allowed(part.licence, also):
            continue
        said = f"is under {part.licence!r}" if part.licence else "says nothing about its licence"
        what = f"{part.name} {part.version} {said}, which is not on the list."
        fix = "Say in `verify.yaml` under `licences` why it may be used, or choose another package."
        yield Found(where=part.where, what=what, fix=fix)
    locked = {part.name for part in parts if part.licence is None}
    for number, terms in enumerate(settings.licences):
        for pattern in terms.packages:
            waits = any(fnmatchcase(name, pattern) for name in locked)
            if (number, pattern) not in used and not waits:
                what = f"The exception of {terms.licence} for {pattern} is needed by nothing."
                yield Found(where="verify.yaml", what=what, fix="Take the name out of the list.")


# --- known faults ----------------------------------------------------------------------------------------------


def _known(ground: Ground) -> osv.Known | None:
    folder = osv.folder_of(ground.folder, ground.options.get("advisories"))
    return None if folder is None else osv.read_all(folder)


def _advised(known: osv.Known, parts: Sequence[Part], settings: Settings) -> Iterator[Found]:
    yield from known.wrong
    excused = {(one.id, canonical(one.package)): False for one in settings.advisories}
    for part in parts:
        if part.name.startswith("npm:"):
            continue
        for one in osv.affecting(known, part.name, part.version):
            mine = [(name, part.name) for name in osv.names_of([one]) if (name, part.name) in excused]
            excused.update(dict.fromkeys(mine, True))
            if not mine:
                yield osv.told(one, part.name, part.version, part.where)
    for (name, package), is_needed in excused.items():
        if not is_needed:
            what = f"{name} is excused for {package}, and does not concern it any longer."
            yield Found(where="verify.yaml", what=what, fix="Take the entry out.")


# --- the answer ------------------------------------------------------------------------------------------------


def _facts(
    lock: Lock | None,
    locks: Sequence[npm.Lock],
    present: Sequence[Installed],
    parts: Sequence[Part],
    values: Mapping[str, str],
) -> dict[str, Any]:
    pinned = set(lock.here(values)) if lock else set()
    return {
        "lock": lock.file if lock else None,
        "pinned": len(lock.pins) if lock else 0,
        "npm": {one.file: len(one.pins) for one in locks},
        "installed": len(present),
        "not_in_the_lock": sorted(
            one.name for one in present if lock and one.name not in pinned | TOOLS and not one.is_editable
        ),
        "licence_not_looked_at": sorted(one.name for one in parts if one.licence is None),
    }


def _outcome(ground: Ground, found: Sequence[Found], facts: Mapping[str, Any], told: str) -> Outcome:
    ground.out.mkdir(parents=True, exist_ok=True)
    report = ground.out / REPORT
    body = {"facts": facts, "found": list(found)}
    report.write_bytes(msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n")
    count = facts["pinned"] + sum(facts["npm"].values())
    extra = facts["not_in_the_lock"]
    more = f"; installed and in no lock: {', '.join(extra[:5])}{' ...' if extra[5:] else ''}" if extra else ""
    looked = f"{count} pinned packages, {facts['installed']} installed; {told}{more}"
    if found:
        summary = f"{len(found)} faults in what the project depends on ({looked})"
        return Outcome(verdict="fail", summary=summary, found=tuple(found), facts=facts, files=(report,))
    return Outcome(verdict="pass", summary=looked, facts=facts, files=(report,))


def applies(ground: Ground) -> bool:
    """Does the folder say what it needs, or pin anything?"""
    return (
        file_of(ground.folder) is not None
        or (ground.folder / "pyproject.toml").is_file()
        or any((ground.folder / name).is_file() for name in OTHERS)
        or next(npm.locks_below(ground.folder), None) is not None
        or bool(ground.options.get("advisories"))
    )


ENGINE: Final = Engine(
    key="KEY:ENG.DEPENDENCIES",
    name="dependencies",
    summary="every dependency is pinned by digest, is what is installed, may be used, and has no known fault",
    levels=frozenset({"full", "security"}),
    fail_code="dependency_unsafe",
    run=run,
    applies=applies,
)
