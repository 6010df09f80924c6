"""Every operation goes through this one door, whoever brings it: may they, is it agreed, on record before, done, on record after.

The order matters. Whether the caller may is decided before anything is looked up, so no answer and no time that it takes
depends on what another tenant has. A change is on record before it is made: where nothing can be written down, nothing is
changed. Why somebody asks is said in words of their own, and may hold what was pasted by mistake: secrets are taken out of it
before anybody sees it, the record of it included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from rspp.control.operations.operation import TENANT_FIELD, Denied, NotFound, Operation, Scope
from rspp.control.security.roles import EVERYWHERE, Principal, allowed
from rspp.timeline.redaction.forms import Kind, without_secrets

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

# Longer values are on record by their hash.
FACT_CHARACTERS_MAX: Final = 200
FACTS_MAX: Final = 24
REASON_FIELD: Final = "reason"
# Not what is consented to: why it is made, and which state of the rollout whoever asks has looked at. That can only forbid it.
UNBOUND_FIELDS: Final = (REASON_FIELD, "number")
# What people say in their own words.
FREE_FIELDS: Final = (REASON_FIELD, "incident")
# A whole document: it is kept as it was given, and is on record without secrets where it is short enough to be there at all.
TEXT_FIELD: Final = "text"


class Verdict(StrEnum):
    ALLOWED = "allowed"
    HIDDEN = "hidden"  # another tenant's: it is as if there were no such thing
    DENIED = "denied"


def judge(principal: Principal, operation: Operation, request: object) -> Verdict:
    """May this principal ask this? Decided from the row, the principal and the tenant that is named, and nothing else."""
    if operation.scope in (Scope.OWN, Scope.SECRET):
        return Verdict.ALLOWED
    tenant = getattr(request, TENANT_FIELD, None)
    if allowed(principal, operation.permission, tenant):
        return Verdict.ALLOWED
    if tenant not in (None, EVERYWHERE) and not is_known_to(principal, tenant):
        return Verdict.HIDDEN
    return Verdict.DENIED


def is_known_to(principal: Principal, tenant: str) -> bool:
    """Has the principal anything to do with this tenant?"""
    return bool(principal.roles.get(tenant) or principal.roles.get(EVERYWHERE))


async def call(
    plane: ControlPlane,
    principal: Principal,
    operation: Operation,
    request: Any,
    *,
    about: Mapping[str, str] | None = None,
) -> Any:
    """What the operation answers; raises an `RsppError` that may be shown to the caller as it is.

    `about` is on record with the request: how somebody came to ask for it.
    """
    request = cleaned(request)
    said = {**facts(operation, request), **(about or {})}
    verdict = judge(principal, operation, request)
    tenant = getattr(request, TENANT_FIELD, None) or ""
    if verdict is Verdict.HIDDEN:
        # On record with the fleet: in the other tenant's own log it would tell that one who this is.
        await plane.audit.denied(
            principal.id, operation.name, None, verdict.value, {**said, "asked_tenant": tenant}
        )
        raise NotFound
    if verdict is Verdict.DENIED:
        await plane.audit.denied(principal.id, operation.name, tenant, verdict.value, said)
        raise Denied(operation.permission)
    if not (operation.changes and operation.audited):
        return await operation.handler(plane, principal, request)
    return await _on_record(plane, principal, operation, request, tenant, said)


async def _on_record(
    plane: ControlPlane,
    principal: Principal,
    operation: Operation,
    request: Any,
    tenant: str,
    about: Mapping[str, str],
) -> Any:
    """A change: who wants it is written down first, and what became of it afterwards."""
    reason = operation.permission.value
    if operation.approval:
        target, digest = target_of(operation, request), digest_of(request)
        await plane.approvals.require(
            operation.name,
            target,
            digest,
            principal,
            tenant_id=None if tenant == EVERYWHERE else tenant or None,
        )
    async with plane.audit.change(principal.id, operation.name, tenant, reason, about):
        return await operation.handler(plane, principal, request)


def cleaned(request: Any) -> Any:
    """The request without the secrets that stand in somebody's own words. Names stay as they are: they name something."""
    words = {name: getattr(request, name, None) for name in FREE_FIELDS}
    return msgspec.structs.replace(
        request, **{name: without_secrets(said) for name, said in words.items() if isinstance(said, str)}
    )


def target_of(operation: Operation, request: object) -> str:
    """What a change is about: its address."""
    target = operation.path
    for name in operation.path_fields:
        target = target.replace(f"{{{name}}}", quote(str(getattr(request, name)), safe="*"))
    return target


def digest_of(request: Any) -> str:
    """The change itself, as whoever consents has seen it. Why it is made, and when, may be said in other words."""
    said = {name: value for name, value in msgspec.to_builtins(request).items() if name not in UNBOUND_FIELDS}
    return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()


def facts(operation: Operation, request: object) -> dict[str, str]:
    """What of a request is on record: its fields as far as they were given, long ones by their hash, secrets not at all."""
    said: dict[str, str] = {}
    for name in operation.request.__struct_fields__:
        value = getattr(request, name)
        if name in operation.unsaid or name == TENANT_FIELD or value in (None, "", (), {}):
            continue
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        if len(text) > FACT_CHARACTERS_MAX:
            text = _hashed(text)
        elif name == TEXT_FIELD or not isinstance(value, str):
            text = without_secrets(text, Kind.IDENTITY)
        said[name] = text
        if len(said) == FACTS_MAX:
            break
    return said


def _hashed(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"
