"""What single operations decide, asked directly: routes, orders to workers, principals' tokens, quotas."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.control.authority.leases import Lease, Leases, LeaseState, hash_of
from rspp.control.authority.members import Member, Membership, MemberState
from rspp.control.commands import Outcome, Result
from rspp.control.intake.limits import Limits
from rspp.control.intake.quotas import UNLIMITED
from rspp.control.names import CONFIG, MEMBERS, key
from rspp.control.operations import OPERATIONS, operation_named
from rspp.control.operations.calling import Verdict, call, judge
from rspp.control.operations.operation import NotFound, Scope
from rspp.control.plane import ControlPlane, os_principal
from rspp.control.security.key_folder import KeyFolder, first_key
from rspp.control.security.roles import EVERYWHERE, Principal, Role
from rspp.control.security.tokens import ROUTE, Verifier
from rspp.host.ports import Refused
from rspp.testing.store import MemoryStore
from tests.unit.control.published import spec_text

ROOT = os_principal()


async def plane_in(folder: Path) -> ControlPlane:
    keys = KeyFolder(folder / "keys")
    plane = ControlPlane(MemoryStore(), keys=keys)
    first_key(keys, plane.wall_ms())
    await plane.load()
    return plane


async def asked(plane: ControlPlane, name: str, by: Principal = ROOT, **fields: Any) -> Any:
    operation = operation_named(name)
    return await call(plane, by, operation, msgspec.convert(fields, operation.request))


async def worker(plane: ControlPlane, name: str, region: str = "eu", **more: Any) -> None:
    made = {"kind": "worker", "ttl_ms": 60_000, "capacity": 10, "ready": True, "endpoint": f"wss://{name}"}
    await Membership(plane.store, plane.clock, Member(id=name, region=region, **{**made, **more})).join()


async def served(folder: Path) -> ControlPlane:
    """A pipeline at v1 with a canary for acme, and a worker in each of two regions."""
    plane = await plane_in(folder)
    for version in ("v1", "v1.1"):
        await plane.registry.publish(spec_text(version), "ada")
    await asked(plane, "rollout.begin", pipeline="voice", version="v1", reason="r")
    canary: dict[str, Any] = {"version": "v1.1", "percent": 0, "tenants": ["acme"], "reason": "r"}
    await asked(plane, "rollout.canary", pipeline="voice", **canary)
    await worker(plane, "w-eu", "eu")
    await worker(plane, "w-us", "us")
    return plane


# ---- the table -------------------------------------------------------------------------------------------------------


def test_names_paths_and_scopes_of_the_table_are_sound() -> None:
    names = [one.name for one in OPERATIONS]
    assert len(names) == len(set(names))
    places = [(one.method, one.path) for one in OPERATIONS]
    assert len(places) == len(set(places))
    for one in OPERATIONS:
        assert set(one.path_fields) <= set(one.request.__struct_fields__), one.name
        assert one.summary.endswith("."), one.name
        assert one.path.startswith("/v1/")
        assert set(one.unsaid) <= set(one.request.__struct_fields__)
        if one.scope is Scope.FLEET:
            assert "{tenant}" not in one.path


@pytest.mark.parametrize("tenant", [None, EVERYWHERE, "acme", "bolt", ""])
def test_a_tenants_admin_is_judged_by_the_tenant_that_is_named(tenant: str | None) -> None:
    ann = Principal(id="ann", roles={"acme": (Role.ADMIN,)})
    operation = operation_named("sessions.list")
    expected = {"acme": Verdict.ALLOWED, None: Verdict.DENIED, EVERYWHERE: Verdict.DENIED}
    verdict = judge(ann, operation, operation.request(tenant=tenant))
    assert verdict is expected.get(tenant, Verdict.HIDDEN)


# ---- routes ----------------------------------------------------------------------------------------------------------


def test_a_route_leads_to_the_nearest_region_under_the_tenants_own_version(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await served(tmp_path)
        near = {"eu": 90.0, "us": 10.0}
        mine = await asked(plane, "routes.create", tenant="acme", latencies_ms=near, caller="+49 30 1")
        assert (mine.worker, mine.endpoint, mine.pipeline) == ("w-us", "wss://w-us", "voice@v1.1")
        theirs = await asked(plane, "routes.create", tenant="bolt", latencies_ms={"eu": 1.0, "us": 10.0})
        assert (theirs.worker, theirs.pipeline, theirs.back) == ("w-eu", "voice@v1", False)
        now_ms = plane.wall_ms()
        verifier = Verifier(plane.keyring)
        claims = verifier.verify(mine.token, kind=ROUTE, audience="wss://w-us", now_ms=now_ms)
        assert (claims.sub, claims.tenant_id, claims.session_id) == ("+49 30 1", "acme", mine.session)
        assert claims.exp_ms == mine.expires_at_ms <= now_ms + 300_000
        with pytest.raises(PeerFault, match="token_audience_wrong"):
            verifier.verify(mine.token, kind=ROUTE, audience="wss://w-eu", now_ms=now_ms)
        with pytest.raises(PeerFault, match="token_expired"):
            verifier.verify(mine.token, kind=ROUTE, audience="wss://w-us", now_ms=claims.exp_ms)

    asyncio.run(main())


def test_residency_and_closed_regions_keep_a_route_out(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await served(tmp_path)
        await asked(plane, "regions.set_residency", tenant="acme", process_in=["eu"], reason="contract")
        for _ in range(4):
            route = await asked(plane, "routes.create", tenant="acme", latencies_ms={"us": 1.0})
            assert route.region == "eu"
        await asked(plane, "regions.set", region="eu", mode="drain", reason="power")
        await plane.look_at_fleet()
        with pytest.raises(Refused) as refused:
            await asked(plane, "routes.create", tenant="acme")
        assert refused.value.code in ("regions_closed", "route_unfit")
        assert (await asked(plane, "routes.create", tenant="bolt")).region == "us"

    asyncio.run(main())


def test_a_session_is_found_where_it_runs_and_led_elsewhere_when_its_worker_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await served(tmp_path)
        lease = Lease(
            tenant_id="acme",
            session_id="s-1",
            owner="w-eu",
            graph_ref="graph/voice@v1",
            resume_hash=hash_of("its secret"),
        )
        held = await Leases(plane.store, "w-eu").acquire(lease)
        found = await asked(plane, "routes.create", tenant="acme", session="s-1", latencies_ms={"us": 1.0})
        assert (found.worker, found.back, found.pipeline, found.why) == ("w-eu", True, "voice@v1", "owner")
        with pytest.raises(PeerFault, match="session_exists"):
            await asked(plane, "routes.create", tenant="acme", session="s-1", pipeline="other")
        stranger = Principal(id="anonymous")
        for wrong in ({"resume_secret": "no"}, {"session": "s-2"}, {"tenant": "bolt"}):
            said = {"tenant": "acme", "session": "s-1", "resume_secret": "its secret", **wrong}
            with pytest.raises(NotFound):
                await asked(plane, "routes.resume", stranger, **said)
        await asked(plane, "workers.fence", worker="w-eu", reason="it is dead")
        await plane.look_at_fleet()
        said = {"tenant": "acme", "session": "s-1", "resume_secret": "its secret"}
        moved = await asked(plane, "routes.resume", stranger, **said)
        assert (moved.worker, moved.back, moved.session) == ("w-us", True, "s-1")
        assert (
            Verifier(plane.keyring)
            .verify(moved.token, kind=ROUTE, audience="wss://w-us", now_ms=plane.wall_ms())
            .authority_epoch
            == held.epoch
        )
        await asked(plane, "sessions.revoke", tenant="acme", session="s-1", reason="fraud")
        with pytest.raises(NotFound):
            await asked(plane, "routes.resume", stranger, **said)
        with pytest.raises(PeerFault, match="session_over"):
            await asked(plane, "routes.create", tenant="acme", session="s-1")

    asyncio.run(main())


# ---- orders ------------------------------------------------------------------------------------------------------------


async def obedient(plane: ControlPlane, member: str, outcome: Outcome) -> str:
    async with aclosing(plane.commands.watch(member)) as orders:  # type: ignore[type-var]
        order = await anext(orders)
        await plane.commands.answer(member, Result(id=order.id, outcome=outcome, message="said"))
    return f"{order.kind.value} {order.tenant}/{order.session} by {order.by}"


@pytest.mark.parametrize("verb", ["cancel", "close", "migrate", "debug"])
def test_an_order_about_a_session_reaches_its_worker_and_comes_back(tmp_path: Path, verb: str) -> None:
    async def main() -> None:
        plane = await served(tmp_path)
        await Leases(plane.store, "w-eu").acquire(Lease(tenant_id="acme", session_id="s-1", owner="w-eu"))
        obeying = asyncio.create_task(obedient(plane, "w-eu", Outcome.REFUSED))
        done = await asked(plane, f"sessions.{verb}", tenant="acme", session="s-1", reason="r")
        assert (done.outcome, done.message) == (Outcome.REFUSED, "said")
        assert await obeying == f"{verb} acme/s-1 by {ROOT.id}"
        with pytest.raises(PeerFault, match="command_unanswered"):
            await asked(plane, f"sessions.{verb}", tenant="acme", session="s-1", reason="r", within_ms=100)

    asyncio.run(main())


def test_a_session_whose_worker_is_gone_is_closed_by_withdrawing_its_authority(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await served(tmp_path)
        await Leases(plane.store, "w-eu").acquire(Lease(tenant_id="acme", session_id="s-1", owner="w-eu"))
        await asked(plane, "workers.fence", worker="w-eu", reason="dead")
        assert (await asked(plane, "workers.show", worker="w-eu")).state is MemberState.LOST
        done = await asked(plane, "sessions.close", tenant="acme", session="s-1", reason="r")
        assert done.outcome is Outcome.DONE
        shown = await asked(plane, "sessions.show", tenant="acme", session="s-1")
        assert (shown.session.state, shown.session.reason) == (LeaseState.REVOKED, "r")
        for verb in ("cancel", "close", "migrate", "revoke"):
            with pytest.raises(PeerFault, match="session_over"):
                await asked(plane, f"sessions.{verb}", tenant="acme", session="s-1", reason="r")
        with pytest.raises(PeerFault, match="worker_gone"):
            await asked(plane, "workers.drain", worker="w-eu", reason="r")

    asyncio.run(main())


def test_sessions_are_listed_in_pages_without_what_opens_them(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await plane_in(tmp_path)
        leases = Leases(plane.store, "w-1")
        for number in range(5):
            name = f"s-{number}"
            await leases.acquire(
                Lease(
                    tenant_id="acme", session_id=name, owner="w-1", resume_hash=hash_of("x"), token_id="jti-1"
                )
            )
        await Leases(plane.store, "w-2").acquire(Lease(tenant_id="bolt", session_id="s-9", owner=""))
        first = await asked(plane, "sessions.list", tenant="acme", limit=3)
        second = await asked(plane, "sessions.list", tenant="acme", limit=3, after=first.next)
        assert [one.session for one in (*first.items, *second.items)] == [f"s-{n}" for n in range(5)]
        assert second.next is None
        everything = await asked(plane, "sessions.list")
        assert len(everything.items) == 6
        assert [one.session for one in (await asked(plane, "sessions.list", worker="w-2")).items] == ["s-9"]
        text = msgspec.json.encode(everything).decode()
        assert hash_of("x") not in text
        assert "jti-1" not in text

    asyncio.run(main())


# ---- people --------------------------------------------------------------------------------------------------------------


def test_a_tenants_admin_gives_no_token_to_who_has_more_than_the_tenant(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await plane_in(tmp_path)
        ann = Principal(id="ann", roles={"acme": (Role.ADMIN,)})
        for tenant in ("acme", "bolt"):
            await asked(plane, "principals.grant", tenant=tenant, principal="both", role="viewer", reason="r")
        said: dict[str, Any] = {"tenant": "acme", "principal": "own", "role": "operator", "reason": "r"}
        granted = await asked(plane, "principals.grant", ann, **said)
        assert granted.roles == {"acme": (Role.OPERATOR,)}
        assert (await asked(plane, "principals.token", ann, principal="own", tenant="acme")).token
        for name in ("both", "nobody"):
            with pytest.raises(NotFound):
                await asked(plane, "principals.token", ann, principal=name, tenant="acme")
        with pytest.raises(PeerFault, match="permission_denied"):
            await asked(plane, "principals.token", ann, principal="own")
        shown = await asked(plane, "principals.show", ann, principal="both", tenant="acme")
        assert shown.roles == {"acme": (Role.VIEWER,)}

    asyncio.run(main())


def test_without_a_folder_of_keys_everything_works_but_what_is_signed() -> None:
    async def main() -> None:
        plane = ControlPlane(MemoryStore())
        await plane.principals.first_admin("ada", "test")
        assert (await asked(plane, "fleet.status")).ready
        with pytest.raises(MisuseError, match="key_missing"):
            await asked(plane, "principals.token", principal="ada")
        with pytest.raises(MisuseError, match="key_missing"):
            await asked(plane, "keys.rotate", reason="r")

    asyncio.run(main())


# ---- quotas ----------------------------------------------------------------------------------------------------------------


def test_a_quota_that_is_set_is_what_admission_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await plane_in(tmp_path)
        limits = Limits(plane.store)
        with pytest.raises(PeerFault, match="quotas_unknown"):
            limits.of("acme")
        await limits.load()
        assert limits.of("acme") == limits.of(None) == UNLIMITED
        each: Mapping[str, Any] = {"sessions": {"most": 3}}
        await asked(plane, "quotas.set", tenant="*", limits={"sessions": {"most": 9}}, each=each, reason="r")
        await asked(plane, "quotas.set", tenant="acme", limits={"sessions": {"most": 5}}, reason="r")
        await limits.load()
        assert [limits.of(one).sessions.most for one in (None, "acme", "bolt")] == [9, 5, 3]
        shown = await asked(plane, "quotas.show", tenant="bolt")
        assert (shown.own, shown.limits.sessions.most) == (False, 3)
        with pytest.raises(MisuseError, match="quota_invalid"):
            await asked(plane, "quotas.set", tenant="acme", limits={}, each=each, reason="r")
        await plane.store.put(CONFIG, "quota/acme", b"{}")
        await limits.load()
        assert limits.of("acme").sessions.most == 5  # what was known goes on
        with pytest.raises(PeerFault, match="document_corrupt"):
            await asked(plane, "quotas.show", tenant="acme")
        fresh = Limits(plane.store)
        await fresh.load()
        with pytest.raises(PeerFault, match="quotas_unknown"):
            fresh.of("acme")  # bytes that are no quota lift none
        assert fresh.of("bolt").sessions.most == 3
        await plane.store.delete(CONFIG, "quota/acme")
        for one in (limits, fresh):
            await one.load()
            assert one.of("acme").sessions.most == 3  # a quota that is gone is forgotten
        await plane.store.put(CONFIG, key("quota", EVERYWHERE), b"{}")
        await limits.load()
        assert limits.of(None).sessions.most == 9
        later = Limits(plane.store)
        await later.load()
        for tenant in (None, "bolt"):
            with pytest.raises(PeerFault, match="quotas_unknown"):
                later.of(tenant)

    asyncio.run(main())


def test_quotas_are_followed_and_one_that_is_gone_is_forgotten_though_no_watch_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rspp.control.intake.limits.RELOAD_S", 0.02)

    async def main() -> None:
        plane = await plane_in(tmp_path)
        following = asyncio.create_task(plane.limits.run())

        async def until(most: int | None) -> None:
            async with asyncio.timeout(5):
                while True:
                    try:
                        if plane.limits.of("acme").sessions.most == most:
                            return
                    except PeerFault:
                        pass
                    await asyncio.sleep(0.005)

        await until(UNLIMITED.sessions.most)
        await asked(plane, "quotas.set", tenant="acme", limits={"sessions": {"most": 5}}, reason="r")
        await until(5)
        await plane.store.delete(CONFIG, "quota/acme")
        await until(UNLIMITED.sessions.most)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(main())


def test_keys_are_rotated_and_revoked_on_record_once(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await plane_in(tmp_path)
        made = await asked(plane, "keys.rotate", reason="monthly", at_once=True)
        await asked(plane, "keys.revoke", key=made.key, reason="stolen")
        for action, reason in (("keys.rotate", "monthly"), ("keys.revoke", "stolen")):
            listed = await asked(plane, "audit.list", action=action)
            told = [one.decision for one in listed.items if one.reason == reason]
            assert told == ["done", "allow"], action

    asyncio.run(main())


def test_what_is_wrong_in_the_store_is_told_and_not_served(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await served(tmp_path)
        await plane.store.put(MEMBERS, "broken", b"{")
        listed = await asked(plane, "workers.list")
        assert [one.worker for one in listed.items] == ["w-eu", "w-us"]
        await plane.store.put(CONFIG, "rollout/voice", b"{")
        with pytest.raises(RsppError, match="document_corrupt"):
            await asked(plane, "rollout.show", pipeline="voice")

    asyncio.run(main())


def test_a_page_of_no_size_or_too_large_is_refused(tmp_path: Path) -> None:
    operation = operation_named("sessions.list")
    for limit in (0, -1, 1_001):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"limit": limit}, operation.request)
