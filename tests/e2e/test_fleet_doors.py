"""The doors of a real fleet: what opens them, and that nothing else leaves a trace of a session behind."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from rspp.cli.control.init import begin
from rspp.client import Client, ConnectionLost
from rspp.contract.wire import CloseCode, Told
from rspp.control.names import LEASES, STATUS
from rspp.control.plane import opened_plane
from rspp.control.security.tokens import ROUTE, Claims, new_jti
from tests.e2e.fleet import Fleet

pytestmark = [pytest.mark.slow, pytest.mark.long]

TENANT = "doors"


async def signed(store_url: str, keys: Path, **claims: Any) -> str:
    """A token as a control plane over this store signs them, with these claims."""
    async with opened_plane(store_url, keys=keys) as plane:
        now_ms = plane.wall_ms()
        whole = {
            "kind": ROUTE,
            "sub": "root",
            "jti": new_jti(),
            "iat_ms": now_ms,
            "exp_ms": now_ms + 60_000,
            "tenant_id": TENANT,
            "session_id": "wanted",
            "pipeline_version": "desk@v1",
            "transport_kind": "websocket",
            **claims,
        }
        return plane.signer.sign(Claims(**whole))


def changed(token: str) -> list[str]:
    """The token with one character of each of its parts another one."""
    parts = token.split(".")
    found = []
    for number, part in enumerate(parts):
        middle = len(part) // 2
        other = "A" if part[middle] != "A" else "B"
        found.append(
            ".".join([*parts[:number], part[:middle] + other + part[middle + 1 :], *parts[number + 1 :]])
        )
    return found


async def refused(url: str, token: str | None, tenant: str = TENANT) -> int:
    """The code that a caller is sent away with. Whoever is let in fails the test."""
    with pytest.raises(ConnectionLost) as error:
        async with Client.connect(url, tenant=tenant, token=token, timeout_s=5) as call:
            await call.hang_up()
    return error.value.close_code


async def traces(fleet: Fleet, tenant: str) -> list[str]:
    """Every lease and status that there is of a tenant's sessions."""
    async with fleet.store() as store:
        return [*await store.keys(LEASES, f"{tenant}/"), *await store.keys(STATUS, f"{tenant}/")]


@pytest.mark.proves("F-088")
def test_only_a_token_for_this_very_door_opens_it_and_the_others_leave_no_session_behind(
    fleet: Fleet, tmp_path: Path
) -> None:
    async def main() -> None:
        ours, own = fleet.cluster.store_url, fleet.folder / "keys"
        route = await fleet.route(TENANT, session="wanted", region="a", pipeline="desk")
        here, good = route["endpoint"], route["token"]
        (other,) = {one["endpoint"] for name, one in (await fleet.workers()).items() if name == "b1"}
        now_ms = (await fleet.route(TENANT, session="now", pipeline="desk"))["expires_at_ms"] - 120_000
        strange = f"sqlite:///{tmp_path / 'strange.db'}"
        await begin(strange, tmp_path / "strange", "root", tmp_path / "strange.token")
        header, _, rest = good.partition(".")
        claims = rest.partition(".")[0] if rest.count(".") else header
        attacks: dict[str, tuple[str, str | None, str]] = {
            "missing": (here, None, TENANT),
            "empty": (here, " ", TENANT),
            "noise": (here, base64.urlsafe_b64encode(bytes(range(200))).decode(), TENANT),
            "unsigned": (here, good.rpartition(".")[0] + ".", TENANT),
            "unsigned, bare": (here, claims, TENANT),
            **{f"changed {n}": (here, token, TENANT) for n, token in enumerate(changed(good))},
            "forged": (here, await signed(strange, tmp_path / "strange", aud=here), TENANT),
            "expired": (
                here,
                await signed(ours, own, aud=here, iat_ms=now_ms, exp_ms=now_ms + 1),
                TENANT,
            ),
            "not yet": (
                here,
                await signed(ours, own, aud=here, iat_ms=now_ms + 3_600_000, exp_ms=now_ms + 3_660_000),
                TENANT,
            ),
            "other endpoint": (other, good, TENANT),
            "other transport": (here, await signed(ours, own, aud=here, transport_kind="telephone"), TENANT),
            "other tenant's": (here, await signed(ours, own, aud=here, tenant_id="neighbours"), TENANT),
            "for another tenant": (here, good, "neighbours"),
            "a principal's": (here, fleet.root.token, TENANT),
        }
        codes = {name: await refused(*attack) for name, attack in attacks.items()}
        assert codes == dict.fromkeys(attacks, CloseCode.TOKEN_REFUSED)
        assert await traces(fleet, TENANT) == await traces(fleet, "neighbours") == []
        for tenant in (TENANT, "neighbours"):
            assert (await fleet.root.get(f"/v1/tenants/{tenant}/statuses"))["items"] == []
        # What all of them tried is what the good one gets: that session, of that tenant, with that version.
        async with Client.connect(here, tenant=TENANT, token=good) as call:
            assert call.welcome.session == "wanted"
            async with fleet.store() as store:
                entry = await store.get(LEASES, f"{TENANT}/wanted")
            assert entry is not None
            lease = msgspec.json.decode(entry.value)
            assert (lease["tenant_id"], lease["graph_ref"].partition("#")[0]) == (TENANT, "graph/desk@v1")
            # A second time it opens nothing, neither while the session runs nor after it.
            assert await refused(here, good) == CloseCode.SESSION_REFUSED
            assert (await fleet.status(TENANT, "wanted"))["line"] == "connected"
        assert await refused(here, good) == CloseCode.SESSION_REFUSED
        assert await traces(fleet, TENANT) == [f"{TENANT}/wanted", f"{TENANT}/wanted"]

    asyncio.run(main())


@pytest.mark.proves("F-099")
def test_a_route_leads_to_the_version_that_was_meant_and_nowhere_else(fleet: Fleet) -> None:
    async def version(tenant: str, **wish: Any) -> str:
        route = await fleet.route(tenant, **wish)
        async with Client.connect(route["endpoint"], tenant=tenant, token=route["token"]) as call:
            told = await call.until(
                lambda event: isinstance(event, Told) and event.signal == "session_started"
            )
            assert isinstance(told, Told)
            return str((told.detail or {})["pipeline"])

    async def main() -> None:
        await fleet.publish("meant", "v1")
        await fleet.publish("meant", "v2")
        await fleet.root.post("/v1/rollouts/meant/begin", version="v1", reason="a test")
        await fleet.root.post("/v1/rollouts/meant/open", versions=["v2"], reason="a test")
        assert await version("t", pipeline="meant") == "graph/meant@v1"
        assert await version("t", pipeline="meant@v2") == "graph/meant@v2"
        late = await fleet.route("t", pipeline="meant", ttl_ms=1_000, region="a")
        (b1,) = {one["endpoint"] for name, one in (await fleet.workers()).items() if name == "b1"}
        assert await refused(b1, late["token"], "t") == CloseCode.TOKEN_REFUSED
        await asyncio.sleep(1.0)  # the token's own time
        assert await refused(late["endpoint"], late["token"], "t") == CloseCode.TOKEN_REFUSED
        unknown = await fleet.root.ask("POST", "/v1/tenants/t/routes", pipeline="no-such")
        never = await fleet.root.ask("POST", "/v1/tenants/t/routes", pipeline="meant@v9")
        assert [(one.status_code, one.json()["code"]) for one in (unknown, never)] == [
            (404, "pipeline_unknown"),
            (404, "pipeline_unknown"),
        ]
        assert httpx.codes.is_client_error(unknown.status_code)

    asyncio.run(main())
