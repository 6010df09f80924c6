"""A nats address, read whole: see `stores` for what may stand in it. Imported where there is one, for the client is large."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from rspp.adapters.stores.nats import Address, NatsStore, Settings
from rspp.adapters.stores.nats.store import DEADLINE_MS, DEADLINE_MS_MAX
from rspp.control.stores import wrong
from rspp.host.ports import Clock
from rspp.host.secrets import Secrets

SERVERS_MAX: Final = 32
PORT: Final = 4_222
PORT_MAX: Final = 65_535
DEADLINE_MS_MIN: Final = 100
REPLICAS: Final = ("1", "3")
OPTIONS: Final = ("user", "password", "ca", "cert", "key", "replicas", "namespace", "deadline_ms")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9-]{1,32}")
_HOST: Final = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9]([A-Za-z0-9._-]{0,252})")


def nats_store(url: str, secrets: Secrets, clock: Clock | None) -> NatsStore:
    """The store at this address, not yet connected; raises `MisuseError` for an address that is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise wrong("its brackets do not match") from None
    if "@" in parts.netloc:
        raise wrong("credentials do not stand in an address; write ?user=NAME&password=env://VARIABLE")
    if parts.path not in ("", "/") or parts.fragment:
        raise wrong("a nats address has no path and no fragment")
    options = _options(parts.query)
    tls = _tls(options)
    if ("user" in options) != ("password" in options):
        raise wrong("user and password stand together")
    password = secrets.resolve(options["password"]) if "password" in options else None
    address = Address(servers=_servers(parts.netloc), user=options.get("user"), password=password, tls=tls)
    return NatsStore(address, _settings(options), clock)


def _servers(hosts: str) -> tuple[str, ...]:
    servers = [_server(host) for host in hosts.split(",")]
    if len(servers) > SERVERS_MAX:
        raise wrong(f"it has more than {SERVERS_MAX} servers")
    if len(set(servers)) != len(servers):
        raise wrong("a server stands in it twice")
    return tuple(servers)


def _server(text: str) -> str:
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(.*))?", text)
    host, port = found.groups() if found else (text, None)
    if not host:
        raise wrong("a server without a host")
    if not found or not _HOST.fullmatch(host):
        raise wrong(f"{text[:64]!r} is no HOST:PORT")
    if port is None:
        return f"nats://{host}:{PORT}"
    if not port.isascii() or not port.isdigit() or len(port) > 5 or not 1 <= int(port) <= PORT_MAX:
        raise wrong(f"{port[:16]!r} is no port from 1 to {PORT_MAX}")
    return f"nats://{host}:{int(port)}"


def _options(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=32)
    except ValueError:
        raise wrong("its options are not NAME=VALUE&NAME=VALUE") from None
    options: dict[str, str] = {}
    for name, value in pairs:
        if name not in OPTIONS:
            raise wrong(f"there is no option {name[:32]!r}; there are {', '.join(OPTIONS)}")
        if name in options:
            raise wrong(f"the option {name} stands twice")
        if not value:
            raise wrong(f"the option {name} is empty")
        options[name] = value
    return options


def _settings(options: Mapping[str, str]) -> Settings:
    replicas = options.get("replicas")
    if replicas is not None and replicas not in REPLICAS:
        raise wrong("replicas is 1 or 3")
    namespace = options.get("namespace", "rspp")
    if not _NAMESPACE.fullmatch(namespace):
        raise wrong("a namespace has 1 to 32 letters, digits and hyphens")
    deadline = options.get("deadline_ms", str(DEADLINE_MS))
    if not deadline.isascii() or not deadline.isdigit() or len(deadline) > 6:
        raise wrong("deadline_ms is a whole number of milliseconds")
    if not DEADLINE_MS_MIN <= int(deadline) <= DEADLINE_MS_MAX:
        raise wrong(f"deadline_ms is from {DEADLINE_MS_MIN} to {DEADLINE_MS_MAX}")
    return Settings(
        namespace=namespace, replicas=int(replicas) if replicas else None, deadline_ms=int(deadline)
    )


def _tls(options: Mapping[str, str]) -> ssl.SSLContext | None:
    ca, cert, key = (options.get(name) for name in ("ca", "cert", "key"))
    if ca is None and cert is None and key is None:
        return None
    if (cert is None) != (key is None):
        raise wrong("cert and key stand together")
    try:
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert is not None:
            context.load_cert_chain(cert, key, password=_no_password)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or "it cannot be used"
        raise wrong(f"ca, cert or key: {reason}") from None
    return context


def _no_password() -> str:
    """An encrypted key would have the library ask the terminal."""
    raise ValueError("the key is encrypted")
