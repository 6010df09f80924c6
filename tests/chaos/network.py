"""Machines of a fleet as network namespaces: each has an address of its own, and can be cut off from the store alone.

    callers and workers   10.77.N.0/24   callers at .1, machine k at .(10+k)
    the store             10.78.N.0/24   relays to the nodes of the cluster at .1, machine k at .(10+k)

Each machine is a namespace of its own, behind one bridge.

A cut comes in three kinds: what the machine sends to the store goes nowhere; or the store's answers do, and its requests still
arrive; or nothing passes at all. Nothing says so. In the first two its callers still reach it, which is the case in which a
process could go on speaking that may not.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

NET: Final = os.getpid() % 200 + 20
BRIDGE: Final = f"rspp{NET}"
CHUNK: Final = 65_536


def ip(*words: str, check: bool = True) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=10, check=False)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def usable() -> str | None:
    """Why there can be no namespaces here, or None if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no ip command (Debian: iproute2)"
    name = f"{BRIDGE}-probe"
    try:
        ip("netns", "add", name)
    except RuntimeError as error:
        return str(error)
    ip("netns", "del", name, check=False)
    return None


class Network:
    """A bridge, and a namespace for each machine."""

    def __init__(self, machines: int) -> None:
        self.store_address: Final = f"10.78.{NET}.1"
        self.caller_address: Final = f"10.77.{NET}.1"
        self.names: Final = [f"{BRIDGE}-{number}" for number in range(machines)]
        self._cut: dict[int, str] = {}

    def address(self, machine: int) -> str:
        return f"10.77.{NET}.{10 + machine}"

    def _store_side(self, machine: int) -> str:
        return f"10.78.{NET}.{10 + machine}"

    def prefix(self, machine: int) -> list[str]:
        """What a command begins with to be run on that machine."""
        return ["ip", "netns", "exec", self.names[machine]]

    def __enter__(self) -> Self:
        self._remove()
        ip("link", "add", BRIDGE, "type", "bridge")
        for address in (self.store_address, self.caller_address):
            ip("addr", "add", f"{address}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for number, name in enumerate(self.names):
            outer, inner = f"{BRIDGE}o{number}", f"{BRIDGE}i{number}"
            ip("netns", "add", name)
            ip("link", "add", outer, "type", "veth", "peer", "name", inner)
            ip("link", "set", inner, "netns", name)
            ip("link", "set", outer, "master", BRIDGE)
            ip("link", "set", outer, "up")
            for address in (self.address(number), self._store_side(number)):
                ip("-n", name, "addr", "add", f"{address}/24", "dev", inner)
            ip("-n", name, "link", "set", inner, "up")
            ip("-n", name, "link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for machine in list(self._cut):
            self.heal(machine)
        for name in self.names:
            ip("netns", "del", name, check=False)
        ip("link", "del", BRIDGE, check=False)

    def cut(self, machine: int, how: str) -> None:
        """`requests`: nothing from this machine to the store; `answers`: nothing back; `all`: nothing to or from anybody."""
        self._change(machine, how, begin=True)
        self._cut[machine] = how

    def heal(self, machine: int) -> None:
        self._change(machine, self._cut.pop(machine), begin=False)

    def _change(self, machine: int, how: str, *, begin: bool) -> None:
        store, what = f"{self.store_address}/32", "add" if begin else "del"
        if how == "requests":
            ip("-n", self.names[machine], "route", what, "blackhole", store)
        elif how == "answers":
            ip("rule", what, "from", store, "to", f"{self._store_side(machine)}/32", "blackhole")
        else:
            ip("link", "set", f"{BRIDGE}o{machine}", "down" if begin else "up")


class Relay:
    """Lets machines reach the nodes of a cluster that listens on loopback: plain bytes, both ways, on the store's address."""

    def __init__(self, address: str, ports: Sequence[int]) -> None:
        self.address = address
        self._ports = ports
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        for port in self._ports:
            self._servers.append(await asyncio.start_server(self._to(port), self.address, port))

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()

    def _to(self, port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(_joined(port, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return came


async def _joined(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, until either side has had enough."""
    writers = [writer]
    try:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(far_writer)
        ways = [
            asyncio.get_running_loop().create_task(_pour(source, sink))
            for source, sink in ((reader, far_writer), (far_reader, writer))
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
    except OSError:
        pass  # that node is not there now
    finally:
        for one in writers:
            one.close()
        for one in writers:
            with suppress(OSError):
                await one.wait_closed()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
