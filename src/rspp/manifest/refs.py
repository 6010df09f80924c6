"""A reference names a file and what it was: `PATH#sha256=HEX`. A path alone proves nothing, for a file may change."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from rspp.manifest.forbidden import is_absolute

MARK: Final = "#sha256="
_REF: Final = re.compile(r"(?P<path>[^\x00-\x1f\x7f]+)#sha256=(?P<sha256>[0-9a-f]{64})", re.DOTALL)


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    path: str  # as it is written: relative to the manifest's folder, never from the disk's root
    sha256: str

    def __str__(self) -> str:
        return f"{self.path}{MARK}{self.sha256}"


def read_ref(text: str) -> Ref | None:
    """The reference that a text is, or None where it is no whole one."""
    found = _REF.fullmatch(text)
    if found is None or found["path"] != found["path"].strip() or is_absolute(found["path"]):
        return None
    return Ref(path=found["path"], sha256=found["sha256"])


def says_ref(text: str) -> bool:
    """Whether a text means to be a reference, also where it fails to be one."""
    return MARK in text


__all__ = ["MARK", "Ref", "read_ref", "says_ref"]
