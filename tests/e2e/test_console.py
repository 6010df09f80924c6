"""`rspp run --listen --control` serves the console too: a call that opens is told over Socket.IO, and GraphQL shows it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rspp.client import Client
from tests.e2e.test_run_control import OLD, SPEC, Embedded, answered, embedded
from tests.unit.server.live.test_sockets import opened

pytestmark = [pytest.mark.slow, pytest.mark.long]

LOOK = """{ me { id dev } health { level stale sequence } load { sessions workers workersReady }
    sessions { total items { tenant id state pipeline recorded } } providers { name } pipelines { name version }
    journalStatus { writable problem surfaces { surface coverage uncovered } } work { aggregateId } }"""
ONE = """query($id: String!) { session(tenant: "acme", id: $id) { item { state } withheld recordedLevel
    turns { number outcome stages { name tookMs } } timeline(first: 10) { total items { kind lane } } } }"""


async def ask(it: Embedded, query: str, **variables: Any) -> dict[str, Any]:
    said = await it.ask("POST", "/graphql", query=query, variables=variables)
    assert "errors" not in said, said
    data: dict[str, Any] = said["data"]
    return data


def test_a_call_is_seen_from_its_beginning_to_its_recording(tmp_path: Path) -> None:
    spec, data = tmp_path / "desk.yaml", tmp_path / "data"
    spec.write_text(SPEC.format(version=OLD))

    async def main() -> None:
        async with embedded(spec, data) as it:
            token = str(it.http.headers["authorization"]).removeprefix("Bearer ")
            async with opened(str(it.http.base_url).rstrip("/"), token) as page:
                await page.until(lambda: bool(page.of("at")))
                before = await ask(it, LOOK)
                assert before["me"]["dev"]
                assert before["load"]["workersReady"] == 1
                assert before["sessions"]["total"] == 0
                async with Client.connect(it.calls, tenant="acme") as call:
                    session = call.welcome.session
                    await page.until(lambda: any(one["aggregateId"] == session for one in page.of("changed")))
                    during = await ask(it, LOOK)
                    (item,) = [one for one in during["sessions"]["items"] if one["id"] == session]
                    assert item["tenant"] == "acme"
                    assert during["load"]["sessions"] == 1
                    assert during["health"]["sequence"] > before["health"]["sequence"]
                    await answered(call)
                    await call.hang_up()
                async with asyncio.timeout(20):
                    seen = (await ask(it, ONE, id=session))["session"]
                    while seen["item"]["state"] != "ended":
                        seen = (await ask(it, ONE, id=session))["session"]
                        await asyncio.sleep(0.1)
                assert seen["turns"][0]["outcome"] == "commit"
                assert seen["timeline"]["total"] > 0
                assert page.gaps() == 0
                after = await ask(it, LOOK)
                assert after["journalStatus"]["writable"]
                assert {one["uncovered"] for one in after["journalStatus"]["surfaces"]} == {0}
            health = await it.http.get("/healthz")
            assert (health.status_code, health.text) == (200, "ok")

    asyncio.run(main())
