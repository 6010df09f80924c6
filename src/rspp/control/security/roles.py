"""Who may do what is one table of roles and permissions, and is looked up anew at each call: a role taken away is gone at once.

    viewer     sees what there is
    operator   runs it: sessions, rollouts, drains, quotas of what exists
    admin      all of it: rules, keys, roles

A principal has roles in tenants, or everywhere (`*`). Some permissions are the fleet's: whoever has them only in a tenant
does not have them. A token says who comes and never what they may.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError

EVERYWHERE: Final = "*"
PRINCIPAL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
TENANTS_MAX: Final = 1_000
TENANT_BYTES_MAX: Final = 200  # as in every key of the store


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Permission(StrEnum):
    """What may be allowed: a thing, and what is done with it."""

    PIPELINES_READ = "pipelines.read"
    PIPELINES_PUBLISH = "pipelines.publish"
    POLICIES_READ = "policies.read"
    POLICIES_PUBLISH = "policies.publish"
    POLICIES_ACTIVATE = "policies.activate"
    PROVIDERS_READ = "providers.read"
    PROVIDERS_PUBLISH = "providers.publish"
    PROVIDERS_ACTIVATE = "providers.activate"
    ROLLOUT_READ = "rollout.read"
    ROLLOUT_CHANGE = "rollout.change"
    QUOTAS_READ = "quotas.read"
    QUOTAS_CHANGE = "quotas.change"
    USAGE_READ = "usage.read"
    SESSIONS_READ = "sessions.read"
    SESSIONS_CANCEL = "sessions.cancel"
    SESSIONS_DEBUG = "sessions.debug"
    SESSIONS_MIGRATE = "sessions.migrate"
    WORKERS_READ = "workers.read"
    WORKERS_DRAIN = "workers.drain"
    REGIONS_READ = "regions.read"
    REGIONS_CHANGE = "regions.change"
    HEALTH_READ = "health.read"
    HEALTH_CHANGE = "health.change"
    ROUTES_CREATE = "routes.create"
    LEASES_REVOKE = "leases.revoke"
    KEYS_READ = "keys.read"
    KEYS_ROTATE = "keys.rotate"
    KEYS_REVOKE = "keys.revoke"
    TOKENS_ISSUE = "tokens.issue"
    ROLES_READ = "roles.read"
    ROLES_CHANGE = "roles.change"
    AUDIT_READ = "audit.read"
    AUDIT_EXPORT = "audit.export"
    APPROVALS_READ = "approvals.read"
    APPROVALS_REQUEST = "approvals.request"
    APPROVALS_DECIDE = "approvals.decide"
    APPROVALS_CHANGE = "approvals.change"
    RECORDINGS_DELETE = "recordings.delete"
    BACKUP_MAKE = "backup.make"
    BACKUP_RESTORE = "backup.restore"
    WORK_READ = "work.read"
    WORK_SIGNAL = "work.signal"


P = Permission
_SEES: Final = frozenset(
    {
        *(P.PIPELINES_READ, P.POLICIES_READ, P.PROVIDERS_READ, P.ROLLOUT_READ, P.QUOTAS_READ, P.USAGE_READ),
        *(P.SESSIONS_READ, P.WORKERS_READ, P.REGIONS_READ, P.HEALTH_READ, P.APPROVALS_READ),
        P.WORK_READ,
    }
)
_RUNS: Final = frozenset(
    {
        *(P.PIPELINES_PUBLISH, P.ROLLOUT_CHANGE, P.SESSIONS_CANCEL, P.SESSIONS_DEBUG, P.SESSIONS_MIGRATE),
        *(P.WORKERS_DRAIN, P.HEALTH_CHANGE, P.ROUTES_CREATE, P.APPROVALS_REQUEST, P.KEYS_READ),
        P.WORK_SIGNAL,
    }
)
TABLE: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.VIEWER: _SEES,
    Role.OPERATOR: _SEES | _RUNS,
    Role.ADMIN: frozenset(Permission),
}
# What concerns all tenants at once: a role in one tenant is not enough.
FLEET: Final = frozenset(
    {
        *(P.WORKERS_READ, P.WORKERS_DRAIN, P.REGIONS_CHANGE, P.HEALTH_CHANGE, P.KEYS_READ, P.KEYS_ROTATE),
        *(P.KEYS_REVOKE, P.AUDIT_EXPORT, P.APPROVALS_CHANGE, P.BACKUP_MAKE, P.BACKUP_RESTORE),
        *(P.RECORDINGS_DELETE, P.WORK_READ, P.WORK_SIGNAL),
    }
)


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody, or something, that the control plane knows, with its roles in tenants or everywhere (`*`)."""

    id: str
    roles: dict[str, tuple[Role, ...]] = {}


def allowed(principal: Principal, permission: Permission, tenant_id: str | None) -> bool:
    """Has the principal a role that allows this in the tenant? None is all tenants at once."""
    fleet = tenant_id is None or tenant_id == EVERYWHERE or permission in FLEET
    scopes = (EVERYWHERE,) if fleet else (EVERYWHERE, tenant_id)
    return any(permission in TABLE[role] for scope in scopes for role in principal.roles.get(scope or "", ()))


def is_admin_everywhere(principal: Principal) -> bool:
    return Role.ADMIN in principal.roles.get(EVERYWHERE, ())


def with_role(principal: Principal, tenant_id: str, role: Role) -> Principal:
    """The principal with the role; roles stand in their own order, once each."""
    have = {*principal.roles.get(tenant_id, ()), role}
    return _with_roles(principal, tenant_id, tuple(one for one in Role if one in have))


def without_role(principal: Principal, tenant_id: str, role: Role) -> Principal:
    left = tuple(one for one in principal.roles.get(tenant_id, ()) if one is not role)
    return _with_roles(principal, tenant_id, left)


def _with_roles(principal: Principal, tenant_id: str, roles: tuple[Role, ...]) -> Principal:
    changed = {**principal.roles, tenant_id: roles}
    kept = {tenant: have for tenant, have in sorted(changed.items()) if have}
    if len(kept) > TENANTS_MAX:
        raise MisuseError("principal_invalid", f"a principal has roles in at most {TENANTS_MAX} tenants")
    return Principal(id=principal.id, roles=kept)


def principal_name(name: str) -> str:
    """The name, if it can be one; raises `MisuseError`."""
    if not PRINCIPAL_NAME.fullmatch(name):
        message = "a principal's name has 1 to 128 letters, digits, dots, colons, dashes, underscores or @"
        raise MisuseError("principal_invalid", message)
    return name


def tenant_name(tenant_id: str) -> str:
    """The tenant's name, or `*`; raises `MisuseError`."""
    size = len(tenant_id.encode(errors="replace"))
    if not 0 < size <= TENANT_BYTES_MAX or not tenant_id.isprintable():
        raise MisuseError("principal_invalid", f"a tenant's name has 1 to {TENANT_BYTES_MAX} printable bytes")
    return tenant_id


def role_named(word: str) -> Role:
    try:
        return Role(word)
    except ValueError:
        raise MisuseError("principal_invalid", f"a role is one of {', '.join(Role)}") from None
