"""One epoch may write to a session at any instant, and only the one that was issued.

A lower epoch is stale. A higher one that nobody issued is invalid, and never advances what is known here. Past its
expiry a lease lets a session finish, not begin. Keeps INV-11; knows nothing of turns.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Standing(StrEnum):
    HELD = "held"
    EXPIRED = "lease_expired"
    REVOKED = "lease_deauthorized"


class Mismatch(msgspec.Struct, frozen=True, gc=False):
    """Why a carried epoch was refused."""

    carried: int
    issued: int
    side: str  # "stale" or "unissued"


class Authority:
    """What this process may do to the session."""

    __slots__ = ("epoch", "expires_at", "highest_seen", "route_version", "standing", "token")

    def __init__(self, epoch: int, token: str, expires_at: int) -> None:
        self.epoch = epoch
        self.token = token
        self.expires_at = expires_at
        self.highest_seen = epoch
        self.standing = Standing.HELD
        self.route_version = 0

    @property
    def held(self) -> bool:
        return self.standing is Standing.HELD

    def check(self, carried: int | None) -> Mismatch | None:
        """Is this epoch the issued one? An absent one was enriched from the routing view before it came here."""
        if carried is None or carried == self.epoch:
            return None
        return Mismatch(carried, self.epoch, "stale" if carried < self.epoch else "unissued")

    def issue(self, epoch: int, token: str | None, expires_at: int | None) -> bool:
        """Take a lease from the lease authority; an epoch that does not rise is refused."""
        if epoch <= self.highest_seen and not (epoch == self.epoch and self.held):
            return False
        if epoch < self.epoch:
            return False
        self.epoch = self.highest_seen = epoch
        self.token = token or self.token
        self.expires_at = expires_at if expires_at is not None else self.expires_at
        self.standing = Standing.HELD
        return True

    def renew(self, epoch: int, expires_at: int | None) -> bool:
        if epoch != self.epoch or self.standing is Standing.REVOKED or expires_at is None:
            return False
        self.expires_at = max(self.expires_at, expires_at)
        self.standing = Standing.HELD
        return True

    def revoke(self, epoch: int) -> bool:
        """Withdraw this authority; the revocation of another epoch, older or never issued, says nothing about it."""
        if epoch != self.epoch:
            return False
        self.standing = Standing.REVOKED
        return True

    def expire(self, now: int) -> bool:
        if self.held and now >= self.expires_at:
            self.standing = Standing.EXPIRED
            return True
        return False

    def route(self, version: int, epoch: int) -> str | None:
        """Take a routing view; an older version, or one for an older epoch, is refused with its reason."""
        if version < self.route_version:
            return "routing_view_older"
        if epoch < self.epoch:
            return "routing_view_epoch_older"
        self.route_version = version
        return None
