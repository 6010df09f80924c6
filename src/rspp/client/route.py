"""Where a call goes: an endpoint and the token that opens it, asked for anew each time a line has to be found.

A `RouteSource` is anything that can be awaited for one: `fixed` endpoints, the `ControlPlane`'s REST, or one's own.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from itertools import cycle
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from rspp.client.call import Ticket
from rspp.contract.errors import MisuseError, PeerFault

TIMEOUT_S: Final = 10.0
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
# What a control plane answers when asking again may help: it is busy, being replaced, or without its store.
PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go, and with what."""

    endpoint: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Route(endpoint={self.endpoint!r})"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants a route. With `ticket` it is for a session that is there already; `failed` is where it was not to be had."""

    tenant: str
    pipeline: str | None = None
    ticket: Ticket | None = None
    failed: str | None = None


class NoRoute(PeerFault):
    """There is no route: not now, or (`final`) not at all."""

    def __init__(
        self, code: str, message: str, *, retry_after_ms: int | None = None, final: bool = False
    ) -> None:
        super().__init__(code, message)
        self.retry_after_ms = retry_after_ms
        self.final = final


RouteSource = Callable[[Wanted], Awaitable[Route]]


def fixed(*endpoints: str, token: str | None = None) -> RouteSource:
    """These endpoints, one after the other for as long as they fail."""
    if not endpoints:
        raise MisuseError("field_empty", "name one endpoint at least", "endpoints")
    turn = cycle(endpoints)
    current = next(turn)

    async def source(wanted: Wanted) -> Route:
        nonlocal current
        if wanted.failed == current:
            current = next(turn)
        return Route(endpoint=current, token=token)

    return source


class ControlPlane:
    """Routes of a control plane: a new session's by a credential of the tenant, a known one's by its own secret."""

    def __init__(
        self,
        url: str,
        *,
        credential: str,
        session: str | None = None,
        region: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in LOOPBACK:
            raise MisuseError(
                "value_invalid", "a credential goes over https, or stays on this machine", "url"
            )
        self._url, self._credential = url.rstrip("/"), credential
        self._session, self._region = session, region
        self._tls = tls

    def __repr__(self) -> str:
        return f"ControlPlane({self._url!r})"

    async def __call__(self, wanted: Wanted) -> Route:
        path, body = self._request(wanted)
        headers = {"authorization": f"Bearer {self._credential}"}
        try:
            # Without TLS nothing is verified, and to load all certificates would cost more than the request.
            verify = self._tls or self._url.startswith("https:")
            async with httpx.AsyncClient(timeout=TIMEOUT_S, verify=verify, trust_env=False) as client:
                response = await client.post(self._url + path, json=body, headers=headers)
        except httpx.HTTPError as error:
            why = f"the control plane cannot be reached ({type(error).__name__})"
            raise NoRoute("control_unreachable", why) from error
        return _read(response)

    def _request(self, wanted: Wanted) -> tuple[str, dict[str, Any]]:
        tenant = quote(wanted.tenant, safe="")
        place = {"region": self._region} if self._region else {}
        if wanted.ticket is not None:
            session = quote(wanted.ticket.session, safe="")
            path = f"/v1/tenants/{tenant}/sessions/{session}/route"
            return path, {"resume_secret": wanted.ticket.resume, **place}
        body = {"pipeline": wanted.pipeline, "session": self._session}
        return f"/v1/tenants/{tenant}/routes", {**{k: v for k, v in body.items() if v}, **place}


def _read(response: httpx.Response) -> Route:
    """The route, or why there is none, in the control plane's own words."""
    try:
        said = msgspec.json.decode(response.content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        passing = response.status_code in PASSING
        why = f"the control plane answers {response.status_code}, and not in its own words"
        raise NoRoute("control_unreadable", why, final=not passing) from error
    endpoint, token = said.get("endpoint"), said.get("token")
    if response.status_code == 200 and isinstance(endpoint, str) and isinstance(token, str):
        return Route(endpoint=endpoint, token=token)
    retry = said.get("retry_after_ms")
    raise NoRoute(
        str(said.get("code") or "control_unreadable"),
        str(said.get("message") or f"the control plane answers {response.status_code}"),
        retry_after_ms=retry if isinstance(retry, int) else None,
        final=response.status_code not in PASSING and not isinstance(retry, int),
    )
