"""Two regions with stores of their own, and tenants who may not be in both of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rspp.client import Client, ConnectionLost, fixed
from rspp.control.fleet.residency import Jurisdiction, Residency
from rspp.control.names import LEASES, STATUS
from rspp.control.plane import opened_plane
from rspp.control.security.audit_view import AuditQuery, page
from rspp.control.stores import open_store
from rspp.host.secrets import Secrets
from tests.e2e.fleet import Machine, calling, say, spec

pytestmark = [pytest.mark.slow, pytest.mark.long]

AUTHOR: Any = {"author": "officer", "reason": "the law"}
STATE = "state"


class Regional:
    """One region: its own machine, its own store, its own files."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder / name
        self.folder.mkdir()
        self.store_url = f"sqlite:///{self.folder / 'authority.db'}"

    async def rules(self) -> None:
        async with opened_plane(self.store_url) as plane:
            await plane.registry.publish(spec("desk", "v1"), "officer")
            await plane.rollouts.begin("desk", "v1", **AUTHOR)
            union = Jurisdiction(name="union", regions=("eu",), **AUTHOR)
            await plane.residencies.put_jurisdiction(union)
            only = ("jurisdiction:union",)
            await plane.residencies.put(Residency(tenant_id="anna", process=only, store=only, **AUTHOR))
            await plane.residencies.put(Residency(tenant_id="carl", store=only, **AUTHOR))

    async def start(self) -> None:
        self.machine = Machine(
            f"{self.name}1",
            self.name,
            self.folder,
            "--store",
            self.store_url,
            "--dev",
            "--record-level",
            "L2",
        )
        await self.machine.ready()

    async def traces(self, tenant: str) -> list[str]:
        """What the region's store has of the tenant's sessions: who owns them, how they fare, what they remember."""
        store = open_store(self.store_url, Secrets())
        try:
            return [
                f"{b}:{key}" for b in (LEASES, STATUS, STATE) for key in await store.keys(b, f"{tenant}/")
            ]
        finally:
            await store.close()

    def files_with(self, words: str) -> list[str]:
        """Every file of the region, recordings, stores and logs, in which these words stand."""
        return sorted(
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if path.is_file() and words.encode() in path.read_bytes()
        )


@asynccontextmanager
async def two_regions(folder: Path) -> AsyncIterator[tuple[Regional, Regional]]:
    eu, us = Regional("eu", folder), Regional("us", folder)
    try:
        for one in (eu, us):
            await one.rules()
            await one.start()
        yield eu, us
    finally:
        for one in (eu, us):
            if hasattr(one, "machine"):
                one.machine.program.kill()


async def speaks(region: Regional, tenant: str) -> str:
    """A session with a turn in it, in which the tenant's own words are said; its name."""
    async with calling(fixed(region.machine.url), tenant) as session:
        assert await say(session, f"words of {tenant}") == "v1 one."
        assert session.ticket is not None
        return session.ticket.session


async def is_rejected(region: Regional, tenant: str) -> None:
    with pytest.raises(ConnectionLost, match="residency_denied"):
        async with Client.connect(region.machine.url, tenant=tenant) as call:
            await call.hang_up()


@pytest.mark.proves("F-168", "NF-034")
def test_what_a_tenant_says_is_processed_and_kept_where_the_policy_lets_it_be_and_nowhere_else(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[Regional, Regional, str, str, str]:
        async with two_regions(tmp_path) as (eu, us):
            anna = await speaks(eu, "anna")
            bob = await speaks(us, "bob")
            await is_rejected(us, "anna")
            # Who may be served here and not kept here is served, and nothing stays.
            carl = await speaks(us, "carl")
            assert await us.traces("anna") == []
            assert await eu.traces("anna") != []
            assert await us.traces("bob") != []
            assert [one for one in await us.traces("carl") if one.startswith(STATE)] == []
            for one in (eu, us):
                assert one.machine.program.end() == 0, one.machine.program.said
            async with opened_plane(us.store_url) as plane:
                denied = {
                    tenant: {
                        one.record.action
                        for one in (
                            await page(plane.store, AuditQuery(decision="deny", tenant_id=tenant))
                        ).entries
                    }
                    for tenant in ("anna", "bob", "carl")
                }
            assert denied == {"anna": {"residency.process"}, "bob": set(), "carl": {"residency.store"}}
        return eu, us, anna, bob, carl

    eu, us, anna, bob, carl = asyncio.run(main())
    # The search finds what is there: recordings, and in the store what a session remembers ...
    assert [name for name in eu.files_with(anna) if name.startswith("eu1/")]
    assert [name for name in us.files_with(bob) if name.startswith("us1/")]
    # ... and of who may not be kept here there is nothing.
    assert us.files_with(anna) == us.files_with("words of anna") == us.files_with("words of carl") == []
    assert [name for name in us.files_with(carl) if name.startswith("us1/")] == []
