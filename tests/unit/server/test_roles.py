"""Every role times every operation: allowed or denied as the table of roles declares, and every denial on record."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from rspp.control.operations import OPERATIONS
from rspp.control.operations.operation import Scope
from rspp.control.security.roles import EVERYWHERE, TABLE, Role
from tests.unit.control.published import spec_text
from tests.unit.server.given import ROOT, World, world
from tests.unit.server.walk import MISSING, OTHER, OWN, Route, planted, routes_of, send, values

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

BY_NAME = {one.name: one for one in OPERATIONS}


async def _routes(made: World) -> list[Route]:
    async with made.client("root") as root:
        return routes_of((await root.get("/openapi.json")).json())


def _is_declared(role: Role, name: str) -> bool:
    operation = BY_NAME[name]
    return operation.scope in (Scope.OWN, Scope.SECRET) or operation.permission in TABLE[role]


@pytest.mark.proves("F-115", "NF-012")
@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_do_what_the_table_declares_and_nothing_else(tmp_path: Path, role: Role) -> None:
    """Permitted roles publish and roll out; a role that is taken away is gone at the next call; no role is denied all."""

    async def main() -> None:
        async with world(tmp_path) as made:
            await planted(made)
            await made.principal("somebody", {EVERYWHERE: role})
            routes = await _routes(made)
            said = values(OWN, MISSING)
            denied = []
            async with made.client("somebody") as client:
                for route in routes:
                    status = (await send(client, route, said)).status_code
                    assert status not in (401, 500), route
                    assert (status != 403) == _is_declared(role, route.name), (route.name, status)
                    denied += [route.name] if status == 403 else []
                if role is not Role.VIEWER:
                    await _publishes_and_rolls_out(client)
                assert sorted(await _denials(made)) == sorted(denied)
                await made.plane.principals.revoke(ROOT, "somebody", EVERYWHERE, role)
                for route in routes:
                    status = (await send(client, route, said)).status_code
                    gone = BY_NAME[route.name].scope in (Scope.OWN, Scope.SECRET)
                    assert status != 403 if gone else status in (403, 404), (route.name, status)
                tried = [
                    one.name for one in routes if BY_NAME[one.name].scope not in (Scope.OWN, Scope.SECRET)
                ]
                assert len(await _denials(made)) == len(denied) + len(tried)

    asyncio.run(main())


async def _denials(made: World) -> list[str]:
    """Of operations; what `Principals` and `Approvals` refuse by themselves says so under names of their own."""
    async with made.client("root") as root:
        said = (await root.get("/v1/audit?principal=somebody&decision=deny&limit=1000")).json()
    assert said["next"] is None
    return [one["action"] for one in said["items"] if one["action"] in BY_NAME]


async def _publishes_and_rolls_out(client: httpx.AsyncClient) -> None:
    done = await client.post("/v1/pipelines", json={"text": spec_text("v1.1")})
    assert done.status_code == 200, done.text
    body = {"version": "v1.1", "percent": 10, "reason": "try it"}
    done = await client.post("/v1/rollouts/voice/canary", json=body)
    assert done.json()["rollout"]["canary"] == "v1.1"


def test_a_tenants_operator_runs_its_tenant_and_no_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made:
            things = await planted(made)
            await made.principal("olga", {OTHER: Role.OPERATOR})
            async with made.client("olga") as olga:
                shown = (await olga.get(f"/v1/tenants/{OTHER}/sessions/{things.session}")).json()
                assert shown["session"]["worker"] == "w-1"
                assert shown["status"] == "running"
                assert "resume_hash" not in str(shown)
                body = {"reason": "r"}
                assert (
                    await olga.post(f"/v1/tenants/{OTHER}/sessions/{things.session}/revoke", json=body)
                ).status_code == 403
                assert (
                    await olga.post(f"/v1/tenants/{OWN}/sessions/{things.session}/cancel", json=body)
                ).status_code == 404

    asyncio.run(main())
