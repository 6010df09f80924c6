"""What a stranger's page in somebody's browser must not do: open a socket here, or in dev mode reach this machine under another name.

    its own page      Origin names the host that was asked     -> a socket may be opened
    another's page    Origin names something else              -> refused, before anything it says is listened to
    a rebound name    its DNS name leads to 127.0.0.1 now, so Origin and Host agree; in dev mode only this machine's own
                      names are answered to, and no DNS name of somebody else's is one of them

What is no browser sends no Origin, and is asked for its token like everybody. A browser lets no page set any of these headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rspp.contract.errors import PeerFault
from rspp.host.own_names import is_this_machine
from rspp.server.faults import answer

# Behind a proxy: the name that its clients asked for, where Host is our own.
NAMED_BY_PROXY: Final = "x-forwarded-host"
PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443, "ws": 80, "wss": 443}
REFUSED: Final = {"type": "websocket.close", "code": 1008}


def is_own_page(headers: Mapping[str, str]) -> bool:
    """Does this come from a page that was served here, or from what is no page?"""
    origin = headers.get("origin")
    if origin is None:
        return True
    page = _split(origin)
    if page is None or page.scheme not in PORTS:
        return False  # such as `null`
    asked = (headers.get("host", ""), headers.get(NAMED_BY_PROXY, "").partition(",")[0].strip())
    return any(_place(page) == _place(one) for name in asked if (one := _split(f"{page.scheme}://{name}")))


def _split(address: str) -> SplitResult | None:
    """None for what is no address."""
    try:
        found = urlsplit(address)
        _ = found.port
    except ValueError:
        return None
    return found if found.hostname else None


def _place(address: SplitResult) -> tuple[str | None, int]:
    return address.hostname, address.port or PORTS[address.scheme]


class OwnNamesOnly:
    """An application that answers to this machine's own names alone; whoever asks for another gets 421, and no socket."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or is_this_machine(
            Headers(scope=scope).get("host", "")
        ):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send(REFUSED)
        else:
            message = "in dev mode this server is asked by this machine's own names: http://127.0.0.1:PORT or http://localhost:PORT"
            await answer(PeerFault("host_foreign", message))(scope, receive, send)
