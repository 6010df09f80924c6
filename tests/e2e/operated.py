"""A small fleet that somebody operates: machines that are processes, a store that they share, and whoever looks at health and acts."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from rspp.cli.control.init import begin
from rspp.control.authority.members import patience_ns
from rspp.control.operations.people import token_for
from rspp.control.plane import ControlPlane, opened_plane
from rspp.control.security.audit_view import AuditQuery, page
from rspp.control.security.roles import EVERYWHERE, Principal, Role
from rspp.host.ports import Store
from rspp.server.acting_routes import acting_routes
from rspp.server.app import assemble
from rspp.server.gate import Gate
from rspp.server.state import Told
from tests.e2e.fleet import CONTROL, SERVE, Program, spec

READY_S = 60.0
RUNTIME = "from rspp.cli.runtime.main import command; command()"
# What an operator is promised: the cause is on the page within this time.
SEEN_S_MAX = 2.0
ROOT = Principal(id="root", roles={EVERYWHERE: (Role.ADMIN,)})

__all__ = ["SEEN_S_MAX", "Operated", "operated", "patience_ns"]


class Operated:
    """Machines over one store, and a console beside them with principals of each role."""

    def __init__(self, folder: Path, store_url: str, plane: ControlPlane, told: Told) -> None:
        self.folder, self.store_url, self.plane = folder, store_url, plane
        self.engine = told.engine()
        self.machines: dict[str, Program] = {}
        gate = Gate(plane.clock, plane.authenticate, plane.audit_stranger)
        self._app = assemble(acting_routes(plane, self.engine, gate))
        self._tokens: dict[str, str] = {}

    async def start(self) -> Self:
        await self.engine.load()
        for name, role in (("viewer", Role.VIEWER), ("operator", Role.OPERATOR), ("admin", Role.ADMIN)):
            await self.plane.principals.add(ROOT, name)
            await self.plane.principals.grant(ROOT, name, EVERYWHERE, role)
            self._tokens[name] = token_for(self.plane, name).token
        return self

    async def machine(self, name: str, *more: str, workers: int = 1) -> str:
        """A machine that serves; where callers reach it."""
        program = self.machines[name] = Program(
            self.folder / f"{name}.log",
            *(SERVE, "--store", self.store_url, "--dev", "--default-pipeline", "desk", "--name", name),
            *("--workers", str(workers), "--data", str(self.folder / name), "--lease-ttl", "3s"),
            *("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--wedged-ms", "60000", *more),
        )
        url = await program.address("listening at")
        await self.until(lambda: len(self._ready(name)) == workers, READY_S)
        return url

    def _ready(self, name: str) -> list[str]:
        rows = self.engine.snapshots.rows("workers")
        return [
            row.aggregate_id
            for row in rows
            if row.aggregate_id.startswith(f"{name}-") and row.facts.get("ready") and row.state == "up"
        ]

    async def publish(self, version: str = "v1", more: str = "") -> None:
        await self.plane.registry.publish(spec("desk", version, more), "root")
        await self.plane.rollouts.begin("desk", version, author="root")

    async def console(self) -> str:
        """The console as a process of its own; where it is."""
        keys = str(self.folder / "keys")
        program = self.machines["console"] = Program(
            self.folder / "console.log",
            *(CONTROL, "serve", "--listen", "127.0.0.1:0", "--store", self.store_url, "--keys", keys),
        )
        return await program.address("control plane on")

    async def command(self, name: str, url: str, *words: str) -> tuple[int, str]:
        """`rspp runtime`, said by this principal: its exit status, and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RUNTIME, *words, "--server", url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "RSPP_TOKEN": self._tokens[name]},
        )
        said, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode is not None
        return process.returncode, said.decode()

    # ---- what an operator does -----------------------------------------------------------------------------------------

    def client(self, name: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self._app),
            base_url="http://console",
            headers={"authorization": f"Bearer {self._tokens[name]}"},
        )

    async def health(self) -> dict[str, Any]:
        async with self.client("viewer") as viewer:
            answer = await viewer.get("/v1/health")
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    async def codes(self) -> set[str]:
        return {one["code"] for one in (await self.health())["reasons"]}

    async def seen(self, code: str, within_s: float = SEEN_S_MAX) -> dict[str, Any]:
        """The reason on the page, within the time that is promised."""
        found: list[dict[str, Any]] = []

        async def there() -> bool:
            found[:] = [one for one in (await self.health())["reasons"] if one["code"] == code]
            return bool(found)

        await self.until(there, within_s)
        return found[0]

    async def gone(self, *codes: str, within_s: float = SEEN_S_MAX) -> None:
        async def away() -> bool:
            return not (await self.codes()) & set(codes)

        await self.until(away, within_s)

    async def offered(self, kind: str) -> str:
        """The one action of this kind that is offered now."""
        async with self.client("viewer") as viewer:
            items = (await viewer.get("/v1/actions")).json()["items"]
        found = [one["action"]["id"] for one in items if one["action"]["kind"] == kind]
        assert len(found) == 1, items
        return str(found[0])

    async def take(self, name: str, action: str, key: str) -> httpx.Response:
        async with self.client(name) as client:
            body = {"key": key, "reason": "a test"}
            return await client.post(f"/v1/actions/{quote(action, safe='')}", json=body, timeout=30)

    async def refuses(self, name: str, action: str) -> None:
        """Who may not is told so, nothing is done, and it is on record."""
        answer = await self.take(name, action, "refused")
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied"), answer.text
        assert ("deny", action, "refused") in await self.recorded(name)

    async def takes(self, name: str, action: str, key: str) -> dict[str, Any]:
        """It is done, once for its key, and is on record."""
        first, again = await self.take(name, action, key), await self.take(name, action, key)
        assert first.status_code == again.status_code == 200, first.text
        assert again.json() == {**first.json(), "repeated": True}
        assert (await self.recorded(name)).count(("done", action, key)) == 1
        said: dict[str, Any] = first.json()
        return said

    async def recorded(self, name: str) -> list[tuple[str, str, str]]:
        """Of the audit log: what was decided of which action, under which key."""
        found = await page(self.plane.store, AuditQuery(principal_id=name, limit=1_000))
        records = [one.record for one in found.entries]
        return [(one.decision, one.facts.get("action", ""), one.facts.get("key", "")) for one in records]

    async def until(self, holds: Any, within_s: float) -> None:
        end = time.monotonic() + within_s
        while True:
            met = holds()
            if await met if asyncio.iscoroutine(met) else met:
                return
            if time.monotonic() > end:
                logs = "\n".join(f"{name}: {one.said[-1_500:]}" for name, one in self.machines.items())
                raise AssertionError(f"not within {within_s} s: {await self.health()}\n{logs}")
            await asyncio.sleep(0.03)


def workers_of(program: Program) -> list[int]:
    """The processes of a machine that serve callers."""
    found = []
    for pid in program.children():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if any(b"serve_worker" in word for word in words):
            found.append(pid)
    assert found, program.children()
    return found


@asynccontextmanager
async def operated(folder: Path) -> AsyncIterator[Operated]:
    url, keys = f"sqlite://{folder / 'fleet.db'}", folder / "keys"
    await begin(url, keys, "root", folder / "admin.token")
    made: list[Told] = []

    @asynccontextmanager
    async def told(store: Store) -> AsyncIterator[Store]:
        made.append(Told(store, source=f"console:{os.getpid()}"))
        made[0].begin()
        try:
            yield made[0].store
        finally:
            await made[0].end()

    async with opened_plane(url, keys=keys, within=told) as plane:
        it = Operated(folder, url, plane, made[0])
        await it.publish()
        await it.start()
        running = [asyncio.create_task(it.engine.run()), asyncio.create_task(plane.run())]
        try:
            yield it
        finally:
            for program in it.machines.values():
                program.kill()
            for one in running:
                one.cancel()
            await asyncio.wait(running)
