"""A fleet to be broken: a JetStream cluster of three, and machines with `rspp serve` on each, in namespaces of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx

from rspp.control.authority.members import Fleet as Members
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.ports import Store
from rspp.host.secrets import Secrets
from rspp.testing.cluster import NatsCluster
from tests.chaos.network import Network, Relay

PORT, ADMIN = 8080, 9090
READY_S = 60.0
SPEC = """
pipeline: chaos
version: v1
template: voice
providers:
  vad: [scripted-vad]
  end_of_turn: [scripted-end-of-turn]
  stt: [scripted-stt]
  llm: [scripted-llm]
  tts: [scripted-tts]
policies:
  limits:
    disconnect_ms_max: 60000
"""


class Machine:
    """One `rspp serve`, with one worker process."""

    def __init__(self, number: int, network: Network, folder: Path, more: Sequence[str]) -> None:
        self.number, self._network = number, network
        self.name = f"m{number}"
        self._folder, self._more = folder, more
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / f"{self.name}.log"

    @property
    def url(self) -> str:
        return f"ws://{self._network.address(self.number)}:{PORT}/v1/rtc/ws"

    def start(self) -> None:
        address = self._network.address(self.number)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._network.prefix(self.number),
                    *(sys.executable, "-c", "from rspp.cli.serve import command; command()"),
                    *("--workers", "1", "--name", self.name, "--advertise", address, *self._more),
                    *("--listen", f"{address}:{PORT}", "--admin", f"{address}:{ADMIN}"),
                    *("--data", str(self._folder / self.name), "--verbose"),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def workers(self) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            found = await client.get(f"http://{self._network.address(self.number)}:{ADMIN}/readyz")
        answer: list[dict[str, Any]] = found.json()["workers"]
        return answer

    async def is_ready(self) -> bool:
        try:
            return any((one["state"] or {}).get("ready") for one in await self.workers())
        except (httpx.HTTPError, ValueError, KeyError):
            return False

    async def until_ready(self) -> None:
        async with asyncio.timeout(READY_S):
            while not await self.is_ready():
                assert self._process is not None
                if self._process.poll() is not None:
                    raise RuntimeError(f"{self.name} has ended: {self.log.read_text()[-2000:]}")
                await asyncio.sleep(0.2)

    def kill_worker(self) -> None:
        """SIGKILL to the process that has the calls; its supervisor sees it."""
        assert self._process is not None
        for child in _children(self._process.pid):
            os.kill(child, signal.SIGKILL)

    def kill_all(self) -> None:
        """SIGKILL to everything of the machine: nobody is left to say that it is gone."""
        assert self._process is not None
        for child in _children(self._process.pid):
            os.kill(child, signal.SIGKILL)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill_all()


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(word) for word in found.read_text().split()]
    except OSError:
        return []


class Fleet:
    """Everything, from start to end."""

    def __init__(self, folder: Path, machines: int, ttl_ms: int) -> None:
        self.folder, self.ttl_ms = folder, ttl_ms
        self.network = Network(machines)
        self.cluster = NatsCluster(folder / "nats")
        self.machines: list[Machine] = []
        self.store: Store
        self._count = machines

    async def __aenter__(self) -> Self:
        self.network.__enter__()
        try:
            await self.cluster.start()
            ports = [node.port for node in self.cluster.nodes]
            self.relay = Relay(self.network.store_address, ports)
            await self.relay.start()
            self.store = open_store(self.cluster.store_url, Secrets())
            await self.store.get("members", "probe")
            (self.folder / "chaos.yaml").write_text(SPEC)
            token = self.folder / "token"
            token.write_text("for chaos alone")
            token.chmod(0o600)
            url = self.cluster.store_url.replace("127.0.0.1", self.network.store_address)
            more = (
                *("--pipeline", str(self.folder / "chaos.yaml"), "--store", url),
                *("--token", f"file://{token}", "--lease-ttl", f"{self.ttl_ms / 1000:g}s"),
            )
            for number in range(self._count):
                machine = Machine(number, self.network, self.folder, more)
                self.machines.append(machine)
                machine.start()
            await asyncio.gather(*(machine.until_ready() for machine in self.machines))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for machine in self.machines:
            machine.stop()
        if hasattr(self, "store"):
            await self.store.close()
        if hasattr(self, "relay"):
            await self.relay.stop()
        await self.cluster.close()
        self.network.__exit__(None, None, None)

    async def members(self) -> Members:
        members = Members(self.store, MachineClock())
        for name in await self.store.keys("members"):
            entry = await self.store.get("members", name)
            if entry is not None:
                members.take(entry)
        return members
