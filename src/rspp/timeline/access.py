"""Nobody reads a recording unless a policy lets them: asked for with all attributes, answered with a grant or a reason.

The reasons, in the order in which they are found; the first that holds is the answer:

    invalid_request_attributes          a field is missing, empty, or no word of its table
    policy_tenant_scope_missing         the policy has nothing about this tenant
    cross_tenant_denied                 the principal, or what is asked for, is another tenant's
    role_not_authorized                 the principal has not this role here, or nothing is granted to it
    purpose_not_authorized              no grant of the role names the purpose
    requested_fidelity_not_authorized   no grant of both goes so far; L0 unless one says more
    invalid_requested_classes           a class is unknown, or in no such grant

Allowed or denied, the audit record is written first; if it cannot be, the answer is one of the three reasons of `audit`.
What a grant lets be seen of a recording is `redacted`'s to say.
"""

from __future__ import annotations

import getpass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from rspp.contract.errors import PeerFault
from rspp.contract.words import PayloadClass, RecordingLevel
from rspp.timeline.audit import FIELD_CHARACTERS_MAX, AuditFault
from rspp.timeline.declared import declared, declared_in

L0, L1, L2 = RecordingLevel.L0, RecordingLevel.L1, RecordingLevel.L2
_RANK: Final = {L0: 0, L1: 1, L2: 2}
OWN_MACHINE: Final = "own-machine"
OWN_TENANT: Final = "default"
ATTRIBUTE_CHARACTERS_MAX: Final = 256


class Role(StrEnum):
    ONCALL = "oncall"
    OPERATOR = "operator"
    COMPLIANCE = "compliance"


class Purpose(StrEnum):
    DEBUG = "debug"
    INCIDENT = "incident"
    EVAL = "eval"
    COMPLIANCE = "compliance"


class Reason(StrEnum):
    INVALID_ATTRIBUTES = "invalid_request_attributes"
    TENANT_MISSING = "policy_tenant_scope_missing"
    CROSS_TENANT = "cross_tenant_denied"
    ROLE = "role_not_authorized"
    PURPOSE = "purpose_not_authorized"
    FIDELITY = "requested_fidelity_not_authorized"
    CLASSES = "invalid_requested_classes"
    NO_SINK = "audit_sink_unavailable"
    BAD_EVENT = "audit_event_invalid"
    WRITE_FAILED = "audit_sink_write_failed"


class AccessRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Who wants to read what, and why. Words of any kind are taken: what is wrong with them is an answer, not a fault.

    `requested_scope` is `tenant`, `session:<id>` or `turn:<id>`, or these with `<tenant>/` before them.
    """

    tenant_id: str = ""
    principal_id: str = ""
    role: str = ""
    purpose: str = ""
    requested_scope: str = ""
    requested_fidelity: str = ""
    requested_classes: tuple[str, ...] | None = None


class GrantRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What these roles may see for these purposes; without more than that, control and summaries at L0."""

    roles: tuple[Role, ...]
    purposes: tuple[Purpose, ...]
    fidelity: RecordingLevel = L0
    classes: tuple[PayloadClass, ...] = (PayloadClass.METADATA, PayloadClass.DERIVED_SUMMARY)


class TenantAccess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One tenant's principals and their roles, and what is granted to roles."""

    principals: dict[str, tuple[Role, ...]] = {}
    grants: tuple[GrantRule, ...] = ()


class AccessPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All tenants that anybody may read anything of."""

    name: str
    tenants: dict[str, TenantAccess] = {}


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What was allowed: to be shown to `redacted`, and of use for nothing else."""

    tenant_id: str
    principal_id: str
    role: Role
    purpose: Purpose
    scope: str
    fidelity: RecordingLevel
    classes: frozenset[PayloadClass]
    policy: str


class AccessDenied(PeerFault):
    """No; `code` is the contract's reason."""

    def __init__(self, reason: Reason, message: str = "") -> None:
        super().__init__(reason.value, message or f"access is denied: {reason.value}")
        self.reason = reason


def load(path: Path) -> AccessPolicy:
    """A policy from a YAML or JSON file; raises MisuseError if it is not one, and then nobody has access."""
    return declared_in(path, AccessPolicy, "access_policy_invalid")


def policy_of(data: bytes | str, source: str = "policy") -> AccessPolicy:
    return declared(data, AccessPolicy, "access_policy_invalid", source)


def own_machine(tenant_id: str = OWN_TENANT, principal_id: str | None = None) -> AccessPolicy:
    """The policy of a machine with one user: whoever is logged in may read all that is their own, and nothing else.

    It grants nothing for other tenants, no compliance, and is never in force where a policy file is named.
    """
    grant = GrantRule(
        roles=(Role.OPERATOR,),
        purposes=(Purpose.DEBUG, Purpose.EVAL, Purpose.INCIDENT),
        fidelity=L2,
        classes=(
            PayloadClass.AUDIO_RAW,
            PayloadClass.TEXT_RAW,
            PayloadClass.DERIVED_SUMMARY,
            PayloadClass.METADATA,
        ),
    )
    principal = principal_id or os_user()
    tenant = TenantAccess(principals={principal: (Role.OPERATOR,)}, grants=(grant,))
    return AccessPolicy(name=OWN_MACHINE, tenants={tenant_id: tenant})


def os_user() -> str:
    """Who is logged in here."""
    try:
        return f"os:{getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "os:unnamed"


def judge(policy: AccessPolicy, request: AccessRequest) -> Grant | Reason:
    """The policy's answer, before it is on record: not to be acted upon."""
    asked = _attributes(request)
    if asked is None:
        return Reason.INVALID_ATTRIBUTES
    role, purpose, fidelity = asked
    tenant = policy.tenants.get(request.tenant_id)
    if tenant is None:
        return Reason.TENANT_MISSING
    known = tenant.principals.get(request.principal_id)
    elsewhere = any(request.principal_id in other.principals for other in policy.tenants.values())
    # A session may have a slash in its name: the tenant ends at the first one.
    owner = request.requested_scope.partition("/")[0] if _qualified(request) else ""
    if (known is None and elsewhere) or owner not in ("", request.tenant_id):
        return Reason.CROSS_TENANT
    rules = [rule for rule in tenant.grants if role in rule.roles]
    if known is None or role not in known or not rules:
        return Reason.ROLE
    rules = [rule for rule in rules if purpose in rule.purposes]
    if not rules:
        return Reason.PURPOSE
    rules = [rule for rule in rules if _RANK[rule.fidelity] >= _RANK[fidelity]]
    if not rules:
        return Reason.FIDELITY
    classes = _classes(request, rules)
    if classes is None:
        return Reason.CLASSES
    scope = request.requested_scope.removeprefix(f"{request.tenant_id}/")
    return Grant(
        tenant_id=request.tenant_id,
        principal_id=request.principal_id,
        role=role,
        purpose=purpose,
        scope=scope,
        fidelity=fidelity,
        classes=classes,
        policy=policy.name,
    )


def _attributes(request: AccessRequest) -> tuple[Role, Purpose, RecordingLevel] | None:
    """The words of a request that is whole."""
    given: tuple[Any, ...] = (
        *(request.tenant_id, request.principal_id, request.role, request.purpose),
        *(request.requested_scope, request.requested_fidelity),
    )
    for value in given:
        if not isinstance(value, str) or not value.strip() or len(value) > ATTRIBUTE_CHARACTERS_MAX:
            return None
        if not value.isprintable():
            return None
    scope = request.requested_scope.split("/", 1)[1] if _qualified(request) else request.requested_scope
    kind, _, name = scope.partition(":")
    if not (scope == "tenant" or (kind in ("session", "turn") and name)):
        return None
    try:
        return Role(request.role), Purpose(request.purpose), RecordingLevel(request.requested_fidelity)
    except ValueError:
        return None


def _qualified(request: AccessRequest) -> bool:
    """Does the scope begin with a tenant's name?"""
    head, slash, rest = request.requested_scope.partition("/")
    return bool(slash) and ":" not in head and rest != ""


def _classes(request: AccessRequest, rules: list[GrantRule]) -> frozenset[PayloadClass] | None:
    """The classes asked for, if one grant has all of them; those of the first grant if none were asked for."""
    if request.requested_classes is None:
        return frozenset(rules[0].classes)
    try:
        asked = frozenset(map(PayloadClass, request.requested_classes))
    except ValueError:
        return None
    if not asked or len(asked) != len(request.requested_classes):
        return None
    return asked if any(asked <= frozenset(rule.classes) for rule in rules) else None


class PutsOnRecord(Protocol):
    """An audit log; returns when the record is there, and raises AuditFault if it is not."""

    async def append(
        self,
        action: str,
        decision: str,
        *,
        tenant_id: str,
        principal_id: str,
        reason: str,
        facts: dict[str, str] | None = None,
    ) -> object: ...


class Access:
    """The only door to recordings. Without an audit log it stays shut."""

    def __init__(self, policy: AccessPolicy, audit: PutsOnRecord | None) -> None:
        self.policy = policy
        self._audit = audit

    async def ask(self, request: AccessRequest) -> Grant:
        """A grant, once it is on record; raises AccessDenied, which is on record as well."""
        answer = judge(self.policy, request)
        allowed = isinstance(answer, Grant)
        if self._audit is None:
            raise AccessDenied(Reason.NO_SINK)
        try:
            await self._audit.append(
                "access",
                "allow" if allowed else "deny",
                tenant_id=_short(request.tenant_id),
                principal_id=_short(request.principal_id),
                reason=answer.value if isinstance(answer, Reason) else "granted",
                facts={
                    "role": _short(request.role),
                    "purpose": _short(request.purpose),
                    "scope": _short(request.requested_scope),
                    "fidelity": _short(request.requested_fidelity),
                    "classes": _short(",".join(map(str, request.requested_classes or ()))),
                    "policy": _short(self.policy.name),
                },
            )
        except AuditFault as error:
            raise AccessDenied(Reason(error.code)) from error
        if isinstance(answer, Reason):
            raise AccessDenied(answer)
        return answer


def _short(value: object) -> str:
    """What was asked, as far as it can be written down."""
    text = str(value).encode(errors="replace").decode()
    return text if len(text) <= FIELD_CHARACTERS_MAX else text[: FIELD_CHARACTERS_MAX - 1] + "…"
