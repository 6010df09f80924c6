"""A control plane in memory behind its application, with principals of every kind, as a test needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from rspp.control.operations import OPERATIONS
from rspp.control.operations.operation import Operation
from rspp.control.operations.people import token_for
from rspp.control.plane import ControlPlane
from rspp.control.security.key_folder import KeyFolder
from rspp.control.security.roles import EVERYWHERE, Principal, Role
from rspp.host.clock import MachineClock
from rspp.server.app import make_app
from rspp.testing.store import MemoryStore

ROOT = Principal(id="root", roles={EVERYWHERE: (Role.ADMIN,)})


class World:
    """One deployment. `client(name)` speaks as that principal, `client(None)` as nobody."""

    def __init__(
        self, plane: ControlPlane, store: MemoryStore, operations: Sequence[Operation] = OPERATIONS
    ) -> None:
        self.plane = plane
        self.store = store
        self.app = make_app(plane, operations=operations)
        self._tokens: dict[str, str] = {}

    async def principal(self, name: str, roles: Mapping[str, Role]) -> None:
        """Known, with these roles, and with a token."""
        if await self.plane.principals.get(name) is None:
            await self.plane.principals.add(ROOT, name)
        for tenant, role in roles.items():
            await self.plane.principals.grant(ROOT, name, tenant, role)
        self._tokens[name] = token_for(self.plane, name).token

    def token(self, name: str) -> str:
        return self._tokens[name]

    def client(self, name: str | None, address: str = "192.0.2.1") -> httpx.AsyncClient:
        headers = {} if name is None else {"authorization": f"Bearer {self._tokens[name]}"}
        transport = httpx.ASGITransport(app=self.app, client=(address, 4242))
        return httpx.AsyncClient(transport=transport, base_url="http://control", headers=headers)

    async def denials(self, principal: str) -> list[tuple[str, str]]:
        """What was refused to a principal, by operation and tenant, the last one first."""
        async with self.client("root") as client:
            said = (await client.get("/v1/audit", params={"principal": principal, "decision": "deny"})).json()
        return [(one["action"], one["tenant"]) for one in said["items"]]


@asynccontextmanager
async def world(
    folder: Path, operations: Sequence[Operation] = OPERATIONS, **how: Any
) -> AsyncIterator[World]:
    clock = MachineClock()
    store = MemoryStore(clock)
    keys = KeyFolder(folder / "keys")
    keys.make()
    if not keys.held():
        keys.create_key(clock.wall() // 1_000_000)
    plane = ControlPlane(store, keys=keys, clock=clock, **how)
    await plane.load()
    await plane.principals.first_admin("root", "test")
    made = World(plane, store, operations)
    await made.principal("root", {})
    try:
        yield made
    finally:
        await store.close()
