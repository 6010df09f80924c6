"""Signing keys: which are trusted, a new one in time, and one thrown out at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from rspp.control.operations.operation import NotFound, Nothing, Operation, Request, Response
from rspp.control.operations.words import Reason
from rspp.control.security.keys import KeyRecord, KeyState
from rspp.control.security.roles import Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane


class KeyItem(Response, frozen=True, kw_only=True):
    """A public key. The private half is where its holder is, and nowhere else."""

    key: str
    public: str  # Ed25519, Base64url: with it anybody can check what was signed
    state: KeyState
    holder: str
    created_at_ms: int
    activates_at_ms: int
    retires_at_ms: int | None
    revoked_at_ms: int | None
    over_age_at_ms: int


class KeyList(Response, frozen=True, kw_only=True):
    items: list[KeyItem]
    alarms: list[str]


class RotateKey(Request, frozen=True, kw_only=True):
    reason: Reason
    at_once: Annotated[
        bool, Meta(description="Sign with it now, before every process has seen it: for an emergency.")
    ] = False


class RevokeKey(Request, frozen=True, kw_only=True):
    key: Annotated[str, Meta(min_length=1, max_length=64, description="The key's name.")]
    reason: Reason


def item_of(record: KeyRecord) -> KeyItem:
    return KeyItem(
        key=record.kid,
        public=record.public,
        state=record.state,
        holder=record.holder,
        created_at_ms=record.created_at_ms,
        activates_at_ms=record.activates_at_ms,
        retires_at_ms=record.retires_at_ms,
        revoked_at_ms=record.revoked_at_ms,
        over_age_at_ms=record.over_age_at_ms,
    )


async def list_keys(plane: ControlPlane, _: Principal, __: Nothing) -> KeyList:
    await plane.keyring.load()
    known = sorted(plane.keyring.records, key=lambda one: (one.created_at_ms, one.kid))
    return KeyList(items=[item_of(one) for one in known], alarms=list(await plane.key_alarms()))


async def rotate(plane: ControlPlane, principal: Principal, asked: RotateKey) -> KeyItem:
    return item_of(await plane.rotation.rotate(principal.id, asked.reason, at_once=asked.at_once))


async def revoke(plane: ControlPlane, principal: Principal, asked: RevokeKey) -> KeyItem:
    await plane.keyring.load()
    if all(one.kid != asked.key for one in plane.keyring.records):
        raise NotFound
    return item_of(await plane.rotation.revoke(asked.key, principal.id, asked.reason))


# Keys are on record by the class that changes them, so these rows do not write it down a second time.
KEYS: Final = (
    Operation(
        name="keys.list",
        method="GET",
        path="/v1/keys",
        request=Nothing,
        response=KeyList,
        permission=Permission.KEYS_READ,
        handler=list_keys,
        summary="List the public keys that tokens are verified with, and what is due with them.",
    ),
    Operation(
        name="keys.rotate",
        method="POST",
        path="/v1/keys",
        request=RotateKey,
        response=KeyItem,
        permission=Permission.KEYS_ROTATE,
        handler=rotate,
        summary="Make a new signing key; the one before verifies until its last token has run out.",
        example={"reason": "monthly"},
        audited=False,
    ),
    Operation(
        name="keys.revoke",
        method="POST",
        path="/v1/keys/{key}/revoke",
        request=RevokeKey,
        response=KeyItem,
        permission=Permission.KEYS_REVOKE,
        handler=revoke,
        summary="Trust a key no more, at once: every token that it signed is refused.",
        example={"key": "0f3c9a7be21d4c5580b6a1f2e3d4c5b6", "reason": "its machine was stolen"},
        audited=False,
        idempotent=True,
    ),
)
