"""What SQLite and the disk raise, in the words of the contract. Nothing of theirs leaves this room untranslated."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rspp.contract.errors import InvariantBreach, LimitReached, PeerFault, RsppError

# By SQLite's primary result code. A disk without room is FULL; a write that the system refused for another reason, such as a
# limit of the process, is IOERR.
_FAULTS: Final[Mapping[int, tuple[type[RsppError], str]]] = {
    sqlite3.SQLITE_FULL: (LimitReached, "store_full"),
    sqlite3.SQLITE_BUSY: (LimitReached, "store_busy"),
    sqlite3.SQLITE_LOCKED: (LimitReached, "store_busy"),
    sqlite3.SQLITE_PROTOCOL: (LimitReached, "store_busy"),
    sqlite3.SQLITE_TOOBIG: (LimitReached, "payload_too_large"),
    sqlite3.SQLITE_CANTOPEN: (PeerFault, "store_unusable"),
    sqlite3.SQLITE_PERM: (PeerFault, "store_unusable"),
    sqlite3.SQLITE_READONLY: (PeerFault, "store_unusable"),
    sqlite3.SQLITE_NOLFS: (PeerFault, "store_unusable"),
    sqlite3.SQLITE_NOTADB: (PeerFault, "store_damaged"),
    sqlite3.SQLITE_CORRUPT: (PeerFault, "store_damaged"),
    sqlite3.SQLITE_FORMAT: (PeerFault, "store_damaged"),
    sqlite3.SQLITE_ERROR: (PeerFault, "store_damaged"),  # our queries are sound: a table of theirs is not as we made it
    sqlite3.SQLITE_IOERR: (PeerFault, "store_io_failed"),
}  # fmt: skip
_WAITING: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def primary(error: sqlite3.Error) -> int:
    """SQLite's result code without what it adds in the higher bits. Text that is no UTF-8 comes without a code."""
    uncoded = (
        sqlite3.SQLITE_CORRUPT if isinstance(error, sqlite3.OperationalError) else sqlite3.SQLITE_INTERNAL
    )
    return int(getattr(error, "sqlite_errorcode", uncoded)) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Another process is at it: trying again will do."""
    return primary(error) in _WAITING


def of_sqlite(error: sqlite3.Error, path: Path) -> RsppError:
    kind, code = _FAULTS.get(primary(error), (InvariantBreach, "runtime_internal_error"))
    return kind(code, f"{path}: {error}")


def of_disk(error: OSError, path: Path) -> RsppError:
    message = f"{path}: {error.strerror or error}"
    if error.errno in _NO_ROOM:
        return LimitReached("store_full", message)
    return PeerFault("store_unusable", message)
