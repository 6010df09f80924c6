"""The control plane as a service: one loop, one listening socket, TLS where it was asked for, and an end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto.connection import ConnectionState

from rspp.contract.errors import MisuseError
from rspp.control.plane import ControlPlane
from rspp.control.security.tls import Tls

log = logging.getLogger("rspp.server")

# Requests that are being answered get so long to end when the service stops; commands to workers wait longest.
GRACE_S: Final = 15
BACKLOG: Final = 1_024
# Requests at once; more are told to come again, by uvicorn, with 503.
REQUESTS_MAX: Final = 1_000
KEEP_ALIVE_S: Final = 15
HEAD_S_MAX: Final = 10.0
# The longest message that a client of a WebSocket sends here: its token.
WS_BYTES_MAX: Final = 16_384
# A WebSocket whose client has read nothing for so long is cut; closing it in good order would wait for ever.
STUCK_S_MAX: Final = 30.0
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen. Port 0 takes any that is free; which one is told when it listens."""

    host: str
    port: int

    @property
    def shown(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def listen_of(text: str) -> Listen:
    """`HOST:PORT`, `[::1]:PORT`; raises `MisuseError`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise MisuseError("address_unusable", f"{text!r} is no HOST:PORT")
    return Listen(host=host, port=int(port))


def bound(listen: Listen, option: str = "--listen") -> socket.socket:
    """The listening socket; raises `MisuseError` where there can be none, and names the option that says where."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    # By its protocol asyncio knows that it must not wait to fill packets: over TLS that would cost 40 ms a request.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((listen.host, listen.port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        message = (
            f"cannot listen on {listen.shown}:{listen.port}: {error.strerror}; choose another with {option}"
        )
        raise MisuseError("address_unusable", message) from error
    made.setblocking(False)
    return made


def address_of(sock: socket.socket, tls: bool) -> str:
    """Where a bound socket is reached, as a URL."""
    host, port = sock.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


class Service:
    """The server of one application on one socket. `run` returns when it was told to stop, or a signal came.

    `proxies` are addresses or networks of proxies in front, whose word about the caller's address is taken.
    """

    def __init__(
        self,
        app: Starlette,
        sock: socket.socket,
        tls: Tls | None = None,
        proxies: Sequence[str] = (),
    ) -> None:
        self._sock = sock
        self._tls = tls
        context = None if tls is None else tls.server
        config = uvicorn.Config(
            app,
            lifespan="on",
            ws="wsproto",
            ws_max_size=WS_BYTES_MAX,
            ws_per_message_deflate=False,  # a few bytes of input would become many
            ws_ping_interval=None,  # who speaks over it has pings of its own
            log_config=None,  # logs go where the process's logs go
            access_log=False,
            server_header=False,
            # Who comes is whoever the socket says; only of these peers the header is believed, from its right end.
            proxy_headers=bool(proxies),
            forwarded_allow_ips=list(proxies),
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=KEEP_ALIVE_S,
            limit_concurrency=REQUESTS_MAX,
            ssl_context_factory=None if context is None else lambda _config, _default: context,
        )
        self._server = _Server(config)
        self.url = address_of(sock, tls is not None)

    def stop(self) -> None:
        self._server.should_exit = True

    async def run(self, *, signals: bool = False) -> None:
        loop = asyncio.get_running_loop()
        if signals:
            for one in SIGNALS:
                loop.add_signal_handler(one, self.stop)
        try:
            await self._server.serve(sockets=[self._sock])
        finally:
            if signals:
                for one in SIGNALS:
                    loop.remove_signal_handler(one)
            self._sock.close()

    async def rotating(self) -> None:
        """Certificates that change on disk are taken, as long as this runs."""
        if self._tls is not None:
            await self._tls.run()

    async def listening(self) -> None:
        """Returns when requests are taken."""
        while not self._server.started:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.005)


class _Server(uvicorn.Server):
    """The process's signals are its owner's to handle: other parts of it have to stop as well.

    Who connects and asks nothing is let go of: each connection counts against `REQUESTS_MAX`, and uvicorn itself would keep it
    for ever, so that a few silent sockets could keep everybody out, probes too.
    """

    _silent: dict[Any, float] = {}  # noqa: RUF012 - replaced, never changed
    _stuck: dict[Any, float] = {}  # noqa: RUF012 - likewise

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield

    async def on_tick(self, counter: int) -> bool:
        connections = tuple(self.server_state.connections)
        self._silent = _cut(filter(_is_silent, connections), self._silent, HEAD_S_MAX)
        self._stuck = _cut(filter(_is_stuck, connections), self._stuck, STUCK_S_MAX)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """A WebSocket that is closing already and still has to be read by its client is not told a second time."""
        for one in tuple(self.server_state.connections):
            if isinstance(one, WSProtocol) and one.conn.state is not ConnectionState.OPEN:
                one.transport.abort()
        await asyncio.sleep(0)  # they take themselves off the list
        await super().shutdown(sockets)


def _cut(found: Iterable[Any], since: Mapping[Any, float], patience_s: float) -> dict[Any, float]:
    """Since when each is so; those that have been so for too long are cut."""
    now = asyncio.get_running_loop().time()
    known = {one: since.get(one, now) for one in found}
    for one, at in known.items():
        if now - at > patience_s:
            one.transport.abort()
    return known


def _is_silent(connection: Any) -> bool:
    """No request is under way, and nobody counts how long that lasts: its head has not come, or has not come whole."""
    if isinstance(connection, WSProtocol):
        return False  # its application counts
    answered = connection.cycle is None or connection.cycle.response_complete
    return answered and connection.timeout_keep_alive_task is None


def _is_stuck(connection: Any) -> bool:
    """More was written to a WebSocket than its client reads."""
    return isinstance(connection, WSProtocol) and not connection.writable.is_set()


async def serve(
    plane: ControlPlane, service: Service, on_listening: Callable[[str], None], *, signals: bool = True
) -> None:
    """Serve until told to stop; the views of the plane are kept new meanwhile. Raises what keeps them from that."""
    keeping = asyncio.create_task(plane.run(), name="control:plane")
    serving = asyncio.create_task(service.run(signals=signals), name="control:server")
    opened = asyncio.create_task(service.listening(), name="control:listening")
    rotating = asyncio.create_task(service.rotating(), name="control:certificates")
    try:
        await asyncio.wait((opened, serving, keeping), return_when=asyncio.FIRST_COMPLETED)
        if opened.done():
            on_listening(service.url)
            await asyncio.wait((serving, keeping), return_when=asyncio.FIRST_COMPLETED)
        service.stop()
        await serving
        if keeping.done():
            keeping.result()
    finally:
        for task in (opened, keeping, rotating):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
