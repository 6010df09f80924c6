"""A process of the fleet holds its membership as a lease that it renews; everything that it owns hangs on that one lease.

    join -> renew every fifth of the ttl, by compare-and-set ... -> leave
                       |
            somebody sees it unchanged for its ttl -> fence: state `lost`, by compare-and-set

Both sides count on their own clock, and only time that has passed, never the time of day. A process counts itself out at
ttl after it *sent* its last successful renewal. Whoever wants to fence counts ttl from when it *saw* that renewal, which is
later. The fence replaces exactly the revision that was seen, so a renewal that came meanwhile wins, and after it no
renewal succeeds. So at no instant does a process act for a session while another one may.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from secrets import token_hex
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.contract.surface import Coverage, Kept, Level, Row, Surface, Truth, cut
from rspp.control.names import MEMBERS, encoded, parts
from rspp.host.ports import Clock, Entry, Store

log = logging.getLogger("rspp.control.authority.members")

TTL_MS: Final = 15_000
TTL_MS_MIN: Final = 3_000
TTL_MS_MAX: Final = 300_000
# Clocks of two machines may run at rates that differ by so much.
DRIFT: Final = 1.02
# So that four fifths of the ttl are left when the store loses its leader, and an election is outlived.
BEATS_PER_TTL: Final = 5
# A renewal that failed is tried again after so much of the ttl.
RETRY_OF_TTL: Final = 0.05
# Records of processes that are gone stay, so that their sessions are known to be free, and then go by themselves.
GONE_TTL_MS: Final = 24 * 3_600_000
# For so long a lost process is a trouble that somebody should look at; then it is a thing of the past.
LOST_SHOWN_MS: Final = 600_000
WORKER: Final = "worker"


class MemberState(StrEnum):
    UP = "up"
    DRAINING = "draining"
    LEFT = "left"
    LOST = "lost"


GONE: Final = (MemberState.LEFT, MemberState.LOST)


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One process, from its start to its end. Its id is never used again."""

    id: str
    kind: str  # worker, control
    ttl_ms: int
    state: MemberState = MemberState.UP
    endpoint: str = ""  # where callers reach this very process
    shared_endpoint: str = ""  # where they reach it and its siblings
    region: str = "local"
    zone: str = ""
    labels: dict[str, str] = {}
    capacity: int = 0
    sessions: int = 0
    ready: bool = False
    reasons: tuple[str, ...] = ()  # why it is not ready
    load: float = 0.0  # 0 idle, 1 as much as it may bear
    versions: dict[str, str] = {}
    joined_wall_ms: int = 0
    beat: int = 0
    reason: str = ""  # why it left or was lost


class Seen(msgspec.Struct, frozen=True):
    """A member's record, and when this process saw it change last, on its own clock."""

    member: Member
    revision: int
    at: int


_DECODE: Final = msgspec.json.Decoder(Member).decode
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


def new_member_id(name: str) -> str:
    """`<name>-<boot>`: of one life of one process."""
    return f"{name}-{token_hex(6)}"


def member_of(entry: Entry) -> Member | None:
    """None for a record that cannot be read: nobody acts upon it."""
    try:
        return _DECODE(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def row_of(key: str, value: bytes) -> Row | None:
    """A process as an operator sees it. Beats are none of it; who renews no more is found silent by who looks."""
    try:
        member = _DECODE(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if parts(key) != (member.id,):
        return None
    level, reason, message = _well(member)
    facts: dict[str, str | int | float | bool] = {
        "kind": cut(member.kind),
        "region": cut(member.region),
        "zone": cut(member.zone),
        "endpoint": cut(member.endpoint),
        "shared_endpoint": cut(member.shared_endpoint),
        "sessions": member.sessions,
        "capacity": member.capacity,
        "load": round(member.load, 2),
        "ready": member.ready,
        "joined_ms": member.joined_wall_ms,
        **{f"version.{name}"[:64]: cut(value) for name, value in sorted(member.versions.items())[:8]},
    }
    return Row(
        aggregate_id=member.id,
        state=member.state.value,
        level=level,
        reason=reason,
        message=message,
        # When it was drained, lost or got unready no record says.
        since_ms=member.joined_wall_ms if level is Level.OK and member.state is MemberState.UP else 0,
        facts=facts,
        over=member.state is MemberState.LEFT,
        fades_ms=LOST_SHOWN_MS if member.state is MemberState.LOST else 0,
        renewed_ms=0 if member.state in GONE else patience_ns(member) // NS_PER_MS,
    )


def _well(member: Member) -> tuple[Level, str, str]:
    if member.state is MemberState.LOST:
        return Level.FAILED, "worker_lost", cut(f"{member.id} is lost: {member.reason}")
    if member.state is MemberState.LEFT:
        return Level.OK, "", ""
    if member.state is MemberState.DRAINING:
        return Level.NOTICE, "worker_draining", cut(f"{member.id} takes nobody new, and empties")
    if not member.ready and member.kind == WORKER:
        why = ", ".join(member.reasons[:8]) or "it does not say why"
        return Level.DEGRADED, "worker_unready", cut(f"{member.id} takes nobody: {why}")
    return Level.OK, "", ""


SURFACE: Final = Surface(
    name="workers",
    owner=__name__,
    summary="The processes of the fleet: whether they are there and ready, where they are reached, how full they are.",
    aggregate_type="worker",
    storage=f"kv:{MEMBERS}",
    truth=Truth.CANONICAL,
    read="GET /v1/workers",
    affects_health=True,
    affects_actions=True,
    authority=True,
    coverage=Coverage.JOURNAL,
    kept=Kept(MEMBERS),
    row=row_of,
)


def patience_ns(member: Member) -> int:
    """For how long a record must have been seen unchanged before its process may be called lost."""
    return int(max(member.ttl_ms, TTL_MS_MIN) * DRIFT * NS_PER_MS)


def is_silent(seen: Seen, now: int) -> bool:
    return seen.member.state not in GONE and now - seen.at >= patience_ns(seen.member)


class Membership:
    """This process's own membership."""

    def __init__(self, store: Store, clock: Clock, member: Member) -> None:
        self.member = member
        self._store = store
        self._clock = clock
        self._revision = 0
        self._sent_at = 0
        self._describe: Callable[[Member], Member] = lambda member: member
        self._on_renewed: Callable[[int], None] = lambda _: None
        self._on_lost: Callable[[str], None] = lambda _: None
        self._over = False
        self._now_wanted = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def id(self) -> str:
        return self.member.id

    @property
    def expires_at(self) -> int:
        """Until when this process may act for what it owns, on its own clock."""
        return self._sent_at + self.member.ttl_ms * NS_PER_MS

    @property
    def over(self) -> bool:
        """Left or lost, for good. One that is not held may yet be: an answer of the store that is late comes still."""
        return self._over

    @property
    def held(self) -> bool:
        return not self._over and self._revision > 0 and self._clock.now() < self.expires_at

    def watch(
        self,
        *,
        describe: Callable[[Member], Member],
        on_renewed: Callable[[int], None],
        on_lost: Callable[[str], None],
    ) -> None:
        """What is written at each renewal beside the beat; who is told of a new expiry; who is told that it is over."""
        self._describe, self._on_renewed, self._on_lost = describe, on_renewed, on_lost

    async def join(self) -> None:
        """Be a member, or raise."""
        if not await self._write(0):
            raise MisuseError("member_exists", f"there is a member {self.id} already; ids are not used twice")

    async def run(self) -> None:
        """Renew until left or lost. A store that cannot be reached is asked again and again until the time is over."""
        interval_s = self.member.ttl_ms / 1000 / BEATS_PER_TTL
        wait_s = interval_s
        while not self._over:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._now_wanted.wait()
            self._now_wanted.clear()
            wait_s = interval_s if await self._renew() else self.member.ttl_ms / 1000 * RETRY_OF_TTL

    def changed(self) -> None:
        """What `describe` says has changed: others should know before the next beat."""
        self._now_wanted.set()

    async def leave(self, reason: str) -> None:
        """Be gone in good order: what this process still owns is anybody's from now on."""
        async with self._turn:
            if self._over:
                return
            self._over = True
            left = msgspec.structs.replace(self.member, state=MemberState.LEFT, ready=False, reason=reason)
            try:
                await self._leave(left)
            except (RsppError, OSError) as error:
                log.warning("%s could not say that it leaves: %s", self.id, type(error).__name__)
        self._now_wanted.set()

    async def _leave(self, left: Member) -> None:
        expect, value = self._revision, _ENCODE(left)
        while (
            await self._store.put(MEMBERS, encoded(self.id), value, expect=expect, ttl_ms=GONE_TTL_MS) is None
        ):
            # A renewal of ours whose answer never came, or somebody's fence.
            found = await self._store.get(MEMBERS, encoded(self.id))
            known = member_of(found) if found is not None else None
            if found is None or known is None or known.state in GONE:
                return
            expect = found.revision

    async def _renew(self) -> bool:
        async with self._turn:
            if self._over:
                return True
            if self._clock.now() >= self.expires_at:
                self._lose("the membership ran out before it could be renewed")
                return True
            try:
                async with asyncio.timeout(self._left_s()):
                    kept = await self._write(self._revision)
            except Exception as error:
                # Supervised: whatever it is, a process that stopped renewing would be no member, and never know it.
                if not isinstance(error, (RsppError, OSError)):
                    log.exception("%s was not renewed", self.id)
                log.info("%s was not renewed: %s", self.id, type(error).__name__)
                return False
            if not kept:
                self._lose("another process has called this one lost")
                return True
        self._on_renewed(self.expires_at)
        return True

    def _left_s(self) -> float:
        """One attempt may take a third of what is left at most, so that there are others."""
        left_ns = self.expires_at - self._clock.now()
        return max(0.1, left_ns / NS_PER_MS / 3000)

    async def _write(self, expect: int) -> bool:
        sent_at = self._clock.now()
        renewed = msgspec.structs.replace(self._describe(self.member), beat=self.member.beat + 1)
        value = _ENCODE(renewed)
        revision = await self._store.put(MEMBERS, encoded(self.id), value, expect=expect)
        if revision is None:
            # Perhaps it is our own, from an attempt whose outcome was never known: it extends nothing, the next one will.
            found = await self._store.get(MEMBERS, encoded(self.id))
            known = member_of(found) if found is not None and found.revision > self._revision else None
            if found is None or known is None or known.state in GONE:
                return False
            if not self._revision and found.value != value:
                return False  # whoever has not joined yet has written nothing but this
            self.member, self._revision = (
                msgspec.structs.replace(self.member, beat=known.beat),
                found.revision,
            )
            return await self._write(self._revision)
        self.member, self._revision, self._sent_at = renewed, revision, sent_at
        return True

    def _lose(self, why: str) -> None:
        if not self._over:
            self._over = True
            log.warning("%s is no member any more: %s", self.id, why)
            self._on_lost(why)


class Fleet:
    """All members as this process sees them, by watching the store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.seen: dict[
            str, Seen
        ] = {}  # bounded: by the processes of a day; what is gone expires in the store
        self._store = store
        self._clock = clock
        self._on_change: list[Callable[[Seen], None]] = []  # bounded: by the parts of this process

    def on_change(self, callback: Callable[[Seen], None]) -> None:
        self._on_change.append(callback)

    async def run(self) -> None:
        async for entry in self._store.watch(MEMBERS):
            self.take(entry)

    def take(self, entry: Entry) -> None:
        """A record as it is now. What is older than what is known, or cannot be read, changes nothing."""
        member = member_of(entry)
        known = self.seen.get(member.id) if member is not None else None
        if member is None or (known is not None and entry.revision <= known.revision):
            return
        seen = self.seen[member.id] = Seen(member, entry.revision, self._clock.now())
        for callback in self._on_change:
            callback(seen)

    def get(self, member_id: str) -> Seen | None:
        return self.seen.get(member_id)

    def members(self, kind: str = "worker") -> list[Member]:
        """Those that are there: up or draining, and not silent for too long."""
        now = self._clock.now()
        return [
            seen.member
            for seen in self.seen.values()
            if seen.member.kind == kind and seen.member.state not in GONE and not is_silent(seen, now)
        ]

    def prune(self) -> None:
        """Forget those whose records the store has let go of: they are gone for a day."""
        now = self._clock.now()
        for member_id, seen in list(self.seen.items()):
            if seen.member.state in GONE and now - seen.at > GONE_TTL_MS * NS_PER_MS:
                del self.seen[member_id]

    async def is_gone(self, member_id: str) -> bool:
        """May what this process owned be taken? If it has been silent for long enough it is fenced here and now.

        A process that was never seen is looked at, and waited for like any other from then on.
        """
        entry = await self._store.get(MEMBERS, encoded(member_id))
        if entry is None:
            return True  # its record has expired, which takes a day after it was gone
        self.take(entry)
        seen = self.seen.get(member_id)
        if seen is None or seen.revision != entry.revision:
            return False  # unreadable, or changed while we looked
        if seen.member.state in GONE:
            return True
        if not is_silent(seen, self._clock.now()):
            return False
        return await fence(self._store, member_id, "silent", expect=seen.revision)

    def wait_ms(self, member_id: str) -> int:
        """For how long it must be seen silent yet, at most."""
        seen = self.seen.get(member_id)
        if seen is None or seen.member.state in GONE:
            return 0
        return max(0, seen.at + patience_ns(seen.member) - self._clock.now()) // NS_PER_MS


async def fence(store: Store, member_id: str, reason: str, *, expect: int | None = None) -> bool:
    """Call a process lost: nothing that it renews is taken any more. False if it moved on meanwhile.

    With `expect` only the record that was seen is replaced. Without, it is for whoever knows that the process is dead, such
    as its parent: then the record is replaced however often it changed.
    """
    while True:
        entry = await store.get(MEMBERS, encoded(member_id))
        if entry is None:
            return True
        member = member_of(entry)
        if member is not None and member.state in GONE:
            return True
        if expect is not None and entry.revision != expect:
            return False
        if member is None:
            member = Member(id=member_id, kind="unknown", ttl_ms=TTL_MS)
        lost = msgspec.structs.replace(member, state=MemberState.LOST, ready=False, reason=reason)
        done = await store.put(
            MEMBERS, encoded(member_id), _ENCODE(lost), expect=entry.revision, ttl_ms=GONE_TTL_MS
        )
        if done is not None:
            return True


async def settle(store: Store, member_id: str, reason: str) -> bool:
    """Somebody has looked at a lost process: from now on it is one that has left, of which nothing is expected. False if it is
    not lost. To whoever wants what it owned both are gone.
    """
    while True:
        entry = await store.get(MEMBERS, encoded(member_id))
        member = member_of(entry) if entry is not None else None
        if entry is None or member is None or member.state is not MemberState.LOST:
            return False
        left = msgspec.structs.replace(member, state=MemberState.LEFT, reason=f"{member.reason}; {reason}")
        done = await store.put(
            MEMBERS, encoded(member_id), _ENCODE(left), expect=entry.revision, ttl_ms=GONE_TTL_MS
        )
        if done is not None:
            return True
