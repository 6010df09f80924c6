"""A public key is trusted from when it is published until it is too old or revoked; when to sign with which is decided here.

    published ──> signs ──> retiring ──> over age
        │  propagation_ms     │  its tokens run out
        └─────────────────────┴──> revoked, at once and for ever

A new key is published first and signs only after `propagation_ms`, when every verifier has seen it; until then the one
before signs. That one goes on verifying until the last token it signed has run out. No record is ever deleted, so what was
signed long ago can still be checked; and a key is called by a hash of itself, so no record can put another under its name.

Everything here is pure: time is an argument, in milliseconds since 1970.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from rspp.contract.errors import MisuseError, PeerFault

DAY_MS: Final = 86_400_000
PUBLIC_BYTES: Final = 32
# What a decoder raises: for some bytes that are not UTF-8 not its own error but Python's.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)


class KeyState(StrEnum):
    ACTIVE = "active"
    RETIRING = "retiring"
    REVOKED = "revoked"


class KeyPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How old a key gets, and how rotations overlap."""

    age_ms_max: int = 30 * DAY_MS
    propagation_ms: int = 60_000  # as long as any verifier may need to see a new key
    tokens_ms_max: int = 12 * 3_600_000  # the longest that a token lives
    notice_ms: int = DAY_MS  # a rotation is tried so long before it must have been done


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A public key and its times. `holder` names the folder with its private half."""

    kid: str
    public: str  # Base64url of the 32 bytes
    holder: str
    state: KeyState
    created_at_ms: int
    activates_at_ms: int
    age_ms_max: int
    retires_at_ms: int | None = None  # from then on it signs nothing
    revoked_at_ms: int | None = None

    @property
    def over_age_at_ms(self) -> int:
        return self.created_at_ms + self.age_ms_max

    @property
    def public_bytes(self) -> bytes:
        """The key; raises PeerFault if the record is none that we wrote."""
        data = unbase64(self.public)
        if data is None or len(data) != PUBLIC_BYTES or kid_of(data) != self.kid:
            raise PeerFault("store_record_unusable", f"the public key {self.kid} is not what its name says")
        return data


class KeyView(Protocol):
    """Where a verifier looks up public keys; raises PeerFault `token_keys_stale` if it has not heard of any for too long."""

    def key(self, kid: str) -> KeyRecord | None: ...


def kid_of(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()[:32]


def base64_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unbase64(text: str) -> bytes | None:
    """The bytes, if the text is their one and only unpadded Base64url form."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    return data if base64_of(data) == text else None


def checked(policy: KeyPolicy) -> KeyPolicy:
    """The policy, if rotations fit into the age it allows."""
    if min(policy.age_ms_max, policy.tokens_ms_max) <= 0 or min(policy.propagation_ms, policy.notice_ms) < 0:
        raise MisuseError("key_policy_invalid", "ages and lifetimes are above 0, overlaps not below")
    if policy.age_ms_max <= 2 * (policy.propagation_ms + policy.tokens_ms_max):
        message = "a key's maximum age is more than twice the longest token and the propagation"
        raise MisuseError("key_policy_invalid", message)
    return policy


def rotates_at_ms(record: KeyRecord, policy: KeyPolicy) -> int:
    """When to publish the next one, so that this one has signed its last token long enough before it is too old."""
    last = record.over_age_at_ms - policy.tokens_ms_max - policy.propagation_ms
    earliest = record.created_at_ms + record.age_ms_max // 2
    return max(earliest, last - policy.notice_ms)


def token_refusal(record: KeyRecord, now_ms: int) -> str | None:
    """Why a token of this key is not taken now."""
    if record.state is KeyState.REVOKED:
        return "token_key_revoked"
    return "token_key_over_age" if now_ms >= record.over_age_at_ms else None


def sealed_rightly(record: KeyRecord, at_ms: int) -> bool:
    """Might this key have signed something lasting then? A revoked one vouches for nothing, whatever the date beside it."""
    return record.state is not KeyState.REVOKED and record.created_at_ms <= at_ms < record.over_age_at_ms


def signing(records: Iterable[KeyRecord], held: frozenset[str], now_ms: int) -> KeyRecord:
    """The key that signs now, of those whose private half is held; raises PeerFault if there is none.

    One that retires signs until its successor does.
    """
    mine = [one for one in records if one.kid in held and one.state is not KeyState.REVOKED]
    begun = [one for one in mine if one.activates_at_ms <= now_ms]
    fresh = [one for one in begun if now_ms < one.over_age_at_ms]
    if fresh:
        return max(fresh, key=lambda one: (one.activates_at_ms, one.kid))
    if begun:
        raise PeerFault("key_over_age", "the signing key is older than it may be; rotate the keys")
    raise PeerFault("key_missing", "no key that may sign now is held here")


def is_due(records: Iterable[KeyRecord], holder: str, policy: KeyPolicy, now_ms: int) -> bool:
    """Is it time for a new key of this holder?"""
    active = [one for one in records if one.holder == holder and one.state is KeyState.ACTIVE]
    return all(now_ms >= rotates_at_ms(one, policy) for one in active)


def alarms(records: Iterable[KeyRecord], policy: KeyPolicy, now_ms: int) -> tuple[str, ...]:
    """Keys that should have been rotated, and were not: a sentence each. Half of the notice is for trying."""
    found = []
    for one in sorted(records, key=lambda record: record.created_at_ms):
        late_ms = now_ms - rotates_at_ms(one, policy)
        if one.state is not KeyState.ACTIVE or late_ms < policy.notice_ms // 2:
            continue
        if now_ms >= one.over_age_at_ms:
            found.append(f"key {one.kid} is over its maximum age and is refused: nobody rotated it")
        else:
            left_ms = one.over_age_at_ms - now_ms
            found.append(f"key {one.kid} should have been rotated {late_ms} ms ago; refused in {left_ms} ms")
    return tuple(found)
