"""Every role asks for every operation: it is reached if the table says so, and else it is refused and on record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.contract.codec import from_plain
from rspp.contract.errors import PeerFault
from rspp.control.operations import OPERATIONS
from rspp.control.operations.calling import call
from rspp.control.operations.operation import TENANT_FIELD, Operation, Scope
from rspp.control.operations.people import token_for
from rspp.control.plane import ControlPlane
from rspp.control.security.audit_view import AuditQuery, page
from rspp.control.security.roles import EVERYWHERE, FLEET, TABLE, Permission, Principal, Role
from rspp.testing.clock import ManualClock
from tests.unit.control.published import spec_text
from tests.unit.control.ruled import Ruled

BY_NAME = {one.name: one for one in OPERATIONS}
# Of these anybody may ask: what is the caller's own, or opens with a secret that the caller shows.
OPEN = (Scope.OWN, Scope.SECRET)
GUARDED = [one for one in OPERATIONS if one.scope not in OPEN]
TENANT = "acme"


async def _reached(*_: object) -> str:
    return "reached"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[ControlPlane]:
    """A control plane with a key and with nobody in it."""
    ruled = await Ruled(folder).begin()
    clock = ruled.clock
    assert isinstance(clock, ManualClock)
    plane = ControlPlane(ruled.store, clock=clock, keys=ruled.folder)
    await plane.load()
    yield plane


def request_of(operation: Operation, tenant: str = TENANT) -> Any:
    plain = dict(operation.example)
    if TENANT_FIELD in operation.request.__struct_fields__:
        plain[TENANT_FIELD] = tenant
    return from_plain(plain, operation.request)


async def asked(plane: ControlPlane, principal: Principal, operation: Operation, request: Any) -> str:
    """`reached`, or the code of the refusal."""
    try:
        return str(
            await call(plane, principal, msgspec.structs.replace(operation, handler=_reached), request)
        )
    except PeerFault as error:
        return error.code


async def denials(plane: ControlPlane) -> list[tuple[str, str]]:
    found = await page(plane.store, AuditQuery(decision="deny", limit=1_000))
    return [(one.record.principal_id, one.record.action) for one in found.entries][::-1]


def principals() -> list[Principal]:
    """Each role everywhere and in the tenant, one of another tenant, and one without any."""
    made = [Principal(id="nobody"), Principal(id="stranger", roles={"other": (Role.ADMIN,)})]
    for role in Role:
        made.append(Principal(id=f"{role}-everywhere", roles={EVERYWHERE: (role,)}))
        made.append(Principal(id=f"{role}-inside", roles={TENANT: (role,)}))
    return made


def declared(principal: Principal, operation: Operation) -> bool:
    """What the table of roles says, said once more and in other words."""
    if any(operation.permission in TABLE[role] for role in principal.roles.get(EVERYWHERE, ())):
        return True
    if operation.scope is Scope.FLEET or operation.permission in FLEET:
        return False
    return any(operation.permission in TABLE[role] for role in principal.roles.get(TENANT, ()))


@pytest.mark.proves("F-115")
def test_every_role_times_every_operation_is_as_declared_and_permitted_roles_publish_and_roll_out(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with opened(tmp_path) as plane:
            refused: list[tuple[str, str]] = []
            for principal in principals():
                for operation in GUARDED:
                    due = declared(principal, operation)
                    got = await asked(plane, principal, operation, request_of(operation))
                    assert (got == "reached") == due, (principal.id, operation.name, got)
                    if not due:
                        assert got in {"permission_denied", "not_found"}
                        refused.append((principal.id, operation.name))
            assert await denials(plane) == refused
            assert [name for who, name in refused if who == "nobody"] == [one.name for one in GUARDED]
            assert not [name for who, name in refused if who == "admin-everywhere"]
            # The same with what the operations really do: a pipeline is published and opened to everybody.
            for role in (Role.OPERATOR, Role.ADMIN):
                by = Principal(id=f"real-{role}", roles={EVERYWHERE: (role,)})
                await published_and_opened(plane, by, f"voice-{role}")
            viewer = Principal(id="real-viewer", roles={EVERYWHERE: (Role.VIEWER,)})
            with pytest.raises(PeerFault) as error:
                await published_and_opened(plane, viewer, "voice-viewer")
            assert error.value.code == "permission_denied"
            assert await plane.registry.pipelines() == ["voice-admin", "voice-operator"]

    asyncio.run(main())


async def published_and_opened(plane: ControlPlane, by: Principal, pipeline: str) -> None:
    async def does(name: str, **fields: Any) -> Any:
        return await call(plane, by, BY_NAME[name], from_plain(fields, BY_NAME[name].request))

    for version in ("v1", "v2"):
        await does("pipelines.publish", text=spec_text(version, pipeline))
    await does("rollout.begin", pipeline=pipeline, version="v1", reason="first")
    await does("rollout.canary", pipeline=pipeline, version="v2", percent=10, reason="a try")
    await does("rollout.promote", pipeline=pipeline, version="v2", reason="good")
    shown = await does("rollout.show", pipeline=pipeline)
    assert "v2" in msgspec.json.encode(shown).decode()


def test_a_role_that_is_taken_away_is_refused_on_the_next_call_of_a_token_that_is_still_good(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with opened(tmp_path) as plane:
            root = await plane.principals.first_admin("root", "os:me")
            await plane.principals.add(root, "ann")
            await plane.principals.grant(root, "ann", EVERYWHERE, Role.OPERATOR)
            token = token_for(plane, "ann").token
            operation = BY_NAME["rollout.freeze"]
            request = request_of(operation)

            async def calls() -> str:
                return await asked(plane, await plane.authenticate(token), operation, request)

            assert isinstance(plane.clock, ManualClock)
            plane.clock.advance(5)
            assert await calls() == "reached"
            await plane.principals.revoke(root, "ann", EVERYWHERE, Role.OPERATOR)
            assert await calls() == "permission_denied"
            assert await denials(plane) == [("ann", "rollout.freeze")]

    asyncio.run(main())


def test_no_operation_can_edit_or_delete_what_is_on_record() -> None:
    """There is none to be allowed or refused; `backup.restore` does not put back older logs either."""
    on_audit = [one for one in OPERATIONS if one.path.startswith("/v1/audit")]
    assert {(one.name, one.method) for one in on_audit} == {
        ("audit.list", "GET"),
        ("audit.verify", "GET"),
        ("audit.export", "POST"),
    }
    named = {one for one in Permission if one.startswith("audit.")}
    assert named == {Permission.AUDIT_READ, Permission.AUDIT_EXPORT}
