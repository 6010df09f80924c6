"""Nobody reads anything unless all is named and all is granted; each answer is on record before it is given."""

from __future__ import annotations

import asyncio
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.contract.codes import CODES
from rspp.contract.errors import LimitReached, MisuseError
from rspp.contract.words import PayloadClass, RecordingLevel
from rspp.testing.store import MemoryStore
from rspp.timeline.access import (
    Access,
    AccessDenied,
    AccessPolicy,
    AccessRequest,
    Grant,
    Purpose,
    Reason,
    Role,
    judge,
    load,
    os_user,
    own_machine,
    policy_of,
)
from rspp.timeline.audit import AuditLog, records, verify

POLICY = policy_of(
    """
name: clinic-and-shop
tenants:
  clinic:
    principals: {ann: [operator, oncall], cem: [compliance]}
    grants:
      - {roles: [oncall], purposes: [incident]}
      - {roles: [operator], purposes: [debug], fidelity: L1, classes: [metadata, text_raw]}
      - {roles: [operator], purposes: [eval], fidelity: L2, classes: [metadata, text_raw, audio_raw]}
      - {roles: [compliance], purposes: [compliance], fidelity: L2, classes: [metadata, text_raw, PII]}
  shop:
    principals: {bob: [operator], eve: [operator]}
    grants: []
"""
)


def asks(**changes: Any) -> AccessRequest:
    fields: dict[str, Any] = {
        "tenant_id": "clinic",
        "principal_id": "ann",
        "role": "operator",
        "purpose": "debug",
        "requested_scope": "session:s1",
        "requested_fidelity": "L1",
        **changes,
    }
    return AccessRequest(**fields)


def test_what_is_granted_is_granted() -> None:
    grant = judge(POLICY, asks())
    assert isinstance(grant, Grant)
    assert grant.classes == {PayloadClass.METADATA, PayloadClass.TEXT_RAW}
    assert (grant.fidelity, grant.scope) == (RecordingLevel.L1, "session:s1")
    assert isinstance(judge(POLICY, asks(requested_scope="clinic/session:s1")), Grant)
    assert isinstance(judge(POLICY, asks(requested_scope="tenant")), Grant)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tenant_id": ""}, Reason.INVALID_ATTRIBUTES),
        ({"principal_id": "  "}, Reason.INVALID_ATTRIBUTES),
        ({"role": ""}, Reason.INVALID_ATTRIBUTES),
        ({"role": "admin"}, Reason.INVALID_ATTRIBUTES),
        ({"purpose": "curiosity"}, Reason.INVALID_ATTRIBUTES),
        ({"requested_scope": ""}, Reason.INVALID_ATTRIBUTES),
        ({"requested_scope": "everything"}, Reason.INVALID_ATTRIBUTES),
        ({"requested_scope": "session:"}, Reason.INVALID_ATTRIBUTES),
        ({"requested_fidelity": ""}, Reason.INVALID_ATTRIBUTES),
        ({"requested_fidelity": "L3"}, Reason.INVALID_ATTRIBUTES),
        ({"principal_id": "a\nn"}, Reason.INVALID_ATTRIBUTES),
        ({"principal_id": "a" * 300}, Reason.INVALID_ATTRIBUTES),
        ({"tenant_id": "nobody"}, Reason.TENANT_MISSING),
        ({"principal_id": "bob"}, Reason.CROSS_TENANT),
        ({"requested_scope": "shop/session:s1"}, Reason.CROSS_TENANT),
        ({"principal_id": "mallory"}, Reason.ROLE),
        ({"role": "compliance"}, Reason.ROLE),
        ({"tenant_id": "shop", "principal_id": "eve"}, Reason.ROLE),
        ({"purpose": "compliance"}, Reason.PURPOSE),
        ({"role": "oncall", "purpose": "debug"}, Reason.PURPOSE),
        ({"requested_fidelity": "L2"}, Reason.FIDELITY),
        ({"role": "oncall", "purpose": "incident"}, Reason.FIDELITY),
        ({"requested_classes": ("metadata", "PII")}, Reason.CLASSES),
        ({"requested_classes": ("everything",)}, Reason.CLASSES),
        ({"requested_classes": ()}, Reason.CLASSES),
        ({"requested_classes": ("metadata", "metadata")}, Reason.CLASSES),
    ],
)
def test_everything_else_is_denied_with_its_reason(changes: dict[str, Any], reason: Reason) -> None:
    assert judge(POLICY, asks(**changes)) is reason


def test_the_reasons_come_in_the_order_that_is_documented() -> None:
    """A request in which everything is wrong is told one thing after the other, as each is mended."""
    wrong = {
        "requested_fidelity": "L9",
        "tenant_id": "nobody",
        "principal_id": "bob",
        "role": "compliance",
        "purpose": "compliance",
        "requested_classes": ("PHI",),
    }
    mends: list[tuple[dict[str, Any], Reason]] = [
        ({}, Reason.INVALID_ATTRIBUTES),
        ({"requested_fidelity": "L2"}, Reason.TENANT_MISSING),
        ({"tenant_id": "clinic"}, Reason.CROSS_TENANT),
        ({"principal_id": "ann"}, Reason.ROLE),
        ({"role": "operator"}, Reason.PURPOSE),
        ({"purpose": "debug"}, Reason.FIDELITY),
        ({"requested_fidelity": "L1"}, Reason.CLASSES),
    ]
    for mend, reason in mends:
        wrong.update(mend)
        assert judge(POLICY, asks(**wrong)) is reason
    assert list(Reason)[:7] == [reason for _, reason in mends]


def test_by_default_nobody_sees_anything() -> None:
    empty = AccessPolicy(
        name="empty", tenants={"clinic": msgspec.convert({}, type(POLICY.tenants["clinic"]))}
    )
    for role, purpose, level in product(Role, Purpose, RecordingLevel):
        answer = judge(empty, asks(role=role.value, purpose=purpose.value, requested_fidelity=level.value))
        assert answer is Reason.ROLE


def test_a_grant_without_more_shows_control_at_the_lowest_level() -> None:
    grant = judge(POLICY, asks(role="oncall", purpose="incident", requested_fidelity="L0"))
    assert isinstance(grant, Grant)
    assert grant.classes == {PayloadClass.METADATA, PayloadClass.DERIVED_SUMMARY}


def test_one_s_own_machine_grants_one_s_own_sessions_and_no_other() -> None:
    policy = own_machine()
    me = os_user()
    mine = asks(tenant_id="default", principal_id=me, requested_fidelity="L2")
    assert isinstance(judge(policy, mine), Grant)
    replace = msgspec.structs.replace
    assert judge(policy, replace(mine, tenant_id="clinic")) is Reason.TENANT_MISSING
    assert judge(policy, replace(mine, requested_scope="clinic/tenant")) is Reason.CROSS_TENANT
    assert judge(policy, replace(mine, principal_id="os:somebody-else")) is Reason.ROLE
    assert judge(policy, replace(mine, purpose="compliance")) is Reason.PURPOSE
    assert judge(policy, replace(mine, requested_classes=("PII",))) is Reason.CLASSES
    assert isinstance(judge(own_machine("mine"), replace(mine, tenant_id="mine")), Grant)


def test_every_reason_has_its_code_and_its_remedy() -> None:
    assert {reason.value for reason in Reason} <= set(CODES)


# ---- through the door ------------------------------------------------------------------------------------------------


def test_each_answer_is_on_record_first() -> None:
    async def main() -> None:
        store = MemoryStore()
        access = Access(POLICY, AuditLog(store, wall_ms=lambda: 7, writer="w"))
        grant = await access.ask(asks())
        assert grant.policy == "clinic-and-shop"
        with pytest.raises(AccessDenied, match="cross_tenant_denied"):
            await access.ask(asks(principal_id="bob"))
        with pytest.raises(AccessDenied, match="invalid_request_attributes"):
            await access.ask(asks(principal_id="x" * 10_000 + "\ud800", requested_scope="\0"))
        first, second, third = await records(store, "w")
        assert (first.decision, first.reason, first.facts["scope"]) == ("allow", "granted", "session:s1")
        assert (second.decision, second.reason, second.principal_id) == ("deny", "cross_tenant_denied", "bob")
        assert (third.decision, third.reason) == ("deny", "invalid_request_attributes")
        assert (await verify(store)).broken == ()

    asyncio.run(main())


class Full(MemoryStore):
    async def append(self, log: str, record: bytes) -> int:
        raise LimitReached("store_full", "no room")


def test_without_an_audit_record_there_is_no_access() -> None:
    async def main() -> None:
        with pytest.raises(AccessDenied) as denied:
            await Access(POLICY, None).ask(asks())
        assert denied.value.reason is Reason.NO_SINK
        with pytest.raises(AccessDenied) as denied:
            await Access(POLICY, AuditLog(Full(), wall_ms=lambda: 1)).ask(asks())
        assert denied.value.reason is Reason.WRITE_FAILED

    asyncio.run(main())


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{tenants: {}}",
        "{name: x, tenant: {}}",
        "{name: x, tenants: {t: {principals: {a: [root]}}}}",
        "{name: x, tenants: {t: {grants: [{roles: [operator], purposes: [fun]}]}}}",
        "{name: x, tenants: {t: {grants: [{roles: [operator], purposes: [debug], fidelity: L9}]}}}",
        "{name: x, tenants: {t: {grants: [{roles: [operator], purposes: [debug], classes: [all]}]}}}",
        "{name: x, tenants: {t: {}, t: {}}}",
    ],
)
def test_a_policy_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(MisuseError) as refused:
        policy_of(text)
    assert refused.value.code == "access_policy_invalid"


def test_a_policy_is_read_from_a_file_and_none_is_no_default(tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    with pytest.raises(MisuseError, match="access_policy_invalid"):
        load(path)
    path.write_text("name: x\ntenants: {t: {principals: {a: [operator]}}}\n")
    assert load(path).tenants["t"].principals == {"a": (Role.OPERATOR,)}


@pytest.mark.parametrize("session", ["a/b", "a/session:b", "other/session:x"])
def test_a_slash_in_a_sessions_name_is_no_tenants(session: str) -> None:
    grant = judge(POLICY, asks(requested_scope=f"clinic/session:{session}"))
    assert isinstance(grant, Grant)
    assert grant.scope == f"session:{session}"
    assert judge(POLICY, asks(requested_scope=f"other/session:{session}")) is Reason.CROSS_TENANT
