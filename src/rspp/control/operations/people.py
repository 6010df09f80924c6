"""Principals: who is known, with which roles where, and the tokens by which they come.

Who may change roles in one tenant sees and changes them there, and learns nothing of what a principal is elsewhere: to grant
a role to a name makes it known if it was not, and the answer is the same in both cases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from rspp.control.operations.operation import Done, NotFound, Operation, Request, Response
from rspp.control.operations.words import Reason
from rspp.control.security.principals import PrincipalRecord
from rspp.control.security.roles import EVERYWHERE, Permission, Principal, Role
from rspp.control.security.tokens import LIFETIMES_MS_MAX, PRINCIPAL, Claims, new_jti

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

TOKEN_MS: Final = 3_600_000
TOKEN_MS_MAX: Final = LIFETIMES_MS_MAX[PRINCIPAL]

PrincipalName = Annotated[str, Meta(min_length=1, max_length=128, description="The principal's name.")]
Where = Annotated[str, Meta(min_length=1, max_length=200, description="In which tenant; * is everywhere.")]
Somewhere = Annotated[str, Meta(description="Only of this tenant; without it, all.")]


class ListPrincipals(Request, frozen=True, kw_only=True):
    tenant: Somewhere | None = None


class NamePrincipal(Request, frozen=True, kw_only=True):
    principal: PrincipalName
    tenant: Somewhere | None = None


class ChangeRole(Request, frozen=True, kw_only=True):
    tenant: Where
    principal: PrincipalName
    role: Annotated[Role, Meta(description="viewer sees, operator runs, admin changes the rules.")]
    reason: Reason


class RemovePrincipal(Request, frozen=True, kw_only=True):
    principal: PrincipalName
    reason: Reason


class IssueToken(Request, frozen=True, kw_only=True):
    principal: PrincipalName
    tenant: (
        Annotated[str, Meta(description="For a principal of this tenant alone; without it, for any.")] | None
    ) = None
    ttl_ms: Annotated[
        int, Meta(ge=60_000, le=TOKEN_MS_MAX, description="For how long it is taken, in milliseconds.")
    ] = TOKEN_MS


class PrincipalItem(Response, frozen=True, kw_only=True):
    principal: str
    roles: dict[str, tuple[Role, ...]]


class PrincipalList(Response, frozen=True, kw_only=True):
    items: list[PrincipalItem]


class IssuedToken(Response, frozen=True, kw_only=True):
    """The token is told this once, and kept nowhere."""

    principal: str
    token: str
    expires_at_ms: int


def _item(principal: Principal, tenant: str | None) -> PrincipalItem:
    """As far as who asks may see."""
    roles = principal.roles
    if tenant is not None and tenant != EVERYWHERE:
        roles = {tenant: roles[tenant]} if tenant in roles else {}
    return PrincipalItem(principal=principal.id, roles=roles)


async def list_principals(plane: ControlPlane, _: Principal, asked: ListPrincipals) -> PrincipalList:
    return PrincipalList(
        items=[_item(one, asked.tenant) for one in await plane.principals.list(asked.tenant)]
    )


async def show(plane: ControlPlane, _: Principal, asked: NamePrincipal) -> PrincipalItem:
    return _item((await _record(plane, asked.principal, asked.tenant)).principal, asked.tenant)


async def _record(plane: ControlPlane, name: str, tenant: str | None) -> PrincipalRecord:
    """A principal, if it has to do with the tenant; what is known elsewhere alone is not known here."""
    record = await plane.principals.get(name)
    if record is None or (tenant is not None and tenant not in record.roles):
        raise NotFound
    return record


async def grant(plane: ControlPlane, by: Principal, asked: ChangeRole) -> PrincipalItem:
    if await plane.principals.get(asked.principal) is None:
        await plane.principals.add(by, asked.principal, asked.reason)
    done = await plane.principals.grant(by, asked.principal, asked.tenant, asked.role, asked.reason)
    return _item(done, asked.tenant)


async def revoke(plane: ControlPlane, by: Principal, asked: ChangeRole) -> PrincipalItem:
    await _record(plane, asked.principal, asked.tenant)
    done = await plane.principals.revoke(by, asked.principal, asked.tenant, asked.role, asked.reason)
    return _item(done, asked.tenant)


async def remove(plane: ControlPlane, by: Principal, asked: RemovePrincipal) -> Done:
    await _record(plane, asked.principal, None)
    await plane.principals.remove(by, asked.principal, asked.reason)
    return Done(done=asked.principal)


async def withdraw(plane: ControlPlane, by: Principal, asked: RemovePrincipal) -> Done:
    await _record(plane, asked.principal, None)
    await plane.principals.withdraw_tokens(by, asked.principal, asked.reason)
    return Done(done=asked.principal)


async def issue(plane: ControlPlane, _: Principal, asked: IssueToken) -> IssuedToken:
    """A token is as strong as its principal, so who has one tenant's say gives none to a principal of several."""
    record = await _record(plane, asked.principal, asked.tenant)
    if asked.tenant is not None and set(record.roles) != {asked.tenant}:
        raise NotFound
    return token_for(plane, asked.principal, asked.ttl_ms)


def token_for(plane: ControlPlane, principal_id: str, ttl_ms: int = TOKEN_MS) -> IssuedToken:
    """A principal's token, from now on; not before the principal itself, whose time may be a moment ahead."""
    now_ms = plane.wall_ms() + 1
    claims = Claims(
        kind=PRINCIPAL,
        sub=principal_id,
        aud=plane.audience,
        jti=new_jti(),
        iat_ms=now_ms,
        exp_ms=now_ms + ttl_ms,
    )
    return IssuedToken(principal=principal_id, token=plane.signer.sign(claims), expires_at_ms=claims.exp_ms)


_ONE: Final = "/v1/principals/{principal}"
_GRANT: Final = {"principal": "ci@acme", "tenant": "acme", "role": "operator", "reason": "runs the rollouts"}

# Roles are on record by the class that changes them, so these rows do not write it down a second time.
PEOPLE: Final = (
    Operation(
        name="principals.list",
        method="GET",
        path="/v1/principals",
        request=ListPrincipals,
        response=PrincipalList,
        permission=Permission.ROLES_READ,
        handler=list_principals,
        summary="List the principals with their roles, of one tenant or of all.",
        example={"tenant": "acme"},
    ),
    Operation(
        name="principals.show",
        method="GET",
        path=_ONE,
        request=NamePrincipal,
        response=PrincipalItem,
        permission=Permission.ROLES_READ,
        handler=show,
        summary="Show a principal's roles.",
        example={"principal": "ci@acme", "tenant": "acme"},
    ),
    Operation(
        name="principals.grant",
        method="POST",
        path=f"{_ONE}/grant",
        request=ChangeRole,
        response=PrincipalItem,
        permission=Permission.ROLES_CHANGE,
        handler=grant,
        summary="Grant a role in a tenant, or everywhere; a new name becomes known by it.",
        example=_GRANT,
        audited=False,
        idempotent=True,
    ),
    Operation(
        name="principals.revoke",
        method="POST",
        path=f"{_ONE}/revoke",
        request=ChangeRole,
        response=PrincipalItem,
        permission=Permission.ROLES_CHANGE,
        handler=revoke,
        summary="Take a role away; the next call is refused already.",
        example=_GRANT,
        audited=False,
        idempotent=True,
    ),
    Operation(
        name="principals.remove",
        method="POST",
        path=f"{_ONE}/remove",
        request=RemovePrincipal,
        response=Done,
        permission=Permission.ROLES_CHANGE,
        handler=remove,
        summary="Forget a principal; its tokens are worth nothing from then on.",
        example={"principal": "ci@acme", "reason": "replaced"},
        audited=False,
    ),
    Operation(
        name="principals.withdraw_tokens",
        method="POST",
        path=f"{_ONE}/withdraw-tokens",
        request=RemovePrincipal,
        response=Done,
        permission=Permission.ROLES_CHANGE,
        handler=withdraw,
        summary="Refuse all tokens that a principal has had so far; it keeps its roles.",
        example={"principal": "ci@acme", "reason": "a laptop was lost"},
        audited=False,
        idempotent=True,
    ),
    Operation(
        name="principals.token",
        method="POST",
        path=f"{_ONE}/tokens",
        request=IssueToken,
        response=IssuedToken,
        permission=Permission.TOKENS_ISSUE,
        handler=issue,
        summary="Sign a token by which a principal comes; it is told once, and kept nowhere.",
        example={"principal": "ci@acme", "tenant": "acme", "ttl_ms": 3_600_000},
    ),
)
