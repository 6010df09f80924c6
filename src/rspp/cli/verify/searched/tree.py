"""Which files belong to a project: what git keeps or would keep, else all but what tools put there. Links are not followed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

FILES_MAX: Final = 200_000
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
GIT_SECONDS_MAX: Final = 60
# What tools put beside a project, and fetch or make anew. Recordings and data folders are looked at.
IGNORED: Final = frozenset(
    {".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox"}
    | {
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".import_linter_cache",
        ".hypothesis",
        ".idea",
        ".vscode",
    }
)


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """The files to look at, each from the folder; and what is not looked at."""

    files: tuple[str, ...]
    by_git: bool
    links: int
    checkouts: tuple[str, ...]  # others' within this one, which git keeps by their commit alone
    too_large: tuple[str, ...]
    is_cut: bool  # there are more files than are looked at


def tree_of(folder: Path, but: Path | None = None, own: tuple[str, ...] = ()) -> Tree:
    """What is in the folder; `but` is what the search itself writes, and `own` how names begin that are left out."""
    listed = _by_git(folder)
    names = _by_walking(folder) if listed is None else listed
    files: list[str] = []
    large: list[str] = []
    checkouts: list[str] = []
    links, is_cut = 0, False
    left_out = but.resolve() if but else None
    for name in names:
        if name.startswith(own):
            continue
        if len(files) >= FILES_MAX:
            is_cut = True
            break
        kind, size = _look(folder / name)
        if kind == "link":
            links += 1
        elif kind == "folder":
            checkouts.append(name.rstrip("/"))
        elif kind == "file" and not (left_out and _is_below(folder / name, left_out)):
            (files if size <= FILE_BYTES_MAX else large).append(name)
    return Tree(
        files=tuple(files),
        by_git=listed is not None,
        links=links,
        checkouts=tuple(checkouts),
        too_large=tuple(large),
        is_cut=is_cut,
    )


def _look(path: Path) -> tuple[str, int]:
    try:
        told = path.lstat()
    except OSError:
        return "", 0  # git knows it, and it is deleted
    if stat.S_ISLNK(told.st_mode):
        return "link", 0
    if stat.S_ISDIR(told.st_mode):
        return "folder", 0
    return ("file", told.st_size) if stat.S_ISREG(told.st_mode) else ("", 0)


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder)


def _by_git(folder: Path) -> list[str] | None:
    """What is tracked, and what would be with the next `git add`; None where the folder is no checkout."""
    git = shutil.which("git")
    if git is None or not (folder / ".git").exists():
        return None
    # A checkout may come from anywhere: nothing that its own configuration names is run.
    safe = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]
    words = [git, *safe, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(  # noqa: S603 - git itself, with words of ours
            words,
            cwd=folder,
            check=False,
            capture_output=True,
            timeout=GIT_SECONDS_MAX,
            env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return sorted({os.fsdecode(name) for name in done.stdout.split(b"\0") if name})


def _by_walking(folder: Path) -> Iterator[str]:
    for place, names, files in os.walk(folder, followlinks=False):
        at = Path(place)
        # A link to a folder is told as a link, and not gone into.
        yield from ((at / name).relative_to(folder).as_posix() for name in names if (at / name).is_symlink())
        names[:] = sorted(name for name in names if name not in IGNORED and not _is_environment(at / name))
        yield from ((at / name).relative_to(folder).as_posix() for name in sorted(files))


def _is_environment(folder: Path) -> bool:
    return (folder / "pyvenv.cfg").is_file()
