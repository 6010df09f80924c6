"""A tool answers a text with a text, is told the key of its call, and is neither asked twice nor on a guess."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import MisuseError
from rspp.contract.event import Event, Note, Scope, Text
from rspp.contract.words import EventKind, OutcomeClass, PayloadClass
from rspp.host.ports import CallRequest, ProviderError
from rspp.nodes.tool import ANSWER_BYTES_MAX, ToolRequest, Tools, tools
from rspp.testing.conformance import provider
from rspp.testing.conformance.checks import Check, parametrize, verify
from rspp.testing.conformance.trial import usual

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


class Line:
    """What a coroutine provider sees of its call."""

    def __init__(self, request: CallRequest) -> None:
        self.request = request
        self.given: list[object] = []

    async def produce(self, payload: object, port: str | None = None) -> None:
        self.given.append(payload)


def asking(tool: str = "room", text: str = "two beds", **changes: Any) -> CallRequest:
    scope = Scope(session_id="s", tenant_id="t", pipeline_version="v", epoch=1, turn_id="t1")
    event = Event(scope, EventKind.TEXT, 1, 0, Text(text, role="assistant"), PayloadClass.TEXT_RAW)
    request = CallRequest("c", 2, "tool", "external", "desk", "key-1", 1, None, "t1", event)
    return msgspec.structs.replace(request, config={"tool": tool, "has_effects": True}, **changes)


async def ask(made: Any, request: CallRequest | None = None) -> str:
    line = Line(request or asking())
    await made.open()
    try:
        await made.run(line)
    finally:
        await made.close()
    (answer,) = line.given
    assert isinstance(answer, Text)
    assert answer.role == "assistant"
    return answer.text


def failure(made: Any, request: CallRequest | None = None) -> ProviderError:
    with pytest.raises(ProviderError) as failed:
        asyncio.run(ask(made, request))
    return failed.value


def desk(function: Callable[[ToolRequest], Awaitable[Any]] | None = None, /, **settings: object) -> Tools:
    kind = tools({} if function is None else {"room": function})["tools"]
    made = kind.factory("desk", {"tools": {"room": settings}} if settings else {})
    assert isinstance(made, Tools)
    return made


def test_a_function_is_told_the_text_and_the_key_of_its_call() -> None:
    seen: list[ToolRequest] = []

    async def find(request: ToolRequest) -> str:
        seen.append(request)
        return f"Room 12 has {request.text}."

    assert asyncio.run(ask(desk(find))) == "Room 12 has two beds."
    assert seen == [
        ToolRequest(tool="room", text="two beds", idempotency_key="key-1", attempt=2, turn_id="t1")
    ]


def test_what_has_effects_is_not_done_on_a_guess_and_what_only_looks_is() -> None:
    called: list[str] = []

    async def book(request: ToolRequest) -> str:
        called.append(request.text)
        return "done"

    refused = failure(desk(book), asking(speculative=True))
    assert (refused.outcome, refused.reason, called) == (OutcomeClass.BLOCKED, "tool_speculation", [])
    looking = msgspec.structs.replace(asking(speculative=True), config={"tool": "room", "has_effects": False})
    assert asyncio.run(ask(desk(book), looking)) == "done"


async def _raises(request: ToolRequest) -> str:
    raise RuntimeError("the guest's secret")


async def _hangs(request: ToolRequest) -> str:
    await asyncio.sleep(60)
    return "never"


async def _gives_bytes(request: ToolRequest) -> Any:
    return b"no text"


async def _gives_a_book(request: ToolRequest) -> str:
    return "x" * (ANSWER_BYTES_MAX + 1)


@pytest.mark.parametrize(
    ("function", "reason"),
    [(_raises, "tool_raised"), (_gives_bytes, "tool_answer_invalid"), (_gives_a_book, "tool_answer_invalid")],
)
def test_what_a_function_does_wrong_is_a_failed_call_and_not_repeated_by_itself(
    function: Any, reason: str
) -> None:
    failed = failure(desk(function))
    assert (failed.reason, failed.retryable) == (reason, False)
    assert "secret" not in str(failed)


def test_an_unknown_tool_and_a_call_without_a_text_are_refused() -> None:
    assert failure(desk()).reason == "tool_unknown"
    strange = asking()
    assert strange.event is not None
    event = msgspec.structs.replace(strange.event, payload=Note("no text"))
    assert failure(desk(), msgspec.structs.replace(strange, event=event)).reason == "tool_request_invalid"


@pytest.mark.parametrize(
    "settings",
    [
        {"tools": {"room": {}}},
        {"tools": {"room": {"function": "a:b", "url": "http://x"}}},
        {"tools": {"room": {"url": "http://x", "timeout_ms": 0}}},
        {"tools": {"room": {"url": "http://x", "colour": "red"}}},
    ],
)
def test_settings_that_cannot_be_used_are_refused_before_anything_is_called(
    settings: dict[str, object],
) -> None:
    with pytest.raises(MisuseError):
        tools()["tools"].factory("desk", settings)


@pytest.mark.parametrize("function", ["no_such_module:f", "json:loads", "json:nothing", "json"])
def test_a_function_that_is_not_there_or_does_not_wait_is_refused_when_it_is_opened(function: str) -> None:
    with pytest.raises(MisuseError, match="tool_settings_invalid"):
        asyncio.run(desk(function=function).open())


# ---- over HTTP ------------------------------------------------------------------------------------------------------


class Endpoint:
    """A real server that answers every request with the same bytes, or with none."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.heard: list[bytes] = []
        self.served = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        self.heard.append(head + await reader.readexactly(length))
        if self.answer is None:
            await reader.read()
        else:
            writer.write(self.answer)
        writer.close()
        await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])
        self.served.set()


def over_http(answer: bytes | None, **settings: Any) -> tuple[str | ProviderError, Endpoint]:
    endpoint = Endpoint(answer)

    async def main() -> str | ProviderError:
        server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        async with server:
            try:
                return await ask(desk(url=f"http://{host}:{port}/room", **settings))
            except ProviderError as error:
                return error
            finally:
                await asyncio.wait_for(endpoint.served.wait(), 5)

    return asyncio.run(main()), endpoint


def http(status: str, body: bytes = b"", headers: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n".encode()
        + body
    )


def test_an_endpoint_gets_the_text_the_key_and_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_TOKEN", "s3cret-token")
    answer, endpoint = over_http(http("200 OK", b"Room 12."), token="env://DESK_TOKEN")
    assert answer == "Room 12."
    (request,) = endpoint.heard
    assert b"idempotency-key: key-1" in request.lower()
    assert b"Authorization: Bearer s3cret-token" in request
    assert msgspec.json.decode(request.split(b"\r\n\r\n")[1], type=ToolRequest).text == "two beds"


def test_json_is_answered_by_its_field() -> None:
    body = http("200 OK", b'{"text": "Room 12."}', "Content-Type: application/json; charset=utf-8\r\n")
    assert over_http(body)[0] == "Room 12."


@pytest.mark.parametrize(
    ("answer", "reason", "retryable"),
    [
        (http("429 Too Many", headers="Retry-After: 2\r\n"), "tool_busy", True),
        (http("503 Later", headers="Retry-After: soon\r\n"), "tool_busy", True),
        (http("500 No"), "tool_failed", True),
        (http("404 No"), "tool_refused", False),
        (http("302 Elsewhere", headers="Location: http://127.0.0.1:1/\r\n"), "tool_refused", False),
        (http("200 OK", b"\xff\xfe"), "tool_answer_invalid", False),
        (http("200 OK", b"{}", "Content-Type: application/json\r\n"), "tool_answer_invalid", False),
        (http("200 OK", b"x" * (ANSWER_BYTES_MAX + 1)), "tool_answer_large", False),
        (b"garbage\r\n\r\n", "tool_unreachable", True),
        (b"", "tool_unreachable", True),
    ],
)
def test_every_way_an_endpoint_can_fail_has_its_name(answer: bytes, reason: str, retryable: bool) -> None:
    failed, _ = over_http(answer)
    assert isinstance(failed, ProviderError)
    assert (failed.reason, failed.retryable) == (reason, retryable)
    if reason == "tool_busy":
        assert failed.retry_after_ms == (2_000 if b"429" in answer else None)


def test_an_endpoint_and_a_function_that_hang_are_timed_out() -> None:
    failed, _ = over_http(None, timeout_ms=50)
    assert isinstance(failed, ProviderError)
    assert (failed.outcome, failed.reason) == (OutcomeClass.TIMEOUT, "tool_timeout")


def test_nobody_listens() -> None:
    assert failure(desk(url="http://127.0.0.1:9/room")).reason == "tool_unreachable"


async def _echo(request: ToolRequest) -> str:
    await asyncio.sleep(0.1)
    return f"You said {request.text}"


def _conforming() -> Tools:
    return Tools("desk", msgspec.convert({}, type(desk()._settings)), {"echo": _echo})


TRIAL = msgspec.structs.replace(usual("external"), config={"tool": "echo", "has_effects": False})


@parametrize(provider.conformance(_conforming, TRIAL))
def test_it_does_what_every_provider_must(check: Check) -> None:
    verify(check)
