"""`rspp serve` as a process of its own, for tests that call it, probe it and end it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from rspp.control.authority.members import Fleet
from rspp.control.fleet.places import Place, place_of
from rspp.control.fleet.routing import Chosen, Refusal, Wish, choose
from rspp.control.names import MEMBERS
from rspp.host.clock import MachineClock
from rspp.host.ports import Store

START = "from rspp.cli.serve import command; command()"


class Serving:
    """The process, and where it is reached. What it says on stderr is kept."""

    def __init__(self, process: Process, url: str, admin: str) -> None:
        self.process, self.url, self.admin = process, url, admin
        self.said = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.said += line.decode()

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get(self.admin + path, timeout=5)

    async def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((await self.get("/readyz")).content)["workers"]
        return found

    async def metric(self, name: str) -> float | None:
        lines = (await self.get("/metrics")).text.splitlines()
        return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)

    async def until(
        self, path: str, met: Callable[[httpx.Response], bool], seconds: float = 20.0
    ) -> httpx.Response:
        async with asyncio.timeout(seconds):
            while not met(answer := await self.get(path)):  # noqa: ASYNC110 - another process does not wake this one
                await asyncio.sleep(0.05)
            return answer

    async def until_ready(self, workers: int) -> None:
        await self.until(
            "/readyz",
            lambda answer: (
                sum((w["state"] or {}).get("ready", False) for w in answer.json()["workers"]) == workers
            ),
        )

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def over(self, seconds: float = 20.0) -> int:
        code = await asyncio.wait_for(self.process.wait(), seconds)
        await self._reading
        return code


@asynccontextmanager
async def serving(spec: Path | None, data: Path, *more: str, workers: int = 1) -> AsyncIterator[Serving]:
    """Ready to be called, and gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", START),
        *(("--pipeline", str(spec)) if spec is not None else ()),
        *("--data", str(data), "--workers", str(workers)),
        *("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--lease-ttl", "3s", *more),
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    one: Serving | None = None
    try:
        lines = [(await asyncio.wait_for(process.stdout.readline(), 20)).decode() for _ in range(2)]
        addresses = [found.group() for line in lines if (found := re.search(r"\w+://\S+", line))]
        if len(addresses) < 2:
            raise AssertionError((await process.communicate())[1].decode())
        one = Serving(process, addresses[1], addresses[0])
        await one.until_ready(workers)
        yield one
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if one is not None:
            await one._reading
        process._transport.close()  # type: ignore[attr-defined]


async def places(store: Store) -> list[Place]:
    """Every worker as a router sees it that has just looked."""
    fleet = Fleet(store, MachineClock())
    for key in await store.keys(MEMBERS):
        entry = await store.get(MEMBERS, key)
        if entry is not None:
            fleet.take(entry)
    return [place_of(seen, MachineClock().now()) for seen in fleet.seen.values()]


async def route(store: Store, session_id: str, avoid: frozenset[str] = frozenset()) -> Chosen | Refusal:
    """Where a new session would be sent."""
    return choose(await places(store), Wish(tenant_id="t", session_id=session_id, avoid=avoid))
