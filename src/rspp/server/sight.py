"""Who may see what of the runtime's state is one table, asked alike for rows, for records of the journal and for what is told live.

What is a tenant's is seen by who has a role there that reads that surface; what is the fleet's, a row without a tenant, only by
who has the role everywhere. A surface that is not in the table is the fleet's: one that is forgotten here is closed, not open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from rspp.contract.surface import Row
from rspp.control.security.roles import EVERYWHERE, Permission, Principal, allowed
from rspp.ops.changes import StateChange

# Under this name the journal's metadata says whose the thing is.
TENANT: Final = "tenant"
# A permission that only counts everywhere: a role in one tenant never has it.
OF_THE_FLEET: Final = Permission.WORKERS_READ

P = Permission
READS: Final[Mapping[str, Permission]] = {
    "sessions": P.SESSIONS_READ,
    "turns": P.SESSIONS_READ,
    "leases": P.SESSIONS_READ,
    "recordings": P.SESSIONS_READ,
    "pipelines": P.PIPELINES_READ,
    "rollouts": P.ROLLOUT_READ,
    "policies": P.POLICIES_READ,
    "provider_health": P.HEALTH_READ,
    "circuits": P.HEALTH_READ,
    "admission_quotas": P.QUOTAS_READ,
    "approvals": P.APPROVALS_READ,
    "audit_log": P.AUDIT_READ,
    "runtime_work_session": P.WORK_READ,
    "runtime_health": P.HEALTH_READ,
    "runtime_actions": P.HEALTH_READ,
}


def reads(surface: str) -> Permission:
    """The permission to read this surface."""
    return READS.get(surface, OF_THE_FLEET)


def sees(principal: Principal, surface: str, tenant_id: str | None) -> bool:
    """May the principal know of a thing of this surface that is this tenant's, or without a tenant the fleet's?"""
    return allowed(principal, reads(surface), tenant_id)


def sees_some(principal: Principal, surface: str) -> bool:
    """Is there anywhere that the principal may read this surface?"""
    return any(sees(principal, surface, tenant) for tenant in principal.roles)


def rows_seen(
    principal: Principal, surface: str, rows: Iterable[Row], tenant: str | None = None
) -> list[Row]:
    """Those of the rows that the principal may see, of one tenant if one is named."""
    seen: dict[str | None, bool] = {}  # bounded: by the rows; thousands of them are few tenants'
    found = []
    for row in rows:
        whose = row.tenant_id
        if tenant is not None and whose != tenant:
            continue
        if whose not in seen:
            seen[whose] = sees(principal, surface, whose)
        if seen[whose]:
            found.append(row)
    return found


def sees_record(principal: Principal, record: StateChange) -> bool:
    return sees(principal, record.surface, tenant_of(record))


def tenant_of(record: StateChange) -> str | None:
    tenant = record.metadata.get(TENANT)
    return tenant if isinstance(tenant, str) and tenant else None


def tenants_read(principal: Principal, permission: Permission) -> frozenset[str] | None:
    """Of which tenants the principal may read this; None is all of them, and the fleet."""
    if allowed(principal, permission, None):
        return None
    return frozenset(
        one for one in principal.roles if one != EVERYWHERE and allowed(principal, permission, one)
    )
