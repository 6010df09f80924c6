"""One process owns a session at any instant, and its epoch says which: the revision of the very write that made it so.

    acquire  nothing was there            -> held by us
    take     free, or its owner is gone   -> held by us, under a higher epoch
    move     held by us                   -> moving: still ours, and the successor's epoch is reserved
    free     moving                       -> free: nobody's
    end      held by us                   -> ended: the name is not used again while tokens for it are about

Every change replaces exactly the revision that was read, so of two who want the same session one gets it. The record says
nothing about time: its owner holds it for as long as the owner is a member (`members`).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum
from secrets import token_hex
from typing import Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.contract.surface import Coverage, Kept, Level, Row, Surface, Truth, cut
from rspp.control.names import LEASES, key, of_tenant, parts
from rspp.host.ports import Entry, Refused, Store

log = logging.getLogger("rspp.control.authority.leases")

# Longer than any token that could open the same session again.
TOMBSTONE_MS: Final = 15 * 60_000
MOVING_RETRY_MS: Final = 50


class LeaseState(StrEnum):
    HELD = "held"
    MOVING = "moving"
    FREE = "free"
    ENDED = "ended"
    REVOKED = "revoked"


OVER: Final = (LeaseState.ENDED, LeaseState.REVOKED)
OWNED: Final = (LeaseState.HELD, LeaseState.MOVING)  # in which its owner may act


class Lease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who owns a session, and what its next owner must know."""

    tenant_id: str
    session_id: str
    owner: str
    state: LeaseState = LeaseState.HELD
    epoch: int = 0  # 0: the revision of this very record
    reserved: int = 0  # of a session that moves: the epoch of whoever takes it
    graph_ref: str = ""
    region: str = ""
    resume_hash: str = ""
    token_id: str = ""
    opened_wall_ms: int = 0
    taken: int = 0  # how often it changed hands
    reason: str = ""
    playback_reports: bool = True
    write: str = ""  # of this write alone: tells whose it was when an answer was lost


class Held(msgspec.Struct, frozen=True):
    """A session as it is in the store."""

    lease: Lease
    revision: int

    @property
    def epoch(self) -> int:
        return self.lease.epoch or self.revision


_DECODE: Final = msgspec.json.Decoder(Lease).decode
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


def row_of(key: str, value: bytes) -> Row | None:
    """Who may act for a session, under which epoch. What opens its line again is not told."""
    try:
        lease = _DECODE(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if parts(key) != (lease.tenant_id, lease.session_id):
        return None
    revoked = lease.state is LeaseState.REVOKED
    return Row(
        aggregate_id=lease.session_id,
        tenant_id=lease.tenant_id,
        state=lease.state.value,
        level=Level.NOTICE if revoked else Level.OK,
        reason="lease_revoked" if revoked else "",
        message=cut(f"the authority over {lease.session_id} was withdrawn: {lease.reason}")
        if revoked
        else "",
        # When it was taken, freed, ended or revoked no record says.
        since_ms=lease.opened_wall_ms if lease.state is LeaseState.HELD and not lease.taken else 0,
        facts={
            "owner": cut(lease.owner),
            "epoch": lease.epoch,  # 0: the revision of the record itself
            "region": cut(lease.region),
            "graph": cut(lease.graph_ref),
            "taken": lease.taken,
            "opened_ms": lease.opened_wall_ms,
        },
        over=lease.state in OVER,
    )


SURFACE: Final = Surface(
    name="leases",
    owner=__name__,
    summary="Which process owns each session, and how often it changed hands.",
    aggregate_type="session",
    storage=f"kv:{LEASES}",
    truth=Truth.CANONICAL,
    read="GET /v1/sessions",
    affects_health=True,
    affects_actions=True,
    authority=True,
    coverage=Coverage.JOURNAL,
    kept=Kept(LEASES),
    row=row_of,
)

# May what this member owned be taken?
IsGone = Callable[[str], Awaitable[bool]]


def hash_of(secret: str) -> str:
    """What is kept of the secret that gives a session's line away."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def opens(lease: Lease, secret: str) -> bool:
    return bool(lease.resume_hash) and hmac.compare_digest(lease.resume_hash, hash_of(secret))


def held_of(entry: Entry) -> Held:
    try:
        return Held(_DECODE(entry.value), entry.revision)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("lease_unreadable", f"the lease of {entry.key} cannot be read: {error}") from error


class Leases:
    """The sessions of the store, as one member may change them."""

    def __init__(self, store: Store, member_id: str) -> None:
        self.member_id = member_id
        self._store = store

    async def get(self, tenant_id: str, session_id: str) -> Held | None:
        entry = await self._store.get(LEASES, key(tenant_id, session_id))
        return None if entry is None else held_of(entry)

    async def sessions(self, tenant_id: str | None = None) -> list[Held]:
        """All that are known, those that have just ended included. One that cannot be read hides no other."""
        found = []
        for name in await self._store.keys(LEASES, "" if tenant_id is None else of_tenant(tenant_id)):
            entry = await self._store.get(LEASES, name)
            if entry is None:
                continue
            try:
                found.append(held_of(entry))
            except Refused as error:
                log.warning("%s", error.message)
        return found

    # ---- becoming the owner ----------------------------------------------------------------------------------------

    async def acquire(self, lease: Lease) -> Held:
        """Own a session that nobody had; raises `Refused` if its name was used, for the same token must not open twice."""
        wanted = msgspec.structs.replace(lease, owner=self.member_id, state=LeaseState.HELD, epoch=0)
        held = await self._write(wanted, 0)
        if held is None:
            raise Refused(
                "session_exists", "a session of this name runs, or has run; resume it or take another name"
            )
        return held

    async def take(self, held: Held, is_gone: IsGone, region: str | None = None) -> Held:
        """Own a session whose owner is gone or has let go of it; raises `Refused` with the state in which it is.

        `region` is where it goes on; without it the region stays as it was.
        """
        lease = held.lease
        if lease.state in OVER:
            raise Refused("session_over", f"the session has ended: {lease.reason or lease.state.value}")
        if lease.state is not LeaseState.FREE and not await is_gone(lease.owner):
            if lease.state is LeaseState.MOVING:
                raise Refused("session_moving", "its owner is about to let go of it", MOVING_RETRY_MS)
            raise Refused("session_held", "another process owns the session", None)
        taken = msgspec.structs.replace(
            lease,
            owner=self.member_id,
            region=lease.region if region is None else region,
            state=LeaseState.HELD,
            epoch=lease.reserved if lease.state is LeaseState.FREE else 0,
            reserved=0,
            taken=lease.taken + 1,
            reason="",
        )
        mine = await self._write(taken, held.revision)
        if mine is None:
            raise Refused("session_held", "another process was first", MOVING_RETRY_MS)
        return mine

    # ---- as the owner ----------------------------------------------------------------------------------------------

    async def rotate(self, held: Held) -> Held | None:
        """The same owner under a new epoch; None if it is not ours any more."""
        return await self._write(msgspec.structs.replace(held.lease, epoch=0), held.revision)

    async def move(self, held: Held) -> Held | None:
        """Still ours, and about to be given away: `reserved` of what comes back is the successor's epoch."""
        moving = msgspec.structs.replace(held.lease, state=LeaseState.MOVING, epoch=held.epoch)
        mine = await self._write(moving, held.revision)
        if mine is None:
            return None
        return Held(msgspec.structs.replace(mine.lease, reserved=mine.revision), mine.revision)

    async def stay(self, held: Held) -> Held | None:
        """A move that came to nothing: it is ours as before."""
        staying = msgspec.structs.replace(held.lease, state=LeaseState.HELD, epoch=held.epoch, reserved=0)
        return await self._write(staying, held.revision)

    async def free(self, held: Held) -> Held | None:
        """Nobody's: whoever comes first has it, under the epoch that was reserved if there is one."""
        return await self._write(
            msgspec.structs.replace(held.lease, state=LeaseState.FREE, epoch=held.epoch), held.revision
        )

    async def end(self, held: Held, reason: str) -> Held | None:
        """Over, for good; None if it was not ours to end any more."""
        ended = msgspec.structs.replace(
            held.lease, state=LeaseState.ENDED, epoch=held.epoch, reason=reason, resume_hash=""
        )
        return await self._write(ended, held.revision, ttl_ms=TOMBSTONE_MS)

    # ---- as anybody who may ------------------------------------------------------------------------------------------

    async def revoke(self, tenant_id: str, session_id: str, reason: str) -> bool:
        """Withdraw the authority of whoever has it, and give it to nobody; False if there is none to withdraw."""
        while True:
            held = await self.get(tenant_id, session_id)
            if held is None or held.lease.state in OVER:
                return False
            revoked = msgspec.structs.replace(
                held.lease, state=LeaseState.REVOKED, epoch=held.epoch, reason=reason
            )
            if await self._write(revoked, held.revision, ttl_ms=TOMBSTONE_MS) is not None:
                return True

    async def _write(self, lease: Lease, expect: int, ttl_ms: int | None = None) -> Held | None:
        """Replace that revision; None for a lost race. An answer that was lost is looked up."""
        lease = msgspec.structs.replace(lease, write=token_hex(8))
        name = key(lease.tenant_id, lease.session_id)
        try:
            revision = await self._store.put(LEASES, name, _ENCODE(lease), expect=expect, ttl_ms=ttl_ms)
        except (RsppError, OSError):
            entry = await self._store.get(LEASES, name)
            if entry is None or entry.revision == expect or held_of(entry).lease.write != lease.write:
                raise  # not written, as far as anybody can say: and if it comes later, it is by this name and epoch
            revision = entry.revision
        return None if revision is None else Held(lease, revision)
