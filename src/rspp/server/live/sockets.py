"""The Socket.IO server at /socket.io: lets in who shows a token, tells each what it may hear, and lets go of who may no more.

Only WebSockets are spoken: a client that polls would hold its messages in our memory between its visits. Nothing that a client
says is acted upon but its token. Every message goes through `Feed`, and a client that does not read has at most `SENDING_MAX`
messages on their way and `PENDING_MAX` things waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import socketio  # type: ignore[import-untyped]  # it has no types
from socketio.exceptions import ConnectionRefusedError as Refusal  # type: ignore[import-untyped]
from socketio.packet import EVENT, Packet  # type: ignore[import-untyped]
from starlette.datastructures import Headers
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from rspp.contract.errors import RsppError
from rspp.server.faults import fault_of
from rspp.server.gate import Gate, Unauthenticated
from rspp.server.live.clients import CLIENTS_MAX, UNSURE, Authenticate, Client, Clients, over_for
from rspp.server.live.feed import Feed, Message
from rspp.server.live.wire import SCOPE_KEY, Wire
from rspp.server.origin import is_own_page

if TYPE_CHECKING:
    from rspp.ops.engine import StateEngine

log = logging.getLogger("rspp.server.live")

PATH: Final = "/socket.io/"
# Changes of one thing within this time are told once.
TELL_EVERY_S: Final = 0.2
AT_EVERY_S: Final = 5.0
CHECK_EVERY_S: Final = 5.0
# Who has shown no token by then goes.
TOKEN_S_MAX: Final = 10.0
SWEEP_EVERY_S: Final = 0.5
AGAIN_S: Final = 0.5
# What was told last gets so long to leave before the connection is closed.
LAST_WORDS_S: Final = 1.0
# Messages to one client that have been handed over and are not yet sent.
SENDING_MAX: Final = 256
# Connections, those without a token too; and how many of these one address may hold, so that nobody keeps the others out.
WIRES_MAX: Final = CLIENTS_MAX + 56
WAITING_OF_ONE_MAX: Final = 16
PING_EVERY_S: Final = 25
PING_S_MAX: Final = 20
# The longest thing that a client says is its token.
MESSAGE_BYTES_MAX: Final = 16_384
REFUSE: Final = {"type": "websocket.close", "code": 1013}


class Timing:
    """How often things are done; tests take smaller numbers."""

    def __init__(
        self,
        tell_every_s: float = TELL_EVERY_S,
        at_every_s: float = AT_EVERY_S,
        check_every_s: float = CHECK_EVERY_S,
        token_s_max: float = TOKEN_S_MAX,
    ) -> None:
        self.tell_every_s, self.at_every_s = tell_every_s, at_every_s
        self.check_every_s, self.token_s_max = check_every_s, token_s_max


class Sockets:
    """All consoles that are connected to this process. `run` keeps them told, until cancelled."""

    def __init__(
        self,
        gate: Gate,
        authenticate: Authenticate,
        engine: StateEngine,
        timing: Timing | None = None,
        clients_max: int = CLIENTS_MAX,
    ) -> None:
        self.clients = Clients(clients_max)
        self._gate, self._authenticate, self._engine = gate, authenticate, engine
        self._timing = timing or Timing()
        self._wires: set[Wire] = set()  # bounded: WIRES_MAX, more are refused
        self._wake = asyncio.Event()
        self._sequence = 0
        self._server = _server()
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._left)
        self._app = socketio.ASGIApp(self._server)
        engine.on_change(self._changed)

    @property
    def route(self) -> WebSocketRoute:
        return WebSocketRoute(PATH, _Endpoint(self))

    async def over_wire(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, from its handshake to its end."""
        if not is_own_page(Headers(scope=scope)):
            log.info("a page that was not served here wanted a socket; a proxy in front must pass on Host")
            await send(REFUSE)
            return
        address = _address(scope)
        waiting = sum(1 for one in self._wires if one.address == address and one.due is not None)
        if len(self._wires) >= WIRES_MAX or waiting >= WAITING_OF_ONE_MAX:
            await send(REFUSE)
            return
        wire = Wire(self._now, self._now() + self._timing.token_s_max, address)
        self._wires.add(wire)
        try:
            await wire.carry(self._app, scope, receive, send)
        finally:
            self._wires.discard(wire)

    async def run(self) -> None:
        self._sequence = max(self._sequence, self._engine.snapshots.sequence)
        try:
            async with asyncio.TaskGroup() as tasks:
                for work in (self._tell, self._check, self._sweep):
                    tasks.create_task(_again_and_again(work))
        finally:
            for wire in self._wires:
                wire.end()
            with suppress(Exception):
                await self._server.shutdown()

    # ---- who comes and goes ----------------------------------------------------------------------------------------

    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        wire: Wire = environ["asgi.scope"][SCOPE_KEY]
        try:
            token = _token_in(auth)
            if wire.due is None:
                raise Unauthenticated("this connection has its token")
            principal = await self._gate.enter(f"Bearer {token}", wire.address)
            self.clients.check_room(principal)
        except RsppError as error:
            fault = fault_of(error)
            about = {"code": fault.code, "retryAfterMs": fault.retry_after_ms}
            raise Refusal(fault.message, about) from None
        wire.due = None
        sequence = max(self._sequence, self._engine.snapshots.sequence)
        client = Client(sid, principal, token, wire, Feed(sequence), self._now())
        # Only when the library has told the client that it is in: what comes before that, it would not understand.
        asyncio.get_running_loop().call_soon(self._entered, client)

    def _entered(self, client: Client) -> None:
        if not client.wire.ended:
            self.clients.add(client)
            self._wake.set()

    def _left(self, sid: str, *_: Any) -> None:
        client = self.clients.drop(sid)
        if client is not None:
            client.wire.due = self._now() + LAST_WORDS_S

    async def _let_go(self, client: Client, code: str, message: str) -> None:
        """The client hears why, and then the connection ends, whether it has heard or not."""
        self.clients.drop(client.sid)
        client.wire.due = self._now() + LAST_WORDS_S
        await self._send(client, Message("over", {"code": code, "message": message}))
        await self._server.disconnect(client.sid)

    # ---- what is told ----------------------------------------------------------------------------------------------

    def _changed(self, surface: str, aggregate_id: str, tenant_id: str | None, sequence: int) -> None:
        self._sequence = max(self._sequence, sequence)
        if self.clients.tell(surface, aggregate_id, tenant_id, self._sequence):
            self._wake.set()

    async def _tell(self) -> None:
        """All messages go out here, one client after the other, so that each gets its own in the order of their numbers."""
        at_due = self._now() + self._timing.at_every_s
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(at_due):
                    await self._wake.wait()
            self._wake.clear()
            is_due = self._now() >= at_due
            for client in self.clients:
                await self._give(client, say_at=is_due)
            if is_due:
                at_due = self._now() + self._timing.at_every_s
            await asyncio.sleep(self._timing.tell_every_s)
            if any(client.feed.waiting for client in self.clients):
                self._wake.set()

    async def _give(self, client: Client, *, say_at: bool) -> None:
        """What waits for the client, as far as there is room for it."""
        if not client.greeted and self._room(client):
            client.greeted = True
            await self._send(client, client.feed.greeting())
        for message in client.feed.take(self._room(client)):
            await self._send(client, message)
        at = client.feed.at(self._sequence) if say_at and self._room(client) else None
        if at is not None:
            await self._send(client, at)

    async def _send(self, client: Client, message: Message) -> None:
        """Into the library's queue, which nothing waits for: `emit` would make a task of each message."""
        eio_sid = self._eio_sid(client)
        if eio_sid is not None:
            packet = Packet(EVENT, data=[message.event, message.data])
            await self._server.eio.send(eio_sid, packet.encode())

    def _room(self, client: Client) -> int:
        """How many messages more the library may hold for this client."""
        socket = self._server.eio.sockets.get(self._eio_sid(client))
        return 0 if socket is None else max(0, SENDING_MAX - int(socket.queue.qsize()))

    def _eio_sid(self, client: Client) -> str | None:
        """The connection under the client; None where it is gone."""
        found: str | None = self._server.manager.eio_sid_from_sid(client.sid, "/")
        return found

    # ---- whether they still may ------------------------------------------------------------------------------------

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(self._timing.check_every_s)
            # All at once: a look that takes long keeps nobody else in.
            async with asyncio.TaskGroup() as looks:
                for client in self.clients:
                    looks.create_task(self._look(client))

    async def _look(self, client: Client) -> None:
        try:
            why = await over_for(client, self._authenticate, self._now())
        except Exception:
            log.exception("whether a console may stay cannot be told")
            why = UNSURE, "nobody can say now whether this token still holds; connect again later"
        if why is not None and client in self.clients:
            await self._let_go(client, *why)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_EVERY_S, self._timing.token_s_max))
            for wire in self._wires:
                if wire.is_due():
                    wire.end()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def _again_and_again(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A fault of ours, or of the library's, is in the log; it neither silences all consoles nor lets anybody stay who may not."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("the consoles' sockets: %s failed; it begins again", work.__name__)
        await asyncio.sleep(AGAIN_S)


class _Endpoint:
    """The route's application: not a function, so that it is handed the connection as it comes."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._sockets.over_wire(scope, receive, send)


def _server() -> socketio.AsyncServer:
    # At a lower level it writes down what it receives, and that begins with a token.
    quiet = logging.getLogger("rspp.server.live.socketio")
    quiet.setLevel(logging.ERROR)
    return socketio.AsyncServer(
        async_mode="asgi",
        transports=["websocket"],
        cors_allowed_origins=[],  # looked at before a connection comes here
        logger=quiet,
        engineio_logger=quiet,
        async_handlers=False,
        ping_interval=PING_EVERY_S,
        ping_timeout=PING_S_MAX,
        max_http_buffer_size=MESSAGE_BYTES_MAX,
    )


def _token_in(auth: Any) -> str:
    """What the client says who it is; raises `Unauthenticated`."""
    token = auth.get("token") if isinstance(auth, dict) else None
    if not isinstance(token, str) or not token or not token.isprintable():
        raise Unauthenticated('connect with `auth: {token: "TOKEN"}`')
    return token


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
