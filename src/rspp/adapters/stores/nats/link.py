"""The connection to the servers: made when it is needed, given up when it says nothing, made again to another of them.

The library's own reconnecting is off. It would keep what was asked meanwhile and send it later, when nobody knows of it any
more; and whoever waits for an answer would wait on. Here everyone who waits is told at once, and asks again.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from rspp.adapters.stores.nats import faults
from rspp.adapters.stores.nats.faults import UnansweredError
from rspp.adapters.stores.nats.mailbox import LETTERS_MAX, Letter, Letters, Mailbox
from rspp.contract.errors import LimitReached, MisuseError
from rspp.host.secrets import Secret

CONNECT_S_MAX: Final = 1.5
CLOSE_S_MAX: Final = 2.0
END_S_MAX: Final = 0.05
DOUBT_S: Final = 0.25
# A connection that is silent for two of these is given up; whoever waits for an answer gives it up sooner.
PING_S: Final = 3
PINGS_MAX: Final = 2
RECONNECT_S: Final = 0.05
# What a message has beside its value: its own headers and the protocol's lines.
ROOM_BYTES: Final = 256


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers are, and how to be let in."""

    servers: tuple[str, ...]
    user: str | None = None
    password: Secret | None = None
    tls: ssl.SSLContext | None = None


class Connection:
    """One life of a connection."""

    def __init__(self, client: Client, server: str, mailbox: Mailbox) -> None:
        self.client = client
        self.server = server
        self.mailbox = mailbox
        self.payload_bytes_max: Final = int(client.max_payload)
        # The library keeps it to itself.
        self.is_clustered: Final = bool(client._server_info.get("cluster"))

    async def send(self, subject: str, payload: bytes, reply: str, headers: dict[str, str] | None) -> None:
        if self.mailbox.closed:
            raise UnansweredError("the connection is gone", sent=False)
        try:
            await self.client.publish(subject, payload, reply=reply, headers=headers)
        except (nats.errors.Error, OSError) as error:
            raise UnansweredError(str(error), sent=True) from None

    async def listen(self, take: Callable[[Letter], None]) -> Ear:
        """An address of its own, for messages that keep the subject they were kept under."""
        address = self.mailbox.address(take)

        async def heard(letter: Msg) -> None:
            self.mailbox.heard += 1
            take(letter)

        try:
            subscription = await self.client.subscribe(
                f"{address}.all", cb=heard, pending_msgs_limit=LETTERS_MAX
            )
        except (nats.errors.Error, OSError) as error:
            self.mailbox.forget(address)
            raise UnansweredError(str(error), sent=False) from None
        return Ear(self, address, subscription)

    async def is_alive(self) -> bool:
        """The server itself gives us back a letter of ours: it is a stream's leader that is silent."""
        letters = Letters()
        address = self.mailbox.address(letters.take)
        try:
            await self.send(address, b"", "", None)
            return await letters.next(DOUBT_S) is not None
        except UnansweredError:
            return False
        finally:
            self.mailbox.forget(address)

    async def close(self) -> None:
        """In good order if the peer takes it; else at once."""
        self.mailbox.close()
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await self.client.close()
        except (TimeoutError, nats.errors.Error, OSError):
            abort(self.client)


class Ear:
    """Hears what comes to one address until it is closed, or its connection is."""

    def __init__(self, connection: Connection, address: str, subscription: Subscription) -> None:
        self._mailbox = connection.mailbox
        self._address = address
        self._subscription = subscription
        self.subject: Final = subscription.subject

    async def close(self) -> None:
        self._mailbox.forget(self._address)
        if not self._mailbox.closed:
            with suppress(nats.errors.Error, OSError):
                await self._subscription.unsubscribe()


class Link:
    """Questions and answers, over whichever connection there is."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._servers = random.sample(address.servers, len(address.servers))
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._closed = False
        self._closing: set[asyncio.Task[None]] = set()  # bounded: one a connection, for CLOSE_S_MAX

    async def ask(
        self, subject: str, payload: bytes, within_s: float, headers: Mapping[str, str] | None = None
    ) -> Msg:
        """The answer to one question, asked once. Raises `UnansweredError` when none comes."""
        connection = await self.connected(within_s)
        self._fits(connection, payload, headers)
        heard = connection.mailbox.heard
        answered: asyncio.Future[Letter] = asyncio.get_running_loop().create_future()

        def take(letter: Letter) -> None:
            if not answered.done():
                answered.set_result(letter)

        reply = connection.mailbox.address(take)
        try:
            async with asyncio.timeout(within_s):
                await connection.send(subject, payload, reply, dict(headers) if headers else None)
                letter = await answered
        except TimeoutError:
            if connection.mailbox.heard == heard and not await connection.is_alive():
                self.give_up(connection)
            raise UnansweredError("the server did not answer in time", sent=True) from None
        finally:
            connection.mailbox.forget(reply)
        if letter is None:
            raise UnansweredError("the connection was lost", sent=True)
        if letter.headers and letter.headers.get("Status") == "503":
            raise UnansweredError("nobody there serves this now", sent=False)
        return letter

    async def connected(self, within_s: float) -> Connection:
        """The connection there is, or a new one, which all wait for together. Raises what no further attempt mends."""
        if self._closed:
            raise MisuseError("store_closed", "the store is closed")
        connection = self._connection
        if connection is not None and not connection.mailbox.closed:
            return connection
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(
                self._connect(), name="nats-store-connect"
            )
            self._connecting.add_done_callback(self._connect_ended)
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.shield(self._connecting)
        except TimeoutError:
            raise UnansweredError("no connection in time", sent=False) from None

    def give_up(self, connection: Connection) -> None:
        """Those who wait on it are told; the next question goes to another server, if there is one."""
        connection.mailbox.close()
        if self._connection is connection:
            self._connection = None
        self._last_choice(connection.server)
        self._end(connection)

    async def close(self) -> None:
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        connection, self._connection = self._connection, None
        if connection is not None:
            self._end(connection)
        if self._closing:
            await asyncio.wait(set(self._closing))

    def _end(self, connection: Connection) -> None:
        task = asyncio.get_running_loop().create_task(connection.close(), name="nats-store-close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _connect(self) -> Connection:
        why: Exception | None = None
        for server in tuple(self._servers):
            client = Client()
            try:
                async with asyncio.timeout(CONNECT_S_MAX):
                    self._connection = await self._enter(client, server)
                    return self._connection
            except (OSError, TimeoutError, nats.errors.Error) as error:
                why = _cause(client, error)
                await _end_client(client)
            except BaseException:
                await _end_client(client)
                raise
            lasting = faults.of_connecting(why)
            if lasting is not None:
                raise lasting
            self._last_choice(server)
        hosts = ", ".join(server.partition("://")[2] for server in self._address.servers)
        raise UnansweredError(f"no connection to {hosts}: {why or 'no server'}", sent=False)

    def _connect_ended(self, task: asyncio.Task[Connection]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # whoever waited has it

    def _last_choice(self, server: str) -> None:
        if server in self._servers:
            self._servers.remove(server)
            self._servers.append(server)

    async def _enter(self, client: Client, server: str) -> Connection:
        mailbox = Mailbox(f"_INBOX.{uuid.uuid4().hex}")

        async def gone() -> None:
            mailbox.close()

        options: dict[str, Any] = {}
        if self._address.tls is not None:
            options["tls"] = self._address.tls
        if self._address.user is not None and self._address.password is not None:
            options |= {"user": self._address.user, "password": self._address.password.reveal()}
        await client.connect(
            [server],
            name="rspp-store",
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=RECONNECT_S,  # type: ignore[arg-type]  # seconds, whole or not
            connect_timeout=CONNECT_S_MAX,  # type: ignore[arg-type]  # likewise
            ping_interval=PING_S,
            max_outstanding_pings=PINGS_MAX,
            error_cb=_noted,
            closed_cb=gone,
            **options,
        )
        await client.subscribe(mailbox.subject, cb=mailbox.deliver)
        return Connection(client, server, mailbox)

    def _fits(self, connection: Connection, payload: bytes, headers: Mapping[str, str] | None) -> None:
        beside = ROOM_BYTES + sum(len(name) + len(text) + 4 for name, text in (headers or {}).items())
        if len(payload) + beside > connection.payload_bytes_max:
            most = connection.payload_bytes_max - beside
            raise LimitReached(
                "payload_too_large",
                f"the server takes messages of {connection.payload_bytes_max} bytes (its max_payload): "
                f"here a value of at most {most}, not {len(payload)}",
            )


def _cause(client: Client, error: Exception) -> Exception:
    """Of "no servers available" the reason why."""
    last = client.last_error
    return last if isinstance(error, nats.errors.NoServersError) and isinstance(last, Exception) else error


async def _end_client(client: Client) -> None:
    """One that never got in: there is nobody to take leave of."""
    abort(client)
    with suppress(TimeoutError, OSError, nats.errors.Error):
        async with asyncio.timeout(END_S_MAX):  # after a failed handshake it would wait for ever
            await client.close()


def abort(client: Client) -> None:
    """Close its socket without waiting for the peer, which the library always does."""
    for name in ("_io_writer", "_bare_io_writer"):
        writer = getattr(client._transport, name, None)
        if writer is not None:
            writer.transport.abort()


async def _noted(_: Exception) -> None:
    """The library would log it; whoever waits is told by the connection's end."""
