"""What a target is made of: the files of its source, under one digest, and the package from which they came.

Of a package it is every Python file and what was compiled; of a module that stands alone, that file and those beside it that it
has loaded. Of what comes with RSPP itself it is the one room that it is in. What else it reads, and what it makes at run time, is not in it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec

from rspp import __version__

FILES_MAX: Final = 4_000
SOURCE_BYTES_MAX: Final = 64 << 20
OURS: Final = "rspp"
SUFFIXES: Final = (".py", ".so", ".pyd", ".dylib")


class Source(msgspec.Struct, frozen=True):
    """A digest over so many files, and where they came from; empty where there is no source to be read."""

    sha256: str = ""
    files: int = 0
    distribution: str = ""
    version: str = ""


def source_of(*objects: object, named: str = "") -> Source:
    """The source of whatever made or is the target, and of the module by which it was named."""
    told = [sys.modules.get(named), *map(_module_of, objects)]
    # A `functools.partial` is of Python's own, and says nothing of the target.
    modules = [one for one in told if one is not None and _top(one) not in sys.stdlib_module_names]
    files: dict[str, Path] = {}
    for module in modules:
        files |= _files(module)
    if not files or len(files) > FILES_MAX:
        return Source()
    digest, total = hashlib.sha256(), 0
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        total += len(content)
        if total > SOURCE_BYTES_MAX:
            return Source()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    strangers = [module for module in modules if _top(module) != OURS]
    return Source(digest.hexdigest(), len(files), *_distribution(_top((strangers or modules)[0])))


def _module_of(one: object) -> ModuleType | None:
    name = getattr(one, "__module__", None) or getattr(type(one), "__module__", None)
    return sys.modules.get(str(name))


def _top(module: ModuleType) -> str:
    return module.__name__.partition(".")[0]


def _files(module: ModuleType) -> dict[str, Path]:
    """Name -> file of everything that goes with this module."""
    origin = getattr(module, "__file__", None)
    if origin is None:
        return {}
    file = Path(origin)
    top = sys.modules.get(_top(module))
    root = file.parent
    if _top(module) != OURS and top is not None and hasattr(top, "__path__") and top.__file__:
        root = Path(top.__file__).parent
    elif not hasattr(module, "__path__") and "." not in module.__name__:
        return {path.relative_to(root).as_posix(): path for path in (file, *_beside(root))}
    found = (path for suffix in SUFFIXES for path in root.rglob(f"*{suffix}"))
    return {path.relative_to(root.parent).as_posix(): path for path in found if path.is_file()}


def _beside(folder: Path) -> Sequence[Path]:
    """The loaded modules that stand in this folder, or below."""
    origins = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return [
        path for path in _python(origins) if path.is_relative_to(folder) and "site-packages" not in path.parts
    ]


def _python(origins: Iterable[str | None]) -> Iterable[Path]:
    return (Path(origin) for origin in origins if origin and origin.endswith(".py"))


def _distribution(top: str) -> tuple[str, str]:
    if top == OURS:
        return OURS, __version__
    for name in packages_distributions().get(top, []):
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    return "", ""
