"""The matrix of versions: which cells there are, what must come of each, and whether a document of results holds."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).parents[2]
BUILD_S: Final = 120
RELEASES: Final = ("0.1.0", "0.2.0", "0.3.0")
SCHEMAS: Final = ("v1.0", "v2.0")
HOME_SCHEMA: Final = "v1.0"  # the control planes read this one


class Cell(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One combination: a runtime of this release and schema joins a control plane of that release."""

    runtime: str
    control: str
    schema: str

    @property
    def allowed(self) -> bool:
        """What the documents promise, said here once more: neighbours, in the schema that both read."""
        minors = [int(release.split(".")[1]) for release in (self.runtime, self.control)]
        return abs(minors[0] - minors[1]) <= 1 and self.schema == HOME_SCHEMA


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of a cell, by what its processes did and said."""

    cell: Cell
    result: str  # `works`, `refused`
    said: str  # the assistant's answer, or the refusal


CELLS: Final = tuple(
    Cell(runtime=runtime, control=control, schema=schema)
    for runtime, control, schema in itertools.product(RELEASES, RELEASES, SCHEMAS)
)


def faults(document: bytes, cells: Sequence[Cell] = CELLS) -> list[str]:
    """Why the document does not prove the matrix; empty where it does."""
    results = msgspec.json.decode(document, type=tuple[Result, ...])
    found = [f"{cell}: no result" for cell in cells if cell not in {one.cell for one in results}]
    found += [f"{one.cell}: no cell of the matrix" for one in results if one.cell not in cells]
    found += _repeated(one.cell for one in results)
    for one in results:
        wanted = "works" if one.cell.allowed else "refused"
        if one.result != wanted:
            found.append(f"{one.cell}: {one.result}, and it must be {wanted}: {one.said}")
        elif wanted == "refused":
            names = (
                _minor(one.cell.runtime),
                _minor(one.cell.control),
                one.cell.schema,
                "version_skew_unsupported",
            )
            found += [
                f"{one.cell}: the refusal does not name {name}" for name in names if name not in one.said
            ]
        elif not one.said:
            found.append(f"{one.cell}: nothing was answered")
    return found


def _minor(release: str) -> str:
    return release.rpartition(".")[0]


def _repeated(cells: Iterable[Cell]) -> list[str]:
    seen: set[Cell] = set()
    twice = {cell for cell in cells if cell in seen or seen.add(cell)}  # type: ignore[func-returns-value]
    return [f"{cell}: more than one result" for cell in sorted(twice)]


def build(folder: Path, release: str, schema: str) -> Path:
    """A real wheel of this tree with another version, installed into a folder of its own; gives that folder."""
    source, target = folder / f"tree-{release}-{schema}", folder / f"rspp-{release}-{schema}"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    _say(source / "pyproject.toml", 'version = "', release)
    _say(source / "src/rspp/__init__.py", '__version__ = "', release)
    _say(source / "src/rspp/contract/words.py", 'CORE_SCHEMA_VERSION: Final = "', schema)
    _run(source, "-m", "hatchling", "build", "-t", "wheel", "-d", str(source / "dist"))
    wheels = [*(source / "dist").glob("*.whl")]
    assert [one.name for one in wheels] == [f"rspp-{release}-py3-none-any.whl"]
    _run(
        source,
        "-m",
        "uv",
        "pip",
        "install",
        "-q",
        "--offline",
        "--no-deps",
        "--target",
        str(target),
        str(wheels[0]),
    )
    return target


def _say(file: Path, before: str, value: str) -> None:
    """Only this one word of the tree is another."""
    head, sign, rest = file.read_text().partition(before)
    assert sign, (file, before)
    file.write_text(head + sign + value + rest[rest.index('"') :])


def _run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, check=False, capture_output=True, timeout=BUILD_S, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def version_of(target: Path) -> str:
    """What a process that is started over this build says it is."""
    words = (
        "import rspp, rspp.contract.words as w; print(rspp.__file__, rspp.__version__, w.CORE_SCHEMA_VERSION)"
    )
    done = subprocess.run(
        [sys.executable, "-c", words],
        env={**os.environ, "PYTHONPATH": str(target)},
        check=True,
        capture_output=True,
        timeout=BUILD_S,
        text=True,
    )
    file, release, schema = done.stdout.split()
    assert Path(file).is_relative_to(target)
    return f"{release} {schema}"
