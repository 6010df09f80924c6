"""What an HTTP request may become: a page, a refusal, or a socket with its encoding. Decides; answers nothing itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec
from picows import WSUpgradeRequest, WSUpgradeResponse

from rspp.adapters.transports.websocket import deflate
from rspp.adapters.transports.websocket.settings import Settings
from rspp.contract.wire import SUBPROTOCOLS
from rspp.host.own_names import is_this_machine

log = logging.getLogger("rspp.websocket")


class Page(msgspec.Struct, frozen=True):
    """Something small that is served as it is."""

    content_type: str
    body: bytes
    status: int = HTTPStatus.OK


# A page, or what makes it anew for each who asks; it may not wait.
AnyPage = Page | Callable[[], Page]


class Agreed(msgspec.Struct, frozen=True):
    """What was agreed on with a client before its socket opened. No encoding: it will be told so, and closed."""

    encoding: str | None
    compressed: bool
    headers: dict[str, str]


def path_of(request: WSUpgradeRequest) -> str:
    return request.path.decode("latin-1").partition("?")[0]


def host_allowed(request: WSUpgradeRequest, settings: Settings) -> bool:
    """What is no browser may leave out whom it asks."""
    host = request.headers.get("Host")
    return not settings.own_names_only or host is None or is_this_machine(host)


def origin_allowed(request: WSUpgradeRequest, settings: Settings) -> bool:
    """A page of a stranger must not speak through a visitor's browser. What is no browser names no origin."""
    origin = request.headers.get("Origin")
    if origin is None or "*" in settings.origins or origin in settings.origins:
        return True
    try:
        return urlsplit(origin).netloc == request.headers.get("Host")
    except ValueError:
        return False


def agree(request: WSUpgradeRequest, settings: Settings) -> Agreed:
    """Subprotocol and compression; of several offers, the client's first that is known."""
    offered = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ())).split(",")
    chosen = next((name.strip() for name in offered if name.strip() in SUBPROTOCOLS), None)
    headers = {} if chosen is None else {"Sec-WebSocket-Protocol": chosen}
    answer = None
    if settings.compression:
        answer = deflate.accepts(request.headers.getall("Sec-WebSocket-Extensions", ()))
    if answer is not None:
        headers["Sec-WebSocket-Extensions"] = answer
    return Agreed(SUBPROTOCOLS.get(chosen or ""), answer is not None, headers)


def page(path: str, pages: Mapping[str, AnyPage]) -> WSUpgradeResponse:
    """The page at this path, or that there is none."""
    found = pages.get(path)
    if found is None:
        return refusal(HTTPStatus.NOT_FOUND, "there is nothing here\n")
    if not isinstance(found, Page):
        try:
            found = found()
        except Exception:
            # Supervised: a page that breaks is no page, and costs no caller anything.
            log.exception("the page %s failed", path)
            return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "this page could not be made\n")
    answer: WSUpgradeResponse = WSUpgradeResponse.create_ok_response(
        found.body,
        {
            "Content-Type": found.content_type,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )
    answer.status = HTTPStatus(found.status)
    return answer


def refusal(status: HTTPStatus, message: str) -> WSUpgradeResponse:
    answer: WSUpgradeResponse = WSUpgradeResponse.create_error_response(status, message.encode())
    return answer
