"""One server, as all sessions share it: a pool of connections, its key, and every fault translated.

The key is looked up anew for each request, so that a rotated one counts from the next request on. Redirects are not
followed and the process's proxy variables not read: a key goes where the settings say and nowhere else.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, Final, NamedTuple, cast

import httpx

from rspp.adapters.providers.openai_compatible.faults import (
    PROTOCOL,
    UNAUTHORISED,
    UNREACHABLE,
    check_status,
    translated,
)
from rspp.adapters.providers.openai_compatible.settings import Settings
from rspp.contract.errors import MisuseError
from rspp.host.secrets import Secret
from rspp.spec.provider_settings import REFERENCE

Resolve = Callable[[str], Secret]

# Long enough to outlast the pause between two turns of a talk.
KEEP_ALIVE_S: Final = 60.0


class Reply(NamedTuple):
    """An answer that was taken: its kind of content, and its bytes as they come."""

    content_type: str
    chunks: AsyncIterator[bytes]


class Upstream:
    """The server of one provider id."""

    def __init__(self, name: str, settings: Settings, resolve: Resolve) -> None:
        self.name = name
        self._settings = settings
        self._resolve = resolve
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Fails where a secret is missing; that the server is there shows with the first call."""
        self._headers()
        if self._client is None:
            self._client = client_of(self._settings)

    async def check(self) -> None:
        """Does anybody listen there? No request is made: that would cost, and need a key."""
        url = httpx.URL(self._settings.base_url)
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            _, writer = await asyncio.open_connection(url.host, port)
        except OSError as error:
            raise UNREACHABLE.error(f"{self.name}: nobody answers at its address") from error
        writer.transport.abort()

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @asynccontextmanager
    async def post(self, path: str, accept: str, **body: Any) -> AsyncIterator[Reply]:
        """The answer to a request; leaving early hangs up. Inside, only `ProviderError` is raised by what fails."""
        client = self._client
        if client is None:
            raise MisuseError("provider_not_open", f"{self.name} is not open")
        try:
            headers = {**self._headers(), "accept": accept}
        except MisuseError as error:  # a secret that was there is gone
            raise UNAUTHORISED.error(f"{self.name}: {error.message}") from None
        url = self._settings.base_url.rstrip("/") + path
        with translated(self.name):
            async with AsyncExitStack() as stack:
                response = await self._answer(stack, client, url, {"headers": headers, **body})
                check_status(self.name, response)
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                # Typed as an iterator, it is a generator, and closed here rather than by the collector.
                async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_bytes())) as chunks:
                    yield Reply(kind, chunks)

    async def _answer(
        self, stack: AsyncExitStack, client: httpx.AsyncClient, url: str, request: Mapping[str, Any]
    ) -> httpx.Response:
        """The head of the answer. A kept connection that the server was just closing is not the call's fault: then, and
        only then, it is asked once more.
        """
        connected: list[str] = []

        async def trace(event: str, _info: Mapping[str, Any]) -> None:
            if event.startswith("connection.connect_"):
                connected.append(event)

        try:
            return await stack.enter_async_context(
                client.stream("POST", url, extensions={"trace": trace}, **request)
            )
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if connected:
                raise
        return await stack.enter_async_context(client.stream("POST", url, **request))

    def expect(self, reply: Reply, *kinds: str) -> None:
        """A server that says something else is not what the settings take it for; one that says nothing may be."""
        if reply.content_type and reply.content_type not in kinds:
            raise PROTOCOL.error(f"{self.name}: the content is not {' or '.join(kinds)}")

    def _headers(self) -> Mapping[str, str]:
        found = {name: self._value(name, value) for name, value in self._settings.headers.items()}
        if self._settings.api_key is not None:
            found["authorization"] = f"Bearer {self._value('api_key', self._settings.api_key)}"
        return found

    def _value(self, name: str, value: str) -> str:
        text = self._resolve(value).reveal() if REFERENCE.fullmatch(value) else value
        if not text.isascii() or not text.isprintable() or text != text.strip():
            raise MisuseError("secret_unusable", f"{name} is no text that a header can hold")
        return text


def client_of(settings: Settings) -> httpx.AsyncClient:
    many = settings.connections_max
    connect, read = settings.connect_ms / 1000, settings.read_ms / 1000
    return httpx.AsyncClient(
        limits=httpx.Limits(
            max_connections=many, max_keepalive_connections=many, keepalive_expiry=KEEP_ALIVE_S
        ),
        timeout=httpx.Timeout(connect=connect, read=read, write=read, pool=connect),
        # Sound and words come in small pieces, which compression would hold back.
        headers={"accept-encoding": "identity", "user-agent": "rspp"},
        verify=ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else True,
        proxy=settings.proxy,
        trust_env=False,
        follow_redirects=False,
    )
