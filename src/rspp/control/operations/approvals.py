"""Approvals: where the rule asks for it, a change waits for the consent of somebody other than who proposed it.

A proposal is an operation with its fields, exactly, the reason apart. Once it is approved, that operation with those fields is
done once; with any other field it is another change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from rspp.contract.codec import from_plain
from rspp.contract.errors import MisuseError
from rspp.control.operations.backup import RESTORE, RESTORE_PATH
from rspp.control.operations.calling import digest_of, target_of
from rspp.control.operations.documents import POLICIES, PROVIDER_CONFIGS
from rspp.control.operations.operation import TENANT_FIELD, NotFound, Nothing, Operation, Request, Response
from rspp.control.operations.rollout import ROLLOUTS
from rspp.control.operations.words import NAME_MAX, Reason
from rspp.control.security.approvals import POLICY_KEY, RULE, ApprovalPolicy, Proposal, ProposalState
from rspp.control.security.approvals import digest_of as rule_digest
from rspp.control.security.roles import EVERYWHERE, Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

SET_RULE: Final = "approvals.set_rule"
_POLICY: Final = msgspec.json.Encoder(order="deterministic").encode

Whose = Annotated[str, Meta(min_length=1, max_length=NAME_MAX, description="Whose; * is the whole fleet's.")]


class Propose(Request, frozen=True, kw_only=True):
    tenant: Whose
    operation: Annotated[str, Meta(max_length=64, description="What is to be done, as in `rollout.promote`.")]
    request: Annotated[dict[str, Any], Meta(description="Its fields, as they will be sent.")]
    reason: Reason


class ListProposals(Request, frozen=True, kw_only=True):
    tenant: Annotated[str, Meta(description="Whose; without it, all.")] | None = None
    open: Annotated[bool, Meta(description="Only those that nobody has decided.")] = False


class Decide(Request, frozen=True, kw_only=True):
    tenant: Whose
    proposal: Annotated[str, Meta(min_length=1, max_length=100, description="The proposal's name.")]
    reason: Reason


class SetRule(Request, frozen=True, kw_only=True):
    kinds: Annotated[
        tuple[str, ...],
        Meta(max_length=64, description="Operations that need consent; * is every one that can."),
    ]
    reason: Reason


class RestoreOf(Request, frozen=True, kw_only=True):
    """A restore, as consent is given to it: the file by its hash, as its first line says it."""

    sha256: str


class ProposalItem(Response, frozen=True, kw_only=True):
    proposal: str
    operation: str
    target: str
    tenant: str
    digest: str
    state: ProposalState
    author: str
    reason: str
    created_at_ms: int
    expires_at_ms: int
    decided_by: str | None
    decided_because: str
    used_by: str | None


class ProposalList(Response, frozen=True, kw_only=True):
    items: list[ProposalItem]


class Rule(Response, frozen=True, kw_only=True):
    kinds: tuple[str, ...]


def item_of(one: Proposal) -> ProposalItem:
    return ProposalItem(
        proposal=one.id,
        operation=one.change.kind,
        target=one.change.target,
        tenant=one.change.tenant_id,
        digest=one.change.digest,
        state=one.state,
        author=one.author,
        reason=one.reason,
        created_at_ms=one.created_at_ms,
        expires_at_ms=one.expires_at_ms,
        decided_by=one.decided_by,
        decided_because=one.decided_because,
        used_by=one.used_by,
    )


async def propose(plane: ControlPlane, by: Principal, asked: Propose) -> ProposalItem:
    kind, target, digest, tenant = _change(asked)
    if tenant != asked.tenant:
        raise MisuseError("approval_invalid", "the change is not that tenant's", TENANT_FIELD)
    done = await plane.approvals.propose(
        by,
        kind,
        target,
        digest,
        tenant_id=None if tenant == EVERYWHERE else tenant,
        reason=asked.reason,
    )
    return item_of(done)


def _change(asked: Propose) -> tuple[str, str, str, str]:
    """Kind, target, digest and tenant of what is to be done. The rule has a name of its own, a backup its hash."""
    if asked.operation == SET_RULE:
        kinds = from_plain(asked.request, SetRule).kinds
        digest = rule_digest(_POLICY(ApprovalPolicy(kinds=kinds)))
        return RULE, POLICY_KEY, digest, EVERYWHERE
    if asked.operation == RESTORE:
        return RESTORE, RESTORE_PATH, from_plain(asked.request, RestoreOf).sha256, EVERYWHERE
    operation = _approvable().get(asked.operation)
    if operation is None:
        message = f"{asked.operation[:64]!r} is nothing that waits for consent"
        raise MisuseError("approval_invalid", message, "operation")
    request = from_plain(asked.request, operation.request)
    tenant = getattr(request, TENANT_FIELD, None) or EVERYWHERE
    return operation.name, target_of(operation, request), digest_of(request), tenant


def _approvable() -> dict[str, Operation]:
    """What can wait for consent."""
    return {one.name: one for one in (*ROLLOUTS, *POLICIES, *PROVIDER_CONFIGS) if one.approval}


async def list_proposals(plane: ControlPlane, _: Principal, asked: ListProposals) -> ProposalList:
    found = await plane.approvals.proposals(asked.tenant)
    return ProposalList(
        items=[item_of(one) for one in found if not asked.open or one.state is ProposalState.OPEN]
    )


async def approve(plane: ControlPlane, by: Principal, asked: Decide) -> ProposalItem:
    await _proposal(plane, asked)
    return item_of(await plane.approvals.approve(by, asked.proposal, asked.reason))


async def reject(plane: ControlPlane, by: Principal, asked: Decide) -> ProposalItem:
    await _proposal(plane, asked)
    return item_of(await plane.approvals.reject(by, asked.proposal, asked.reason))


async def _proposal(plane: ControlPlane, asked: Decide) -> Proposal:
    """A proposal of that tenant; another's is not there."""
    found = await plane.approvals.get(asked.proposal)
    if found is None or found.change.tenant_id != asked.tenant:
        raise NotFound
    return found


async def show_rule(plane: ControlPlane, _: Principal, __: Nothing) -> Rule:
    return Rule(kinds=(await plane.approvals.policy()).kinds)


async def set_rule(plane: ControlPlane, by: Principal, asked: SetRule) -> Rule:
    able = sorted({RESTORE, *_approvable()})
    unknown = sorted(set(asked.kinds) - {EVERYWHERE, RULE, *able})
    if unknown:  # a word that is written wrongly would guard nothing
        message = f"{unknown[0][:64]!r} never waits for consent; these can: {', '.join(able)}"
        raise MisuseError("approval_invalid", message, "kinds")
    await plane.approvals.set_policy(by, ApprovalPolicy(kinds=asked.kinds), asked.reason)
    return Rule(kinds=asked.kinds)


_ALL: Final = "/v1/tenants/{tenant}/approvals"
_DECIDED: Final = {"tenant": "*", "proposal": "PROPOSAL", "reason": "seen and tried"}

# Proposals are on record by the class that keeps them, so these rows do not write them down a second time.
APPROVALS: Final = (
    Operation(
        name="approvals.propose",
        method="POST",
        path=_ALL,
        request=Propose,
        response=ProposalItem,
        permission=Permission.APPROVALS_REQUEST,
        handler=propose,
        summary="Propose a change, for somebody else to approve.",
        example={
            "tenant": "*",
            "operation": "rollout.promote",
            "request": {"pipeline": "front-desk", "version": "v1.4.2", "reason": "no regressions"},
            "reason": "v1.4.2 for everybody",
        },
        audited=False,
    ),
    Operation(
        name="approvals.list",
        method="GET",
        path="/v1/approvals",
        request=ListProposals,
        response=ProposalList,
        permission=Permission.APPROVALS_READ,
        handler=list_proposals,
        summary="List proposals, of one tenant or of all, the newest first.",
        example={"open": True},
    ),
    Operation(
        name="approvals.approve",
        method="POST",
        path=f"{_ALL}/{{proposal}}/approve",
        request=Decide,
        response=ProposalItem,
        permission=Permission.APPROVALS_DECIDE,
        handler=approve,
        summary="Approve a change that somebody else has proposed; it may then be made, once.",
        example=_DECIDED,
        audited=False,
    ),
    Operation(
        name="approvals.reject",
        method="POST",
        path=f"{_ALL}/{{proposal}}/reject",
        request=Decide,
        response=ProposalItem,
        permission=Permission.APPROVALS_DECIDE,
        handler=reject,
        summary="Reject a change that was proposed.",
        example=_DECIDED,
        audited=False,
    ),
    Operation(
        name="approvals.rule",
        method="GET",
        path="/v1/approval-rule",
        request=Nothing,
        response=Rule,
        permission=Permission.APPROVALS_READ,
        handler=show_rule,
        summary="Show which changes wait for consent.",
    ),
    Operation(
        name=SET_RULE,
        method="PUT",
        path="/v1/approval-rule",
        request=SetRule,
        response=Rule,
        permission=Permission.APPROVALS_CHANGE,
        handler=set_rule,
        summary="Say which changes wait for consent; where anything does, a change of this rule does too.",
        example={"kinds": ["rollout.promote", "policies.activate"], "reason": "production"},
        audited=False,
        idempotent=True,
    ),
)
