"""Where consent is asked for, no pipeline, policy or rollout is activated without that of somebody else, whoever asks."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rspp.contract.codec import from_plain
from rspp.contract.errors import PeerFault
from rspp.control.operations import OPERATIONS
from rspp.control.operations.calling import call, digest_of, target_of
from rspp.control.plane import ControlPlane
from rspp.control.security.approvals import PRODUCTION, ApprovalPolicy
from rspp.control.security.audit_view import AuditQuery, page
from rspp.control.security.roles import EVERYWHERE, Principal, Role
from tests.unit.control.published import spec_text
from tests.unit.control.ruled import Ruled

BY_NAME = {one.name: one for one in OPERATIONS}
ANN = Principal(id="ann", roles={EVERYWHERE: (Role.ADMIN,)})
BEN = Principal(id="ben", roles={EVERYWHERE: (Role.ADMIN,)})
POLICY = json.dumps({"facts": {"calm": True}})

# What activates a pipeline, a rollout and a policy, in an order in which each can be done.
CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("rollout.begin", {"pipeline": "voice", "version": "v1", "reason": "first"}),
    ("rollout.canary", {"pipeline": "voice", "version": "v2", "percent": 10, "reason": "a try"}),
    ("rollout.promote", {"pipeline": "voice", "version": "v2", "reason": "good"}),
    ("policies.activate", {"tenant": EVERYWHERE, "version": "p1", "reason": "calmer"}),
]


class Door:
    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane

    async def does(self, by: Principal, name: str, fields: dict[str, Any]) -> Any:
        return await call(self.plane, by, BY_NAME[name], from_plain(fields, BY_NAME[name].request))

    async def refused(self, code: str, by: Principal, name: str, fields: dict[str, Any]) -> None:
        with pytest.raises(PeerFault) as error:
            await self.does(by, name, fields)
        assert error.value.code == code

    async def said(self) -> list[tuple[str, str, str]]:
        found = await page(self.plane.store, AuditQuery(limit=1_000))
        return [
            (one.record.decision, one.record.principal_id, one.record.action) for one in found.entries[::-1]
        ]


@pytest.mark.proves("F-165")
def test_pipeline_policy_and_rollout_changes_wait_for_another_principals_consent(tmp_path: Path) -> None:
    async def main() -> None:
        ruled = await Ruled(tmp_path).begin()
        plane = ControlPlane(ruled.store, clock=ruled.clock, keys=ruled.folder)
        await plane.load()
        door = Door(plane)
        for version in ("v1", "v2"):
            await door.does(ANN, "pipelines.publish", {"text": spec_text(version)})
        await door.does(ANN, "policies.publish", {"tenant": EVERYWHERE, "version": "p1", "text": POLICY})
        await plane.approvals.set_policy(ANN, ApprovalPolicy(kinds=PRODUCTION))
        for name, fields in CHANGES:
            tenant = fields.get("tenant", EVERYWHERE)
            # Unapproved: blocked, on record, and nothing has changed.
            await door.refused("approval_missing", ANN, name, fields)
            assert (await door.said())[-1] == ("deny", "ann", "approvals.require")
            asked = {"tenant": tenant, "operation": name, "request": fields, "reason": "please"}
            proposal = (await door.does(ANN, "approvals.propose", asked)).proposal
            decided = {"tenant": tenant, "proposal": proposal, "reason": "looked at it"}
            await door.refused("approval_self", ANN, "approvals.approve", decided)
            await door.refused("approval_missing", ANN, name, fields)
            await door.does(BEN, "approvals.approve", decided)
            await door.does(ANN, name, fields)
            said = await door.said()
            assert ("deny", "ann", "approvals.approve") in said
            assert ("done", "ben", "approvals.approve") in said
            assert said[-1] == ("done", "ann", name)
            # The consent is used up, and who gave it can be asked.
            request = from_plain(fields, BY_NAME[name].request)
            (traced,) = await plane.approvals.trace(
                name, target_of(BY_NAME[name], request), digest_of(request)
            )
            assert traced.seal_holds
            assert (traced.proposal.author, traced.proposal.decided_by) == ("ann", "ben")
            assert traced.proposal.used_by == "ann"
            await door.refused("approval_missing", ANN, name, fields)
        # The way back waits for nobody.
        await door.does(ANN, "rollout.freeze", {"pipeline": "voice", "reason": "incident"})

    asyncio.run(main())
