"""A store by its address. Every address is either understood whole or refused, with the part that is wrong.

    sqlite:///PATH                                     one file, made when it is missing; PATH is absolute
    nats://HOST:PORT[,HOST:PORT...]?OPTION=VALUE&...   JetStream

Options of a nats address:
    user, password        who we are; the password is a secret's reference, env://NAME or file:///PATH
    ca, cert, key         files in PEM; with any of them the connection is encrypted and the server's certificate is checked
    replicas              1 or 3; without it 3 on a cluster, 1 on a single server
    namespace             what the streams' names begin with; several stores may share servers
    deadline_ms           how long a call insists before it says `store_unreachable`
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.contract.errors import MisuseError
from rspp.host.ports import Clock, Store
from rspp.host.secrets import Secrets

ADDRESS_BYTES_MAX: Final = 4_096


def open_store(url: str, secrets: Secrets, clock: Clock | None = None) -> Store:
    """The store at this address, not yet connected: its first call tells whether it can be reached.

    Raises `MisuseError` for an address that is none, and for a secret that cannot be resolved.
    """
    if not url:
        raise wrong("it is empty; write sqlite:///FILE or nats://HOST:PORT")
    if len(url.encode("utf-8", "replace")) > ADDRESS_BYTES_MAX:
        raise wrong(f"it has more than {ADDRESS_BYTES_MAX} bytes")
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise wrong("it has a space or a control character; write those as %XX")
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise wrong("it has no scheme; write sqlite:///FILE or nats://HOST:PORT")
    if scheme == "sqlite":
        return SqliteStore(_file(url), clock)
    if scheme == "nats":
        # Its client takes longer to import than most commands to run: who has a file needs none of it.
        store: Store = import_module("rspp.control.stores_nats").nats_store(url, secrets, clock)
        return store
    raise wrong(f"there is no store {scheme[:32]!r}; there are sqlite and nats")


def _file(url: str) -> Path:
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise wrong("a sqlite address has no options")
    if parts.netloc:
        raise wrong("a sqlite address has three slashes and an absolute path: sqlite:///var/lib/rspp.db")
    path = unquote(parts.path)
    if path.endswith("/") or "\0" in path:
        raise wrong("a sqlite address names a file, not a folder")
    return Path(path)


def wrong(what: str) -> MisuseError:
    return MisuseError("store_address_invalid", f"the store's address: {what}")
