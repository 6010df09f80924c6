"""The WebSocket transport: listens, on one socket or two, and lets callers in as fast as it can bear."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import socket as sockets
import ssl
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
from rspp.adapters.transports.websocket.caller import Caller
from rspp.adapters.transports.websocket.counters import Compression, Counters
from rspp.adapters.transports.websocket.deflate import Deflate
from rspp.adapters.transports.websocket.handshake import Agreed, AnyPage
from rspp.adapters.transports.websocket.lobby import KIND, Lobby
from rspp.adapters.transports.websocket.settings import Settings
from rspp.adapters.transports.websocket.socket import Socket, loop_time
from rspp.contract.errors import MisuseError
from rspp.contract.wire import CloseCode
from rspp.host.ports import Door, TransportInfo
from rspp.media.transcode import RATES, codecs

# picows closes what is larger than this by itself, with 1009, before it is read; what is between has our own code.
WIRE_FACTOR: Final = 4
BACKLOG_MAX: Final = 1_024  # sockets that wait to be accepted
STOP_S: Final = 2.0
NO_PAGES: Final[Mapping[str, AnyPage]] = MappingProxyType({})

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
        pages: Mapping[str, AnyPage] = NO_PAGES,
        admits: Admits = anyone,
        tls: ssl.SSLContext | None = None,
        listening: sockets.socket | None = None,
        direct: sockets.socket | None = None,
    ) -> None:
        """`listening` is a socket that others may listen on too, `direct` one of this process alone, for those who were
        sent here. Both stay their giver's; without `listening` the transport makes its own.
        """
        self.settings = settings or Settings()
        self.counters = Counters(compression=Compression() if self.settings.compression else None)
        self.admits = admits
        self._pages = pages
        self._tls = tls
        self._lobby = Lobby(self.settings, self.counters)
        self._loop: asyncio.AbstractEventLoop
        self._listening, self._direct = listening, direct
        self._servers: dict[str, asyncio.Server] = {}  # bounded: one for each of the two sockets
        # Bounded: connections_max, and as many again that are being closed.
        self._callers: set[Caller] = set()
        self._stopping = False
        self._changing = asyncio.Lock()
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
    def direct_port(self) -> int | None:
        """Where this process alone listens, if it was given a socket for that."""
        return None if self._direct is None else int(self._direct.getsockname()[1])

    @property
    def url(self) -> str:
        scheme = "wss" if self._tls else "ws"
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"{scheme}://{host}:{self._port}{self.settings.path}"

    # ---- its life ------------------------------------------------------------------------------------------------

    async def start(self, door: Door) -> None:
        settings = self.settings
        self._loop = asyncio.get_running_loop()
        self._lobby.start(door)
        now = self._loop.time()
        self._connects = Allowance(settings.connects_per_second, settings.connects_burst, now)
        self._port = settings.port
        await self.accepting(True)
        self._sweep()

    async def accepting(self, on: bool, *, direct: bool | None = None) -> None:
        """Take new sockets, or leave them to others who listen on the same address; those there are stay.

        A socket of its own is closed, so that who comes is refused and need not wait. `direct` is of the socket that is
        this process's alone, if it is to do otherwise. What was said last holds, however many say it at once.
        """
        async with self._changing:
            await self._accepting("shared", on)
            if self._direct is not None:
                await self._accepting("direct", on if direct is None else direct)

    async def _accepting(self, name: str, on: bool) -> None:
        server = self._servers.get(name)
        if on and server is None and not self._stopping:
            given = self._listening if name == "shared" else self._direct
            # A server that closes closes its socket: one that was given stays open, for others or for later.
            listening = (
                listening_socket(self.settings.host, self._port, self.settings)
                if given is None
                else given.dup()
            )
            if name == "shared":
                self._port = listening.getsockname()[1]
            try:
                self._servers[name] = await self._serve(listening)
            except BaseException:
                listening.close()
                raise
        elif not on and server is not None:
            del self._servers[name]
            server.close()

    async def _serve(self, listening: sockets.socket) -> asyncio.Server:
        settings, tls = self.settings, self._tls
        return await ws_create_server(
            self._request,
            sock=listening,
            ssl=tls,
            backlog=BACKLOG_MAX,
            websocket_handshake_timeout=settings.handshake_ms / 1000,
            max_frame_size=WIRE_FACTOR * settings.message_bytes_max,
            read_buffer_init_size=2_048,
            enable_auto_pong=False,  # pings count as messages
            use_aiofastnet=False,
            logger_name=_logger(),
            ssl_handshake_timeout=settings.handshake_ms / 1000 if tls else None,
            ssl_shutdown_timeout=settings.close_ms / 1000 if tls else None,
        )

    @property
    def sittings(self) -> int:
        """How many sessions came over this transport and live."""
        return len(self._lobby.sittings)

    def goes_on_at(self, session_id: str, endpoint: str) -> bool:
        """This session will live there: its caller is told in the good-bye. False: there is no such session here."""
        sitting = self._lobby.sittings.get(session_id)
        if sitting is not None:
            sitting.endpoint = endpoint
        return sitting is not None

    async def stop(self, reason: str) -> None:
        """No new callers; those there are hear why, and their sessions are left to the host."""
        self._stopping = True
        async with self._changing:  # a start that is under way has its sockets by then
            servers = list(self._servers.values())
        await self.accepting(False)
        for caller in list(self._callers):
            caller.socket.close(CloseCode.GOING_AWAY, reason)
        if self._callers:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), STOP_S)
        for caller in list(self._callers):
            caller.socket.abort(CloseCode.GOING_AWAY)
        for server in servers:
            await server.wait_closed()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._lobby.stop(STOP_S)

    def _sweep(self) -> None:
        # First of all: whatever befalls one caller here, the others' deadlines are kept.
        self._sweeper = self._loop.call_later(self.settings.sweep_ms / 1000, self._sweep)
        now = self._loop.time()
        for caller in list(self._callers):
            caller.sweep(now)
        self._lobby.sweep()

    # ---- who comes in --------------------------------------------------------------------------------------------

    def _request(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener | None:
        """Answer an HTTP request: with a page, a refusal, or a socket."""
        path = handshake.path_of(request)
        if not handshake.host_allowed(request, self.settings):
            why = "this server takes calls without a token, so it is asked by this machine's own names: 127.0.0.1, localhost\n"
            refusal = handshake.refusal(HTTPStatus.MISDIRECTED_REQUEST, why)
            return WSUpgradeResponseWithListener(refusal, None)
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
        caller = Caller(socket, self, self._lobby, now)
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

    def gone(self, caller: Caller) -> None:
        self._callers.discard(caller)
        if not self._callers:
            self._empty.set()
        self.counters.connections = len(self._callers)


def listening_socket(host: str, port: int, settings: Settings) -> sockets.socket:
    """A socket that listens, with a bound on what the system keeps for each of its connections; raises `MisuseError`."""
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    # By its protocol asyncio knows that it must not wait to fill packets.
    listening = sockets.socket(family, sockets.SOCK_STREAM, sockets.IPPROTO_TCP)
    try:
        listening.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        listening.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, settings.socket_send_bytes)
        listening.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, settings.socket_receive_bytes)
        listening.bind((host, port))
        listening.listen(BACKLOG_MAX)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise MisuseError("address_unusable", f"cannot listen at {host}:{port}: {error.strerror}") from error
    return listening


def _logger() -> logging.LoggerAdapter[logging.Logger]:
    """Only what is a defect of ours is worth a line; what peers do wrong is counted, and may be a thousand times a second.

    An adapter, because picows gives a plain logger a child for each socket, and children do not pass their parent's filter.
    """
    logger = logging.Logger("rspp.websocket", logging.ERROR)  # noqa: LOG001 - ours alone, so that the filter is
    logger.parent = logging.getLogger("rspp")
    logger.addFilter(lambda record: bool(record.exc_info))
    return logging.LoggerAdapter(logger, {})
