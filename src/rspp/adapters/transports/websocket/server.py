"""The WebSocket transport: listens, lets callers in as fast as it can bear, and keeps whose session is whose."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import secrets
import socket as sockets
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from picows import (
    WSListener,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from rspp.adapters.transports.websocket import handshake
from rspp.adapters.transports.websocket.allowance import Allowance
from rspp.adapters.transports.websocket.caller import Caller, Sitting
from rspp.adapters.transports.websocket.counters import Compression, Counters
from rspp.adapters.transports.websocket.deflate import Deflate
from rspp.adapters.transports.websocket.handshake import Agreed, Page
from rspp.adapters.transports.websocket.settings import Settings
from rspp.adapters.transports.websocket.socket import Socket, loop_time
from rspp.contract.errors import MisuseError
from rspp.contract.wire import CloseCode, Hello
from rspp.contract.words import CORE_SCHEMA_VERSION, ConnectionState
from rspp.host.ports import Bootstrap, Door, Refused, Seat, TransportInfo
from rspp.kernel.inputs import ConnectionChanged, DeliveryReported
from rspp.media.transcode import RATES, codecs

KIND: Final = "websocket"
# picows closes what is larger than this by itself, with 1009, before it is read; what is between has our own code.
WIRE_FACTOR: Final = 4
BACKLOG_MAX: Final = 1_024  # sockets that wait to be accepted
STOP_S: Final = 2.0
NO_PAGES: Final[Mapping[str, Page]] = MappingProxyType({})

# May this tenant, with this token, come in?
Admits = Callable[[str, str | None], bool]


def anyone(tenant: str, token: str | None) -> bool:  # noqa: ARG001 - the signature is `Admits`
    """No token is asked for: for a server that only its own machine can reach."""
    return True


def with_token(token: str) -> Admits:
    """Whoever has this token."""
    wanted = token.encode()

    def admits(tenant: str, offered: str | None) -> bool:  # noqa: ARG001 - the signature is `Admits`
        return hmac.compare_digest(wanted, (offered or "").encode())

    return admits


class WebSocketTransport:
    """Brings callers over WebSockets, and serves a few pages beside them."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        pages: Mapping[str, Page] = NO_PAGES,
        admits: Admits = anyone,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.counters = Counters(compression=Compression() if self.settings.compression else None)
        self.admits = admits
        self._pages = pages
        self._tls = tls
        self._door: Door
        self._loop: asyncio.AbstractEventLoop
        self._server: asyncio.Server | None = None
        self._callers: set[Caller] = (
            set()
        )  # bounded: connections_max, and as many again that are being closed
        self._sittings: dict[str, Sitting] = {}  # bounded: by the sessions that the host keeps
        self._untold: deque[tuple[Seat, ConnectionState]] = deque()  # bounded: a few for each of the sittings
        self._stopping = False
        self._connects: Allowance
        self._empty = asyncio.Event()
        self._sweeper: asyncio.TimerHandle | None = None
        self._port = 0

    @property
    def info(self) -> TransportInfo:
        return TransportInfo(kind=KIND, reconnect=True, codecs=codecs(), rates=RATES)

    @property
    def port(self) -> int:
        """Where it listens, once it does."""
        return self._port

    @property
    def url(self) -> str:
        scheme = "wss" if self._tls else "ws"
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"{scheme}://{host}:{self._port}{self.settings.path}"

    # ---- its life ------------------------------------------------------------------------------------------------

    async def start(self, door: Door) -> None:
        settings = self.settings
        self._door, self._loop = door, asyncio.get_running_loop()
        now = self._loop.time()
        self._connects = Allowance(settings.connects_per_second, settings.connects_burst, now)
        listening = _listen(settings)
        self._port = listening.getsockname()[1]
        self._server = await ws_create_server(
            self._request,
            sock=listening,
            ssl=self._tls,
            backlog=BACKLOG_MAX,
            websocket_handshake_timeout=settings.handshake_ms / 1000,
            max_frame_size=WIRE_FACTOR * settings.message_bytes_max,
            read_buffer_init_size=2_048,
            enable_auto_pong=False,  # pings count as messages
            use_aiofastnet=False,
            logger_name=_logger(),
            ssl_handshake_timeout=settings.handshake_ms / 1000 if self._tls else None,
            ssl_shutdown_timeout=settings.close_ms / 1000 if self._tls else None,
        )
        self._sweep()

    async def stop(self, reason: str) -> None:
        """No new callers; those there are hear why, and their sessions are left to the host."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        for caller in list(self._callers):
            caller.socket.close(CloseCode.GOING_AWAY, reason)
        if self._callers:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), STOP_S)
        for caller in list(self._callers):
            caller.socket.abort(CloseCode.GOING_AWAY)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sittings.clear()
        self._untold.clear()

    def _sweep(self) -> None:
        # First of all: whatever befalls one caller here, the others' deadlines are kept.
        self._sweeper = self._loop.call_later(self.settings.sweep_ms / 1000, self._sweep)
        now = self._loop.time()
        for caller in list(self._callers):
            caller.sweep(now)
        # A session may end, or break, with nobody on its line to be told.
        for sitting in [sitting for sitting in self._sittings.values() if sitting.seat.ended]:
            self.ended(sitting)
        self._tell_untold()

    # ---- who comes in --------------------------------------------------------------------------------------------

    def _request(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener | None:
        """Answer an HTTP request: with a page, a refusal, or a socket."""
        path = handshake.path_of(request)
        if path != self.settings.path:
            return WSUpgradeResponseWithListener(handshake.page(path, self._pages), None)
        if not handshake.origin_allowed(request, self.settings):
            refusal = handshake.refusal(HTTPStatus.FORBIDDEN, "this origin may not open sockets here\n")
            return WSUpgradeResponseWithListener(refusal, None)
        if self._stopping or len(self._callers) >= 2 * self.settings.connections_max:
            why = "this server stops\n" if self._stopping else "too many sockets\n"
            refusal = handshake.refusal(HTTPStatus.SERVICE_UNAVAILABLE, why)
            return WSUpgradeResponseWithListener(refusal, None)
        agreed = handshake.agree(request, self.settings)
        caller = self._caller(agreed)
        response = WSUpgradeResponse.create_101_response(agreed.headers)
        return WSUpgradeResponseWithListener(response, caller.socket)

    def _caller(self, agreed: Agreed) -> Caller:
        now = loop_time()
        tally = self.counters.compression
        deflate = Deflate(self.settings.message_bytes_max, tally) if agreed.compressed and tally else None
        socket = Socket(self.settings, self.counters, agreed.encoding or "json", deflate, now)
        caller = Caller(socket, self, now)
        socket.peer = caller
        refusal = self._refusal(agreed, now)
        if refusal is not None:
            socket.turn_away = refusal
        return caller

    def _refusal(self, agreed: Agreed, now: float) -> CloseCode | None:
        """Why this socket will be closed as soon as it is open."""
        if not self._connects.take(now):
            return CloseCode.CONNECT_RATE_EXCEEDED
        if len(self._callers) >= self.settings.connections_max:
            return CloseCode.TOO_MANY_CONNECTIONS
        return None if agreed.encoding else CloseCode.SUBPROTOCOL_UNSUPPORTED

    # ---- what callers need ---------------------------------------------------------------------------------------

    def came(self, caller: Caller) -> None:
        """Its handshake was whole: until then there is nobody, and may never be."""
        self._callers.add(caller)
        self.counters.connections = len(self._callers)

    def open(self, hello: Hello, caller: Caller) -> Sitting:
        """A new session."""
        bootstrap = Bootstrap(
            schema_version=CORE_SCHEMA_VERSION,
            transport_kind=KIND,
            tenant_id=hello.tenant,
            requested_at_ms=time.time_ns() // 1_000_000,
            pipeline_version=hello.pipeline,
            playback_reports=hello.playback_reports,
            metadata=dict(hello.metadata),
        )
        seat = self._door.open(bootstrap, caller)
        sitting = Sitting(seat, secrets.token_urlsafe(32), hello.playback_reports, caller)
        self._sittings[seat.session_id] = sitting
        self.counters.opened += 1
        return sitting

    def resume(self, hello: Hello, caller: Caller) -> Sitting:
        """A session whose secret the caller knows; whoever had its line loses it."""
        sitting = self._sittings.get(hello.session or "")
        known = hmac.compare_digest(
            (sitting.resume if sitting else secrets.token_urlsafe(32)).encode(), (hello.resume or "").encode()
        )
        # One answer for all of these: a stranger must not learn which sessions there are.
        if sitting is None or not known or sitting.seat.ended:
            raise Refused(CloseCode.RESUME_REFUSED.word, "no such session, or not with this token")
        if hello.epoch is not None and hello.epoch != sitting.seat.epoch:
            raise Refused(CloseCode.EPOCH_STALE.word, f"the session's epoch is {sitting.seat.epoch}")
        sitting.caller.replaced()
        sitting.caller = caller
        self.counters.resumed += 1
        return sitting

    def ended(self, sitting: Sitting) -> None:
        self._sittings.pop(sitting.seat.session_id, None)

    def gone(self, caller: Caller) -> None:
        self._callers.discard(caller)
        if not self._callers:
            self._empty.set()
        self.counters.connections = len(self._callers)

    def soon(self, seat: Seat, report: DeliveryReported) -> None:
        self._loop.call_soon(seat.ingest, report)

    def tell(self, seat: Seat, state: ConnectionState) -> None:
        """What a line does is told in order and never lost: a session that knew nothing of it would wait for ever."""
        if any(waiting is seat for waiting, _ in self._untold) or not seat.ingest(ConnectionChanged(state)):
            self._untold.append((seat, state))

    def _tell_untold(self) -> None:
        full: set[str] = set()
        for _ in range(len(self._untold)):
            seat, state = self._untold.popleft()
            if seat.session_id in full or not (seat.ended or seat.ingest(ConnectionChanged(state))):
                full.add(seat.session_id)
                self._untold.append((seat, state))


def _listen(settings: Settings) -> sockets.socket:
    """A socket that listens, with a bound on what the system keeps for each of its connections."""
    family = sockets.AF_INET6 if ":" in settings.host else sockets.AF_INET
    listening = sockets.socket(family, sockets.SOCK_STREAM)
    try:
        listening.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        listening.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, settings.socket_send_bytes)
        listening.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, settings.socket_receive_bytes)
        listening.bind((settings.host, settings.port))
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        where = f"{settings.host}:{settings.port}"
        raise MisuseError("address_unusable", f"cannot listen at {where}: {error.strerror}") from error
    return listening


def _logger() -> logging.LoggerAdapter[logging.Logger]:
    """Only what is a defect of ours is worth a line; what peers do wrong is counted, and may be a thousand times a second.

    An adapter, because picows gives a plain logger a child for each socket, and children do not pass their parent's filter.
    """
    logger = logging.Logger("rspp.websocket", logging.ERROR)  # noqa: LOG001 - ours alone, so that the filter is
    logger.parent = logging.getLogger("rspp")
    logger.addFilter(lambda record: bool(record.exc_info))
    return logging.LoggerAdapter(logger, {})
