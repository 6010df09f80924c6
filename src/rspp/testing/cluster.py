"""A real JetStream cluster on loopback: one or three nats-servers with drawn passwords, that can be killed and brought back.

    async with NatsCluster(folder) as cluster:
        store = open_store(cluster.store_url, Secrets())
        await cluster.kill(await cluster.leader_of("RSPP_KEYS"))

No server outlives the process that started it, however that ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import nats.errors
from nats.aio.client import Client

from rspp.contract.errors import MisuseError, PeerFault
from rspp.testing.cluster_files import (
    HOST,
    SYSTEM_USER,
    USER,
    Node,
    Tls,
    configuration,
    keeps_size,
    nodes_of,
    password_file,
    private_folder,
    server_program,
    write_private,
)

# A cluster of three on loopback needs some two seconds; a busy machine more.
READY_S_MAX: Final = 30.0
# How long a node may take to leave in good order before it is killed.
STOP_S_MAX: Final = 10.0
POLL_S: Final = 0.02
ASK_S_MAX: Final = 2.0
LOG_LINES_SHOWN: Final = 5
PR_SET_PDEATHSIG: Final = 1


class NatsCluster:
    """Servers that run from `start` to `close`. Data and passwords stay in the folder; starting there again finds them."""

    def __init__(
        self, folder: Path, nodes: int = 3, *, ports: Sequence[int] | None = None, tls: Tls | None = None
    ) -> None:
        self.nodes: Final = nodes_of(nodes, ports)
        self.folder: Final = folder.absolute()
        self._tls = tls
        self._program = server_program()
        self._running: dict[str, subprocess.Popen[bytes]] = {}  # bounded: one a node

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ---- addresses -----------------------------------------------------------------------------------------------

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    @property
    def password_file(self) -> Path:
        return password_file(self.folder, "client")

    @property
    def store_url(self) -> str:
        """The address for `open_store`. It names the password's file; the password is nowhere in it."""
        return self.store_url_at([node.port for node in self.nodes])

    def store_url_at(self, ports: Sequence[int]) -> str:
        """The same with other doors to it, such as a relay's."""
        query = {"user": USER, "password": f"file://{self.password_file}"}
        hosts = ",".join(f"{HOST}:{port}" for port in ports)
        return f"nats://{hosts}?{urlencode(query, safe=':/')}"

    def log(self, name: str) -> str:
        path = self.folder / f"{self._node(name).name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # ---- from start to end ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Returns when the cluster takes streams: every node is up, and they have a leader."""
        private_folder(self.folder)
        keeps_size(self.folder, len(self.nodes))
        try:
            for node in self.nodes:
                self._begin(node)
            await self.ready()
        except BaseException:
            self._end_all()
            raise

    async def close(self) -> None:
        """Every node is stopped in good order, or killed when it does not go."""
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            for process in self._running.values():
                await _gone(process)
        finally:
            self._end_all()

    async def kill(self, name: str) -> None:
        """SIGKILL: the node has no time for a last word."""
        process = self._taken(name)
        process.kill()
        await _gone(process)

    async def stop(self, name: str) -> None:
        """SIGTERM: the node hands its leaderships over first."""
        process = self._taken(name)
        process.terminate()
        await _gone(process)

    def pause(self, name: str) -> None:
        """SIGSTOP: the node keeps its connections and says nothing."""
        self._process(name).send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._process(name).send_signal(signal.SIGCONT)

    async def restart(self, name: str) -> None:
        """The node is up again with the data that it had, stopped first if it runs."""
        if self.is_up(name):
            await self.stop(name)
        self._begin(self._node(name))
        await self.ready()

    def is_up(self, name: str) -> bool:
        process = self._running.get(self._node(name).name)
        return process is not None and process.poll() is None

    # ---- questions -----------------------------------------------------------------------------------------------

    async def ready(self, within_s: float = READY_S_MAX) -> None:
        """Wait until the nodes that run have a leader, and all of them have caught up with it."""
        deadline = asyncio.get_running_loop().time() + within_s
        while not await self._is_ready():
            self._none_has_died()
            if asyncio.get_running_loop().time() > deadline:
                raise PeerFault("cluster_not_ready", f"the cluster is not ready after {within_s:g} s")
            await asyncio.sleep(POLL_S)

    async def leader(self) -> str | None:
        """The node that leads the cluster itself, and with it says where streams are made."""
        states = await self.states()
        leaders = {state.get("meta_cluster", {}).get("leader") for state in states.values()}
        return str(leaders.pop()) if len(leaders) == 1 and None not in leaders else None

    async def leader_of(self, stream: str) -> str:
        """The node that leads the stream."""
        leader = (await self.stream(stream)).get("cluster", {}).get("leader")
        if len(self.nodes) == 1:
            return self.nodes[0].name
        if not leader:
            raise PeerFault("cluster_not_ready", f"the stream {stream} has no leader now")
        return str(leader)

    async def stream(self, name: str) -> dict[str, Any]:
        found = await self.ask(f"STREAM.INFO.{name}")
        if "error" in found:
            raise MisuseError("word_unknown", f"the stream {name}: {found['error'].get('description')}")
        return found

    async def streams(self) -> list[dict[str, Any]]:
        """Every stream, with its leader and how far each replica is behind."""
        return list((await self.ask("STREAM.LIST")).get("streams") or ())

    async def states(self) -> dict[str, dict[str, Any]]:
        """What each node that answers says of its JetStream."""
        async with self._session(SYSTEM_USER, "system") as client:
            up = [node for node in self.nodes if not self._running or self.is_up(node.name)]
            found = await asyncio.gather(*(self._state(client, node.name) for node in up))
        return {name: state for name, state in found if state is not None}

    async def ask(self, what: str, question: Mapping[str, object] | None = None) -> dict[str, Any]:
        """One question to JetStream's management interface, such as STREAM.LIST."""
        payload = b"" if question is None else json.dumps(question).encode()
        async with self._session(USER, "client") as client:
            answer = await client.request(f"$JS.API.{what}", payload, timeout=ASK_S_MAX)
        return dict(json.loads(answer.data))

    # ---- within ---------------------------------------------------------------------------------------------------

    async def _state(self, client: Client, name: str) -> tuple[str, dict[str, Any] | None]:
        question = json.dumps({"server_name": name}).encode()
        try:
            answer = await client.request("$SYS.REQ.SERVER.PING.JSZ", question, timeout=ASK_S_MAX)
        except nats.errors.Error:
            return name, None
        data = json.loads(answer.data).get("data") or {}
        return name, None if data.get("disabled") else data

    async def _is_ready(self) -> bool:
        try:
            states = await self.states()
        except (OSError, TimeoutError, nats.errors.Error):
            return False
        wanted = [node.name for node in self.nodes if self.is_up(node.name)]
        if set(states) != set(wanted):
            return False
        if len(self.nodes) == 1:
            return True
        leaders = {state.get("meta_cluster", {}).get("leader") for state in states.values()}
        if len(leaders) != 1 or leaders.isdisjoint(wanted):
            return False
        # Only the leader knows how far the others are.
        peers = states[leaders.pop()]["meta_cluster"].get("replicas") or ()
        current = {peer["name"] for peer in peers if peer.get("current") and not peer.get("offline")}
        return len(current & set(wanted)) == len(wanted) - 1

    @asynccontextmanager
    async def _session(self, user: str, password: str) -> AsyncIterator[Client]:
        client = Client()
        options: dict[str, Any] = {}
        if self._tls is not None:
            options["tls"] = _context(self._tls)
        try:
            await client.connect(
                [node.url for node in self.nodes if self.is_up(node.name)] or self.urls,
                user=user,
                password=password_file(self.folder, password).read_text(),
                allow_reconnect=False,
                connect_timeout=2,
                reconnect_time_wait=POLL_S,  # type: ignore[arg-type]  # seconds, whole or not
                error_cb=_ignore,
                **options,
            )
            yield client
        finally:
            await client.close()

    def _begin(self, node: Node) -> None:
        path = self.folder / f"{node.name}.conf"
        write_private(path, configuration(node, self.nodes, self.folder, self._tls))
        private_folder(self.folder / node.name)
        process = subprocess.Popen(  # noqa: S603 - our own program with our own file
            [self._program, "--config", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's interrupt is for us; we stop the nodes
            # Between fork and exec: one call of the C library, which was found before.
            preexec_fn=_dies_with_parent(),  # noqa: PLW1509
        )
        self._running[node.name] = process

    def _none_has_died(self) -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                tail = " | ".join(self.log(name).splitlines()[-LOG_LINES_SHOWN:])
                raise PeerFault("cluster_node_died", f"{name} ended with {process.returncode}: {tail}")

    def _end_all(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        self._running.clear()

    def _node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise MisuseError("word_unknown", f"there is no node {name!r}")

    def _process(self, name: str) -> subprocess.Popen[bytes]:
        if not self.is_up(name):
            raise MisuseError("value_invalid", f"the node {name} does not run")
        return self._running[name]

    def _taken(self, name: str) -> subprocess.Popen[bytes]:
        process = self._process(name)
        del self._running[name]
        return process


async def _gone(process: subprocess.Popen[bytes]) -> None:
    deadline = asyncio.get_running_loop().time() + STOP_S_MAX
    while process.poll() is None:
        if asyncio.get_running_loop().time() > deadline:
            process.kill()
            process.wait()
            return
        await asyncio.sleep(POLL_S)


def _dies_with_parent() -> Callable[[], None] | None:
    """The kernel kills a node whose parent is gone. Where there is no such call, a killed parent leaves its nodes."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    parent = os.getpid()

    def ask() -> None:
        library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tls.ca))
    context.load_cert_chain(str(tls.cert), str(tls.key))
    return context


async def _ignore(_: Exception) -> None:
    """What goes wrong is told by the call that it goes wrong for."""
