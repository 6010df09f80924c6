"""Who is connected, what each may hear of, and whether it still may: a role or a token that ends, ends the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from rspp.contract.errors import LimitReached, RsppError
from rspp.control.security.roles import Principal
from rspp.server.gate import is_about_token
from rspp.server.live.feed import Feed
from rspp.server.live.wire import Wire
from rspp.server.sight import sees

# Consoles that may be open at once, and those of one principal.
CLIENTS_MAX: Final = 200
CLIENTS_OF_ONE_MAX: Final = 50
# For so long a client goes on while nobody can say whether its token still holds.
UNSURE_S_MAX: Final = 60.0
# A store that has not answered by then has not said that it does.
LOOK_S_MAX: Final = 5.0

ROLES_CHANGED: Final = "roles_changed"
UNSURE: Final = "authority_unconfirmed"

Authenticate = Callable[[str], Awaitable[Principal]]


class Client:
    """One connected console, whose it is, and what it has still to be told."""

    def __init__(
        self, sid: str, principal: Principal, token: str, wire: Wire, feed: Feed, now: float
    ) -> None:
        self.sid, self.principal, self.wire, self.feed = sid, principal, wire, feed
        self.token = token
        self.sure_at = now
        self.greeted = False

    def __repr__(self) -> str:
        return f"Client({self.sid!r}, {self.principal.id!r})"


class Clients:
    """All of them, by the name that Socket.IO gave them."""

    def __init__(self, most: int = CLIENTS_MAX) -> None:
        self._most = most
        self._of: dict[str, Client] = {}  # bounded: CLIENTS_MAX, more are refused

    def __iter__(self) -> Iterator[Client]:
        return iter(tuple(self._of.values()))

    def __len__(self) -> int:
        return len(self._of)

    def check_room(self, principal: Principal) -> None:
        """Raises `LimitReached` where there is none for this principal."""
        theirs = sum(1 for one in self._of.values() if one.principal.id == principal.id)
        if len(self._of) >= self._most or theirs >= CLIENTS_OF_ONE_MAX:
            raise LimitReached(
                "consoles_full", "as many consoles are open as may be; close one, or try later"
            )

    def add(self, client: Client) -> None:
        self._of[client.sid] = client

    def drop(self, sid: str) -> Client | None:
        return self._of.pop(sid, None)

    def tell(self, surface: str, aggregate_id: str, tenant_id: str | None, sequence: int) -> bool:
        """Each who may hear of it will; says whether there is anybody."""
        told = False
        for client in self._of.values():
            if sees(client.principal, surface, tenant_id):
                client.feed.changed(surface, aggregate_id, sequence)
                told = True
        return told


async def over_for(client: Client, authenticate: Authenticate, now: float) -> tuple[str, str] | None:
    """Why this client must go, as a code and a sentence; None if it may stay."""
    try:
        async with asyncio.timeout(LOOK_S_MAX):
            principal = await authenticate(client.token)
    except (RsppError, OSError, TimeoutError) as error:
        if isinstance(error, RsppError) and is_about_token(error.code):
            return "unauthenticated", "this token is not valid here, or not any more"
        if now - client.sure_at > UNSURE_S_MAX:
            return UNSURE, "nobody can say now whether this token still holds; connect again later"
        return None
    if principal != client.principal:
        return ROLES_CHANGED, "what you may see has changed; connect again"
    client.sure_at = now
    return None
