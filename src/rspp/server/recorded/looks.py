"""Who of the control plane may see what of a recording: the timeline's own policy decides, and each look is on record.

    role            asks as                          without a policy of the data folder it sees
    viewer          oncall                           turns, times, rows and evidence; of texts their length, no sound
    operator        operator, oncall                 texts as they are recorded (masked), and sound
    admin           operator, oncall, compliance     the same: PII and PHI only a policy grants

Where the data folder has an `access.yaml`, only that counts: the principal must stand in it, under its own name.

A page that follows a call looks every second. It is one look: the same principal, the same answer, the same session are put on
record once in `LOOK_MS`. Whether the answer still holds is judged each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Protocol

from rspp.contract.event import NS_PER_MS
from rspp.contract.words import PayloadClass, RecordingLevel
from rspp.control.security.audit import Audit
from rspp.control.security.roles import EVERYWHERE, Principal
from rspp.control.security.roles import Role as ControlRole
from rspp.host.ports import Clock
from rspp.timeline.access import (
    Access,
    AccessDenied,
    AccessPolicy,
    AccessRequest,
    Grant,
    GrantRule,
    Purpose,
    Reason,
    Role,
    TenantAccess,
    judge,
)

ACTION: Final = "recordings"
LOOK_MS: Final = 60_000
LOOKS_MAX: Final = 10_000
BY_ROLE: Final = "control-roles"

_ASKS_AS: Final[Mapping[ControlRole, tuple[Role, ...]]] = {
    ControlRole.VIEWER: (Role.ONCALL,),
    ControlRole.OPERATOR: (Role.OPERATOR, Role.ONCALL),
    ControlRole.ADMIN: (Role.OPERATOR, Role.COMPLIANCE, Role.ONCALL),
}
_PURPOSES: Final[Mapping[Role, tuple[Purpose, ...]]] = {
    Role.OPERATOR: (Purpose.DEBUG, Purpose.INCIDENT, Purpose.EVAL),
    Role.COMPLIANCE: (Purpose.COMPLIANCE,),
    Role.ONCALL: (Purpose.INCIDENT, Purpose.DEBUG),
}
_FROM_MOST: Final = (RecordingLevel.L2, RecordingLevel.L1, RecordingLevel.L0)
_GRANTS: Final = (
    GrantRule(
        roles=(Role.OPERATOR,),
        purposes=_PURPOSES[Role.OPERATOR],
        fidelity=RecordingLevel.L2,
        classes=(
            PayloadClass.AUDIO_RAW,
            PayloadClass.TEXT_RAW,
            PayloadClass.DERIVED_SUMMARY,
            PayloadClass.METADATA,
        ),
    ),
    GrantRule(roles=(Role.ONCALL,), purposes=_PURPOSES[Role.ONCALL], fidelity=RecordingLevel.L1),
)


class PolicyOf(Protocol):
    """The policy of a data folder, as it is now; None where it has none. Raises MisuseError for one that cannot be read."""

    async def __call__(self) -> AccessPolicy | None: ...


async def no_policy() -> AccessPolicy | None:
    """Where nobody wrote one."""
    return None


def asks_as(principal: Principal, tenant_id: str) -> tuple[Role, ...]:
    """The roles of the timeline in which a principal may ask for a tenant's recordings, the one that shows most first."""
    roles = (*principal.roles.get(tenant_id, ()), *principal.roles.get(EVERYWHERE, ()))
    found = {one for role in roles for one in _ASKS_AS[role]}
    return tuple(role for role in _PURPOSES if role in found)


def policy_by_role(principal: Principal, tenant_id: str) -> AccessPolicy:
    """What holds where nobody wrote a policy."""
    tenant = TenantAccess(principals={principal.id: asks_as(principal, tenant_id)}, grants=_GRANTS)
    return AccessPolicy(name=BY_ROLE, tenants={tenant_id: tenant})


def requests(principal: Principal, tenant_id: str, session_id: str) -> list[AccessRequest]:
    """Everything that the principal could ask, that which shows most first; at least one."""
    roles: tuple[str, ...] = asks_as(principal, tenant_id) or ("",)
    return [
        AccessRequest(
            tenant_id=tenant_id,
            principal_id=principal.id,
            role=role,
            purpose=purpose,
            requested_scope=f"{tenant_id}/session:{session_id}",
            requested_fidelity=fidelity.value,
        )
        for fidelity in _FROM_MOST
        for role in roles
        for purpose in (_PURPOSES[Role(role)] if role else (Purpose.DEBUG,))
    ]


class _OnRecord:
    """The control plane's audit log, as the timeline's door writes to it."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def append(
        self,
        action: str,
        decision: str,
        *,
        tenant_id: str,
        principal_id: str,
        reason: str,
        facts: dict[str, str] | None = None,
    ) -> object:
        write = self._audit.done if decision == "allow" else self._audit.denied
        return await write(principal_id, f"{ACTION}.{action}", tenant_id, reason, facts)


class Looks:
    """The door of one server to recordings."""

    def __init__(self, audit: Audit, clock: Clock, policy: PolicyOf = no_policy) -> None:
        self._record = _OnRecord(audit)
        self._clock = clock
        self._policy = policy
        # What is on record, and since when; bounded: LOOKS_MAX, the oldest goes.
        self._looked: OrderedDict[tuple[object, ...], int] = OrderedDict()

    async def ask(self, principal: Principal, tenant_id: str, session_id: str) -> Grant:
        """The most that the principal may see of a session, once that is on record; raises AccessDenied, on record too."""
        policy = await self._policy() or policy_by_role(principal, tenant_id)
        asked = requests(principal, tenant_id, session_id)
        request, answer = asked[-1], judge(policy, asked[-1])
        for one in asked:
            found = judge(policy, one)
            if isinstance(found, Grant):
                request, answer = one, found
                break
        seen = (principal.id, tenant_id, session_id, policy.name, _told(answer))
        if self._is_on_record(seen):
            if isinstance(answer, Reason):
                raise AccessDenied(answer)
            return answer
        try:
            grant = await Access(policy, self._record).ask(request)
        except AccessDenied as error:
            if error.reason is answer:  # and not that it could not be written down
                self._note(seen)
            raise
        self._note(seen)
        return grant

    def _note(self, seen: tuple[object, ...]) -> None:
        self._looked[seen] = self._clock.now()
        self._looked.move_to_end(seen)
        while len(self._looked) > LOOKS_MAX:
            self._looked.popitem(last=False)

    def _is_on_record(self, seen: tuple[object, ...]) -> bool:
        at = self._looked.get(seen)
        return at is not None and self._clock.now() - at < LOOK_MS * NS_PER_MS


def _told(answer: Grant | Reason) -> tuple[object, ...]:
    if isinstance(answer, Reason):
        return (answer,)
    return (answer.role, answer.purpose, answer.fidelity, answer.classes)
