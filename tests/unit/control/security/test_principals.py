"""Who may do what is what the table says, for this tenant and at this moment, and a refusal is on record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.control.security.principals import (
    EVERYWHERE,
    FLEET,
    PRINCIPALS,
    TABLE,
    Authenticator,
    Permission,
    Principal,
    Principals,
    Role,
    allowed,
)
from rspp.control.security.tokens import TokenRefused, Verifier, new_jti
from tests.unit.control.ruled import Ruled
from tests.unit.control.signed import claims

ROOT = Principal(id="root", roles={EVERYWHERE: (Role.ADMIN,)})
CONTROL = "rspp-control"


def with_roles(**roles: Role) -> Principal:
    return Principal(id="p", roles={tenant: (role,) for tenant, role in roles.items()})


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("permission", list(Permission))
def test_every_role_may_what_the_table_says_in_its_tenant_and_nothing_elsewhere(
    role: Role, permission: Permission
) -> None:
    declared = permission in TABLE[role]
    everywhere = Principal(id="p", roles={EVERYWHERE: (role,)})
    assert allowed(everywhere, permission, None) == declared
    assert allowed(everywhere, permission, EVERYWHERE) == declared
    assert allowed(everywhere, permission, "acme") == declared
    inside = with_roles(acme=role)
    assert allowed(inside, permission, "acme") == (declared and permission not in FLEET)
    for other in (None, EVERYWHERE, "", "acme2", "ACME", "acme/", "acm"):
        assert not allowed(inside, permission, other)
    assert not allowed(Principal(id="p"), permission, "acme")
    assert not allowed(Principal(id="p"), permission, None)


def test_roles_grow_and_the_viewer_changes_nothing() -> None:
    assert TABLE[Role.VIEWER] < TABLE[Role.OPERATOR] < TABLE[Role.ADMIN] == frozenset(Permission)
    assert all(permission.endswith(".read") for permission in TABLE[Role.VIEWER])
    secret = {Permission.AUDIT_READ, Permission.ROLES_READ, Permission.KEYS_READ}
    assert not secret & TABLE[Role.VIEWER]
    assert not any("audit" in one and one not in ("audit.read", "audit.export") for one in Permission)


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_a_tenant_of_another_name_is_another_tenant(one: str, other: str) -> None:
    if one not in (other, EVERYWHERE):
        principal = Principal(id="p", roles={one: (Role.ADMIN,)})
        assert not allowed(principal, Permission.SESSIONS_READ, other)


class Known:
    """Principals over a store, and tokens for them."""

    def __init__(self, ruled: Ruled) -> None:
        self.ruled = ruled
        self.principals = Principals(ruled.store, ruled.audit, ruled.clock)
        self.door = Authenticator(Verifier(ruled.ring), self.principals, CONTROL, ruled.clock)

    def token(self, name: str, **changes: Any) -> str:
        now = self.ruled.now_ms
        given = {"kind": "principal", "sub": name, "aud": CONTROL, "jti": new_jti(), "tenant_id": ""}
        times = {"iat_ms": now, "exp_ms": now + 10_000}
        return self.ruled.signer.sign(claims(**{**given, **times, **changes}))

    async def refused(self, token: str | None) -> str:
        with pytest.raises(TokenRefused) as error:
            await self.door.principal(token)
        assert error.value.outward == "unauthenticated"
        return error.value.code


def known(tmp_path: Path, body: Callable[[Known], Awaitable[None]]) -> None:
    async def main() -> None:
        await body(Known(await Ruled(tmp_path).begin()))

    asyncio.run(main())


async def fails(code: str, work: Awaitable[object]) -> None:
    with pytest.raises(RsppError) as error:
        await work
    assert error.value.code == code


def test_a_role_that_is_taken_away_is_gone_on_the_next_call_and_one_that_is_given_is_there(
    tmp_path: Path,
) -> None:
    async def body(own: Known) -> None:
        people = own.principals
        await people.first_admin("root", "os:me")
        await people.add(ROOT, "ann")
        token = own.token("ann")  # the same one all the time: it says nothing of roles
        may = Permission.ROLLOUT_CHANGE

        async def is_allowed() -> bool:
            # Another control process: nothing of what the first one knows is asked.
            there = Principals(own.ruled.store, own.ruled.audit, own.ruled.clock)
            door = Authenticator(Verifier(own.ruled.ring), there, CONTROL, own.ruled.clock)
            return allowed(await door.principal(token), may, "acme")

        assert not await is_allowed()
        await people.grant(ROOT, "ann", "acme", Role.OPERATOR)
        assert await is_allowed()
        await people.revoke(ROOT, "ann", "acme", Role.OPERATOR, "left the team")
        assert not await is_allowed()
        await people.grant(ROOT, "ann", EVERYWHERE, Role.ADMIN)
        assert await is_allowed()
        await people.remove(ROOT, "ann")
        assert await own.refused(token) == "principal_unknown"
        # One of the same name who comes later does not inherit the token.
        own.ruled.clock.advance(1)
        await people.add(ROOT, "ann")
        assert await own.refused(token) == "token_withdrawn"
        own.ruled.clock.advance(5)
        assert (await own.door.principal(own.token("ann"))).roles == {}

    known(tmp_path, body)


def test_no_claim_of_a_token_gives_a_role_and_route_tokens_open_no_door_here(tmp_path: Path) -> None:
    async def body(own: Known) -> None:
        await own.principals.add(ROOT, "ann")
        assert (await own.door.principal(own.token("ann", tenant_id="acme"))).roles == {}
        assert await own.refused(own.token("nobody")) == "principal_unknown"
        assert await own.refused(own.token("../ann")) == "principal_unknown"
        assert await own.refused(own.token("ann", kind="route", tenant_id="acme")) == "token_kind_wrong"
        assert await own.refused(own.token("ann", aud="rspp-worker")) == "token_audience_wrong"
        assert await own.refused(None) == "token_missing"
        token = own.token("ann")
        await own.principals.withdraw_tokens(ROOT, "ann")
        assert await own.refused(token) == "token_withdrawn"

    known(tmp_path, body)


def test_who_may_not_change_roles_changes_none_and_each_try_is_on_record(tmp_path: Path) -> None:
    async def body(own: Known) -> None:
        people = own.principals
        await people.add(ROOT, "ann")
        await people.grant(ROOT, "ann", "acme", Role.VIEWER)
        tries = 0
        for by in (
            Principal(id="nobody"),
            Principal(id="viewer", roles={EVERYWHERE: (Role.VIEWER,)}),
            Principal(id="operator", roles={EVERYWHERE: (Role.OPERATOR,)}),
            Principal(id="other", roles={"other": (Role.ADMIN,)}),
        ):
            asked: list[Awaitable[object]] = [
                people.grant(by, "ann", "acme", Role.ADMIN),
                people.grant(by, by.id, EVERYWHERE, Role.ADMIN),
                people.revoke(by, "ann", "acme", Role.VIEWER),
                people.remove(by, "ann"),
                people.withdraw_tokens(by, "ann"),
            ]
            for work in asked:
                await fails("permission_denied", work)
            tries += len(asked)
        denied = [entry for entry in await own.ruled.on_record() if entry.record.decision == "deny"]
        assert len(denied) == tries
        assert (await people.get("ann")).principal.roles == {"acme": (Role.VIEWER,)}  # type: ignore[union-attr]

    known(tmp_path, body)


def test_an_admin_of_a_tenant_gives_roles_there_and_nowhere_else(tmp_path: Path) -> None:
    async def body(own: Known) -> None:
        people = own.principals
        boss = with_roles(acme=Role.ADMIN)
        await people.add(boss, "ben")
        await people.grant(boss, "ben", "acme", Role.ADMIN)
        for tenant in ("other", EVERYWHERE):
            await fails("permission_denied", people.grant(boss, "ben", tenant, Role.VIEWER))
        await people.grant(ROOT, "ben", "other", Role.VIEWER)
        # Of principals it sees those with roles in its tenant, and nothing of their others.
        assert [one.roles for one in await people.list("acme")] == [{"acme": (Role.ADMIN,)}]
        await fails("permission_denied", people.remove(boss, "ben"))

    known(tmp_path, body)


def test_the_first_admin_is_made_once_and_the_last_one_stays(tmp_path: Path) -> None:
    async def body(own: Known) -> None:
        people = own.principals
        admin = await people.first_admin("root", "os:me")
        assert admin.roles == {EVERYWHERE: (Role.ADMIN,)}
        await fails("control_already_begun", people.first_admin("second", "os:me"))
        await fails("principal_last_admin", people.revoke(admin, "root", EVERYWHERE, Role.ADMIN))
        await fails("principal_last_admin", people.remove(admin, "root"))
        await people.add(admin, "two")
        await people.grant(admin, "two", EVERYWHERE, Role.ADMIN)
        await people.remove(admin, "root")
        assert [one.id for one in await people.list()] == ["two"]

    known(tmp_path, body)


@pytest.mark.parametrize("how", ["remove", "revoke"])
def test_of_admins_who_remove_each_other_at_the_same_moment_one_stays(tmp_path: Path, how: str) -> None:
    async def body(own: Known) -> None:
        people = own.principals
        await people.first_admin("ann", "os:me")
        for name in ("ben", "cem"):
            await people.add(ROOT, name)
            await people.grant(ROOT, name, EVERYWHERE, Role.ADMIN)

        def gone(by: str, name: str) -> Awaitable[object]:
            admin = Principal(id=by, roles=ROOT.roles)
            if how == "remove":
                return people.remove(admin, name)
            return people.revoke(admin, name, EVERYWHERE, Role.ADMIN)

        circle = (gone("ann", "ben"), gone("ben", "cem"), gone("cem", "ann"))
        ends = await asyncio.gather(*circle, return_exceptions=True)
        left = [one.id for one in await people.list() if Role.ADMIN in one.roles.get(EVERYWHERE, ())]
        refused = [end for end in ends if isinstance(end, MisuseError)]
        assert left
        assert [error.code for error in refused] == ["principal_last_admin"] * len(left)
        assert [said[0] for said in await own.ruled.said("roles.restore")] == ["allow", "done"] * len(left)

    known(tmp_path, body)


def test_no_admin_is_overlooked_because_there_are_many_principals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(own: Known) -> None:
        people = own.principals
        admin = await people.first_admin("zoe", "os:me")
        for name in "abcd":
            await people.add(admin, name)
        monkeypatch.setattr("rspp.control.security.principals.LISTED_MAX", 2)
        assert len(await people.list()) == 2
        await fails("control_already_begun", people.first_admin("second", "os:me"))
        await fails("principal_last_admin", people.remove(admin, "zoe"))

    known(tmp_path, body)


def test_a_withdrawal_at_a_clock_that_was_put_back_withdraws_nothing_less(tmp_path: Path) -> None:
    async def body(own: Known) -> None:
        people, clock = own.principals, own.ruled.clock
        admin = await people.first_admin("root", "os:me")
        token = own.token("root")
        await people.withdraw_tokens(admin, "root")
        clock._wall -= 60_000_000_000
        await people.withdraw_tokens(admin, "root")
        clock._wall += 60_000_000_000
        assert await own.refused(token) == "token_withdrawn"

    known(tmp_path, body)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "a" * 129, "ä", "a\n", "*", "a\x00"])
def test_what_cannot_be_a_name_is_refused(tmp_path: Path, name: str) -> None:
    async def body(own: Known) -> None:
        await fails("principal_invalid", own.principals.add(ROOT, name))
        await own.principals.add(ROOT, "ok")
        for tenant in ("", "a\nb", "x" * 201):
            await fails("principal_invalid", own.principals.grant(ROOT, "ok", tenant, Role.VIEWER))

    known(tmp_path, body)


def test_many_who_change_one_principal_lose_nothing_and_a_foreign_record_lets_nobody_in(
    tmp_path: Path,
) -> None:
    async def body(own: Known) -> None:
        people = own.principals
        await people.add(ROOT, "ann")
        await asyncio.gather(*(people.grant(ROOT, "ann", f"t{n}", Role.VIEWER) for n in range(8)))
        found = await people.get("ann")
        assert found is not None
        assert len(found.roles) == 8
        for data in (b"{}", b"\xff", b'{"id":"ann","roles":{"*":["root"]}}'):
            await own.ruled.store.put(PRINCIPALS, "ann", data)
            with pytest.raises(PeerFault) as error:
                await own.door.principal(own.token("ann"))
            assert error.value.code == "store_record_unusable"

    known(tmp_path, body)


def test_a_role_is_one_of_three_words() -> None:
    from rspp.control.security.principals import role_named

    assert role_named("viewer") is Role.VIEWER
    with pytest.raises(MisuseError):
        role_named("Admin")
