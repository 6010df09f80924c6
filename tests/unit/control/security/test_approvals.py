"""What needs consent is activated with the sealed consent of another principal, once, as it was proposed, and not otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import RsppError
from rspp.control.security.approvals import (
    LIFE_MS,
    POLICY,
    PRODUCTION,
    PROPOSALS,
    RULE,
    ApprovalPolicy,
    Approvals,
    Proposal,
    ProposalState,
    digest_of,
)
from rspp.control.security.principals import EVERYWHERE, Principal, Role
from tests.unit.control.ruled import Ruled
from tests.unit.control.signed import Pair

ANN = Principal(id="ann", roles={EVERYWHERE: (Role.ADMIN,)})
BEN = Principal(id="ben", roles={EVERYWHERE: (Role.ADMIN,)})
OPERATOR = Principal(id="oda", roles={EVERYWHERE: (Role.OPERATOR,)})
DIGEST = digest_of(b"the new rollout")
WHAT = ("rollout.change", "support", DIGEST)


class Agreed:
    def __init__(self, ruled: Ruled) -> None:
        self.ruled = ruled
        self.approvals = Approvals(ruled.store, ruled.audit, ruled.signer, ruled.ring, ruled.clock)

    async def approved(self, **asked: Any) -> Proposal:
        proposal = await self.approvals.propose(ANN, *WHAT, **asked)
        return await self.approvals.approve(BEN, proposal.id, "looked at it")

    async def put(self, proposal: Proposal, **changes: Any) -> None:
        """As somebody with access to the store would."""
        other = msgspec.structs.replace(proposal, **changes)
        await self.ruled.store.put(PROPOSALS, other.id, msgspec.json.encode(other))


async def fails(code: str, work: Awaitable[object]) -> None:
    with pytest.raises(RsppError) as error:
        await work
    assert error.value.code == code


def agreed(tmp_path: Path, body: Callable[[Agreed, Approvals], Awaitable[None]], *, on: bool = True) -> None:
    async def main() -> None:
        own = Agreed(await Ruled(tmp_path).begin())
        if on:
            await own.approvals.set_policy(ANN, ApprovalPolicy(kinds=PRODUCTION))
        await body(own, own.approvals)

    asyncio.run(main())


def test_nothing_needs_consent_until_somebody_says_so(tmp_path: Path) -> None:
    async def body(_own: Agreed, approvals: Approvals) -> None:
        assert await approvals.require(*WHAT, ANN) is None
        await approvals.set_policy(ANN, ApprovalPolicy(kinds=("rollout.change",)))
        assert await approvals.require("pipelines.publish", "support", DIGEST, ANN) is None
        await fails("approval_missing", approvals.require(*WHAT, ANN))

    agreed(tmp_path, body, on=False)


def test_an_unapproved_change_is_blocked_and_on_record_and_another_principals_consent_lets_it_through_once(
    tmp_path: Path,
) -> None:
    async def body(own: Agreed, approvals: Approvals) -> None:
        await fails("approval_missing", approvals.require(*WHAT, ANN))
        proposal = await approvals.propose(ANN, *WHAT, reason="more room")
        await fails("approval_missing", approvals.require(*WHAT, ANN))
        await fails("approval_self", approvals.approve(ANN, proposal.id))
        await fails("approval_missing", approvals.require(*WHAT, ANN))
        await approvals.approve(BEN, proposal.id, "looked at it")
        used = await approvals.require(*WHAT, ANN)
        assert used is not None
        assert (used.state, used.author, used.decided_by, used.used_by) == ("used", "ann", "ben", "ann")
        await fails("approval_missing", approvals.require(*WHAT, ANN))
        said = await own.ruled.said()
        assert [one for one in said if one[0] == "deny"] == [
            *[("deny", "ann", "approval_missing")] * 2,
            ("deny", "ann", "approval_self"),
            *[("deny", "ann", "approval_missing")] * 2,
        ]
        assert ("done", "ben", "looked at it") in await own.ruled.said("approvals.approve")
        (end,) = [one for one in await own.ruled.on_record("approvals.use") if one.record.decision == "done"]
        assert end.record.facts["approver"] == "ben"

    agreed(tmp_path, body)


def test_a_tenant_with_many_proposals_hides_nobody_elses_and_the_newest_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(own: Agreed, approvals: Approvals) -> None:
        monkeypatch.setattr("rspp.control.security.approvals.LISTED_MAX", 2)
        mine = await approvals.propose(ANN, *WHAT, tenant_id="acme")
        last = mine
        for number in range(8):
            own.ruled.clock.advance(1)
            last = await approvals.propose(ANN, "quotas.change", f"q{number}", DIGEST, tenant_id="other")
        assert await approvals.proposals("acme") == [mine]
        everybodys = await approvals.proposals()
        assert (len(everybodys), everybodys[0]) == (2, last)

    agreed(tmp_path, body, on=False)


def test_consent_is_for_this_kind_target_tenant_and_content_and_for_nothing_like_it(tmp_path: Path) -> None:
    async def body(own: Agreed, approvals: Approvals) -> None:
        await own.approved()
        for other in (
            ("rollout.freeze", "support", DIGEST),
            ("rollout.change", "support2", DIGEST),
            ("rollout.change", "support", digest_of(b"something else")),
        ):
            await fails("approval_missing", approvals.require(*other, ANN))
        await fails("approval_missing", approvals.require(*WHAT, ANN, tenant_id="acme"))
        assert await approvals.require(*WHAT, ANN) is not None
        await own.approved(tenant_id="acme")
        await fails("approval_missing", approvals.require(*WHAT, ANN))
        assert await approvals.require(*WHAT, ANN, tenant_id="acme") is not None

    agreed(tmp_path, body)


def test_who_may_not_propose_or_decide_does_not_and_is_on_record(tmp_path: Path) -> None:
    async def body(own: Agreed, approvals: Approvals) -> None:
        proposal = await approvals.propose(OPERATOR, *WHAT)
        viewer = Principal(id="vic", roles={EVERYWHERE: (Role.VIEWER,)})
        other = Principal(id="tom", roles={"acme": (Role.ADMIN,)})
        for by in (Principal(id="nob"), viewer, other):
            await fails("permission_denied", approvals.propose(by, *WHAT))
            await fails("permission_denied", approvals.set_policy(by, ApprovalPolicy()))
            await fails("permission_denied", approvals.approve(by, proposal.id))
            await fails("permission_denied", approvals.reject(by, proposal.id))
        second = Principal(id="olaf", roles={EVERYWHERE: (Role.OPERATOR,)})
        await fails("permission_denied", approvals.approve(second, proposal.id))
        denied = [one for one in await own.ruled.said() if one[0] == "deny"]
        assert len(denied) == 13
        await approvals.reject(OPERATOR, proposal.id, "taken back")  # one's own
        # A tenant's admin decides about that tenant's.
        inside = await approvals.propose(ANN, *WHAT, tenant_id="acme")
        await approvals.approve(other, inside.id)
        outside = await approvals.propose(ANN, *WHAT, tenant_id="other")
        await fails("permission_denied", approvals.approve(other, outside.id))

    agreed(tmp_path, body)


def test_what_was_decided_stays_so_and_what_is_over_time_is_worth_nothing(tmp_path: Path) -> None:
    async def body(own: Agreed, approvals: Approvals) -> None:
        rejected = await approvals.propose(ANN, *WHAT)
        await approvals.reject(BEN, rejected.id)
        await fails("approval_closed", approvals.approve(BEN, rejected.id))
        await fails("approval_missing", approvals.require(*WHAT, ANN))
        late = await approvals.propose(ANN, *WHAT, life_ms=1_000)
        own.ruled.clock.advance(1_000)
        await fails("approval_closed", approvals.approve(BEN, late.id))
        await own.approved(life_ms=1_000)
        own.ruled.clock.advance(1_000)
        await fails("approval_missing", approvals.require(*WHAT, ANN))
        await fails("approval_unknown", approvals.approve(BEN, "nothing"))
        for life in (0, -1, LIFE_MS + 1):
            await fails("approval_invalid", approvals.propose(ANN, *WHAT, life_ms=life))

    agreed(tmp_path, body)


def test_of_many_who_activate_with_one_consent_one_does(tmp_path: Path) -> None:
    async def body(own: Agreed, approvals: Approvals) -> None:
        await own.approved()
        asked = [approvals.require(*WHAT, ANN) for _ in range(8)]
        got = await asyncio.gather(*asked, return_exceptions=True)
        assert len([one for one in got if isinstance(one, Proposal)]) == 1

    agreed(tmp_path, body)


@pytest.mark.parametrize(
    "changes",
    [
        {"decided_by": "eve"},
        {"decided_because": "other"},
        {"author": "eve"},
        {"reason": "other"},
        {"expires_at_ms": 2**50},
        {"decided_at_ms": 1},
        {"seal": None},
    ],
)
def test_a_record_that_was_written_by_hand_approves_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    async def body(own: Agreed, approvals: Approvals) -> None:
        await own.put(await own.approved(), **changes)
        await fails("approval_signature_invalid", approvals.require(*WHAT, ANN))

    agreed(tmp_path, body)


def test_no_approval_can_be_made_up_lent_or_given_to_oneself_in_the_store(tmp_path: Path) -> None:
    async def body(own: Agreed, approvals: Approvals) -> None:
        approved = await own.approved()
        forger = Pair(9)
        sealed = forger.signer.seal("approval", approved.decision, approved.decided_at_ms or 0)
        await own.put(approved, seal=sealed)
        await fails("approval_signature_invalid", approvals.require(*WHAT, ANN))
        # A rejection that is made an approval; a used one that is made fresh; a seal of another proposal.
        rejected = await approvals.reject(BEN, (await approvals.propose(ANN, *WHAT)).id)
        await own.put(rejected, state=ProposalState.APPROVED)
        await fails("approval_signature_invalid", approvals.require(*WHAT, ANN))
        other = await approvals.propose(ANN, *WHAT)
        await own.put(
            other,
            state=ProposalState.APPROVED,
            decided_by="ben",
            decided_at_ms=approved.decided_at_ms,
            seal=approved.seal,
        )
        await fails("approval_signature_invalid", approvals.require(*WHAT, ANN))
        # An approval for other content under the name of this.
        elsewhere = await approvals.propose(ANN, "rollout.change", "support", digest_of(b"x"))
        elsewhere = await approvals.approve(BEN, elsewhere.id)
        await own.put(elsewhere, id=other.id)
        await fails("approval_signature_invalid", approvals.require(*WHAT, ANN))
        # The seal of a key that was revoked since.
        good = await own.approved()
        await own.ruled.rotation.revoke(own.ruled.rotation.list()[0].kid, "ann", "leaked")
        await fails("approval_signature_invalid", approvals.require(*WHAT, ANN))
        holds = {one.proposal.id: one.seal_holds for one in await approvals.trace(*WHAT)}
        assert not holds[good.id]

    agreed(tmp_path, body)


def test_who_stood_for_what_is_deployed_can_be_asked_long_after_the_key_is_too_old_to_sign(
    tmp_path: Path,
) -> None:
    async def body(own: Agreed, approvals: Approvals) -> None:
        await own.approved()
        await approvals.require(*WHAT, OPERATOR)
        own.ruled.clock.advance(10**9)
        await own.ruled.ring.load()
        (one,) = await approvals.trace(*WHAT)
        assert one.seal_holds
        assert one.proposal.seal is not None
        assert one.proposal.seal.kid == own.ruled.rotation.list()[0].kid
        assert (one.proposal.author, one.proposal.decided_by, one.proposal.used_by) == ("ann", "ben", "oda")
        assert await approvals.trace("rollout.change", "support", digest_of(b"never approved")) == []

    agreed(tmp_path, body)


def test_the_rule_itself_is_changed_with_consent_alone(tmp_path: Path) -> None:
    async def body(own: Agreed, approvals: Approvals) -> None:
        off = ApprovalPolicy()
        await fails("approval_missing", approvals.set_policy(ANN, off))
        digest = digest_of(msgspec.json.encode(off, order="deterministic"))
        proposal = await approvals.propose(ANN, RULE, "policy", digest)
        await approvals.approve(BEN, proposal.id)
        await approvals.set_policy(ANN, off)
        assert not (await approvals.policy()).kinds
        await fails("approval_invalid", approvals.set_policy(ANN, ApprovalPolicy(kinds=("No Kind",))))
        # A rule that cannot be read forbids: nobody knows what needs consent.
        await own.ruled.store.put(POLICY, "policy", b"{")
        await fails("store_record_unusable", approvals.require(*WHAT, ANN))

    agreed(tmp_path, body)


@pytest.mark.parametrize(
    "what",
    [
        ("Rollout", "t", DIGEST),
        ("", "t", DIGEST),
        ("a", "", DIGEST),
        ("a", "t\n", DIGEST),
        ("a", "t" * 401, DIGEST),
        ("a", "t", DIGEST.upper()),
        ("a", "t", DIGEST[1:]),
        ("a", "t", ""),
    ],
)
def test_what_names_no_change_is_refused(tmp_path: Path, what: tuple[str, str, str]) -> None:
    async def body(_own: Agreed, approvals: Approvals) -> None:
        await fails("approval_invalid", approvals.propose(ANN, *what))
        await fails("approval_invalid", approvals.require(*what, ANN))

    agreed(tmp_path, body)
