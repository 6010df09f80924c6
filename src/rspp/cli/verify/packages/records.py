"""A package's record says of each file what it must be: read as data, its paths made plain, nothing in it believed."""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from rspp.cli.verify.packages.environment import Installed

RECORD_CHARACTERS_MAX: Final = 64 * 1024 * 1024
CHUNK_BYTES: Final = 1024 * 1024
# Python runs these; whoever can put one of them beside a package has its rights.
CODE: Final = (".py", ".pyc", ".pyd", ".so", ".dylib", ".dll", ".pth")
_STRONG: Final = frozenset({"sha256", "sha384", "sha512"})


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a package: where it is, as a plain path, and its digest."""

    path: str
    kind: str
    digest: bytes  # empty: the record gives none


def rows_of(package: Installed) -> list[Row] | None:
    """What the record says; None where the package has no record that could be read."""
    text = text_of(package, "RECORD")
    if text is None or len(text) > RECORD_CHARACTERS_MAX:
        return None
    try:
        return [
            _row(package.home, fields) for fields in csv.reader(io.StringIO(text)) if fields and fields[0]
        ]
    except csv.Error:
        return None


def text_of(package: Installed, name: str) -> str | None:
    """One of its records' files; None where it is not there, or no text."""
    try:
        return package.distribution.read_text(name)
    except (OSError, UnicodeDecodeError):
        return None


def _row(home: Path, fields: list[str]) -> Row:
    path = os.path.normpath(os.path.join(home, fields[0]))  # noqa: PTH118 - `..` goes, and links stay
    kind, _, value = (fields[1] if len(fields) > 1 else "").partition("=")
    try:
        digest = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        digest = b""
    return Row(path=path, kind=kind, digest=digest if kind in _STRONG else b"")


def is_cache(path: str) -> bool:
    """What Python writes itself. It is not compared with its source: who can write there is found by nothing here."""
    return path.endswith(".pyc") and Path(path).parent.name == "__pycache__"


def is_own(path: str) -> bool:
    """A record cannot say its own digest."""
    return Path(path).name in {"RECORD", "RECORD.jws", "RECORD.p7s"}


def state_of(row: Row) -> str:
    """`same`, `missing`, `changed`, or `unproven`: the record gives no digest that proves anything."""
    try:
        if not stat.S_ISREG(os.stat(row.path).st_mode):  # noqa: PTH116 - a plain path
            return "changed"
        if not row.digest:
            return "unproven" if row.path.endswith(CODE) else "same"
        with open(row.path, "rb") as file:  # noqa: PTH123 - likewise
            found = hashlib.new(row.kind)
            while chunk := file.read(CHUNK_BYTES):
                found.update(chunk)
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError):
        return "changed"
    return "same" if found.digest() == row.digest else "changed"


def code_below(home: Path) -> Iterator[str]:
    """Every file that Python could run, as a plain path; and every link that leads to another folder."""
    for folder, names, files in os.walk(home, followlinks=False):
        for name in [*names]:
            path = os.path.join(folder, name)  # noqa: PTH118 - thousands of them
            if os.path.islink(path):  # noqa: PTH114 - likewise
                yield os.path.normpath(path)
        names[:] = sorted(name for name in names if name != "__pycache__")
        for name in files:
            if name.endswith(CODE):
                yield os.path.normpath(os.path.join(folder, name))  # noqa: PTH118 - likewise
