"""The audit log: who did what, who was not let, and whether all of it is still as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from rspp.contract.errors import LimitReached
from rspp.control.operations.operation import Nothing, Operation, Request, Response
from rspp.control.operations.words import Limit
from rspp.control.security import audit_export
from rspp.control.security.audit import INTENT
from rspp.control.security.audit_view import AuditQuery, page
from rspp.control.security.roles import Permission, Principal
from rspp.timeline.audit import AuditRecord

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

EXPORT_BYTES_MAX: Final = 64 * 1024 * 1024


class ListAudit(Request, frozen=True, kw_only=True):
    tenant: (
        Annotated[str, Meta(description="What was done to whom; without it, to all and to the fleet.")] | None
    ) = None
    principal: Annotated[str, Meta(description="Only by this principal.")] | None = None
    action: Annotated[str, Meta(description="Only of this operation, as in `rollout.promote`.")] | None = None
    decision: Annotated[str, Meta(description="Only these: allow, done, failed, deny.")] | None = None
    since_ms: Annotated[int, Meta(ge=0, description="Not before, in milliseconds since 1970.")] = 0
    until_ms: Annotated[int, Meta(ge=0, description="Before, in milliseconds since 1970.")] | None = None
    limit: Limit = 100
    after: Annotated[str, Meta(description="Where the last page ended.")] | None = None


class AuditItem(Response, frozen=True, kw_only=True):
    at_ms: int
    principal: str
    action: str
    decision: str
    tenant: str
    reason: str
    facts: dict[str, str]
    place: str


class AuditList(Response, frozen=True, kw_only=True):
    items: list[AuditItem]
    next: str | None = None


class Exported(Response, frozen=True, kw_only=True):
    """A file that proves itself: `rspp control audit check FILE`, or any reader of the format."""

    records: int
    data: str


class AuditVerdict(Response, frozen=True, kw_only=True):
    """Is every log as it was written? `broken` names the places that are not."""

    sound: bool
    logs: int
    records: int
    broken: tuple[str, ...]


def _item(record: AuditRecord, place: str, whole: bool) -> AuditItem:
    """A tenant is not told how its records are numbered: the numbers count what was done to others, too."""
    facts = record.facts if whole else {name: fact for name, fact in record.facts.items() if name != INTENT}
    return AuditItem(
        at_ms=record.at_wall_ms,
        principal=record.principal_id,
        action=record.action,
        decision=record.decision,
        tenant=record.tenant_id,
        reason=record.reason,
        facts=facts,
        place=place if whole else "",
    )


async def list_audit(plane: ControlPlane, _: Principal, asked: ListAudit) -> AuditList:
    found = await page(
        plane.store,
        AuditQuery(
            tenant_id=asked.tenant,
            principal_id=asked.principal,
            action=asked.action,
            decision=asked.decision,
            since_ms=asked.since_ms,
            until_ms=asked.until_ms,
            limit=asked.limit,
            after=asked.after,
        ),
    )
    return AuditList(
        items=[_item(one.record, one.place, asked.tenant is None) for one in found.entries], next=found.next
    )


async def export(plane: ControlPlane, _: Principal, __: Nothing) -> Exported:
    """Everything, under a seal. A log that was changed is not sealed: the answer names the place."""
    lines: list[bytes] = []
    size = 0
    async for line in audit_export.exported(plane.store, plane.signer, plane.wall_ms()):
        lines.append(line)
        size += len(line)
        if size > EXPORT_BYTES_MAX:
            raise LimitReached("payload_too_large", f"an export has at most {EXPORT_BYTES_MAX} bytes")
    return Exported(records=len(lines) - 2, data=b"".join(lines).decode())


async def verify(plane: ControlPlane, _: Principal, __: Nothing) -> AuditVerdict:
    found = await audit_export.verify(plane.store, plane.keyring)
    return AuditVerdict(sound=not found.broken, logs=found.logs, records=found.records, broken=found.broken)


AUDITS: Final = (
    Operation(
        name="audit.list",
        method="GET",
        path="/v1/audit",
        request=ListAudit,
        response=AuditList,
        permission=Permission.AUDIT_READ,
        handler=list_audit,
        summary="List what was done, and what was refused, newest first.",
        example={"tenant": "acme", "decision": "deny"},
    ),
    Operation(
        name="audit.export",
        method="POST",
        path="/v1/audit/export",
        request=Nothing,
        response=Exported,
        permission=Permission.AUDIT_EXPORT,
        handler=export,
        summary="Export the audit log as a sealed file.",
        idempotent=True,
    ),
    Operation(
        name="audit.verify",
        method="GET",
        path="/v1/audit/verify",
        request=Nothing,
        response=AuditVerdict,
        permission=Permission.AUDIT_EXPORT,
        handler=verify,
        summary="Check every chain, head and checkpoint of the audit log; name what is not as it was written.",
    ),
)
