"""What a project says about its own verification stands in `verify.yaml`: every exception with its reason.

An exception that nothing needs any longer is a fault itself, or the list would only ever grow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.spec.source import plain, read

FILE: Final = "verify.yaml"
BYTES_MAX: Final = 256 * 1024

Reason = Annotated[str, msgspec.Meta(min_length=8, max_length=500)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{12,64}$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A licence that is not on the house's list, for these packages."""

    licence: Name
    packages: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=500)]
    reason: Reason


class Advisory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A known fault that does not concern this project."""

    id: Name
    package: Name
    reason: Reason


class Changed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file beside installed packages that belongs there though no package says so."""

    path: Name  # from the folder that packages are installed in
    sha256: Digest
    reason: Reason


class Allowed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Texts that look like secrets and are none, by their digests, in the files of one pattern."""

    path: Name  # `tests/unit/*.py`; `**` goes through folders
    kind: Name
    digests: Annotated[tuple[Digest, ...], msgspec.Meta(min_length=1, max_length=1_000)]
    reason: Reason


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    licences: tuple[Terms, ...] = ()
    advisories: tuple[Advisory, ...] = ()
    installed: tuple[Changed, ...] = ()
    secrets: tuple[Allowed, ...] = ()


def settings_of(folder: Path) -> Settings:
    """What the project says; raises MisuseError with the line and field where it says what nobody understands."""
    file = folder / FILE
    if not file.is_file():
        return Settings()
    with file.open("rb") as opened:
        raw = opened.read(BYTES_MAX + 1)
    if len(raw) > BYTES_MAX:
        raise MisuseError("verify_settings_invalid", f"{FILE} has more than {BYTES_MAX} bytes")
    try:
        source = read(raw.decode(), FILE)
    except UnicodeDecodeError as wrong:
        raise MisuseError("verify_settings_invalid", f"{FILE} is not UTF-8") from wrong
    if source.root is None or source.findings.failed:
        first = next(iter(source.findings.problems), None)
        what = f"line {first.line}: {first.message}" if first else "a mapping is expected"
        raise MisuseError("verify_settings_invalid", f"{FILE}: {what}")
    try:
        return msgspec.convert(plain(source.root), Settings)
    except msgspec.ValidationError as wrong:
        raise MisuseError("verify_settings_invalid", f"{FILE}: {wrong}") from wrong
