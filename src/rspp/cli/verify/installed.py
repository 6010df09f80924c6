"""Every installed file is what its package's record says, and no code lies among packages that none of them brought.

A record is no signature: whoever changes it together with the file is not found here. It finds what was edited by hand,
what a broken disk or an interrupted install left, and what somebody put there to be run.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from rspp.cli.verify.engine import Engine, Found, Ground, Outcome
from rspp.cli.verify.packages.environment import Installed, every
from rspp.cli.verify.packages.records import Row, code_below, is_cache, is_own, rows_of, state_of, text_of
from rspp.cli.verify.packages.settings import Changed, Settings, settings_of
from rspp.cli.verify.searched.reading import legible

REPORT: Final = "installed.json"
THREADS_MAX: Final = 8
NAMES_TOLD_MAX: Final = 5
PTH_BYTES_MAX: Final = 64 * 1024
# Files with lines that Python runs at each start, which belong to known packages and say this and nothing else.
EXPECTED_PTH: Final[Mapping[str, str]] = {
    "distutils-precedence.pth": (
        "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') == 'local'; "
        "enabled and __import__('_distutils_hack').add_shim();"
    ),
}
# Python runs these at each start where they are on its path.
_AT_START: Final = frozenset({"sitecustomize.py", "usercustomize.py"})
_WORDS: Final = {
    "changed": "is not what was installed",
    "missing": "is gone",
    "unproven": "has no digest in the package's record",
}


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One distribution with its record; None where it has none."""

    one: Installed
    rows: list[Row] | None


def run(ground: Ground) -> Outcome:
    return look(ground, None)


def look(ground: Ground, path: list[str] | None) -> Outcome:
    """The environment's packages, or those of another path."""
    settings = settings_of(ground.folder)
    packages = [Package(one=one, rows=rows_of(one)) for one in every(path)]
    homes = sorted({package.one.home for package in packages if package.rows is not None})
    found, unrecorded = list(_unrecorded_packages(packages, homes)), _without_record(packages)
    states = _states(packages)
    found += _changed(packages, states)
    used: set[str] = set()
    # Where only the system's own packages are, nobody recorded what they brought.
    open_homes = {package.one.home for package in packages} - {*homes}
    for home in homes:
        found += _foreign(home, packages, settings, used)
        found += _at_start(home, packages, settings, used)
    found += _stale(settings, used)
    facts = {
        "distributions": len(packages),
        "files": len(states),
        "editable": sorted(package.one.name for package in packages if package.one.is_editable),
        "without_record": unrecorded,
        "not_searched_for_foreign_code": len(open_homes),
    }
    return _outcome(ground, found, facts)


def _without_record(packages: Sequence[Package]) -> list[str]:
    return sorted(
        package.one.name or "a package without a name" for package in packages if package.rows is None
    )


def _unrecorded_packages(packages: Sequence[Package], homes: Sequence[Path]) -> Iterator[Found]:
    """An installer writes a record; the system's own packages, and folders that somebody works in, have none.

    One without beside others with one is no system's: it would be a way to hide all code that lies there.
    """
    for package in packages:
        if package.rows is not None:
            continue
        installer = (text_of(package.one, "INSTALLER") or "").strip()
        if installer in {"pip", "uv"}:
            what = f"{package.one.name} was installed by {installer} and has no record of its files that could be read."
            yield Found(where=package.one.name, what=what, fix=_again(package.one.name))
        elif package.one.home in homes:
            name = package.one.name or "a package without a name"
            what = f"{name} has no record of its files, and lies beside packages that have one."
            yield Found(where=name, what=what, fix=_again(name))


def _again(name: str) -> str:
    return f"Install {name} anew from the lock, and find out who changed it."


# --- what the records say --------------------------------------------------------------------------------------


def _states(packages: Sequence[Package]) -> dict[str, str]:
    """Of every recorded file what it is now. Two packages may bring one file; then each record must be right."""
    rows = [
        row
        for package in packages
        for row in package.rows or ()
        if not is_cache(row.path) and not is_own(row.path)
    ]
    with ThreadPoolExecutor(min(THREADS_MAX, (os.cpu_count() or 1) * 2)) as pool:
        states: dict[str, str] = {}
        for row, state in zip(rows, pool.map(state_of, rows, chunksize=64), strict=True):
            if states.get(row.path, "same") == "same":
                states[row.path] = state
    return states


def _changed(packages: Sequence[Package], states: Mapping[str, str]) -> Iterator[Found]:
    for package in packages:
        by_state: dict[str, list[str]] = defaultdict(list)
        for row in package.rows or ():
            state = states.get(row.path, "same")
            if state != "same":
                by_state[state].append(_from(package.one.home, row.path))
        for state, names in sorted(by_state.items()):
            yield _told(package.one.name, names, _WORDS[state])


def _told(name: str, files: list[str], words: str) -> Found:
    """All of one package in one sentence: a package that is gone has thousands of files."""
    first = files[0]
    what = f"{name}: {first} {words}."
    if len(files) > 1:
        listed = ", ".join(sorted(files)[:NAMES_TOLD_MAX])
        what = f"{name}: of {len(files)} files each {words}: {listed}{', ...' if files[NAMES_TOLD_MAX:] else ''}."
    return Found(where=first, what=what, fix=_again(name))


def _from(home: Path, path: str) -> str:
    return legible(Path(os.path.relpath(path, home)).as_posix())


# --- what no record says ---------------------------------------------------------------------------------------


def _foreign(home: Path, packages: Sequence[Package], settings: Settings, used: set[str]) -> Iterator[Found]:
    """Code that no package brought. What Python writes for itself is left out."""
    recorded = {row.path for package in packages for row in package.rows or ()}
    owners = _owners(home, packages)
    by_owner: dict[str, list[str]] = defaultdict(list)
    for path in code_below(home):
        if path in recorded or is_cache(path):
            continue
        name = _from(home, path)
        if _is_excused(home, name, settings, used):
            continue
        by_owner[owners.get(name.partition("/")[0], "")].append(name)
    for owner, names in sorted(by_owner.items()):
        whose = f"in the folder of {owner}" if owner else "among the packages"
        listed = ", ".join(sorted(names)[:NAMES_TOLD_MAX]) + (", ..." if names[NAMES_TOLD_MAX:] else "")
        what = f"Code lies {whose} that no package brought: {listed}."
        fix = "Delete it, and find out who put it there; or say in `verify.yaml` under `installed` why it belongs."
        yield Found(where=min(names), what=what, fix=fix)


def _owners(home: Path, packages: Sequence[Package]) -> dict[str, str]:
    owners: dict[str, str] = {}
    for package in packages:
        for row in package.rows or () if package.one.home == home else ():
            first, _, rest = _from(home, row.path).partition("/")
            if rest and first != "..":
                owners.setdefault(first, package.one.name)
    return owners


def _is_excused(home: Path, name: str, settings: Settings, used: set[str]) -> bool:
    """The project says that this file belongs here, and it still is the file that was meant."""
    for one in settings.installed:
        if one.path == name and _digest(home / name).startswith(one.sha256):
            used.add(one.path)
            return True
    return False


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _at_start(home: Path, packages: Sequence[Package], settings: Settings, used: set[str]) -> Iterator[Found]:
    """What runs at each start of Python, whoever brought it, is what is known to, and nothing else."""
    owner = {
        row.path: package.one
        for package in packages
        for row in package.rows or ()
        if row.path.endswith((".pth", "customize.py"))
    }
    for path in sorted([*home.glob("*.pth"), *(home / name for name in sorted(_AT_START))]):
        brought = owner.get(os.path.normpath(path))
        if brought is None or not path.is_file():
            continue  # what nobody brought is told already
        why = "runs at each start of Python" if path.name in _AT_START else _unusual(path, brought)
        if why and not _is_excused(home, path.name, settings, used):
            what = f"{path.name} of {brought.name} {why}."
            fix = f"Find out what {brought.name} does there; say in `verify.yaml` under `installed` why it belongs."
            yield Found(where=path.name, what=what, fix=fix)


def _unusual(path: Path, package: Installed) -> str:
    """Does a `.pth` run code, or lead elsewhere? A package that stands for a folder does one of the two by nature."""
    try:
        with path.open("rb") as file:
            text = file.read(PTH_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return "cannot be read"
    if package.is_editable or text.strip() == EXPECTED_PTH.get(path.name):
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if any(line.startswith(("import ", "import\t")) for line in lines):
        return "runs code at each start of Python"
    home = path.parent.resolve()
    if any(not (home / line).resolve().is_relative_to(home) for line in lines):
        return "leads Python to a folder outside of the packages"
    return ""


def _stale(settings: Settings, used: set[str]) -> Iterator[Found]:
    for one in settings.installed:
        if one.path not in used:
            yield _needless(one)


def _needless(one: Changed) -> Found:
    what = f"The exception for {one.path} is needed by nothing, or the file is another one by now."
    return Found(
        where="verify.yaml", what=what, fix="Look at the file; take the entry out, or renew its digest."
    )


# --- the answer ------------------------------------------------------------------------------------------------


def _outcome(ground: Ground, found: Sequence[Found], facts: Mapping[str, object]) -> Outcome:
    ground.out.mkdir(parents=True, exist_ok=True)
    report = ground.out / REPORT
    body = {"facts": facts, "found": list(found)}
    report.write_bytes(msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n")
    looked = f"{facts['files']} files of {facts['distributions']} installed packages against their records"
    if found:
        summary = f"{len(found)} faults among what is installed ({looked})"
        return Outcome(verdict="fail", summary=summary, found=tuple(found), facts=facts, files=(report,))
    return Outcome(verdict="pass", summary=looked, facts=facts, files=(report,))


INSTALLED: Final = Engine(
    key="KEY:ENG.INSTALLED",
    name="installed",
    summary="every installed file is what its package recorded, and no foreign code lies among them",
    levels=frozenset({"security"}),
    fail_code="installed_changed",
    run=run,
)
ENGINES: Final = (INSTALLED,)
