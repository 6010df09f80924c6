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

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from rspp.adapters.stores.nats import Address, NatsStore, Settings
from rspp.adapters.stores.nats.store import DEADLINE_MS, DEADLINE_MS_MAX
from rspp.adapters.stores.sqlite import SqliteStore
from rspp.contract.errors import MisuseError
from rspp.host.ports import Clock, Store
from rspp.host.secrets import Secrets

ADDRESS_BYTES_MAX: Final = 4_096
SERVERS_MAX: Final = 32
PORT: Final = 4_222
PORT_MAX: Final = 65_535
DEADLINE_MS_MIN: Final = 100
REPLICAS: Final = ("1", "3")
OPTIONS: Final = ("user", "password", "ca", "cert", "key", "replicas", "namespace", "deadline_ms")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9-]{1,32}")
_HOST: Final = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9]([A-Za-z0-9._-]{0,252})")


def open_store(url: str, secrets: Secrets, clock: Clock | None = None) -> Store:
    """The store at this address, not yet connected: its first call tells whether it can be reached.

    Raises `MisuseError` for an address that is none, and for a secret that cannot be resolved.
    """
    if not url:
        raise _wrong("it is empty; write sqlite:///FILE or nats://HOST:PORT")
    if len(url.encode("utf-8", "replace")) > ADDRESS_BYTES_MAX:
        raise _wrong(f"it has more than {ADDRESS_BYTES_MAX} bytes")
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise _wrong("it has a space or a control character; write those as %XX")
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise _wrong("it has no scheme; write sqlite:///FILE or nats://HOST:PORT")
    if scheme == "sqlite":
        return SqliteStore(_file(url), clock)
    if scheme == "nats":
        return _nats(url, secrets, clock)
    raise _wrong(f"there is no store {scheme[:32]!r}; there are sqlite and nats")


def _file(url: str) -> Path:
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise _wrong("a sqlite address has no options")
    if parts.netloc:
        raise _wrong("a sqlite address has three slashes and an absolute path: sqlite:///var/lib/rspp.db")
    path = unquote(parts.path)
    if path.endswith("/") or "\0" in path:
        raise _wrong("a sqlite address names a file, not a folder")
    return Path(path)


def _nats(url: str, secrets: Secrets, clock: Clock | None) -> NatsStore:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _wrong("its brackets do not match") from None
    if "@" in parts.netloc:
        raise _wrong("credentials do not stand in an address; write ?user=NAME&password=env://VARIABLE")
    if parts.path not in ("", "/") or parts.fragment:
        raise _wrong("a nats address has no path and no fragment")
    options = _options(parts.query)
    tls = _tls(options)
    if ("user" in options) != ("password" in options):
        raise _wrong("user and password stand together")
    password = secrets.resolve(options["password"]) if "password" in options else None
    address = Address(servers=_servers(parts.netloc), user=options.get("user"), password=password, tls=tls)
    return NatsStore(address, _settings(options), clock)


def _servers(hosts: str) -> tuple[str, ...]:
    servers = [_server(host) for host in hosts.split(",")]
    if len(servers) > SERVERS_MAX:
        raise _wrong(f"it has more than {SERVERS_MAX} servers")
    if len(set(servers)) != len(servers):
        raise _wrong("a server stands in it twice")
    return tuple(servers)


def _server(text: str) -> str:
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(.*))?", text)
    host, port = found.groups() if found else (text, None)
    if not host:
        raise _wrong("a server without a host")
    if not found or not _HOST.fullmatch(host):
        raise _wrong(f"{text[:64]!r} is no HOST:PORT")
    if port is None:
        return f"nats://{host}:{PORT}"
    if not port.isascii() or not port.isdigit() or len(port) > 5 or not 1 <= int(port) <= PORT_MAX:
        raise _wrong(f"{port[:16]!r} is no port from 1 to {PORT_MAX}")
    return f"nats://{host}:{int(port)}"


def _options(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=32)
    except ValueError:
        raise _wrong("its options are not NAME=VALUE&NAME=VALUE") from None
    options: dict[str, str] = {}
    for name, value in pairs:
        if name not in OPTIONS:
            raise _wrong(f"there is no option {name[:32]!r}; there are {', '.join(OPTIONS)}")
        if name in options:
            raise _wrong(f"the option {name} stands twice")
        if not value:
            raise _wrong(f"the option {name} is empty")
        options[name] = value
    return options


def _settings(options: Mapping[str, str]) -> Settings:
    replicas = options.get("replicas")
    if replicas is not None and replicas not in REPLICAS:
        raise _wrong("replicas is 1 or 3")
    namespace = options.get("namespace", "rspp")
    if not _NAMESPACE.fullmatch(namespace):
        raise _wrong("a namespace has 1 to 32 letters, digits and hyphens")
    deadline = options.get("deadline_ms", str(DEADLINE_MS))
    if not deadline.isascii() or not deadline.isdigit() or len(deadline) > 6:
        raise _wrong("deadline_ms is a whole number of milliseconds")
    if not DEADLINE_MS_MIN <= int(deadline) <= DEADLINE_MS_MAX:
        raise _wrong(f"deadline_ms is from {DEADLINE_MS_MIN} to {DEADLINE_MS_MAX}")
    return Settings(
        namespace=namespace, replicas=int(replicas) if replicas else None, deadline_ms=int(deadline)
    )


def _tls(options: Mapping[str, str]) -> ssl.SSLContext | None:
    ca, cert, key = (options.get(name) for name in ("ca", "cert", "key"))
    if ca is None and cert is None and key is None:
        return None
    if (cert is None) != (key is None):
        raise _wrong("cert and key stand together")
    try:
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert is not None:
            context.load_cert_chain(cert, key, password=_no_password)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or "it cannot be used"
        raise _wrong(f"ca, cert or key: {reason}") from None
    return context


def _no_password() -> str:
    """An encrypted key would have the library ask the terminal."""
    raise ValueError("the key is encrypted")


def _wrong(what: str) -> MisuseError:
    return MisuseError("store_address_invalid", f"the store's address: {what}")
