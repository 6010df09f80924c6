"""The principals that a control plane knows, and who is calling: a token says the name, the store says the roles, each time anew.

    bucket `principals`    one record each, by name

A role that was taken away is refused on the next call, wherever it comes in, because the record is read for every call;
when it cannot be read, the call is refused. A principal that was removed stays as a record without roles, so that its old
tokens do not come back to life with a later one of the same name.

Nobody gives what they have not: who may change roles in a tenant changes them there and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError, PeerFault
from rspp.contract.event import NS_PER_MS
from rspp.control.records import Records
from rspp.control.security.audit import Audit
from rspp.control.security.roles import (
    EVERYWHERE,
    FLEET,
    TABLE,
    Permission,
    Principal,
    Role,
    allowed,
    is_admin_everywhere,
    principal_name,
    role_named,
    tenant_name,
    with_role,
    without_role,
)
from rspp.control.security.tokens import PRINCIPAL, Claims, TokenRefused, Verifier
from rspp.host.clock import MachineClock
from rspp.host.ports import Clock, Store

__all__ = [
    "EVERYWHERE",
    "FLEET",
    "TABLE",
    "Authenticator",
    "Permission",
    "Principal",
    "Principals",
    "Role",
    "allowed",
    "role_named",
]

PRINCIPALS: Final = "principals"
LISTED_MAX: Final = 10_000


class PrincipalRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A principal as it is kept. Tokens of before `tokens_from_ms` are not taken."""

    id: str
    roles: dict[str, tuple[Role, ...]] = {}
    removed: bool = False
    created_at_ms: int
    changed_at_ms: int
    tokens_from_ms: int

    @property
    def principal(self) -> Principal:
        return Principal(id=self.id, roles=self.roles)


class Principals:
    """Who is known, and with which roles. Each change is checked against who asks, and is on record before it is made."""

    def __init__(self, store: Store, audit: Audit, clock: Clock | None = None) -> None:
        self._records = Records(store, PRINCIPALS)
        self._audit = audit
        self._clock: Clock = clock or MachineClock()

    # ---- read ------------------------------------------------------------------------------------------------------

    async def get(self, principal_id: str) -> PrincipalRecord | None:
        """As the store has it now; None for one that is unknown or was removed."""
        record, _ = await self._records.read(principal_name(principal_id), PrincipalRecord)
        return None if record is None or record.removed else record

    async def list(self, tenant_id: str | None = None) -> list[Principal]:
        """All, or those with a role in this tenant, and then with nothing of their roles elsewhere."""
        found = []
        for one in await self._everybody():
            if tenant_id is None:
                found.append(one)
            elif roles := one.roles.get(tenant_id):
                found.append(Principal(id=one.id, roles={tenant_id: roles}))
        return found[:LISTED_MAX]

    async def _everybody(self) -> tuple[Principal, ...]:
        """Without a bound: whoever looks for the last admin must not miss one because there are many."""
        names = await self._records.store.keys(PRINCIPALS)
        found = [await self.get(name) for name in names]
        return tuple(record.principal for record in found if record is not None)

    # ---- change ----------------------------------------------------------------------------------------------------

    async def first_admin(self, principal_id: str, by: str) -> Principal:
        """One with every permission, asked for at the machine itself; raises `MisuseError` if there is one already."""
        name = principal_name(principal_id)
        if any(map(is_admin_everywhere, await self._everybody())):
            raise MisuseError("control_already_begun", "there is an admin already, who can grant roles")

        def decide(old: PrincipalRecord | None) -> PrincipalRecord:
            record = self._created(name, old) if old is None or old.removed else old
            return self._with(record, with_role(record.principal, EVERYWHERE, Role.ADMIN))

        return await self._change(by, "roles.begin", name, EVERYWHERE, Role.ADMIN, decide)

    async def add(self, by: Principal, principal_id: str, reason: str = "") -> Principal:
        """A principal without any role yet."""
        name = principal_name(principal_id)
        await self._may(by, "roles.add", _anywhere(by), name)
        decide = partial(self._created, name)
        return await self._change(by.id, "roles.add", name, None, None, decide, reason)

    async def grant(
        self, by: Principal, principal_id: str, tenant_id: str, role: Role, reason: str = ""
    ) -> Principal:
        """The role in this tenant, or everywhere (`*`)."""
        name, tenant = principal_name(principal_id), tenant_name(tenant_id)
        await self._may(by, "roles.grant", tenant, name)

        def decide(old: PrincipalRecord | None) -> PrincipalRecord:
            known = _known(old)
            return self._with(known, with_role(known.principal, tenant, role))

        return await self._change(by.id, "roles.grant", name, tenant, role, decide, reason)

    async def revoke(
        self, by: Principal, principal_id: str, tenant_id: str, role: Role, reason: str = ""
    ) -> Principal:
        """Without the role from the next call on."""
        name, tenant = principal_name(principal_id), tenant_name(tenant_id)
        await self._may(by, "roles.revoke", tenant, name)
        if tenant == EVERYWHERE and role is Role.ADMIN:
            await self._not_the_last(name)

        def decide(old: PrincipalRecord | None) -> PrincipalRecord:
            known = _known(old)
            return self._with(known, without_role(known.principal, tenant, role))

        done = await self._change(by.id, "roles.revoke", name, tenant, role, decide, reason)
        if tenant == EVERYWHERE and role is Role.ADMIN:
            await self._not_the_last_any_more(by, name)
        return done

    async def remove(self, by: Principal, principal_id: str, reason: str = "") -> None:
        """Unknown from the next call on, and its tokens with it."""
        name = principal_name(principal_id)
        await self._may(by, "roles.remove", EVERYWHERE, name)
        await self._not_the_last(name)
        now = self._now_ms()

        def decide(old: PrincipalRecord | None) -> PrincipalRecord:
            return msgspec.structs.replace(_known(old), roles={}, removed=True, changed_at_ms=now)

        await self._change(by.id, "roles.remove", name, None, None, decide, reason)
        await self._not_the_last_any_more(by, name)

    async def withdraw_tokens(self, by: Principal, principal_id: str, reason: str = "") -> None:
        """All tokens that the principal has had so far are refused; it keeps its roles."""
        name = principal_name(principal_id)
        if name != by.id:
            await self._may(by, "roles.withdraw_tokens", EVERYWHERE, name)
        now = self._now_ms()

        def decide(old: PrincipalRecord | None) -> PrincipalRecord:
            known = _known(old)
            since = max(known.tokens_from_ms, now + 1)  # a clock that was put back withdraws nothing less
            return msgspec.structs.replace(known, tokens_from_ms=since, changed_at_ms=now)

        await self._change(by.id, "roles.withdraw_tokens", name, None, None, decide, reason)

    # ---- how -------------------------------------------------------------------------------------------------------

    async def _may(self, by: Principal, action: str, tenant: str | None, about: str) -> None:
        """Whoever may not is on record, and refused."""
        if allowed(by, Permission.ROLES_CHANGE, tenant):
            return
        await self._audit.denied(by.id, action, tenant, "permission_denied", {"principal": about})
        raise PeerFault(
            "permission_denied", f"this needs the permission {Permission.ROLES_CHANGE.value} there"
        )

    async def _not_the_last(self, name: str) -> None:
        admins = [one.id for one in await self._everybody() if is_admin_everywhere(one)]
        if admins == [name]:
            raise _last_admin()

    async def _not_the_last_any_more(self, by: Principal, name: str) -> None:
        """Of admins who remove each other at the same moment whoever looks last puts one back.

        Each looks after it has written, so one at least sees that nobody is left. Should that one crash before it has
        mended it, `rspp control init` begins anew.
        """
        if any(map(is_admin_everywhere, await self._everybody())):
            return

        def decide(old: PrincipalRecord | None) -> PrincipalRecord:
            assert old is not None, "records of principals are never deleted"
            here = msgspec.structs.replace(old, removed=False)
            return self._with(here, with_role(here.principal, EVERYWHERE, Role.ADMIN))

        why = "nobody else was left to change roles"
        await self._change(by.id, "roles.restore", name, EVERYWHERE, Role.ADMIN, decide, why)
        raise _last_admin()

    async def _change(
        self,
        by: str,
        action: str,
        name: str,
        tenant: str | None,
        role: Role | None,
        decide: Callable[[PrincipalRecord | None], PrincipalRecord],
        reason: str = "",
    ) -> Principal:
        facts = {"principal": name} | ({} if role is None else {"role": role.value})
        async with self._audit.change(by, action, tenant, reason, facts):
            return (await self._records.change(name, PrincipalRecord, decide)).principal

    def _created(self, name: str, old: PrincipalRecord | None) -> PrincipalRecord:
        if old is not None and not old.removed:
            raise MisuseError("principal_exists", "there is a principal of this name")
        now = self._now_ms()
        # Tokens of a former principal of this name stay refused.
        since = 0 if old is None else max(now, old.changed_at_ms) + 1
        return PrincipalRecord(id=name, created_at_ms=now, changed_at_ms=now, tokens_from_ms=since)

    def _with(self, record: PrincipalRecord, principal: Principal) -> PrincipalRecord:
        if principal.roles == record.roles:
            return record
        return msgspec.structs.replace(record, roles=principal.roles, changed_at_ms=self._now_ms())

    def _now_ms(self) -> int:
        return self._clock.wall() // NS_PER_MS


class Authenticator:
    """A bearer token becomes the principal that it names, with the roles of this moment."""

    def __init__(
        self, verifier: Verifier, principals: Principals, audience: str, clock: Clock | None = None
    ) -> None:
        self._verifier = verifier
        self._principals = principals
        self._audience = audience
        self._clock: Clock = clock or MachineClock()

    async def principal(self, token: str | None) -> Principal:
        """Raises `TokenRefused`, whose code is for the log, or what the store raises: then nobody is known."""
        claims = self._claims(token)
        try:
            record = await self._principals.get(claims.sub)
        except MisuseError as error:
            raise TokenRefused("principal_unknown") from error
        if record is None:
            raise TokenRefused("principal_unknown")
        if claims.iat_ms < record.tokens_from_ms:
            raise TokenRefused("token_withdrawn")
        return record.principal

    def _claims(self, token: str | None) -> Claims:
        now_ms = self._clock.wall() // NS_PER_MS
        return self._verifier.verify(token, kind=PRINCIPAL, audience=self._audience, now_ms=now_ms)


def _last_admin() -> MisuseError:
    return MisuseError("principal_last_admin", "nobody else may change roles; make another admin first")


def _known(old: PrincipalRecord | None) -> PrincipalRecord:
    if old is None or old.removed:
        raise PeerFault("principal_unknown", "there is no principal of this name")
    return old


def _anywhere(by: Principal) -> str | None:
    """A tenant where this one may change roles: whoever may somewhere may make a principal known."""
    if allowed(by, Permission.ROLES_CHANGE, None):
        return None
    own = (tenant for tenant in sorted(by.roles) if allowed(by, Permission.ROLES_CHANGE, tenant))
    return next(own, None)
