"""Where weights lie on this machine, whether they are all there, and whether they are what the catalogue says.

A file stands under its name only after its hash was checked, so a program that finds it may use it; `faults_of` reads
it all again, for whoever doubts the disk.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rspp.adapters.providers.local.catalogue import CATALOGUE, File, Weights
from rspp.contract.errors import MisuseError

CACHE_VARIABLE: Final = "RSPP_MODELS"
BLOCK_BYTES: Final = 1 << 20


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """`RSPP_MODELS` if it is set, else the user's cache."""
    own = environment.get(CACHE_VARIABLE)
    if own:
        return Path(own)
    shared = environment.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "rspp" / "models"


def known(name: str, catalogue: Mapping[str, Weights] = CATALOGUE) -> Weights:
    weights = catalogue.get(name)
    if weights is None:
        raise MisuseError("model_unknown", f"there is no model {name!r}; known: {', '.join(catalogue)}")
    return weights


def path_of(weights: Weights, file: File, cache: Path) -> Path:
    return cache / weights.name / file.name


def is_present(weights: Weights, cache: Path) -> bool:
    """Is every file there, in its full size?"""
    return all(_size(path_of(weights, file, cache)) == file.size_bytes for file in weights.files)


def locate(name: str, cache: Path | None = None) -> Path:
    """The folder of a model that is present; else an error that says how to get it."""
    weights = known(name)
    folder = cache or cache_folder()
    if not is_present(weights, folder):
        raise MisuseError(
            "model_missing", f"the model {name} is not on this machine; run `rspp models fetch {name}`"
        )
    return folder / name


def faults_of(weights: Weights, cache: Path) -> list[str]:
    """What is wrong with a model's files, one sentence a file; every byte is read."""
    found = []
    for file in weights.files:
        path = path_of(weights, file, cache)
        if not path.is_file():
            found.append(f"{file.name} is missing")
        elif (got := hash_of(path)) != file.sha256:
            found.append(f"{file.name} has SHA-256 {got}, not {file.sha256}")
    return found


def hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while block := opened.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
