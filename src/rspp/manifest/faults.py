"""What is wrong with a manifest, all of it at once: where it stands, what it is, and what to do."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from rspp.contract.errors import MisuseError


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with the file, its trace or what they say together."""

    code: str
    message: str
    fix: str
    file: str = ""  # its name, without folders
    line: int = 0  # from 1; 0: none in particular
    column: int = 0
    key: str = ""  # LEDGERS.ROLE_LEDGER[0].status

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        key = f"{self.key}: " if self.key else ""
        return f"{where}: {key}{_sentence(self.message)} {_sentence(self.fix)}"


class ManifestError(MisuseError):
    """The manifest cannot be used as it is; nothing was written. It carries every fault, not only the first."""

    def __init__(self, code: str, message: str, faults: Iterable[Fault] = ()) -> None:
        self.faults = tuple(faults)
        super().__init__(code, "\n".join((message, *map(str, self.faults))))


def _sentence(text: str) -> str:
    return text if text.endswith(("?", "!", ".")) else f"{text}."
