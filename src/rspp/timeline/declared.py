"""A file that somebody wrote is read to the letter: what is not understood, or not there, refuses the whole of it.

YAML or JSON, as plain data: no tags, no merge keys, no key twice, bounds on size, depth and aliases.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

import msgspec

from rspp.contract.errors import MisuseError
from rspp.spec.source import plain, read

BYTES_MAX: Final = 262_144
EMPTY: Final = "empty"
KindT = TypeVar("KindT")


def declared_in(path: Path, kind: type[KindT], code: str, *, empty: KindT | None = None) -> KindT:
    """A file as this struct; raises MisuseError with this code, and the place of the fault."""
    return declared(bytes_of(path, code), kind, code, path.name, empty=empty)


def declared(
    data: bytes | str, kind: type[KindT], code: str, source: str, *, empty: KindT | None = None
) -> KindT:
    """A text as this struct. One that says nothing is `empty`, or is refused if there is no such thing."""
    if len(data) > BYTES_MAX:
        raise MisuseError(code, f"{source} has more than {BYTES_MAX} bytes")
    try:
        text = data if isinstance(data, str) else data.decode()
    except UnicodeDecodeError as error:
        raise MisuseError(code, f"{source} is not UTF-8") from error
    tree = read(text, source)
    if empty is not None and [one.code for one in tree.findings.problems] == [EMPTY]:
        return empty
    if tree.root is None or tree.findings.failed:
        raise MisuseError(code, "; ".join(map(str, tree.findings.problems)) or f"{source} is empty")
    try:
        return msgspec.convert(plain(tree.root), kind)
    except (msgspec.ValidationError, ValueError) as error:
        raise MisuseError(code, f"{source}: {error}") from error


def bytes_of(path: Path, code: str, bytes_max: int = BYTES_MAX) -> bytes:
    """A file's bytes, if they are no more than this."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise MisuseError(code, f"{path.name} cannot be read: {error.strerror}") from error
    if len(data) > bytes_max:
        raise MisuseError(code, f"{path.name} has more than {bytes_max} bytes")
    return data
