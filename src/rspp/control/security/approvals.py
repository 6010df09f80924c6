"""A change that needs consent is activated only with the sealed approval of somebody other than who proposed it, and only once.

    open ──> approved ──> used
      │         └──> (its time is over)
      └──> rejected, or its time is over

    bucket `approvals`          one `Proposal` each; its name begins with a hash of what is proposed
    bucket `approval-policy`    one record: which kinds of change need consent. None do until somebody says so

A proposal names the change by kind, target, tenant and the SHA-256 of its content, so what is approved is what is activated,
to the byte. The decision is sealed with the control plane's key and checked again at the activation: a record that somebody
wrote into the store by hand approves nothing. Proposals are kept for good: `trace` says who stood for what is deployed.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from secrets import token_hex
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError, PeerFault
from rspp.contract.event import NS_PER_MS
from rspp.contract.surface import Coverage, Kept, Level, Row, Surface, Truth, cut
from rspp.control.records import Records
from rspp.control.security.audit import Audit
from rspp.control.security.keys import KeyView
from rspp.control.security.roles import EVERYWHERE, Permission, Principal, allowed, tenant_name
from rspp.control.security.seals import Seal, seal_holds
from rspp.control.security.tokens import Signer
from rspp.host.clock import MachineClock
from rspp.host.ports import Clock, Store

PROPOSALS: Final = "approvals"
POLICY: Final = "approval-policy"
POLICY_KEY: Final = "policy"
PURPOSE: Final = "approval"
KIND: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
TEXT_CHARACTERS_MAX: Final = 400
LIFE_MS: Final = 72 * 3_600_000
LISTED_MAX: Final = 1_000
# The kind of a change of the rule itself; where anything needs consent, this does.
RULE: Final = "approvals.policy"
# What `production` asks consent for; `*` is every kind that there is.
PRODUCTION: Final = ("*",)


class ProposalState(StrEnum):
    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    USED = "used"


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One change, exactly: which kind, of what, whose (`*`: everybody's), and the SHA-256 of what it shall be."""

    kind: str
    target: str
    digest: str
    tenant_id: str = EVERYWHERE

    @property
    def name(self) -> str:
        said = (self.kind, self.tenant_id, self.target, self.digest)  # none of them has a line break
        return hashlib.sha256("\n".join(said).encode()).hexdigest()[:32]


class Proposal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    change: Change
    author: str
    reason: str
    created_at_ms: int
    expires_at_ms: int
    state: ProposalState = ProposalState.OPEN
    decided_by: str | None = None
    decided_at_ms: int | None = None
    decided_because: str = ""
    seal: Seal | None = None
    used_by: str | None = None
    used_at_ms: int | None = None

    @property
    def decision(self) -> bytes:
        """What is sealed: all that was known when it was decided, and by whom, and how."""
        undone = msgspec.structs.replace(self, seal=None, used_by=None, used_at_ms=None)
        if self.state is ProposalState.USED:
            undone = msgspec.structs.replace(undone, state=ProposalState.APPROVED)
        return _ENCODE(undone)


def row_of(key: str, value: bytes) -> Row | None:
    """A proposal as whoever may decide about it sees it; its seal is not told."""
    try:
        proposal = _DECODE(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if proposal.id != key:
        return None
    change = proposal.change
    waits = proposal.state is ProposalState.OPEN
    decided = proposal.state in (ProposalState.REJECTED, ProposalState.USED)
    return Row(
        aggregate_id=proposal.id,
        tenant_id=None if change.tenant_id == EVERYWHERE else change.tenant_id,
        state=proposal.state.value,
        level=Level.NOTICE if waits else Level.OK,
        reason="approval_waiting" if waits else "",
        message=cut(f"{proposal.author} asks for consent to {change.kind} of {change.target}")
        if waits
        else "",
        since_ms=proposal.decided_at_ms or proposal.created_at_ms,
        facts={
            "kind": cut(change.kind),
            "target": cut(change.target),
            "tenant": cut(change.tenant_id),
            "author": cut(proposal.author),
            "because": cut(proposal.reason),
            "decided_by": cut(proposal.decided_by or ""),
            "used_by": cut(proposal.used_by or ""),
            "expires_ms": proposal.expires_at_ms,
        },
        over=decided,
        until_ms=0 if decided else proposal.expires_at_ms,
    )


SURFACE: Final = Surface(
    name="approvals",
    owner=__name__,
    summary="Changes that need consent: which wait for it, who gave it, which were made with it.",
    aggregate_type="proposal",
    storage=f"kv:{PROPOSALS}",
    truth=Truth.CANONICAL,
    read="GET /v1/approvals",
    affects_health=True,
    affects_actions=True,
    authority=True,
    coverage=Coverage.JOURNAL,
    kept=Kept(PROPOSALS),
    row=row_of,
)


class ApprovalPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Kinds of change that need consent; `*` is all of them."""

    kinds: tuple[str, ...] = ()

    def needs(self, kind: str) -> bool:
        return "*" in self.kinds or kind in self.kinds or (kind == RULE and bool(self.kinds))


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal of what was asked about, and whether its seal holds today."""

    proposal: Proposal
    seal_holds: bool


class AlreadyUsed(PeerFault):
    """Somebody else activated the change with this approval."""

    def __init__(self) -> None:
        super().__init__("approval_closed", "the approval was used a moment ago")


_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode
_DECODE: Final = msgspec.json.Decoder(Proposal).decode


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Approvals:
    """Proposals, decisions about them, and the question whether a change may be activated."""

    def __init__(
        self, store: Store, audit: Audit, signer: Signer, keys: KeyView, clock: Clock | None = None
    ) -> None:
        self._records = Records(store, PROPOSALS)
        self._policy = Records(store, POLICY)
        self._audit = audit
        self._signer = signer
        self._keys = keys
        self._clock: Clock = clock or MachineClock()

    # ---- the rule --------------------------------------------------------------------------------------------------

    async def policy(self) -> ApprovalPolicy:
        """As the store has it now; raises what the store raises, for then nobody knows what needs consent."""
        found, _ = await self._policy.read(POLICY_KEY, ApprovalPolicy)
        return found or ApprovalPolicy()

    async def set_policy(self, by: Principal, policy: ApprovalPolicy, reason: str = "") -> None:
        """Where a rule is in force, changing it needs consent like everything else."""
        for kind in policy.kinds:
            if kind != "*" and not KIND.fullmatch(kind):
                raise MisuseError("approval_invalid", "a kind is a word such as rollout.change", "kinds")
        await self._may(by, Permission.APPROVALS_CHANGE, None, "approvals.policy", {})
        await self.require(RULE, POLICY_KEY, digest_of(_ENCODE(policy)), by)
        about = {"kinds": ",".join(policy.kinds)}
        async with self._audit.change(by.id, "approvals.policy", None, reason, about):
            await self._policy.change(POLICY_KEY, ApprovalPolicy, lambda _: policy)

    # ---- proposals -------------------------------------------------------------------------------------------------

    async def propose(
        self,
        by: Principal,
        kind: str,
        target: str,
        digest: str,
        *,
        tenant_id: str | None = None,
        reason: str = "",
        life_ms: int = LIFE_MS,
    ) -> Proposal:
        """Ask for consent to this change."""
        change = change_of(kind, target, digest, tenant_id)
        if not 0 < life_ms <= LIFE_MS or len(reason) > TEXT_CHARACTERS_MAX:
            raise MisuseError("approval_invalid", f"a proposal lives 1 to {LIFE_MS} ms; its reason is short")
        await self._may(by, Permission.APPROVALS_REQUEST, tenant_id, "approvals.propose", _facts(change))
        now = self._now_ms()
        made = Proposal(
            id=f"{change.name}-{token_hex(6)}",
            change=change,
            author=by.id,
            reason=reason,
            created_at_ms=now,
            expires_at_ms=now + life_ms,
        )
        about = {"proposal": made.id, **_facts(change)}
        async with self._audit.change(by.id, "approvals.propose", tenant_id, reason, about):
            await self._records.change(made.id, Proposal, lambda _: made)
        return made

    async def approve(self, by: Principal, proposal_id: str, reason: str = "") -> Proposal:
        """Consent, by somebody else than its author."""
        return await self._decide(by, proposal_id, ProposalState.APPROVED, reason)

    async def reject(self, by: Principal, proposal_id: str, reason: str = "") -> Proposal:
        """No. An author may take back their own."""
        return await self._decide(by, proposal_id, ProposalState.REJECTED, reason)

    async def get(self, proposal_id: str) -> Proposal | None:
        found, _ = await self._records.read(proposal_id, Proposal)
        return found

    async def proposals(self, tenant_id: str | None = None) -> list[Proposal]:
        """The newest of all, or of one tenant's, first."""
        names = await self._records.store.keys(PROPOSALS)
        found = [one for name in names if (one := await self.get(name)) is not None]
        mine = [one for one in found if tenant_id is None or one.change.tenant_id == tenant_id]
        return sorted(mine, key=lambda one: (-one.created_at_ms, one.id))[:LISTED_MAX]

    async def trace(self, kind: str, target: str, digest: str, tenant_id: str | None = None) -> list[Traced]:
        """Who proposed, who approved and who activated exactly this, oldest first."""
        found = await self._of(change_of(kind, target, digest, tenant_id))
        return [Traced(proposal=one, seal_holds=self._sealed(one)) for one in found]

    # ---- activation ------------------------------------------------------------------------------------------------

    async def require(
        self, kind: str, target: str, digest: str, by: Principal, *, tenant_id: str | None = None
    ) -> Proposal | None:
        """May this be activated now? None if it needs no consent; else the approval, which is used up hereby.

        Raises PeerFault `approval_missing`, which is on record. An approval is used before the change is made: a change that
        then fails needs another one, and none is ever made twice with one.
        """
        change = change_of(kind, target, digest, tenant_id)
        if not (await self.policy()).needs(kind):
            return None
        reasons = []
        for proposal in await self._of(change):
            reason = self._unusable(proposal)
            if reason is None:
                try:
                    return await self._use(proposal, by)
                except AlreadyUsed:
                    reason = "used"
            reasons.append(reason)
        why = reasons[-1] if reasons else "never proposed"
        await self._audit.denied(by.id, "approvals.require", tenant_id, "approval_missing", _facts(change))
        code = "approval_signature_invalid" if why == "its seal does not hold" else "approval_missing"
        raise PeerFault(code, f"{kind} of {target} needs the consent of another principal ({why})")

    async def _use(self, proposal: Proposal, by: Principal) -> Proposal:
        """Use it up; raises AlreadyUsed if somebody else did."""
        now = self._now_ms()

        def decide(old: Proposal | None) -> Proposal:
            if old is None or old.state is not ProposalState.APPROVED:
                raise AlreadyUsed
            return msgspec.structs.replace(old, state=ProposalState.USED, used_by=by.id, used_at_ms=now)

        about = {"proposal": proposal.id, "approver": proposal.decided_by or "", **_facts(proposal.change)}
        async with self._audit.change(by.id, "approvals.use", proposal.change.tenant_id, "", about):
            return await self._records.change(proposal.id, Proposal, decide)

    async def _decide(self, by: Principal, proposal_id: str, state: ProposalState, reason: str) -> Proposal:
        known = await self.get(proposal_id)
        if known is None:
            raise PeerFault("approval_unknown", "there is no such proposal")
        if len(reason) > TEXT_CHARACTERS_MAX:
            raise MisuseError("approval_invalid", f"a reason has at most {TEXT_CHARACTERS_MAX} characters")
        action = f"approvals.{'approve' if state is ProposalState.APPROVED else 'reject'}"
        tenant = known.change.tenant_id
        about = {"proposal": known.id, "author": known.author, **_facts(known.change)}
        own = by.id == known.author
        if own and state is ProposalState.APPROVED:
            await self._audit.denied(by.id, action, tenant, "approval_self", about)
            raise PeerFault("approval_self", "who proposed a change may not approve it")
        if not own:
            await self._may(by, Permission.APPROVALS_DECIDE, tenant, action, about)
        now = self._now_ms()

        def decide(old: Proposal | None) -> Proposal:
            if old is None or old.state is not ProposalState.OPEN or now >= old.expires_at_ms:
                raise PeerFault("approval_closed", "the proposal is decided already, or its time is over")
            decided = msgspec.structs.replace(
                old, state=state, decided_by=by.id, decided_at_ms=now, decided_because=reason
            )
            seal = self._signer.seal(PURPOSE, decided.decision, now)
            return msgspec.structs.replace(decided, seal=seal)

        async with self._audit.change(by.id, action, tenant, reason, about):
            return await self._records.change(known.id, Proposal, decide)

    # ---- what is asked of both -------------------------------------------------------------------------------------

    async def _of(self, change: Change) -> list[Proposal]:
        """All proposals of exactly this, oldest first."""
        names = await self._records.store.keys(PROPOSALS, f"{change.name}-")
        found = [one for name in names if (one := await self.get(name)) is not None and one.change == change]
        return sorted(found, key=lambda one: (one.created_at_ms, one.id))

    def _unusable(self, proposal: Proposal) -> str | None:
        """Why nothing may be activated with this; None if it may."""
        if proposal.state is not ProposalState.APPROVED:
            return proposal.state.value
        if self._now_ms() >= proposal.expires_at_ms:
            return "its time is over"
        return None if self._sealed(proposal) else "its seal does not hold"

    def _sealed(self, proposal: Proposal) -> bool:
        """Was this decided by another one than the author, as the seal says?"""
        seal = proposal.seal
        if seal is None or seal.at_ms != proposal.decided_at_ms or proposal.decided_by is None:
            return False
        two = proposal.decided_by != proposal.author or proposal.state is ProposalState.REJECTED
        return two and seal_holds(self._keys, PURPOSE, proposal.decision, seal)

    async def _may(
        self,
        by: Principal,
        permission: Permission,
        tenant_id: str | None,
        action: str,
        about: dict[str, str],
    ) -> None:
        if not allowed(by, permission, tenant_id):
            await self._audit.denied(by.id, action, tenant_id, "permission_denied", about)
            raise PeerFault("permission_denied", f"this needs the permission {permission.value}")

    def _now_ms(self) -> int:
        return self._clock.wall() // NS_PER_MS


def change_of(kind: str, target: str, digest: str, tenant_id: str | None) -> Change:
    """The change, if these name one; raises `MisuseError`."""
    if not KIND.fullmatch(kind):
        raise MisuseError("approval_invalid", "a kind is a word such as rollout.change", "kind")
    if not DIGEST.fullmatch(digest):
        raise MisuseError("approval_invalid", "a digest is a SHA-256 in lower case", "digest")
    if not 0 < len(target) <= TEXT_CHARACTERS_MAX or not target.isprintable():
        raise MisuseError("approval_invalid", "a target is a name of printable characters", "target")
    return Change(kind=kind, target=target, digest=digest, tenant_id=tenant_name(tenant_id or EVERYWHERE))


def _facts(change: Change) -> dict[str, str]:
    return {"kind": change.kind, "target": change.target, "digest": change.digest}
