"""Where the control plane keeps what: buckets of the store, and keys that nobody can forge by choosing a clever name.

A key's parts are percent-encoded and joined by `/`, so that a tenant's things are what begins with `<tenant>/` and a
tenant called `a/b` is not in the room of a tenant called `a`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote

from rspp.contract.errors import MisuseError

MEMBERS: Final = "members"
LEASES: Final = "sessions"
CONFIG: Final = "config"
HEALTH: Final = "health"
STATUS: Final = "status"
COMMANDS: Final = "commands"
RESULTS: Final = "results"
SLOTS: Final = "slots"
USAGE: Final = "usage"

# Longer names are refused at the door: all keys together must fit a store's bound of 1,024 bytes.
PART_BYTES_MAX: Final = 200


def encoded(part: str) -> str:
    """One part of a key; raises `MisuseError` for what cannot be one."""
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        raise MisuseError("text_not_utf8", "a name that UTF-8 cannot write") from None
    if not 0 < size <= PART_BYTES_MAX:
        raise MisuseError("store_name_invalid", f"a name has 1 to {PART_BYTES_MAX} bytes, not {size}")
    return quote(part, safe="")


def key(*parts: str) -> str:
    return "/".join(map(encoded, parts))


def parts(name: str) -> tuple[str, ...]:
    """The parts of a key, as they were before they were encoded."""
    return tuple(map(unquote, name.split("/")))


def of_tenant(tenant_id: str) -> str:
    """How all keys of a tenant begin."""
    return f"{encoded(tenant_id)}/"
