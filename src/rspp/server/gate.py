"""Who comes to the door: a bearer token is turned into a principal, and who keeps trying wrong ones waits, longer each time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from rspp.contract.errors import LimitReached, PeerFault
from rspp.contract.event import NS_PER_MS
from rspp.control.operations.operation import NotFound
from rspp.control.security.roles import Principal
from rspp.host.ports import Clock

SCHEME: Final = "bearer"
TOKEN_CHARACTERS_MAX: Final = 8_192
# So many wrong tokens in a row are a mistake; more are an attempt.
FAILURES_FREE: Final = 5
WAIT_MS_MIN: Final = 1_000
WAIT_MS_MAX: Final = 60_000
# Addresses that are remembered; of more, the one that failed longest ago is forgotten.
ADDRESSES_MAX: Final = 10_000

# Whoever shows a secret and no token: it has no roles, and is let do nothing but what the secret opens.
STRANGER: Final = Principal(id="anonymous")

Authenticate = Callable[[str], Awaitable[Principal]]
TellDenied = Callable[[str, str], Awaitable[None]]


class TooManyFailures(LimitReached):
    """Wrong tokens again and again from one address."""

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__("authentication_paused", "too many wrong tokens came from this address; wait")
        self.retry_after_ms = retry_after_ms


class Unauthenticated(PeerFault):
    def __init__(self, message: str = "send `Authorization: Bearer TOKEN`") -> None:
        super().__init__("unauthenticated", message)


class _Failures(msgspec.Struct):
    count: int
    open_at: int  # on the clock that is given, in nanoseconds


class Failures:
    """How often each address came with a wrong token. Time is an argument."""

    def __init__(self) -> None:
        self._of: dict[str, _Failures] = {}  # bounded: ADDRESSES_MAX, the oldest goes

    def wait_ms(self, address: str, now: int) -> int:
        known = self._of.get(address)
        return 0 if known is None else max(0, -(-(known.open_at - now) // NS_PER_MS))

    def failed(self, address: str, now: int) -> int:
        """Count it; how long this address waits from now on."""
        known = self._of.pop(address, None) or _Failures(0, now)
        known.count += 1
        over = known.count - FAILURES_FREE
        wait_ms = 0 if over <= 0 else min(WAIT_MS_MIN << min(over - 1, 16), WAIT_MS_MAX)
        known.open_at = now + wait_ms * NS_PER_MS
        self._of[address] = known
        if len(self._of) > ADDRESSES_MAX:
            del self._of[next(iter(self._of))]
        return wait_ms

    def succeeded(self, address: str) -> None:
        self._of.pop(address, None)


class Gate:
    """The door of one server."""

    def __init__(self, clock: Clock, authenticate: Authenticate, denied: TellDenied) -> None:
        self._clock = clock
        self._authenticate = authenticate
        self._denied = denied
        self._failures = Failures()

    async def enter(self, authorization: str | None, address: str) -> Principal:
        """Who this is; raises what the caller may be told. Wrong tokens are on record."""
        if authorization is None:
            raise Unauthenticated
        wait_ms = self._failures.wait_ms(address, self._clock.now())
        if wait_ms > 0:
            raise TooManyFailures(wait_ms)
        try:
            principal = await self._authenticate(token_in(authorization))
        except PeerFault as error:
            if not is_about_token(error.code):
                raise
            self._failures.failed(address, self._clock.now())
            await self._denied(address, error.code)
            raise Unauthenticated("this token is not valid here, or not any more") from error
        self._failures.succeeded(address)
        return principal

    @asynccontextmanager
    async def guessing(self, address: str) -> AsyncIterator[None]:
        """For what a secret opens: who shows wrong ones waits as for wrong tokens, though the answer only says not found."""
        wait_ms = self._failures.wait_ms(address, self._clock.now())
        if wait_ms > 0:
            raise TooManyFailures(wait_ms)
        try:
            yield
        except NotFound:
            self._failures.failed(address, self._clock.now())
            await self._denied(address, "secret_wrong")
            raise
        self._failures.succeeded(address)


def token_in(authorization: str) -> str:
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != SCHEME or not token or len(token) > TOKEN_CHARACTERS_MAX:
        raise Unauthenticated
    return token


def is_about_token(code: str) -> bool:
    return code == "unauthenticated" or code.startswith(("token_", "key_", "principal_"))
