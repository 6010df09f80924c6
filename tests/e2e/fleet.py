"""A fleet as operators run it: a JetStream of three nodes, a control plane, and machines in two regions, all processes.

Started once for all tests that share it, so it belongs to no event loop: a test opens what it needs in its own.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx

from rspp.cli.control.init import begin
from rspp.client import Client, ControlPlane, Patience, RouteSource, Session
from rspp.client.session import SessionEvent
from rspp.contract.wire import Caption, Told
from rspp.control.stores import open_store
from rspp.host.ports import Store
from rspp.host.secrets import Secrets
from rspp.testing.cluster import NatsCluster

READY_S = 60.0
TTL_MS = 3_000
SPEC = """
pipeline: {pipeline}
version: {version}
template: voice
providers: {{vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}}
provider_settings:
  scripted-llm: {{answers: ["{word} one.", "{word} two.", "{word} three.", "{word} four."], first_ms: 20{more}}}
  scripted-tts: {{ms_per_character: {pace_ms}, first_ms: 20}}
"""
SETTINGS = """
failover:
  mode: drain
  hold_ms: 500
  recover_ms: 1000
  workers_weight: 0
  room_weight: 0
  provider_groups: {llm: [openai-llm]}
"""
CONTROL = "from rspp.cli.control.main import command; command()"
SERVE = "from rspp.cli.serve import command; command()"


def spec(pipeline: str, version: str, more: str = "", pace_ms: int = 5) -> str:
    return SPEC.format(pipeline=pipeline, version=version, word=version, more=more, pace_ms=pace_ms)


class Program:
    """A process with a log, that says where it is."""

    def __init__(self, log: Path, *words: str, **environment: str) -> None:
        self.log, self._words, self._environment = log, words, environment
        self.begin()

    def begin(self) -> None:
        self._from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", *self._words],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self._environment},
            )

    @property
    def said(self) -> str:
        return self.log.read_bytes()[self._from :].decode(errors="replace")

    async def address(self, before: str) -> str:
        """The URL that follows these words."""
        async with asyncio.timeout(READY_S):
            while (found := re.search(rf"{before} (\w+://[^\s,]+)", self.said)) is None:
                if self.process.poll() is not None:
                    raise AssertionError(f"{self.log.name}: {self.said[-2_000:]}")
                await asyncio.sleep(0.05)
        return found.group(1)

    def children(self) -> list[int]:
        pid = self.process.pid
        with suppress(OSError):
            return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def kill(self) -> None:
        """SIGKILL to it and to whatever it began."""
        for child in self.children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def end(self, seconds: float = 20.0) -> int:
        self.process.terminate()
        return self.process.wait(seconds)


class Machine:
    """One `rspp serve` with one worker."""

    def __init__(self, name: str, region: str, folder: Path, *more: str) -> None:
        self.name, self.region, self.data = name, region, folder / name
        self.program = Program(
            folder / f"{name}.log",
            *(SERVE, "--workers", "1", "--name", name, "--region", region, "--data", str(self.data)),
            *("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--lease-ttl", "3s", "--verbose"),
            *("--drain-ms", "5000", "--wedged-ms", "60000", *more),
            FLEET_LLM_KEY=f"key-of-{region}",  # each region has its own with whoever serves models
        )
        self.url = self.admin = ""

    async def ready(self) -> None:
        self.admin = await self.program.address("probes at")
        self.url = await self.program.address("listening at")

        async def is_ready() -> bool:
            with suppress(httpx.HTTPError):
                return (await self.state())["ready"] is True
            return False

        await until(is_ready, READY_S)

    async def state(self) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=5) as client:
            workers = (await client.get(f"{self.admin}/readyz")).json()["workers"]
        return (workers[0]["state"] or {"ready": False, "sessions": 0}) if workers else {"ready": False}

    async def pid(self) -> int:
        """Of its worker."""
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=5) as client:
            return int((await client.get(f"{self.admin}/readyz")).json()["workers"][0]["pid"])

    async def metrics(self) -> str:
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=5) as client:
            return (await client.get(f"{self.admin}/metrics")).text


class Api:
    """The control plane over REST, as one principal, or as nobody."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url, self.token = url, token

    async def ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        headers = {} if self.token is None else {"authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=20, headers=headers) as client:
            if method == "GET":
                return await client.get(self.url + path, params=body)
            return await client.request(method, self.url + path, json=body)

    async def get(self, path: str, **query: Any) -> Any:
        return _good(await self.ask("GET", path, **query))

    async def post(self, path: str, **body: Any) -> Any:
        return _good(await self.ask("POST", path, **body))

    async def put(self, path: str, **body: Any) -> Any:
        return _good(await self.ask("PUT", path, **body))

    async def refused(self, status: int, method: str, path: str, **body: Any) -> dict[str, Any]:
        answer = await self.ask(method, path, **body)
        assert answer.status_code == status, answer.text
        said: dict[str, Any] = answer.json()
        return said


def _good(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


class Fleet:
    """All of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = NatsCluster(folder / "nats")
        self.machines: dict[str, Machine] = {}
        self.control: Program
        self.root: Api

    async def start(self) -> Self:
        await self.cluster.start()
        keys, token = self.folder / "keys", self.folder / "admin.token"
        await begin(self.cluster.store_url, keys, "root", token)
        settings = self.folder / "control.yaml"
        settings.write_text(SETTINGS)
        self.control = Program(
            self.folder / "control.log",
            *(CONTROL, "serve", "--listen", "127.0.0.1:0", "--store", self.cluster.store_url),
            *("--keys", str(keys), "--settings", str(settings)),
        )
        for name, region in (("a1", "a"), ("a2", "a"), ("b1", "b")):
            self.add(name, region)
        self.add("c1", "c", "--sessions-max", "1")
        self.root = Api(await self.control.address("control plane on"), token.read_text().strip())
        await self.publish("desk", "v1")
        await self.root.post("/v1/rollouts/desk/begin", version="v1", reason="the first")
        await asyncio.gather(*(one.ready() for one in self.machines.values()))
        await self.settled()
        await self.region("c", "closed")  # opened by who needs it: it has room for one
        return self

    def add(self, name: str, region: str, *more: str) -> Machine:
        made = self.machines[name] = Machine(
            name, region, self.folder, "--store", self.cluster.store_url, *more
        )
        return made

    def stop(self) -> None:
        for machine in self.machines.values():
            machine.program.kill()
        if hasattr(self, "control"):
            self.control.kill()
        asyncio.run(self.cluster.close())

    # ---- what tests ask for ----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        store = open_store(self.cluster.store_url, Secrets())
        try:
            yield store
        finally:
            await store.close()

    async def publish(self, pipeline: str, version: str, more: str = "", pace_ms: int = 5) -> Any:
        """A version whose answers begin with its name; `more` is said of its language model besides."""
        return await self.root.post("/v1/pipelines", text=spec(pipeline, version, more, pace_ms))

    async def principal(self, name: str, tenant: str, role: str) -> Api:
        path = f"/v1/principals/{name}"
        await self.root.post(f"{path}/grant", tenant=tenant, role=role, reason="a test")
        issued = await self.root.post(f"{path}/tokens", ttl_ms=600_000)
        return Api(self.root.url, issued["token"])

    async def route(self, tenant: str = "acme", **wish: Any) -> Any:
        return await self.root.post(f"/v1/tenants/{tenant}/routes", **wish)

    async def lease(self, tenant: str, session: str) -> Any:
        return (await self.root.get(f"/v1/tenants/{tenant}/sessions/{session}"))["session"]

    async def route_to(self, machine: str, tenant: str, name: str, **wish: Any) -> Any:
        """A route to that very machine, for a session whose name begins so."""
        region = self.machines[machine].region
        for number in range(50):
            found = await self.route(
                tenant, session=f"{name}-{number}", region=region, pipeline="desk", **wish
            )
            if found["worker"].startswith(f"{machine}-"):
                return found
        raise AssertionError(f"nobody is sent to {machine}")

    def routes(self, **how: Any) -> RouteSource:
        assert self.root.token is not None
        return ControlPlane(self.root.url, credential=self.root.token, **how)

    async def workers(self) -> dict[str, dict[str, Any]]:
        """Those that are there, by the name of their machine."""
        items = (await self.root.get("/v1/workers"))["items"]
        there = [one for one in items if one["kind"] == "worker"]
        return {
            one["worker"].partition("-")[0]: one
            for one in sorted(there, key=lambda one: one["joined_wall_ms"])
        }

    async def settled(self, *names: str) -> None:
        """These machines, or all, are members, well, and take sessions."""

        async def all_well() -> bool:
            workers = await self.workers()
            return all(name in workers and workers[name]["ready"] for name in names or self.machines)

        await until(all_well)

    async def region(self, name: str, mode: str, incident: str = "", *, pinned: bool = False) -> None:
        await self.root.put(
            f"/v1/regions/{name}", mode=mode, reason="a test", incident=incident, pinned=pinned
        )

    async def status(self, tenant: str, session: str, api: Api | None = None) -> Any:
        return await (api or self.root).get(f"/v1/tenants/{tenant}/sessions/{session}/status")

    async def audit(self, **query: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await self.root.get("/v1/audit", limit=1000, **query))["items"]
        return items


async def until(met: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not await met():  # noqa: ASYNC110 - another process does not wake this one
            await asyncio.sleep(0.05)


async def say(
    session: Session, words: str, kept: list[SessionEvent] | None = None, seconds: float = 20.0
) -> str:
    """The assistant's answer, when it was committed; whatever ends otherwise is asked again, as callers do.

    `kept` gets everything that came meanwhile.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        session.say(words)
        heard: dict[int, str] = {}
        committed = False
        async with asyncio.timeout(seconds):
            async for event in session.events():
                if kept is not None:
                    kept.append(event)
                if isinstance(event, Caption) and event.role == "assistant":
                    heard[event.segment] = event.text
                elif isinstance(event, Told) and event.signal == "commit":
                    committed = True
                elif isinstance(event, Told) and event.signal == "close":
                    break
        if committed:
            return "".join(heard[number] for number in sorted(heard)).strip()
    raise AssertionError(f"nobody answered {words!r}")


@asynccontextmanager
async def calling(routes: RouteSource, tenant: str = "acme", **how: Any) -> AsyncIterator[Session]:
    patience = Patience(first_ms=50, most_ms=300, away_ms_max=20_000)
    async with Client.session(routes, tenant=tenant, audio_in=None, patience=patience, **how) as session:
        yield session
