"""What is verified is a set of files, known by one digest: whoever goes on later can tell whether it is still the same."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rspp.contract.errors import LimitReached, MisuseError

FILES_MAX: Final = 50_000
BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
CHUNK_BYTES: Final = 1024 * 1024
GIT_TIMEOUT_S: Final = 60
# Left out where no git says what is visible: what tools and runs leave behind.
HIDDEN: Final = frozenset(
    {"__pycache__", "node_modules", "venv", "build", "dist", "htmlcov", "site-packages"}
    | {".git", ".hg", ".svn", ".venv", ".tox", ".nox", ".cache", ".hypothesis", ".idea", ".vscode"}
    | {".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache"}
)
TESTS: Final = "tests"
# Where recordings and the runs of this very command are kept.
DATA: Final = ".rspp"
# A folder whose `.gitignore` says this belongs to nobody's sources, with git or without.
IGNORED: Final = "*"
# What a pipeline says at its top. One whose name is misspelled is still one: it must be found fault with, not passed by.
_TOP: Final = r"(?m)^(?:\xef\xbb\xbf)?['\"]?%s['\"]?\s*:"
PIPELINE: Final = re.compile((_TOP % "pipeline").encode("latin-1"))
SHAPES: Final = tuple(
    tuple(re.compile((_TOP % key).encode("latin-1")) for key in pair)
    for pair in (("nodes", "edges"), ("template", "providers"))
)
SPEC_BYTES_MAX: Final = 4 * 1024 * 1024
LAYER_FOLDERS: Final = frozenset({"layers", "environments", "tenants"})
YAML: Final = frozenset({".yaml", ".yml"})
RECORDING: Final = ".rspp"


def is_checkout(folder: Path) -> bool:
    """Is this RSPP itself, and not a project that uses it?"""
    return (folder / "src/rspp/__init__.py").is_file() and (folder / "pyproject.toml").is_file()


def visible(folder: Path) -> tuple[str, ...]:
    """The files that belong to the folder, relative to it and sorted: what git tracks or would, else all but what tools leave."""
    found = _by_git(folder)
    if not found:  # git does not keep it, or does not want to: a folder inside what is ignored
        found = list(_walked(folder))
    found = [name for name in found if DATA not in name.split("/")[:-1]]
    if len(found) > FILES_MAX:
        raise LimitReached(
            "verify_too_large", f"{folder.name} has {len(found)} files, at most {FILES_MAX} are verified"
        )
    return tuple(sorted(found))


def everything(folder: Path) -> tuple[str, ...]:
    """Every file below a folder that was named, whoever ignores it."""
    names: list[str] = []
    for home, _, files in os.walk(folder):
        names += [(Path(home) / name).relative_to(folder).as_posix() for name in files]
        if len(names) > FILES_MAX:
            raise LimitReached(
                "verify_too_large", f"{folder.name} has more than {FILES_MAX} files; name a smaller folder"
            )
    return tuple(sorted(names))


def digest_of(folder: Path, files: tuple[str, ...] | None = None) -> str:
    """Of all visible files, their names and what is in them; a file that goes meanwhile counts as gone."""
    whole, left = hashlib.sha256(), BYTES_MAX
    for name in visible(folder) if files is None else files:
        path = folder / name
        whole.update(name.encode("utf-8", "surrogateescape") + b"\0")
        if path.is_symlink():
            # Where it leads and what is there: who reads through it sees that, wherever it lies.
            whole.update(b"link" + os.fsencode(path.readlink()) + b"\0")
            if not path.is_file():
                continue
        one = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while piece := file.read(CHUNK_BYTES):
                    left -= len(piece)
                    one.update(piece)
        except OSError:
            one = hashlib.sha256(b"gone")
        if left < 0:
            raise LimitReached(
                "verify_too_large", f"{folder.name} is larger than {BYTES_MAX} bytes; name a smaller folder"
            )
        whole.update(one.digest())
    return whole.hexdigest()


def pipelines(folder: Path) -> tuple[Path, ...]:
    """Every file that says `pipeline:`, or looks like one; what lies in `tests` is meant to be wrong often enough, and is left to the tests."""
    return tuple(path for path in _yaml(folder) if _says_pipeline(path))


def layers(folder: Path) -> tuple[Path, ...]:
    """Every YAML file of a folder `layers`, `environments` or `tenants`."""
    named = (path for path in _yaml(folder) if path.parent.name in LAYER_FOLDERS)
    return tuple(path for path in named if not _says_pipeline(path))


def corpora(folder: Path) -> tuple[Path, ...]:
    """The folders with recordings, none below another; recordings that are evidence of nothing else."""
    homes = sorted({(folder / name).parent for name in visible(folder) if name.endswith(RECORDING)})
    kept: list[Path] = []
    for home in homes:
        if not any(home.is_relative_to(one) for one in kept):
            kept.append(home)
    return tuple(kept)


def _by_git(folder: Path) -> list[str]:
    """What git lists; nothing where it does not keep this folder, or is not there."""
    if not any((one / ".git").exists() for one in (folder, *folder.parents)):
        return []
    # A checkout may come from anywhere: nothing that its own configuration names is run.
    safe = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    command = [
        "git",
        "-C",
        str(folder),
        *safe,
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    # Inside a hook git says by these which repository is meant: not the one that is asked about here.
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        told = subprocess.run(  # noqa: S603 - a fixed command, and the folder that was named
            command, capture_output=True, timeout=GIT_TIMEOUT_S, check=True, env=surroundings
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    names = {os.fsdecode(one) for one in told.split(b"\0") if one}
    return [name for name in names if (folder / name).is_file() or (folder / name).is_symlink()]


def _walked(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        raise MisuseError("verify_no_ground", f"there is no folder {folder}")
    seen = 0
    for home, folders, files in os.walk(folder):
        folders[:] = sorted(
            one for one in folders if one not in HIDDEN and one != DATA and not _ignored(Path(home) / one)
        )
        for name in files:
            if name.endswith(".pyc") or name == ".git":
                continue
            seen += 1
            if seen > FILES_MAX + 1:
                return
            yield (Path(home) / name).relative_to(folder).as_posix()


def _ignored(folder: Path) -> bool:
    try:
        return (folder / ".gitignore").read_text(encoding="utf-8").strip() == IGNORED
    except (OSError, UnicodeDecodeError):
        return False


def _yaml(folder: Path) -> Iterator[Path]:
    for name in visible(folder):
        path = Path(name)
        if path.suffix in YAML and TESTS not in path.parts[:-1]:
            yield folder / path


def _says_pipeline(path: Path) -> bool:
    try:
        if path.stat().st_size > SPEC_BYTES_MAX:
            return False
        text = path.read_bytes()
    except OSError:
        return False
    is_layer = path.parent.name in LAYER_FOLDERS
    shaped = not is_layer and any(all(key.search(text) for key in keys) for keys in SHAPES)
    return shaped or PIPELINE.search(text) is not None
