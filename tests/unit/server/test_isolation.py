"""No route of the control plane lets one tenant list, read, change or infer anything of another's, a route added tomorrow included."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from rspp.control.operations import OPERATIONS, operation_named
from rspp.control.operations.operation import Conflict, Operation
from rspp.control.operations.sessions import ListSessions, NameSession, SessionPage, item_of
from rspp.control.plane import ControlPlane
from rspp.control.security.roles import Permission, Principal
from tests.unit.server.given import world
from tests.unit.server.walk import CANARY, OTHER, OWN, RIVAL, WALKER, planted, routes_of, seen_by, walk


def test_every_route_is_in_the_document_and_needs_a_token(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made, made.client("root") as root, made.client(None) as nobody:
            document = (await root.get("/openapi.json")).json()
            described = {(path, method.upper()) for path, one in document["paths"].items() for method in one}
            served = {
                (route.path, method)
                for route in made.app.routes
                if isinstance(route, Route)
                for method in (route.methods or ())
                if method != "HEAD"
            }
            assert len(made.app.routes) == len(
                {(one.path, *(one.methods or ())) for one in made.app.routes if isinstance(one, Route)}
            )
            probes = {("/livez", "GET"), ("/readyz", "GET")}
            assert served - described == {("/openapi.json", "GET"), ("/metrics", "GET"), *probes}
            assert described - served == set()
            for path, method in sorted(described):
                answer = await nobody.request(method, path, json={})
                open_to_secrets = document["paths"][path][method.lower()]["x-rspp-scope"] == "secret"
                assert answer.status_code == (422 if open_to_secrets else 401), (method, path, answer.text)
            for path in ("/openapi.json", "/metrics"):
                assert (await nobody.get(path)).status_code == 401

    asyncio.run(main())


def test_what_the_process_counts_is_for_those_who_may_see_the_whole_fleet(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made:
            await planted(made)
            made.plane.meters.counter("region_changes_total", region="eu", mode="drain").add()
            async with made.client("root") as root, made.client(WALKER) as walker:
                assert 'region="eu"' in (await root.get("/metrics")).text
                refused = await walker.get("/metrics")
                assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
                assert ("metrics.read", "*") in await made.denials(WALKER)

    asyncio.run(main())


def test_a_tenants_admin_learns_nothing_of_another_tenant_on_any_route(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made:
            things = await planted(made)
            before = await seen_by(made, RIVAL, things, OTHER)
            assert sum(CANARY in said for said in before.values()) >= 8, before
            learned = await walk(made, things)
            assert learned == [], "\n".join(learned)
            assert await seen_by(made, RIVAL, things, OTHER) == before
            await _is_not_on_the_others_record(made)

    asyncio.run(main())


async def _is_not_on_the_others_record(made: Any) -> None:
    """The denials are on record, with the fleet: in the other tenant's log they would tell who the walker is."""
    denied = await made.denials(WALKER)
    assert len(denied) > len(OPERATIONS) / 2
    async with made.client(RIVAL) as rival:
        said = (await rival.get("/v1/audit", params={"tenant": OTHER, "limit": 1000})).text
    assert CANARY in said
    assert f'"{WALKER}"' not in said
    async with made.client(WALKER) as walker:
        said = (await walker.get("/v1/audit", params={"tenant": OWN, "limit": 1000})).text
    assert RIVAL not in said.replace(f'"principal":"{RIVAL}"', "")  # but for what the walker asked for itself


# ---- a route that forgets its scope is found ------------------------------------------------------------------------


async def _lists_all(plane: ControlPlane, _: Principal, __: ListSessions) -> SessionPage:
    return SessionPage(items=[item_of(held) for held in await plane.leases.sessions()])


async def _shows_any(plane: ControlPlane, _: Principal, asked: NameSession) -> SessionPage:
    held = [one for one in await plane.leases.sessions() if one.lease.session_id == asked.session]
    return SessionPage(items=[item_of(one) for one in held])


async def _tells_apart(plane: ControlPlane, _: Principal, asked: NameSession) -> SessionPage:
    """The usual oracle: what is another's is refused in other words than what is not there."""
    if any(one.lease.session_id == asked.session for one in await plane.leases.sessions()):
        raise Conflict("not_yours", "this is another tenant's session")
    return SessionPage(items=[])


def _row(handler: Any, request: Any, *, own: bool = False) -> Operation:
    path = "/v1/new" if request is ListSessions else "/v1/tenants/{tenant}/new/{session}"
    return Operation(
        name="new.row",
        method="GET",
        path=path,
        request=request,
        response=SessionPage,
        permission=Permission.SESSIONS_READ,
        handler=handler,
        summary="New.",
        own=own,
    )


@pytest.mark.parametrize(
    "forgetful",
    [
        _row(_lists_all, ListSessions),
        _row(_shows_any, NameSession),
        _row(_tells_apart, NameSession),
        _row(operation_named("sessions.list").handler, ListSessions, own=True),
        _row(operation_named("sessions.show").handler, NameSession, own=True),
    ],
    ids=["lists all", "shows any", "tells apart", "list open to all", "show open to all"],
)
def test_a_new_route_that_forgets_its_scope_is_found(tmp_path: Path, forgetful: Operation) -> None:
    async def main() -> None:
        async with world(tmp_path, (forgetful,)) as made:
            things = await planted(made)
            learned = await walk(made, things)
            assert any(one.startswith("new.row") for one in learned), learned

    asyncio.run(main())


def test_the_document_of_one_row_is_walked_whole(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made, made.client("root") as root:
            routes = routes_of((await root.get("/openapi.json")).json())
            assert sorted(one.name for one in routes) == sorted(one.name for one in OPERATIONS)

    asyncio.run(main())
