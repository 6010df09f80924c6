"""A tool is called with a text and answers with a text: a coroutine function of the application, or an HTTP endpoint.

Every call is a provider call of the kernel, so it is in the journal and a replay calls nobody. It carries the call's
idempotency key, the same over all attempts: who has seen it answers as before and does nothing again. What has effects
is never done on a guess; the kernel holds such a call back until the guess is confirmed, and this refuses it besides.

    provider_settings:
      desk-tools:
        use: tools
        tools:
          calendar: {url: "https://desk.example/calendar", token: env://DESK_TOKEN}
          room: {function: "desk.rooms:find"}          # async def find(request: ToolRequest) -> str
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import Annotated, Final, cast

import httpx
import msgspec

from rspp.contract.errors import MisuseError
from rspp.contract.event import Text
from rspp.contract.words import OutcomeClass
from rspp.host.ports import CallRequest, LiveCall, ProviderError, ProviderInfo
from rspp.host.registry import ProviderKind
from rspp.host.secrets import Secret, resolve

KIND: Final = "tools"
MODALITY: Final = "external"
ANSWER_BYTES_MAX: Final = 64 << 10
CONNECTIONS_MAX: Final = 32


class ToolRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool is told. An HTTP endpoint gets it as JSON, and the key as the header `Idempotency-Key` too."""

    tool: str
    text: str
    idempotency_key: str
    attempt: int
    turn_id: str | None


Tool = Callable[[ToolRequest], Awaitable[str]]
NO_TOOLS: Final[Mapping[str, Tool]] = MappingProxyType({})


class ToolSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tool: either a `function` or a `url`."""

    function: str | None = None
    url: str | None = None
    token: str | None = None  # by reference
    timeout_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 5_000


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tools: dict[str, ToolSettings] = {}


class Tools:
    """The provider of all tools that one list of settings names, and of those that were handed in by name."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        functions: Mapping[str, Tool] = NO_TOOLS,
        secret: Callable[[str], Secret] = resolve,
    ) -> None:
        self.info = ProviderInfo(name=name, modality=MODALITY, version="v1", streaming=False)
        self._settings = settings
        self._functions = dict(functions)
        self._tokens: dict[str, Secret] = {}
        self._secret = secret
        self._client: httpx.AsyncClient | None = None
        for tool, one in settings.tools.items():
            if (one.function is None) is (one.url is None):
                raise MisuseError(
                    "tool_settings_invalid", "a tool has a `function` or a `url`", f"tools.{tool}"
                )

    async def open(self) -> None:
        for name, one in self._settings.tools.items():
            if one.function is not None:
                self._functions[name] = _function(one.function, f"tools.{name}.function")
            elif one.token is not None:
                self._tokens[name] = self._secret(one.token)
        if self._client is None and any(one.url for one in self._settings.tools.values()):
            limits = httpx.Limits(max_connections=CONNECTIONS_MAX)
            # A redirect could lead the token to somebody else.
            self._client = httpx.AsyncClient(limits=limits, follow_redirects=False, trust_env=False)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def run(self, call: LiveCall) -> None:
        request = _asked(call.request)
        settings = self._settings.tools.get(request.tool, ToolSettings())
        try:
            async with asyncio.timeout(settings.timeout_ms / 1000):
                answer = await self._answer(request, settings)
        except TimeoutError as error:
            raise ProviderError(OutcomeClass.TIMEOUT, "tool_timeout", retryable=True) from error
        await call.produce(Text(answer, role="assistant"))

    async def _answer(self, request: ToolRequest, settings: ToolSettings) -> str:
        if settings.url is not None:
            return await self._post(request, settings.url)
        function = self._functions.get(request.tool)
        if function is None:
            known = ", ".join(sorted({*self._functions, *self._settings.tools})) or "none"
            raise ProviderError(
                OutcomeClass.BLOCKED,
                "tool_unknown",
                f"no tool {request.tool!r} is registered; known: {known}",
            )
        try:
            answer: object = await function(request)
        except (ProviderError, TimeoutError):
            raise
        except Exception as error:
            raise ProviderError(
                OutcomeClass.INFRASTRUCTURE_FAILURE, "tool_raised", type(error).__name__
            ) from error
        if not isinstance(answer, str) or len(answer.encode()) > ANSWER_BYTES_MAX:
            raise ProviderError(
                OutcomeClass.INFRASTRUCTURE_FAILURE, "tool_answer_invalid", "a tool answers with a short text"
            )
        return answer

    async def _post(self, request: ToolRequest, url: str) -> str:
        assert self._client is not None, "open() comes first"
        headers = {"Content-Type": "application/json", "Idempotency-Key": request.idempotency_key}
        if (token := self._tokens.get(request.tool)) is not None:
            headers["Authorization"] = f"Bearer {token.reveal()}"
        body = bytearray()
        try:
            sent = self._client.stream(
                "POST", url, content=msgspec.json.encode(request), headers=headers, timeout=None
            )
            async with sent as response:
                _check(response)
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_BYTES_MAX:
                        raise ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, "tool_answer_large")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProviderError(
                OutcomeClass.INFRASTRUCTURE_FAILURE, "tool_unreachable", type(error).__name__, retryable=True
            ) from error
        return _text(bytes(body), response.headers.get("content-type", ""))


def _asked(request: CallRequest) -> ToolRequest:
    """What the call asks for, unless it may not be done."""
    name = request.config.get("tool")
    payload = request.event.payload if request.event is not None else None
    if not isinstance(name, str) or not isinstance(payload, Text):
        raise ProviderError(
            OutcomeClass.BLOCKED, "tool_request_invalid", "a tool is asked by a text, by its name"
        )
    if request.speculative and request.config.get("has_effects", True):
        raise ProviderError(OutcomeClass.BLOCKED, "tool_speculation", "a guess may not act")
    return ToolRequest(
        tool=name,
        text=payload.text,
        idempotency_key=request.idempotency_key,
        attempt=request.attempt,
        turn_id=request.turn_id,
    )


def _check(response: httpx.Response) -> None:
    """A status as an outcome: too many requests and a server's fault may pass, a refusal does not."""
    status = response.status_code
    if status in (429, 503):
        after = response.headers.get("retry-after", "")
        wait_ms = int(after) * 1000 if after.isascii() and after.isdigit() and len(after) < 6 else None
        raise ProviderError(OutcomeClass.OVERLOAD, "tool_busy", retryable=True, retry_after_ms=wait_ms)
    if status >= 500:
        raise ProviderError(
            OutcomeClass.INFRASTRUCTURE_FAILURE, "tool_failed", f"HTTP {status}", retryable=True
        )
    if status != 200:
        raise ProviderError(OutcomeClass.BLOCKED, "tool_refused", f"HTTP {status}")


def _text(body: bytes, content_type: str) -> str:
    """Plain text as it is, JSON by its field `text`."""
    try:
        if content_type.partition(";")[0].strip() == "application/json":
            return msgspec.json.decode(body, type=_Answer).text
        return body.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, "tool_answer_invalid") from error


class _Answer(msgspec.Struct, frozen=True):
    text: str


def _function(reference: str, path: str) -> Tool:
    module_name, _, attribute = reference.partition(":")
    try:
        found: object = getattr(import_module(module_name), attribute, None)
    except (ImportError, ValueError) as error:
        raise MisuseError("tool_settings_invalid", f"'{module_name}' cannot be imported", path) from error
    if not iscoroutinefunction(found):
        raise MisuseError("tool_settings_invalid", f"'{reference}' is no coroutine function", path)
    return cast(Tool, found)


def tools(
    functions: Mapping[str, Tool] = NO_TOOLS, secret: Callable[[str], Secret] = resolve
) -> dict[str, ProviderKind]:
    """For a registry: the kind `tools`, whose tools come from its settings and from `functions`."""

    def make(name: str, settings: Mapping[str, object]) -> Tools:
        try:
            read = msgspec.convert(dict(settings), Settings)
        except msgspec.ValidationError as error:
            raise MisuseError("tool_settings_invalid", str(error), f"provider_settings.{name}") from error
        return Tools(name, read, functions, secret)

    return {KIND: ProviderKind(MODALITY, make, "tools: coroutine functions and HTTP endpoints")}
