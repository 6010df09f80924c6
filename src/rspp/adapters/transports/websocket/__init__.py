"""WebSockets: binary audio and control messages at `/v1/rtc/ws`, in the words of `rspp.contract.wire`."""

from rspp.adapters.transports.websocket.counters import Counters
from rspp.adapters.transports.websocket.handshake import AnyPage, Page
from rspp.adapters.transports.websocket.server import (
    WebSocketTransport,
    anyone,
    listening_socket,
    with_token,
)
from rspp.adapters.transports.websocket.settings import Settings

__all__ = [
    "AnyPage",
    "Counters",
    "Page",
    "Settings",
    "WebSocketTransport",
    "anyone",
    "listening_socket",
    "with_token",
]
